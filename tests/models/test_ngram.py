"""The n-gram model against its equations in dictionaries, by hand, and as a distribution."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.baselines import NGramConfig
from scaling.models.ngram import NGram, _numbered, estimate_discounts
from scaling.runtime.errors import BadInputError

V = 5
Documents = list[list[int]]
Gram = tuple[int, ...]


def config(order: int, discounts: str = "modified", vocab_size: int = V) -> NGramConfig:
    return NGramConfig(vocab_size=vocab_size, max_length=64, order=order, discounts=discounts)


def packed(documents: Documents) -> tuple[np.ndarray, np.ndarray]:
    """Documents, each led by token 0, as the model is fitted to them."""
    ids = [token for document in documents for token in (0, *document)]
    starts = np.cumsum([0] + [1 + len(document) for document in documents])[:-1]
    return np.array(ids, np.uint16), starts


def fitted(documents: Documents, order: int, discounts: str = "modified") -> NGram:
    return NGram.fit(*packed(documents), config(order, discounts))


def probability(model: NGram, history: Gram, token: int) -> float:
    row = np.array([history])
    targets = np.full_like(row, token)
    return float(np.exp(model.log_probabilities(row, targets)[0, -1]))


class Slow:
    """The same equations, gram by gram."""

    def __init__(self, documents: Documents, order: int, kind: str) -> None:
        events: list[tuple[Gram, int]] = []  # whole history within the document, and the token
        for document in documents:
            whole = (0, *document, 0)
            events += [(whole[:i], whole[i]) for i in range(1, len(whole))]
        self.counts: list[Counter[Gram]] = [Counter() for _ in range(order + 1)]
        for k in range(1, order + 1):
            neighbours: dict[Gram, set[int]] = defaultdict(set)
            for history, token in events:
                if len(history) < k - 1:
                    continue
                gram = (*history[len(history) - (k - 1) :], token)
                if k == order or len(history) == k - 1:
                    self.counts[k][gram] += 1
                else:
                    neighbours[gram].add(history[len(history) - k])
            for gram, before in neighbours.items():
                self.counts[k][gram] += len(before)
        self.discounts = [
            estimate_discounts([sum(a == i for a in counts.values()) for i in (1, 2, 3, 4)], kind)
            for counts in self.counts
        ]

    def p(self, history: Gram, token: int) -> float:
        k = len(history) + 1
        below = self.p(history[1:], token) if history else 1 / V
        after = {gram: a for gram, a in self.counts[k].items() if gram[:-1] == history}
        if not after:
            return below
        total = sum(after.values())
        a = after.get((*history, token), 0)
        reserved = sum(self.discounts[k][min(b, 3)] for b in after.values())
        return (a - self.discounts[k][min(a, 3)]) / total + reserved / total * below


DOCUMENTS = st.lists(st.lists(st.integers(1, V - 1), max_size=12), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, st.integers(1, 5), st.sampled_from(["modified", "single"]), st.data())
def test_equals_the_equations(documents: Documents, order: int, kind: str, data: st.DataObject) -> None:
    model, slow = fitted(documents, order, kind), Slow(documents, order, kind)
    row = data.draw(st.lists(st.integers(0, V - 1), min_size=1, max_size=8))
    targets = data.draw(st.lists(st.integers(0, V - 1), min_size=len(row), max_size=len(row)))
    starts = data.draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row)))
    segments = 1 + np.cumsum(starts)
    got = model.log_probabilities(np.array([row]), np.array([targets]), segments[None])[0]
    for t, token in enumerate(targets):
        first = max(int(np.argmax(segments == segments[t])), t + 1 - (order - 1))
        want = slow.p(tuple(row[first : t + 1]) if order > 1 else (), token)
        assert np.exp(got[t]) == pytest.approx(want, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(DOCUMENTS, st.integers(1, 6), st.lists(st.integers(0, V - 1), min_size=1, max_size=7))
def test_sums_to_one_after_any_history(documents: Documents, order: int, history: list[int]) -> None:
    model = fitted(documents, order)
    every = [probability(model, tuple(history), token) for token in range(V)]
    assert sum(every) == pytest.approx(1.0, abs=1e-9)
    assert min(every) > 0


def test_by_hand() -> None:
    """0 1 2 1 and the end: four bigrams, once each; two tokens stand before 1, one before others."""
    model = NGram.fit(np.array([0, 1, 2, 1]), np.array([0]), config(2, vocab_size=3))
    # Order 2: D = 0.5. Order 1: A = 4, of which n_1 = 2 and n_2 = 1 give D = 0.5; g = 3 x 0.5 / 4.
    one, other = 1.5 / 4 + 0.375 / 3, 0.5 / 4 + 0.375 / 3
    assert probability(model, (1,), 2) == pytest.approx(0.5 / 2 + 0.5 * other)
    assert probability(model, (1,), 1) == pytest.approx(0.5 * one)
    assert probability(model, (0,), 1) == pytest.approx(0.5 + 0.5 * one)


def test_modified_discounts_by_hand() -> None:
    got = estimate_discounts(np.array([100, 40, 20, 10]), "modified")
    y = 100 / 180
    np.testing.assert_allclose(got, [0, 1 - 2 * y * 0.4, 2 - 3 * y * 0.5, 3 - 4 * y * 0.5])
    np.testing.assert_allclose(estimate_discounts(np.array([100, 40, 20, 10]), "single"), [0, y, y, y])
    # Nothing seen four times, a negative discount, nothing seen once.
    np.testing.assert_allclose(estimate_discounts(np.array([100, 40, 20, 0]), "modified"), [0, y, y, y])
    np.testing.assert_allclose(estimate_discounts(np.array([10, 4, 90, 1]), "modified")[1:], 10 / 18)
    np.testing.assert_allclose(estimate_discounts(np.array([0, 4, 9, 1]), "modified")[1:], 0.5)


def test_order_one_is_frequencies_mixed_with_the_uniform() -> None:
    model = fitted([[1, 1, 1, 2], [1, 2, 3]], 1)
    # Targets: 1 four times, 2 and 0 twice, 3 once; n_1 = 1, n_2 = 2, so D = 1 / 5.
    g = 4 * 0.2 / 9
    for token, count in ((0, 2), (1, 4), (2, 2), (3, 1)):
        assert probability(model, (3, 1), token) == pytest.approx((count - 0.2) / 9 + g / 5)
    assert probability(model, (3, 1), 4) == pytest.approx(g / 5)


def test_unseen_histories_back_off() -> None:
    model = fitted([[1, 2, 3, 1, 2, 3, 2, 1]], 4)
    for token in range(V):
        assert probability(model, (4, 1, 2), token) == probability(model, (1, 2), token)
        assert probability(model, (1, 2, 4), token) == probability(model, (4,), token)


def test_documents_do_not_see_each_other() -> None:
    """Their order changes nothing, and a segment's history ends where it starts."""
    documents = [[1, 2, 3, 1, 2], [3, 3, 1], [2], [], [1, 2, 4, 4, 1]]
    one, two = fitted(documents, 4), fitted(documents[::-1], 4)
    for level, other in zip(one.levels, two.levels, strict=True):
        np.testing.assert_array_equal(level.keys_G, other.keys_G)
        np.testing.assert_array_equal(level.counts_G, other.counts_G)
    row = np.array([[0, 1, 2, 0, 3, 3]])
    targets = np.array([[1, 2, 0, 3, 3, 1]])
    together = one.log_probabilities(row, targets, np.array([[1, 1, 1, 2, 2, 2]]))
    apart = [one.log_probabilities(row[:, part], targets[:, part]) for part in (slice(3), slice(3, 6))]
    np.testing.assert_array_equal(together, np.concatenate(apart, axis=1))


def test_more_context_helps_and_weights_count() -> None:
    """A text of a second-order chain: order 3 comes near its entropy, order 2 cannot."""
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(V - 1, 0.3), (V, V))
    tokens = [1, 2]
    for _ in range(20000):
        tokens.append(1 + rng.choice(V - 1, p=table[tokens[-2], tokens[-1]]))
    ids, starts = packed([tokens[:18000]])
    test = np.array(tokens[18000 : 18001 + 64 * 30])
    rows = {"inputs": test[:-1].reshape(30, 64), "targets": test[1:].reshape(30, 64)}
    chain = np.mean([-np.log(table[a, b, c - 1]) for a, b, c in zip(test, test[1:], test[2:], strict=False)])
    losses = [NGram.fit(ids, starts, config(order)).score([rows]).loss for order in (1, 2, 3, 4)]
    assert losses[0] > losses[1] > losses[2] + 0.1
    assert chain < losses[2] < chain + 0.03 and losses[3] < losses[2] + 0.04
    model = NGram.fit(ids, starts, config(2))
    weights = np.zeros((30, 64), np.float32)
    weights[3, 5] = 1
    scores = model.score([rows | {"weights": weights}, rows])
    logp = model.log_probabilities(rows["inputs"], rows["targets"])
    assert scores.weight_sum == 1 + 30 * 64
    assert scores.nll_sum == pytest.approx(-logp[3, 5] - logp.sum())


def test_counts_of_the_model() -> None:
    model = NGram.fit(np.array([0, 1, 2, 1]), np.array([0]), config(2, vocab_size=3))
    counts = model.parameters
    # Three tokens, four bigrams, and weights after nothing, 0, 1 and 2.
    assert counts.by_component == {"grams_1": 3, "grams_2": 4, "weights": 4}
    assert counts.total == 11 and counts.active == 4
    assert [fitted([[1]], order).lookups_per_token for order in (1, 2, 5)] == [1, 2, 8]


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = fitted([[1, 2, 3, 1, 2, 4, 1], [2, 2]], 3)
    model.save(tmp_path / "model.npz")
    loaded = NGram.load(tmp_path / "model.npz")
    assert loaded.config == model.config
    for level, other in zip(model.levels, loaded.levels, strict=True):
        for ours, theirs in zip(level, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for name, content in (("text.npz", b"text"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInputError, match=name):
            NGram.load(tmp_path / name)
    with pytest.raises(BadInputError, match=r"nothing\.npz"):
        NGram.load(tmp_path / "nothing.npz")


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInputError, match="no text"):
        NGram.fit(np.array([], np.int64), np.array([], np.int64), config(2))
    with pytest.raises(BadInputError, match=r"vocab_size=5.*token 7"):
        NGram.fit(np.array([0, 7]), np.array([0]), config(2))
    with pytest.raises(BadInputError, match="token -1"):
        fitted([[1]], 2).log_probabilities(np.array([[0]]), np.array([[-1]]))
    with pytest.raises(ValueError, match="ascend"):
        NGram.fit(np.array([0, 1]), np.array([0, 2]), config(2))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**40), max_size=30), st.sampled_from([1, 2**22]))
def test_numbered_is_unique(keys: list[int], scale: int) -> None:
    """Also of keys too large to carry their place."""
    array = np.array(keys, np.int64) * scale
    want = np.unique(array, return_inverse=True, return_counts=True)
    for got, expected in zip(_numbered(array), want, strict=True):
        np.testing.assert_array_equal(got, expected)
