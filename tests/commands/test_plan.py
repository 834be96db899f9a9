"""`scaling plan`: its document, the run it writes, what the compiler changes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.api.plans import shortlist
from scaling.config.load import load_run
from scaling.config.record import Compiled
from scaling.config.run import RunConfig
from scaling.estimate.counts import count_parameters, train_flops_per_token
from scaling.train import dry_run
from tests.absent import needs_tpu_compiler
from tests.end_to_end.conftest import RunCli
from tests.estimate.test_loss_law import document as law_document
from tests.estimate.test_planner import planned
from tests.train.test_compiled_cache import ANSWER

KEYS = {
    "budget", "law", "model", "params", "tokens", "flops", "run", "devices", "memory", "time", "cost", "loss",
    "alternatives", "confirmed",
}  # fmt: skip


def test_the_document_and_the_run(run_cli: RunCli, tmp_path: Path) -> None:
    line = "plan --flops 1e20 --law chinchilla-replication --on tpu-v5p:4x4x4 --out run.yaml --json"
    code, out, err = run_cli(*line.split())
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert set(plan) >= KEYS and plan["confirmed"] is None
    run = load_run(str(tmp_path / "run.yaml"))
    assert run == RunConfig.model_validate(plan["run"])
    assert plan["params"]["total"] == count_parameters(run.model).total
    assert plan["flops"] == plan["tokens"] * train_flops_per_token(run.model, 2048) <= 1e20
    assert plan["flops_6nd"] == pytest.approx(plan["flops"], rel=0.25)
    assert plan["devices"]["mesh"] == run.mesh.sizes() and plan["memory"]["fits"]
    low, high = plan["loss"]["interval"]
    assert low < plan["loss"]["predicted"] < high and plan["loss"]["law"] == "chinchilla-replication"
    text = (tmp_path / "run.yaml").read_text()
    assert text.startswith("# scaling train run.yaml") and "data.source and data.tokenizer" in text


def test_training_accepts_it_without_its_devices(run_cli: RunCli, tmp_path: Path) -> None:
    """256 devices that this machine lacks."""
    assert run_cli("plan", "--usd", "60", "--on", "tpu-v5e:16x16", "--out", "run.yaml")[0] == 0
    command = [sys.executable, "-m", "scaling.cli", "train", "run.yaml", "--dry-run", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mesh = json.loads(done.stdout)["mesh"]
    assert mesh["data"] * mesh["fsdp"] * mesh["tensor"] == 256


def test_the_page(run_cli: RunCli) -> None:
    line = "plan --device-hours 500 --on h100-sxm:8 --inference-tokens 1e12 --vocab-size 32000 --length 1024"
    code, out, err = run_cli(*line.split())
    assert (code, err) == (0, "")
    for word in ("500 device-hours on h100-sxm:8", "32,000", "nats per token", "Sardana", "Rejected", "fits"):
        assert word in out, word
    assert "--vocab-size 32000 --length 1024 --on h100-sxm:8" in out and "--out run.yaml" in out
    assert "--inference-tokens 1e+12" in out and "No larger model fits" not in out
    assert all(len(text) <= 80 for text in out.splitlines() if "scaling plan" not in text)


def test_a_price_of_ones_own_buys_twice_as_much_at_half(run_cli: RunCli) -> None:
    def hours(*options: str) -> float:
        code, out, _ = run_cli("plan", "--usd", "1000", "--on", "h100-sxm:8", "--json", *options)
        assert code == 0
        return float(json.loads(out)["cost"]["device_hours"])

    assert hours("--price", "1") == pytest.approx(2 * hours("--price", "2"), rel=0.01)
    assert hours("--spot") > hours()


@pytest.mark.parametrize("options", ["", "--inference-tokens 1e13", "--price 3.3", "--spot"])
def test_the_budget_covers_the_upper_end_of_the_price(run_cli: RunCli, options: str) -> None:
    line = f"plan --usd 20000 --on h100-sxm:64 --json {options}"
    code, out, _ = run_cli(*line.split())
    cost = json.loads(out)["cost"]
    assert code == 0 and 0.9 * 20_000 < cost["usd_high"] <= 20_000.01
    assert cost["usd_low"] < cost["usd"] < cost["usd_high"]


BYTES = {"name": "bytes", "hash": "0", "vocab_size": 256, "bytes_per_token": 1.0}
ROLLING = [
    {"flops": 1e17, "extrapolation": 8.0, "n_fitted": 9, "n": 4, "mean_abs_rel_error": 0.02,
     "max_abs_rel_error": 0.05, "inside": 0.5, "parameters": {}},
]  # fmt: skip


def byte_law(path: Path, **changes: object) -> None:
    ranges = {"params": [1e5, 1e7], "tokens": [1e7, 1e9], "flops": [6e12, 6e16]}
    document = law_document(tokenizer=BYTES, ranges=ranges, rolling=ROLLING, **changes)
    path.write_text(json.dumps(document))


def test_a_law_of_bytes_is_for_models_of_bytes(run_cli: RunCli, tmp_path: Path) -> None:
    byte_law(tmp_path / "law.json")
    line = ("plan", "--flops", "1e19", "--on", "h100-sxm:8", "--law", "law.json")
    code, out, err = run_cli(*line, "--vocab-size", "50257")
    assert (code, out) == (2, "") and err.count("\n") == 1
    for words in ("--vocab-size 50257", "nats per token of a tokenizer of 256 pieces", "--bytes-per-token"):
        assert words in err, err
    code, out, _ = run_cli(*line, "--json")
    plan = json.loads(out)
    assert code == 0 and plan["model"]["vocab_size"] == plan["loss"]["vocab_size"] == 256
    assert plan["loss"]["unit"] == "nats per token" and plan["law"]["tokenizer"]["vocab_size"] == 256
    assert plan["loss"]["reach"]["far"] and plan["loss"]["reach"]["holdout"]["inside"] == 0.5
    code, out, _ = run_cli(*line)
    words = " ".join(out.split())
    assert "warning beyond the data" in words and "no rolled hold-out reaches that far" in words
    assert "2 of 4 inside their 95% intervals" in words
    assert all(len(text) <= 80 for text in out.splitlines() if "scaling plan" not in text)


def test_a_law_of_bytes_is_converted_where_both_sizes_are_known(run_cli: RunCli, tmp_path: Path) -> None:
    byte_law(tmp_path / "law.json")
    line = ("plan", "--flops", "1e19", "--on", "h100-sxm:8", "--law", "law.json", "--vocab-size", "50257")
    code, out, err = run_cli(*line, "--bytes-per-token", "4.2", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    E, A, B, alpha, beta = (law_document()["parameters"][name] for name in ("E", "A", "B", "alpha", "beta"))
    per_byte = E + A * plan["loss"]["params"] ** -alpha + B * (4.2 * plan["tokens"]) ** -beta
    assert plan["loss"]["predicted"] == pytest.approx(4.2 * per_byte)
    assert "converted" in plan["loss"]["notes"][0]
    code, out, _ = run_cli(*line, "--force", "--json")
    assert code == 0 and json.loads(out)["loss"]["notes"][0].startswith("forced")


def test_bits_per_byte_stay_bits_per_byte(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "law.json").write_text(json.dumps(law_document(loss_unit="bits per byte")))
    code, out, _ = run_cli("plan", "--flops", "1e19", "--on", "h100-sxm:8", "--law", "law.json")
    assert code == 0 and "bits per byte" in out and "nats" not in out


def test_what_holds_a_larger_model_is_said(run_cli: RunCli) -> None:
    line = "plan --flops 1e23 --on tpu-v5e:1"
    code, out, _ = run_cli(*line.split())
    assert code == 0 and "No larger model fits these devices. What would help:" in out
    assert "more devices, for example --on tpu-v5e:2x2" in out


def test_a_law_of_ones_own(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "law.json").write_text(json.dumps(law_document()))
    code, out, _ = run_cli("plan", "--flops", "1e19", "--on", "h100-sxm:8", "--law", "law.json", "--json")
    loss = json.loads(out)["loss"]
    assert code == 0 and loss["law"] == "law.json" and "times the most tokens" in loss["extrapolation"]
    assert loss["interval"][0] < loss["predicted"] < loss["interval"][1]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunConfig]:
    """A compiler that finds room for rematerialised layers only; the runs that it was given."""
    runs: list[RunConfig] = []

    def answer(run: RunConfig, on: object, effort: str) -> Compiled:
        runs.append(run)
        fits = getattr(run.model, "remat", "") == "full"
        return ANSWER.model_copy(update={"fits": fits, "effort": effort})

    monkeypatch.setattr(dry_run, "dry_run", answer)
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "cache"))
    return runs


def test_what_the_compiler_refuses_is_dropped(compiler: list[RunConfig], run_cli: RunCli) -> None:
    code, out, err = run_cli("plan", "--usd", "5000", "--on", "tpu-v5e:16x16", "--confirm", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    chosen = [one for one in plan["confirmed"] if one["chosen"]]
    assert len(plan["confirmed"]) == len(compiler) >= 3 and len(chosen) == 1
    assert compiler[0].model.remat != "full" and not plan["confirmed"][0]["fits"]  # type: ignore[union-attr]
    assert chosen[0]["fits"] and chosen[0]["remat"] == "full" == plan["run"]["model"]["remat"]
    assert plan["cost"]["usd_high"] <= 5000.01  # a slower layout buys fewer tokens
    assert plan["tokens"] < compiler[0].train.tokens  # type: ignore[operator]


def test_nothing_that_the_compiler_lets_through(
    monkeypatch: pytest.MonkeyPatch, run_cli: RunCli, compiler: list[RunConfig]
) -> None:
    monkeypatch.setattr(dry_run, "dry_run", lambda *_: ANSWER.model_copy(update={"fits": False}))
    code, out, err = run_cli("plan", "--usd", "5000", "--on", "tpu-v5e:16x16", "--confirm")
    assert (code, out) == (2, "") and "by the compiler none of" in err and len(err.splitlines()) == 1


@needs_tpu_compiler
def test_the_real_compiler(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "cache"))
    line = "plan --flops 4e13 --on tpu-v5e:2x2 --vocab-size 500 --length 128 --force --confirm --json"
    code, out, err = run_cli(*line.split())
    assert (code, err) == (0, "")
    plan = json.loads(out)
    chosen = next(one for one in plan["confirmed"] if one["chosen"])
    assert chosen["fits"] and chosen["mesh"] == plan["devices"]["mesh"]


def test_the_shortlist_takes_ever_less_memory() -> None:
    made, point = planned("tpu-v5e:16x16", "usd", 5000)
    chosen = shortlist(made.layouts(point))
    assert chosen[0] == point.candidate and all(one.fits for one in chosen) and len(chosen) >= 3
    assert chosen[1].memory.total < 0.95 * chosen[0].memory.total


CASES = [
    ("--on tpu-v5e:16x16", "one of --usd, --flops and --device-hours; found none"),
    ("--on tpu-v5e:16x16 --usd 5 --flops 1e20", "found --usd and --flops"),
    ("--usd 5000", "--on"),
    ("--usd -5 --on tpu-v5e:16x16", "--usd -5: give a positive"),
    ("--usd 0 --on tpu-v5e:16x16", "--usd 0"),
    ("--usd nan --on tpu-v5e:16x16", "--usd nan"),
    ("--flops inf --on tpu-v5e:16x16", "--flops inf"),
    ("--flops 1e99 --on tpu-v5e:16x16", "at most 1e+40"),
    ("--flops much --on tpu-v5e:16x16", "--flops"),
    ("--usd 1e-4 --on tpu-v5e:16x16", "give at least"),
    ("--flops 1e9 --on tpu-v5e:16x16", "too small for any model"),
    ("--usd 5000 --on tpu-v9:16x16", "tpu-v9"),
    ("--usd 5000 --on tpu-v5e:0", "KIND:COUNT"),
    ("--usd 5000 --on tpu-v5e:16x16 --law kaplan", "chinchilla-replication"),
    ("--usd 5000 --on tpu-v5e:16x16 --law nowhere.json", "nowhere.json"),
    ("--usd 5000 --on tpu-v5e:16x16 --law .", "--law ."),
    ("--usd 5000 --on tpu-v5e:16x16 --price -1", "--price -1"),
    ("--usd 5000 --on tpu-v5e:16x16 --inference-tokens -1", "--inference-tokens -1"),
    ("--usd 5000 --on tpu-v5e:16x16 --vocab-size 1", "--vocab-size 1"),
    ("--usd 5000 --on tpu-v5e:16x16 --vocab-size 50257", "tokenizer of 32,000 pieces"),
    ("--usd 5000 --on tpu-v5e:16x16 --bytes-per-token 0", "--bytes-per-token 0"),
    ("--usd 5000 --on tpu-v5e:1 --vocab-size 10000000 --force", "more devices, for example --on tpu-v5e:2x2"),
    ("--usd 5000 --on tpu-v5e:16x16 --length 0", "--length 0"),
    ("--usd 5000 --on tpu-v5e:16x16 --out nowhere/run.yaml", "does not exist"),
]


@pytest.mark.parametrize(("line", "says"), CASES, ids=[line for line, _ in CASES])
def test_bad_input(line: str, says: str, run_cli: RunCli, tmp_path: Path) -> None:
    code, out, err = run_cli("plan", *line.split())
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1 and err.startswith("scaling: ")
    assert says in err, err
    assert list(tmp_path.iterdir()) == []
