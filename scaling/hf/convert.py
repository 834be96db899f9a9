"""Import of checkpoints as runs and export of runs as checkpoints: `import_run` and `export_run`."""

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
        tokenizer: `sentencepiece:PATH`, `bytes` or `ids`; None: a SentencePiece model in `source` if there is
            one, otherwise `ids`.
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
    data: dict[str, Any] = {"sequence_length": model.max_length, "tokenizer": tokenizer or "ids"}
    sentencepiece = None
    if tokenizer is None:
        sentencepiece = _sentencepiece_in(source, model.vocab_size, say)
        if sentencepiece is not None:
            data["tokenizer"] = f"sentencepiece:{sentencepiece.name}"  # of the run directory
    elif tokenizer != "ids":
        _check_tokenizer(tokenizer, model.vocab_size)
    # A run needs a budget; the minimal one, because training took place elsewhere.
    train = {"steps": 1, "batch_tokens": model.max_length, "learning_rate": 1e-4}
    tree = {"name": _run_name(out), "model": model, "data": data, "train": train}
    run: RunConfig = validate(RunConfig, tree, str(source))
    ids = {**checkpoint.arch.written, **checkpoint.settings}
    ids = {key: ids[key] for key in TOKEN_IDS if isinstance(ids.get(key), int)}
    origin = {"path": str(source.absolute()), "model_type": checkpoint.arch.model_type, **ids}
    with _complete_or_absent(out) as directory:
        arrays = checkpoint.tensors(jax.numpy.dtype(dtype))
        _save(directory / "checkpoints", arrays)
        if sentencepiece is not None:
            shutil.copyfile(sentencepiece, directory / sentencepiece.name)
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
    with _complete_or_absent(out) as directory:
        files = write(directory, settings, theirs, shard_bytes)
    return Exported(
        architecture=architecture,
        files=tuple(out / file.name for file in files),
        parameters=sum(array.size for array in ours.values()),
        size=sum(array.nbytes for array in theirs.values()),
    )


def _save(directory: Path, arrays: Arrays) -> None:
    """Write the arrays as a checkpoint of step 0, without an optimizer."""
    checkpoints = Checkpoints(directory, keep=2)
    try:
        model: Any = {f"{name}.{_LEAF}": array for name, array in arrays.items()}
        checkpoints.save(0, TrainState(model, ()), {"step": 0})
    finally:
        checkpoints.close()


def _restore(path: Path, model: ModelConfig, warn: Callable[[str], None]) -> Arrays:
    """The newest weights of a run by name, read without building the module."""
    like = {
        f"{tensor.name}.{_LEAF}": jax.ShapeDtypeStruct(tensor.shape, jax.numpy.dtype(model.param_dtype))
        for tensor in tensors(model)
    }
    restored = restore_model(path / "checkpoints", like, warn)
    if restored is None:
        raise BadInputError(f"{path}: no readable checkpoint; train the run first")
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
            f"--tokenizer {name}: has {pieces} pieces, but the vocabulary of the model has {vocab_size}"
        )


def _sentencepiece_in(source: Path, vocab_size: int, say: Callable[[str], None]) -> Path | None:
    for name in _SENTENCEPIECE:
        path = source / name
        if not path.is_file():
            continue
        try:
            _check_tokenizer(f"sentencepiece:{path}", vocab_size)
        except BadInputError as error:
            say(f"{name} is not used ({error}); the run reads ids only")
            return None
        return path
    return None


def _refuse_existing(out: Path) -> None:
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise BadInputError(f"--out {out}: already exists; give a new or empty directory")


@contextlib.contextmanager
def _complete_or_absent(out: Path) -> Iterator[Path]:
    """A temporary directory that is renamed to `out` at the end, or removed after an error.

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
                    directory.rmdir()  # only if still empty
        if isinstance(error, OSError):
            raise BadInputError(f"--out {out}: cannot be written ({error.strerror or error})") from error
        raise


_STANDARD = {"parametrization": "standard", "base_width": None, "base_d_head": None, "base_depth": None}
_SCORES = r"(.*\.)?(cross_)?attention\.query(_bias)?"
_BRANCHES = r"(.*\.)?((cross_)?attention\.out|feed_forward\.down|mixture\.down)(_bias)?"


def standard(model: ModelConfig) -> ModelConfig:
    """The model of folded weights: the same shapes in the standard parametrisation."""
    return model.model_copy(update=_STANDARD) if isinstance(model, TransformerConfig) else model


def fold(model: ModelConfig, arrays: Arrays) -> Arrays:
    """Weights with which the standard model computes the function of a muP model.

    Multipliers of attention scores go into queries, those of residual branches into their last projection,
    and that of the output into the head, or, if the head is tied, into the norm before it.

    Args:
        model: without sinusoidal positions, which no layout has.
        arrays: every tensor of the model by our names; not changed.
    """
    if not isinstance(model, TransformerConfig) or model.parametrization == "standard":
        return arrays
    folded = dict(arrays)

    def multiply(pattern: str, factor: float, last: bool = False) -> None:
        """Multiply arrays whose complete names match; with `last` only the last layer."""
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
        if model.positions == "relative":  # standard divides by sqrt(width), muP by sqrt(base width)
            factor *= model.width_ratio**0.5
    if isinstance(model, EncoderConfig):
        multiply(r"mlm_norm\.(scale|bias)", factor)
    elif model.norm == "pre":
        multiply(rf"{side}final_norm\.(scale|bias)", factor)
    else:
        multiply(rf"{side}layers\.feed_forward_norm\.(scale|bias)", factor, last=True)
    return folded
