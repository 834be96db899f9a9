"""Objectives that split a text in two: span corruption, its mixtures, and the prefix language model."""

import numpy as np

from scaling.config.data import noises, pads, row_lengths, span_counts, span_lengths
from scaling.config.objective import DenoisingObjective, SpansObjective
from scaling.objectives.draws import below, bits, scale, uniforms
from scaling.objectives.specials import Specials

Batch = dict[str, np.ndarray]
_SPLIT = 1
_SETTING, _OFFSET, _NOISE_CUTS, _KEPT_CUTS, _DROPS = range(31, 36)


def span_mask(keys_B: np.ndarray, window: int, noise: int, spans: int) -> np.ndarray:
    """Dropped positions (B, window): `noise` of them in `spans` spans, kept and dropped ones alternating.

    The kept and the dropped tokens are each cut into `spans` parts of at least one token, all ways equally
    likely; a window begins with kept and ends with dropped tokens. As T5's random_spans_noise_mask.
    """
    dropped_BS = _random_parts(keys_B, _NOISE_CUTS, noise, spans)
    kept_BS = _random_parts(keys_B, _KEPT_CUTS, window - noise, spans)
    lengths = np.stack([kept_BS, dropped_BS], axis=2).ravel()
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(len(keys_B), window)


def _random_parts(keys_B: np.ndarray, use: int, items: int, parts: int) -> np.ndarray:
    """Lengths (B, parts), each at least 1, that sum to `items`; all compositions are equally likely."""
    B = len(keys_B)
    cuts_BS = np.zeros((B, 0), np.int64)
    if parts > 1:
        bits_BI = bits(keys_B, use, items - 1)  # a cut may come after any item but the last
        last_B1 = np.partition(bits_BI, parts - 2, axis=1)[:, parts - 2 : parts - 1]
        cuts_BS = (np.nonzero(bits_BI <= last_B1)[1] + 1).reshape(B, parts - 1)
    ends = np.zeros((B, 1), np.int64), np.full((B, 1), items, np.int64)
    return np.diff(np.concatenate([ends[0], cuts_BS, ends[1]], axis=1), axis=1)


def iid_mask(keys_B: np.ndarray, window: int, rate: float, most: int) -> np.ndarray:
    """Dropped positions (B, window), each with probability `rate`, independently (Raffel et al. 2019, section
    3.3).

    Once a row's target has `most` symbols, no further tokens are dropped.
    """
    drop_BW = uniforms(keys_B, _DROPS, window) < rate
    symbols_BW = np.cumsum(drop_BW.astype(np.int32) + _run_starts(drop_BW), axis=1)
    return drop_BW & (symbols_BW + 1 <= most)


def _run_starts(drop_BW: np.ndarray) -> np.ndarray:
    starts_BW = drop_BW.copy()
    starts_BW[:, 1:] &= ~drop_BW[:, :-1]
    return starts_BW


def replace_spans(
    window_BW: np.ndarray, drop_BW: np.ndarray, source_length: int, target_length: int, specials: Specials
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(source (B, L), target (B, T), and their unpadded lengths (B,), (B,)), padded with end-of-text.

    The source is the window with one sentinel for each run of dropped tokens, the target each sentinel
    followed by its tokens; both end with end-of-text. Sentinels are numbered from the left.
    """
    B = len(window_BW)
    starts_BW = _run_starts(drop_BW)
    sentinels_BW = specials.sentinels(np.cumsum(starts_BW, axis=1) - 1)
    source_BL = np.full((B, source_length), specials.end_of_text, np.int32)
    target_BT = np.full((B, target_length), specials.end_of_text, np.int32)

    stays_BW = ~drop_BW | starts_BW
    to_BW = np.cumsum(stays_BW, axis=1) - 1
    row, at = np.nonzero(stays_BW)
    source_BL[row, to_BW[row, at]] = np.where(starts_BW, sentinels_BW, window_BW)[row, at]

    to_BW = np.cumsum(drop_BW.astype(np.int64) + starts_BW, axis=1) - 1
    target_ends_B = to_BW[:, -1] + 2
    row, at = np.nonzero(drop_BW)
    target_BT[row, to_BW[row, at]] = window_BW[row, at]
    row, at = np.nonzero(starts_BW)
    target_BT[row, to_BW[row, at] - 1] = sentinels_BW[row, at]
    return source_BL, target_BT, stays_BW.sum(axis=1) + 1, target_ends_B


def decoder_inputs(targets_BT: np.ndarray, specials: Specials) -> np.ndarray:
    """Targets shifted by one position, after the start token."""
    return np.concatenate([np.full_like(targets_BT[:, :1], specials.start), targets_BT[:, :-1]], axis=1)


class SpanCorruption:
    """Windows of text to source and target, by one setting of span corruption or a mixture of several."""

    def __init__(
        self, objective: SpansObjective | DenoisingObjective, length: int, specials: Specials
    ) -> None:
        self._objective, self._length, self._specials = objective, length, specials
        self._iid = isinstance(objective, SpansObjective) and objective.iid
        self._lengths = row_lengths(objective, length)
        self._source_pads, self._target_pads = pads(objective, length)
        self._noises = noises(objective)
        weights = np.array([noise.weight for noise in self._noises])
        self._shares = np.cumsum(weights / weights.sum())[:-1]

    def __call__(self, window_BW: np.ndarray, keys_B: np.ndarray) -> Batch:
        """`inputs` (B, L), `decoder_inputs`, `targets` (B, T); `weights`, `segment_ids` where they pad."""
        L, T, specials = self._length, self._lengths.target, self._specials
        assert T is not None
        setting_B = self._settings(keys_B)
        source_BL, target_BT = np.empty((len(keys_B), L), np.int32), np.empty((len(keys_B), T), np.int32)
        source_ends_B, target_ends_B = np.empty(len(keys_B), np.int64), np.empty(len(keys_B), np.int64)
        for number in range(len(self._noises)):
            mine = np.flatnonzero(setting_B == number) if len(self._noises) > 1 else slice(None)
            piece_BW, drop_BW = self._dropped(number, window_BW[mine], keys_B[mine])
            made = replace_spans(piece_BW, drop_BW, L, T, specials)
            source_BL[mine], target_BT[mine], source_ends_B[mine], target_ends_B[mine] = made
        batch = {
            "inputs": source_BL,
            "decoder_inputs": decoder_inputs(target_BT, specials),
            "targets": target_BT,
        }
        if self._target_pads:
            batch["weights"] = (np.arange(T) < target_ends_B[:, None]).astype(np.float32)
        if self._source_pads:
            batch["segment_ids"] = (np.arange(L) < source_ends_B[:, None]).astype(np.int32)
        return batch

    def _settings(self, keys_B: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._shares, uniforms(keys_B, _SETTING, 1)[:, 0], side="right")

    def _dropped(
        self, number: int, window_BW: np.ndarray, keys_B: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The part of each window that a setting uses, and the positions that it drops."""
        if self._iid:
            assert self._lengths.target is not None
            rate = self._noises[number].rate
            return window_BW, iid_mask(keys_B, self._lengths.window, rate, self._lengths.target)
        rate, mean_length = self._noises[number].rate, self._noises[number].mean_length
        size = span_lengths(self._length, rate, mean_length)[0]
        spare = self._lengths.window - size
        if spare:
            begin_B = below(keys_B, _OFFSET, np.full(len(keys_B), spare + 1))
            window_BW = np.take_along_axis(window_BW, begin_B[:, None] + np.arange(size), axis=1)
        return window_BW, span_mask(keys_B, size, *span_counts(size, rate, mean_length))


def with_prefixes(batch: Batch, keys_B: np.ndarray) -> Batch:
    """A packed batch with `prefix` int32 and `weights` float32 (B, L) added.

    A document's segment of n tokens in a row (or the complete row, without document masks) has a prefix of p
    tokens, p uniform from 1 to n - 1; a segment of one token has none. The state at the last position of a
    prefix has seen no later token, so it predicts the first token after the prefix, and `weights` are 1 from
    there on: the loss is that of the rest given the prefix.
    """
    inputs_BL = batch["inputs"]
    B, L = inputs_BL.shape
    if "segment_ids" in batch:
        segments_BL, offsets_BL = batch["segment_ids"].astype(np.int64), batch["positions"]
    else:
        segments_BL, offsets_BL = np.ones((B, L), np.int64), np.broadcast_to(np.arange(L), (B, L))
    S = int(segments_BL.max(initial=0)) + 1
    flat_BL = segments_BL + np.arange(B)[:, None] * S
    lengths_BS = np.bincount(flat_BL.ravel(), minlength=B * S).reshape(B, S)
    prefix_BS = 1 + scale(bits(keys_B, _SPLIT, S), np.maximum(lengths_BS - 1, 1))
    prefix_BS[lengths_BS < 2] = 0
    prefix_BL = prefix_BS.ravel()[flat_BL]
    return batch | {
        "prefix": (offsets_BL < prefix_BL).astype(np.int32),
        "weights": (offsets_BL >= prefix_BL - 1).astype(np.float32),
    }
