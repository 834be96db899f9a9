"""`data prepare`, `data join` and `data verify`."""

import json
import shlex
from pathlib import Path

import pytest

from tests.commands.conftest import RunCli

CORPUS = "".join(json.dumps({"text": f"document {n} says {n * n}"}) + "\n" for n in range(400))


def test_a_dry_run_prints_the_script(run_cli: RunCli, tmp_path: Path) -> None:
    words = ["data", "prepare", "jsonl:texts/*.jsonl", "--out", "out", "--field", "body"]
    line = [*words, "--on", "slurm", "--shards", "3", "--dry-run"]
    before = list(tmp_path.iterdir())
    code, out, err = run_cli(*line)
    assert (code, err) == (0, "") and "--field body --shard" in out
    code, out, _ = run_cli(*line, "--json")
    assert json.loads(out)["job"] is None and json.loads(out)["shards"] == 3
    assert list(tmp_path.iterdir()) == before


def test_the_jobs_of_a_script_make_one_corpus(run_cli: RunCli, tmp_path: Path) -> None:
    """Every task of an array, one after another, and a corpus that opens."""
    (tmp_path / "a.jsonl").write_text(CORPUS)
    words = ["data", "prepare", "jsonl:a.jsonl", "--out", "out"]
    code, out, _ = run_cli(*words, "--on", "slurm", "--shards", "2", "--dry-run")
    assert code == 0
    command = next(one for one in out.splitlines() if one.startswith("srun "))
    for task in (1, 2):
        given = shlex.split(command.replace('"$SLURM_ARRAY_TASK_ID"', str(task)))
        code, out, err = run_cli(*given[given.index("data") :], "--json")
        assert code == 0, err
        if task == 1:
            assert json.loads(out)["missing"] == [2] and json.loads(out)["manifest"] is None
            code, _, err = run_cli("data", "join", "out")
            assert code == 2 and "--shard 2/2" in err
    document = json.loads(out)
    assert document["missing"] == [] and document["manifest"]["documents"] == 400
    assert json.loads(run_cli("data", "join", "out", "--json")[1])["manifest"]["shards"] == 3
    assert "as they were written" in run_cli("data", "verify", "out")[1]
    assert json.loads(run_cli("data", "describe", "prepared:out", "--json")[1])["documents"] == 400
    code, _, err = run_cli("data", "verify", "nowhere")
    assert code == 2 and err.startswith("scaling: nowhere: no prepared corpus")


def test_what_a_person_reads(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(CORPUS)
    code, out, err = run_cli("data", "prepare", "jsonl:a.jsonl", "--out", "out")
    assert (code, err) == (0, "")
    assert "1 shards made" not in out and "1 shard made in" in out
    assert out.endswith("Train on it with data.source=prepared:out\n")
    assert run_cli("data", "prepare", "jsonl:a.jsonl", "--out", "out")[1].startswith(
        "1 shard was there already"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--shard 1", "--shard 1: give I/N"),
        ("--shard 0/2", "--shard 0/2: shards are numbered from 1 to 2"),
        ("--shard 1/2 --on slurm", "--shard 1/2: with --on"),
        ("--dry-run", "--dry-run: shows what --on ENGINE would submit"),
        ("--on gke", "--on gke: a corpus is prepared by slurm or skypilot"),
        ("--workers 0", "--workers 0: give 1 or more"),
        ("--validation-fraction 2", "validation_fraction"),
        ("--max-documents 1", "max_documents"),
        ("--on-error ignore", "on_error"),
        ("--tokenizer words", "unknown tokenizer 'words'"),
    ],
)
def test_refused(run_cli: RunCli, tmp_path: Path, options: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(CORPUS)
    code, out, err = run_cli(*["data", "prepare", "jsonl:a.jsonl", "--out", "out"], *options.split())
    assert (code, out) == (2, "") and says in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
