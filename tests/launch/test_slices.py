"""The slice of a run is the smallest that holds it and finishes in time, by the accountant's own numbers."""

import pytest

from scaling.config.devices import parse_devices
from scaling.config.load import load_run, load_sweep
from scaling.config.run import RunConfig
from scaling.estimate.estimate import on_devices
from scaling.launch.slices import PlacedRun, host_chips, slices_of, smallest_slice
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand


def gpt3() -> dict[str, RunConfig]:
    return {run.name: run for run in expand(load_sweep("gpt1-to-gpt3"))}


def test_the_sweep_is_the_papers_table() -> None:
    runs = gpt3()
    assert list(runs) == [
        "gpt3-125m", "gpt3-350m", "gpt3-760m", "gpt3-1.3b", "gpt3-2.7b", "gpt3-6.7b", "gpt3-13b", "gpt3-175b",
    ]  # fmt: skip
    for run in runs.values():
        assert run.model.name == run.name and run.train.tokens == 300_000_000_000
    # Brown et al. 2020, table 2.1: 0.5M to 3.2M tokens a batch, in powers of two here.
    millions = [run.train.batch_tokens / 1e6 for run in runs.values()]
    assert millions == pytest.approx([0.5, 0.5, 0.5, 1, 1, 2, 2, 3.2], rel=0.05)
    assert [run.train.learning_rate for run in runs.values()] == [
        6e-4, 3e-4, 2.5e-4, 2e-4, 1.6e-4, 1.2e-4, 1e-4, 6e-5,
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), [("gpt3-1.3b", "tpu-v5p"), ("gpt3-6.7b", "h100-sxm")])
def test_nothing_smaller_does_it(name: str, kind: str) -> None:
    run = gpt3()[name]
    chosen = smallest_slice(run, kind, within=300)
    # The accountant says the same of the run as it will be submitted.
    said = on_devices(chosen.run, chosen.devices, run.train.tokens)
    assert said.fits and chosen.memory_bytes == said.memory.total
    assert said.cost is not None and chosen.cost.usd == pytest.approx(said.cost.usd, rel=1e-3)
    assert chosen.hours <= 300 and chosen.run.id() == run.id(), "only the mesh is chosen"
    for devices in slices_of(kind):
        if devices.chips < chosen.devices.chips:
            with pytest.raises(BadInputError):
                smallest_slice(run, str(devices), within=300)


def test_less_time_takes_more_chips() -> None:
    run = gpt3()["gpt3-13b"]
    placed: list[PlacedRun] = [smallest_slice(run, "tpu-v5p", within=hours) for hours in (700, 200, 60)]
    chips = [one.devices.chips for one in placed]
    assert chips == sorted(chips) and chips[0] < chips[-1]


def test_slices_rise() -> None:
    for kind in ("tpu-v5e", "tpu-v5p", "h100-sxm", "cpu"):
        chips = [devices.chips for devices in slices_of(kind)]
        assert chips == sorted(set(chips)), kind
    assert [d.chips for d in slices_of("h100-sxm")][:5] == [1, 2, 4, 8, 16]
    assert [str(d) for d in slices_of("tpu-v5p:4x4x4")] == ["tpu-v5p:4x4x4"]


@pytest.mark.parametrize(
    ("devices", "hosts", "chips"),
    [
        ("h100-sxm:4", 1, 4),
        ("h100-sxm:64", 8, 8),
        ("tpu-v5p:2x2x1", 1, 4),
        ("tpu-v5p:4x4x8*2", 64, 4),
        ("tpu-v5e:2x4", 1, 8),
        ("tpu-v5e:4x4", 4, 4),
        ("tpu-v6e:1x1", 1, 1),
    ],
)
def test_machines_of_a_slice(devices: str, hosts: int, chips: int) -> None:
    parsed = parse_devices(devices)
    assert host_chips(parsed) == chips and parsed.chips // chips == hosts


@pytest.mark.parametrize(
    ("name", "kind", "within", "words"),
    [
        ("gpt3-175b", "tpu-v5e", 720.0, "gpt3-175b: fits on no slice of tpu-v5e"),
        ("gpt3-175b", "tpu-v5p:2x2x2", 720.0, "gpt3-175b: fits on no slice"),
        ("gpt3-175b", "v100", 720.0, "--within 720: gpt3-175b takes"),
        ("gpt3-125m", "tpu-v5p", 1e-3, "--within 0.001: gpt3-125m takes"),
        ("gpt3-125m", "tpu-v9", 720.0, "hardware 'tpu-v9'"),
    ],
)
def test_what_cannot_be_had_is_said(name: str, kind: str, within: float, words: str) -> None:
    with pytest.raises(BadInputError, match="^" + words) as caught:
        smallest_slice(gpt3()[name], kind, within=within)
    if "--within" in words:  # and what it asks for is enough
        hours = float(str(caught.value).rsplit(" ", 1)[1].replace(",", ""))
        assert smallest_slice(gpt3()[name], kind, within=hours).hours <= hours


def test_counted_models_need_no_slice() -> None:
    model = {"family": "ngram", "vocab_size": 257, "max_length": 128, "order": 3}
    train = {"tokens": 4096, "batch_tokens": 1024, "learning_rate": 1e-3}
    run = load_run({"name": "counted", "model": model, "train": train, "data": {"sequence_length": 128}})
    with pytest.raises(BadInputError, match="n-gram"):
        smallest_slice(run, "h100-sxm", within=1)
