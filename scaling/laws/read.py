"""Reading points: from a CSV file, a run directory, or a sweep directory of run directories."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from scaling.config.record import RunRecord, TokenizerInfo, read_record
from scaling.laws.points import Points, Where
from scaling.laws.run_files import facts_of, recipe_of, schedule_ends, tokenizer_of
from scaling.laws.select import rows_where
from scaling.laws.table import read_csv
from scaling.runtime.errors import BadInputError

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
            f"params={params!r} is not a counting convention; use {' | '.join(get_args(ParamCounting))}"
        )
    if flops not in get_args(FlopCounting):
        raise BadInputError(
            f"flops={flops!r} is not a counting convention; use {' | '.join(get_args(FlopCounting))}"
        )
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
