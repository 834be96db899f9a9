"""Which scores belong to one experiment: `--where`, and a refusal of those that mix several."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from scaling.config.record import Evaluation
from scaling.laws.points import Where
from scaling.laws.read.comparable import CORPORA, SPLITS, TOKENIZERS, TREATMENTS, mixed_line, plain
from scaling.laws.read.records import run_facts
from scaling.laws.read.select import rows_where
from scaling.runtime.errors import BadInputError

EXPERIMENTS = CORPORA | SPLITS | TOKENIZERS | TREATMENTS | {"family", "modelfamily"}
TASK = ("task", "metric", "shots")
SCALES = ("params", "flops", "loss", "step", "group")
Rows = list[tuple[int, list[str]]]


def rows_of_one_experiment(path: Path, rows: Rows, where: Where | None, force: bool) -> Rows:
    """The header and the rows of a CSV of scores that `where` selects.

    Raises:
        BadInputError: no row is selected, or a task has rows of several experiments and this is not forced.
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
        _check(str(path), columns, tasks, [folded[name] for name in SCALES if name in folded])
    return [rows[0], *body]


def evaluations_of_one_experiment(
    directory: Path, evaluations: Sequence[Evaluation], where: Where | None, force: bool
) -> tuple[Evaluation, ...]:
    """The evaluations of the runs of a directory that `where` selects, by facts of their records.

    Raises:
        BadInputError: none is selected, or a family has runs of several experiments and this is not forced.
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
    """Raises where a column that divides experiments has several values for one task.

    Values that name sizes, budgets or runs one to one are labels.
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
