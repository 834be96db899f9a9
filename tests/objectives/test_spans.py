"""Span corruption: nothing is lost, counts are exact, every segmentation alike."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.config.data import iid_lengths, row_lengths, span_counts, span_lengths
from scaling.config.objective import DenoisingObjective, SpanNoise, SpansObjective
from scaling.objectives.draws import row_keys
from scaling.objectives.spans import SpanCorruption, iid_mask, span_mask
from scaling.objectives.specials import Specials

SPECIALS = Specials(vocab_size=2000, tokenizer_size=257, end_of_text=256)
RATES, MEANS = st.floats(0.02, 0.9), st.one_of(st.none(), st.floats(1, 20))


def merged(batch, b):
    """The window that a source and its target were made from."""
    ends = [
        batch[name][b].sum().astype(int) if name in batch else None for name in ("segment_ids", "weights")
    ]
    source, target = batch["inputs"][b].tolist()[: ends[0]], batch["targets"][b].tolist()[: ends[1]]
    assert source.pop() == target.pop() == SPECIALS.end_of_text
    spans, number = {}, None
    for token in target:
        if token > 1000:
            number = token
            spans[number] = []
        else:
            spans[number].append(token)
    assert list(spans) == [SPECIALS.vocab_size - 1 - k for k in range(len(spans))]
    assert all(spans.values())
    assert [token for token in source if token > 1000] == list(spans)
    return [t for token in source for t in (spans[token] if token > 1000 else [token])]


def check(objective, L, numbers):
    lengths = row_lengths(objective, L)
    window = np.random.default_rng(0).integers(0, 257, (len(numbers), lengths.window)).astype(np.int32)
    batch = SpanCorruption(objective, L, SPECIALS)(window, row_keys(9, np.array(numbers)))
    T = lengths.target
    assert batch["inputs"].shape == (len(numbers), L)
    assert batch["targets"].shape == batch["decoder_inputs"].shape == (len(numbers), T)
    assert (batch["decoder_inputs"][:, 0] == SPECIALS.start).all()
    assert np.array_equal(batch["decoder_inputs"][:, 1:], batch["targets"][:, :-1])
    used = max(batch["targets"].max(), batch["inputs"].max())
    assert used < SPECIALS.vocab_size
    assert min(x[x > 1000].min(initial=2000) for x in (batch["inputs"], batch["targets"])) >= (
        SPECIALS.vocab_size - lengths.sentinels
    )
    return window, batch


@given(st.integers(3, 200), RATES, st.floats(1, 20), st.lists(st.integers(0, 2**40), min_size=1, max_size=4))
def test_source_and_target_merge_to_the_window(L, rate, mean, numbers):
    window, batch = check(SpansObjective(rate=rate, mean_length=mean), L, numbers)
    for b in range(len(numbers)):
        assert merged(batch, b) == window[b].tolist()
    assert "weights" not in batch  # all targets are of one length


@given(st.integers(3, 200), RATES, st.lists(st.integers(0, 2**40), min_size=1, max_size=4))
def test_independent_drops_merge_too_whatever_the_room(L, rate, numbers):
    window, batch = check(SpansObjective(rate=rate, iid=True), L, numbers)
    for b in range(len(numbers)):
        assert merged(batch, b) == window[b].tolist()


@given(
    st.integers(8, 120),
    st.lists(st.builds(SpanNoise, rate=RATES, mean_length=MEANS), min_size=1, max_size=4),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=6),
)
def test_mixtures_merge_to_a_piece_of_the_window(L, mixture, numbers):
    objective = DenoisingObjective(mixture=tuple(mixture))
    window, batch = check(objective, L, numbers)
    sizes = {span_lengths(L, noise.rate, noise.mean_length)[0] for noise in mixture}
    for b in range(len(numbers)):
        piece = merged(batch, b)
        assert len(piece) in sizes
        within = np.lib.stride_tricks.sliding_window_view(window[b], len(piece))
        assert (within == piece).all(axis=1).any()


@given(st.integers(2, 300), RATES, MEANS, st.integers(0, 2**40))
def test_masks_drop_exactly_what_was_asked_in_spans_that_end_the_window(window, rate, mean, number):
    noise, spans = span_counts(window, rate, mean)
    mask = span_mask(row_keys(1, np.array([number])), window, noise, spans)[0]
    runs = [(dropped, len(list(run))) for dropped, run in itertools.groupby(mask.tolist())]
    assert mask.sum() == noise
    assert [dropped for dropped, _ in runs] == [False, True] * spans


def test_every_segmentation_has_the_same_chance(keys):
    # 5 dropped and 4 kept tokens in 3 spans: C(4, 2) times C(3, 2) masks.
    masks, counts = np.unique(span_mask(keys(18_000), 9, 5, 3), axis=0, return_counts=True)
    assert len(masks) == 18
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)


def test_t5s_row_of_512(keys):
    window = np.zeros((4, 568), np.int32)
    batch = SpanCorruption(SpansObjective(), 512, SPECIALS)(window, keys(4))
    assert batch["inputs"].shape == (4, 512) and batch["targets"].shape == (4, 114)
    assert set(batch) == {"inputs", "decoder_inputs", "targets"}


def test_lengths_of_independent_drops_are_as_computed_and_seldom_limited(keys):
    n, L, rate = 20_000, 64, 0.15
    window, most = iid_lengths(L, rate)
    free = iid_mask(keys(n), window, rate, window + 2)
    starts = free.copy()
    starts[:, 1:] &= ~free[:, :-1]
    symbols = free.sum(axis=1) + starts.sum(axis=1) + 1
    mean = window * rate * (2 - rate) + 1
    assert abs(symbols.mean() - mean) < 0.05 * symbols.std() + rate  # the first token has none before it
    assert most == pytest.approx(mean + 4 * symbols.std(), abs=1.5)
    limited = iid_mask(keys(n), window, rate, most)
    assert (limited != free).any(axis=1).mean() < 1e-3
    assert abs(free.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / free.size)


def test_settings_come_in_proportion_to_their_weights(keys):
    mixture = (SpanNoise(rate=0.1, weight=3), SpanNoise(rate=0.5, weight=1))
    objective = DenoisingObjective(mixture=mixture)
    window = np.zeros((4000, row_lengths(objective, 32).window), np.int32)
    batch = SpanCorruption(objective, 32, SPECIALS)(window, keys(4000))
    short = span_lengths(32, 0.1, 3)[1]
    share = (batch["weights"].sum(axis=1) == short).mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)
