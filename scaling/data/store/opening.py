"""The token store of a corpus: that of a prepared folder, or one in the cache that is made on first use."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scaling.config.data import DataConfig
from scaling.data.sources import Source
from scaling.data.sources.prepared import PreparedSource
from scaling.data.store.folder import join, open_folder
from scaling.data.store.manifest import FORMAT, SHARDS, Settings, read_manifest
from scaling.data.store.prepare import made_shards, shards_of
from scaling.data.store.tokenise import Added, ShardMaker
from scaling.data.store.tokens import TokenStore
from scaling.data.tokenizers import Tokenizer
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root

_STALE_SECONDS = 86_400.0
_DEFAULT_FRACTION = DataConfig.model_fields["validation_fraction"].default

Progress = Callable[[int, int], None]


def open_store(
    source: Source,
    tokenizer: Tokenizer,
    *,
    validation_fraction: float,
    max_documents: int | None = None,
    added: Added | None = None,
    progress: Progress | None = None,
) -> TokenStore:
    """The token store of a source: a prepared one as it is; of any other, one in the cache, made on first use
    and whenever the cached one is missing or damaged.

    Several processes may make the same store at once: each writes aside and renames; the contents are equal.

    Args:
      source: the documents.
      tokenizer: applied to each complete document.
      validation_fraction: share of documents held out, by content hash. A prepared corpus has its own share;
        the default or the same must be given.
      max_documents: read only the first so many; of a prepared corpus, those that it was prepared with.
      added: documents to add until they are their share of the training tokens.
      progress: called with bytes of the source done and in all while the store is being made.

    Raises:
      BadInputError: a text that cannot be read, a side of the split left empty, a cache that cannot be
        written, or a prepared corpus that is damaged or was prepared in another way.
    """
    if isinstance(source, PreparedSource):
        return _open_prepared(source, tokenizer, validation_fraction, max_documents, added)
    request: tuple[object, ...] = (
        FORMAT,
        source.identity,
        tokenizer.identity,
        validation_fraction,
        max_documents,
    )
    if added is not None:
        request = (*request, added.identity, added.share)
    key = hashlib.blake2b(repr(request).encode(), digest_size=16).hexdigest()
    path = cache_root() / "tokens" / key
    # More than once only if another process repairs the same damaged store at the same moment.
    for _ in range(3):
        store = _read(path)
        if store is not None:
            return store
        try:
            _make(path, source, tokenizer, validation_fraction, max_documents, added, progress)
        except OSError as error:
            raise BadInputError(
                f"cannot write the token cache {path.parent}: {error.strerror or error}; "
                "set SCALING_CACHE to a folder with room"
            ) from None
    store = _read(path)
    if store is None:
        raise BadInputError(
            f"the token cache {path} does not read back; check the disk, or set SCALING_CACHE"
        )
    return store


def _open_prepared(
    source: PreparedSource,
    tokenizer: Tokenizer,
    validation_fraction: float,
    max_documents: int | None,
    added: Added | None,
) -> TokenStore:
    settings = source.manifest.settings
    where = f"data.source=prepared:{source.folder}"
    if tokenizer.identity != settings.tokenizer_identity:
        raise BadInputError(
            f"data.tokenizer: {where} was prepared with {settings.tokenizer} "
            f"({settings.tokenizer_identity}), and this is {tokenizer.identity}; leave "
            "data.tokenizer out, or prepare the corpus again"
        )
    if validation_fraction not in (_DEFAULT_FRACTION, settings.validation_fraction):
        raise BadInputError(
            f"data.validation_fraction={validation_fraction}: {where} was prepared with "
            f"{settings.validation_fraction}; leave it out, or prepare the corpus again"
        )
    if max_documents not in (None, settings.max_documents):
        raise BadInputError(
            f"data.max_documents={max_documents}: {where} was prepared with "
            f"{settings.max_documents or 'all documents'}; leave it out, or prepare the corpus again"
        )
    if added is not None:
        raise BadInputError(
            f"data.tasks: {where} is tokenised already, and tasks are added while a corpus is tokenised; "
            "give the source that it was prepared from"
        )
    return open_folder(source.folder, source.manifest)


def _make(
    path: Path,
    source: Source,
    tokenizer: Tokenizer,
    fraction: float,
    max_documents: int | None,
    added: Added | None,
    progress: Progress | None,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path.parent)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        _tokenise(temporary, source, tokenizer, fraction, max_documents, added, progress)
        if _read(path) is None:  # otherwise another process was faster
            # A damaged one is moved aside first: a folder with files cannot be renamed over.
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, temporary / "damaged")
            try:
                os.rename(temporary, path)
            except OSError:
                if _read(path) is None:
                    raise
        shutil.rmtree(path / "damaged", ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _tokenise(
    folder: Path,
    source: Source,
    tokenizer: Tokenizer,
    fraction: float,
    max_documents: int | None,
    added: Added | None,
    progress: Progress | None,
) -> None:
    plan = shards_of(source, None, max_documents)
    (folder / SHARDS).mkdir()
    maker = ShardMaker(folder, tokenizer, fraction)
    sizes = [sum(part.size for part in parts) for parts in plan]

    def report(number: int, done: int) -> None:
        if progress:
            progress(sum(sizes[:number]) + min(done, sizes[number]), sum(sizes))

    shards = []
    for shard in made_shards(maker, source, plan, range(len(plan)), {}, max_documents, 1, report):
        shards.append(shard)
        report(shard.number, sizes[shard.number])
    trained = sum(shard.sides["train"].tokens for shard in shards if "train" in shard.sides)
    if added is not None and trained:
        shards.append(maker.make_added(len(shards), added, trained))
    settings = Settings(
        source=source.identity,
        source_identity=source.identity,
        tokenizer=tokenizer.identity,
        tokenizer_identity=tokenizer.identity,
        tokenizer_copy="",
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        validation_fraction=fraction,
        split_rule="",
        max_documents=max_documents,
        shards=len(shards),
    )
    join(folder, settings, shards)


def _read(path: Path) -> TokenStore | None:
    """The store at `path`, or None if it is missing or damaged."""
    try:
        manifest = read_manifest(path)
        return None if manifest is None else open_folder(path, manifest)
    except BadInputError:
        return None


def _remove_stale(folder: Path) -> None:
    """Clears what killed processes left: temporary folders not touched for a day."""
    for entry in folder.glob(".*.*"):
        try:
            if time.time() - max(f.stat().st_mtime for f in (entry, *entry.rglob("*"))) > _STALE_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)
        except OSError:
            continue
