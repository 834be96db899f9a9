"""Lengths of rows: T5's published arithmetic, and that it is the longest window that fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.config.data import iid_lengths, pads, row_lengths, span_counts, span_lengths
from scaling.config.objective import ContinuationObjective, DenoisingObjective, SpansObjective


def test_t5s_published_lengths():
    # Raffel et al. 2019's released settings (pretrain/ *.gin): inputs 512, targets 114, from 568 tokens.
    assert span_lengths(512, 0.15, 3.0) == (568, 114)
    assert span_counts(568, 0.15, 3.0) == (85, 28)
    assert row_lengths(SpansObjective(), 512) == (568, 512, 114, 28)
    assert pads(SpansObjective(), 512) == (False, False)


@given(st.integers(3, 2048), st.floats(0.02, 0.9), st.one_of(st.none(), st.floats(1, 100)))
def test_the_window_is_the_longest_that_fits(length, rate, mean):
    window, target = span_lengths(length, rate, mean)
    noise, spans = span_counts(window, rate, mean)
    assert window - noise + spans + 1 <= length
    assert target == noise + spans + 1
    more_noise, more_spans = span_counts(window + 1, rate, mean)
    assert rate == 0.5 or window + 1 - more_noise + more_spans + 1 > length


@pytest.mark.parametrize("length", [16, 100, 511, 512, 1024])
def test_at_one_half_the_target_does_not_outgrow_the_source(length):
    assert span_lengths(length, 0.5, 3.0)[1] <= length


@given(st.integers(3, 2048), st.floats(0.02, 0.9))
def test_independent_drops_always_fit_the_source(length, rate):
    window, target = iid_lengths(length, rate)
    assert window + 1 == length
    assert 3 <= target <= window + 2


def test_other_lengths():
    assert row_lengths(ContinuationObjective(), 128) == (256, 128, 128, 0)
    assert row_lengths(ContinuationObjective(target_length=32), 128) == (160, 128, 32, 0)
    ul2 = row_lengths(DenoisingObjective(), 512)
    assert (ul2.source, ul2.target) == (512, 512)
    with pytest.raises(ValueError, match=r"data.sequence_length=2: span corruption needs at least 3"):
        span_lengths(2, 0.15, 3.0)
