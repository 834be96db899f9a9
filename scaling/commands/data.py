"""Data: `data describe`, `data tokenizer`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scaling.commands.options import Json, Overrides, print_json, show
from scaling.runtime.errors import BadInputError


def describe(
    what: Annotated[
        str | None,
        typer.Argument(
            help="source (python-stdlib, text:GLOB, jsonl:GLOB, ...), or run in configs/runs or a YAML file; "
            "default: python-stdlib",
            metavar="[SOURCE|RUN]",
        ),
    ] = None,
    overrides: Overrides = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="tokenizer: bytes, hf:PATH, sentencepiece:PATH or tiktoken:PATH; default: bytes"),
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="field, column or feature that holds the text; default: text")
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(help="budget in tokens, for its epochs; default: that of the run")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count documents, tokens and bytes of a corpus or a run's mixture, and show how rows are packed."""
    from scaling.api.data import describe as describe_data

    changes = list(overrides or ())
    if what is not None and "=" in what and ":" not in what.partition("=")[0]:
        changes.insert(0, what)
        what = None
    options = {"tokenizer": tokenizer, "field": field}
    changes += [f"data.{name}={value}" for name, value in options.items() if value is not None]
    show(describe_data(what, changes, tokens=None if tokens is None else int(tokens)), as_json)


def tokenizer(
    out: Annotated[Path, typer.Option(help="folder to write; or a .model file, for SentencePiece")],
    source: Annotated[
        str, typer.Option(help="source of text, as data.source: python-stdlib, text:GLOB, parquet:GLOB, ...")
    ] = "python-stdlib",
    field: Annotated[str, typer.Option(help="field, column or feature that holds the text")] = "text",
    vocab_size: Annotated[int, typer.Option(help="tokens in the vocabulary")] = 4096,
    kind: Annotated[
        str, typer.Option("--kind", "--type", help="bpe (byte-level), unigram or wordpiece (lower case)")
    ] = "bpe",
    seed: Annotated[int, typer.Option(help="seed of the sample of documents")] = 0,
    max_bytes: Annotated[int, typer.Option(min=1, help="most bytes of text to train on")] = 50_000_000,
    as_json: Json = False,
) -> None:
    """Train a tokenizer and write it in the Hugging Face layout."""
    from scaling.api.progress import work_bar
    from scaling.config.data import DataConfig
    from scaling.config.load import validate
    from scaling.data.sources import open_source
    from scaling.data.tokenizer_training import KINDS, train_sentencepiece, train_tokenizer

    model = out.suffix == ".model"
    kinds = [name for name in KINDS if name != "wordpiece" or not model]
    if kind not in kinds:
        what = " for a .model file" if model else ""
        raise BadInputError(f"--kind {kind!r}: give {', '.join(kinds[:-1])} or {kinds[-1]}{what}")
    corpus = open_source(validate(DataConfig, {"source": source, "field": field}, "data"))
    with work_bar() as bar:
        options: dict[str, Any] = {
            "vocab_size": vocab_size,
            "seed": seed,
            "max_bytes": max_bytes,
            "progress": lambda done, most: bar("reading" if done < most else "learning", done / most),
        }
        if model:
            made = train_sentencepiece(corpus, out, model_type=kind, **options)  # type: ignore[arg-type]
        else:
            made = train_tokenizer(corpus, out, kind=kind, **options)  # type: ignore[arg-type,assignment]
    name = f"{'sentencepiece' if model else 'hf'}:{out}"
    if as_json:
        written = out if model else out / "tokenizer.json"
        print_json(
            {
                "out": str(out),
                "bytes": written.stat().st_size,
                "kind": kind,
                "tokenizer": name,
                "vocab_size": made.vocab_size,
                "identity": made.identity,
            }
        )
    else:
        typer.echo(f"{made.vocab_size:,} tokens written to {out}; use it with data.tokenizer={name}")
