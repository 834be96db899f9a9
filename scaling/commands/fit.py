"""The command `fit`: a law with its intervals, its tests, and its predictions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.commands.laws import By, Columns, Family, Flops, Params, WhereOption, where_of
from scaling.commands.options import Json, print_json, say
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.laws import Law, Points
    from scaling.laws.frontier.approaches import Approach
    from scaling.laws.read.inputs import Sources

# What N and C may count; of a directory of runs, sensitivity fits each.
COUNTINGS = ("total", "non_embedding", "non_embedding_with_head")


def fit(
    source: Annotated[Path, typer.Argument(help="sweep directory, or CSV with params, tokens and loss")],
    law: Annotated[str, typer.Option(help="functional form")] = "chinchilla",
    bootstrap: Annotated[int, typer.Option(help="bootstrap resamples for the intervals; 0 for none")] = 1000,
    holdout: Annotated[
        str | None,
        typer.Option(help="held-out test: share of points (0.2), number of largest sizes (1), or none"),
    ] = "0.2",
    rolling: Annotated[int, typer.Option(help="compute cut-offs of the rolled hold-out; 0 for none")] = 4,
    profile: Annotated[bool, typer.Option(help="compute profile intervals")] = True,
    sensitivity: Annotated[bool, typer.Option(help="repeat the fit with other choices")] = True,
    at: Annotated[str | None, typer.Option(help="training FLOPs to allocate, e.g. 1e21,1e22")] = None,
    predict: Annotated[str | None, typer.Option(help="point to predict, e.g. params=7e9,tokens=1e12")] = None,
    then: Annotated[
        str | None, typer.Option(help="second law, from loss to task error: downstream-error")
    ] = None,
    approaches: Annotated[
        bool,
        typer.Option("--approaches", help="compare the optimum by envelope, isoFLOP, projection and law"),
    ] = False,
    delta: Annotated[float, typer.Option(help="Huber delta of the residuals; 10 gives least squares")] = 1e-3,
    residual: Annotated[
        str, typer.Option(help="residuals: log (of log loss) or plain (of the loss)")
    ] = "log",
    columns: Columns = None,
    params: Params = "non_embedding_with_head",
    flops: Flops = "6nd",
    family: Family = None,
    where: WhereOption = None,
    by: By = None,
    seed: Annotated[int, typer.Option(help="seed of the bootstrap")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="fit data that would be refused, and mark the result")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="law.json to write; default: next to the source")] = None,
    as_json: Json = False,
) -> None:
    """Fit a law with intervals, and predict the largest runs from the others."""
    import json

    from scaling.commands.fit_text import (
        print_allocations,
        print_approaches,
        print_exponents,
        print_law,
        print_prediction,
    )
    from scaling.laws import LAWS, fit_points, parse_columns, read_points
    from scaling.laws.by_value import exponents, fit_by
    from scaling.laws.downstream.predicted import predicted
    from scaling.laws.frontier.optimum import allocate
    from scaling.laws.read.inputs import Sources
    from scaling.runtime.files import write_atomically

    budgets, place = _budgets(at), _place(predict)
    if law in LAWS:
        _check_asked(law, budgets, place, then)
    if rolling < 0:
        raise BadInputError(f"--rolling {rolling} is not accepted; give a number of cut-offs, or 0")
    if by is not None and approaches:
        raise BadInputError("--by and --approaches do not go together; choose rows with --where instead")
    named, chosen = parse_columns(columns) if columns else None, where_of(where)

    def read(n: str, c: str) -> "Points":
        return read_points(source, named, n, c, family, force, chosen)

    def fit_one(points: "Points", others: Mapping[str, "Points"]) -> "Law":
        with _progress() as tell:
            return fit_points(
                points,
                law,
                delta=delta,
                bootstrap=bootstrap,
                holdout=_holdout(holdout),
                seed=seed,
                force=force,
                progress=tell,
                residual=residual,  # type: ignore[arg-type]
                profile=profile,
                rolling=rolling,
                sensitivity=sensitivity,
                countings=others if sensitivity else None,
                then=then,
            )

    points = read(params, flops)
    others = _countings(source, read, params, flops) if sensitivity else {}
    if by is not None:
        path = out or (
            source / f"law-by-{by}.json" if source.is_dir() else source.with_suffix(f".by-{by}.json")
        )
        laws, refused = fit_by(points, by, others, fit_one)
        documents = {value: _document(one, budgets, place) for value, one in laws.items()}
        grouped: dict[str, Any] = {"groups": documents, "table": exponents(points, by, laws, refused)}
        write_atomically(path, json.dumps(grouped, indent=2, allow_nan=False).encode() + b"\n")
        if as_json:
            print_json(grouped)
            return
        from scaling.tables import show_text

        print_exponents(by, grouped["table"])
        for value, one in laws.items():
            for note in (*one.notes, *one.warnings):
                show_text(f"{by}={value}: {note}")
        typer.echo(f"Written to {path}")
        return
    fitted = fit_one(points, others)
    path = out or (source / "law.json" if source.is_dir() else source.with_suffix(".law.json"))
    fitted.write(path)
    document = _document(fitted, budgets, place)
    found = None
    if approaches:
        given = Sources((source,), None, named, params, flops, family, chosen, force)
        vars(given).update(law=None)  # the one that lies there is not asked
        found = _approaches(given, fitted, bootstrap, seed, path)
        document["approaches"] = [one.model_dump(mode="json") for one in found]
    if as_json:
        print_json(document)
        return
    print_law(fitted)
    if budgets:
        print_allocations(allocate(fitted, budgets))
    if place:
        print_prediction(predicted(fitted, place))
    if found:
        print_approaches(found)
    typer.echo(f"Written to {path}" + (f" and {path.with_name('approaches.json')}" if found else ""))


def _document(law: "Law", budgets: list[float], place: dict[str, float]) -> dict[str, Any]:
    """law.json with the answers that were asked for."""
    from scaling.laws.downstream.predicted import predicted
    from scaling.laws.frontier.optimum import allocate

    document: dict[str, Any] = law.model_dump(mode="json")
    if budgets:
        document["at"] = [row.model_dump(mode="json") for row in allocate(law, budgets)]
    if place:
        document["predict"] = predicted(law, place).model_dump(mode="json")
    return document


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar on stderr, which vanishes: a fit takes seconds. Nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("fit", total=1.0)
        yield lambda phase, share: bar.update(task, description=phase, completed=share)


def _holdout(text: str | None) -> float | int | None:
    """0.2 is a share, 1 a number of sizes, none is no test."""
    if text is None or text.lower() == "none":
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError as error:
        raise BadInputError(
            f"--holdout {text!r}: give a share such as 0.2, a number of largest sizes, or none"
        ) from error


def _positive(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e300:
        raise BadInputError(f"{option}: {text!r} is not accepted; give a positive number such as 1e21")
    return value


def _budgets(text: str | None) -> list[float]:
    return [] if text is None else [_positive("--at", part.strip()) for part in text.split(",")]


def _place(text: str | None) -> dict[str, float]:
    out: dict[str, float] = {}
    for part in [] if text is None else text.split(","):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not equals:
            raise BadInputError(f"--predict: {part!r} is not NAME=NUMBER, for example params=7e9,tokens=1e12")
        out[name] = _positive(f"--predict {name}", value)
    return out


def _check_asked(law: str, budgets: list[float], place: dict[str, float], then: str | None) -> None:
    """What cannot be answered is said before the fit."""
    from scaling.laws import LAWS

    form = LAWS[law]
    if then is not None and form.target != "loss":
        raise BadInputError(
            f"--then: {law} predicts {form.target}; give --law a law of loss, for example chinchilla"
        )
    if place and set(place) != set(form.variables):
        raise BadInputError(
            f"--predict gives {', '.join(place)}; {law} reads {', '.join(form.variables)}: give each once"
        )
    if budgets and form.optimum(dict.fromkeys(form.parameter_names, 0.5)) is None:
        raise BadInputError(f"--at: {law} has no compute optimum; use --predict, or a law such as chinchilla")


def _countings(source: Path, read: Any, params: str, flops: str) -> dict[str, Any]:
    """The runs of a directory with N or C counted otherwise."""
    if not source.is_dir():
        return {}
    others = {f"N: {name}": read(name, flops) for name in COUNTINGS if name != params}
    other = "counted" if flops == "6nd" else "6nd"
    return others | {f"C: {other}": read(params, other)}


def _approaches(
    sources: "Sources", law: "Law", bootstrap: int, seed: int, path: Path
) -> tuple["Approach", ...]:
    """The approaches side by side, also written beside the law."""
    import json

    from scaling.laws.frontier.approaches import compare_approaches
    from scaling.runtime.files import write_atomically

    say("comparing approaches")
    found = compare_approaches(sources.points, sources.curves, law, bootstrap=bootstrap, seed=seed)
    text = json.dumps([one.model_dump(mode="json") for one in found], indent=2, allow_nan=False)
    write_atomically(path.with_name("approaches.json"), text.encode() + b"\n")
    return found
