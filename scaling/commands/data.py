"""Data: `data describe`, `data tokenizer`."""

from pathlib import Path
from typing import Annotated

import typer

from scaling.commands.options import Json, print_json
from scaling.runtime.errors import BadInputError


def describe(
    source: Annotated[
        str, typer.Argument(help="corpus: python-stdlib, text:GLOB, jsonl:GLOB or tfds:NAME")
    ] = "python-stdlib",
    tokenizer: Annotated[str, typer.Option(help="tokenizer: bytes or sentencepiece:PATH")] = "bytes",
    field: Annotated[str, typer.Option(help="JSON field or TFDS feature that holds the text")] = "text",
    as_json: Json = False,
) -> None:
    """Count documents, tokens and bytes of a corpus and its validation split."""
    import dataclasses

    from scaling.api.text.blocks import Text, terminal_width, text_of
    from scaling.config.data import DataConfig
    from scaling.config.load import validate
    from scaling.data.corpus import describe as describe_corpus

    config = validate(DataConfig, {"source": source, "tokenizer": tokenizer, "field": field}, "data")
    summary = dataclasses.asdict(describe_corpus(config))
    if as_json:
        print_json(summary)
        return
    lines = []
    for name, value in summary.items():
        words = (
            f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else value
        )
        lines.append(Text(f"{name.replace('_', ' '):22}{words}", " " * 22))
    typer.echo(text_of(lines, terminal_width()))


def tokenizer(
    out: Annotated[Path, typer.Option(help=".model file to write")],
    source: Annotated[
        str, typer.Option(help="corpus: python-stdlib, text:GLOB, jsonl:GLOB or tfds:NAME")
    ] = "python-stdlib",
    field: Annotated[str, typer.Option(help="JSON field or TFDS feature that holds the text")] = "text",
    vocab_size: Annotated[int, typer.Option(help="pieces in the vocabulary")] = 4096,
    kind: Annotated[str, typer.Option("--type", help="algorithm: bpe or unigram")] = "bpe",
    seed: Annotated[int, typer.Option(help="seed of the sample of documents")] = 0,
    as_json: Json = False,
) -> None:
    """Train a SentencePiece tokenizer that reproduces every byte."""
    from scaling.config.data import DataConfig
    from scaling.config.load import validate
    from scaling.data.sources import open_source
    from scaling.data.tokenizer_training import train_sentencepiece

    if kind not in ("bpe", "unigram"):
        raise BadInputError(f"--type {kind!r}: give bpe or unigram")
    config = validate(DataConfig, {"source": source, "field": field}, "data")
    train_sentencepiece(open_source(config), out, vocab_size=vocab_size, model_type=kind, seed=seed)  # type: ignore[arg-type]
    if as_json:
        print_json({"out": str(out), "bytes": out.stat().st_size})
    else:
        typer.echo(f"Written to {out}")
