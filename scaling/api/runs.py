"""Training: `train`, `sweep`, `status`, `check_mup`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.api.arguments import Overrides, config_of, overrides_of
from scaling.api.emergence import EmergenceVerdicts, emergence
from scaling.api.progress import work_bar
from scaling.api.results import TableResult, flattened
from scaling.api.text.blocks import Block, Text, seconds_in_words
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.record import RunRecord
    from scaling.config.run import RunConfig
    from scaling.config.sweep import SweepConfig
    from scaling.sweep.directory import LedgerEntry
    from scaling.sweep.run_cost import RunCost
    from scaling.sweep.stacking import Stack, StackChoice
    from scaling.train.coordinate_check import CoordinateCheck

DAY = 86400.0  # what trains for longer is confirmed first


@dataclass(frozen=True, repr=False)
class TrainedRun(TableResult):
    """A run. `record` is its `record.json`; the table has a row per logged step (`metrics.jsonl`)."""

    record: "RunRecord"
    directory: Path

    @property
    def loss(self) -> float | None:
        """The validation loss at the end, in nats per token."""
        return self.record.validation_loss

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return self.record.model_dump(mode="json")

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        path = self.directory / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.runs import trained_blocks

        return trained_blocks(self.record, self.directory)


@dataclass(frozen=True, repr=False)
class TrainPlan(TableResult):
    """What a run would take here: `forecast` in FLOPs and seconds, its data, and how its parameters would be
    sharded. The table has a row per parameter."""

    run: "RunConfig"
    forecast: "RunCost"
    data: Mapping[str, Any]
    mesh: Mapping[str, int]
    sharding: Sequence[tuple[str, ...]]
    devices: int  # here

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        keys = ("parameter", "shape", "axes", "partition")
        return [dict(zip(keys, row, strict=True)) for row in self.sharding]

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "id": self.run.id(),
            "config": self.run.model_dump(mode="json"),
            "plan": self.forecast.as_dict(),
            "data": self.data,
            "mesh": dict(self.mesh),
            "sharding": self.rows(),
        }

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.runs import train_plan_blocks

        return train_plan_blocks(self.run, self.forecast, self.data, self.mesh, self.devices, self.sharding)


def train(
    run: "str | Path | Mapping[str, Any] | RunConfig",
    overrides: Overrides = None,
    *,
    out: str | Path | None = None,
    dry_run: bool = False,
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
) -> TrainedRun | TrainPlan:
    """Train one run. The same call resumes it; a finished run is read, not trained again.

    Args:
        run: a run: a name in `configs/runs/`, a path to a YAML file, a config
            object, or its fields as a mapping.
        overrides: changes of the config: `{"train.steps": 100}` or `["train.steps=100"]`.
        out: run directory; runs/NAME by default.
        dry_run: say what the run would take, and train nothing.
        coordinator: multi-process: HOST:PORT of the first process, or auto (SLURM, TPU pods).
        processes: multi-process: number of processes.
        process_id: multi-process: index of this process, from 0.

    Returns:
        The run with its record; with `dry_run` the plan.

    Raises:
        BadInputError: an unknown name or field, or data that do not fit the run.
        RunFailedError: the loss was not finite.

    Example:
        >>> run = scaling.train("cpu", {"train.tokens": 100_000}, out="runs/small")
        >>> run.loss, run.to_frame().plot("step", "loss")
    """
    from scaling.config.load import load_run

    changes = overrides_of(overrides)
    config = load_run(config_of(run), changes)
    if dry_run:
        return _train_plan(config)
    from scaling.parallel.processes import joined
    from scaling.train.loop import train as train_run
    from scaling.train.progress import Terminal

    directory = Path(out or Path("runs") / config.name)
    with joined(coordinator, processes, process_id), Terminal() as reporter:
        return TrainedRun(train_run(config, directory, reporter), directory)


def _train_plan(config: "RunConfig") -> TrainPlan:
    import jax

    from scaling.api.ahead import data_of, forecasts
    from scaling.parallel.mesh import abstract_mesh, sharding_table
    from scaling.train.step import abstract_state

    (data,) = data_of([config])
    devices = len(jax.devices())
    mesh = abstract_mesh(config.mesh, devices)
    (forecast,) = forecasts([config])
    counted = config.model.family == "ngram"  # it has no parameters before its text is counted
    sharding = [] if counted else sharding_table(abstract_state(config).model, mesh)
    return TrainPlan(config, forecast, data, dict(mesh.shape), sharding, devices)


@dataclass(frozen=True, repr=False)
class SweepPlan(TableResult):
    """What a sweep would take here: `seconds` in all, `seconds_left` without its finished runs. The table has
    a row per run."""

    sweep: "SweepConfig"
    directory: Path
    workers: int
    stack: "Stack"
    stacks: Sequence["StackChoice"]
    forecasts: Sequence["RunCost"]
    seconds: float
    seconds_left: float
    data: Sequence[Mapping[str, Any]]

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        return [one.as_dict() for one in self.forecasts]

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "sweep": self.sweep.name,
            "runs": self.rows(),
            "seconds": self.seconds,
            "seconds_left": self.seconds_left,
            "stacks": [asdict(one) for one in self.stacks],
            "data": list(self.data),
        }

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.runs import sweep_plan_blocks

        return sweep_plan_blocks(
            self.sweep.name,
            self.directory,
            self.forecasts,
            self.workers,
            self.seconds,
            self.seconds_left,
            self.data,
            self.stacks,
        )

    def train(self) -> "TrainedSweep":
        """Train the runs that are not finished, and score each where the sweep has an evaluation."""
        from scaling.sweep.execute import run_sweep
        from scaling.train.progress import Terminal

        with Terminal() as reporter:
            records, failures = run_sweep(self.sweep, self.directory, reporter, self.workers, self.stack)
        return TrainedSweep(self, records, failures)


@dataclass(frozen=True, repr=False)
class TrainedSweep(TableResult):
    """The finished runs of a sweep; `failures` says why others failed. The table has a row per run."""

    plan: SweepPlan
    records: Sequence["RunRecord"]
    failures: Sequence[str]

    @property
    def directory(self) -> Path:
        """The sweep directory, for `read`, `fit`, `plot` and `report`."""
        return self.plan.directory

    def verdicts(self) -> EmergenceVerdicts | None:
        """Whether the scores jump with scale, also written to emergence.json; None where the sweep has no
        evaluation or no run finished."""
        evaluation = self.plan.sweep.evaluation
        if evaluation is None or not self.records:
            return None
        return emergence(self.directory, against=evaluation.against, out=self.directory / "emergence.json")

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        runs = [record.model_dump(mode="json") for record in self.records]
        return {"sweep": self.plan.sweep.name, "runs": runs, "failures": list(self.failures)}

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        return [_record_row(record) for record in self.records]

    def blocks(self) -> list[Block]:  # noqa: D102
        done = f"{len(self.records)} of {len(self.plan.forecasts)} runs finished in {self.directory}"
        if self.plan.sweep.evaluation is None:
            done += f"; next: scaling fit {self.directory}"
        return [Text(done)]


def _record_row(record: "RunRecord") -> dict[str, Any]:
    """A record as a row: nested parts with dots, lists (budgets, rewinds) left out."""
    row = flattened(record.model_dump(mode="json"))
    return {key: value for key, value in row.items() if not isinstance(value, list)}


def sweep(
    sweep: "str | Path | Mapping[str, Any] | SweepConfig",
    overrides: Overrides = None,
    *,
    out: str | Path | None = None,
    workers: int = 1,
    stack: int | str = "auto",
    seed_offset: int = 0,
    yes: bool = False,
    dry_run: bool = False,
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
) -> TrainedSweep | SweepPlan:
    """Train many runs: skip finished ones, resume interrupted ones.

    Args:
        sweep: a sweep: a name in `configs/sweeps/`, a path to a YAML file, a config
            object, or its fields as a mapping.
        overrides: changes of the config: `{"base.train.seed": 1}` or `["base.train.seed=1"]`.
        out: sweep directory; runs/NAME by default.
        workers: runs to train at once on this machine's CPU cores.
        stack: most runs of one shape to train in one program; "auto" estimates what is faster, "off" is 1.
        seed_offset: added to every seed, for other runs of the same design.
        yes: start what takes more than a day here.
        dry_run: say what the sweep would take, and train nothing.
        coordinator: multi-process: HOST:PORT of the first process, or auto (SLURM, TPU pods).
        processes: multi-process: number of processes.
        process_id: multi-process: index of this process, from 0.

    Returns:
        The records of the finished runs; with `dry_run` the plan.

    Raises:
        BadInputError: an unknown name or field, data that do not fit the runs, or more than a day of training
            without `yes`.

    Example:
        >>> scaling.sweep("demo", dry_run=True)
        >>> done = scaling.sweep("demo", out="runs/demo", workers=2)
        >>> scaling.fit(done.directory)
    """
    config = sweep_config(sweep, overrides, seed_offset)
    if dry_run:
        return sweep_plan(config, out, workers, stack, with_data=True)
    from scaling.parallel.processes import joined

    with joined(coordinator, processes, process_id):
        plan = sweep_plan(config, out, workers, stack)
        if plan.seconds_left > DAY and not yes:
            raise too_long(plan)
        return plan.train()


def sweep_config(
    sweep: "str | Path | Mapping[str, Any] | SweepConfig", overrides: Overrides = None, seed_offset: int = 0
) -> "SweepConfig":
    """The config of a sweep, with its overrides."""
    from scaling.config.load import load_sweep
    from scaling.config.sweep import SweepConfig

    changes = overrides_of(overrides)
    if isinstance(sweep, SweepConfig):
        if changes:
            raise BadInputError("overrides: a config object takes none; change the object, or give a path")
        return sweep.with_seed_offset(seed_offset)
    return load_sweep(config_of(sweep), changes).with_seed_offset(seed_offset)


def sweep_plan(
    config: "SweepConfig",
    out: str | Path | None,
    workers: int,
    stack: int | str = "auto",
    with_data: bool = False,
) -> SweepPlan:
    """What a sweep would take here, by the speed of its finished runs where there are any."""
    from scaling.api.ahead import data_of, forecasts, seconds_left
    from scaling.laws.read import read_records
    from scaling.sweep.design import expand
    from scaling.sweep.run_cost import achieved_flops, seconds_at_once
    from scaling.sweep.stacking import check_stack, choices, parse_stack
    from scaling.sweep.workers import check_workers

    most = parse_stack(str(stack))
    directory, runs = Path(out or Path("runs") / config.name), expand(config)
    check_workers(workers)
    check_stack(most, workers)
    achieved = achieved_flops(read_records(directory)) if directory.is_dir() else None
    plans = forecasts(runs, achieved, workers)
    seconds = seconds_at_once([plan.seconds for plan in plans], workers)
    left = seconds_left(runs, plans, directory, workers)
    stacks = choices([(run, directory / run.name) for run in runs], "off" if workers > 1 else most)
    data = data_of(runs) if with_data else []
    return SweepPlan(config, directory, workers, most, stacks, plans, seconds, left, data)


def too_long(plan: SweepPlan) -> BadInputError:
    """What is raised where more than a day of training was not confirmed."""
    takes = f"about {seconds_in_words(plan.seconds_left)} on this machine"
    return BadInputError(
        f"sweep {plan.sweep.name}: training takes {takes}: give --yes to start it, or use scaling launch"
    )


@dataclass(frozen=True, repr=False)
class Ledger(TableResult):
    """The runs of a directory: how far each is, what it reached, what it took."""

    directory: str
    entries: Sequence["LedgerEntry"]

    def to_dict(self) -> list[dict[str, Any]]:  # noqa: D102
        return [
            {
                "name": entry.name,
                "status": entry.status,
                "note": entry.note,
                "record": entry.record.model_dump(mode="json") if entry.record else None,
            }
            for entry in self.entries
        ]

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        rows = []
        for entry in self.entries:
            record = {} if entry.record is None else _record_row(entry.record)
            rows.append(record | {"name": entry.name, "status": entry.status, "note": entry.note})
        return rows

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.runs import goodput_text, ledger_table, source_losses

        text = goodput_text(self.entries)
        blocks: list[Block] = [ledger_table(self.directory, self.entries)]
        if text is not None:
            blocks.append(Text(text))
        if (losses := source_losses(self.entries)) is not None:
            blocks += [Text(""), losses]
        return blocks


def status(directory: str | Path) -> Ledger:
    """The ledger of a sweep: progress, loss and time of every run.

    Args:
        directory: a sweep or run directory, or a bucket: gs://NAME/FOLDER.

    Returns:
        A table with a row per run, finished or not.

    Raises:
        BadInputError: neither a sweep nor a run directory.

    Example:
        >>> scaling.status("runs/demo").to_frame()[["name", "status", "validation_loss"]]
    """
    from scaling.sweep.directory import downloaded, is_bucket, read_ledger

    if is_bucket(str(directory)):
        with downloaded(str(directory)) as copy:
            return Ledger(str(directory), read_ledger(copy, elsewhere=True))
    return Ledger(str(directory), read_ledger(Path(directory)))


@dataclass(frozen=True, repr=False)
class MupCheck(TableResult):
    """How activations and their changes scale with width. `flat` says whether muP's keep their size; the
    table has a row per parametrization, way to grow, layer and step."""

    check: "CoordinateCheck"
    out: Path | None = None

    @property
    def flat(self) -> bool:
        """Whether muP's activations and their changes keep their size over the widths, in every layer at
        every step."""
        return not self.check.not_flat("mup")

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return self.check.as_dict() | {"out": None if self.out is None else str(self.out)}

    def rows(self) -> list[Mapping[str, Any]]:  # noqa: D102
        keys = ("parametrization", "growth", "layer", "stack", "depth", "verdict")
        return [
            {**{key: layer[key] for key in keys}, **step}
            for layer in self.check.as_dict()["layers"]
            for step in layer["steps"]
        ]

    def blocks(self) -> list[Block]:  # noqa: D102
        from scaling.api.text.runs import mup_blocks

        return mup_blocks(self.check)


def check_mup(
    run: "str | Path | Mapping[str, Any] | RunConfig",
    overrides: Overrides = None,
    *,
    widths: int | Sequence[int] | str | None = None,
    steps: int = 5,
    tolerance: float = 0.2,
    seeds: int = 4,
    grow: str = "both",
    out: str | Path | None = None,
) -> MupCheck:
    """Check muP's coordinates: whether updates scale correctly with width, next to the standard ones.

    The verdict is that of the largest slope of any layer at any step.

    Args:
        run: a run: a name in `configs/runs/`, a path to a YAML file, a config
            object, or its fields as a mapping.
        overrides: changes of the config.
        widths: widths of the model; 1, 2 and 4 times the base by default.
        steps: optimizer steps.
        tolerance: largest slope that counts as flat.
        seeds: seeds over which a slope is averaged, at least 2.
        grow: what grows with the width: `heads` (their number), `d_head` (their width) or `both` in turn.
        out: .png, .svg or .pdf file to write.

    Returns:
        Slopes of log size against log width, and whether muP's are flat.

    Raises:
        BadInputError: a run or widths that cannot be checked.
    """
    from scaling.config.load import load_run
    from scaling.train.coordinate_check import GROWTHS, check_coordinates

    if grow not in ("both", *GROWTHS):
        raise BadInputError(f"--grow {grow}: choose both, {' or '.join(GROWTHS)}")
    chosen = GROWTHS if grow == "both" else tuple(one for one in GROWTHS if one == grow)
    changes = overrides_of(overrides)
    config = load_run(config_of(run), changes)
    if out is not None:
        from scaling.plots.style import check_path

        check_path(Path(out))
    with work_bar() as progress:
        check = check_coordinates(
            config, _widths(widths), steps, tolerance, progress, seeds=seeds, grow=chosen
        )
    if out is not None:
        from scaling.plots.mup import coordinates_figure
        from scaling.plots.style import save_figure

        save_figure(coordinates_figure(check), Path(out))
    return MupCheck(check, None if out is None else Path(out))


def _widths(widths: int | Sequence[int] | str | None) -> tuple[int, ...]:
    if widths is None:
        return ()
    given = [widths] if isinstance(widths, int) else widths
    parts = given.split(",") if isinstance(given, str) else [str(one) for one in given]
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise BadInputError(f"--widths {widths!r}: give whole numbers, as 64,128,256")
    return tuple(int(part) for part in parts)
