"""What the ids of token files are checked against, and what separates documents in them."""

from dataclasses import dataclass

import numpy as np

from scaling.runtime.errors import BadInputError


@dataclass(frozen=True)
class Vocabulary:
    """The ids of `data.tokenizer`, which is named `tokenizer`."""

    tokenizer: str
    size: int
    end_of_text: int

    def check(self, ids: np.ndarray, file: str, first: int) -> None:
        """Raises BadInputError for an id beyond the vocabulary; `first` is the position of ids[0]."""
        if not len(ids) or (ids.max() < self.size and ids.min() >= 0):
            return
        at = int(np.argmax((ids >= self.size) | (ids < 0)))
        raise BadInputError(
            f"data.source: {file}: token {first + at}: id {ids[at]} is beyond the {self.size} ids of "
            f"data.tokenizer={self.tokenizer}; name the tokenizer that made the file"
        )

    def ends(self, ids: np.ndarray) -> list[int]:
        """Positions of end-of-text."""
        return np.flatnonzero(ids == self.end_of_text).tolist()
