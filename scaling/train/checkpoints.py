"""Checkpoints by Orbax: asynchronous, complete, verified; a damaged one is replaced by the one before."""

import json
import logging
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from scaling.parallel.processes import everywhere, from_first
from scaling.runtime.errors import BadInputError, StorageError
from scaling.runtime.files import patiently, replace
from scaling.train.step import TrainState
from scaling.train.stored_arrays import StoredArray, StreamedArray, write_streamed

logging.getLogger("absl").setLevel(logging.CRITICAL)  # errors are raised here too, in one line

_MANIFEST = "manifest.json"
_CHUNK = 1 << 22  # bytes of a file held at once


def _line(error: Exception) -> str:
    """The first line of a message; the storage layers write many."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _named(tree: Any) -> dict[str, Any]:
    """A tree as a flat dict from path to array: a layout that does not depend on Python classes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _checksums(directory: Path) -> dict[str, int]:
    """CRC-32 of every file of a checkpoint but the manifest itself."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and _MANIFEST not in p.name)
    return {str(p.relative_to(directory)): patiently(partial(_checksum, p)) for p in files}


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _write_manifest(directory: Path) -> None:
    replace(directory / _MANIFEST, json.dumps(_checksums(directory)).encode())


def _harm(directory: Path) -> str | None:
    """What is wrong with the files of a checkpoint; None if nothing is."""
    path = directory / _MANIFEST
    if not path.is_file():
        return None  # killed between commit and seal: Orbax's own commit shows that it is complete
    try:
        expected = json.loads(path.read_text())
        expected.pop(path.name + ".part", None)  # older manifests
        actual = _checksums(directory)
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    for name, checksum in expected.items():
        if actual.get(name) != checksum:
            return f"{name} {'is missing' if name not in actual else 'does not match its checksum'}"
    return None


class Checkpoints:
    """The checkpoints of one run: state, counters and data iterator saved and restored together."""

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=True, create=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)
        # A thread: a checkpoint is sealed as soon as it is complete, not when the next one is saved.
        self._sealer = ThreadPoolExecutor(1, "seal")
        self._sealing: Future[None] | None = None
        self._saving = 0

    def save(self, step: int, state: TrainState, counters: dict[str, Any]) -> None:
        """Start saving; returns before the bytes are on disk. `counters` is plain JSON.

        Raises:
            StorageError: this one or the one before cannot be written.
        """
        self.wait()
        with self._storage(step):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_named(state)), counters=ocp.args.JsonSave(counters)
                ),
            )
        self._saving = step
        self._sealing = self._sealer.submit(self._seal, step)

    def _seal(self, step: int) -> None:
        """Wait for the files of a checkpoint, and write a manifest of their checksums."""
        self._manager.wait_until_finished()
        directory = self.directory / str(step)
        if jax.process_index() == 0 and directory.is_dir():
            _write_manifest(directory)

    def wait(self) -> None:
        """Wait for a save under way, and its seal.

        Raises:
            StorageError: it cannot be written.
        """
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            with self._storage(self._saving):
                sealing.result()

    @contextmanager
    def _storage(self, step: int) -> Iterator[None]:
        """The storage layers raise many kinds."""
        try:
            yield
        except Exception as error:
            raise StorageError(
                f"{self.directory}: the checkpoint of step {step} cannot be written ({_line(error)}); free "
                "or repair the disk, and run the same command"
            ) from error

    def latest(self) -> int | None:
        """The newest step that was committed, damaged or not."""
        return self._manager.latest_step()

    def restore(
        self, like: TrainState, shardings: TrainState, warn: Callable[[str], None]
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest complete checkpoint, laid out by `shardings`, with its counters; None if there is none.

        A damaged one is moved aside to `damaged-STEP`, `warn` says so, and the one before it is tried.
        """
        while (step := self._manager.latest_step()) is not None:
            harm = from_first(partial(self._harm, step))
            if harm is None:
                try:
                    return everywhere(partial(self._read, step, like, shardings))
                except BadInputError as error:
                    if from_first(partial(self._is_sealed, step)):
                        raise  # its bytes are right: an older one would not help
                    harm = str(error)
            warn(f"checkpoint {step} is damaged and was set aside ({harm[:160]})")
            from_first(partial(self._set_aside, step))
            self._manager.reload()
        return None

    def kept(self) -> list[int]:
        """The steps of the checkpoints on disk, in order."""
        return from_first(partial(kept_steps, self.directory))

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints of later steps: a rewind undoes them."""
        self.wait()
        from_first(partial(self._remove_after, step))
        self._manager.reload()

    def _remove_after(self, step: int) -> None:
        for later in kept_steps(self.directory):
            if later > step:
                shutil.rmtree(self.directory / str(later))

    def _set_aside(self, step: int) -> None:
        aside = self.directory / f"damaged-{step}"
        shutil.rmtree(aside, ignore_errors=True)
        (self.directory / str(step)).rename(aside)

    def _harm(self, step: int) -> str | None:
        return _harm(self.directory / str(step))

    def _is_sealed(self, step: int) -> bool:
        return (self.directory / str(step) / _MANIFEST).is_file()

    def _read(self, step: int, like: TrainState, shardings: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Raises BadInputError if it cannot be read for any reason."""
        target = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            like,
            shardings,
        )
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(_named(target)), counters=ocp.args.JsonRestore()
                ),
            )
            leaves = [restored["state"][name] for name in _named(target)]
        except Exception as error:
            raise BadInputError(
                f"checkpoint {step} in {self.directory} cannot be read: {_line(error)}"
            ) from error
        return jax.tree.unflatten(jax.tree.structure(like), leaves), restored["counters"]

    def close(self) -> None:
        """Finish what is under way and release the storage threads."""
        try:
            self.wait()
        finally:
            self._sealer.shutdown()
            with self._storage(self._saving):
                self._manager.close()  # raises again if a save failed


def kept_steps(directory: Path) -> list[int]:
    """The steps of the checkpoints in a directory, damaged or not, in order."""
    return sorted(int(p.name) for p in directory.glob("*") if p.name.isascii() and p.name.isdecimal())


def restore_model(
    directory: Path,
    like: Any,
    warn: Callable[[str], None],
    *,
    step: int | None = None,
    shardings: Any = None,
) -> Any:
    """Only the model of the newest complete checkpoint, or of `step`; None if there is none.

    `like` is the abstract model; it is laid out by `shardings`, a tree like it, or put on the default
    device. Nothing is moved aside: reading a run does not change it.
    """
    steps = kept_steps(directory)[::-1] if step is None else [step]
    alone = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    if shardings is None:
        shardings = jax.tree.map(lambda leaf: alone, like)
    target = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like, shardings
    )
    named = {f"model.{name}": leaf for name, leaf in _named(target).items()}
    for step in steps:
        try:
            with ocp.PyTreeCheckpointer() as reader:
                restored = reader.restore(
                    (directory / str(step) / "state").absolute(),
                    args=ocp.args.PyTreeRestore(
                        item=named,
                        restore_args=ocp.checkpoint_utils.construct_restore_args(named),
                        partial_restore=True,
                    ),
                )
            return jax.tree.unflatten(jax.tree.structure(like), [restored[name] for name in named])
        except Exception as error:
            warn(f"checkpoint {step} cannot be read ({_line(error)[:160]})")
    return None


def write_model(directory: Path, arrays: Mapping[str, StreamedArray]) -> None:
    """Write a model as the checkpoint of step 0, without an optimizer, in memory of a few parts.

    `arrays` are all leaves of the model by name. What making them raises is raised here.

    Raises:
        StorageError: the disk cannot be written, and why.
    """
    step = directory / "0"
    try:
        write_streamed(step, {f"model.{name}": array for name, array in arrays.items()}, {"step": 0})
        _write_manifest(step)
    except BadInputError:
        raise
    except Exception as error:
        raise StorageError(getattr(error, "strerror", None) or _line(error)) from error


def open_model(
    directory: Path, shapes: Mapping[str, tuple[int, ...]], warn: Callable[[str], None]
) -> dict[str, StoredArray] | None:
    """The leaves of the model in the newest complete checkpoint, to be read in parts; None if there is none.

    `shapes` are those of all leaves by name. Nothing is moved aside: reading a run does not change it.
    """
    for step in kept_steps(directory)[::-1]:
        harm = _harm(directory / str(step))
        if harm is None:
            try:
                state = directory / str(step) / "state"
                opened = {name: StoredArray(state, f"model.{name}") for name in shapes}
            except Exception as error:
                harm = _line(error)
            else:
                wrong = [name for name, array in opened.items() if array.shape != shapes[name]]
                if not wrong:
                    return opened
                harm = f"{wrong[0]} has shape {opened[wrong[0]].shape}, not {shapes[wrong[0]]}"
        warn(f"checkpoint {step} cannot be read ({harm[:160]})")
    return None
