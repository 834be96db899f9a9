"""Step times against published iterations, rings against closed forms, and prices."""

import datetime
import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.devices import parse_devices, run_for
from scaling.config.load import names
from scaling.estimate import conventions
from scaling.estimate.estimate import on_devices
from scaling.estimate.layout import Layout
from scaling.estimate.price import cost, list_price
from scaling.estimate.time import SPREAD, Link, axis_links, step_time
from scaling.runtime.errors import BadInputError
from tests.estimate.megatron_settings import megatron_case

# Korthikanti et al. 2022, arXiv:2205.05198, table 5: seconds of an iteration on A100 80 GB with full
# recomputation, and with sequence parallelism and selective recomputation.
MEGATRON = {"22B": (1.42, 1.10), "175B": (18.13, 13.75), "530B": (49.05, 37.83), "1T": (94.42, 71.49)}


def step_time_benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "step_time.py"
    spec = importlib.util.spec_from_file_location("step_time_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", MEGATRON)
@pytest.mark.parametrize("recompute", ["full", "selective"])
def test_megatron_measured(name, recompute):
    full, selective = MEGATRON[name]
    model, layout = megatron_case(name, recompute == "selective")
    ours = step_time(
        conventions.megatron_work(model, layout, recompute),
        layout,
        parse_devices(f"a100-80gb:{layout.devices}"),
    )
    measured = {"full": full, "selective": selective}[recompute]
    assert ours.seconds == pytest.approx(measured, rel=0.15)
    assert ours.low <= measured <= ours.high


def test_every_published_run_lies_in_the_spread():
    """The table of docs/step_time.md; its range is the interval that every estimate is given with."""
    ratios = {row.run: row.ratio for row in step_time_benchmark().rows()}
    assert {"BLOOM 176B", "LLaMA 65B", "PaLM 540B"} < set(ratios)
    assert min(ratios.values()) == pytest.approx(SPREAD[0], abs=0.005)
    assert max(ratios.values()) == pytest.approx(SPREAD[1], abs=0.005)


def test_a_ring_by_hand():
    link = Link(ways=8, bandwidth=100e9, latency=1e-6)
    assert link.seconds("all_gather", 8e9) == pytest.approx(7e9 / 100e9 + 7e-6)
    assert link.seconds("all_reduce", 8e9) == pytest.approx(2 * (7e9 / 100e9 + 7e-6))
    assert Link(1, 100e9, 1e-6).seconds("all_reduce", 8e9) == 0.0


def test_an_all_to_all_by_hand():
    """Through a switch each device sends what is not its own; on a torus the cut in the middle bounds it."""
    assert Link(8, 100e9, 0.0).seconds("all_to_all", 8e9) == pytest.approx(7 / 8 * 1e9 / 100e9)
    on = parse_devices("tpu-v5p:4x4x8")
    link = axis_links(on, Layout(data=1, fsdp=16, tensor=1, rows=128, length=128, expert=8))["expert"]
    # 4 x 2: of 8 GB a quarter crosses the middle of the ring of 4, one way, over 2 rings of 2 x 90 GB/s.
    assert link.seconds("all_to_all", 8e9) == pytest.approx(2e9 / (2 * 180e9), rel=5e-3)
    ring = axis_links(on, Layout(data=1, fsdp=32, tensor=1, rows=128, length=128, expert=4))["expert"]
    assert ring.seconds("all_to_all", 8e9) == pytest.approx(2e9 / 180e9, abs=1e-5)
    assert ring.seconds("all_to_all", 8e9) == pytest.approx(ring.seconds("all_gather", 8e9) / 3, rel=1e-2)


def test_axes_find_their_networks():
    layout = Layout(data=2, fsdp=8, tensor=8, rows=16, length=128)
    gpus = axis_links(parse_devices("h100-sxm:128"), layout)
    inside, between = 450e9, 50e9
    assert gpus["tensor"].bandwidth == inside
    assert gpus["fsdp"].bandwidth == between  # every member in another host
    one = axis_links(parse_devices("tpu-v5p:4x4x8"), Layout(data=1, fsdp=128, tensor=1, rows=128, length=128))
    assert one["fsdp"].bandwidth == 3 * 2 * 90e9  # three closed rings, both ways round
    slices = axis_links(
        parse_devices("tpu-v5e:4x4*2"), Layout(data=2, fsdp=16, tensor=1, rows=32, length=128)
    )
    assert slices["data"].bandwidth == parse_devices("tpu-v5e:4x4").hardware.between.bandwidth


@pytest.mark.parametrize("name", [name for name in names("hardware") if name != "cpu"])
def test_every_kind_gives_a_whole_estimate(name):
    """No rented device is without a price that says where it comes from."""
    hardware = parse_devices(f"{name}:16").hardware
    price = list_price(hardware)
    assert price is not None and price.source and price.provider
    devices = parse_devices(f"{name}:16")
    found = on_devices(run_for("gpt2-124m", devices, None, ["model.dropout=0"]), devices, 1e9)
    assert found.cost.usd_low < found.cost.usd < found.cost.usd_high
    assert 0 < found.time.mfu < found.time.hfu < 1


def test_price_by_hand_and_its_age():
    devices = parse_devices("tpu-v5p:2x2x1")
    day = list_price(devices.hardware).date
    fresh = cost(devices, 10.0, SPREAD, today=day + datetime.timedelta(days=300))
    assert fresh.price_note is None and fresh.device_hours == 40
    assert fresh.usd == pytest.approx(40 * fresh.usd_per_device_hour)
    assert (
        "older than a year" in cost(devices, 1.0, SPREAD, today=day + datetime.timedelta(days=400)).price_note
    )
    assert "3 years old" in cost(devices, 1.0, SPREAD, today=day + datetime.timedelta(days=1100)).price_note
    own = cost(devices, 10.0, SPREAD, usd_per_device_hour=2.5)
    assert own.usd == 100 and own.price_kind == "given" and own.price_date is None
    with pytest.raises(BadInputError, match="positive"):
        cost(devices, 1.0, SPREAD, usd_per_device_hour=-1.0)


def test_cores_of_one_chip_share_its_price():
    devices = parse_devices("tpu-v3:4x4")
    assert (devices.chips, devices.count) == (16, 32)
    assert cost(devices, 1.0, SPREAD).usd == pytest.approx(16 * list_price(devices.hardware).per_chip_hour)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["gpt2-355m", "bert-base", "t5-base", "llama-7b", "switch-base-8", "lstm-large"]),
    st.sampled_from(["h100-sxm:8", "tpu-v5e:2x4", "tpu-v4:2x2x2", "mi300x:16"]),
    st.sampled_from([1, 2]),
)
def test_times_add_up_and_a_larger_batch_takes_longer(name, on, accumulation):
    devices = parse_devices(on)
    run = run_for(name, devices, None, [f"train.accumulation={accumulation}"])
    time = on_devices(run, devices, None).time
    assert time.seconds == pytest.approx(time.compute + time.memory + time.communication + time.idle)
    assert 0 < time.low < time.seconds < time.high
    double = run_for(name, devices, None, [f"train.accumulation={2 * accumulation}"])
    assert on_devices(double, devices, None).time.seconds > time.seconds
