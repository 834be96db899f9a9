"""The tokenizer travels with the run: copied, identified, and found again."""

import json
import shutil
from pathlib import Path

import pytest

from scaling.api.weights import generate, score
from scaling.config.data import DataConfig
from scaling.data.tokenizers import load_tokenizer
from scaling.runtime.errors import BadInputError
from scaling.train.loop import train
from scaling.train.run_tokenizer import keep_files, own_data, run_tokenizer
from tests.data.tokenizers.small import END, MERGES, bpe_tree, write_bpe, write_ranks

TEXT = "abc de <|endoftext|> é\n"


def names(tmp_path: Path) -> dict[str, str]:
    """Tokenizers of each kind that is made of files, by a label."""
    folder = write_bpe(tmp_path / "folder", config={"model_type": "gpt2"})
    (folder / "model.safetensors").write_bytes(b"not copied")
    one = tmp_path / "one.json"
    one.write_text(json.dumps(bpe_tree()))
    legacy = tmp_path / "legacy"
    legacy.mkdir()
    vocab = bpe_tree()["model"]["vocab"] | {END: 260}
    (legacy / "vocab.json").write_text(json.dumps(vocab))
    (legacy / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES))
    write_ranks(tmp_path / "cl100k_base.tiktoken")
    write_ranks(tmp_path / "ranks")
    return {
        "folder": f"hf:{folder}",
        "file": f"hf:{one}",
        "file in a folder": f"hf:{folder}/tokenizer.json",
        "legacy": f"hf:{legacy}",
        "tiktoken": f"tiktoken:{tmp_path}/cl100k_base.tiktoken",
        "tiktoken with its encoding": f"tiktoken:llama3:{tmp_path}/ranks",
    }


KINDS = ("folder", "file", "file in a folder", "legacy", "tiktoken", "tiktoken with its encoding")


@pytest.fixture
def kept(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, DataConfig]:
    """A run directory with its tokenizer, and the data of its config."""
    run = tmp_path / "run"
    run.mkdir()
    data = DataConfig(tokenizer=names(tmp_path)[request.param])
    keep_files(run, data)
    return run, data


@pytest.mark.parametrize("kept", KINDS, indirect=True)
def test_a_copy_is_found_when_the_original_is_gone(kept, tmp_path: Path) -> None:
    run, data = kept
    original = load_tokenizer(data.tokenizer)
    entry = json.loads((run / "files.json").read_text())["tokenizer"]
    assert entry["identity"] == original.identity
    assert entry["vocab_size"] == original.vocab_size
    assert entry["end_of_text"] == entry["special"]["eos"] == original.end_of_text
    moved = tmp_path / "elsewhere"
    shutil.copytree(run, moved)
    for path in tmp_path.iterdir():
        if path != moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    own = run_tokenizer(moved, data)
    assert own.identity == original.identity
    assert own.encode(TEXT).tolist() == original.encode(TEXT).tolist()
    resumed = own_data(moved, data)
    assert str(moved) in resumed.tokenizer
    assert load_tokenizer(resumed.tokenizer).identity == original.identity
    assert not [*moved.rglob("*.safetensors")]


@pytest.mark.parametrize("kept", ["folder", "legacy", "tiktoken"], indirect=True)
def test_an_original_that_changed_is_refused_in_one_line(kept, tmp_path: Path) -> None:
    run, data = kept
    write_bpe(tmp_path / "folder", tokenizer=bpe_tree(MERGES[:2]))
    (tmp_path / "legacy" / "merges.txt").write_text("a b\nab c\nĠ d\n")
    write_ranks(tmp_path / "cl100k_base.tiktoken", [bytes([byte]) for byte in range(256)])
    with pytest.raises(BadInputError, match=r"not the tokenizer that .*run was trained with") as error:
        own_data(run, data)
    assert "\n" not in str(error.value)
    assert run_tokenizer(run, data).decode([260]) != "x"  # its own copy is as it was


@pytest.mark.parametrize("kept", ["folder"], indirect=True)
def test_a_change_of_layout_alone_is_no_change(kept, tmp_path: Path) -> None:
    run, data = kept
    tree = bpe_tree() | {"truncation": {"max_length": 128}, "post_processor": None}
    (tmp_path / "folder" / "tokenizer.json").write_text(json.dumps(tree, indent=3, sort_keys=True))
    assert own_data(run, data).tokenizer == f"hf:{run}/tokenizer"


@pytest.mark.parametrize("kept", ["folder"], indirect=True)
def test_another_end_of_text_is_another_tokenizer(kept, tmp_path: Path) -> None:
    run, data = kept
    write_bpe(
        tmp_path / "folder", tokenizer=bpe_tree(special=(END, "</s>")), tokenizer_config={"eos_token": "</s>"}
    )
    with pytest.raises(BadInputError, match="not the tokenizer"):
        own_data(run, data)


@pytest.mark.parametrize("kept", ["folder", "tiktoken"], indirect=True)
def test_a_copy_that_was_changed_or_removed_is_refused(kept, tmp_path: Path) -> None:
    run, data = kept
    copy = next(
        path for path in (run / "tokenizer.tiktoken", run / "tokenizer" / "tokenizer.json") if path.exists()
    )
    content = copy.read_bytes()
    copy.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInputError, match=str(run)):
        run_tokenizer(run, data)
    copy.unlink()
    if copy.parent != run:
        shutil.rmtree(copy.parent)
    with pytest.raises(BadInputError, match="its tokenizer is neither at"):
        run_tokenizer(run, data)


def test_a_run_trains_resumes_scores_and_generates_without_the_original(make_run, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "cache"))
    folder = write_bpe(tmp_path / "bpe")
    run = make_run("model.vocab_size=264", f"data.tokenizer=hf:{folder}", steps=4, checkpoint_every=2)
    record = train(run, tmp_path / "run")
    tokenizer = load_tokenizer(f"hf:{folder}")
    assert record.tokenization is not None
    assert record.tokenization.model_dump() == {
        "kind": "hf",
        "identity": tokenizer.identity,
        "vocab_size": 261,
        "end_of_text": 260,
        "special": {"eos": 260},
    }
    assert record.bits_per_byte is not None and record.bytes_per_token is not None
    shutil.rmtree(folder)
    assert train(run, tmp_path / "run").points == record.points
    scored = score(tmp_path / "run", text="ab abc").to_dict()
    assert scored["bits_per_byte"] > 0
    assert generate(tmp_path / "run", prompt="ab", tokens=3).to_dict()


def test_the_record_names_the_kind(tmp_path):
    from scaling.train.run_tokenizer import tokenizer_record

    tokenizer = load_tokenizer("bytes")
    assert tokenizer_record("bytes", tokenizer).kind == "bytes"
    assert tokenizer_record(f"tiktoken:llama3:{tmp_path}/ranks", tokenizer).kind == "tiktoken"
