"""Input that a person could type and mend: one line on stderr, exit code 2, nothing half-written behind."""

import json
import os
from pathlib import Path

import pytest

from tests.end_to_end.conftest import RunCli

GOOD_CSV = "params,tokens,loss\n" + "".join(
    f"{n},{d},{1.7 + 400 / n**0.34 + 400 / d**0.28}\n" for n in (1e6, 3e6, 1e7, 3e7) for d in (1e8, 3e8, 1e9)
)


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# Files a case may name, written before it runs.
FILES: dict[str, bytes] = {
    "good.csv": GOOD_CSV.encode(),
    "empty.yaml": b"",
    "list.yaml": b"- a\n- b\n",
    "broken.yaml": b"model: {n_layers: 2\n",
    "twice.yaml": b"model: gpt1\nmodel: gpt2-124m\n",
    "tag.yaml": b"model: !!python/object/apply:os.system ['true']\n",
    "binary.yaml": b"\xff\xfe\x00\x01",
    "no_model.yaml": b"train: {tokens: 4096, batch_tokens: 1024, learning_rate: 0.1}\n",
    "no_train.yaml": b"model: gpt1\n",
    "nan.yaml": b"base: cpu\ntrain: {learning_rate: .nan}\n",
    "sweep_no_sizes.yaml": b"design: ladder\nbase: {}\ntokens: [1000000]\n",
    "sweep_design.yaml": b"design: spiral\nbase: {}\n",
    "sweep_grid.yaml": b"design: grid\nbase: {base: cpu}\naxes: {model.n_layerz: [1, 2]}\n",
    "sweep_same.yaml": b"design: grid\nbase: {base: cpu}\naxes: {train.seed: [1, 2]}\nseeds: [1, 1]\n",
    "sweep_width.yaml": b"design: ladder\nrecipe: cpu\nwidths: [17]\ntokens: [100000]\n"
    b"base: {model: {vocab_size: 257, max_length: 256}}\n",
    "empty.csv": b"",
    "header.csv": b"params,tokens,loss\n",
    "no_loss.csv": b"params,tokens\n1e6,1e8\n",
    "word.csv": GOOD_CSV.encode() + b"1e6,many,3.1\n",
    "nan.csv": GOOD_CSV.encode() + b"1e6,1e9,nan\n",
    "negative.csv": GOOD_CSV.encode() + b"-1e6,1e9,3.1\n",
    "zero.csv": GOOD_CSV.encode() + b"1e6,1e9,0\n",
    "ragged.csv": GOOD_CSV.encode() + b"1e6,1e9\n",
    "binary.csv": b"\x89PNG\r\n\x1a\n\x00\x00\xff",
    "few.csv": b"params,tokens,loss\n1e6,1e8,3.5\n2e6,2e8,3.2\n",
    "half.json": b'{"law": "chinchilla"}',
    "bad.jsonl": b'{"text": "fine"}\n{"text": \n',
    "missing.jsonl": b'{"body": "a"}\n{"body": "b"}\n',
    "tok.model": b"not a sentencepiece model",
    "one.txt": b"one document\n",
}

CASES: list[tuple[str, str]] = [
    # overrides
    ("train cpu model.n_layer=3", "did you mean n_layers"),
    ("train cpu model.n_layers=three", "model.n_layers"),
    ("train cpu model.n_layers=0", "model.n_layers"),
    ("train cpu model.n_layers", "key=value"),
    ("train cpu =3", "key=value"),
    ("train cpu model.d_model=66", "n_heads=4"),
    ("train cpu model.norm=middle", "model.norm"),
    ("train cpu model.layer_pattern=[banded]", "band_width"),
    ("train cpu model.layer_pattern=[dense,dense,dense]", "n_layers=4"),
    ("train cpu model=gpt9", "gpt1"),
    ("train cpu model.n_layers.deep=1", "no fields"),
    ("train cpu optimiser=adam", "unknown field"),
    ("train cpu train.optimizer=adam", "adamw"),
    ("train cpu train.learning_rate=-1", "train.learning_rate"),
    ("train cpu train.learning_rate=.nan", "train.learning_rate"),
    ("train cpu train.batch_tokens=1000", "sequence_length=128"),
    ("train cpu train.batch_tokens=1e12", "less than one batch"),
    ("train cpu train.accumulation=5", "accumulation=5"),
    ("train cpu train.branches=[1000]", "wsd"),
    ("train cpu train.schedule=wsd train.branches=[2000000]", "less than tokens"),
    ("train cpu data.sequence_length=512", "max_length=128"),
    ("train cpu data.sequence_length=1", "sequence_length"),
    ("train cpu data.source=floppy:a", "python-stdlib"),
    ("train cpu data.source=text:nowhere/*.txt", "nowhere"),
    ("train cpu data.source=text:one.txt", "one"),
    ("train cpu data.source=jsonl:bad.jsonl", "bad.jsonl"),
    ("train cpu data.source=jsonl:missing.jsonl", "text"),
    ("train cpu data.tokenizer=words", "sentencepiece"),
    ("train cpu data.tokenizer=sentencepiece:none.model", "none.model"),
    ("train cpu data.tokenizer=hf:nowhere", "nowhere: no such folder or file"),
    ("train cpu data.tokenizer=hf:one.txt", "one.txt is not JSON"),
    ("train cpu data.tokenizer=hf:.", "no tokenizer in ."),
    ("train cpu data.tokenizer=tiktoken:one.txt", "tiktoken:ENCODING:PATH"),
    ("train cpu data.tokenizer=tiktoken:cl100k:one.txt", "line 1"),
    ("train cpu data.tokenizer=hf:", "hf:PATH"),
    ("train cpu data.tokenizer=sentencepiece:tok.model", "tok.model"),
    ("train cpu model.vocab_size=100", "smaller than the vocabulary"),
    ("train cpu mesh.data=5", "does not divide"),
    ("train cpu mesh.data=16", "there are 8"),
    ("train cpu mesh.fsdp=0", "mesh.fsdp"),
    ("train cpu mesh.fsdp=-1 mesh.data=-1", "only one"),
    ("train cpu name=../escape", "name"),
    # config files
    ("train nothing", "neither a named config nor a YAML file"),
    ("train cpv", "did you mean cpu"),
    ("train nowhere.yaml", "no such file"),
    ("train empty.yaml", "found empty"),
    ("train list.yaml", "found a list"),
    ("train broken.yaml", "line"),
    ("train twice.yaml", "given twice"),
    ("train tag.yaml", "line 1"),
    ("train binary.yaml", "not a text file"),
    ("train no_model.yaml", "model: missing"),
    ("train no_train.yaml", "train: missing"),
    ("train nan.yaml", "train.learning_rate"),
    ("sweep sweep_no_sizes.yaml", "widths, depths or params"),
    ("sweep sweep_design.yaml", "design"),
    ("sweep sweep_grid.yaml", "did you mean n_layers"),
    ("sweep sweep_same.yaml", "repeats"),
    ("sweep sweep_width.yaml", "d_head"),
    ("sweep nothing", "neither"),
    # tables, laws and figures
    ("fit nowhere.csv", "does not exist"),
    ("fit empty.csv", "empty.csv"),
    ("fit header.csv", "header.csv"),
    ("fit no_loss.csv", "loss"),
    ("fit word.csv", "many"),
    ("fit nan.csv", "nan"),
    ("fit negative.csv", "-1e6"),
    ("fit zero.csv", "0"),
    ("fit ragged.csv", "line 14"),
    ("fit binary.csv", "binary.csv"),
    ("fit few.csv", "2"),
    ("fit good.csv --law gravity", "chinchilla"),
    ("fit good.csv --holdout half", "share"),
    ("fit good.csv --holdout 1.5", "holdout"),
    ("fit good.csv --delta 0", "delta"),
    ("fit good.csv --bootstrap -3", "bootstrap"),
    ("fit good.csv --columns params=M", "M"),
    ("fit good.csv --columns params", "params=N"),
    ("fit good.csv --bootstrap 0 --out nowhere/law.json", "nowhere"),
    ("fit .", "run"),
    ("plot pie good.csv --out a.png", "loss-vs-compute"),
    ("plot loss-vs-compute good.csv --out a.gif", ".png"),
    ("plot loss-vs-compute good.csv --out nowhere/a.png", "nowhere"),
    ("plot loss-vs-compute good.csv --law half.json --out a.png", "half.json"),
    ("plot loss-vs-compute good.csv", "--out"),
    ("report . --out r.html", "run"),
    ("report good.csv --out nowhere/r.html", "nowhere"),
    # everything else
    ("status nowhere", "no such directory"),
    ("status .", "neither a sweep nor a run"),
    ("generate . --prompt a", "not a run directory"),
    ("generate . --prompt a --temperature -1", "temperature"),
    ("data describe text:one.txt", "one"),
    ("data tokenizer --out t.model --type words", "bpe"),
    ("data tokenizer --out one.txt/t.model", "one.txt"),
    ("models --family zebra", "families"),
    ("dance", "No such command"),
    ("fit", "Missing argument"),
    ("fit good.csv --bootstrap many", "--bootstrap"),
]


@pytest.mark.parametrize(("line", "says"), CASES, ids=[line for line, _ in CASES])
def test_bad_input(line: str, says: str, run_cli: RunCli, tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    before = _files(tmp_path)
    code, out, err = run_cli(*line.split())
    assert code == 2, (code, out, err)
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("scaling: ")
    assert says in err, err
    assert "Traceback" not in err
    assert _files(tmp_path) == before, "something was left behind"


def test_a_directory_that_cannot_be_written(run_cli: RunCli, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "file").write_text("in the way")
        code, _, err = run_cli("train", "cpu", "--out", "file/run")
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        code, _, err = run_cli("train", "cpu", "--out", "locked/run")
    assert code == 2 and "cannot be written" in err


def test_json_is_one_document_on_stdout(run_cli: RunCli, tmp_path: Path) -> None:
    code, out, err = run_cli("models", "--family", "gpt2", "--json")
    assert code == 0 and err == ""
    assert [row["params"]["total"] for row in json.loads(out)] == [
        124_439_808,
        354_823_168,
        774_030_080,
        1_557_611_200,
    ]
    (tmp_path / "good.csv").write_text(GOOD_CSV)
    code, out, _ = run_cli("fit", "good.csv", "--bootstrap", "0", "--json")
    law = json.loads(out)
    assert code == 0
    assert law["parameters"]["alpha"] == pytest.approx(0.34, abs=1e-3)
    assert json.loads((tmp_path / "good.law.json").read_text()) == law
