"""Scores from the evaluations of a sweep, from a CSV, or from a published table.

Scores of several experiments (data sets, tokenizers, training recipes) are not one curve: `where` selects one
of them, and a mixture is refused unless it is forced.
"""

import difflib
import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.config.record import Evaluation, read_evaluations
from scaling.laws.emergence.gpt3 import gpt3_scores
from scaling.laws.emergence.metric_names import fill_chance, items_from_errors, read_percents
from scaling.laws.emergence.score_table import (
    SCALES,
    ScoreTable,
    as_scores,
    scores_from_evaluations,
    with_chance,
)
from scaling.laws.points import Where
from scaling.laws.read.comparable import CORPORA, SPLITS, TOKENIZERS, TREATMENTS, mixed_line, plain
from scaling.laws.read.records import run_facts
from scaling.laws.read.select import rows_where
from scaling.laws.read.sheet import csv_rows
from scaling.runtime.errors import BadInputError

NUMBERS = (
    "score", "params", "flops", "loss", "step", "n", "chance", "choices", "answer_tokens", "stderr", "low",
    "high",
)  # fmt: skip
COUNTS = ("shots", "seed")
NAMES = ("task", "metric", "group")
FIELDS = (*NAMES, *NUMBERS, *COUNTS)
PUBLISHED = {"gpt3": gpt3_scores}
TASK = ("task", "metric", "shots")
EXPERIMENTS = CORPORA | SPLITS | TOKENIZERS | TREATMENTS | {"family", "modelfamily"}
Rows = list[tuple[int, list[str]]]
_POSITIVE = ("params", "flops", "loss", "n", "answer_tokens")


def read_scores(
    source: str | Path,
    params: str = "non_embedding_with_head",
    columns: Mapping[str, str] | None = None,
    percent: Collection[str] = (),
    chance: Mapping[str, float] | None = None,
    *,
    where: Where | None = None,
    force: bool = False,
) -> ScoreTable:
    """Scores of a run or sweep directory, a CSV file, or a published table by its name (`gpt3`).

    Args:
        source: a directory with `evals/*.json` or `*/evals/*.json`, a CSV, or a name in `PUBLISHED`.
        params: for a directory, which count of parameters is N.
        columns: for a CSV, the columns of fields that have another name.
        percent: for a CSV, metrics that are percentages.
        chance: the score of guessing by task, which overrides that of the source.
        where: select rows by the values of columns, or of facts of runs.
        force: treat scores of several experiments as one.

    Raises:
        BadInputError: the source is not usable; the message names the place.
    """
    path = Path(source)
    is_csv = not path.is_dir() and path.exists()
    if not is_csv and (columns or percent):
        option = "--columns" if columns else "--percent"
        raise BadInputError(f"{option}: {source} is not a CSV file; omit the option")
    if is_csv:
        return read_score_csv(path, columns or {}, percent, chance or {}, only=where, force=force)
    if path.is_dir():
        evaluations = evaluations_of_one_experiment(path, read_evaluations(path), where, force)
        scores = scores_from_evaluations(evaluations, str(path), params)
    elif str(source) in PUBLISHED:
        scores = PUBLISHED[str(source)]()
    else:
        raise BadInputError(
            f"{source} does not exist; give a run or sweep directory, a CSV file, or {' or '.join(PUBLISHED)}"
        )
    return with_chance(scores, chance or {})


def parse_score_columns(text: str) -> dict[str, str]:
    """`score=acc_norm,params=N` as {"score": "acc_norm", "params": "N"}.

    Raises:
        BadInputError: a part is not FIELD=COLUMN, or a field is unknown or named twice.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        field, equals, column = (p.strip() for p in part.partition("="))
        if not (equals and field and column):
            raise BadInputError(f"--columns {part!r}: give FIELD=COLUMN, for example score=acc_norm,params=N")
        if field not in FIELDS:
            near = difflib.get_close_matches(field, FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join(FIELDS)}"
            raise BadInputError(f"--columns {part!r}: {field!r} is not a field; {hint}")
        if field in mapping:
            raise BadInputError(f"--columns: {field} is given twice ({mapping[field]!r} and {column!r})")
        mapping[field] = column
    return mapping


def parse_chance(text: str) -> dict[str, float]:
    """`piqa=0.5,arc=25%` as {"piqa": 0.5, "arc": 0.25}.

    Raises:
        BadInputError: a part is not TASK=SHARE.
    """
    found: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        task, equals, value = (p.strip() for p in part.rpartition("="))
        try:
            share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            share = math.nan
        if not (task and equals and 0 <= share < 1):
            raise BadInputError(f"--chance {part!r}: give TASK=SHARE with a share below 1, as piqa=0.5")
        found[task] = share
    return found


def read_score_csv(
    path: Path,
    mapping: Mapping[str, str] | None = None,
    percent: Collection[str] = (),
    chance: Mapping[str, float] | None = None,
    *,
    only: Where | None = None,
    force: bool = False,
) -> ScoreTable:
    """A CSV with a header: `task`, `score` and at least one of params, flops, loss, step.

    Optional columns, with defaults: shots (0), metric (the name of the score column), seed (0), group (the
    row), n, stderr, chance, choices, answer_tokens, low, high. Other columns are ignored; an empty cell is an
    unknown value.

    Raises:
        BadInputError: names file, line, column, value, and what would be accepted.
    """
    rows = csv_rows(path)
    if not rows:
        raise BadInputError(f"{path} is empty; the first line must be a header with task, score, and a scale")
    rows = rows_of_one_experiment(path, rows, only, force)
    line, header = rows[0][0], [cell.strip() for cell in rows[0][1]]
    place = _places(path, line, header, mapping or {})
    if len(rows) == 1:
        raise BadInputError(f"{path}, line {line}: a header and no rows; give at least one row of numbers")
    own_name = header[place["score"]]
    columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
    lines = []
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise BadInputError(
                f"{path}, line {line}: {len(cells)} cells; the header has {len(header)} columns"
            )
        cell = {name: cells[index].strip() for name, index in place.items()}
        where = f"{path}, line {line}"
        if not cell["task"]:
            raise BadInputError(f"{where}, column task: '' is not accepted; name the task")
        lines.append(line)
        columns["task"].append(cell["task"])
        columns["metric"].append(cell.get("metric") or own_name)
        columns["group"].append(cell.get("group") or f"line {line}")
        for name in COUNTS:
            columns[name].append(_count(where, name, cell.get(name) or "0"))
        for name in NUMBERS:
            columns[name].append(_number(where, name, cell.get(name, "")))
    notes = read_percents(str(path), lines, columns, percent)
    items_from_errors(str(path), lines, columns)
    notes += fill_chance(str(path), columns, chance or {})
    return as_scores(columns, str(path), tuple(notes))


def _places(path: Path, line: int, header: list[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """The index of each field in the header; case is ignored."""
    lower = [name.lower() for name in header]
    place = {}
    for field in FIELDS:
        column = mapping.get(field, field)
        found = [i for i, name in enumerate(header) if name == column]
        found = found or [i for i, name in enumerate(lower) if name == column.lower()]
        if len(found) > 1:
            raise BadInputError(
                f"{path}, line {line}: column {column!r} is in the header twice; name each column once"
            )
        if found:
            place[field] = found[0]
        elif field in mapping:
            raise BadInputError(
                f"--columns {field}={column}: {path}, line {line} has no column {column!r}; it has "
                f"{', '.join(repr(name[:40]) for name in header[:12])}"
            )
    missing = [name for name in ("task", "score") if name not in place]
    if missing or not any(scale in place for scale in SCALES):
        lacking = missing[0] if missing else f"{', '.join(SCALES[:-1])} or {SCALES[-1]}"
        field = missing[0] if missing else "params"
        raise BadInputError(
            f"{path}, line {line}: no column {lacking} in the header, which has "
            f"{', '.join(repr(name[:40]) for name in header[:12])}; add it, or give --columns {field}=COLUMN"
        )
    return place


def _number(where: str, name: str, text: str) -> float | None:
    if not text and name != "score":
        return None
    percent = text.endswith("%") and name in ("score", "chance", "stderr", "low", "high")
    try:
        value = float(text.removesuffix("%") if percent else text) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name in _POSITIVE and value <= 0):
        wanted = "a positive finite number" if name in _POSITIVE else "a finite number"
        raise BadInputError(f"{where}, column {name}: {text[:40]!r} is not accepted; give {wanted}")
    if name in ("step", "stderr") and value < 0:
        raise BadInputError(f"{where}, column {name}: {text[:40]!r} is not accepted; give a number from 0 on")
    if name == "choices" and value < 2:
        raise BadInputError(f"{where}, column choices: {text[:40]!r} is not accepted; give 2 or more")
    if name == "chance" and value < 0:
        raise BadInputError(f"{where}, column chance: {text[:40]!r} is not accepted; give a share below 1")
    return value


def _count(where: str, name: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**62:
        raise BadInputError(
            f"{where}, column {name}: {text[:40]!r} is not accepted; give an integer from 0 on"
        )
    return value


# -- one experiment --------------------------------------------------------------------------------------


def rows_of_one_experiment(path: Path, rows: Rows, where: Where | None, force: bool) -> Rows:
    """The header and the rows of a CSV of scores that `where` selects.

    Raises:
        BadInputError: no row is selected, or a task has rows of several experiments without `force`.
    """
    header = [cell.strip() for cell in rows[0][1]]
    body = [(line, cells) for line, cells in rows[1:] if len(cells) == len(header)]
    if len(body) < len(rows) - 1 or not body:
        return rows  # the reader names the line
    columns = {name: [cells[i].strip() for _, cells in body] for i, name in enumerate(header) if name}
    if where:
        chosen = rows_where(where, columns, str(path))
        body = [body[i] for i in chosen]
        columns = {name: [cells[i] for i in chosen] for name, cells in columns.items()}
    if not force:
        folded = {name.casefold(): cells for name, cells in columns.items()}
        known = [folded[name] for name in TASK if name in folded]
        tasks = [tuple(cells[i] for cells in known) for i in range(len(body))]
        _check(str(path), columns, tasks, [folded[name] for name in (*SCALES, "group") if name in folded])
    return [rows[0], *body]


def evaluations_of_one_experiment(
    directory: Path, evaluations: Sequence[Evaluation], where: Where | None, force: bool
) -> tuple[Evaluation, ...]:
    """The evaluations of a directory whose runs `where` selects, by facts of their records.

    Raises:
        BadInputError: none is selected, or a family has runs of several experiments without `force`.
    """
    facts = run_facts(directory)
    own = [{"run": one.run, "suite": one.suite} | facts.get(one.run_id, {}) for one in evaluations]
    names = dict.fromkeys(name for one in own for name in one)
    columns = {name: [one.get(name, "") for one in own] for name in names}
    if where:
        chosen = rows_where(where, columns, str(directory))
        evaluations = [evaluations[i] for i in chosen]
        columns = {name: [cells[i] for i in chosen] for name, cells in columns.items()}
    if not force:
        sizes: list[Sequence[Hashable]] = [[tuple(one.params.items()) for one in evaluations]]
        _check(str(directory), columns, [(one.family,) for one in evaluations], sizes)
    return tuple(evaluations)


def _check(
    source: str,
    columns: Mapping[str, Sequence[str]],
    tasks: Sequence[Hashable],
    scales: Sequence[Sequence[Hashable]],
) -> None:
    """Raises if a column that distinguishes experiments has several values for one task.

    Values that correspond one to one to sizes, budgets or runs are labels and no distinction.
    """
    mixed = {}
    for name, cells in columns.items():
        if plain(name) not in EXPERIMENTS or name.casefold() in TASK:
            continue
        several = any(
            len({cells[i] for i in range(len(cells)) if tasks[i] == task and cells[i]}) > 1
            for task in dict.fromkeys(tasks)
        )
        if several and not any(_one_to_one(cells, scale) for scale in scales):
            mixed[name] = cells
    seen: dict[tuple[int, ...], str] = {}
    for name, cells in mixed.items():
        order = {value: i for i, value in enumerate(dict.fromkeys(cells))}
        seen.setdefault(tuple(order[value] for value in cells), name)
    if seen:
        raise BadInputError(mixed_line(source, {name: mixed[name] for name in seen.values()}, "scores"))


def _one_to_one(cells: Sequence[str], scale: Sequence[Hashable]) -> bool:
    return len(set(zip(cells, scale, strict=True))) == len(set(cells)) == len(set(scale))
