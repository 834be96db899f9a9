"""Hyper-parameter transfer: `check-mup`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from scaling.commands.options import Json, Overrides, print_json, say
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.train.coordinate_check import CoordinateCheck


def check_mup(
    run: Annotated[str, typer.Argument(help="run in configs/runs, or a YAML file")],
    overrides: Overrides = None,
    widths: Annotated[
        str | None, typer.Option(help="widths, e.g. 64,128,256; default: 1, 2 and 4 times the base")
    ] = None,
    steps: Annotated[int, typer.Option(help="optimizer steps")] = 5,
    tolerance: Annotated[float, typer.Option(help="largest slope that counts as flat")] = 0.2,
    out: Annotated[Path | None, typer.Option(help=".png, .svg or .pdf file to write")] = None,
    as_json: Json = False,
) -> None:
    """Check muP's coordinates: whether updates scale correctly with width, next to the standard ones."""
    from scaling.config.load import load_run
    from scaling.train.coordinate_check import check_coordinates

    config = load_run(run, overrides or ())
    if out is not None:
        from scaling.plots.style import check_path

        check_path(out)
    check = check_coordinates(config, _widths(widths), steps, tolerance, say)
    if out is not None:
        from scaling.plots.mup import coordinates_figure
        from scaling.plots.style import save_figure

        save_figure(coordinates_figure(check), out)
    if as_json:
        print_json(check.as_dict() | {"out": None if out is None else str(out)})
    else:
        _tell(check)
        if out is not None:
            typer.echo(f"Written to {out}")
    if check.not_flat("mup"):
        raise typer.Exit(1)


def _widths(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise BadInputError(f"--widths {text!r}: give whole numbers, as 64,128,256")
    return tuple(int(part) for part in parts)


def _tell(check: "CoordinateCheck") -> None:
    from scaling.config.model import Parametrization
    from scaling.tables import show, show_text, table

    rows = []
    for kind in get_args(Parametrization):
        for layer in check.layers():
            steps = check.of(kind, layer)
            slopes = [f"{m.change_slope:+.2f}" if m.change_slope is not None else "" for m in steps[1:]]
            rows.append(
                (kind, layer, f"{steps[0].activation_slope:+.2f}", *slopes, check.verdict(kind, layer))
            )
    last = max(m.step for m in check.measured)
    heads = ("parametrization", "activation", "at start", *(f"step {i}" for i in range(1, last + 1)))
    widths = ", ".join(map(str, check.measured[0].widths))
    title = f"Slope of log size against log width, over widths {widths} (base {check.base_width})"
    show(table(title, (*heads, "change"), rows, left=2, keys=2))
    for kind in get_args(Parametrization):
        moving = check.not_flat(kind)
        what = f"not flat: {', '.join(moving)}" if moving else "flat"
        show_text(f"{kind}: {what} (|slope of the change|, mean over steps, {check.tolerance:g} at most)")
