"""The whole chain by its commands: a ladder, its ledger, a law, figures, a report, and text."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import RunCli

LADDER = """
name: tiny
design: ladder
recipe: cpu
widths: [8, 16, 24]
tokens: [2000, 4000, 8000]
base:
  model: {vocab_size: 257, max_length: 32, scan_layers: true}
  data: {sequence_length: 32, source: "text:corpus/*.txt", validation_fraction: 0.3}
  train: {batch_tokens: 256, eval_tokens: 512, log_every: 2}
"""


def test_from_a_config_to_a_law_a_report_and_text(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for i in range(10):
        (tmp_path / f"corpus/{i}.txt").write_text("".join(f"{i} times {j} is {i * j}\n" for j in range(200)))
    (tmp_path / "ladder.yaml").write_text(LADDER)

    code, out, _ = run_cli("sweep", "ladder.yaml", "--dry-run", "--json")
    planned = json.loads(out)["runs"]
    assert code == 0 and len(planned) == 3 and not (tmp_path / "runs").exists()

    code, out, err = run_cli("sweep", "ladder.yaml", "--out", "ladder", "--json")
    document = json.loads(out)
    assert code == 0, err
    assert [len(run["points"]) for run in document["runs"]] == [3, 3, 3] and not document["failures"]
    assert [run["points"][-1]["tokens"] for run in document["runs"]] == [p["budgets"][-1] for p in planned]

    code, out, _ = run_cli("status", "ladder", "--json")
    assert [entry["status"] for entry in json.loads(out)] == ["finished"] * 3
    code, out, _ = run_cli("status", "ladder")
    assert code == 0 and out.count("finished") == 3

    code, out, err = run_cli("fit", "ladder", "--bootstrap", "20", "--holdout", "none", "--force", "--json")
    assert code == 0, err
    law = json.loads(out)
    assert law["n_points"] == 9 and law == json.loads((tmp_path / "ladder/law.json").read_text())

    for kind, suffix in (
        ("loss-vs-compute", "png"),
        ("loss-vs-tokens", "svg"),
        ("predicted-vs-measured", "pdf"),
    ):
        code, _, err = run_cli("plot", kind, "ladder", "--out", f"{kind}.{suffix}")
        assert code == 0, err
        assert (tmp_path / f"{kind}.{suffix}").stat().st_size > 5_000
    code, _, err = run_cli("report", "ladder", "--out", "report.html")
    assert code == 0, err
    page = (tmp_path / "report.html").read_text()
    assert all(run["name"] in page for run in document["runs"]) and 'src="http' not in page

    run = f"ladder/{document['runs'][0]['name']}"
    code, out, err = run_cli("generate", run, "--prompt", "3 times", "--tokens", "12", "--json")
    assert code == 0, err
    assert len(json.loads(out)["tokens"]) <= 12
    code, _, err = run_cli("generate", run, "--prompt", "3 times " * 9)
    assert code == 2 and "positions" in err


def test_help_answers_without_jax() -> None:
    """`--help` and `models` import neither JAX nor NumPy nor Flax."""
    probe = (
        "import sys; sys.argv = ['scaling', *{args}]\n"
        "from scaling import cli\n"
        "try:\n    cli.main()\n"
        "except SystemExit as e:\n    assert not e.code, e.code\n"
        "heavy = {{'jax', 'numpy', 'flax', 'optax', 'matplotlib'}} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for arguments in (["--help"], ["models"], ["--version"]):
        result = subprocess.run(
            [sys.executable, "-c", probe.format(args=arguments)], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_sigterm_ends_the_command_cleanly(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for i in range(10):
        (tmp_path / f"corpus/{i}.txt").write_text(f"{i} and on " * 300)
    command = [
        sys.executable, "-m", "scaling.cli", "train", "cpu", "data.source=text:corpus/*.txt",
        "data.validation_fraction=0.3", "model.scan_layers=true", "train.tokens=1e9", "--out", "run",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/metrics.jsonl").exists() or not (tmp_path / "run/metrics.jsonl").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert "SIGTERM" in err and "the same command resumes it" in err and "Traceback" not in err
    assert json.loads((tmp_path / "run/record.json").read_text())["status"] == "interrupted"
