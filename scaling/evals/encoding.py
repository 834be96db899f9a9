"""Prompts as ids: a context and what comes after it, cut where the tokenizer lets them be cut."""

from functools import lru_cache

from scaling.data.tokenizers import Tokenizer


class Encoder:
    """Encodes prompts for one model.

    `begin` opens a decoder's context, as it opened texts in training; an encoder-decoder has none.
    """

    def __init__(self, tokenizer: Tokenizer, begin: int | None) -> None:
        self.tokenizer = tokenizer
        self.begin: tuple[int, ...] = () if begin is None else (begin,)
        self._encode = lru_cache(maxsize=4096)(lambda text: tuple(tokenizer.encode(text).tolist()))

    def context(self, text: str) -> tuple[int, ...]:
        """The ids of a context."""
        return self.begin + self._encode(text)

    def pair(self, context: str, target: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of a context and of a target after it.

        Both are encoded as one text, which is cut where the context alone ends: a piece that begins with a
        space belongs to the target. A context's own last spaces go over to the target for the same reason.
        Where nothing would be left of the target, the two are encoded apart.
        """
        kept = context.rstrip(" ")
        target = context[len(kept) :] + target
        if self.begin:
            whole, alone = self._encode(kept + target), self._encode(kept)
            if len(whole) > len(alone):
                return self.begin + whole[: len(alone)], whole[len(alone) :]
        return self.begin + self._encode(kept), self._encode(target)

    def shared(self, prefix: str, context: tuple[int, ...]) -> int:
        """How many ids of a context are those of a prefix that other contexts have too."""
        ids = self.context(prefix)
        count = 0
        for ours, theirs in zip(ids, context, strict=False):
            if ours != theirs:
                break
            count += 1
        return count
