"""Step times against published iterations, rings against closed forms, and prices."""

import datetime
import functools
import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.devices import parse_devices, run_for
from scaling.config.load import load_run, names
from scaling.estimate import conventions
from scaling.estimate.estimate import on_devices
from scaling.estimate.layout import Layout, layout_of
from scaling.estimate.price import cost, list_price
from scaling.estimate.time import RATES, Link, axis_links, step_time
from scaling.estimate.work import work_of
from scaling.runtime.errors import BadInputError
from tests.estimate.megatron_settings import megatron_case

# Korthikanti et al. 2022, arXiv:2205.05198, table 5: seconds of an iteration on A100 80 GB with full
# recomputation, and with sequence parallelism and selective recomputation.
MEGATRON = {"22B": (1.42, 1.10), "175B": (18.13, 13.75), "530B": (49.05, 37.83), "1T": (94.42, 71.49)}


SPREAD = (0.9, 1.2)  # of a price


@functools.cache
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "step_time.py"
    spec = importlib.util.spec_from_file_location("step_time_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@functools.cache
def measured():
    return benchmark().measured_steps()


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


def test_estimates_agree_with_the_shared_measurements():
    """The tables that the project shares: 15% in the median, none beyond 2x, 80 to 97% inside."""
    rows = [row for row in measured() if row.source in benchmark().SHARED]
    assert {"BLOOM 176B", "LLaMA 65B", "PaLM 540B", "llama_1_4B_8xH200"} < {row.run for row in rows}
    score = benchmark().score(rows)
    assert score.n == 42 and score.median_error < 0.15
    assert score.lowest > 0.5 and score.highest < 2
    assert 0.80 <= score.covered <= 0.97


def test_estimates_agree_with_every_public_source():
    """No group of devices, sizes or lengths is far off, and no source beyond 2x."""
    assert {row.source for row in measured()} == set(benchmark().SOURCES)
    assert benchmark().score(measured()).median_error < 0.15
    for by in benchmark().GROUPS:
        for name, score in benchmark().grouped(measured(), by).items():
            assert score.median_error < 0.27 and score.lowest > 0.5 and score.highest < 2, (by, name)


@pytest.mark.slow
def test_a_source_left_out_of_the_fit_is_predicted():
    """Constants fitted without a source predict it, and the product's constants are those of the fit."""
    rows = measured()
    for platform, score in benchmark().left_out_total(rows, benchmark().without(rows)).items():
        assert score.median_error < 0.20 and 0.80 <= score.covered <= 0.97, platform
        fitted, ours = benchmark().fit(rows, platform), RATES[platform]
        for name in benchmark()._PRIORS[platform]:
            assert getattr(ours, name) == pytest.approx(getattr(fitted, name), rel=0.03), name


def test_levanter_on_v5p_by_size():
    """A vocabulary of 128,256: the loss and dispatch dominate small models (training_times.csv)."""
    rows = {row.run: row for row in measured() if row.source == "levanter"}
    small, large = rows["adamw_llama_scaling/130m"], rows["adamw_llama_scaling/520m"]
    assert small.ratio == pytest.approx(1, abs=0.15) and large.ratio == pytest.approx(1, abs=0.15)
    loss = RATES["tpu"].logit_passes * small.work.logit_bytes / (0.8 * 2.765e12)
    assert loss > 0.3 * small.predicted().seconds


def test_attention_has_a_rate_of_its_own():
    """Twice the length at the same tokens doubles attention's FLOPs; wide heads and long rows are faster."""
    rows = {row.run: row for row in measured() if row.source == "flash-attention-2"}
    short, long = (rows[f"GPT-3 1.3B, {length}"].predicted() for length in (2048, 8192))
    assert long.matmul == pytest.approx(short.matmul, rel=1e-6)
    assert 3 < long.attention / short.attention < 4
    hardware = parse_devices("h100-sxm:8").hardware
    assert hardware.attention is not None and hardware.attention.typical < hardware.matmul.typical


def test_shards_narrower_than_the_matrix_unit_are_slow_on_a_tpu():
    """Width 512 over 16 devices leaves 32 of it, so data=16 is faster."""

    def time(on: str, mesh: dict[str, int]):
        run = load_run(
            {
                "model": {
                    "d_model": 512,
                    "n_layers": 6,
                    "n_heads": 4,
                    "vocab_size": 128256,
                    "max_length": 4096,
                    "compute_dtype": "bfloat16",
                    "remat": "full",
                },
                "data": {"sequence_length": 4096},
                "train": {"steps": 1, "batch_tokens": 128 * 4096, "learning_rate": 1e-3},
                "mesh": mesh,
            }
        )
        layout = layout_of(run, 16)
        work = work_of(run, layout, parse_devices(on).hardware.platform)
        return step_time(work, layout, parse_devices(on))

    data, sharded, wide = (
        time("tpu-v5p:2x2x4", mesh) for mesh in ({"data": 16}, {"fsdp": 16}, {"data": 4, "fsdp": 4})
    )
    assert sharded.seconds > data.seconds
    assert wide.matmul == pytest.approx(data.matmul, rel=1e-3)
    gpus = [time("h100-sxm:16", mesh).matmul for mesh in ({"data": 16}, {"fsdp": 16})]
    assert gpus[0] == pytest.approx(gpus[1], rel=1e-3)


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
    assert time.seconds == pytest.approx(
        time.compute + time.memory + time.communication + time.overhead + time.idle
    )
    assert 0 < time.low < time.seconds < time.high
    double = run_for(name, devices, None, [f"train.accumulation={2 * accumulation}"])
    longer = on_devices(double, devices, None).time  # not where the devices wait for the host
    assert longer.compute + longer.memory > time.compute + time.memory
    assert longer.seconds >= time.seconds * (1 - 1e-9)
