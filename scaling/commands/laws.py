"""What the commands that read points and laws share."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scaling.laws.points import Where

Columns = Annotated[
    str | None, typer.Option(help="which CSV column holds which field, as params=N,tokens=D*1e9")
]
WhereOption = Annotated[
    str | None, typer.Option("--where", help="rows to use, by the values of columns, as dataset=c4,split=val")
]
By = Annotated[str | None, typer.Option("--by", help="column: one result for each of its values")]
Force = Annotated[
    bool, typer.Option("--force", help="compare losses that differ in kind, and read implausible units")
]
Params = Annotated[str, typer.Option(help="N: non_embedding_with_head, non_embedding or total")]
Flops = Annotated[str, typer.Option(help="C: 6nd, or counted (matmul by matmul)")]

Family = Annotated[str | None, typer.Option(help="whose runs, where a directory has several families")]


def where_of(text: str | None) -> "Where | None":
    """The rows that `--where` selects; None for all."""
    from scaling.laws.select import parse_where

    return None if text is None else parse_where(text)
