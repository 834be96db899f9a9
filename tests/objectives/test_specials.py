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
from scaling.objectives.specials import Specials, SpecialTokens, specials_needed
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


def test_a_tokenizers_own_tokens_come_first():
    bert = Specials(30522, 30522, 102, SpecialTokens(sep=102, pad=0, cls=101, mask=103))
    assert (bert.mask, bert.cls, bert.sep) == (103, 101, 102)
    assert specials_needed(MaskedObjective(sentences="next"), 512, bert.own) == 0
    # Those that it lacks follow its ids, without gaps.
    partly = Specials(1000, 900, 0, SpecialTokens(eos=0, mask=7))
    assert (partly.mask, partly.cls, partly.sep) == (7, 900, 901)
    assert specials_needed(MaskedObjective(sentences="next"), 512, partly.own) == 2
    assert specials_needed(MaskedObjective(), 512, partly.own) == 0
    assert specials_needed(MaskedObjective(), 512, SpecialTokens(cls=1, sep=2)) == 1


def test_sentinels_of_the_tokenizer_then_from_the_top():
    own = SpecialTokens(eos=1, sentinels=(32_099, 32_098, 32_097))
    t5 = Specials(32_128, 32_100, 1, own)
    assert t5.sentinels(np.arange(5)).tolist() == [32_099, 32_098, 32_097, 32_127, 32_126]
    assert t5.sentinels(np.array([[1, -1]])).tolist()[0][0] == 32_098
    assert specials_needed(SpansObjective(), 512, own) == 25
    assert specials_needed(SpansObjective(), 512, SpecialTokens(sentinels=tuple(range(100)))) == 0
