"""What the commands that read points and laws share."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scaling.laws.points import Where

Columns = Annotated[str | None, typer.Option(help="CSV column of each field, e.g. params=N,tokens=D*1e9")]
WhereOption = Annotated[
    str | None, typer.Option("--where", help="rows to use, by column values, e.g. dataset=c4,split=val")
]
By = Annotated[str | None, typer.Option("--by", help="column; gives one result per value")]
Force = Annotated[
    bool, typer.Option("--force", help="accept losses that differ in kind, and implausible units")
]
Params = Annotated[
    str, typer.Option(help="parameter count N: non_embedding_with_head, non_embedding or total")
]
Flops = Annotated[str, typer.Option(help="compute C: 6nd, or counted (matmul by matmul)")]

Family = Annotated[str | None, typer.Option(help="model family, if a directory has several")]


def where_of(text: str | None) -> "Where | None":
    """The rows that `--where` selects; None for all."""
    from scaling.laws.read.select import parse_where

    return None if text is None else parse_where(text)
