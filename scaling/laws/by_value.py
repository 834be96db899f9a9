"""One law for each value of a column, and their exponents side by side."""

from collections.abc import Callable, Mapping
from typing import Any

from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.read.select import split_by
from scaling.runtime.errors import BadInputError


def fit_by(
    points: Points,
    column: str,
    countings: Mapping[str, Points],
    fit: Callable[[Points, Mapping[str, Points]], Law],
) -> tuple[dict[str, Law], dict[str, str]]:
    """The law of each value's points, and why the points of a value give none.

    Args:
        points: of all values.
        column: a name in `points.columns`, or `dataset`.
        countings: the same points with N or C counted otherwise, by a label.
        fit: fits points, with their other countings.

    Raises:
        BadInputError: there is no such column, or no value's points give a law.
    """
    parts = split_by(points, column)
    others = {label: split_by(other, column) for label, other in countings.items()}
    laws: dict[str, Law] = {}
    refused: dict[str, str] = {}
    for value, part in parts.items():
        try:
            laws[value] = fit(
                part, {label: other[value] for label, other in others.items() if value in other}
            )
        except BadInputError as error:
            refused[value] = str(error)
    if not laws:
        value, reason = next(iter(refused.items()))
        raise BadInputError(
            f"--by {column}: none of {len(refused)} values has a law; {column}={value}: {reason}"
        )
    return laws, refused


def exponents(
    points: Points, column: str, laws: Mapping[str, Law], refused: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A row for each value, in the order of the points: its parameters and exponent a with their intervals.

    A value without a law has null parameters and the reason in `refused`.
    """
    rows = []
    for value, part in split_by(points, column).items():
        law = laws.get(value)
        optimum = None if law is None else law.optimum
        rows.append(
            {
                "value": value,
                "n_points": len(part),
                "parameters": None if law is None else law.parameters,
                "intervals": None if law is None else law.intervals,
                "a": None if optimum is None else optimum.a,
                "a_interval": None if optimum is None else optimum.intervals.get("a"),
                "b": None if optimum is None else optimum.b,
                "b_interval": None if optimum is None else optimum.intervals.get("b"),
                "loss_unit": part.loss_unit if law is None else law.loss_unit,
                "refused": refused.get(value),
            }
        )
    return rows
