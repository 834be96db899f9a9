"""Import of checkpoints as runs and export of runs as checkpoints: `import_run` and `export_run`."""

import contextlib
import datetime
import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

from scaling.config.data import DataConfig
from scaling.config.load import dump_yaml, validate
from scaling.config.model import ModelConfig, network
from scaling.config.record import RunRecord
from scaling.config.run import RunConfig
from scaling.estimate.counts import count_parameters, tensors, train_flops_per_token
from scaling.hf.architecture import Architecture, Placed, place, to_theirs
from scaling.hf.checkpoint import Checkpoint
from scaling.hf.fold import Arrays, fold, standard
from scaling.hf.settings import ARCHITECTURES, TOKEN_IDS, architecture_for, architecture_named, settings_of
from scaling.hf.tokenizer import check_tokenizer, framing, tokenizer_in, write_tokenizer
from scaling.hf.weight_files import StreamedTensor, write
from scaling.runtime.errors import BadInputError, StorageError
from scaling.train.checkpoints import open_model, write_model
from scaling.train.device import git_commit, versions
from scaling.train.run_directory import SOURCE, read_origin, read_run
from scaling.train.run_tokenizer import keep_files
from scaling.train.stored_arrays import StoredArray

SHARD_BYTES = 5_000_000_000
_LEAF = "value"  # the only leaf of a parameter


@dataclass(frozen=True)
class Exported:
    """What `export_run` wrote."""

    architecture: str
    files: tuple[Path, ...]
    parameters: int
    size: int  # bytes of weights


def import_run(
    source: Path,
    out: Path,
    *,
    tokenizer: str | None = None,
    dtype: str = "float32",
    say: Callable[[str], None] = lambda text: None,
) -> RunRecord:
    """Make a run directory from a checkpoint in the Hugging Face layout.

    Args:
        source: a directory with config.json and safetensors.
        out: the run directory to make.
        tokenizer: as `data.tokenizer`; None: the one in `source` if there is one, otherwise `ids`.
        dtype: of the parameters, float32 or bfloat16.
        say: receives messages for the user.

    Raises:
        BadInputError: `out` exists, or the checkpoint cannot be read; then nothing is written.
    """
    _refuse_existing(out)
    checkpoint = Checkpoint(source, source.resolve().name)
    model: ModelConfig = validate(
        type(checkpoint.model), checkpoint.model.model_dump() | {"param_dtype": dtype}, "--dtype"
    )
    name = tokenizer or tokenizer_in(source)
    if name is None:
        say(f"{source} has no tokenizer: the run reads ids only; --tokenizer names one")
        name = "ids"
    data = validate(
        DataConfig,
        {"sequence_length": model.max_length, "tokenizer": name},
        "--tokenizer" if tokenizer else str(source),
    )
    frame: dict[str, list[int]] = {}
    if name != "ids":
        check_tokenizer(name, model.vocab_size, "--tokenizer" if tokenizer else "tokenizer")
        frame = framing(name, checkpoint.arch.model_type)
    # A run needs a budget; the minimal one, because training took place elsewhere.
    train = {"steps": 1, "batch_tokens": model.max_length, "learning_rate": 1e-4}
    tree = {"name": _run_name(out), "model": model, "data": data, "train": train}
    run: RunConfig = validate(RunConfig, tree, str(source))
    ids = {**checkpoint.arch.written, **checkpoint.settings}
    ids = {key: ids[key] for key in TOKEN_IDS if isinstance(ids.get(key), int)}
    origin = {"path": str(source.absolute()), "model_type": checkpoint.arch.model_type, **ids, **frame}
    if checkpoint.ends:
        origin["ends"] = checkpoint.ends
    with _complete_or_absent(out) as directory:
        arrays = checkpoint.arrays(jax.numpy.dtype(dtype))
        write_model(directory / "checkpoints", {f"{name}.{_LEAF}": array for name, array in arrays.items()})
        keep_files(directory, run.data)
        (directory / SOURCE).write_text(json.dumps(origin, indent=2) + "\n")
        (directory / "config.yaml").write_text(dump_yaml(run))
        record = _record(run)
        (directory / "record.json").write_text(record.model_dump_json(indent=2) + "\n")
    return record


def export_run(
    path: Path,
    out: Path,
    *,
    layout: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    warn: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Write the newest weights of a run as config.json and safetensors, which transformers loads.

    The multipliers of a muP model are folded into its weights.

    Args:
        path: a run directory.
        out: the directory to make.
        layout: a `model_type`; None: the one that the run was imported from, or one that fits.
        shard_bytes: larger weights are split into files of at most this many bytes.
        warn: receives a message about each unreadable checkpoint that is skipped.

    Raises:
        BadInputError: not a run, no checkpoint, no layout that fits the model, or `out` exists.
    """
    if shard_bytes < 1:
        raise BadInputError(f"--shard-bytes {shard_bytes}: give at least 1")
    _refuse_existing(out)
    run = read_run(path)
    trained, model = run.model, standard(run.model)
    origin = read_origin(path)
    first = layout or origin.get("model_type")
    chosen = architecture_for(model, first if first in ARCHITECTURES else None)
    if layout is not None and architecture_named(layout, "--layout") is not chosen:
        raise BadInputError(
            f"--layout {layout}: the model of {path} does not fit it; {chosen.model_type} does"
        )
    stored = _stored(path, model, warn)
    theirs = _tensors(chosen, model, partial(fold, trained), stored)
    ids = origin if origin.get("model_type") == chosen.model_type else {}
    settings = settings_of(chosen, model, model.param_dtype, ids)
    architecture = settings["architectures"][0]
    if architecture == chosen.bare:
        theirs = [replace(one, name=one.name.removeprefix(chosen.prefix)) for one in theirs]
    size = sum(tensor.nbytes for tensor in theirs)
    with _complete_or_absent(out, size) as directory:
        files = write(directory, settings, theirs, shard_bytes)
        write_tokenizer(path, run.data, directory)
    return Exported(
        architecture=architecture,
        files=tuple(out / file.name for file in files),
        parameters=sum(math.prod(array.shape) for array in stored.values()),
        size=size,
    )


def _stored(path: Path, model: ModelConfig, warn: Callable[[str], None]) -> dict[str, StoredArray]:
    """The newest weights of a run by name, to be read in parts."""
    shapes = {tensor.name: tensor.shape for tensor in tensors(model)}
    opened = open_model(path / "checkpoints", {f"{name}.{_LEAF}": s for name, s in shapes.items()}, warn)
    if opened is None:
        raise BadInputError(f"{path}: no readable checkpoint; train the run first")
    return {name.removesuffix(f".{_LEAF}"): array for name, array in opened.items()}


def _tensors(
    arch: Architecture,
    model: ModelConfig,
    fold: Callable[..., Arrays],
    stored: Mapping[str, StoredArray],
) -> list[StreamedTensor]:
    """The tensors of a checkpoint in an architecture; they are read when they are written."""
    dtype = np.dtype(jax.numpy.dtype(model.param_dtype))

    def parts(placed: Placed, i: int) -> Iterator[np.ndarray]:
        if placed.rule.blank_rows:
            yield np.zeros((placed.rule.blank_rows, *placed.shape[1:]), dtype)
        names = [tensor.name for tensor in placed.tensors]
        arrays = [stored[name] for name in names]
        groups = (
            [[array.layer(i) for array in arrays]]
            if placed.stacked
            else zip(*(array.parts() for array in arrays), strict=True)
        )
        for group in groups:
            ours = fold(dict(zip(names, group, strict=True)), last_layer=i + 1 == len(placed.names))
            yield to_theirs(placed, [ours[name] for name in names]).astype(dtype, copy=False)

    out = [
        StreamedTensor(name, placed.shape, dtype, partial(parts, placed, i))
        for placed in place(arch, model)[0]
        for i, name in enumerate(placed.names)
    ]
    if not network(model).tie_embeddings:
        by_name = {tensor.name: tensor for tensor in out}
        copies = [copy for copy in arch.copies if copy.when_untied and copy.of in by_name]
        out += [replace(by_name[copy.of], name=copy.theirs) for copy in copies]
    return out


def _record(run: RunConfig) -> RunRecord:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return RunRecord(
        id=run.id(),
        name=run.name,
        family=run.model.family,
        status="imported",
        params=count_parameters(run.model),
        flops_per_token=train_flops_per_token(run.model, run.data.sequence_length),
        budget_tokens=0,
        tokens=0,
        flops=0.0,
        step=0,
        versions=versions(),
        git_commit=git_commit(),
        tokenizer=run.data.tokenizer,
        vocab_size=run.model.vocab_size,
        started=now,
        ended=now,
    )


def _run_name(out: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", out.absolute().name).lstrip("._=+-")[:120] or "imported"


def _refuse_existing(out: Path) -> None:
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise BadInputError(f"--out {out}: already exists; give a new or empty directory")


@contextlib.contextmanager
def _complete_or_absent(out: Path, size: int = 0) -> Iterator[Path]:
    """A temporary directory that is renamed to `out` at the end, or removed after an error.

    Raises:
        BadInputError: it cannot be written, or its disk has no room for `size` bytes.
    """
    made: list[Path] = []
    try:
        _check_room(out, size)
        for parent in reversed(out.absolute().parents):
            if not parent.exists():
                parent.mkdir()
                made.append(parent)
        temporary = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=f".{out.name[:64]}."))
        made.append(temporary)
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(out.absolute())
    except BaseException as error:
        for directory in reversed(made):
            if directory.name.startswith(f".{out.name[:64]}."):
                shutil.rmtree(directory, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    directory.rmdir()  # only if still empty
        if isinstance(error, OSError | StorageError):
            said = getattr(error, "strerror", None) or error
            raise BadInputError(f"--out {out}: cannot be written ({said})") from error
        raise


def _check_room(out: Path, size: int) -> None:
    held = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(held).free
    if size > free:
        raise BadInputError(
            f"--out {out}: needs {size / 1e9:,.2f} GB, and its disk has {free / 1e9:,.2f} GB free"
        )
