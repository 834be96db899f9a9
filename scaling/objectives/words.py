"""Words: runs of tokens that are masked together or not at all."""

from typing import NamedTuple

import numpy as np


class WordFlags(NamedTuple):
    """What a tokenizer says of each of its tokens, two arrays (V,) of bool.

    A token belongs to the word of the token before it where it `continues` and that one is `open`.
    """

    continues: np.ndarray
    open: np.ndarray


def word_starts(tokens_BL: np.ndarray, eligible_BL: np.ndarray, flags: WordFlags) -> np.ndarray:
    """Whether a word begins at each eligible position, (B, L) bool; what is not eligible ends a word."""
    starts_BL = eligible_BL.copy()
    size = len(flags.open)
    known_BL = np.minimum(tokens_BL, size - 1)  # ids beyond the tokenizer's are never eligible
    goes_on_BL = flags.continues[known_BL[:, 1:]] & flags.open[known_BL[:, :-1]] & eligible_BL[:, :-1]
    starts_BL[:, 1:] &= ~goes_on_BL
    return starts_BL


def choose_words(
    starts_BL: np.ndarray, eligible_BL: np.ndarray, limits_B: np.ndarray, bits_BL: np.ndarray
) -> np.ndarray:
    """Positions (B, L) bool of whole words, at most `limits_B` a row.

    Words are gone through in random order, and those that still fit are taken, as BERT's whole-word masking
    does. `bits_BL` are random; a word's are those of its first position.
    """
    B = len(starts_BL)
    words_B = starts_BL.sum(axis=1)
    S = int(words_B.max(initial=0))
    if S == 0:
        return np.zeros_like(starts_BL)
    number_BL = np.cumsum(starts_BL, axis=1) - 1
    flat_BL = np.maximum(number_BL, 0) + np.arange(B)[:, None] * S
    lengths_BS = np.bincount(flat_BL[eligible_BL], minlength=B * S).reshape(B, S)
    order_BL = np.where(starts_BL, bits_BL, np.iinfo(np.uint64).max)
    # Word by word in random order: positions of first tokens, sorted by their bits, as word numbers.
    ranked_BS = np.take_along_axis(number_BL, np.argsort(order_BL, axis=1, kind="stable")[:, :S], axis=1)
    chosen_BS = np.zeros((B, S), bool)
    room_B, rows_B = limits_B.astype(np.int64), np.arange(B)
    for rank in range(S):
        if not room_B.any():
            break
        word_B = ranked_BS[:, rank]
        length_B = lengths_BS[rows_B, word_B]
        take_B = (rank < words_B) & (length_B <= room_B)
        room_B = room_B - np.where(take_B, length_B, 0)
        chosen_BS[rows_B[take_B], word_B[take_B]] = True
    return chosen_BS.ravel()[flat_BL] & eligible_BL
