"""Weights from elsewhere and what they say of ids: `import-hf`, `export-hf`, `score`."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.commands.options import Json, print_json, say
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.train.trained import Trained

Rows = list[list[int]]


def import_hf(
    path: Annotated[Path, typer.Argument(help="directory with config.json and safetensors")],
    out: Annotated[Path, typer.Option(help="run directory to create")],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="sentencepiece:PATH, bytes or ids; default: a SentencePiece model in the folder, or ids"
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="type of the parameters: float32 or bfloat16")] = "float32",
    as_json: Json = False,
) -> None:
    """Make a run from a Hugging Face checkpoint: GPT-1, GPT-2, LLaMA, BERT, RoBERTa, ALBERT or T5."""
    from scaling.hf.convert import import_run

    record = import_run(path, out, tokenizer=tokenizer, dtype=dtype, say=say)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    typer.echo(
        f"{record.params.total:,} parameters ({record.family}), tokenizer {record.tokenizer}; "
        f"written to {out}; next: scaling score {out} --ids FILE.json"
    )


def export_hf(
    run: Annotated[Path, typer.Argument(help="run directory")],
    out: Annotated[Path, typer.Option(help="directory to create")],
    layout: Annotated[
        str | None,
        typer.Option(help="openai-gpt, gpt2, llama, bert, roberta, albert or t5; default: what fits"),
    ] = None,
    shard_bytes: Annotated[str, typer.Option(help="most bytes per file of weights")] = "5e9",
    as_json: Json = False,
) -> None:
    """Write a run's weights as config.json and safetensors, for transformers to load."""
    from scaling.hf.convert import export_run

    try:
        most = int(float(shard_bytes))
    except (ValueError, OverflowError) as error:
        raise BadInputError(f"--shard-bytes {shard_bytes}: give a number of bytes, as 5e9") from error
    done = export_run(run, out, layout=layout, shard_bytes=most, warn=say)
    if as_json:
        print_json(
            {
                "out": str(out),
                "architecture": done.architecture,
                "parameters": done.parameters,
                "bytes": done.size,
                "files": [file.name for file in done.files],
            }
        )
        return
    typer.echo(f"{done.architecture}, {done.parameters:,} parameters, {len(done.files)} file(s) in {out}")


def score(
    run: Annotated[Path, typer.Argument(help="run directory")],
    text: Annotated[Path | None, typer.Option(help="text file")] = None,
    ids: Annotated[
        Path | None, typer.Option(help='JSON: {"ids": [[...]]}, and "decoder_ids" for an encoder-decoder')
    ] = None,
    logits: Annotated[
        Path | None,
        typer.Option(help=".npy to write, float32 (rows, longest, vocabulary); zero past a row's end"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the log-probability of each token, in nats.

    A decoder's tokens from the second on, each given those before it; an encoder's tokens each at its own
    position, nothing masked; an encoder-decoder's decoder ids from the second on, given the ids.
    """
    if (text is None) == (ids is None):
        raise BadInputError("give --text FILE or --ids FILE.json, one of them")
    if logits is not None and (logits.suffix != ".npy" or not logits.absolute().parent.is_dir()):
        raise BadInputError(f"--logits {logits}: give a .npy file in a directory that exists")
    rows, decoder_rows = read_ids(ids) if ids is not None else (None, None)
    characters = None if text is None else _read_text(text)
    from scaling.models.score import score as score_rows
    from scaling.train.trained import load_trained

    trained = load_trained(run, say)
    if rows is None:
        assert characters is not None
        rows = text_rows(trained, characters)
    trained.check_rows(rows)
    scores = score_rows(trained.model, rows, decoder_rows, keep_logits=logits is not None)
    if logits is not None:
        _save(logits, scores.logits_BLV)
    total = sum(map(sum, scores.log_probs))
    count = sum(map(len, scores.tokens))
    bits = None if characters is None else -total / math.log(2) / len(characters.encode())
    if as_json:
        print_json(
            {
                "run": str(run),
                "family": trained.run.model.family,
                "rows": [
                    {"tokens": tokens, "log_probs": values, "sum": sum(values)}
                    for tokens, values in zip(scores.tokens, scores.log_probs, strict=True)
                ],
                "tokens": count,
                "log_prob": total,
                "nats_per_token": -total / count if count else None,
                "bits_per_byte": bits,
                "logits": None if logits is None else str(logits),
            }
        )
        return
    for i, (tokens, values) in enumerate(zip(scores.tokens, scores.log_probs, strict=True)):
        for token, value in zip(tokens, values, strict=True):
            typer.echo(f"{i:4} {token:8} {value:12.6f}")
    mean = f", {-total / count:.4f} nats per token" if count else ""
    per_byte = "" if bits is None else f", {bits:.4f} bits per byte"
    typer.echo(f"{count:,} tokens: log-probability {total:.4f}{mean}{per_byte}")


def read_ids(path: Path) -> tuple[Rows, Rows | None]:
    """The rows of ids in a JSON file, and those of the decoder where it has them.

    Raises:
        BadInputError: no such file, not JSON, unknown keys, or rows that are no lists of whole numbers.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"--ids {path}: no such file") from error
    except OSError as error:
        raise BadInputError(f"--ids {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"--ids {path}: not JSON ({str(error)[:120]})") from error
    form = '{"ids": [[...]]}, and "decoder_ids" for an encoder-decoder'
    if not isinstance(tree, dict) or "ids" not in tree:
        raise BadInputError(f"--ids {path}: expected {form}")
    unknown = sorted(set(tree) - {"ids", "decoder_ids"})
    if unknown:
        raise BadInputError(f"--ids {path}: {unknown[0][:60]!r} is not known; expected {form}")
    return _rows(tree["ids"], "ids", path), (
        None if tree.get("decoder_ids") is None else _rows(tree["decoder_ids"], "decoder_ids", path)
    )


def _rows(value: Any, name: str, path: Path) -> Rows:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise BadInputError(f"--ids {path}: {name} is not a list of lists")
    for i, row in enumerate(value):
        for j, id_ in enumerate(row):
            if isinstance(id_, bool) or not isinstance(id_, int):
                raise BadInputError(f"--ids {path}: {name}[{i}][{j}]={str(id_)[:60]!r} is not a whole number")
    return value


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8")  # line ends as they are: a corpus keeps them too
    except FileNotFoundError as error:
        raise BadInputError(f"--text {path}: no such file") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"--text {path}: not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise BadInputError(f"--text {path}: {error.strerror or error}") from error
    if not text:
        raise BadInputError(f"--text {path}: the file is empty")
    return text


def text_rows(trained: "Trained", text: str) -> Rows:
    """A text as rows of at most the model's positions, each of its tokens scored once.

    A decoder's first row starts with what texts start with in training, and each further row with the last
    token of the row before.

    Raises:
        BadInputError: the run has no tokenizer, or reads pairs of texts.
    """
    from scaling.models.score import reads_pairs

    config = trained.run.model
    if reads_pairs(config):
        raise BadInputError("--text: an encoder-decoder scores one text given another; give --ids FILE.json")
    tokens = trained.tokenizer.encode(text).tolist()
    size = config.max_length
    if config.family == "encoder":
        return [tokens[i : i + size] for i in range(0, len(tokens), size)]
    tokens = [trained.start, *tokens]
    step = max(1, size - 1)
    return [tokens[i : i + size] for i in range(0, len(tokens) - 1, step)]


def _save(path: Path, array: Any) -> None:
    import io

    import numpy as np

    from scaling.runtime.files import write_atomically

    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getvalue())
