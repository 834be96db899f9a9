"""`scaling estimate`: the contract's keys, without JAX, and one line for every mistake."""

import json
import subprocess
import sys

import pytest

from tests.commands.conftest import RunCli

GPT3 = "estimate gpt3-175b --on tpu-v5p:8x8x8 --mesh fsdp=64,tensor=8 --tokens 300e9"


def test_the_contract(run_cli: RunCli) -> None:
    code, out, err = run_cli(*GPT3.split(), "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["params"]["total"] == sum(said["params"]["by_component"].values())
    assert said["train"]["flops"] == pytest.approx(3.14e23, rel=0.03)  # Brown et al. 2020: 3.14e23
    assert said["train"]["flops_6nd"] == pytest.approx(3.14e23, rel=0.005)
    assert said["train"]["pf_days"] == said["train"]["flops"] / 8.64e19
    assert said["devices"] == {
        "kind": "tpu-v5p",
        "count": 512,
        "topology": "8x8x8",
        "mesh": {"data": 1, "stage": 1, "fsdp": 64, "expert": 1, "context": 1, "tensor": 8},
    }
    memory = said["memory"]
    parts = ("params", "optimizer", "gradients", "activations", "batch")
    assert memory["total_bytes"] == sum(memory[f"{part}_bytes"] for part in parts)
    assert memory["fits"] is True
    assert said["time"]["bound"] in ("compute", "memory", "communication")
    low, high = said["time"]["train_hours_interval"]
    assert low < said["time"]["train_hours"] < high
    cost = said["cost"]
    assert cost["device_hours"] == pytest.approx(512 * said["time"]["train_hours"])
    assert cost["usd"] == pytest.approx(cost["device_hours"] * cost["usd_per_device_hour"])
    assert cost["price_source"] and cost["price_date"]


def test_what_was_not_asked_for_is_null(run_cli: RunCli) -> None:
    said = json.loads(run_cli("estimate", "bert-base", "--json")[1])
    assert [said[key] for key in ("train", "devices", "memory", "time", "cost")] == [None] * 5
    said = json.loads(run_cli("estimate", "bert-base", "--on", "h100-sxm:8", "--json")[1])
    assert said["time"]["train_hours"] is None and said["cost"] is None and said["memory"]


def test_both_lengths_of_an_encoder_decoder(run_cli: RunCli) -> None:
    said = json.loads(run_cli("estimate", "t5-base", "--target-length", "114", "--json")[1])
    assert said["flops_per_token"]["length"] == 512 and said["flops_per_token"]["target_length"] == 114


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("estimate gpt5", "did you mean gpt1"),
        ("estimate gpt1 --on b2000:8", "did you mean b200:8?"),
        ("estimate gpt1 --on h100-sxm", "KIND:COUNT"),
        ("estimate gpt1 --on h100-sxm:0", "KIND:COUNT"),
        ("estimate gpt1 --on h100-sxm:-8", "KIND:COUNT"),
        ("estimate gpt1 --on h100-sxm:2x4", "takes a count"),
        ("estimate gpt1 --on tpu-v5p:4x4", "3 axes"),
        ("estimate gpt1 --on tpu-v5e:64x64", "largest tpu-v5e slice has 256"),
        ("estimate gpt1 --on tpu-v4:7", "no slice of 7 chips"),
        ("estimate gpt1 --on h100-sxm:8 --mesh fsdp=3", "8"),
        ("estimate gpt1 --on h100-sxm:8 --mesh depth=8", "not a mesh axis"),
        ("estimate gpt1 --mesh fsdp=8", "name the devices"),
        ("estimate gpt1 --tokens -5", "positive"),
        ("estimate gpt1 --tokens nan", "positive"),
        ("estimate gpt1 --on h100-sxm:8 --tokens 1e9 --price -1", "positive"),
        ("estimate gpt1 --remat most", "remat"),
        ("estimate gpt1 --attention half", "causal or full"),
        ("estimate gpt1 --length 4096", "longer than the positions"),
        ("estimate gpt1 --on h100-sxm:8 --batch-tokens 1000", "does not divide into sequences"),
        ("estimate gpt1 --batch-tokens -512", "batch_tokens"),
        ("estimate t5-base family=decoder", "scale_attention: unknown field"),
        ("estimate switch-base-8 mixture.experts=1", "mixture.experts"),
        ("estimate llama-7b n_kv_heads=5", "n_kv_heads=5"),
        (
            "train cpu model=llama-7b objective.name=masked train.steps=1 --dry-run",
            "masked trains an encoder",
        ),
    ],
)
def test_one_line_for_a_mistake(run_cli: RunCli, line: str, says: str) -> None:
    code, out, err = run_cli(*line.split())
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and says in err


def test_no_jax_and_no_numpy() -> None:
    program = (
        f"import sys; sys.argv = ['scaling', *{GPT3.split()}, '--json']\n"
        "from scaling.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        "assert not {'jax', 'numpy', 'flax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_what_does_not_fit_is_not_priced(run_cli: RunCli) -> None:
    line = "estimate gpt3-13b --on h100-sxm:8 --tokens 1e12 --mesh data=8"
    code, out, _ = run_cli(*line.split(), "--json")
    said = json.loads(out)
    assert code == 0 and not said["memory"]["fits"] and said["cost"] is None
    assert any("fsdp in place of data" in one for one in said["would_help"])
    code, out, _ = run_cli(*line.split())
    assert "USD" not in out and "Not priced, because it does not fit. What would help:" in out
