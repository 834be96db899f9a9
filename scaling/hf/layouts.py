"""Which layout a checkpoint or a model has."""

from typing import Any

from scaling.config.model import EncoderConfig, ModelConfig
from scaling.hf.decoders import GPT1, GPT2, LLAMA
from scaling.hf.encoders import ALBERT, BERT, ROBERTA
from scaling.hf.layout import Layout
from scaling.hf.settings import why_not
from scaling.hf.t5 import T5
from scaling.runtime.errors import BadInputError

LAYOUTS = {layout.model_type: layout for layout in (GPT2, GPT1, LLAMA, BERT, ROBERTA, ALBERT, T5)}


def layout_named(model_type: Any, where: str) -> Layout:
    """The layout of a `model_type`.

    Raises:
        BadInputError: there is none.
    """
    if not isinstance(model_type, str) or model_type not in LAYOUTS:
        raise BadInputError(f"{where}: {model_type!r} is not known here; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[model_type]


def layout_for(model: ModelConfig, first: str | None = None) -> Layout:
    """A layout that a model can be written in, `first` before all others.

    Raises:
        BadInputError: there is none; the message says what stands against each of the family's.
    """
    order = [layout for layout in LAYOUTS.values() if isinstance(model, layout.family)]
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
