"""`scaling data prepare`: a source tokenised into a folder of shards, in parallel, in jobs, resumably.

Each shard is written aside and renamed, and recorded last. So a preparation may be killed at any time: the
same command continues it, and several processes or machines may work on one folder.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scaling.config.data import DataConfig
from scaling.data.sources import OneText, open_source, split_rule
from scaling.data.sources.interface import Part, Source
from scaling.data.store.folder import join_finished
from scaling.data.store.manifest import (
    MANIFEST,
    SETTINGS,
    SHARDS,
    Manifest,
    Settings,
    Shard,
    encoded,
    read_settings,
    read_shard,
)
from scaling.data.store.outside import check_outside
from scaling.data.store.plan import plan
from scaling.data.store.tokenise import ShardMaker
from scaling.data.store.tokenizer_copy import copied_name, copy_tokenizer
from scaling.data.store.workers import Report, make_shards
from scaling.data.tokenizers import load_tokenizer
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import replace

# What each setting is called where it is given, in the order in which differences are reported.
_OPTIONS = {
    "format": "the version of scaling",
    "source": "SOURCE",
    "source_identity": "the files of the source",
    "tokenizer": "--tokenizer",
    "tokenizer_identity": "the tokenizer",
    "validation_fraction": "--validation-fraction",
    "max_documents": "--max-documents",
    "jobs": "N of --shard I/N",
    "shards": "the cutting into shards",
}


@dataclass(frozen=True)
class Done:
    """How far a preparation is, in bytes that are read from the source, and in bytes of text."""

    began: int
    """Bytes of the shards that were there before."""
    read: int
    total: int
    text: int
    """Since this process began."""
    shards: int
    of: int


Progress = Callable[[Done], None]


@dataclass(frozen=True)
class Prepared:
    """What a call of `prepare` did."""

    folder: Path
    manifest: Manifest | None
    """None while shards of other jobs are missing."""
    made: int
    """Shards that were made now."""
    kept: int
    """Shards of this job that were there already."""
    missing: tuple[int, ...]
    """Jobs whose shards are not all there, 1 to N."""
    text_bytes: int
    """Tokenised now."""
    seconds: float


def prepare(
    config: DataConfig,
    out: Path,
    *,
    workers: int = 1,
    job: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Tokenise the source of a config into shards in `out`, or continue to.

    Args:
        config: source, tokenizer, split and `max_documents`.
        out: the folder; it is made.
        workers: processes.
        job: (I, N): only the shards of job I of N, from 1. Without it, all that are missing.
        progress: called as text is tokenised and as shards are finished.

    Raises:
        BadInputError: the source, tokenizer or split cannot be used, the folder has other settings or cannot
            be written, or a worker has ended.
    """
    _check(config, workers, job)
    check_outside(config, out)
    tokenizer = load_tokenizer(config.tokenizer)
    source = open_source(config)
    before = read_settings(out)
    # Without --shard, whatever the jobs of an array have left is done.
    jobs = job[1] if job is not None else before.jobs if before is not None else None
    shards = shards_of(source, jobs, config.max_documents)
    settings = Settings(
        source=config.source,
        source_identity=source.identity,
        tokenizer=config.tokenizer,
        tokenizer_identity=tokenizer.identity,
        tokenizer_copy=copied_name(config.tokenizer),
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        validation_fraction=config.validation_fraction,
        split_rule=split_rule(config),
        max_documents=config.max_documents,
        jobs=jobs,
        shards=len(shards),
    )
    try:
        if before is None:
            _begin(out, settings)
        else:
            _compare(out, before, settings)
        maker = ShardMaker(out, tokenizer, settings.validation_fraction)
        return _continue(maker, settings, source, shards, workers, job, progress)
    except OSError as error:
        raise BadInputError(
            f"out={out}: cannot be written: {error.strerror or error}; finished shards are kept, so run the "
            "same command again when that is mended"
        ) from None


def _check(config: DataConfig, workers: int, job: tuple[int, int] | None) -> None:
    if workers < 1:
        raise BadInputError(f"--workers {workers}: give 1 or more")
    if job is not None and not 1 <= job[0] <= job[1]:
        raise BadInputError(f"--shard {job[0]}/{job[1]}: shards are numbered from 1 to {max(1, job[1])}")
    if job is not None and config.max_documents is not None:
        raise BadInputError(
            f"--max-documents {config.max_documents}: the first documents of a source are read in order, by "
            "one job; leave out --shard"
        )


def _begin(out: Path, settings: Settings) -> None:
    """A new folder: the tokenizer's files, then the settings."""
    if out.is_dir() and any(out.iterdir()):
        raise BadInputError(f"out={out}: the directory has other files; give a new one")
    (out / SHARDS).mkdir(parents=True, exist_ok=True)
    copy_tokenizer(settings.tokenizer, out, settings.tokenizer_identity)
    replace(out / SETTINGS, encoded(settings))


def _compare(out: Path, before: Settings, now: Settings) -> None:
    for name, option in _OPTIONS.items():
        then, given = getattr(before, name), getattr(now, name)
        if then != given:
            raise BadInputError(
                f"out={out} was begun with other settings: {option} was {_shown(then)}, and is "
                f"{_shown(given)} now; use the same, or give another directory"
            )


def _shown(value: object) -> str:
    return "not given" if value is None else str(value)


def shards_of(source: Source, jobs: int | None, max_documents: int | None) -> list[tuple[Part, ...]]:
    """The parts of each shard. One text file is one shard: a document on either side of the split.

    Raises:
        BadInputError: `max_documents` of one text file.
    """
    if isinstance(source, OneText):
        if max_documents is not None:
            raise BadInputError(
                f"data.max_documents={max_documents}: data.source is one text file, and so one document: "
                "leave it out"
            )
        return [tuple(source.parts(1 << 62))]
    return plan(source, jobs)


def _continue(
    maker: ShardMaker,
    settings: Settings,
    source: Source,
    shards: Sequence[tuple[Part, ...]],
    workers: int,
    job: tuple[int, int] | None,
    progress: Progress | None,
) -> Prepared:
    out, begin = maker.folder, time.monotonic()
    numbers = range(len(shards)) if job is None else range(job[0] - 1, len(shards), job[1])
    finished = {n: shard for n in numbers if (shard := read_shard(out, n)) is not None}
    kept = len(finished)
    if kept < len(numbers):
        (out / MANIFEST).unlink(missing_ok=True)  # a damaged shard is made again
    meter = Meter(shards, finished, numbers, progress)
    with contextlib.closing(
        made_shards(maker, source, shards, numbers, finished, settings.max_documents, workers, meter.report)
    ) as made:
        for shard in made:
            meter.finished(shard)
    manifest, missing = join_finished(out, settings)
    return Prepared(out, manifest, len(numbers) - kept, kept, missing, meter.text, time.monotonic() - begin)


def made_shards(
    maker: ShardMaker,
    source: Source,
    shards: Sequence[tuple[Part, ...]],
    numbers: Sequence[int],
    finished: Mapping[int, Shard],
    most: int | None,
    workers: int,
    report: Report,
) -> Generator[Shard, None, None]:
    """Make the shards of these numbers that are not finished; yields each when it is."""
    todo = [n for n in numbers if n not in finished]
    if isinstance(source, OneText):
        for n in todo:
            yield maker.make_sides(n, source, partial(report, n))
    elif most is None:
        yield from make_shards(maker, [(n, shards[n]) for n in todo], workers, report)
    else:  # one after another, until they have so many records; those that follow are empty
        left = most
        for n in numbers:
            shard = finished.get(n)
            if shard is None:
                yield (shard := maker.make(n, shards[n], partial(report, n), left))
            left -= shard.records


class Meter:
    """Adds up what the shards in progress have done."""

    def __init__(
        self,
        shards: Sequence[Sequence[Part]],
        finished: dict[int, Shard],
        numbers: Sequence[int],
        progress: Progress | None,
    ) -> None:
        self._size = {n: sum(part.size for part in shards[n]) for n in numbers}
        self._progress, self._of = progress, len(numbers)
        self._shards = len(finished)
        self._began = self._read = sum(self._size[n] for n in finished)
        self._running: dict[int, int] = {}
        self._made_text = self._made_size = 0

    @property
    def text(self) -> int:
        """Bytes of text of the shards that were made now."""
        return self._made_text

    def report(self, number: int, text_bytes: int) -> None:
        """A shard has tokenised so many bytes of text."""
        self._running[number] = text_bytes
        self._say()

    def finished(self, shard: Shard) -> None:
        """A shard is complete."""
        self._running.pop(shard.number, None)
        self._made_text += sum(side.text_bytes for side in shard.sides.values())
        self._made_size += self._size[shard.number]
        self._read += self._size[shard.number]
        self._shards += 1
        self._say()

    def _say(self) -> None:
        if self._progress is None:
            return
        # Files are counted in bytes and running shards in text: by the ratio of the finished ones.
        ratio = self._made_size / self._made_text if self._made_text else 1.0
        running = sum(min(self._size[n], ratio * text) for n, text in self._running.items())
        total = sum(self._size.values())
        text = self._made_text + sum(self._running.values())
        self._progress(Done(self._began, round(self._read + running), total, text, self._shards, self._of))
