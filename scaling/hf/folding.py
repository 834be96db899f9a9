"""muP's multipliers folded into weights: other programs know a network, and not its parametrisation."""

import re

import numpy as np

from scaling.config.model import EncoderConfig, EncoderDecoderConfig, ModelConfig, TransformerConfig
from scaling.hf.layout import Arrays

_STANDARD = {"parametrization": "standard", "base_width": None, "base_d_head": None, "base_depth": None}
_SCORES = r"(.*\.)?(cross_)?attention\.query(_bias)?"
_BRANCHES = r"(.*\.)?((cross_)?attention\.out|feed_forward\.down|mixture\.down)(_bias)?"


def standard(model: ModelConfig) -> ModelConfig:
    """The model that `fold` gives weights for: the same shapes, the standard parametrisation."""
    return model.model_copy(update=_STANDARD) if isinstance(model, TransformerConfig) else model


def fold(model: ModelConfig, arrays: Arrays) -> Arrays:
    """Weights with which the standard model computes what a muP model computes with `arrays`.

    Scores go into queries, residual branches into their last projection, and the head's multiplier into the
    head, or where it is tied into the norm before it.

    Args:
        model: without sinusoidal positions, which no layout has.
        arrays: every tensor of the model by our names; not changed.
    """
    if not isinstance(model, TransformerConfig) or model.parametrization == "standard":
        return arrays
    folded = dict(arrays)

    def multiply(pattern: str, factor: float, last: bool = False) -> None:
        """Arrays whose names match whole; `last` is the last layer's entry alone."""
        for name in [name for name in folded if factor != 1.0 and re.fullmatch(pattern, name)]:
            wide = folded[name].astype(np.float32)
            wide[-1 if last else slice(None)] *= factor
            folded[name] = wide.astype(arrays[name].dtype)

    heads = (model.base_d_head or model.d_head) / model.d_head
    unscaled = isinstance(model, EncoderDecoderConfig) and not model.scale_attention
    multiply(_SCORES, heads if unscaled else heads**0.5)
    multiply(_BRANCHES, model.residual_multiplier)
    multiply(r"(.*\.)?mixture\.router", model.output_multiplier)
    multiply(r"sentence_head\.kernel", model.output_multiplier)
    if not model.tie_embeddings:
        multiply("untied_head", model.output_multiplier)
        return folded
    factor, side = model.output_multiplier, ""
    if isinstance(model, EncoderDecoderConfig):
        side = r"decoder\."
        if model.positions == "relative":  # the standard model divides by sqrt(width), this one by the base's
            factor *= model.width_ratio**0.5
    if isinstance(model, EncoderConfig):
        multiply(r"mlm_norm\.(scale|bias)", factor)
    elif model.norm == "pre":
        multiply(rf"{side}final_norm\.(scale|bias)", factor)
    else:
        multiply(rf"{side}layers\.feed_forward_norm\.(scale|bias)", factor, last=True)
    return folded
