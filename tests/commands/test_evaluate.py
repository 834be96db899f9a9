"""`scaling evaluate`: what it writes and prints, what it skips, and what it refuses in one line."""

import json
import shutil
from pathlib import Path

import pytest

from scaling.config.record import read_evaluations
from tests.commands.conftest import RunCli

TINY = (
    "train cpu model.n_layers=1 model.d_model=16 model.n_heads=2 model.max_length=48 data.sequence_length=48 "
    "data.source=text:text/*.txt data.validation_fraction=0.3 train.batch_tokens=192 train.tokens=null "
    "train.steps=4 train.eval_every=2 train.eval_tokens=96 train.checkpoint_every=2 train.keep_checkpoints=9"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep directory with one trained run, `w16`, that kept the checkpoints of steps 2 and 4."""
    from scaling.config.load import load_run
    from scaling.train.loop import train

    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "text").mkdir()
    for i in range(12):
        (folder / f"text/{i}.txt").write_text(f"{i}+{i}={2 * i}\n" * 40)
    overrides = [part.replace("text:text", f"text:{folder}/text") for part in TINY.split()[2:]]
    train(load_run("cpu", overrides), folder / "sweep/w16")
    return folder / "sweep"


@pytest.fixture
def sweep(trained: Path, tmp_path: Path) -> Path:
    """A copy of it beside a run of another family, one that is not finished, and a file of items."""
    shutil.copytree(trained, tmp_path / "sweep")
    for name, changes in (("encoder", {"family": "encoder"}), ("waiting", {"status": "interrupted"})):
        shutil.copytree(trained / "w16", tmp_path / "sweep" / name)
        record = json.loads((trained / "w16/record.json").read_text())
        (tmp_path / "sweep" / name / "record.json").write_text(json.dumps(record | changes))
    config = (trained / "w16/config.yaml").read_text()
    assert "family: decoder" in config
    shape = "{family: encoder, vocab_size: 260, max_length: 48, n_layers: 1, d_model: 16, n_heads: 2}"
    encoder = f"name: encoder\nmodel: {shape}\n"
    rest = "data: {sequence_length: 48}\ntrain: {steps: 4, batch_tokens: 192, learning_rate: 0.001}\n"
    (tmp_path / "sweep/encoder/config.yaml").write_text(encoder + rest)
    lines = [{"text": f"the {'long ' * (9 * (i == 3))}word is w{i}"} for i in range(8)]
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "sweep"


def test_a_sweep_is_evaluated_once(run_cli: RunCli, sweep: Path) -> None:
    command = ("evaluate", "sweep", "--suite", "lambada:words.jsonl", "--shots", "0,1", "--step", "all")
    code, out, err = run_cli(*command, "--json")
    documents = json.loads(out)
    assert code == 0 and [(d["run"], d["step"]) for d in documents] == [("w16", 2), ("w16", 4)]
    assert "skipped: sweep/encoder: family=encoder is not evaluated" in err
    assert "skipped: sweep/waiting: interrupted, not finished" in err
    assert [(r["shots"], r["n"], r["skipped"]) for r in documents[0]["results"]] == [(0, 7, 1), (1, 7, 1)]
    first, last = read_evaluations(sweep)
    assert first.model_dump(mode="json") == documents[0] and (first.tokens, last.tokens) == (384, 768)
    assert first.loss != last.loss and last.loss is not None and last.flops == 2 * first.flops > 0
    written = {path: path.stat().st_mtime_ns for path in sweep.glob("w16/evals/*.json")}

    assert run_cli(*command)[0] == 0  # nothing is left to ask
    assert {path: path.stat().st_mtime_ns for path in written} == written
    code, out, _ = run_cli("evaluate", "sweep/w16", "--suite", "lambada:words.jsonl", "--shots", "2")
    assert code == 0 and "likeliest_match" in out and "(0 of 7)" in out
    by_step = {document.step: document for document in read_evaluations(sweep)}
    assert [scores.shots for scores in by_step[4].results] == [0, 1, 2]  # added to what was there
    assert [scores.shots for scores in by_step[2].results] == [0, 1]
    assert by_step[4].results[:2] == last.results


def test_a_synthetic_suite_and_pass_at_k(run_cli: RunCli, sweep: Path) -> None:
    command = ("evaluate", "sweep/w16", "--suite", "emergence", "--tasks", "reverse6", "--items", "6")
    code, out, _ = run_cli(
        *command, "--pass-at", "1,2", "--samples", "3", "--mesh", "data=2,tensor=2", "--json"
    )
    (scores,) = json.loads(out)["results"]
    assert code == 0 and scores["task"] == "reverse6" and scores["n"] == 6 and scores["template"] == "plain"
    assert {"exact_match", "pass_at_1", "pass_at_2"} <= set(scores["scores"])
    assert (sweep / "w16/evals/emergence-4.json").is_file()


REFUSED = [
    ("sweep/w16 --suite what", "--suite what: unknown; known: "),
    ("sweep/w16 --suite emergence --tasks add9", "--tasks add9: not in the suite emergence"),
    ("sweep/w16 --suite emergence --template x", "--template x: unknown; known: plain, chain"),
    ("sweep/w16 --suite emergence --shots two", "--shots two: give whole numbers from 0 on"),
    ("sweep/w16 --suite emergence --shots -1", "--shots -1: give whole numbers from 0 on"),
    ("sweep/w16 --suite emergence --items 0", "--items 0: give at least 1"),
    ("sweep/w16 --suite emergence --pass-at 0", "--pass-at 0: give whole numbers from 1 on"),
    ("sweep/w16 --suite emergence --pass-at 4 --samples 2", "--samples 2: --pass-at 4 needs at least 4"),
    ("sweep/w16 --suite emergence --step 3", "--step 3: sweep/w16 has the steps 2, 4"),
    ("sweep/w16 --suite emergence --step first", "--step first: give last, all, or the step"),
    ("sweep/w16 --suite emergence --mesh rows=2", "--mesh rows=2: 'rows' is not a mesh axis"),
    ("sweep/w16 --suite emergence --mesh data=64", "needs 64 devices; there are 8"),
    ("sweep/encoder --suite emergence", "family=encoder is not evaluated on suites"),
    ("sweep/waiting --suite emergence", "sweep/waiting: interrupted, at step 4 of 4"),
    ("nowhere --suite emergence", "nowhere: no such directory"),
    (". --suite emergence", "neither a run directory (config.yaml) nor a sweep"),
    ("sweep/w16 --suite bigbench:none.json", "none.json: no such file"),
    ("sweep/w16 --suite hellaswag:words.jsonl", "words.jsonl: line 1: endings: missing"),
    (
        "sweep/w16 --suite lambada:words.jsonl --shots 7",
        "all 8 prompts are longer than the model's 48 positions",
    ),
    ("sweep/w16 --suite lambada:words.jsonl --shots 8", "--shots 8: task lambada can show 7"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_a_mistake_is_one_line(run_cli: RunCli, sweep: Path, arguments: str, said: str) -> None:
    code, out, err = run_cli("evaluate", *arguments.split())
    lines = [line for line in err.splitlines() if not line.startswith("sweep/w16: lambada with")]
    assert (code, out) == (2, "") and len(lines) == 1 and lines[0].startswith("scaling: ")
    assert said in lines[0]


def test_a_run_without_a_checkpoint_or_with_another_tokenizer(run_cli: RunCli, sweep: Path) -> None:
    config = sweep / "w16/config.yaml"
    text = config.read_text()
    config.write_text(text.replace("tokenizer: bytes", "tokenizer: ids"))
    code, _, err = run_cli("evaluate", "sweep/w16", "--suite", "emergence")
    assert code == 2 and "data.tokenizer=ids: there is no tokenizer" in err
    config.write_text(text)
    shutil.rmtree(sweep / "w16/checkpoints")
    code, _, err = run_cli("evaluate", "sweep/w16", "--suite", "emergence")
    assert (code, err) == (2, "scaling: sweep/w16: no checkpoint; train the run first\n")
