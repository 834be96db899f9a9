"""The files of a folder of shards, except the shards: the settings, what each shard holds, the manifest.

settings.json                  what the folder is made from and how; written first
shards/00012.train.array_record   documents of one side, `[end_of_text] + tokens`, as little-endian integers
shards/00012.train.index       their content hashes, then their lengths: (documents,) uint64 and int64
shards/00012.json              what a finished shard holds; a shard without it does not exist
tokenizer/                     the tokenizer's own files
train.hashes, train.offsets    the indexes of all shards, joined
manifest.json                  counts, hashes and versions; written last
"""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from scaling.config.base import Frozen
from scaling.data.sources.interface import Tally
from scaling.runtime.errors import BadInputError

FORMAT = 2
MANIFEST, SETTINGS, SHARDS = "manifest.json", "settings.json", "shards"


class Settings(Frozen):
    """What a folder is made from. A folder is continued only with the same settings."""

    format: int = FORMAT
    source: str
    source_identity: str
    """Names, sizes and times of the files, and the field: see `Source.identity`."""
    tokenizer: str
    tokenizer_identity: str
    tokenizer_copy: str
    """The copy in this folder, as `tokenizer` with a path relative to the folder."""
    vocab_size: int
    end_of_text: int
    validation_fraction: float
    split_rule: str
    max_documents: int | None = None
    jobs: int | None = None
    """N of `--shard I/N`."""
    shards: int
    """How many there are when all are finished."""

    @property
    def dtype(self) -> str:
        """The integers of a token."""
        return "uint16" if self.vocab_size <= 1 << 16 else "uint32"


class Side(Frozen):
    """The documents of a shard that are on one side."""

    documents: int
    tokens: int
    text_bytes: int
    long: tuple[tuple[int, int], ...] = ()
    """Documents of more than one record: their number in the shard, and their records beyond the first."""
    size: int
    """Bytes of the file of tokens."""
    hash: str
    """blake2b of that file and of the index."""


class Shard(Frozen):
    """A finished shard. Sides without documents have no files."""

    number: int
    parts: tuple[str, ...]
    """The parts of the source that it was made from."""
    records: int
    """Read from the source, the empty and malformed ones included."""
    empty: int
    malformed: int
    reasons: tuple[str, ...] = ()
    """The first malformed records."""
    sides: dict[str, Side]

    def file(self, folder: Path, split: str) -> Path:
        """The tokens of one side."""
        return folder / SHARDS / f"{self.number:05}.{split}.array_record"

    def index(self, folder: Path, split: str) -> Path:
        """The hashes and lengths of its documents."""
        return folder / SHARDS / f"{self.number:05}.{split}.index"

    def missing(self, folder: Path) -> str | None:
        """What is wrong with its files, by their sizes alone; None if nothing is."""
        for split, side in self.sides.items():
            expected = {self.file(folder, split): side.size, self.index(folder, split): 16 * side.documents}
            for path, size in expected.items():
                try:
                    found = path.stat().st_size
                except OSError:
                    return f"{path} is missing"
                if found != size:
                    return f"{path} has {found} bytes instead of {size}"
        return None


class Totals(Frozen):
    """Counts of one side."""

    documents: int
    tokens: int
    """The end-of-text before each document included."""
    text_bytes: int
    duplicates: int
    """Documents whose contents have occurred before; they are kept."""


class Manifest(Frozen):
    """What a finished folder holds."""

    format: int = FORMAT
    settings: Settings
    settings_hash: str
    source: str
    source_hash: str
    tokenizer: str
    tokenizer_hash: str
    tokenizer_files: dict[str, str] = Field(default_factory=dict)
    """blake2b of each of its files."""
    dtype: str
    fingerprint: str
    documents: int
    tokens: int
    text_bytes: int
    empty: int
    malformed: int
    duplicates: int
    reasons: tuple[str, ...] = ()
    splits: dict[str, Totals]
    versions: dict[str, str]
    shards: tuple[Shard, ...]

    def tally(self) -> Tally:
        """What was read from the source."""
        read = sum(shard.records for shard in self.shards)
        documents = read - self.empty - self.malformed
        return Tally(documents, self.empty, self.malformed, self.duplicates, list(self.reasons))

    def summary(self) -> dict[str, Any]:
        """Without the shards."""
        return self.model_dump(mode="json", exclude={"shards"}) | {"shards": len(self.shards)}


def encoded(model: Frozen) -> bytes:
    """JSON as it is written to files."""
    return model.model_dump_json(indent=1).encode() + b"\n"


def read_settings(folder: Path) -> Settings | None:
    """The settings of a folder; None if it has none.

    Raises:
        BadInputError: the file is damaged.
    """
    return _read(folder / SETTINGS, Settings)


def name_in(folder: Path, tokenizer_copy: str) -> str:
    """The name of the tokenizer in a folder, as `data.tokenizer` has it."""
    before, colon, relative = tokenizer_copy.rpartition(":")
    return f"{before}:{folder / relative}" if colon else tokenizer_copy


def read_shard(folder: Path, number: int) -> Shard | None:
    """A finished shard whose files have the right sizes; otherwise None."""
    try:
        shard = _read(folder / SHARDS / f"{number:05}.json", Shard)
    except BadInputError:
        return None
    return None if shard is None or shard.missing(folder) else shard


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished folder; None if it is not finished.

    Raises:
        BadInputError: the file is damaged, or of another version.
    """
    return _read(folder / MANIFEST, Manifest)


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError:
        raise BadInputError(
            f"{path}: damaged, or written by another version of scaling data prepare; delete it and run the "
            "command again"
        ) from None
