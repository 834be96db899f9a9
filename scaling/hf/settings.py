"""config.json to a model config, and back."""

from collections.abc import Collection, Mapping
from typing import Any

from scaling.config.load import validate
from scaling.config.model import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    ModelConfig,
    TransformerConfig,
    network,
)
from scaling.hf.architecture import Architecture, place
from scaling.hf.decoders import GPT1, GPT2, LLAMA
from scaling.hf.encoders import ALBERT, BERT, ROBERTA
from scaling.hf.t5 import T5
from scaling.runtime.errors import BadInputError

Settings = Mapping[str, Any]

# Of any architecture: settings that change what is computed and have no counterpart here.
_REFUSED = ("quantization_config", "pruned_heads")
# Ids that mean something to whoever makes the input; carried through.
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def model_from(
    layout: Architecture, settings: Settings, names: Collection[str], tied: bool, where: str, name: str
) -> ModelConfig:
    """The model that a checkpoint holds.

    Args:
        layout: of the `model_type`.
        settings: config.json.
        names: of the checkpoint's tensors: they say which heads there are.
        tied: whether the head is the embedding (`is_tied`).
        where: config.json's path, for messages.
        name: of the model.

    Raises:
        BadInputError: a setting with no counterpart here, or of a wrong type; names the key.
    """
    for key in _REFUSED:
        if settings.get(key):
            raise BadInputError(f"{where}: {key}={settings[key]!r} has no counterpart here")
    _check_rope_scaling(settings, where)
    for key, value in layout.required.items():
        if key in settings and settings[key] != value and not (settings[key] is None and value is False):
            raise BadInputError(f"{where}: {key}={settings[key]!r} has no counterpart here, only {value!r}")
    tree: dict[str, Any] = {"name": name, **layout.implied, "tie_embeddings": tied, "scan_layers": True}
    tree["family"] = layout.family.model_fields["family"].default  # type: ignore[attr-defined]
    for ours, theirs in layout.numbers.items():
        value = settings.get(theirs, layout.defaults.get(theirs))
        if value is not None:
            tree[ours] = _number(layout.family, ours, theirs, value, where)
    if "embedding_size" in layout.numbers and tree["embedding_size"] == tree["d_model"]:
        tree["project_embedding"] = True
    tree["max_length"] -= layout.position_rows
    tree["activation"], tree["gated"] = _activation(layout, settings, where)
    if layout.dropout_keys:
        key = layout.dropout_keys[0]
        rate = settings.get(key, layout.defaults.get(key))
        tree["dropout"] = _number(layout.family, "dropout", key, rate, where)
    for switch, tensor in layout.heads.items():
        tree[switch] = tensor in names
    tree["norm_epsilon"] = float(tree["norm_epsilon"])
    if not tree.get("init_std", 1.0):
        del tree["init_std"]  # theirs may be 0, which no freshly initialised model here is
    if tree.get("positions") == "rotary":
        tree |= _rotary(settings, where)
    if layout.family is EncoderDecoderConfig:
        _check_scale(settings, tied, where)
    return validate(ModelConfig, tree, where)


def _number(family: Any, ours: str, theirs: str, value: Any, where: str) -> int | float:
    wants_float = family.model_fields[ours].annotation is float
    kinds = (int, float) if wants_float else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or value < 0:
        kind = "a number" if wants_float else "a whole number"
        raise BadInputError(f"{where}: {theirs}={value!r} is not {kind}")
    return value


def _activation(layout: Architecture, settings: Settings, where: str) -> tuple[str, bool]:
    key = layout.activation_key
    value = settings.get(key, layout.defaults.get(key))
    if not isinstance(value, str) or value not in layout.activations:
        known = ", ".join(layout.activations)
        raise BadInputError(f"{where}: {key}={value!r} is not known for {layout.model_type}; known: {known}")
    return layout.activations[value]


def _check_rope_scaling(settings: Settings, where: str) -> None:
    """Refuse stretched rotary positions; transformers writes the plain ones as null or by their name."""
    scaling = settings.get("rope_scaling")
    if not scaling:
        return
    kind = scaling.get("rope_type", scaling.get("type")) if isinstance(scaling, dict) else scaling
    if kind == "default" or (kind == "linear" and scaling.get("factor") == 1):
        return
    raise BadInputError(f"{where}: rope_scaling={scaling!r} has no counterpart here, only the type 'default'")


def _rotary(settings: Settings, where: str) -> dict[str, float]:
    """The base of the rotary angles: `rope_theta`, or in newer files `rope_parameters`."""
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
    """Whether a T5 multiplies what its head reads by d_model ** -0.5.

    v1.0 does and v1.1 does not. Newer files say so; in older ones `tie_word_embeddings` stands for it.
    """
    return bool(settings.get("scale_decoder_outputs", settings.get("tie_word_embeddings") is not False))


def _check_scale(settings: Settings, tied: bool, where: str) -> None:
    if scales_outputs(settings) and not tied:
        raise BadInputError(
            f"{where}: scale_decoder_outputs with a head of its own has no counterpart here: "
            f"a scaled head is tied to the embedding"
        )


def why_not(layout: Architecture, model: ModelConfig) -> str | None:
    """What of a model has no place in a layout of its family; None where it fits."""
    if not isinstance(model, TransformerConfig):
        return f"family={model.family}"
    for field, value in layout.implied.items():
        held = getattr(model, field)
        if field == "embedding_size" and held == model.d_model:
            held = None
        if held != value:
            return f"{field}={_plain(held)}"
    if _activation_name(layout, model) is None:
        return f"activation={model.activation} with gated={_plain(model.gated)}"
    if "d_head" not in layout.numbers and model.n_heads * model.d_head != model.d_model:
        return f"d_head={model.d_head} beside d_model={model.d_model} and n_heads={model.n_heads}"
    if "d_ff" not in layout.numbers and model.d_ff != 4 * model.d_model:
        return f"d_ff={model.d_ff} beside d_model={model.d_model}"
    n_kv_heads = getattr(model, "n_kv_heads", None)
    if "n_kv_heads" not in layout.numbers and n_kv_heads not in (None, model.n_heads):
        return f"n_kv_heads={n_kv_heads}"
    if isinstance(model, EncoderConfig):
        if model.token_types == 0:
            return "token_types=0"
        if _switches(layout, model) not in layout.architectures:
            return " and ".join(_switches(layout, model)) + " alone"
        if "embedding_size" in layout.numbers and not (model.embedding_size and model.projects_embedding):
            return f"embedding_size={model.embedding_size} without a projection to d_model"
    unplaced = place(layout, model)[1]
    return f"place for {unplaced[0]}" if unplaced else None


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value) if isinstance(value, tuple) else value)


def _activation_name(layout: Architecture, model: Any) -> str | None:
    wanted = (model.activation, model.gated)
    return next((name for name, meant in layout.activations.items() if meant == wanted), None)


def _switches(layout: Architecture, model: Any) -> tuple[str, ...]:
    """The heads that decide on the class; the pooler does not."""
    return tuple(name for name in layout.heads if name != "pooler" and getattr(model, name))


def architecture(layout: Architecture, model: ModelConfig) -> str:
    """The class that transformers loads a model as."""
    return layout.architectures[_switches(layout, model)]


def settings_of(layout: Architecture, model: ModelConfig, dtype: str, source: Settings) -> dict[str, Any]:
    """config.json for a model that fits a layout; `source` gives the ids of special tokens."""
    model = network(model)
    out: dict[str, Any] = {
        "model_type": layout.model_type,
        "architectures": [architecture(layout, model)],
        **layout.written,
        **{key: value for key, value in layout.required.items() if value is not None},
        "tie_word_embeddings": model.tie_embeddings,
        "torch_dtype": dtype,
    }
    for ours, theirs in layout.numbers.items():
        value = getattr(model, ours)
        if value is not None:
            out[theirs] = value + (layout.position_rows if ours == "max_length" else 0)
    out[layout.activation_key] = _activation_name(layout, model)
    out |= dict.fromkeys(layout.dropout_keys, model.dropout)
    if isinstance(model, DecoderConfig) and model.positions == "rotary":
        out["rope_theta"] = model.rotary_base
    out |= {key: source[key] for key in TOKEN_IDS if isinstance(source.get(key), int)}
    return out


ARCHITECTURES = {layout.model_type: layout for layout in (GPT2, GPT1, LLAMA, BERT, ROBERTA, ALBERT, T5)}


def architecture_named(model_type: Any, where: str) -> Architecture:
    """The layout of a `model_type`.

    Raises:
        BadInputError: there is none.
    """
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        raise BadInputError(f"{where}: {model_type!r} is not known here; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[model_type]


def architecture_for(model: ModelConfig, first: str | None = None) -> Architecture:
    """A layout that a model can be written in, `first` before all others.

    Raises:
        BadInputError: there is none; the message says what stands against each of the family's.
    """
    order = [layout for layout in ARCHITECTURES.values() if isinstance(model, layout.family)]
    if isinstance(model, EncoderConfig) and model.token_types == 1:
        order.sort(key=lambda layout: layout is not ROBERTA)  # one token type is RoBERTa's mark
    order.sort(key=lambda layout: layout.model_type != first)
    against = []
    for layout in order:
        reason = why_not(layout, model)
        if reason is None:
            return layout
        against.append(f"{layout.model_type} has no {reason}")
    reasons = "; ".join(against) or f"family={model.family} has none"
    raise BadInputError(f"model {model.name}: no Hugging Face layout fits ({reasons})")
