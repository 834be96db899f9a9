"""The base of every configuration and record, and the part of a configuration that a run's id depends on."""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_NOT_SCHEMAS = {"metadata", "serialization", "ref", "default", "expected"}


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError("whole_number", "input should be a whole number")
    return value


def _strict(schema: Any) -> Any:
    """A core schema in which a boolean is not a number, a number not a boolean, and text neither."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("bool", "float"):
        return {**schema, "strict": True}  # a strict float accepts integers
    if schema.get("type") == "int":  # a strict int would refuse 1e6
        return core_schema.no_info_before_validator_function(_number, schema)  # type: ignore[arg-type]
    if schema.get("type") == "function-before" and schema["function"]["function"] is _number:
        return schema
    return {key: one if key in _NOT_SCHEMAS else _strict(one) for key, one in schema.items()}


class Frozen(BaseModel):
    """An immutable model that refuses unknown keys, NaN and infinity.

    Types are strict: `checkpoint_every: true` is refused and not read as 1, and so are
    `mask_documents: "yes"` and `steps: "20:00:00"`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _strict(handler(source))


_TRANSFORMER = (
    "name vocab_size max_length n_layers d_model n_heads d_head d_ff norm norm_kind norm_epsilon activation "
    "gated bias tie_embeddings mixture dropout init init_std position_init_std residual_init_scaling "
    "param_dtype compute_dtype remat scan_layers family positions "
)
_BASELINE = "name vocab_size max_length tie_embeddings dropout init_std param_dtype compute_dtype family "
_ALWAYS = {
    "RunConfig": "name model objective data train",
    "DecoderConfig": _TRANSFORMER + "rotary_base n_kv_heads layer_pattern band_width",
    "EncoderConfig": _TRANSFORMER + "token_types embedding_size share_layers pooler sentence_head mlm_head "
    "head_positions",
    "EncoderDecoderConfig": _TRANSFORMER + "n_decoder_layers relative_buckets relative_max_distance "
    "scale_attention",
    "Mixture": "experts top_k every capacity_factor balance_loss router_z_loss jitter",
    "LSTMConfig": _BASELINE + "n_layers d_model",
    "FeedForwardLMConfig": _BASELINE + "context d_embedding d_model n_layers activation direct",
    "RNNEncoderDecoderConfig": _BASELINE + "n_layers d_embedding d_model d_attention d_readout "
    "share_embeddings",
    "NGramConfig": "name family vocab_size max_length order discounts",
    "CausalObjective": "name",
    "PrefixObjective": "name",
    "MaskedObjective": "name rate mask random dynamic whole_words sentences short",
    "SpansObjective": "name rate mean_length iid",
    "DenoisingObjective": "name mixture",
    "SpanNoise": "rate mean_length weight",
    "ContinuationObjective": "name target_length",
    "DataConfig": "source field data_dir tokenizer sequence_length validation_fraction mask_documents "
    "max_documents max_epochs seed prefetch",
    "TasksConfig": "names share shots reasoning seed",
    "TrainConfig": "tokens steps branches batch_tokens accumulation batch_warmup_tokens batch_warmup_start "
    "optimizer learning_rate beta1 beta2 epsilon weight_decay clip_norm schedule warmup_steps "
    "final_lr_fraction cooldown_fraction z_loss loss_chunk eval_every eval_tokens log_every checkpoint_every "
    "keep_checkpoints seed",
    "SpikesConfig": "deviations window rewind_steps skip_batches max_rewinds",
}


def identity(config: Frozen) -> dict[str, Any]:
    """The fields of `config` that are part of an id, as JSON values; nested configs likewise."""
    always = set(_ALWAYS.get(type(config).__name__, "").split())
    dumped = config.model_dump(mode="json")
    found = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        default = field.get_default(call_default_factory=True)
        if name in always or field.is_required() or value != default:
            found[name] = _identity(value, dumped[name])
    return found


def _identity(value: Any, dumped: Any) -> Any:
    if isinstance(value, Frozen):
        return identity(value)
    if isinstance(value, list | tuple):
        return [_identity(*pair) for pair in zip(value, dumped, strict=True)]
    if isinstance(value, dict):
        return {str(key): _identity(one, dumped[str(key)]) for key, one in value.items()}
    return dumped
