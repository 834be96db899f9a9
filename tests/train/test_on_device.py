"""`benchmarks/on_device.py`: killed, it keeps what was measured and continues; it ends in time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from scaling.config.load import names
from tests.parallel.clusters import ROOT

BENCHMARKS = ROOT / "benchmarks"
DEVICE = {"kind": "a test", "platform": "cpu", "hardware": "cpu", "versions": {}}

# A worker that measures "a" and then "b", by what a file next to it says: `slow` waits between the two.
WORKER = """
import json, os, pathlib, sys, threading, time
given = json.loads(sys.stdin.readline())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
here = pathlib.Path(__file__).parent
how = (here / "how").read_text()
with (here / "log").open("a") as log:
    print(sys.argv[1], sorted(given["found"]), os.getpid(), file=log)
def say(found):
    print("a library's own line")
    print("on-device: " + json.dumps(found), flush=True)
if how == "skips":
    say({"skipped": "there is nothing to measure"})
    sys.exit()
if "a" not in given["found"]:
    say({"a": 1})
if how == "slow":
    time.sleep(60)
if how == "fails":
    sys.exit(3)
say({"b": 2})
"""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import on_device

    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "how").write_text("fine")
    monkeypatch.setattr(on_device, "SCRIPT", tmp_path / "worker.py")
    return on_device


def started(tmp_path: Path) -> list[list[str]]:
    return [line.rsplit(" ", 1) for line in (tmp_path / "log").read_text().splitlines()]


def run(
    benchmark: ModuleType, tmp_path: Path, deadline: float = float("inf"), **device: Any
) -> dict[str, Any]:
    results = benchmark.Results(tmp_path / "results.json")
    benchmark.measure(results, ["kernels", "resume"], deadline, DEVICE | device, smoke=True)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == results.document
    return {name: (part["status"], part["found"]) for name, part in written["parts"].items()}


def test_a_part_that_was_killed_continues_and_one_that_is_done_is_not_repeated(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "how").write_text("fails")
    assert run(benchmark, tmp_path) == {name: ("failed", {"a": 1}) for name in ("kernels", "resume")}
    (tmp_path / "how").write_text("fine")
    done = {name: ("done", {"a": 1, "b": 2}) for name in ("kernels", "resume")}
    assert run(benchmark, tmp_path) == done
    assert [line for line, _ in started(tmp_path)] == [
        "kernels []", "resume []", "kernels ['a']", "resume ['a']",
    ]  # fmt: skip
    assert run(benchmark, tmp_path) == done
    assert len(started(tmp_path)) == 4
    assert run(benchmark, tmp_path, kind="another device") == done
    assert [line for line, _ in started(tmp_path)[4:]] == ["kernels []", "resume []"]


def test_no_part_starts_after_the_time_and_one_that_runs_is_stopped(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now() -> float:  # the time is over once something was measured
        return 1e9 if '"a": 1' in read(tmp_path / "results.json") else 0.0

    monkeypatch.setattr(benchmark, "time", SimpleNamespace(monotonic=now))
    (tmp_path / "how").write_text("slow")
    stopped = {"kernels": ("stopped", {"a": 1}), "resume": ("stopped", {})}
    assert run(benchmark, tmp_path, deadline=60.0) == stopped
    ((_, worker),) = started(tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int(worker), 0)


def test_a_part_that_does_not_apply_says_why(benchmark: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "how").write_text("skips")
    run(benchmark, tmp_path)
    (part, _) = json.loads((tmp_path / "results.json").read_text())["parts"].values()
    assert part == part | {"status": "skipped", "why": "there is nothing to measure", "found": {}}


def test_killed_outright_it_leaves_no_worker_and_keeps_what_was_measured(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "how").write_text("slow")
    program = (
        "import sys, time, pathlib; sys.path.insert(0, sys.argv[1]); import on_device as o\n"
        "here = pathlib.Path(sys.argv[2]); o.SCRIPT = here / 'worker.py'\n"
        f"o.measure(o.Results(here / 'results.json'), ['kernels'], float('inf'), {DEVICE!r}, True)\n"
    )
    dying = subprocess.Popen(
        [sys.executable, "-c", program, str(BENCHMARKS), str(tmp_path)], env=environment()
    )
    wait_for(lambda: '"a": 1' in read(tmp_path / "results.json"))
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    ((_, worker),) = started(tmp_path)
    wait_for(lambda: not Path(f"/proc/{worker}").exists() or "Z" in read(Path(f"/proc/{worker}/stat")))
    (tmp_path / "how").write_text("fine")
    assert run(benchmark, tmp_path)["kernels"] == ("done", {"a": 1, "b": 2})
    assert started(tmp_path)[1][0] == "kernels ['a']"


def wait_for(condition: Any) -> None:
    while not condition():
        time.sleep(0.02)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def test_the_page_shows_the_devices_that_were_measured(benchmark: ModuleType) -> None:
    """`python benchmarks/on_device.py --markdown` writes it; none is measured yet."""
    kept = benchmark.kept_documents()
    text = benchmark.page(kept)
    assert (ROOT / "docs" / "on_device.md").read_text() == text
    assert ("No device has been measured yet" in text) == (not kept)


def test_the_page_of_a_device(benchmark: ModuleType) -> None:
    trained = {
        "model": "gpt2-124m", "remat": "none", "rows": 16, "length": 1024, "tokens_per_second": 251_234.5,
        "mfu": 0.4012, "step_seconds": 0.0652, "peak_bytes": 21 * 2**30, "compiled_peak_bytes": 20 * 2**30,
        "estimate": {"step_seconds": 0.06, "peak_bytes": 22 * 2**30},
    }  # fmt: skip
    variant = {"fused": True, "agrees": True, "errors": [0.002, 0.003], "errors_of_the_type": [0.002, 0.0025]}
    resumed = {
        "steps": 40,
        "resumed_at": 20,
        "same_losses": True,
        "same_state": True,
        "largest_difference": 0.0,
    }
    parts = {
        "train-124m": {"status": "done", "why": None, "found": trained},
        "torch-124m": {"status": "skipped", "why": "torch has no CUDA here", "found": {}},
        "kernels": {"status": "done", "why": None, "found": {"causal": variant}},
        "resume": {"status": "done", "why": None, "found": resumed},
    }
    text = benchmark.page(
        [{"device": DEVICE | {"kind": "NVIDIA H100", "versions": {"jax": "1"}}, "parts": parts}]
    )
    row = "| gpt2-124m, none | 16 x 1,024 | 251,234 | 40.1% | - | 65.2 | 60.0 | - | 21.00 | 22.00 | 20.00 |"
    assert row in text
    assert "| causal | fused | yes | 3.0e-03 | 2.5e-03 |" in text
    assert "equals it bit for bit" in text
    assert "Not measured: torch-124m (skipped: torch has no CUDA here)." in text


def test_the_batch_fits_the_device(benchmark: ModuleType) -> None:
    import on_device_parts as parts

    from scaling.estimate.estimate import on_devices

    for name in ("h100-sxm", "a100-40gb", "tpu-v5e", "tpu-v4", "tpu-v6e"):
        device = parts.one_of(name)
        for size in parts.SIZES.values():
            run_config = parts.run_that_fits(size, device, smoke=False)
            if run_config is None:
                assert (name, size[0]) == (
                    "tpu-v5e",
                    "gpt3-1.3b",
                )  # 16 bytes of state per parameter in 16 GiB
            else:
                assert on_devices(run_config, device, None).fits
                assert run_config.train.batch_tokens >= 8 * size[2]


def test_every_kind_of_device_has_a_name(benchmark: ModuleType) -> None:
    import on_device_parts as parts

    drivers = {
        "NVIDIA H100 80GB HBM3": "h100-sxm", "NVIDIA H100 PCIe": "h100-pcie", "NVIDIA H200": "h200",
        "NVIDIA A100-SXM4-40GB": "a100-40gb", "NVIDIA A100-SXM4-80GB": "a100-80gb", "NVIDIA B200": "b200",
        "Tesla V100-SXM2-16GB": "v100", "TPU v4": "tpu-v4", "TPU v5 lite": "tpu-v5e", "TPU v5p": "tpu-v5p",
        "TPU v5": "tpu-v5p", "TPU v6 lite": "tpu-v6e", "TPU7x": "tpu7x", "TPU v3": "tpu-v3",
        "TPU v2": "tpu-v2", "AMD Instinct MI300X": "mi300x",
    }  # fmt: skip
    assert {parts.hardware_name(kind, "gpu") for kind in drivers} == set(drivers.values())
    assert all(parts.hardware_name(kind, "gpu") == name for kind, name in drivers.items())
    assert set(drivers.values()) | {"cpu"} == set(names("hardware"))
    assert parts.hardware_name("NVIDIA GeForce RTX 4090", "gpu") is None


@pytest.mark.slow
def test_every_part_runs_at_tiny_sizes(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "on_device.py"),
        "--smoke",
        "--out",
        "found.json",
        "--minutes",
        "30",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "found.json").read_text())["parts"]
    assert {
        name: part["status"] for name, part in parts.items() if not name.startswith("torch")
    } == dict.fromkeys(
        ("kernels", "train-124m", "train-1.3b", "resume", "dryrun-124m", "dryrun-1.3b"), "done"
    )
    assert all(variant["agrees"] for variant in parts["kernels"]["found"].values())
    assert parts["resume"]["found"]["same_losses"] and parts["resume"]["found"]["same_state"]
    trained = parts["train-124m"]["found"]
    assert trained["losses"][1] < trained["losses"][0] and trained["tokens_per_second"] > 0
    assert trained["estimate"]["peak_bytes"] > 0 and parts["dryrun-124m"]["found"]["peak_bytes"] > 0
