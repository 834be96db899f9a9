"""Which runs are stacked, and what a sweep of stacks leaves behind."""

from pathlib import Path

import pytest

from scaling.config.devices import load_hardware
from scaling.config.load import load_run, validate
from scaling.config.run import RunConfig
from scaling.config.sweep import SweepConfig
from scaling.runtime.errors import BadInputError
from scaling.sweep.directory import read_ledger
from scaling.sweep.execute import run_sweep
from scaling.sweep.stacking import (
    check_stack,
    choose_lanes,
    estimated_choice,
    hardware_of,
    parse_stack,
    stacked_speedup,
)
from scaling.train.progress import Silent


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(8):
        (folder / f"{i}.txt").write_text(f"document {i} " * 200)
    train = {
        "batch_tokens": 64, "steps": 4, "learning_rate": 0.01, "schedule": "constant", "eval_tokens": 64,
        "clip_norm": None,
    }  # fmt: skip
    model = {"vocab_size": 257, "max_length": 16, "n_layers": 1, "d_model": 8, "n_heads": 1}
    data = {"source": f"text:{folder}/*.txt", "sequence_length": 16, "validation_fraction": 0.3}
    tree = {
        "name": "s",
        "design": "grid",
        "axes": {"train.learning_rate": [0.01, 1e30, 0.02]},
        "base": {"model": model, "data": data, "train": train},
    }
    return validate(SweepConfig, tree)


@pytest.mark.slow
def test_a_sweep_of_stacks_has_the_ledger_of_its_runs_alone(sweep: SweepConfig, tmp_path: Path) -> None:
    """One of three rates diverges. Then nothing that finished is trained again."""
    alone, failed = run_sweep(sweep, tmp_path / "alone", Silent(), stack="off")
    together, failures = run_sweep(sweep, tmp_path / "together", Silent(), stack=3)
    assert [r.name for r in together] == [r.name for r in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.id == other.id
        assert one.points[-1].loss == pytest.approx(other.points[-1].loss, abs=1e-5)
    assert sorted(failures) == sorted(failed) and len(failures) == 1
    ledgers = [read_ledger(tmp_path / name) for name in ("together", "alone")]
    assert [(e.name, e.status, e.note) for e in ledgers[0]] == [
        (e.name, e.status, e.note) for e in ledgers[1]
    ]
    paths = [tmp_path / "together" / record.name / "record.json" for record in together]
    written = [path.stat().st_mtime_ns for path in paths]
    again, _ = run_sweep(sweep, tmp_path / "together", Silent(), stack=3)
    assert again == together and [path.stat().st_mtime_ns for path in paths] == written


def run_of(width: int, layers: int, **train: int) -> RunConfig:
    model = {"vocab_size": 257, "max_length": 128, "n_layers": layers, "d_model": width, "n_heads": 4}
    settings = {"batch_tokens": 4096, "steps": 100, "learning_rate": 1e-3, **train}
    return load_run({"model": model, "data": {"sequence_length": 128}, "train": settings}, [])


@pytest.mark.parametrize("hardware", ["h100-sxm", "tpu-v5e"])
def test_small_runs_are_stacked_and_large_ones_are_not(hardware: str) -> None:
    kind = load_hardware(hardware)
    small = estimated_choice([run_of(48, 3, seed=seed) for seed in range(16)], kind, 1)
    assert small.lanes > 4 and small.speedup is not None and small.speedup > 2
    large = estimated_choice([run_of(4096, 24, seed=seed) for seed in range(16)], kind, 1)
    assert large.lanes == 1
    pairs = [stacked_speedup(run_of(48, 3), lanes, kind, 1) or 0.0 for lanes in (1, 2, 4)]
    assert pairs[0] == pytest.approx(1.0) and pairs == sorted(pairs)
    assert estimated_choice([run_of(48, 3)], kind, 1).lanes == 1
    eight = estimated_choice([run_of(48, 3, seed=seed) for seed in range(16)], kind, 8)
    assert eight.lanes % 8 == 0, "the devices divide the runs"


def test_auto_does_not_stack_on_a_cpu() -> None:
    runs = [run_of(32, 1, seed=seed) for seed in range(4)]
    assert choose_lanes(runs, "auto").lanes == 1
    assert choose_lanes(runs, "off").lanes == 1
    assert choose_lanes(runs, 3).lanes == 3
    assert choose_lanes(runs, 9).lanes == 4


@pytest.mark.parametrize("text", ["0", "-1", "yes", "", "1.5", "²"])
def test_what_is_no_stack_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=r"--stack .*auto, off"):
        parse_stack(text)


def test_stacks_and_workers_exclude_each_other() -> None:
    assert parse_stack("auto") == "auto" and parse_stack("8") == 8
    check_stack("auto", 2)
    check_stack(1, 2)
    with pytest.raises(BadInputError, match="--stack 4 with --workers 2"):
        check_stack(4, 2)


@pytest.mark.parametrize(
    ("platform", "kind", "name"),
    [
        ("gpu", "NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("gpu", "NVIDIA H100 PCIe", "h100-pcie"),
        ("gpu", "NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("gpu", "NVIDIA H200", "h200"),
        ("gpu", "unknown", "h200"),
        ("tpu", "TPU v4", "tpu-v4"),
        ("tpu", "TPU v5 lite", "tpu-v5e"),
        ("tpu", "TPU v5p", "tpu-v5p"),
        ("tpu", "TPU v6 lite", "tpu-v6e"),
    ],
)
def test_devices_are_known_by_the_names_that_jax_gives_them(platform: str, kind: str, name: str) -> None:
    assert hardware_of(platform, kind).name == name
