"""Case 02, and runs that are moved: ids beyond the tokenizer are never written; a run keeps its tokenizer."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scaling.cli import app
from scaling.config.data import DataConfig
from scaling.config.load import load_run
from scaling.data.sources import open_source
from scaling.data.tokenizer_training import train_sentencepiece
from scaling.data.tokenizers import load_tokenizer
from scaling.evals.inference import GREEDY
from scaling.hf.convert import export_run
from scaling.models.generate import Beams, Sampling, generate
from scaling.runtime.errors import BadInputError
from scaling.sweep.evaluations import evaluator_of
from scaling.train.loop import train
from scaling.train.trained import Trained, load_trained

HERE = Path(__file__).parent / "02-vocab-beyond-pieces"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run beside a tokenizer that is named relative to the directory of work."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copyfile(HERE / "tok.model", folder / "tok.model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SCALING_CACHE", str(folder / "cache"))
        train(load_run(str(HERE / "run.yaml")), folder / "run")
    return folder


@pytest.fixture
def moved(home: Path, tmp_path: Path) -> Path:
    """The run copied elsewhere, its tokenizer's old place out of reach."""
    shutil.copytree(home / "run", tmp_path / "other" / "name")
    return tmp_path / "other" / "name"


def biased(trained: Trained) -> Trained:
    """Every id beyond the tokenizer made by far the likeliest, as a model from elsewhere may have it."""
    head = trained.model.token_embedding  # type: ignore[attr-defined]
    pieces = trained.tokenizer.vocab_size
    head[...] = head[...].at[pieces:].set(head[...][trained.tokenizer.end_of_text] * 100.0 + 50.0)
    return trained


def test_ids_beyond_the_tokenizer_are_never_written(moved: Path) -> None:
    trained = biased(load_trained(moved, print))
    pieces = trained.tokenizer.vocab_size
    assert pieces < trained.run.model.vocab_size == 384 and trained.writable == pieces
    prompts = [[trained.start, *trained.tokenizer.encode("def").tolist()]]
    for how in (Sampling(5.0, top_k=300), Beams(3)):
        (ids,) = generate(
            trained.model, prompts, new_tokens=12, sampling=how, stops=(trained.tokenizer.end_of_text,),
            writable=trained.writable,
        )  # fmt: skip
        assert all(id_ < pieces for id_ in ids)
    evaluator = evaluator_of(trained, None)
    ((ids,),) = evaluator.generate([tuple(prompts[0])], [0], ("\0",), 12, GREEDY)
    assert all(id_ < pieces for id_ in ids)


def another(folder: Path) -> Path:
    """A tokenizer of the same size, learned from other text."""
    path = folder / "another.model"
    (folder / "text.txt").write_text("".join(f"{i} other words {i * i}\n" for i in range(2000)))
    size = load_tokenizer(f"sentencepiece:{HERE}/tok.model").vocab_size
    train_sentencepiece(open_source(DataConfig(source=f"text:{folder}/text.txt")), path, vocab_size=size)
    return path


@pytest.mark.parametrize("name", ["bytes", f"sentencepiece:{HERE}/tok.model"])
def test_ids_that_are_no_token_decode_to_nothing(name: str) -> None:
    tokenizer = load_tokenizer(name)
    ids = tokenizer.encode("def f").tolist()
    assert tokenizer.decode([-1, *ids, tokenizer.vocab_size, 10**6]) == tokenizer.decode(ids)


def test_a_moved_run_generates_evaluates_scores_and_exports(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"def f():\r\n    return 1\n")
    (tmp_path / "l.txt").write_text("one two three\n")
    for command in (
        ["generate", str(moved), "--prompt", "def", "--tokens", "5"],
        ["score", str(moved), "--text", str(tmp_path / "t.txt"), "--json"],
        ["evaluate", str(moved), "--suite", f"lambada:{tmp_path}/l.txt"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, (command, result.output, result.exception)
    exported = export_run(moved, tmp_path / "out")
    assert exported.parameters > 0


def test_a_moved_run_resumes_with_its_own_tokenizer(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the config in its directory, on a machine that has no tokenizer where the config says."""
    monkeypatch.setenv("SCALING_CACHE", str(moved.parent / "cache"))
    record = json.loads((moved / "record.json").read_text())
    (moved / "record.json").write_text(json.dumps({**record, "status": "interrupted"}))
    again = train(load_run(str(moved / "config.yaml")), moved)
    assert again.status == "finished" and again.id == record["id"]


def test_another_tokenizer_is_refused_in_one_line(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(another(tmp_path), tmp_path / "tok.model")  # where the config says
    with pytest.raises(
        BadInputError, match=r"data\.tokenizer=.*: not the tokenizer that .* was trained with"
    ):
        train(load_run(str(moved / "config.yaml")), moved)
    assert load_trained(moved, print).tokenizer.vocab_size > 0  # its own copy is what it was trained with
    shutil.copyfile(another(tmp_path), moved / "tokenizer.model")
    with pytest.raises(BadInputError, match="not the tokenizer that") as error:
        _ = load_trained(moved, print).tokenizer
    assert len(str(error.value).splitlines()) == 1
    (moved / "tokenizer.model").unlink()
    with pytest.raises(BadInputError, match="its tokenizer is neither at"):
        _ = load_trained(moved, print).tokenizer
    (moved / "files.json").write_text('{"tokenizer": {"file": "../x"}}')
    with pytest.raises(BadInputError, match=r"files\.json: cannot be read"):
        _ = load_trained(moved, print).tokenizer


def test_directories_of_earlier_versions_are_read(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (moved / "files.json").unlink()
    (moved / "tokenizer.model").unlink()
    with pytest.raises(BadInputError, match=r"copy it to .*tokenizer\.model"):
        _ = load_trained(moved, print).tokenizer
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(HERE / "tok.model", tmp_path / "tok.model")
    assert load_trained(moved, print).tokenizer.vocab_size > 0  # relative to the directory of work
    shutil.move(tmp_path / "tok.model", moved / "tok.model")
    assert load_trained(moved, print).tokenizer.vocab_size > 0  # as imported runs have it
