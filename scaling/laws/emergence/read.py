"""Scores from where they lie: evaluations of a sweep, a CSV, or the table that a paper printed."""

import math
from pathlib import Path
from typing import Any

from scaling.config.errors import BadInputError
from scaling.config.evaluation import read_evaluations
from scaling.laws.emergence.experiments import evaluations_of_one_experiment, rows_of_one_experiment
from scaling.laws.emergence.gpt3 import gpt3_scores
from scaling.laws.emergence.scores import SCALES, Scores, as_scores, is_share, scores_from_evaluations
from scaling.laws.points import Where
from scaling.laws.sheet import csv_rows

NUMBERS = ("score", "params", "flops", "loss", "step", "n", "chance", "answer_tokens", "low", "high")
COUNTS = ("shots", "seed")
NAMES = ("task", "metric", "group")
PUBLISHED = {"gpt3": gpt3_scores}
_POSITIVE = ("params", "flops", "loss", "n", "answer_tokens")


def read_scores(
    source: str | Path,
    params: str = "non_embedding_with_head",
    *,
    where: Where | None = None,
    force: bool = False,
) -> Scores:
    """Scores of a run or sweep directory, a CSV file, or a published table by its name (`gpt3`).

    Args:
        source: a directory with `evals/*.json` or `*/evals/*.json`, a CSV, or a name in `PUBLISHED`.
        params: for a directory, which count of parameters is N.
        where: the values of columns, or of facts of runs, that rows are selected by.
        force: take scores of several experiments as one.

    Raises:
        BadInputError: the source is not usable; the message says where.
    """
    path = Path(source)
    if path.is_dir():
        evaluations = evaluations_of_one_experiment(path, read_evaluations(path), where, force)
        return scores_from_evaluations(evaluations, str(path), params)
    if not path.exists():
        if str(source) in PUBLISHED:
            return PUBLISHED[str(source)]()
        raise BadInputError(
            f"{source} does not exist; give a run or sweep directory, a CSV file, or {' or '.join(PUBLISHED)}"
        )
    return read_score_csv(path, only=where, force=force)


def read_score_csv(path: Path, *, only: Where | None = None, force: bool = False) -> Scores:
    """A CSV with a header: `task`, `score` and at least one of params, flops, loss, step.

    Also read: shots (0), metric (`score`), n, seed (0), group (each row its own), chance, answer_tokens, low,
    high. Columns that are not named here are ignored; an empty cell is a value that is not known.

    Raises:
        BadInputError: naming file, line, column, value, and what would be accepted.
    """
    rows = csv_rows(path)
    if not rows:
        raise BadInputError(f"{path} is empty; the first line must be a header with task, score, and a scale")
    rows = rows_of_one_experiment(path, rows, only, force)
    line, header = rows[0][0], [cell.strip() for cell in rows[0][1]]
    for name in header:
        if name and header.count(name) > 1:
            raise BadInputError(
                f"{path}, line {line}: column {name!r} stands twice in the header; name it once"
            )
    missing = [name for name in ("task", "score") if name not in header]
    if missing or not any(scale in header for scale in SCALES):
        lacking = missing[0] if missing else f"{', '.join(SCALES[:-1])} or {SCALES[-1]}"
        raise BadInputError(
            f"{path}, line {line}: no column {lacking} in the header, which has "
            f"{', '.join(repr(name[:40]) for name in header[:12])}; add it"
        )
    if len(rows) == 1:
        raise BadInputError(f"{path}, line {line}: a header and no rows; give at least one row of numbers")
    place = {name: header.index(name) for name in (*NAMES, *NUMBERS, *COUNTS) if name in header}
    columns: dict[str, list[Any]] = {name: [] for name in (*NAMES, *NUMBERS, *COUNTS)}
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise BadInputError(
                f"{path}, line {line}: {len(cells)} cells; the header has {len(header)} columns"
            )
        cell = {name: cells[index].strip() for name, index in place.items()}
        where = f"{path}, line {line}"
        if not cell["task"]:
            raise BadInputError(f"{where}, column task: '' is not accepted; name the task")
        columns["task"].append(cell["task"])
        columns["metric"].append(cell.get("metric") or "score")
        columns["group"].append(cell.get("group") or f"line {line}")
        for name in COUNTS:
            columns[name].append(_count(where, name, cell.get(name) or "0"))
        for name in NUMBERS:
            columns[name].append(_number(where, name, cell.get(name, "")))
        _check_share(where, columns)
    return as_scores(columns, str(path))


def _number(where: str, name: str, text: str) -> float | None:
    if not text and name != "score":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name in _POSITIVE and value <= 0) or (name == "step" and value < 0):
        wanted = "a positive finite number" if name in _POSITIVE else "a finite number"
        raise BadInputError(f"{where}, column {name}: {text[:40]!r} is not accepted; give {wanted}")
    if name == "chance" and not 0 <= value < 1:
        raise BadInputError(f"{where}, column chance: {text[:40]!r} is not accepted; give a share below 1")
    return value


def _count(where: str, name: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**62:
        raise BadInputError(
            f"{where}, column {name}: {text[:40]!r} is not accepted; give a whole number from 0"
        )
    return value


def _check_share(where: str, columns: dict[str, list[Any]]) -> None:
    """A share lies between 0 and 1; percent are refused and not guessed at."""
    metric, score, n = columns["metric"][-1], columns["score"][-1], columns["n"][-1]
    share = is_share(metric) and (metric != "score" or n is not None)
    if share and not 0 <= score <= 1:
        raise BadInputError(
            f"{where}, column score: {score:g} is not accepted for {metric}; give a share between 0 and 1, "
            "not percent"
        )
