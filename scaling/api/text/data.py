"""Descriptions of data as text: counts, a row per source, a packed row with the bounds of its documents."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from scaling.api.text.blocks import Block, Table, Text, count_in_words, table

if TYPE_CHECKING:
    from scaling.data.description import DataDescription, ExampleRow, Piece, SourceDescription

_SHOWN = 240  # characters of a piece of text


def description_blocks(found: "DataDescription") -> list[Block]:
    """The counts, tables of the sources, and the first row of training."""
    blocks: list[Block] = []
    for name, value in asdict(found.summary).items():
        words = (
            f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else value
        )
        blocks.append(Text(f"{name.replace('_', ' '):22}{words}", " " * 22))
    sources = found.sources
    return [
        *blocks,
        Text(""),
        _sources(found),
        Text(""),
        _lengths(sources),
        Text(""),
        _packing(found),
        *_reasons(sources),
        Text(""),
        *_row(found.example),
    ]


def _sources(found: "DataDescription") -> Table:
    heads = ["source", "weight", "documents", "tokens", "bytes", "bytes/token", "empty", "duplicates"]
    if found.budget_tokens is not None:
        heads += ["read", "epochs"]
    rows = []
    for name, one in found.sources.items():
        summary = one.summary
        cells = [
            name,
            "-" if one.weight is None else f"{one.weight:g}",
            count_in_words(summary.documents),
            count_in_words(summary.tokens),
            count_in_words(summary.bytes),
            f"{summary.bytes_per_token:.3g}",
            count_in_words(one.empty),
            count_in_words(one.duplicates),
        ]
        if one.read is not None:
            cells += [count_in_words(one.read.tokens), _epochs(one)]
        rows.append(cells)
    budget = "" if found.budget_tokens is None else f" for {count_in_words(found.budget_tokens)} tokens"
    return table(f"Sources{budget}", heads, rows)


def _epochs(one: "SourceDescription") -> str:
    assert one.read is not None
    epochs = one.read.epochs or 0.0
    words = f"{epochs:.3g}"
    if one.max_epochs is None:
        return words
    if one.exhausted == "cap" and epochs >= one.max_epochs:
        return f"{words} (capped)"
    return f"{words} of {one.max_epochs}" + (": refused" if epochs > one.max_epochs else "")


def _lengths(sources: "Mapping[str, SourceDescription]") -> Table:
    names = list(next(iter(sources.values())).lengths)
    rows = [[name, *(count_in_words(one.lengths[key]) for key in names)] for name, one in sources.items()]
    return table("Lengths of documents in tokens", ["source", *names], rows)


def _packing(found: "DataDescription") -> Table:
    L, method = found.config.sequence_length, found.config.packing
    rows = [
        [
            name,
            count_in_words(one.rows_per_epoch),
            "-" if one.packing is None else f"{one.packing.padding:.2%}",
            "-" if one.packing is None else f"{one.packing.split_documents:.1%}",
        ]
        for name, one in found.sources.items()
    ]
    heads = ["source", "rows/epoch", "padding", "split documents"]
    return table(f"Rows of {L} tokens, packing {method}", heads, rows)


def _reasons(sources: "Mapping[str, SourceDescription]") -> list[Block]:
    counts = {name: one.malformed for name, one in sources.items() if one.malformed}
    return [
        Text(f"{name}: {count:,} malformed records were left out (data.on_error=skip).")
        for name, count in counts.items()
    ]


def _row(row: "ExampleRow") -> list[Block]:
    blocks: list[Block] = [Text(f"Row {row.number} of training, from {row.source}: {row.length} tokens")]
    for number, piece in enumerate(row.pieces, 1):
        blocks.append(Text(f"-- {number}: {_bounds(piece)} --"))
        if piece.text is not None:
            blocks.append(Text(_shortened(piece.text), ""))
    if row.padding:
        blocks.append(Text(f"-- {row.padding} tokens of padding --"))
    return blocks


def _bounds(piece: "Piece") -> str:
    words = f"{piece.tokens} token{'' if piece.tokens == 1 else 's'}"
    if piece.begins and piece.ends:
        return f"a complete document, {words}"
    if piece.begins:
        return f"the beginning of a document, {words}"
    return f"the {'end' if piece.ends else 'middle'} of a document, {words}"


def _shortened(text: str) -> str:
    """A text with its middle left out if it is long, and without control characters."""
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text.replace("\t", "    "))
    if len(shown) <= _SHOWN:
        return shown
    half = _SHOWN // 2
    return f"{shown[:half]} [... {len(shown) - 2 * half:,} characters ...] {shown[-half:]}"
