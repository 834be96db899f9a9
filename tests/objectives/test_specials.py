"""The vocabulary: no two ids fall together, and one too small is refused by its least size."""

import numpy as np
import pytest

from scaling.config.data import DataConfig
from scaling.config.objective import (
    CausalObjective,
    ContinuationObjective,
    MaskedObjective,
    SpansObjective,
)
from scaling.objectives.specials import Specials, specials_needed
from scaling.runtime.errors import BadInputError

DATA = DataConfig(sequence_length=512)


def test_ids_of_the_least_vocabulary_are_all_different():
    spans = Specials(257 + 28, 257, 256)
    assert spans.sentinels(np.arange(28)).tolist() == list(range(284, 256, -1))
    pairs = Specials(260, 257, 256)
    assert (pairs.mask, pairs.cls, pairs.sep, pairs.start) == (257, 258, 259, 256)


@pytest.mark.parametrize(
    ("objective", "needed", "says"),
    [
        (CausalObjective(), 0, r"data.tokenizer=bytes \(257\): give at least 257"),
        (ContinuationObjective(), 0, "give at least 257"),
        (MaskedObjective(), 1, r"objective masked needs for \[MASK\], \[CLS\], \[SEP\]: give at least 258"),
        (MaskedObjective(sentences="next"), 3, "and 3 more .* at least 260"),
        (SpansObjective(), 28, "and 28 more that objective spans needs as sentinels: give at least 285"),
    ],
)
def test_a_vocabulary_without_room(objective, needed, says):
    assert specials_needed(objective, 512) == needed
    Specials(257 + needed, 257, 256).check(objective, DATA)
    with pytest.raises(BadInputError, match=rf"model.vocab_size={256 + needed} is smaller than .*{says}"):
        Specials(256 + needed, 257, 256).check(objective, DATA)
