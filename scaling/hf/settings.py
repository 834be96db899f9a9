"""Settings: config.json to a model config and back, and which architecture fits a model."""

from collections.abc import Collection, Mapping
from typing import Any

from scaling.config.load import validate
from scaling.config.model import (
    DecoderConfig,
    ModelConfig,
    TransformerConfig,
    network,
)
from scaling.hf.architecture import Architecture, place
from scaling.hf.decoders import GPT1, GPT2, LLAMA, MISTRAL, QWEN2, QWEN3
from scaling.hf.encoders import ALBERT, BERT, ROBERTA
from scaling.hf.t5 import T5
from scaling.hf.windows import pattern_from, pattern_settings, why_not_windows
from scaling.runtime.errors import BadInputError

Settings = Mapping[str, Any]

# Settings of any architecture that change the computation and have no counterpart here.
_REFUSED = ("quantization_config", "pruned_heads")
# Ids for the preparation of inputs; passed through unchanged.
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def model_from(
    arch: Architecture, settings: Settings, names: Collection[str], tied: bool, where: str, name: str
) -> ModelConfig:
    """The model of a checkpoint.

    Args:
        arch: of the `model_type`.
        settings: config.json.
        names: of the tensors, which decide which heads the model has.
        tied: whether the output head is the embedding.
        where: the path of config.json, for messages.
        name: of the model.

    Raises:
        BadInputError: a setting without a counterpart here or of a wrong type.
    """
    for key in _REFUSED:
        if settings.get(key):
            raise BadInputError(f"{where}: {key}={settings[key]!r} has no counterpart here")
    _check_rope_scaling(settings, where)
    for key, value in arch.required.items():
        if key in settings and settings[key] != value and not (settings[key] is None and value is False):
            raise BadInputError(f"{where}: {key}={settings[key]!r} has no counterpart here, only {value!r}")
    tree: dict[str, Any] = {"name": name, **arch.implied, "tie_embeddings": tied, "scan_layers": True}
    tree["family"] = arch.family.model_fields["family"].default  # type: ignore[attr-defined]
    for ours, theirs in arch.numbers.items():
        value = settings.get(theirs, arch.defaults.get(theirs))
        if value is not None:
            tree[ours] = _number(arch.family, ours, theirs, value, where)
    if "embedding_size" in arch.numbers and tree["embedding_size"] == tree["d_model"]:
        tree["project_embedding"] = True
    tree["max_length"] -= arch.position_rows
    tree["activation"], tree["gated"] = _activation(arch, settings, where)
    if arch.dropout_keys:
        key = arch.dropout_keys[0]
        rate = settings.get(key, arch.defaults.get(key))
        tree["dropout"] = _number(arch.family, "dropout", key, rate, where)
    for switch, tensor in arch.heads.items():
        tree[switch] = tensor in names
    tree["norm_epsilon"] = float(tree["norm_epsilon"])
    if not tree.get("init_std", 1.0):
        del tree["init_std"]  # 0 in some files, which is not valid here
    if tree.get("positions") == "rotary":
        tree |= _rotary(settings, where)
    if arch.scaled_head:
        _check_scale(settings, tied, where)
    tree |= pattern_from(arch, settings, tree["n_layers"], tree["max_length"], where)
    return validate(ModelConfig, tree, where)


def _number(family: Any, ours: str, theirs: str, value: Any, where: str) -> int | float:
    wants_float = family.model_fields[ours].annotation is float
    kinds = (int, float) if wants_float else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or value < 0:
        kind = "a number" if wants_float else "an integer"
        raise BadInputError(f"{where}: {theirs}={value!r} is not {kind}")
    return value


def _activation(arch: Architecture, settings: Settings, where: str) -> tuple[str, bool]:
    key = arch.activation_key
    value = settings.get(key, arch.defaults.get(key))
    if not isinstance(value, str) or value not in arch.activations:
        known = ", ".join(arch.activations)
        raise BadInputError(f"{where}: {key}={value!r} is not known for {arch.model_type}; known: {known}")
    return arch.activations[value]


def _check_rope_scaling(settings: Settings, where: str) -> None:
    """Refuse scaled rotary positions; transformers writes unscaled ones as null or by name."""
    scaling = settings.get("rope_scaling")
    if not scaling:
        return
    kind = scaling.get("rope_type", scaling.get("type")) if isinstance(scaling, dict) else scaling
    if kind == "default" or (kind == "linear" and scaling.get("factor") == 1):
        return
    raise BadInputError(f"{where}: rope_scaling={scaling!r} has no counterpart here, only the type 'default'")


def _rotary(settings: Settings, where: str) -> dict[str, float]:
    """The base of the rotary angles: `rope_theta`, in newer files within `rope_parameters`."""
    parameters = settings.get("rope_parameters") or {}
    if not isinstance(parameters, dict):
        raise BadInputError(f"{where}: rope_parameters={parameters!r} is not a mapping")
    known = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1.0}
    for key, value in parameters.items():
        if key != "rope_theta" and value is not None and (key not in known or value != known[key]):
            raise BadInputError(f"{where}: rope_parameters.{key}={value!r} has no counterpart here")
    scaling = settings.get("rope_scaling") or {}
    given = (tree.get("rope_theta") for tree in (parameters, settings, scaling))
    theta = next((value for value in given if value is not None), 10_000.0)
    if isinstance(theta, bool) or not isinstance(theta, int | float) or theta <= 0:
        raise BadInputError(f"{where}: rope_theta={theta!r} is not a positive number")
    return {"rotary_base": float(theta)}


def scales_outputs(settings: Settings) -> bool:
    """Whether a T5 scales the input of its head by d_model ** -0.5: v1.0 does, v1.1 does not.

    Newer files have a setting for it; in older ones `tie_word_embeddings` decides.
    """
    return bool(settings.get("scale_decoder_outputs", settings.get("tie_word_embeddings") is not False))


def _check_scale(settings: Settings, tied: bool, where: str) -> None:
    if scales_outputs(settings) and not tied:
        raise BadInputError(
            f"{where}: scale_decoder_outputs with an untied head has no counterpart here: "
            f"a scaled head is tied to the embedding"
        )


# Settings that no architecture has unless it says so.
_UNLESS_IMPLIED = {"attention_soft_cap": None, "qk_norm": False}


def why_not(arch: Architecture, model: ModelConfig) -> str | None:
    """The setting of a model that an architecture lacks; None if the model fits."""
    if not isinstance(model, TransformerConfig):
        return f"family={model.family}"
    for field, value in {**_UNLESS_IMPLIED, **arch.implied}.items():
        held = getattr(model, field)
        if field == "embedding_size" and held == model.d_model:
            held = None
        if held != value:
            return f"{field}={_plain(held)}"
    if isinstance(model, DecoderConfig) and (windows := why_not_windows(arch, model)):
        return windows
    if _activation_name(arch, model) is None:
        return f"activation={model.activation} with gated={_plain(model.gated)}"
    if "d_head" not in arch.numbers and model.n_heads * model.d_head != model.d_model:
        return f"d_head={model.d_head} with d_model={model.d_model} and n_heads={model.n_heads}"
    if "d_ff" not in arch.numbers and model.d_ff != 4 * model.d_model:
        return f"d_ff={model.d_ff} with d_model={model.d_model}"
    n_kv_heads = getattr(model, "n_kv_heads", None)
    if "n_kv_heads" not in arch.numbers and n_kv_heads not in (None, model.n_heads):
        return f"n_kv_heads={n_kv_heads}"
    if getattr(model, "token_types", None) == 0:
        return "token_types=0"
    if _switches(arch, model) not in arch.classes:
        return " and ".join(_switches(arch, model)) + " alone"
    if "embedding_size" in arch.numbers:
        size = getattr(model, "embedding_size", None)
        if not (size and getattr(model, "projects_embedding", False)):
            return f"embedding_size={size} without a projection to d_model"
    unplaced = place(arch, model)[1]
    return f"place for {unplaced[0]}" if unplaced else None


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value) if isinstance(value, tuple) else value)


def _activation_name(arch: Architecture, model: Any) -> str | None:
    wanted = (model.activation, model.gated)
    return next((name for name, meant in arch.activations.items() if meant == wanted), None)


def _switches(arch: Architecture, model: Any) -> tuple[str, ...]:
    """The heads that are on and decide the class, which are all but the pooler."""
    return tuple(name for name in arch.heads if name != "pooler" and getattr(model, name))


def class_name(arch: Architecture, model: ModelConfig) -> str:
    """The transformers class that loads a model."""
    return arch.classes[_switches(arch, model)]


def settings_of(arch: Architecture, model: ModelConfig, dtype: str, source: Settings) -> dict[str, Any]:
    """config.json for a model that fits; `source` gives the ids of special tokens."""
    model = network(model)
    out: dict[str, Any] = {
        "model_type": arch.model_type,
        "architectures": [class_name(arch, model)],
        **arch.written,
        **{key: value for key, value in arch.required.items() if value is not None},
        "tie_word_embeddings": model.tie_embeddings,
        "torch_dtype": dtype,
    }
    for ours, theirs in arch.numbers.items():
        value = getattr(model, ours)
        if value is not None:
            out[theirs] = value + (arch.position_rows if ours == "max_length" else 0)
    out[arch.activation_key] = _activation_name(arch, model)
    out |= dict.fromkeys(arch.dropout_keys, model.dropout)
    if isinstance(model, DecoderConfig) and model.positions == "rotary":
        out["rope_theta"] = model.rotary_base
    if isinstance(model, DecoderConfig):
        out |= pattern_settings(arch, model)
    out |= {key: source[key] for key in TOKEN_IDS if isinstance(source.get(key), int)}
    if ends := source.get("ends"):
        out["eos_token_id"] = ends if len(ends) > 1 else ends[0]
    return out


ARCHITECTURES = {
    arch.model_type: arch for arch in (GPT2, GPT1, LLAMA, MISTRAL, QWEN2, QWEN3, BERT, ROBERTA, ALBERT, T5)
}


def architecture_named(model_type: Any, where: str) -> Architecture:
    """The architecture of a `model_type`.

    Raises:
        BadInputError: there is none.
    """
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        raise BadInputError(f"{where}: {model_type!r} is not known here; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[model_type]


def architecture_for(model: ModelConfig, first: str | None = None) -> Architecture:
    """An architecture that a model can be written in, `first` before all others.

    Raises:
        BadInputError: there is none; the message gives the reason for each architecture of the family.
    """
    order = [arch for arch in ARCHITECTURES.values() if isinstance(model, arch.family)]
    if getattr(model, "token_types", None) == 1:
        order.sort(key=lambda arch: arch is not ROBERTA)  # one token type is RoBERTa's mark
    order.sort(key=lambda arch: arch.model_type != first)
    reasons = []
    for arch in order:
        reason = why_not(arch, model)
        if reason is None:
            return arch
        reasons.append(f"{arch.model_type} has no {reason}")
    missing = "; ".join(reasons) or f"family={model.family} has none"
    raise BadInputError(f"model {model.name}: no Hugging Face layout fits ({missing})")
