"""Scores from the evaluations of a sweep, from a CSV file or DataFrame, or from a published table.

Scores of several experiments (data sets, tokenizers, training recipes) are not one curve: `where` selects one
of them, and a mixture is refused unless it is forced.
"""

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
from scaling.laws.read.cells import read_number
from scaling.laws.read.columns import parse_assignments
from scaling.laws.read.comparable import CORPORA, SPLITS, TOKENIZERS, TREATMENTS, mixed_line
from scaling.laws.read.records import run_facts
from scaling.laws.read.select import rows_where
from scaling.laws.read.sheet import DataFrame, Sheet, csv_sheet, frame_sheet
from scaling.laws.settings import plain
from scaling.runtime.errors import BadInputError

NUMBERS = (
    "score", "params", "flops", "loss", "step", "n", "chance", "choices", "answer_tokens", "stderr", "low",
    "high",
)  # fmt: skip
COUNTS = ("shots", "seed")
NAMES = ("task", "metric", "group")
FIELDS = (*NAMES, *NUMBERS, *COUNTS)
REQUIRED = ("task", "score", "a scale")
PUBLISHED = {"gpt3": gpt3_scores}
TASK = ("task", "metric", "shots")
EXPERIMENTS = CORPORA | SPLITS | TOKENIZERS | TREATMENTS | {"family", "modelfamily"}
_WHOLE = ("params", "flops", "step", "n", "choices", "answer_tokens")  # integers
_POSITIVE = ("params", "flops", "loss", "n", "answer_tokens")


def read_scores(
    source: str | Path | DataFrame,
    params: str = "non_embedding_with_head",
    columns: Mapping[str, str] | None = None,
    percent: Collection[str] = (),
    chance: Mapping[str, float] | None = None,
    *,
    where: Where | None = None,
    force: bool = False,
) -> ScoreTable:
    """Scores of a run or sweep directory, a CSV file or DataFrame, or a published table by name (`gpt3`).

    Args:
        source: a directory with `evals/*.json` or `*/evals/*.json`, a table, or a name in `PUBLISHED`.
        params: for a directory, which count of parameters is N.
        columns: for a table, the columns of fields that have another name.
        percent: for a table, metrics that are percentages.
        chance: the score of guessing by task, which overrides that of the source.
        where: select rows by the values of columns, or of facts of runs.
        force: treat scores of several experiments as one.

    Raises:
        BadInputError: the source is not usable; the message names the place.
    """
    if not isinstance(source, str | Path):
        return _scores_of(frame_sheet(source, REQUIRED), columns or {}, percent, chance or {}, where, force)
    path = Path(source)
    if path.exists() and not path.is_dir():
        return _scores_of(csv_sheet(path, REQUIRED), columns or {}, percent, chance or {}, where, force)
    if columns or percent:
        option = "--columns" if columns else "--percent"
        raise BadInputError(f"{option}: {source} is not a CSV file; omit the option")
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
    return parse_assignments(text, FIELDS, "score=acc_norm,params=N")


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


def _scores_of(
    sheet: Sheet,
    mapping: Mapping[str, str],
    percent: Collection[str],
    chance: Mapping[str, float],
    where: Where | None,
    force: bool,
) -> ScoreTable:
    """A table with the columns `task`, `score` and at least one of params, flops, loss, step.

    Optional columns, with defaults: shots (0), metric (the name of the score column), seed (0), group (the
    row), n, stderr, chance, choices, answer_tokens, low, high. Other columns are ignored; an empty cell is an
    unknown value.

    Raises:
        BadInputError: names source, row, column, value, and what would be accepted.
    """
    place = _places(sheet, mapping)
    sheet.check_rows()
    sheet = one_experiment(sheet, where, force)
    columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
    mark = sheet.decimal_mark({place[name]: name in _WHOLE for name in NUMBERS if name in place})
    rows = [sheet.place(i) for i in range(len(sheet.rows))]
    for row, cells in zip(rows, sheet.rows, strict=True):
        cell = {name: cells[index].strip() for name, index in place.items()}
        at = f"{sheet.source}, {row}"
        if not cell["task"]:
            raise BadInputError(f"{at}, column task: '' is not accepted; name the task")
        columns["task"].append(cell["task"])
        columns["metric"].append(cell.get("metric") or sheet.header[place["score"]])
        columns["group"].append(cell.get("group") or row)
        for name in COUNTS:
            columns[name].append(_count(at, name, cell.get(name) or "0"))
        for name in NUMBERS:
            columns[name].append(_number(at, name, cell.get(name, ""), mark))
    notes = ["commas are decimal marks"] if mark == "," else []
    notes += read_percents(sheet.source, rows, columns, percent)
    items_from_errors(sheet.source, rows, columns)
    notes += fill_chance(sheet.source, columns, chance)
    return as_scores(columns, sheet.source, tuple(notes))


def _places(sheet: Sheet, mapping: Mapping[str, str]) -> dict[str, int]:
    """The index of each field in the header; case is ignored."""
    lower = [name.lower() for name in sheet.header]
    known = ", ".join(repr(name[:40]) for name in sheet.header[:12])
    place = {}
    for field in FIELDS:
        column = mapping.get(field, field)
        found = [i for i, name in enumerate(sheet.header) if name == column]
        found = found or [i for i, name in enumerate(lower) if name == column.lower()]
        if len(found) > 1:
            raise BadInputError(
                f"{sheet.top}: column {column!r} is in the header twice; name each column once"
            )
        if found:
            place[field] = found[0]
        elif field in mapping:
            raise BadInputError(
                f"--columns {field}={column}: {sheet.top} has no column {column!r}; it has {known}"
            )
    missing = [name for name in ("task", "score") if name not in place]
    if missing or not any(scale in place for scale in SCALES):
        lacking = missing[0] if missing else f"{', '.join(SCALES[:-1])} or {SCALES[-1]}"
        field = missing[0] if missing else "params"
        raise BadInputError(
            f"{sheet.top}: no column {lacking} in the header, which has {known}; add it, or give --columns "
            f"{field}=COLUMN"
        )
    return place


def _number(where: str, name: str, text: str, mark: str) -> float | None:
    if not text and name != "score":
        return None
    try:
        value, unit = read_number(text, mark)
        if unit == "%" and name in ("score", "chance", "stderr", "low", "high"):
            value /= 100
        elif unit:
            value = math.nan
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


def one_experiment(sheet: Sheet, where: Where | None, force: bool) -> Sheet:
    """The rows of a table of scores that `where` selects.

    Raises:
        BadInputError: no row is selected, or a task has rows of several experiments without `force`.
    """
    columns = {name: sheet.column(i) for i, name in enumerate(sheet.header) if name}
    if where:
        chosen = rows_where(where, columns, sheet.source)
        sheet = sheet.take(chosen)
        columns = {name: tuple(cells[i] for i in chosen) for name, cells in columns.items()}
    if not force:
        folded = {name.casefold(): cells for name, cells in columns.items()}
        known = [folded[name] for name in TASK if name in folded]
        tasks = [tuple(cells[i] for cells in known) for i in range(len(sheet.rows))]
        scales = [folded[name] for name in (*SCALES, "group") if name in folded]
        _check(sheet.source, columns, tasks, scales)
    return sheet


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
