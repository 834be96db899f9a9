"""Prefix language modelling: where the prefix of each segment of a row ends."""

import numpy as np

from scaling.objectives.draws import bits, scale

Batch = dict[str, np.ndarray]
_SPLIT = 1


def with_prefixes(batch: Batch, keys_B: np.ndarray) -> Batch:
    """A packed batch with `prefix` int32 and `weights` float32 (B, L) added.

    The segment of a document in a row (the row where nothing is masked) of n tokens has a prefix of p, where
    p is uniform from 1 to n - 1; a segment of one token has none. The state at the last position of a prefix
    has seen no token after it, so it predicts the first of the rest, and `weights` are 1 from there on: the
    loss is that of the rest given the prefix.
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
