"""What the commands that read points and laws share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scaling.laws import LawFit

Columns = Annotated[str | None, typer.Option(help="which CSV column is what: params=N,tokens=D")]
Params = Annotated[str, typer.Option(help="N: non_embedding_with_head, non_embedding or total")]
Flops = Annotated[str, typer.Option(help="C: 6nd, or counted (matmul by matmul)")]

Family = Annotated[str | None, typer.Option(help="whose runs, where a directory has several families")]


def read_points_of(
    source: Path, columns: str | None, params: str, flops: str, family: str | None = None
) -> Any:
    """The points of a sweep directory or a CSV, by the options of the command line."""
    from scaling.laws import parse_columns, read_points

    return read_points(source, parse_columns(columns) if columns else None, params, flops, family)


def law_beside(source: Path, law: Path | None) -> "LawFit | None":
    """The law that was asked for, or the one that `fit` left in the sweep directory or beside the CSV."""
    from scaling.plots.sources import law_of

    return law_of(source, law)
