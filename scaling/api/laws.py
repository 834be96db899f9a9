"""Scaling laws: `fit`."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scaling.api.arguments import (
    ColumnNames,
    Names,
    Numbers,
    Place,
    Rows,
    budgets_of,
    columns_of,
    names_of,
    place_of,
    where_of,
)
from scaling.api.points import PointSource, PointTable, read
from scaling.api.progress import say, work_bar
from scaling.api.results import TableResult
from scaling.api.text.blocks import Block, Text
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.laws import Law, Points
    from scaling.laws.fit import Delta
    from scaling.laws.frontier.approaches import Approach
    from scaling.laws.predict import Predicted
    from scaling.laws.sections import Allocation, Comparison

# What N may count; of a directory of runs, the sensitivity test fits each.
COUNTINGS = ("total", "non_embedding", "non_embedding_with_head")


@dataclass(frozen=True, repr=False)
class Fit(TableResult):
    """A fitted law. `law` is the document that `law.json` holds; the other fields answer `at`, `predict` and
    `approaches`. The table has a row per parameter."""

    law: "Law"
    points: "Points"
    allocations: Sequence["Allocation"] = ()
    prediction: "Predicted | None" = None
    approaches: Sequence["Approach"] | None = None

    @property
    def parameters(self) -> Mapping[str, float | None]:
        """The fitted parameters; None is infinite, or absent from the limiting form."""
        return self.law.parameters

    @property
    def intervals(self) -> Mapping[str, Any]:
        """The 95% bootstrap interval of each parameter; an open end is None."""
        return self.law.intervals

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        document: dict[str, Any] = self.law.model_dump(mode="json")
        if self.allocations:
            document["at"] = [row.model_dump(mode="json") for row in self.allocations]
        if self.prediction is not None:
            document["predict"] = self.prediction.model_dump(mode="json")
        if self.approaches is not None:
            document["approaches"] = [one.model_dump(mode="json") for one in self.approaches]
        return document

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        law, rows = self.law, []
        values = dict(law.parameters)
        if law.optimum is not None:
            values |= {"a": law.optimum.a, "b": law.optimum.b}
        for name, value in values.items():
            own = law.optimum.intervals if law.optimum and name in "ab" else law.intervals
            row: dict[str, Any] = {"parameter": name, "value": value}
            profile = (law.profile or {}).get(name)
            hessian = law.hessian.intervals.get(name) if law.hessian else None
            ends = {
                "bootstrap": own.get(name),
                "profile": profile.interval if profile else None,
                "hessian": hessian,
            }
            for kind, interval in ends.items():
                row[f"{kind}_low"], row[f"{kind}_high"] = interval or (None, None)
            rows.append(row)
        return rows

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.laws import allocation_blocks, approaches_blocks, law_blocks, prediction_blocks

        blocks = law_blocks(self.law)
        if self.allocations:
            blocks += allocation_blocks(self.allocations, self.law.cost)
        if self.prediction is not None:
            blocks += prediction_blocks(self.prediction)
        if self.approaches:
            blocks += approaches_blocks(self.approaches)
        return blocks

    def predict(self, **place: float) -> "Predicted":
        """The law's target at a value of each of its variables, with intervals: `predict(params=7e9,
        tokens=1e12)`."""
        from scaling.laws.predict import predicted

        return predicted(self.law, place_of(place))

    def allocate(self, at: Numbers) -> "tuple[Allocation, ...]":
        """The compute-optimal parameters and tokens at training FLOPs, with intervals."""
        from scaling.laws.frontier.optimum import allocate

        return tuple(allocate(self.law, budgets_of(at)))

    def write(self, path: str | Path) -> None:
        """Write `law.json`."""
        self.law.write(Path(path))


@dataclass(frozen=True, repr=False)
class FitsByColumn(TableResult):
    """A law for each value of a column: `fits["c4"]`. `refused` says why a value has none. The table has a
    row per value with its parameters, the exponents a and b, and their intervals."""

    by: str
    fits: Mapping[str, Fit]
    refused: Mapping[str, str]
    table: Sequence[Mapping[str, Any]]

    def __getitem__(self, value: str) -> Fit:
        return self.fits[value]

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "groups": {value: fit.to_dict() for value, fit in self.fits.items()},
            "table": list(self.table),
        }

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        rows = []
        for one in self.table:
            row: dict[str, Any] = {self.by: one["value"], "n_points": one["n_points"]}
            intervals = dict(one["intervals"] or {}) | {name: one[f"{name}_interval"] for name in "ab"}
            for name, value in (dict(one["parameters"] or {}) | {"a": one["a"], "b": one["b"]}).items():
                row[name] = value
                row[f"{name}_low"], row[f"{name}_high"] = intervals.get(name) or (None, None)
            rows.append(row | {"loss_unit": one["loss_unit"], "refused": one["refused"]})
        return rows

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.laws import exponents_blocks

        notes = [
            Text(f"{self.by}={value}: {note}")
            for value, fit in self.fits.items()
            for note in (*fit.law.notes, *fit.law.warnings)
        ]
        return [*exponents_blocks(self.by, self.table), *notes]

    def write(self, path: str | Path) -> None:
        """Write all laws and the table as JSON."""
        from scaling.runtime.files import write_atomically

        write_atomically(Path(path), json.dumps(self.to_dict(), indent=2, allow_nan=False).encode() + b"\n")


def fit(
    source: PointSource,
    law: str = "chinchilla",
    *,
    laws: Names = None,
    bootstrap: int = 1000,
    holdout: float | int | str | None = 0.2,
    rolling: int = 4,
    profile: bool = True,
    sensitivity: bool = True,
    at: Numbers = None,
    predict: Place = None,
    then: str | None = None,
    approaches: bool = False,
    delta: float | str = "auto",
    residual: Literal["log", "plain"] | str = "log",
    columns: ColumnNames = None,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    family: str | None = None,
    where: Rows = None,
    by: str | None = None,
    seed: int = 0,
    force: bool = False,
    out: str | Path | None = None,
) -> Fit | FitsByColumn:
    """Fit a law with intervals, and predict the largest runs from the others.

    Args:
        source: a run or sweep directory, a CSV, a DataFrame, or points that `read` returned.
        law: functional form: chinchilla, kaplan and others; auto for the simplest of the laws of N and D that
            predict larger runs from smaller ones as well as the best.
        laws: laws to compare in this way: `["chinchilla", "coupled", "farseer"]`.
        bootstrap: bootstrap resamples for the intervals; 0 for none.
        holdout: held-out test: a share of the points (0.2), a number of largest sizes (1), or None.
        rolling: compute cut-offs of the rolled hold-out; 0 for none.
        profile: compute profile intervals.
        sensitivity: repeat the fit with other choices.
        at: training FLOPs to allocate: `[1e21, 1e22]`.
        predict: a point to predict: `{"params": 7e9, "tokens": 1e12}`.
        then: second law, from loss to task error: downstream-error.
        approaches: compare the optimum by envelope, isoFLOP, projection and law.
        delta: Huber delta of the residuals: auto (1.345 times their scale, which is estimated with the
            parameters), paper (1e-3, Hoffmann et al. 2022) or a number; 10 gives least squares.
        residual: residuals: log (of log loss) or plain (of the loss).
        columns: of a table, the column of a field with another name: `{"params": "N", "tokens": "D*1e9"}`.
        params: of a directory, the parameter count N: non_embedding_with_head, non_embedding or total.
        flops: of a directory, the compute C: 6nd, or counted (matmul by matmul).
        family: model family, if a directory has several.
        where: rows to use, by column values: `{"dataset": "c4"}`, or several values as a list.
        by: a column; fits one law per value.
        seed: seed of the bootstrap.
        force: fit data that would be refused, and mark the result.
        out: law.json to write; nothing is written by default.

    Returns:
        A `Fit`, or with `by` a `FitsByColumn`.

    Raises:
        BadInputError: data that do not determine the law, an unknown law, or an option that does not apply.

    Example:
        >>> fit = scaling.fit(frame, where={"dataset": "c4"}, predict={"params": 7e9, "tokens": 1e12})
        >>> fit.parameters, fit.prediction.value, fit.prediction.interval
        >>> scaling.fit(frame, by="dataset").to_frame()
    """
    from scaling.laws import LAWS, fit_points
    from scaling.laws.comparison import CUTS, compare_laws
    from scaling.laws.fit import exponents, fit_by

    budgets, place = budgets_of(at), place_of(predict)
    candidates = _candidates(law, laws)
    for name in candidates or (law,):
        if name in LAWS:
            _check_questions(name, budgets, place, then)
    if rolling < 0:
        raise BadInputError(f"--rolling {rolling} is not accepted; give a number of cut-offs, or 0")
    if by is not None and approaches:
        raise BadInputError("--by and --approaches do not go together; choose rows with --where instead")
    held_out, chosen_delta = _holdout(holdout), _delta(delta)

    def read_counted(n: str, c: str) -> "Points":
        return read(
            source, columns=columns, params=n, flops=c, family=family, where=where, force=force
        ).points

    def fit_one(points: "Points", others: Mapping[str, "Points"]) -> "Law":
        with work_bar() as progress:
            options: Any = {
                "rolling": rolling,
                "delta": chosen_delta,
                "bootstrap": bootstrap,
                "seed": seed,
                "force": force,
                "residual": residual,
            }
            compared = None
            if candidates:
                of_errors = {key: options[key] for key in ("delta", "residual", "force")}
                compared = compare_laws(points, candidates, rolling or CUTS, progress=progress, **of_errors)
            fitted = fit_points(
                points,
                law if compared is None else compared.chosen,
                holdout=held_out,
                progress=progress,
                profile=profile,
                sensitivity=sensitivity,
                countings=others if sensitivity else None,
                then=then,
                **options,
            )
            if compared is None:
                return fitted
            rivals = lambda name: fit_points(points, name, holdout=None, progress=progress, **options)  # noqa: E731
            return _stacked(fitted, compared, budgets, place, rivals)

    def answered(fitted: "Law") -> Fit:
        from scaling.laws.frontier.optimum import allocate
        from scaling.laws.predict import predicted

        allocations = tuple(allocate(fitted, budgets)) if budgets else ()
        return Fit(fitted, points, allocations, predicted(fitted, place) if place else None)

    points = read_counted(params, flops)
    is_directory = isinstance(source, str | Path) and Path(source).is_dir()
    others = _countings(read_counted, params, flops) if sensitivity and is_directory else {}
    if by is not None:
        of_value, refused = fit_by(points, by, others, fit_one)
        fits = {value: answered(one) for value, one in of_value.items()}
        grouped = FitsByColumn(by, fits, refused, exponents(points, by, of_value, refused))
        if out is not None:
            grouped.write(out)
        return grouped
    fitted = fit_one(points, others)
    if out is not None:
        fitted.write(Path(out))
    result = answered(fitted)
    if not approaches:
        return result
    given = (columns_of(columns), params, flops, family, where_of(where), force)
    found = _compared(source, fitted, given, bootstrap, seed)
    if out is not None:
        _write_approaches(found, Path(out).with_name("approaches.json"))
    return replace(result, approaches=found)


def _candidates(law: str, laws: Names) -> tuple[str, ...]:
    """The laws to compare; none where one law was asked for."""
    from scaling.laws.comparison import AUTO

    if laws is None:
        return AUTO if law == "auto" else ()
    if law != "chinchilla":
        raise BadInputError(f"--law {law} and --laws do not go together; give --laws alone")
    found = tuple(names_of(laws) or ())
    if not found:
        raise BadInputError("--laws is empty; give laws of loss, such as chinchilla,coupled,farseer")
    return found


def _stacked(
    fitted: "Law",
    compared: "Comparison",
    budgets: list[float],
    place: dict[str, float],
    rival: Callable[[str], "Law"],
) -> "Law":
    """The law with its comparison; where predictions are asked for, with those of the average."""
    from scaling.laws.comparison import averaged_over, stack
    from scaling.laws.frontier.optimum import allocate

    places = [place] if place else []
    for row in allocate(fitted, budgets) if budgets else ():
        places.append({"params": row.params, "tokens": row.tokens})
    names = averaged_over(compared)
    if places and names:
        laws = {name: fitted if name == fitted.law else rival(name) for name in names}
        compared = compared.model_copy(update={"predictions": stack(compared, laws, places)})
    return fitted.model_copy(update={"comparison": compared})


def _holdout(holdout: float | int | str | None) -> float | int | None:
    """0.2 is a share, 1 a number of sizes, none is no test."""
    if not isinstance(holdout, str):
        return holdout
    if holdout.lower() == "none":
        return None
    try:
        return float(holdout) if "." in holdout else int(holdout)
    except ValueError as error:
        raise BadInputError(
            f"--holdout {holdout!r}: give a share such as 0.2, a number of largest sizes, or none"
        ) from error


def _delta(delta: float | str) -> "Delta":
    """auto, paper or a number."""
    if delta == "auto" or delta == "paper":
        return delta  # type: ignore[return-value]
    try:
        return float(delta)
    except ValueError as error:
        raise BadInputError(f"--delta {delta!r}: give auto, paper (1e-3) or a positive number") from error


def _check_questions(law: str, budgets: list[float], place: dict[str, float], then: str | None) -> None:
    """Refuse, before the fit, questions that the law does not answer."""
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


def _countings(read_counted: Callable[[str, str], "Points"], params: str, flops: str) -> dict[str, "Points"]:
    """The runs of a directory with N or C counted otherwise."""
    others = {f"N: {name}": read_counted(name, flops) for name in COUNTINGS if name != params}
    other = "counted" if flops == "6nd" else "6nd"
    return others | {f"C: {other}": read_counted(params, other)}


def _compared(
    source: Any, law: "Law", given: tuple[Any, ...], bootstrap: int, seed: int
) -> tuple["Approach", ...]:
    """The optimum by each approach; of a directory, with the training curves of its runs."""
    from scaling.laws.frontier.approaches import compare_approaches
    from scaling.laws.read.comparable import comparable
    from scaling.laws.read.inputs import Sources

    say("comparing approaches")
    if isinstance(source, PointTable) or hasattr(source, "subset"):
        sources = Sources.of(comparable(read(source).points, given[-1])[0])
    else:
        sources = Sources((source,), None, *given)
        vars(sources).update(law=None)  # a law.json next to the source was fitted before
    return compare_approaches(sources.points, sources.curves, law, bootstrap=bootstrap, seed=seed)


def _write_approaches(found: Sequence["Approach"], path: Path) -> None:
    from scaling.runtime.files import write_atomically

    text = json.dumps([one.model_dump(mode="json") for one in found], indent=2, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")
