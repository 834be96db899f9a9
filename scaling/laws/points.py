"""The points a law is fitted to: finished training budgets, their parameters, tokens, compute and loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scaling.config.errors import BadInputError
from scaling.config.record import RunRecord, TokenizerInfo, read_record
from scaling.laws.critical_batch import KAPLAN_BATCH
from scaling.laws.run_files import facts_of, recipe_of, schedule_ends, tokenizer_of

Floats = NDArray[np.float64]
Where = Mapping[str, tuple[str, ...]]  # column -> the values accepted
ParamCounting = Literal["total", "non_embedding", "non_embedding_with_head"]
FlopCounting = Literal["6nd", "counted"]

PARAMS_TEXT = {
    "total": "all parameters",
    "non_embedding": "parameters without embeddings",
    "non_embedding_with_head": "parameters without embeddings, with the output head",
}
FLOPS_TEXT = {
    "6nd": "6ND",
    "counted": "training FLOPs matmul by matmul, causal attention",
}


NATS_PER_TOKEN = "nats per token"
BITS_PER_BYTE = "bits per byte"


@dataclass(frozen=True)
class Points:
    """n finished training budgets; every array is (n,) float64.

    `groups` names the run a point comes from: points of one trunk share their noise and stay together in
    every resample and every hold-out. `counting` says in words what N and C count. `loss_unit` is the unit of
    every loss; `tokenizers` is what a token is at each point, None where that is not known. `columns` keeps
    the other columns of the source as text, by name: what rows are selected by (`scaling.laws.select`), and
    what shows whether their losses can be compared (`scaling.laws.comparable`).
    """

    params: Floats
    tokens: Floats
    flops: Floats
    loss: Floats  # in `loss_unit`
    weight: Floats
    groups: tuple[str, ...]
    labels: tuple[str, ...]
    dataset: tuple[str, ...]
    unique_tokens: Floats | None
    counting: dict[str, str]  # params, flops
    source: str
    error: Floats | None = None  # average over tasks
    learning_rate: Floats | None = None
    batch_tokens: Floats | None = None  # tokens of a step
    min_steps: Floats | None = None  # S_min of Kaplan et al. 2020
    final: tuple[bool, ...] | None = None  # whether a loss stands at the end of its schedule
    seeds: tuple[str, ...] | None = None
    recipes: tuple[str, ...] | None = None  # equal for runs that differ in nothing but their seed
    dropped: tuple[str, ...] = ()  # rows that were no measurements, left out by force
    loss_unit: str = NATS_PER_TOKEN
    tokenizers: tuple[TokenizerInfo | None, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # how the source was read, where that was a choice: units, spellings
    doubts: tuple[str, ...] = ()  # implausible units, read as they are by force

    def __len__(self) -> int:
        return len(self.loss)

    def subset(self, mask: NDArray[np.bool_] | Sequence[int]) -> "Points":
        """The points a boolean mask or an index array picks, in that order."""
        index = np.arange(len(self))[mask]
        changed: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in ("dropped", "notes", "doubts"):
                changed[one.name] = value
            elif isinstance(value, np.ndarray):
                changed[one.name] = value[index]
            elif isinstance(value, tuple):
                changed[one.name] = tuple(value[i] for i in index)
            elif one.name == "columns":
                changed[one.name] = {name: tuple(cells[i] for i in index) for name, cells in value.items()}
            else:
                changed[one.name] = value
        return Points(**changed)

    @property
    def tokenizer(self) -> TokenizerInfo | None:
        """The tokenizer of all points; None where it is not known, or they differ.

        Where only the measured bytes per token differ, as between validation sets, it is their mean.
        """
        known = set(self.tokenizers or (None,))
        first = next(iter(known))
        if None in known or first is None:
            return None
        sizes = [one.bytes_per_token for one in known if one is not None]
        if len({one.model_copy(update={"bytes_per_token": None}) for one in known if one is not None}) > 1:
            return None
        measured = [size for size in sizes if size is not None]
        return first.model_copy(
            update={"bytes_per_token": float(np.mean(sorted(measured))) if measured else None}
        )

    @property
    def corpus(self) -> str | None:
        """The dataset of all points; None where it is not named, or they differ."""
        names = set(self.dataset)
        return names.pop() or None if len(names) == 1 else None

    def column(self, name: str) -> Floats:
        """(n,) what a law reads or predicts, by its name.

        Where unique tokens are not given no token was repeated; where S_min is not, it follows from the batch
        size (Kaplan et al. 2020, equations 1.4 and 5.4, with their constants).

        Raises:
            BadInputError: the points lack it.
        """
        values = getattr(self, name)
        if values is None:
            values = np.full(len(self), np.nan)
        if name == "unique_tokens":
            return np.where(np.isnan(values), self.tokens, np.minimum(values, self.tokens))
        if name == "min_steps" and np.isnan(values).any():
            derived = KAPLAN_BATCH.min_steps(self.tokens, self.column("batch_tokens"), self.loss)
            return np.where(np.isnan(values), derived, values)
        if np.isnan(values).any():
            lacking = int(np.isnan(values).sum())
            raise BadInputError(
                f"{self.source}: {name} is missing for {lacking} of {len(self)} points; "
                f"the law needs it: give a CSV with a column {name}"
            )
        return values

    def group_index(self) -> NDArray[np.int64]:
        """(n,) number of each point's group, groups numbered in the order they first appear."""
        order = {name: i for i, name in enumerate(dict.fromkeys(self.groups))}
        return np.array([order[name] for name in self.groups], np.int64)


def read_points(
    path: Path,
    columns: dict[str, str] | None = None,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    family: str | None = None,
    force: bool = False,
    where: Where | None = None,
) -> Points:
    """Points from a CSV file, a run directory, or a sweep directory of run directories.

    Args:
        path: a CSV file, or a directory.
        columns: for a CSV, which column holds a field, where they differ: {"params": "N"}.
        params: for a directory, which count of parameters is N: a `ParamCounting`.
        flops: for a directory, "6nd" or "counted".
        family: for a directory, the family of models whose runs are meant, where there are several.
        force: leave out rows whose numbers are none, or not positive, and count them in `dropped`; read
            implausible units as they are, and keep the question in `doubts`.
        where: the values of columns that rows are selected by; of a directory, facts of its runs.

    Raises:
        BadInputError: the path, a column or a value is not usable; the message says where.
    """
    from scaling.laws.table import read_csv

    path = Path(path)
    if path.is_dir():
        if columns:
            raise BadInputError(
                f"columns: {path} is a directory of runs; columns are named only for a CSV file"
            )
        homes = {record.id: home for home, record in _homes(path)}
        records = read_records(path, where)
        return points_from_records(records, path, params, flops, family, force, homes)
    if not path.exists():
        raise BadInputError(f"{path} does not exist; give a CSV file, a run directory or a sweep directory")
    return read_csv(path, columns or {}, force, where)


def read_records(directory: Path, where: Where | None = None) -> tuple[RunRecord, ...]:
    """The run records of a sweep directory (`*/record.json`), or of one run directory, by name of directory.

    Raises:
        BadInputError: the directory is missing, a record is not one, or no run has what `where` asks for.
    """
    found = _homes(directory)
    if where:
        from scaling.laws.select import rows_where

        facts = [facts_of(record, home) for home, record in found]
        names = dict.fromkeys(name for one in facts for name in one)
        columns = {name: [one.get(name, "") for one in facts] for name in names}
        found = [found[i] for i in rows_where(where, columns, str(directory))]
    return tuple(record for _, record in found)


def run_facts(directory: Path) -> dict[str, dict[str, str]]:
    """What each run of a directory is selected by, by the id of its record; see `facts_of`."""
    return {record.id: facts_of(record, home) for home, record in _homes(directory)}


def _homes(directory: Path) -> list[tuple[Path, RunRecord]]:
    """Run directories with their records."""
    directory = Path(directory)
    if not directory.is_dir():
        raise BadInputError(f"{directory} is not a directory; give a run directory or a sweep directory")
    try:
        homes = sorted(p.parent for p in directory.glob("*/record.json"))
    except OSError as error:
        raise BadInputError(f"{directory} cannot be read: {error}") from error
    if (directory / "record.json").is_file():
        homes.insert(0, directory)
    return [(home, record) for home in homes if (record := read_record(home)) is not None]


def points_from_records(
    records: Sequence[RunRecord],
    source: Path | str,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    family: str | None = None,
    force: bool = False,
    homes: Mapping[str, Path] | None = None,
) -> Points:
    """The finished points of runs; those of one run (one trunk, several cooldown branches) share a group.

    `homes` are run directories by the id of their record, for what the record does not hold: the recipe
    beside the seed, and the learning rate at a point. With `force` bad points are left out and counted.

    Raises:
        BadInputError: runs of several families and none named, no run has a finished point, or a point's
            tokens, FLOPs or loss is not positive.
    """
    if params not in get_args(ParamCounting):
        raise BadInputError(
            f"params={params!r} is no way to count; use {' | '.join(get_args(ParamCounting))}"
        )
    if flops not in get_args(FlopCounting):
        raise BadInputError(f"flops={flops!r} is no way to count; use {' | '.join(get_args(FlopCounting))}")
    families = sorted({run.family for run in records if run.points})
    if family is None and len(families) > 1:
        raise BadInputError(
            f"{source} has runs of several families, which no one law joins: {', '.join(families)}; name one "
            "with --family"
        )
    if family is not None and family not in families:
        raise BadInputError(f"{source} has no runs of --family {family}; it has {', '.join(families)}")
    records = [run for run in records if family in (None, run.family)]
    rows: list[tuple[float, float, float, float]] = []
    groups: list[str] = []
    labels: list[str] = []
    dataset: list[str] = []
    seeds: list[str] = []
    recipes: list[str] = []
    final: list[bool] = []
    dropped: list[str] = []
    tokenizers: list[TokenizerInfo | None] = []
    columns: list[dict[str, str]] = []
    for run in records:
        home = (homes or {}).get(run.id)
        facts = facts_of(run, home)
        recipe = recipe_of(run, home)
        ends = schedule_ends(run, home)
        n = float(getattr(run.params, params))
        for point, decayed in zip(run.points, ends, strict=True):
            compute = point.flops if flops == "counted" else 6.0 * n * point.tokens
            row = (n, float(point.tokens), compute, point.loss)
            named = zip(("params", "tokens", "flops", "loss"), row, strict=True)
            bad = next(((name, value) for name, value in named if not value > 0), None)
            if bad:
                reason = f"run {run.name}, step {point.step}: {bad[0]} = {bad[1]:g}"
                if not force:
                    raise BadInputError(f"{source}: {reason}; it must be a positive number")
                dropped.append(reason)
                continue
            rows.append(row)
            seeds.append(str(run.seed))
            recipes.append(recipe)
            final.append(decayed)
            groups.append(run.name)
            labels.append(f"{run.name} at {point.tokens:,} tokens")
            dataset.append(run.dataset or "")
            tokenizers.append(tokenizer_of(run, point, home))
            columns.append(facts)
    if not rows:
        found = f"{len(records)} run(s), none with a finished point" if records else "no */record.json"
        raise BadInputError(f"{source} has {found}; give a sweep directory with at least one finished run")
    array = np.array(rows, np.float64)
    return Points(
        params=array[:, 0],
        tokens=array[:, 1],
        flops=array[:, 2],
        loss=array[:, 3],
        weight=np.ones(len(rows)),
        groups=tuple(groups),
        labels=tuple(labels),
        dataset=tuple(dataset),
        unique_tokens=None,
        counting={"params": PARAMS_TEXT[params], "flops": FLOPS_TEXT[flops]},
        source=str(source),
        # Where no run decays, as at a constant rate, every loss is what its schedule gives.
        final=tuple(final) if any(final) else None,
        seeds=tuple(seeds),
        recipes=tuple(recipes),
        dropped=tuple(dropped),
        tokenizers=tuple(tokenizers),
        columns={
            name: tuple(facts.get(name, "") for facts in columns)
            for name in dict.fromkeys(name for facts in columns for name in facts)
        },
    )
