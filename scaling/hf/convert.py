"""Runs from checkpoints and checkpoints from runs: `import_run` and `export_run`."""

import contextlib
import datetime
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scaling.config.data import DataConfig
from scaling.config.load import dump_yaml, validate
from scaling.config.model import EncoderConfig, EncoderDecoderConfig, ModelConfig, TransformerConfig, network
from scaling.config.record import RunRecord
from scaling.config.run import RunConfig
from scaling.data.tokenizers import load_tokenizer
from scaling.estimate.counts import count_parameters, tensors, train_flops_per_token
from scaling.hf.architecture import Arrays, place, to_theirs
from scaling.hf.checkpoint import Checkpoint, write
from scaling.hf.settings import ARCHITECTURES, TOKEN_IDS, architecture_for, architecture_named, settings_of
from scaling.runtime.errors import BadInputError
from scaling.train.checkpoints import Checkpoints, restore_model
from scaling.train.device import git_commit, versions
from scaling.train.run_directory import SOURCE, keep_files, read_origin, read_run
from scaling.train.step import TrainState

SHARD_BYTES = 5_000_000_000
_SENTENCEPIECE = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
_LEAF = "value"  # a module's parameter is a node with this one leaf


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
    """Make a run directory of a checkpoint in the Hugging Face layout.

    Args:
        source: a directory that holds config.json and safetensors.
        out: the run directory to make.
        tokenizer: `sentencepiece:PATH`, `bytes` or `ids`; None takes a SentencePiece model that lies beside
            the weights, and else `ids`.
        dtype: of the parameters, float32 or bfloat16.
        say: hears what a person should know.

    Raises:
        BadInputError: `out` is there already, or the checkpoint is not one that can be read. Nothing is left
            behind then.
    """
    _refuse_existing(out)
    checkpoint = Checkpoint(source, source.resolve().name)
    model: ModelConfig = validate(
        type(checkpoint.model), checkpoint.model.model_dump() | {"param_dtype": dtype}, "--dtype"
    )
    data: dict[str, Any] = {"sequence_length": model.max_length, "tokenizer": tokenizer or "ids"}
    beside = None
    if tokenizer is None:
        beside = _sentencepiece_beside(source, model.vocab_size, say)
        if beside is not None:
            data["tokenizer"] = f"sentencepiece:{beside.name}"  # of the run directory
    elif tokenizer != "ids":
        _check_tokenizer(tokenizer, model.vocab_size)
    # A run has a budget; this one was spent elsewhere, so the least that there is stands for it.
    train = {"steps": 1, "batch_tokens": model.max_length, "learning_rate": 1e-4}
    tree = {"name": _run_name(out), "model": model, "data": data, "train": train}
    run: RunConfig = validate(RunConfig, tree, str(source))
    ids = {**checkpoint.layout.written, **checkpoint.settings}
    ids = {key: ids[key] for key in TOKEN_IDS if isinstance(ids.get(key), int)}
    origin = {"path": str(source.absolute()), "model_type": checkpoint.layout.model_type, **ids}
    with _made_whole(out) as directory:
        arrays = checkpoint.tensors(jax.numpy.dtype(dtype))
        _save(directory / "checkpoints", arrays)
        if beside is not None:
            shutil.copyfile(beside, directory / beside.name)
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
    """Write a run's newest weights as config.json and safetensors, which transformers loads.

    The multipliers of a muP model go into its weights.

    Args:
        path: a run directory.
        out: the directory to make.
        layout: a `model_type`; None takes what the run was imported from, and else what fits.
        shard_bytes: weights beyond this many bytes are split over files.
        warn: hears of a checkpoint that was passed over.

    Raises:
        BadInputError: not a run, no checkpoint, no layout that its model fits, or `out` is there already.
    """
    if shard_bytes < 1:
        raise BadInputError(f"--shard-bytes {shard_bytes}: give at least 1")
    _refuse_existing(out)
    trained = read_run(path).model
    model = standard(trained)
    origin = read_origin(path)
    first = layout or origin.get("model_type")
    chosen = architecture_for(model, first if first in ARCHITECTURES else None)
    if layout is not None and architecture_named(layout, "--layout") is not chosen:
        raise BadInputError(
            f"--layout {layout}: the model of {path} does not fit it; {chosen.model_type} does"
        )
    ours = fold(trained, _restore(path, model, warn))
    theirs: Arrays = {}
    for placed in place(chosen, model)[0]:
        theirs |= to_theirs(placed, ours)
    if not network(model).tie_embeddings:
        copies = [copy for copy in chosen.copies if copy.when_untied and copy.of in theirs]
        theirs |= {copy.theirs: theirs[copy.of].copy() for copy in copies}
    ids = origin if origin.get("model_type") == chosen.model_type else {}
    settings = settings_of(chosen, model, model.param_dtype, ids)
    architecture = settings["architectures"][0]
    if architecture == chosen.bare:
        theirs = {name.removeprefix(chosen.prefix): array for name, array in theirs.items()}
    with _made_whole(out) as directory:
        files = write(directory, settings, theirs, shard_bytes)
    return Exported(
        architecture=architecture,
        files=tuple(out / file.name for file in files),
        parameters=sum(array.size for array in ours.values()),
        size=sum(array.nbytes for array in theirs.values()),
    )


def _save(directory: Path, arrays: Arrays) -> None:
    """The arrays as the checkpoint of step 0: names and types as a trainer's, without an optimizer."""
    checkpoints = Checkpoints(directory, keep=2)
    try:
        model: Any = {f"{name}.{_LEAF}": array for name, array in arrays.items()}
        checkpoints.save(0, TrainState(model, ()), {"step": 0})
    finally:
        checkpoints.close()


def _restore(path: Path, model: ModelConfig, warn: Callable[[str], None]) -> Arrays:
    """The newest weights of a run by name, without building its module."""
    like = {
        f"{tensor.name}.{_LEAF}": jax.ShapeDtypeStruct(tensor.shape, jax.numpy.dtype(model.param_dtype))
        for tensor in tensors(model)
    }
    restored = restore_model(path / "checkpoints", like, warn)
    if restored is None:
        raise BadInputError(f"{path}: no checkpoint that can be read; train the run first")
    return {name.removesuffix(f".{_LEAF}"): np.asarray(array) for name, array in restored.items()}


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


def _check_tokenizer(name: str, vocab_size: int) -> None:
    validate(DataConfig, {"tokenizer": name}, "--tokenizer")
    pieces = load_tokenizer(name).vocab_size
    if pieces > vocab_size:
        raise BadInputError(
            f"--tokenizer {name}: has {pieces} pieces, and the model's vocabulary {vocab_size}"
        )


def _sentencepiece_beside(source: Path, vocab_size: int, say: Callable[[str], None]) -> Path | None:
    for name in _SENTENCEPIECE:
        path = source / name
        if not path.is_file():
            continue
        try:
            _check_tokenizer(f"sentencepiece:{path}", vocab_size)
        except BadInputError as error:
            say(f"{name} is left aside ({error}); the run reads ids alone")
            return None
        return path
    return None


def _refuse_existing(out: Path) -> None:
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise BadInputError(f"--out {out}: is there already; give a directory that is not, or an empty one")


@contextlib.contextmanager
def _made_whole(out: Path) -> Iterator[Path]:
    """A directory beside `out` that becomes `out` at the end, or vanishes.

    Raises:
        BadInputError: it cannot be written.
    """
    made: list[Path] = []
    try:
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
                    directory.rmdir()  # only if nobody else put something there
        if isinstance(error, OSError):
            raise BadInputError(f"--out {out}: cannot be written ({error.strerror or error})") from error
        raise


_STANDARD = {"parametrization": "standard", "base_width": None, "base_d_head": None, "base_depth": None}
_SCORES = r"(.*\.)?(cross_)?attention\.query(_bias)?"
_BRANCHES = r"(.*\.)?((cross_)?attention\.out|feed_forward\.down|mixture\.down)(_bias)?"


def standard(model: ModelConfig) -> ModelConfig:
    """The model that `fold` gives weights for: the same shapes, the standard parametrisation."""
    return model.model_copy(update=_STANDARD) if isinstance(model, TransformerConfig) else model


def fold(model: ModelConfig, arrays: Arrays) -> Arrays:
    """Weights with which the standard model computes what a muP model computes with `arrays`.

    Scores go into queries, residual branches into their last projection, and the head's multiplier into the
    head, or where it is tied into the norm before it.

    Args:
        model: without sinusoidal positions, which no layout has.
        arrays: every tensor of the model by our names; not changed.
    """
    if not isinstance(model, TransformerConfig) or model.parametrization == "standard":
        return arrays
    folded = dict(arrays)

    def multiply(pattern: str, factor: float, last: bool = False) -> None:
        """Arrays whose names match whole; `last` is the last layer's entry alone."""
        for name in [name for name in folded if factor != 1.0 and re.fullmatch(pattern, name)]:
            wide = folded[name].astype(np.float32)
            wide[-1 if last else slice(None)] *= factor
            folded[name] = wide.astype(arrays[name].dtype)

    heads = (model.base_d_head or model.d_head) / model.d_head
    unscaled = isinstance(model, EncoderDecoderConfig) and not model.scale_attention
    multiply(_SCORES, heads if unscaled else heads**0.5)
    multiply(_BRANCHES, model.residual_multiplier)
    multiply(r"(.*\.)?mixture\.router", model.output_multiplier)
    multiply(r"sentence_head\.kernel", model.output_multiplier)
    if not model.tie_embeddings:
        multiply("untied_head", model.output_multiplier)
        return folded
    factor, side = model.output_multiplier, ""
    if isinstance(model, EncoderDecoderConfig):
        side = r"decoder\."
        if model.positions == "relative":  # the standard model divides by sqrt(width), this one by the base's
            factor *= model.width_ratio**0.5
    if isinstance(model, EncoderConfig):
        multiply(r"mlm_norm\.(scale|bias)", factor)
    elif model.norm == "pre":
        multiply(rf"{side}final_norm\.(scale|bias)", factor)
    else:
        multiply(rf"{side}layers\.feed_forward_norm\.(scale|bias)", factor, last=True)
    return folded
