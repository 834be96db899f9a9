"""What a source is: an identity and parts, each of which is read as a stream of documents."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np

_NAMED = 3  # malformed records that a tally quotes


@dataclass(frozen=True)
class Malformed:
    """A record that is not a document, left out because of `data.on_error=skip`."""

    reason: str
    """One line that names the file and the record."""


# Text, "" where a record has none; or token ids (length,) where the source is tokenised.
Document = str | np.ndarray | Malformed


class Part(Protocol):
    """A piece of a source that one process reads. Picklable; opens nothing before it is read."""

    @property
    def name(self) -> str:
        """File and range, for messages and manifests."""
        ...

    @property
    def size(self) -> int:
        """Bytes read, or an estimate of them, for progress."""
        ...

    def documents(self) -> Iterator[Document]:
        """All documents in order; holds a few of them in memory at a time.

        Raises:
          BadInputError: it cannot be read, or a record is malformed; names the file and the record.
        """
        ...


class Source(Protocol):
    """Documents as a list of parts."""

    @property
    def identity(self) -> str:
        """Names the contents for caches: changes when they may have changed. Reads no text."""
        ...

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """Parts of about `target_bytes`, which together hold every document once, in a fixed order.

        The order of the documents does not depend on `target_bytes`.
        """
        ...


@dataclass(frozen=True)
class Sample:
    """Some documents of a source, and the estimated size of the complete source."""

    texts: list[str | np.ndarray]
    documents: float
    """Documents in the source."""
    bytes: float
    """UTF-8 bytes of text in the source."""
    tokens: float | None = None
    """Tokens in the source where they are known; null where there is only text."""


class Sampled(Source, Protocol):
    """A source that can be estimated without reading all of it."""

    def sample(self, most: int = 1 << 20) -> Sample | None:
        """Read about `most` bytes; None where that would download a dataset. Raises as `Part.documents`."""
        ...


@dataclass
class Tally:
    """Counts of the records of a source."""

    documents: int = 0
    """Documents with text."""
    empty: int = 0
    """Documents without text, left out."""
    malformed: int = 0
    """Malformed records, left out because of `data.on_error=skip`."""
    duplicates: int = 0
    """Documents whose text has occurred before. They are kept."""
    reasons: list[str] = field(default_factory=list)
    """The first malformed records, each in a line that names the file and the record."""

    @property
    def records(self) -> int:
        """All records read, the empty and the malformed ones included."""
        return self.documents + self.empty + self.malformed

    def kept(self, documents: Iterable[Document], most: int | None = None) -> Iterator[str | np.ndarray]:
        """The documents with text, counting all records; stops when the tally has `most` records."""
        for document in islice(documents, None if most is None else max(0, most - self.records)):
            if isinstance(document, Malformed):
                self.malformed += 1
                if len(self.reasons) < _NAMED:
                    self.reasons.append(document.reason)
            elif len(document):
                self.documents += 1
                yield document
            else:
                self.empty += 1

    def add(self, other: "Tally") -> None:
        """Add the counts of the part that follows."""
        self.documents += other.documents
        self.empty += other.empty
        self.malformed += other.malformed
        self.duplicates += other.duplicates
        self.reasons = (self.reasons + other.reasons)[:_NAMED]
