"""Pipeline stages in the estimator: the bubble, the state of a stage, what is handed on."""

import dataclasses
from fractions import Fraction

import pytest

from scaling.config.devices import parse_devices
from scaling.config.load import load_run
from scaling.config.run import RunConfig
from scaling.estimate.layout import layout_of
from scaling.estimate.memory import memory
from scaling.estimate.time import step_time
from scaling.estimate.work import work_of

ON = "tpu-v5p:4x4x8"


def run_of(mesh: dict[str, int]) -> RunConfig:
    return load_run(
        {
            "model": {"base": "gpt3-13b", "scan_layers": True, "remat": "full", "dropout": 0.0},
            "data": {"sequence_length": 2048},
            "train": {"steps": 1, "batch_tokens": 512 * 2048, "learning_rate": 1e-3},
            "mesh": mesh,
        }
    )


@pytest.mark.parametrize("microbatches", [4, 8, 16])
def test_the_bubble(microbatches: int) -> None:
    """(S - 1) / (M + S - 1) of the devices' time is idle: Huang et al. 2019, section 2.3."""
    run = run_of({"stage": 4, "fsdp": 32, "microbatches": microbatches})
    layout = layout_of(run, 128)
    time = step_time(work_of(run, layout, "tpu"), layout, parse_devices(ON))
    busy = time.seconds - time.overhead
    assert time.idle / busy == pytest.approx(float(Fraction(3, microbatches + 3)))
    assert layout.ticks == microbatches + 3 and layout.devices == 128


def test_layers_are_held_once_over_all_stages() -> None:
    """Layers over 4 stages and 32 ways lie as over 128 ways; what is outside them, over 32."""
    staged, whole = run_of({"stage": 4, "fsdp": 32}), run_of({"fsdp": 32, "data": 4})
    a, b = (memory(run, layout_of(run, 128), "tpu") for run in (staged, whole))
    assert 0.25 < a.params / b.params < 0.29
    assert a.params / b.params == pytest.approx(a.optimizer / b.optimizer, rel=1e-3)


def test_what_is_handed_on_by_hand() -> None:
    run = run_of({"stage": 4, "fsdp": 32, "microbatches": 8})
    layout = layout_of(run, 128)
    permutes = [one for one in work_of(run, layout, "tpu").exposed if one.kind == "permute"]
    assert [dataclasses.astuple(one) for one in permutes] == [
        ("stages", "permute", 2 * 2048 * 5120 * run_width(run), 4 * 8)
    ]


def run_width(run: RunConfig) -> int:
    """Bytes of a number in the compute type."""
    return 2 if run.model.compute_dtype == "bfloat16" else 4
