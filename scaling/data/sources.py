"""Where documents come from: the running Python's own library, text files, JSON lines, TFDS."""

import glob
import hashlib
import json
import os
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from scaling.config.data import EMBEDDED_SOURCE, DataConfig, TasksConfig
from scaling.data.compressed import Unpacked, read_plain
from scaling.runtime.errors import BadInputError
from scaling.tasks import SUITES, task_named
from scaling.tasks.demonstrations import CHAIN, PLAIN, demonstration
from scaling.tasks.language import words_identity

# Left out of the embedded corpus: installed packages (they differ from machine to machine), test suites
# (a third of the tree, much of it tables), and two packages that newer Pythons dropped or split off.
_NOT_STDLIB = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}


_PIECE = 1 << 20  # bytes of one text file that are tokenised at once


class Documents(Protocol):
    """Random access to texts. `identity` names them for the cache; computing it reads no text.

    Empty texts are left out of the corpus.
    """

    @property
    def identity(self) -> str:
        """Changes whenever the texts may have changed."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> str:
        """The text of one document. Raises BadInputError where it cannot be read."""
        ...


def open_source(config: DataConfig) -> Documents:
    """The documents that `config.source` names.

    Raises:
      BadInputError: nothing is there, or it cannot be read.
    """
    kind, _, rest = config.source.partition(":")
    return OPENERS[kind](rest, config)


def files_of(config: DataConfig) -> list[Path] | None:
    """The files of a source; None if it does not consist of files.

    Raises:
        BadInputError: no file matches.
    """
    kind, _, rest = config.source.partition(":")
    if kind == EMBEDDED_SOURCE:
        return _stdlib_files()[1]
    return _matching_files(config.source, rest) if kind in ("text", "jsonl") else None


def split_rule(config: DataConfig) -> str:
    """How the corpus of a config is split into training and validation, in words.

    Raises:
        BadInputError: no file matches.
    """
    share = f"{config.validation_fraction:.3g}"
    kind, _, rest = config.source.partition(":")
    if kind == "text" and len(files := _matching_files(config.source, rest)) == 1:
        return f"by position: the last {share} of {files[0].name} is validation"
    return f"by document: {share} of the documents, chosen by a hash of their text, are validation"


def stdlib_source() -> "TextFiles":
    """The source text of the running Python's standard library: real text on every machine, about 11 MB."""
    root, paths = _stdlib_files()
    return TextFiles(paths, root=root, skip_undecodable=True)


def _stdlib_files() -> tuple[Path, list[Path]]:
    """The directory of the library, and its files in order."""
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _NOT_STDLIB]
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    if not paths:
        raise BadInputError(
            f"data.source=python-stdlib: this Python has no library source text under {root}; "
            "use text:GLOB or jsonl:GLOB"
        )
    paths.sort(key=lambda path: path.relative_to(root).as_posix())
    return root, paths


class TextFiles:
    """A document per file, UTF-8, also compressed (gzip, zstandard).

    An undecodable file is an error, or with `skip_undecodable` empty.
    """

    def __init__(
        self, paths: list[Path], *, root: Path | None = None, skip_undecodable: bool = False
    ) -> None:
        self._paths = paths
        self._root = root
        self._skip_undecodable = skip_undecodable

    @cached_property
    def identity(self) -> str:
        """Names, sizes and modification times; names are relative to the root where there is one."""
        return "text:" + _stat_digest(self._paths, self._root)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> str:
        path = self._paths[index]
        try:
            return read_plain(path).decode("utf-8")
        except UnicodeDecodeError as error:
            if self._skip_undecodable:
                return ""
            raise BadInputError(
                f"data.source: {path} is not UTF-8 text (byte {error.start}); leave it out of the glob"
            ) from None
        except OSError as error:
            raise BadInputError(f"data.source: cannot read {path}: {error.strerror}") from None


class OneText:
    """One text file, also compressed: its end is validation and the rest is training.

    Its documents, for random access, are pieces of about a megabyte that end at line ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unpacked = Unpacked()

    @cached_property
    def identity(self) -> str:
        """Name, size and modification time."""
        return "one-text:" + _stat_digest([self._path], None)

    def sides(self, validation_fraction: float) -> tuple[Iterator[str], Iterator[str]]:
        """Pieces of the training side and of the validation side, each an iterator of texts in order.

        The cut is at the first line end from `1 - validation_fraction` of the bytes on.
        """
        cut = self._after(round(self._size * (1 - validation_fraction)))
        return self._pieces(0, cut), self._pieces(cut, self._size)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self._text(self._offsets[index], self._offsets[index + 1])

    @cached_property
    def _size(self) -> int:
        return self._unpacked.path(self._path).stat().st_size

    @cached_property
    def _offsets(self) -> list[int]:
        offsets = [0]
        while offsets[-1] < self._size:
            offsets.append(self._after(offsets[-1] + _PIECE))
        return offsets

    def _pieces(self, begin: int, end: int) -> Iterator[str]:
        while begin < end:
            stop = min(end, self._after(begin + _PIECE))
            yield self._text(begin, stop)
            begin = stop

    def _after(self, position: int) -> int:
        """The first line end at or after a position; in a very long line the next character's start."""
        with self._open() as file:
            file.seek(position)
            ahead = file.read(1 << 16)
        newline = ahead.find(b"\n")
        if newline >= 0:
            return position + newline + 1
        if position + len(ahead) >= self._size:
            return self._size
        return position + next((i for i, byte in enumerate(ahead) if byte & 0xC0 != 0x80), len(ahead))

    def _text(self, begin: int, end: int) -> str:
        with self._open() as file:
            file.seek(begin)
            content = file.read(end - begin)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInputError(
                f"data.source: {self._path} is not UTF-8 text (byte {begin + error.start})"
            ) from None

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with self._unpacked.path(self._path).open("rb") as file:
                yield file
        except OSError as error:
            raise BadInputError(f"data.source: cannot read {self._path}: {error.strerror}") from None


class JsonLines:
    """A document per line: the string under `field` of each line's JSON object. Blank lines are left out.

    Compressed files (gzip, zstandard) are unpacked into the cache while they are read.
    """

    def __init__(self, paths: list[Path], field: str) -> None:
        self._paths = paths
        self._field = field
        self._unpacked = Unpacked()

    @cached_property
    def identity(self) -> str:
        """Names, sizes and modification times of the files, and the field."""
        return f"jsonl:{self._field}:" + _stat_digest(self._paths, None)

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        """File number and byte offset of each line: (lines,) int32 and (lines,) int64."""
        files, offsets = [], []
        for number, path in enumerate(self._paths):
            starts = _line_starts(path, self._unpacked.path(path))
            files.append(np.full(len(starts), number, np.int32))
            offsets.append(starts)
        return np.concatenate(files), np.concatenate(offsets)

    def __len__(self) -> int:
        return len(self._index[0])

    def __getitem__(self, index: int) -> str:
        files, offsets = self._index
        path = self._paths[files[index]]
        try:
            with self._unpacked.path(path).open("rb") as file:
                file.seek(offsets[index])
                line = file.readline()
        except OSError as error:
            raise BadInputError(f"data.source: cannot read {path}: {error.strerror}") from None

        first_of_file = int(np.searchsorted(files, files[index]))
        return self.text_of(line, self._field, f"{path}:{index - first_of_file + 1}")

    @staticmethod
    def text_of(line: bytes, field: str, where: str) -> str:
        """The text of one line, found at `where`; empty for a blank line.

        Raises:
            BadInputError: it is not a JSON object with text in its field.
        """

        def refuse(reason: str) -> BadInputError:
            return BadInputError(f"data.source: {where}: {reason}")

        if not line.strip():
            return ""
        try:
            record = json.loads(line)
        except UnicodeDecodeError:
            raise refuse("not UTF-8 text") from None
        except (ValueError, RecursionError) as error:
            raise refuse(f"not JSON: {error}") from None
        if not isinstance(record, dict):
            raise refuse(f"expected a JSON object on each line, found {type(record).__name__}")
        if field not in record:
            fields = ", ".join(sorted(map(str, record))) or "none"
            raise refuse(f"no field {field!r} (data.field); its fields are: {fields}")
        text = record[field]
        if not isinstance(text, str):
            raise refuse(f"field {field!r} holds {type(text).__name__}, expected a string")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise refuse(f"field {field!r} holds half of a surrogate pair, which is not text") from None
        return text


def _line_starts(path: Path, plain: Path) -> np.ndarray:
    """Byte offsets (lines,) int64 at which the lines of a file start; reads it once, a few MB at a time.

    `plain` is the file itself, or what it was unpacked to.
    """
    starts = [np.zeros(1, np.int64)]
    position, last = 0, b"\n"
    try:
        with plain.open("rb") as file:
            while block := file.read(1 << 22):
                newlines = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
                starts.append(newlines + (position + 1))
                position += len(block)
                last = block[-1:]
    except OSError as error:
        raise BadInputError(f"data.source: cannot read {path}: {error.strerror}") from None
    starts_of_lines = np.concatenate(starts)
    # A file that ends in a newline, as it should, has no line after it.
    return starts_of_lines[:-1] if last == b"\n" else starts_of_lines


def _matching_files(source: str, pattern: str) -> list[Path]:
    paths = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
    files = [Path(path).absolute() for path in paths if os.path.isfile(path)]
    if not files:
        raise BadInputError(f"data.source={source}: no file matches {pattern!r} from {os.getcwd()}")
    return files


def _stat_digest(paths: list[Path], root: Path | None) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise BadInputError(f"data.source: cannot read {path}: {error.strerror}") from None
        name = path.relative_to(root) if root else path
        digest.update(
            f"{name.as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return digest.hexdigest()


def _open_text(pattern: str, config: DataConfig) -> Documents:
    files = _matching_files(config.source, pattern)
    return TextFiles(files) if len(files) > 1 else OneText(files[0])


def _open_tfds(spec: str, config: DataConfig) -> Documents:
    from scaling.data.tfds_source import TfdsDocuments

    return TfdsDocuments(spec, config.field, config.data_dir)


# By prefix: from what follows it, and the config, to documents.
OPENERS: dict[str, Callable[[str, DataConfig], Documents]] = {
    EMBEDDED_SOURCE: lambda rest, config: stdlib_source(),
    "text": _open_text,
    "jsonl": lambda pattern, config: JsonLines(_matching_files(config.source, pattern), config.field),
    "tfds": _open_tfds,
}


_FORMAT = 1  # raised whenever a task's draws or texts change, so that no cache holds the former ones


class TaskDocuments:
    """An endless sequence of documents, the tasks in turn; see `scaling.data.store.Added`."""

    def __init__(self, config: TasksConfig) -> None:
        """Raises BadInputError for an unknown task."""
        self._config = config
        self._tasks = tuple(map(task_named, config.names))
        self._template = CHAIN if config.reasoning else PLAIN

    @property
    def share(self) -> float:
        """Share of the training tokens."""
        return self._config.share

    @cached_property
    def identity(self) -> str:
        """Names, shots, seed and template; of tasks on words also the words, which differ between
        machines."""
        config, template = self._config, self._template
        words = words_identity() if set(config.names) & set(SUITES["gpt3-words"]) else ""
        # Fingerprints of corpora and checkpoints contain this text: its format must not change.
        form = (
            f"Template(name={template.name!r}, question={template.question!r}, answer={template.answer!r}, "
            f"separator={template.separator!r}, stop={template.stops[0]!r}, marker={template.marker!r})"
        )
        return f"tasks:{_FORMAT}:{'+'.join(config.names)}:{config.shots}:{config.seed}:{form}:{words}"

    def __getitem__(self, index: int) -> str:
        config = self._config
        chosen = self._tasks[index % len(self._tasks)]
        return demonstration(chosen, index, config.shots, config.seed, template=self._template)
