"""`scaling data describe`: a source, a run with a mixture, overrides, budgets, rows as they are packed."""

import json
from pathlib import Path

import pytest

from tests.commands.conftest import RunCli

RUN = """
model: {{family: decoder, n_layers: 1, d_model: 16, n_heads: 2, vocab_size: 257, max_length: 64}}
data:
  sequence_length: 16
  validation_fraction: 0.3
  mixture:
    a: {{source: "jsonl:{a}", weight: 0.75}}
    b: {{source: "jsonl:{b}", weight: 0.25, max_epochs: {epochs}, exhausted: {exhausted}}}
train: {{steps: 40, batch_tokens: 64, learning_rate: 0.001}}
"""


@pytest.fixture
def corpora(tmp_path: Path) -> dict[str, Path]:
    """40 documents of 9 letters a, and 20 of 3 letters b, one of them twice, with two empty ones."""
    found = {"a": tmp_path / "a.jsonl", "b": tmp_path / "b.jsonl"}
    texts = {
        "a": [f"{number:02}aaaaaaa" for number in range(40)],
        "b": [f"{number:02}b" for number in range(20)] + ["00b", "", ""],
    }
    for name, path in found.items():
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[name]))
    return found


def write_run(folder: Path, corpora: dict[str, Path], epochs: int, exhausted: str) -> None:
    (folder / "run.yaml").write_text(RUN.format(**corpora, epochs=epochs, exhausted=exhausted))


def test_a_mixture(run_cli: RunCli, tmp_path: Path, corpora: dict[str, Path]) -> None:
    write_run(tmp_path, corpora, 2, "cap")
    code, out, err = run_cli("data", "describe", "run.yaml", "data.packing=best_fit", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    a, b = found["sources"]["a"], found["sources"]["b"]
    assert (a["documents"], b["documents"], b["empty"], b["duplicates"]) == (40, 21, 2, 1)
    assert found["documents"] == 61 and found["tokens"] == a["tokens"] + b["tokens"] == 400 + 84
    assert a["bytes_per_token"] == b["bytes_per_token"] == 1.0
    assert a["lengths"] == {
        "shortest": 10, "p10": 10, "median": 10, "p90": 10, "p99": 10, "longest": 10, "mean": 10.0,
    }  # fmt: skip
    assert (a["weight"], b["weight"], b["exhausted"]) == (0.75, 0.25, "cap")
    # One of 10 tokens in a row of 16; four of 4 tokens.
    assert a["packing"]["padding"] == pytest.approx(6 / 16)
    assert b["packing"]["padding"] < 0.2 and b["packing"]["split_documents"] == 0
    assert found["packing"]["padding"] == pytest.approx(
        0.75 * a["packing"]["padding"] + 0.25 * b["packing"]["padding"]
    )
    assert found["budget_tokens"] == 40 * 64 == a["budget_tokens"] + b["budget_tokens"]
    assert b["epochs"] == 2.0
    assert a["epochs"] == pytest.approx(a["budget_tokens"] / 16 / a["rows_per_epoch"])
    row = found["example"]
    assert sum(piece["tokens"] for piece in row["pieces"]) + row["padding"] == row["length"] == 16
    assert row["source"] == "b" and len(row["pieces"]) > 1
    assert all(piece["begins"] and piece["ends"] and piece["text"].endswith("b") for piece in row["pieces"])


def test_what_it_prints_fits_a_terminal(
    run_cli: RunCli, tmp_path: Path, corpora: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    write_run(tmp_path, corpora, 1, "refuse")
    code, out, _ = run_cli("data", "describe", "run.yaml")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "Rows of 16 tokens, packing cut" in out
    assert " of 1: refused" in out, "b would be exhausted"
    assert "-- 1: " in out and " of a document, " in out
    code, plan, _ = run_cli("train", "run.yaml", "--dry-run")
    assert code == 0
    assert "refused: max_epochs=1" in plan


def test_a_source_with_overrides(run_cli: RunCli, corpora: dict[str, Path]) -> None:
    source = f"jsonl:{corpora['a']}"
    options = ("validation_fraction=0.3", "data.sequence_length=16")
    code, out, _ = run_cli("data", "describe", source, *options, "--tokens", "3200", "--json")
    assert code == 0
    found = json.loads(out)
    (one,) = found["sources"].values()
    assert found["documents"] == one["documents"] == 40
    assert found["budget_tokens"] == 3200
    assert one["epochs"] == pytest.approx(200 / one["rows_per_epoch"])
    assert one["packing"] == {
        "method": "cut", "padding": 0.0, "split_documents": one["packing"]["split_documents"],
    }  # fmt: skip
    assert one["packing"]["split_documents"] > 0.4
    code, again, _ = run_cli("data", "describe", f"data.source={source}", *options, "--json")
    assert code == 0
    assert json.loads(again)["fingerprint"] == found["fingerprint"]
    code, _, err = run_cli("data", "describe", source, "--field", "body", *options)
    assert code == 2 and "no field 'body'" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("wiki:a",), "unknown data source 'wiki:a'"),
        (("nothing",), "run config 'nothing': neither a named config"),
        (("none.yaml",), "none.yaml: no such file"),
        (("jsonl:none*.jsonl",), "no file matches"),
        (("python-stdlib", "packing=most"), "packing: 'most' is not accepted"),
        (("python-stdlib", "pack=cut"), "pack: unknown field"),
        (("python-stdlib", "--tokens", "0"), "--tokens 0"),
        (("python-stdlib", "--tokenizer", "bpe"), "unknown tokenizer 'bpe'"),
        (("mixture",), "run config 'mixture'"),
        (("data.source=mixture",), "source=mixture: give the sources"),
    ],
)
def test_bad_input(run_cli: RunCli, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = run_cli("data", "describe", *arguments)
    assert (code, out) == (2, "")
    assert says in err and len(err.strip().splitlines()) == 1
