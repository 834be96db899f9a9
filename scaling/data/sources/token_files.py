"""Token ids from files: `raw_tokens` and Megatron's pairs. The ids are those of `data.tokenizer`."""

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from scaling.config.data import DataConfig
from scaling.data.sources.files import File, digest, find_files, matching_files, parts_of
from scaling.data.sources.interface import Part, Sample
from scaling.data.sources.megatron import index_of, read_index, read_pair
from scaling.data.sources.raw_tokens import layout, read_raw
from scaling.data.sources.vocabulary import Vocabulary
from scaling.data.tokenizers import Tokenizer, load_tokenizer
from scaling.runtime.errors import BadInputError

_SAMPLED = 8  # files whose numbers of ids are looked up for an estimate


def open_tokens(pattern: str, config: DataConfig) -> "TokenFiles":
    """`tokens:GLOB`.

    Raises:
        BadInputError: no file matches, a name ends in neither .bin nor .idx, half of a pair is missing, or
            `data.tokenizer` cannot be used.
    """
    files = {file.name: file for file in matching_files(config.source, pattern)}
    for one, other in ((".bin", ".idx"), (".idx", ".bin")):
        if pattern.endswith(one):
            files |= {file.name: file for file in find_files(pattern.removesuffix(one) + other)}
    for name in files:
        if not name.endswith((".bin", ".idx")):
            raise BadInputError(
                f"data.source=tokens:{pattern}: {name} ends in neither .bin (ids) nor .idx (an index of "
                "Megatron); narrow the glob"
            )
        if name.endswith(".idx") and name.removesuffix(".idx") + ".bin" not in files:
            raise BadInputError(
                f"data.source=tokens:{pattern}: {name} is an index, but there is no "
                f"{name.removesuffix('.idx')}.bin with its ids"
            )
    ordered = [file for _, file in sorted(files.items())]
    return TokenFiles(ordered, load_tokenizer(config.tokenizer), config.tokenizer)


class TokenFiles:
    """Documents as token ids, without the end-of-text around them.

    A .bin file with an .idx file of the same name is one of Megatron's pairs. Any other is a sequence of ids:
    with a header of llm.c in the type that it names, else uint16, or uint32 for a vocabulary of more than
    65,536 ids. Raw files come before pairs.
    """

    def __init__(self, files: Sequence[File], tokenizer: Tokenizer, name: str) -> None:
        self._files = files
        self._tokenizer = tokenizer
        self._vocabulary = Vocabulary(name, tokenizer.vocab_size, tokenizer.end_of_text)
        self._indices = {file.name: file for file in files if file.name.endswith(".idx")}
        data = [file for file in files if file.name.endswith(".bin")]
        self._raw = [file for file in data if index_of(file.name) not in self._indices]
        self._pairs = [file for file in data if index_of(file.name) in self._indices]

    @cached_property
    def identity(self) -> str:
        """Names, sizes and modification times of the files, and the id between documents."""
        vocabulary = self._vocabulary
        return f"tokens:{vocabulary.size}:{vocabulary.end_of_text}:" + digest(self._files)

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """Groups of files, and ranges of large ones."""
        parts = []
        for files, read in ((self._raw, read_raw), (self._pairs, read_pair)):
            if files:
                parts += parts_of(
                    files, partial(read, vocabulary=self._vocabulary), target_bytes, lambda file: True
                )
        return parts

    def sample(self, most: int = 1 << 20) -> Sample:
        """The number of ids from the sizes of some files, and the lengths of the first documents."""
        data = [*self._raw, *self._pairs]
        some = data[:: max(1, len(data) // _SAMPLED)][:_SAMPLED]
        scale = sum(file.size for file in data) / max(1, sum(file.size for file in some))
        ids = scale * sum(map(self._count, some))
        texts: list[np.ndarray] = []
        for part in self.parts(most):
            texts += [ids for ids in part.documents() if isinstance(ids, np.ndarray) and len(ids)]
            if sum(map(len, texts)) >= most // 2:
                break
        if not texts:
            raise BadInputError(f"data.source: {data[0].name}: the files are empty")
        held = sum(map(len, texts))
        documents = ids / (held / len(texts) + 1)  # each with an end-of-text
        byte_lengths_V = self._tokenizer.byte_lengths()
        bytes_per_token = sum(int(byte_lengths_V[text].sum()) for text in texts) / held
        tokens = ids - documents
        return Sample([*texts], max(1.0, documents), tokens * bytes_per_token, tokens)

    def _count(self, file: File) -> int:
        """Ids in a .bin file."""
        index = self._indices.get(index_of(file.name))
        if index is not None:
            with index.open() as stream:
                return file.size // read_index(index, stream).dtype.itemsize
        with file.open() as stream:
            return layout(file, stream, self._vocabulary).ids
