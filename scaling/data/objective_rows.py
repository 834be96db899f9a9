"""Rows of an objective other than causal: text of one split, and what the objective makes of it."""

from collections.abc import Callable

import numpy as np

from scaling.config.data import DataConfig, row_lengths
from scaling.config.objective import MaskedObjective, Objective
from scaling.data.packing import Batch, PackedRows
from scaling.data.store import TokenSplit
from scaling.data.tokenizers import Tokenizer
from scaling.objectives.build import build_objective, is_static
from scaling.objectives.draws import row_keys
from scaling.objectives.sentence_pairs import SentencePairs
from scaling.objectives.specials import Specials
from scaling.runtime.errors import BadInputError


class ObjectiveRows:
    """Rows of text, each made into an example by noise of its own.

    A row's noise hangs on the seed and on its number in the endless sequence of rows, or on its index where
    the objective is static: never on the batch, the host or a restart. No row is padded with text that is
    not there: a split's last, incomplete window is left out.
    """

    every_token_counts = False

    def __init__(
        self,
        split: TokenSplit,
        order_D: np.ndarray,
        config: DataConfig,
        objective: Objective,
        specials: Specials,
        tokenizer: Tokenizer,
        *,
        seed: int,
    ) -> None:
        """`seed` is of 64 bits, from `mix_seed`.

        Raises:
          BadInputError: the split is shorter than one row, or has too few documents for pairs of segments.
        """
        self.sequence_length = L = config.sequence_length
        self._seed, self._static = seed, is_static(objective)
        lengths = row_lengths(objective, L)
        self._text: Callable[[np.ndarray, np.ndarray], Batch]
        if isinstance(objective, MaskedObjective) and objective.sentences != "none":
            starts_D, lengths_D = split.offsets[:-1][order_D] + 1, np.diff(split.offsets)[order_D] - 1
            pairs = SentencePairs(
                split.ids,
                starts_D,
                lengths_D,
                L,
                specials,
                kind=objective.sentences,
                short=objective.short,
            )
            self._text, self._count = pairs.take, len(pairs)
        else:
            mask = config.mask_documents and lengths.target is None
            rows = PackedRows(split, order_D, lengths.window, mask_documents=mask, pad=False)
            self._text, self._count = rows.take, len(rows)
        if self._count == 0:
            raise BadInputError(
                f"data.sequence_length={L}: objective {objective.name} reads {lengths.window} tokens a row, "
                f"and one side of the split has only {split.tokens}; shorten it, give data.source more text, "
                "or change data.validation_fraction"
            )
        words = tokenizer.word_flags() if isinstance(objective, MaskedObjective) else None
        self._make = build_objective(objective, L, specials, tokenizer.byte_lengths() > 0, words)

    def __len__(self) -> int:
        return self._count

    @property
    def tokens(self) -> int:
        """Positions of `inputs` in all rows."""
        return self._count * self.sequence_length

    @property
    def tokens_per_epoch(self) -> int:
        """Positions of `inputs` in one pass over the rows."""
        return self.tokens

    def take(self, indices_B: np.ndarray, numbers_B: np.ndarray | None = None) -> Batch:
        """The rows of these indices, at these places in the endless sequence; without, in the first epoch.

        Raises IndexError for an index that is no row's.
        """
        numbers_B = indices_B if numbers_B is None or self._static else numbers_B
        keys_B = row_keys(self._seed, numbers_B)
        return self._make(self._text(indices_B, keys_B), keys_B)
