"""A folder of finished shards: joined, opened, verified."""

import contextlib
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from scaling import __version__
from scaling.data.store.contents import fingerprint
from scaling.data.store.manifest import (
    MANIFEST,
    SETTINGS,
    SHARDS,
    Manifest,
    Settings,
    Shard,
    Side,
    Totals,
    encoded,
    read_manifest,
    read_settings,
    read_shard,
)
from scaling.data.store.shards import PART, hash_of, temporary
from scaling.data.store.tokens import SPLITS, ShardedIds, TokenSplit, TokenStore
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import replace

_REMEDY = "delete manifest.json next to it and run the same scaling data prepare again"
_PACKAGES = ("array_record", "numpy", "pyarrow", "sentencepiece", "tokenizers")


def join(folder: Path, settings: Settings, shards: Sequence[Shard]) -> Manifest:
    """Join the indexes of all shards, and write the manifest. The same shards give the same bytes.

    Raises:
        BadInputError: there is no document, or none on one side of the split.
        OSError: a file cannot be written.
    """
    _check_sides(settings, shards)
    totals, hashes = {}, {}
    for split in SPLITS:
        here = [shard for shard in shards if split in shard.sides]
        _write(folder / f"{split}.hashes", (_index(folder, one, split)[0].tobytes() for one in here))
        _write(folder / f"{split}.offsets", _offsets(folder, here, split))
        hashes_D = _mapped(folder / f"{split}.hashes", np.dtype(np.uint64))
        hashes[split] = np.sort(hashes_D)
        sides = [shard.sides[split] for shard in here]
        # Documents that were added to those of the source are in the last shard and are not counted.
        D = sum(shard.sides[split].documents for shard in here if shard.records)
        read_D = hashes[split] if len(hashes_D) == D else np.sort(hashes_D[:D])
        totals[split] = Totals(
            documents=len(hashes[split]),
            tokens=sum(side.tokens for side in sides),
            text_bytes=sum(side.text_bytes for side in sides),
            duplicates=int(np.sum(read_D[1:] == read_D[:-1])),
        )
    manifest = Manifest(
        settings=settings,
        settings_hash=settings_hash(settings),
        source=settings.source,
        source_hash=settings.source_identity,
        tokenizer=settings.tokenizer,
        tokenizer_hash=settings.tokenizer_identity,
        tokenizer_files=_tokenizer_files(folder),
        dtype=settings.dtype,
        fingerprint=fingerprint(settings.tokenizer_identity, hashes),
        documents=sum(one.documents for one in totals.values()),
        tokens=sum(one.tokens for one in totals.values()),
        text_bytes=sum(one.text_bytes for one in totals.values()),
        empty=sum(shard.empty for shard in shards),
        malformed=sum(shard.malformed for shard in shards),
        duplicates=sum(one.duplicates for one in totals.values()),
        reasons=tuple(itertools.chain.from_iterable(shard.reasons for shard in shards))[:3],
        splits=totals,
        versions=_versions(),
        shards=tuple(shards),
    )
    replace(folder / MANIFEST, encoded(manifest))
    for part in (folder / SHARDS).glob(f".*{PART}"):  # of killed processes
        part.unlink(missing_ok=True)
    return manifest


def join_finished(folder: Path, settings: Settings) -> tuple[Manifest | None, tuple[int, ...]]:
    """Join the shards of a folder if all of them are there; otherwise the jobs (1 to N) that miss some.

    Raises:
        BadInputError: one side of the split has no documents. The shards are of no use then and are removed.
        OSError: the manifest cannot be written.
    """
    if (manifest := read_manifest(folder)) is not None:
        return manifest, ()
    found = [read_shard(folder, number) for number in range(settings.shards)]
    jobs = settings.jobs or 1
    missing = sorted({number % jobs + 1 for number, shard in enumerate(found) if shard is None})
    if missing:
        return None, tuple(missing)
    try:
        return join(folder, settings, [one for one in found if one is not None]), ()
    except BadInputError:
        clear(folder)
        raise


def clear(folder: Path) -> None:
    """Remove what was prepared in a folder, and the folder itself if it has nothing else."""
    for path in (folder / MANIFEST, folder / SETTINGS, *folder.glob("*.hashes"), *folder.glob("*.offsets")):
        path.unlink(missing_ok=True)
    for name in _tokenizer_files(folder):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / SHARDS, *folder.glob("tokenizer*")):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def finished_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared folder. The shards of the jobs of an array are joined if they were not yet.

    Raises:
        BadInputError: nothing is prepared there, or shards are missing.
    """
    settings = read_settings(folder)
    if settings is None:
        raise BadInputError(f"{folder}: no prepared corpus; give an --out directory of scaling data prepare")
    try:
        manifest, missing = join_finished(folder, settings)
    except OSError as error:
        raise BadInputError(f"{folder}: the shards cannot be joined: {error.strerror or error}") from None
    if manifest is None:
        raise BadInputError(f"{folder}: {unfinished(settings, missing)}")
    return manifest


def unfinished(settings: Settings, missing: Sequence[int]) -> str:
    """What is missing in a folder, in words."""
    if settings.jobs is None:
        return "its preparation is not finished; run the same scaling data prepare again"
    named = ", ".join(f"{one}/{settings.jobs}" for one in missing[:8]) + (", ..." if missing[8:] else "")
    return f"shards are missing; run scaling data prepare again with --shard {named}"


def _check_sides(settings: Settings, shards: Sequence[Shard]) -> None:
    count = {
        split: sum(one.sides[split].documents for one in shards if split in one.sides) for split in SPLITS
    }
    kept = sum(count.values())
    if kept == 0:
        records = sum(shard.records for shard in shards)
        reasons = [reason for shard in shards for reason in shard.reasons]
        malformed = f" or malformed ({reasons[0]})" if reasons else ""
        raise BadInputError(f"data.source: all of its {records} documents are empty{malformed}")
    for split, remedy in (("train", "lower"), ("validation", "raise")):
        if count[split] == 0:
            raise BadInputError(
                f"data.validation_fraction={settings.validation_fraction} leaves no {split} document of "
                f"{kept}; {remedy} it, or give data.source more documents (text: has one per file, jsonl: "
                "one per line; a single text file is split by position)"
            )


def _tokenizer_files(folder: Path) -> dict[str, str]:
    """blake2b of the files of the tokenizer, by their paths in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in files)
    return {name: hash_of(folder / name) for name in names if name.startswith("tokenizer")}


def settings_hash(settings: Settings) -> str:
    """A hash of the settings."""
    return hashlib.blake2b(encoded(settings), digest_size=16).hexdigest()


def _versions() -> dict[str, str]:
    found = {"scaling": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _index(folder: Path, shard: Shard, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Hashes (documents,) uint64 and lengths (documents,) int64 of one side of a shard."""
    documents = shard.sides[split].documents
    values = np.fromfile(shard.index(folder, split), "<u8")
    if len(values) != 2 * documents:
        raise OSError(0, f"{shard.index(folder, split)} is damaged")
    return values[:documents], values[documents:].astype(np.int64)


def _offsets(folder: Path, shards: Sequence[Shard], split: str) -> Iterator[bytes]:
    last = 0
    yield np.zeros(1, np.int64).tobytes()
    for shard in shards:
        offsets = last + np.cumsum(_index(folder, shard, split)[1])
        last = int(offsets[-1])
        yield offsets.tobytes()


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    """A file completely or not at all."""
    part = temporary(path.parent / SHARDS)
    try:
        with part.open("wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def open_folder(folder: Path, manifest: Manifest) -> TokenStore:
    """The store of a finished folder, its files memory-mapped.

    Raises:
        BadInputError: a file is missing, has another size than it was written with, or begins differently.
    """
    for shard in manifest.shards:
        if wrong := shard.missing(folder):
            raise BadInputError(f"{wrong}; run the same scaling data prepare again")
    sides = [_open_side(folder, manifest, split) for split in SPLITS]
    end_of_text = manifest.settings.end_of_text
    return TokenStore(sides[0], sides[1], end_of_text, manifest.fingerprint, folder, manifest.tally())


def _open_side(folder: Path, manifest: Manifest, split: str) -> TokenSplit:
    totals = manifest.splits[split]
    here = [shard for shard in manifest.shards if split in shard.sides]
    counts = [shard.sides[split].documents for shard in here]
    offsets = _mapped(folder / f"{split}.offsets", np.dtype(np.int64), totals.documents + 1)
    hashes_D = _mapped(folder / f"{split}.hashes", np.dtype(np.uint64), totals.documents)
    ids = ShardedIds(
        [shard.file(folder, split) for shard in here],
        counts,
        list(_long([shard.sides[split] for shard in here])),
        offsets,
        np.dtype(manifest.dtype),
    )
    # Right sizes with blank contents are what a crash before the disk was written leaves behind. Compare the
    # first and the last document of each shard.
    ends = np.cumsum(counts)
    sampled = np.unique(np.concatenate([ends - counts, ends - 1]))
    starts = offsets[sampled]
    if (
        offsets[0] != 0
        or offsets[-1] != totals.tokens
        or np.any(ids[starts] != manifest.settings.end_of_text)
    ):
        raise BadInputError(f"{folder}: the offsets and the tokens of {split} disagree; prepare it again")
    return TokenSplit(ids, offsets, hashes_D, totals.text_bytes)


def _long(sides: Sequence[Side]) -> Iterator[tuple[int, int]]:
    first = 0
    for side in sides:
        for document, extra in side.long:
            yield first + document, extra
        first += side.documents


def _mapped(path: Path, dtype: np.dtype, length: int | None = None) -> np.ndarray:
    try:
        size = path.stat().st_size
        if length is not None and size != length * dtype.itemsize:
            raise BadInputError(f"{path} has {size} bytes instead of {length * dtype.itemsize}; {_REMEDY}")
        # A plain view: slicing np.memmap itself costs microseconds of bookkeeping per slice.
        return np.memmap(path, dtype, mode="r").view(np.ndarray)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); {_REMEDY}") from None


def verify(folder: Path, manifest: Manifest) -> list[str]:
    """What is damaged in a finished folder, by the hashes of all its files; empty if nothing is."""
    wrong = []
    for shard in manifest.shards:
        if missing := shard.missing(folder):
            wrong.append(missing)
            continue
        for split, side in shard.sides.items():
            if hash_of(shard.file(folder, split), shard.index(folder, split)) != side.hash:
                wrong.append(f"{shard.file(folder, split)}: its contents have changed")
    for split in SPLITS:
        here = [shard for shard in manifest.shards if split in shard.sides]
        expected: dict[str, Iterator[bytes]] = {
            "hashes": (_index(folder, one, split)[0].tobytes() for one in here)
        }
        expected["offsets"] = _offsets(folder, here, split)
        for name, blocks in expected.items() if not wrong else ():
            if not _has(folder / f"{split}.{name}", blocks):
                wrong.append(f"{folder / f'{split}.{name}'}: its contents have changed")
    for name, expected_hash in manifest.tokenizer_files.items():
        path = folder / name
        if not path.is_file() or hash_of(path) != expected_hash:
            wrong.append(f"{path}: missing, or its contents have changed")
    return wrong


def _has(path: Path, blocks: Iterable[bytes]) -> bool:
    """Whether a file consists of these blocks."""
    try:
        with path.open("rb") as file:
            return all(file.read(len(block)) == block for block in blocks) and not file.read(1)
    except OSError:
        return False
