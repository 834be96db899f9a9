"""The text that a tokenizer learns from."""

import itertools
from collections.abc import Callable, Iterable, Iterator

from scaling.data.sources import Source, sampled_texts
from scaling.runtime.errors import BadInputError

END_OF_TEXT = "<|endoftext|>"
Progress = Callable[[int, int], None]


def sample(source: Source, seed: int, max_bytes: int) -> Iterator[str]:
    """Texts of a source, `max_bytes` of them in all.

    Raises:
      BadInputError: there is no text in it, or it cannot be read.
    """
    texts = sampled_texts(source, seed, max_bytes)
    if (first := next(texts, None)) is None:
        raise BadInputError("source: there is no text in it to train a tokenizer on")
    return itertools.chain([first], texts)


def reported(texts: Iterable[str], max_bytes: int, progress: Progress | None) -> Iterator[str]:
    """The texts; `progress` is called with bytes read and the most that are read, which ends it."""
    done = 0
    for text in texts:
        yield text
        done += len(text.encode("utf-8"))
        if progress:
            progress(min(done, max_bytes), max_bytes)
    if progress:
        progress(max_bytes, max_bytes)
