"""Points from run directories: the records, configs and logs that training runs write."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np

from scaling.config.record import (
    FlopCounting,
    ParamCounting,
    Point,
    RunRecord,
    SourceLoss,
    TokenizerInfo,
    read_record,
)
from scaling.config.record import bytes_per_token as bytes_per_token_of
from scaling.laws.points import Count, Points, Where
from scaling.laws.read.select import rows_where
from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import parse_yaml

DECAYED = 0.5  # of the peak: schedules end at a tenth or less, a trunk before its cooldown at the peak


def recipe_of(run: RunRecord, home: Path | None) -> str:
    """A text that is equal for runs that differ only in name and training seed.

    It is the resolved config without these, or the facts of the record if there is no config.
    """
    config = _config(home)
    if isinstance(config, dict) and isinstance(config.get("train"), dict):
        config = {k: v for k, v in config.items() if k != "name"}
        config["train"] = {k: v for k, v in config["train"].items() if k != "seed"}
        return json.dumps(config, sort_keys=True, default=str)
    known = (run.family, run.objective, run.dataset, run.tokenizer, run.params.total, run.flops_per_token)
    return json.dumps([*known, run.budget_tokens])


def _config(home: Path | None) -> Any:
    """The resolved config of a run directory; None if it is missing or cannot be read."""
    if home is None or not (path := home / "config.yaml").is_file():
        return None
    try:
        return _parsed(path.read_text())
    except (OSError, ValueError, BadInputError):
        return None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """A parsed config, cached because the same runs are read once per counting convention."""
    return parse_yaml(text, "config.yaml")


def facts_of(run: RunRecord, home: Path | None) -> dict[str, str]:
    """The columns by which runs are selected: facts of the record, and every value of its config by path.

    Values are written as in YAML, and lists as in JSON: {"dataset": "stdlib", "model.n_layers": "6"}.
    """
    config = _config(home)
    facts = dict(_leaves(config, "")) if isinstance(config, dict) else {}
    known = {
        "name": run.name,
        "family": run.family,
        "objective": run.objective,
        "status": run.status,
        "dataset": run.dataset,
        "tokenizer": run.tokenizer,
        "vocab_size": run.vocab_size if run.vocab_size is not None else facts.get("model.vocab_size"),
        "seed": run.seed,
    }
    return {name: str(value) for name, value in known.items() if value is not None} | facts


def _leaves(config: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None and (prefix or key != "name"):
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _of_source(run: RunRecord, point: Point, name: str, source: Path | str) -> SourceLoss:
    """The losses of a point on one source of the run's mixture."""
    found = point.by_source or {}
    if name not in found:
        known = f"it has {', '.join(found)}" if found else "its data are one corpus"
        raise BadInputError(
            f"columns: loss=by_source.{name}: run {run.name} of {source} has no such loss; {known}"
        )
    return found[name]


def tokenizer_of(run: RunRecord, point: Point | SourceLoss, home: Path | None) -> TokenizerInfo | None:
    """The tokenizer of a run's losses; bytes per token follow from the point's loss in both units.

    `home` is the run directory, whose `files.json` identifies the tokenizer by its content.
    """
    if run.tokenizer is None:
        return None
    return TokenizerInfo(
        name=run.tokenizer,
        hash=None if home is None else _tokenizer_identity(home),
        vocab_size=run.vocab_size,
        bytes_per_token=bytes_per_token_of(point.loss, point.bits_per_byte),
    )


def _tokenizer_identity(home: Path) -> str | None:
    try:
        identity = json.loads((home / "files.json").read_bytes())["tokenizer"]["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a run of an earlier version, or one without a tokenizer file
    return identity if isinstance(identity, str) else None


def bytes_per_token(run: RunRecord) -> float | None:
    """UTF-8 bytes of text per predicted token of a run's validation set, from its last losses."""
    return bytes_per_token_of(run.validation_loss, run.bits_per_byte)


def schedule_ends(run: RunRecord, home: Path | None) -> tuple[bool, ...]:
    """For each point, whether the learning rate had decayed from its peak at its step.

    True if the directory has no rates: the trainer writes points only at the end of a schedule.
    """
    rates: list[tuple[int, Any, float]] = []
    if home is not None and (home / "metrics.jsonl").is_file():
        for line in (home / "metrics.jsonl").read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
                rates.append((int(row["step"]), row.get("branch"), float(row["learning_rate"])))
            except (ValueError, KeyError, TypeError):
                continue  # a line of an evaluation, or one that a killed process left incomplete
    return tuple(_decayed(rates, point.step, point.tokens) for point in run.points)


def _decayed(rates: list[tuple[int, Any, float]], step: int, tokens: int) -> bool:
    branch = [(s, r) for s, b, r in rates if b == tokens and s <= step]
    trunk = [(s, r) for s, b, r in rates if b is None and s <= step]
    path = branch or trunk
    peak = max((r for _, r in [*branch, *trunk]), default=0.0)
    # A last line logged well before the end says nothing about the end.
    if not path or peak <= 0 or max(path)[0] < 0.98 * step:
        return True
    return max(path)[1] <= DECAYED * peak


def read_records(directory: Path, where: Where | None = None) -> tuple[RunRecord, ...]:
    """The run records of a sweep directory (`*/record.json`) or of one run directory, by directory name.

    Raises:
        BadInputError: the directory is missing, a record is damaged, or `where` selects no run.
    """
    found = run_homes(directory)
    if where:
        facts = [facts_of(record, home) for home, record in found]
        names = dict.fromkeys(name for one in facts for name in one)
        columns = {name: [one.get(name, "") for one in facts] for name in names}
        found = [found[i] for i in rows_where(where, columns, str(directory))]
    return tuple(record for _, record in found)


def run_facts(directory: Path) -> dict[str, dict[str, str]]:
    """The `facts_of` each run of a directory, by the id of its record."""
    return {record.id: facts_of(record, home) for home, record in run_homes(directory)}


def run_homes(directory: Path) -> list[tuple[Path, RunRecord]]:
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
    by_source: str | None = None,
) -> Points:
    """The finished points of runs; those of one run (one trunk, several cooldown branches) share a group.

    `homes` are run directories by the id of their record. They add what a record lacks: the recipe, and the
    learning rate at each point. `by_source` reads the losses of one source of a mixture. With `force`, bad
    points are left out and listed in `dropped`.

    Raises:
        BadInputError: there are several families and `family` is None, no run has a finished point, a point
            has no loss of that source, or a point's tokens, FLOPs or loss is not positive.
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
            f"{source} has runs of several families, each with its own law: {', '.join(families)}; choose "
            "one with --family"
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
            measured = point if by_source is None else _of_source(run, point, by_source, source)
            row = (n, float(point.tokens), compute, measured.loss)
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
            dataset.append((run.dataset or "") + ("" if by_source is None else f": {by_source}"))
            tokenizers.append(tokenizer_of(run, measured, home))
            columns.append(facts)
    if not rows:
        found = f"{len(records)} run(s), none with a finished point" if records else "no */record.json"
        raise BadInputError(f"{source} has {found}; give a sweep directory with at least one finished run")
    array = np.array(rows, np.float64)
    # What a law of the best learning rate or batch size is fitted to.
    settings: dict[str, Any] = {
        name: np.array([_number(facts.get(f"train.{name}")) for facts in columns])
        for name in ("learning_rate", "batch_tokens")
        if any(f"train.{name}" in facts for facts in columns)
    }
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
        counts={"params": Count(params), "flops": Count(flops)},
        source=str(source),
        # If no rate decays, as in a constant schedule, every loss counts as final.
        final=tuple(final) if any(final) else None,
        seeds=tuple(seeds),
        recipes=tuple(recipes),
        dropped=tuple(dropped),
        tokenizers=tuple(tokenizers),
        columns={
            name: tuple(facts.get(name, "") for facts in columns)
            for name in dict.fromkeys(name for facts in columns for name in facts)
        },
        **settings,
    )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
