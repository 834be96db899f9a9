"""What commands share: their options, and how they print."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value changes to the config, as model.n_layers=6", metavar="[KEY=VALUE]..."),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print what would be done, and do nothing")]


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def say(text: str) -> None:
    """A line for a person, on stderr."""
    typer.echo(text, err=True)


def wrote(path: Path, as_json: bool) -> None:
    """Say which file was written."""
    if as_json:
        print_json({"out": str(path), "bytes": path.stat().st_size})
    else:
        typer.echo(f"Written to {path}")
