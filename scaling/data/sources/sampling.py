"""Samples of a source: spread over it, to train a tokenizer, and its first documents, to estimate it."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from scaling.data.sources.interface import Document, Sample, Source, Tally
from scaling.objectives.draws import mix_seed
from scaling.runtime.errors import BadInputError

_PARTS = 64  # parts that a sample is at least read from, where the source has so many
_LARGEST = 1 << 20  # bytes read from a part before another one's turn
_MOST_PARTS = 20_000  # into which a source is divided


def first_documents(documents: Iterable[Document], records: float, most: int) -> Sample | None:
    """The estimate of a source from its first documents, until their text has `most` bytes of UTF-8.

    Args:
      documents: of a part of the source that is like all of it.
      records: documents in the source, the empty ones included.
      most: bytes to read.

    Returns:
      None where there is no text.
    """
    texts: list[str] = []
    read = text_bytes = 0
    for document in documents:
        read += 1
        if isinstance(document, str) and document:
            texts.append(document)
            text_bytes += len(document.encode())
        if text_bytes >= most:
            break
    if not texts:
        return None
    return Sample([*texts], records * len(texts) / read, records * text_bytes / read)


def sampled_texts(source: Source, seed: int, max_bytes: int) -> Iterator[str]:
    """Documents with text until they are `max_bytes` of UTF-8; all of a smaller source.

    Small parts are read in turn, in a seeded order, each for its share of `max_bytes`: a sample of a large
    source is spread over it, and little more than the sample is read. The same source and seed give
    the same texts.

    Raises:
      BadInputError: as `Part.documents`; also documents that are token ids.
    """
    total = sum(part.size for part in source.parts())
    share = max(4096, min(_LARGEST, max_bytes // _PARTS), total // _MOST_PARTS)
    parts = source.parts(share)
    share = max(share, max_bytes // max(1, len(parts)))
    rng = np.random.Generator(np.random.PCG64(mix_seed(seed, stream=2)))
    waiting = deque(parts[i] for i in rng.permutation(len(parts)).tolist())
    opened: deque[Iterator[str | np.ndarray]] = deque()
    read = 0
    while read < max_bytes and (waiting or opened):
        # A part that holds more than its share waits until all others have been read.
        reader = Tally().kept(waiting.popleft().documents()) if waiting else opened.popleft()
        taken = 0
        for text in reader:
            if not isinstance(text, str):
                raise BadInputError("source: it holds token ids; a tokenizer is trained on text")
            yield text
            taken += (size := len(text.encode("utf-8")))
            read += size
            if read >= max_bytes:
                return
            if taken >= share:
                opened.append(reader)
                break
