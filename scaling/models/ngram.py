"""An n-gram language model with interpolated Kneser-Ney smoothing, in NumPy: no loop over tokens.

Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", Computer Speech and
Language 13:359-394. For a history h of k - 1 tokens, h' the same without its first,

    p_k(w | h) = (a(h w) - D(a(h w))) / A(h) + g(h) p_{k-1}(w | h'),    A(h) = sum over w of a(h w),
    g(h) = sum over w of D(a(h w)) / A(h),

p_k = p_{k-1} where h was never seen, and p_0 = 1 / V: order 1 is the frequencies, discounted and mixed with
the uniform distribution. At the highest order a counts how often h w occurs, below it how many different
tokens precede it (Kneser and Ney 1995). A gram that opens a document has none before it: there its
occurrences count, as in KenLM (Heafield et al. 2013). The discount D is one of three, by a = 1, 2, or 3 and
more, or one for all with `discounts: single`, estimated for each order from how many of its grams have a = 1,
2, 3 and 4.
"""

import dataclasses
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scaling.config.baselines import NGramConfig
from scaling.config.record import ParameterCounts
from scaling.runtime.errors import BadInputError

Batch = Mapping[str, np.ndarray]
_FORMAT = 1


class Level(NamedTuple):
    """The grams of one order k, sorted: G of them, over H histories of k - 1 tokens.

    A gram's key is history x V + token, and its place in `keys_G` its number; a history is the number of a
    gram one order below (0 for k = 1). Of order 1 every token is there, counted or not.
    """

    keys_G: np.ndarray  # int64, ascending
    counts_G: np.ndarray  # int64, the adjusted counts a
    discounts: np.ndarray  # (4,) float64, of a = 0 (none), 1, 2, 3 and more
    totals_H: np.ndarray  # float64, A of each history; 0 where nothing was seen after it
    weights_H: np.ndarray  # float64, g of each history; 1 where nothing was seen after it


@dataclasses.dataclass(frozen=True)
class CorpusLoss:
    """Sums over the scored positions of batches, in nats and in tokens."""

    nll_sum: float
    weight_sum: float

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nll_sum / max(self.weight_sum, 1.0)


@dataclasses.dataclass(frozen=True)
class NGram:
    """A fitted model: one level per order, the lowest first."""

    config: NGramConfig
    levels: tuple[Level, ...]

    @classmethod
    def fit(cls, ids_T: np.ndarray, document_starts_D: np.ndarray, config: NGramConfig) -> "NGram":
        """The model of a text.

        Every token is predicted from those before it in its document, the first one from the end-of-text that
        leads it; after a document's last comes the token that leads the next (after the last document's, the
        one that leads it), as in the packed rows that networks train on.

        Args:
            ids_T: documents one after another, each led by its end-of-text token.
            document_starts_D: where in `ids_T` each starts.

        Raises:
            BadInputError: no text, or a token outside the vocabulary.
            ValueError: starts that do not ascend from 0 to within the text.
        """
        x_T, y_T, history_T = _events(np.asarray(ids_T), np.asarray(document_starts_D, np.int64), config)
        V = config.vocab_size
        keys_G, gram_T, counts_G = np.arange(V), y_T, np.bincount(y_T, minlength=V)
        events_T = np.arange(len(y_T))  # those whose histories reach this order, and `gram_T` their grams
        levels: list[Level] = []
        for order in range(2, config.order + 1):
            reach_T = history_T[events_T] >= order - 1
            if order == 2:
                before_T = x_T
            else:  # the history is the gram of the event before
                number_T = np.empty(len(y_T), np.int64)
                number_T[events_T] = gram_T
                before_T = number_T[events_T[reach_T] - 1]
            opening_T, suffix_T, events_T = gram_T[~reach_T], gram_T[reach_T], events_T[reach_T]
            longer_G, gram_T, longer_counts_G = _numbered(before_T * V + y_T[events_T])
            suffix_G = np.empty(len(longer_G), np.int64)
            suffix_G[gram_T] = suffix_T
            counts_G = np.bincount(suffix_G, minlength=len(keys_G))
            counts_G += np.bincount(opening_T, minlength=len(keys_G))
            levels.append(_level(levels, keys_G, counts_G, config))
            keys_G, counts_G = longer_G, longer_counts_G
        levels.append(_level(levels, keys_G, counts_G, config))
        return cls(config, tuple(levels))

    def log_probabilities(
        self, inputs_BL: np.ndarray, targets_BL: np.ndarray, segment_ids_BL: np.ndarray | None = None
    ) -> np.ndarray:
        """logp_BL of each target after the inputs up to its position, in nats, float64.

        A history goes no further back than its row, nor where `segment_ids_BL` is given than its segment.

        Raises:
            BadInputError: a token outside the vocabulary.
        """
        V, order = self.config.vocab_size, self.config.order
        x_T = _tokens(inputs_BL, self.config).reshape(-1)
        y_T = _tokens(targets_BL, self.config).reshape(-1)
        history_T = _history_lengths(np.shape(inputs_BL), segment_ids_BL).reshape(-1)
        p_T = np.full(len(y_T), 1.0 / V)
        before_T = np.zeros(len(y_T), np.int64)  # of each event the number of its history; -1 where unseen
        for k, level in enumerate(self.levels, start=1):
            known_T = np.flatnonzero(before_T >= 0)
            history = before_T[known_T]
            place, found = _find(level.keys_G, history * V + y_T[known_T])
            count = np.where(found, level.counts_G[place], 0) if len(level.counts_G) else np.zeros(len(place))
            left = count - level.discounts[np.minimum(count, 3).astype(np.int64)]
            total = level.totals_H[history]
            share = np.divide(left, total, out=np.zeros(len(left)), where=total > 0)
            p_T[known_T] = share + level.weights_H[history] * p_T[known_T]
            if k == order:
                break
            # The history one token longer: what ends at this input, after what ended at the input before.
            longer_T = np.full(len(y_T), -1)
            if k == 1:
                longer_T = x_T
            else:
                at = np.flatnonzero(history_T >= k)
                at = at[before_T[at - 1] >= 0]
                place, found = _find(level.keys_G, before_T[at - 1] * V + x_T[at])
                longer_T[at[found]] = place[found]
            before_T = longer_T
        return np.log(p_T).reshape(np.shape(targets_BL))

    def score(self, batches: Iterable[Batch]) -> CorpusLoss:
        """The summed loss of batches of `inputs`, `targets`, and where there are `segment_ids`, `weights`."""
        nll = weight = 0.0
        for batch in batches:
            logp_BL = self.log_probabilities(batch["inputs"], batch["targets"], batch.get("segment_ids"))
            weights_BL = np.asarray(batch.get("weights", np.ones(logp_BL.shape)), np.float64)
            nll -= float((weights_BL * logp_BL).sum())
            weight += float(weights_BL.sum())
        return CorpusLoss(nll, weight)

    @property
    def parameters(self) -> ParameterCounts:
        """Numbers of the model: a probability for each gram counted, a weight for each history seen."""
        components = {
            f"grams_{k}": int(np.count_nonzero(level.counts_G))
            for k, level in enumerate(self.levels, start=1)
        }
        components["weights"] = sum(int(np.count_nonzero(level.totals_H)) for level in self.levels)
        total = sum(components.values())
        return ParameterCounts(
            total=total,
            active=2 * self.config.order,  # of each order a probability and a weight
            embedding=0,
            non_embedding=total,
            non_embedding_with_head=total,
            by_component=components,
        )

    @property
    def lookups_per_token(self) -> int:
        """Sorted tables searched to score one token: its gram at every order, and its longer histories.

        The closest analogue of FLOPs: nothing is multiplied. Fitting sorts one key per order and token.
        """
        return self.config.order + max(0, self.config.order - 2)

    def save(self, path: Path) -> None:
        """Writes keys, counts and discounts of every order as `.npz`, without pickles."""
        arrays = {"format": np.array(_FORMAT), "config": np.array(self.config.model_dump_json())}
        for k, level in enumerate(self.levels, start=1):
            arrays |= {f"keys_{k}": level.keys_G, f"counts_{k}": level.counts_G}
            arrays[f"discounts_{k}"] = level.discounts
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "NGram":
        """A model that `save` wrote.

        Raises:
            BadInputError: no such file, or another kind of file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if int(arrays["format"]) != _FORMAT:
                    raise ValueError("of another version")
                config = NGramConfig.model_validate(json.loads(str(arrays["config"])))
                levels: list[Level] = []
                for k in range(1, config.order + 1):
                    keys_G, counts_G = arrays[f"keys_{k}"], arrays[f"counts_{k}"]
                    levels.append(_level(levels, keys_G, counts_G, config, arrays[f"discounts_{k}"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BadInputError(f"{path}: not a saved n-gram model ({error})") from error
        return cls(config, tuple(levels))


def _tokens(ids: np.ndarray, config: NGramConfig) -> np.ndarray:
    ids = np.asarray(ids).astype(np.int64)
    if ids.size and not (ids.min() >= 0 and ids.max() < config.vocab_size):
        outside = ids.max() if ids.min() >= 0 else ids.min()
        raise BadInputError(
            f"model.vocab_size={config.vocab_size}: the text has token {outside}, from 0 up to it"
        )
    return ids


def _events(
    ids_T: np.ndarray, starts_D: np.ndarray, config: NGramConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every prediction: the input before it, its target, and the number of tokens in its history."""
    if not len(ids_T):
        raise BadInputError("data: there is no text to fit the n-gram to; give at least one document")
    if not len(starts_D) or starts_D[0] != 0 or (np.diff(starts_D) <= 0).any() or starts_D[-1] >= len(ids_T):
        raise ValueError("document starts must ascend from 0 to within the text")
    x_T = _tokens(ids_T, config)
    y_T = np.append(x_T[1:], x_T[starts_D[-1]])
    lengths_D = np.diff(np.append(starts_D, len(x_T)))
    history_T = np.arange(1, len(x_T) + 1) - np.repeat(starts_D, lengths_D)
    return x_T, y_T, history_T


def _numbered(keys_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The different keys in order, the place among them of each, and how often each is there."""
    bits = max(1, len(keys_T) - 1).bit_length()
    if not len(keys_T) or int(keys_T.max()) >> (63 - bits):
        return np.unique(keys_T, return_inverse=True, return_counts=True)
    # Sorting numbers that carry their place is several times faster than sorting places by their numbers.
    sorted_T = np.sort(keys_T << bits | np.arange(len(keys_T)))
    place_T = sorted_T & ((1 << bits) - 1)
    sorted_T >>= bits
    first_T = np.ones(len(keys_T), bool)
    np.not_equal(sorted_T[1:], sorted_T[:-1], out=first_T[1:])
    number_T = np.empty(len(keys_T), np.int64)
    number_T[place_T] = np.cumsum(first_T) - 1
    starts_G = np.flatnonzero(first_T)
    return sorted_T[starts_G], number_T, np.diff(np.append(starts_G, len(keys_T)))


def _history_lengths(shape: tuple[int, ...], segment_ids_BL: np.ndarray | None) -> np.ndarray:
    """Tokens (B, L) from the start of a row or segment up to each input, that one included."""
    at_BL = np.broadcast_to(np.arange(shape[1]), shape)
    if segment_ids_BL is None:
        return at_BL + 1
    starts_BL = np.ones(shape, bool)
    starts_BL[:, 1:] = segment_ids_BL[:, 1:] != segment_ids_BL[:, :-1]
    return at_BL - np.maximum.accumulate(np.where(starts_BL, at_BL, 0), axis=1) + 1


def _find(keys_G: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each key, and whether it is present; the place of a missing key has no meaning."""
    if not len(keys_G):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(keys_G, wanted), len(keys_G) - 1)
    return place, keys_G[place] == wanted


def _level(
    below: list[Level],
    keys_G: np.ndarray,
    counts_G: np.ndarray,
    config: NGramConfig,
    discounts: np.ndarray | None = None,
) -> Level:
    """The level above those `below`."""
    if discounts is None:
        discounts = estimate_discounts(
            np.bincount(np.minimum(counts_G, 5), minlength=5)[1:5], config.discounts
        )
    histories = len(below[-1].keys_G) if below else 1
    history_G = keys_G // config.vocab_size
    totals_H = np.bincount(history_G, weights=counts_G, minlength=histories)
    reserved_H = np.bincount(history_G, weights=discounts[np.minimum(counts_G, 3)], minlength=histories)
    weights_H = np.divide(reserved_H, totals_H, out=np.ones(histories), where=totals_H > 0)
    return Level(keys_G, counts_G, discounts, totals_H, weights_H)


def estimate_discounts(counts_of_counts: np.ndarray, kind: str) -> np.ndarray:
    """Discounts (4,) of a = 0, 1, 2, and 3 or more, from how many grams have a = 1, 2, 3, 4.

    The three of Chen and Goodman 1999, D_i = i - (i + 1) Y n_{i+1} / n_i with Y = n_1 / (n_1 + 2 n_2). Where
    a count is missing or a discount would not be positive, as where all grams are frequent, the one of Ney et
    al. 1994 for all, D = Y; and 0.5 if that is undefined too.
    """
    n = np.asarray(counts_of_counts, np.float64)
    if not (n[:2] > 0).all():
        return np.array([0.0, 0.5, 0.5, 0.5])
    single = n[0] / (n[0] + 2 * n[1])
    if kind == "modified" and (n > 0).all():
        modified = np.array([i - (i + 1) * single * n[i] / n[i - 1] for i in (1, 2, 3)])
        if (modified > 0).all():
            return np.append(0.0, modified)
    return np.array([0.0, single, single, single])
