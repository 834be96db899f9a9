"""muP's multipliers folded into weights, for layouts that have none."""

import re

import numpy as np

from scaling.config.model import EncoderConfig, EncoderDecoderConfig, ModelConfig, TransformerConfig

Arrays = dict[str, np.ndarray]

_STANDARD = {"parametrization": "standard", "base_width": None, "base_d_head": None, "base_depth": None}
_SCORES = r"(.*\.)?(cross_)?attention\.query(_bias)?"
_NORMED_SCORES = r"(.*\.)?(cross_)?attention\.query_norm\.(scale|bias)"
_BRANCHES = r"(.*\.)?((cross_)?attention\.out|feed_forward\.down|mixture\.down)(_bias)?"


def standard(model: ModelConfig) -> ModelConfig:
    """The model of folded weights: the same shapes in the standard parametrisation."""
    return model.model_copy(update=_STANDARD) if isinstance(model, TransformerConfig) else model


def fold(model: ModelConfig, arrays: Arrays, *, last_layer: bool = True) -> Arrays:
    """Weights with which the standard model computes the function of a muP model.

    Multipliers of attention scores go into queries, or into the norm after them, those of residual branches
    into their last projection, and that of the output into the head, or, if the head is tied, into the norm
    before it.

    Args:
        model: without sinusoidal positions, which no layout has.
        arrays: tensors of the model by our names, or some of their layers; not changed.
        last_layer: whether the last layer in `arrays` is the last one of the model.
    """
    if not isinstance(model, TransformerConfig) or model.parametrization == "standard":
        return arrays
    folded = dict(arrays)

    def multiply(pattern: str, factor: float, last: bool = False) -> None:
        """Multiply arrays whose complete names match; with `last` only the last layer."""
        if last and not last_layer:
            return
        for name in [name for name in folded if factor != 1.0 and re.fullmatch(pattern, name)]:
            wide = folded[name].astype(np.float32)
            wide[-1 if last else slice(None)] *= factor
            folded[name] = wide.astype(arrays[name].dtype)

    heads = (model.base_d_head or model.d_head) / model.d_head
    unscaled = isinstance(model, EncoderDecoderConfig) and not model.scale_attention
    multiply(_NORMED_SCORES if model.qk_norm else _SCORES, heads if unscaled else heads**0.5)
    multiply(_BRANCHES, model.residual_multiplier)
    multiply(r"(.*\.)?mixture\.router", model.output_multiplier)
    multiply(r"sentence_head\.kernel", model.output_multiplier)
    if not model.tie_embeddings:
        multiply("untied_head", model.output_multiplier)
        return folded
    factor, side = model.output_multiplier, ""
    if isinstance(model, EncoderDecoderConfig):
        side = r"decoder\."
        if model.positions == "relative":  # standard divides by sqrt(width), muP by sqrt(base width)
            factor *= model.width_ratio**0.5
    if isinstance(model, EncoderConfig):
        multiply(r"mlm_norm\.(scale|bias)", factor)
    elif model.norm == "pre":
        multiply(rf"{side}final_norm\.(scale|bias)", factor)
    else:
        multiply(rf"{side}layers\.feed_forward_norm\.(scale|bias)", factor, last=True)
    return folded
