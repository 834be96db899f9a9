"""From an objective's config to the function that makes batches of rows of text."""

from collections.abc import Callable

import numpy as np

from scaling.config.objective import (
    ContinuationObjective,
    DenoisingObjective,
    MaskedObjective,
    Objective,
    PrefixObjective,
    SpansObjective,
)
from scaling.objectives.masked import Masking, WordFlags
from scaling.objectives.spans import SpanCorruption, decoder_inputs, with_prefixes
from scaling.objectives.specials import Specials

Batch = dict[str, np.ndarray]
Make = Callable[[Batch, np.ndarray], Batch]


def build_objective(
    objective: Objective,
    length: int,
    specials: Specials,
    is_text_V: np.ndarray,
    words: WordFlags | None = None,
) -> Make:
    """The function of (rows, keys (B,)) that gives a batch, as `scaling.config.data.batch_arrays` has it.

    Rows hold `inputs` (B, window): `scaling.config.data.row_lengths` says how long a window is. For masked
    and prefix they are packed rows or pairs of segments, whose other arrays are kept.

    Args:
        objective: the objective; causal rows stay as they are.
        length: data.sequence_length.
        specials: ids beyond the tokenizer's.
        is_text_V: whether an id of the tokenizer is text, (V,) bool.
        words: where words begin, for `masked` with `whole_words`.
    """
    if isinstance(objective, PrefixObjective):
        return with_prefixes
    if isinstance(objective, MaskedObjective):
        return Masking(objective, specials, is_text_V, words)
    if isinstance(objective, (SpansObjective, DenoisingObjective)):
        corruption = SpanCorruption(objective, length, specials)
        return lambda rows, keys_B: corruption(rows["inputs"], keys_B)
    if isinstance(objective, ContinuationObjective):
        return lambda rows, keys_B: _continuation(rows["inputs"], length, specials)
    return lambda rows, keys_B: rows


def _continuation(window_BW: np.ndarray, length: int, specials: Specials) -> Batch:
    targets_BT = np.ascontiguousarray(window_BW[:, length:])
    return {
        "inputs": np.ascontiguousarray(window_BW[:, :length]),
        "decoder_inputs": decoder_inputs(targets_BT, specials),
        "targets": targets_BT,
    }


def is_static(objective: Objective) -> bool:
    """Whether a row is the same in each epoch."""
    return isinstance(objective, MaskedObjective) and not objective.dynamic
