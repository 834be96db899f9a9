"""`scaling import-hf`, `export-hf`, `score`: from a published layout to numbers, and what they refuse."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.conftest import RunCli
from tests.hf.checkpoints import made
from tests.hf.peers import peer, saved, torch, transformers

IDS = {"ids": [[5, 6, 7, 8, 9, 10], [11, 12, 13]]}
PAIRS = {"ids": [[5, 6, 7], [8, 9, 10, 11, 1]], "decoder_ids": [[0, 5, 6, 7], [0, 8]]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Imported runs: gpt2 and t5 that read ids, and text, which reads bytes."""
    from scaling.hf.convert import import_run

    folder = tmp_path_factory.mktemp("runs")
    for name in ("gpt2", "bert", "bert-bare", "t5"):
        import_run(saved(name, folder / "hf"), folder / name)
    config = transformers.GPT2Config(
        vocab_size=257, n_positions=16, n_embd=32, n_layer=1, n_head=4, bos_token_id=256, eos_token_id=256
    )
    transformers.GPT2LMHeadModel(config).eval().save_pretrained(folder / "hf/text")
    import_run(folder / "hf/text", folder / "text", tokenizer="bytes")
    return folder


def test_a_checkpoint_goes_in_is_scored_and_comes_out(run_cli: RunCli, tmp_path: Path) -> None:
    saved("gpt2", tmp_path)
    code, out, _ = run_cli("import-hf", "gpt2", "--out", "run", "--json")
    record = json.loads(out)
    assert (code, record["status"], record["tokenizer"]) == (0, "imported", "ids")
    assert record["params"]["total"] == sum(p.numel() for p in peer("gpt2").parameters())
    assert "imported" in run_cli("status", "run")[1]

    (tmp_path / "ids.json").write_text(json.dumps(IDS))
    code, out, _ = run_cli("score", "run", "--ids", "ids.json", "--logits", "out.npy", "--json")
    said = json.loads(out)
    logits = np.load(tmp_path / "out.npy")
    assert code == 0 and logits.dtype == np.float32 and logits.shape == (2, 6, 64)
    for i, row in enumerate(IDS["ids"]):
        with torch.no_grad():
            expected = peer("gpt2")(torch.tensor([row])).logits[0]
        np.testing.assert_allclose(logits[i, : len(row)], expected, atol=1e-4)
        log_p = torch.log_softmax(expected, -1)[torch.arange(len(row) - 1), row[1:]]
        assert said["rows"][i]["tokens"] == row[1:]
        np.testing.assert_allclose(said["rows"][i]["log_probs"], log_p, atol=1e-4)
    assert said["tokens"] == 7 and said["bits_per_byte"] is None
    assert said["log_prob"] == pytest.approx(sum(row["sum"] for row in said["rows"]))
    code, out, _ = run_cli("score", "run", "--ids", "ids.json")
    assert code == 0 and len(out.splitlines()) == 8

    code, out, _ = run_cli("export-hf", "run", "--out", "back", "--json")
    done = json.loads(out)
    assert (code, done["architecture"], done["files"]) == (0, "GPT2LMHeadModel", ["model.safetensors"])
    assert (tmp_path / "back/model.safetensors").stat().st_size >= done["bytes"]


def test_an_encoder_decoder_is_scored_by_pairs(run_cli: RunCli, tmp_path: Path, runs: Path) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps(PAIRS))
    code, out, _ = run_cli("score", str(runs / "t5"), "--ids", "pairs.json", "--logits", "o.npy", "--json")
    assert code == 0 and [row["tokens"] for row in json.loads(out)["rows"]] == [[5, 6, 7], [8]]
    logits = np.load(tmp_path / "o.npy")
    assert logits.shape == (2, 4, 64) and not logits[1, 2:].any() and logits[1, :2].all()


def test_each_token_of_a_text_is_scored_once(run_cli: RunCli, tmp_path: Path, runs: Path) -> None:
    """A text longer than the model's positions is scored in windows that overlap by one token."""
    text = "the quick brown fox jumps over the lazy dog"
    (tmp_path / "fox.txt").write_text(text)
    code, out, _ = run_cli("score", str(runs / "text"), "--text", "fox.txt", "--json")
    said = json.loads(out)
    assert code == 0
    assert bytes(token for row in said["rows"] for token in row["tokens"]).decode() == text
    assert said["bits_per_byte"] == pytest.approx(-said["log_prob"] / math.log(2) / len(text))
    # The first window begins with the id that texts begin with.
    (tmp_path / "ids.json").write_text(json.dumps({"ids": [[256, *text.encode()[:15]]]}))
    same = json.loads(run_cli("score", str(runs / "text"), "--ids", "ids.json", "--json")[1])
    np.testing.assert_allclose(said["rows"][0]["log_probs"], same["rows"][0]["log_probs"], atol=1e-5)
    code, out, _ = run_cli("generate", str(runs / "text"), "--prompt", "the", "--tokens", "4")
    assert code == 0 and out.startswith("the")


def test_a_sentencepiece_model_beside_the_weights_is_taken_along(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 40)
    (tmp_path / "two.txt").write_text("a dog and a fox and a dog\n" * 40)
    saved("llama", tmp_path)
    made = run_cli(
        "data", "tokenizer", "--source", "text:*.txt", "--vocab-size", "300", "--out", "llama/tokenizer.model"
    )
    assert made[0] == 0, made
    code, _, err = run_cli("import-hf", "llama", "--out", "small")
    assert code == 2 and "pieces" in err and "64" in err  # more than the model's vocabulary
    assert run_cli("import-hf", "llama", "--out", "small", "--tokenizer", "ids")[0] == 0

    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    code, out, _ = run_cli("import-hf", "llama", "--out", "run")
    assert code == 0 and "tokenizer hf:" in out and "--text FILE" in out
    code, out, _ = run_cli("score", "run", "--text", "two.txt", "--json")
    assert code == 0 and json.loads(out)["bits_per_byte"] > 0


FILES: dict[str, Any] = {
    "ids.json": json.dumps(IDS),
    "pairs.json": json.dumps(PAIRS),
    "broken.json": "{",
    "list.json": "[[1, 2]]",
    "key.json": '{"ids": [[1]], "labels": [[1]]}',
    "flat.json": '{"ids": [1, 2]}',
    "text.json": '{"ids": [["a"]]}',
    "float.json": '{"ids": [[1, 2.0]]}',
    "true.json": '{"ids": [[true]]}',
    "none.json": '{"ids": []}',
    "empty.json": '{"ids": [[1], []]}',
    "negative.json": '{"ids": [[1, -1]]}',
    "large.json": '{"ids": [[1, 2], [64]]}',
    "huge.json": '{"ids": [[1, 99999999999999999999999]]}',
    "long.json": json.dumps({"ids": [[1] * 17]}),
    "rows.json": '{"ids": [[1], [2]], "decoder_ids": [[0]]}',
    "nested.json": '{"ids": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "binary.json": b"\xff\xfe\x00",
    "fox.txt": "a fox",
    "nothing.txt": "",
    "binary.txt": b"\xff\xfe\x00",
}

CASES = [
    ("score {gpt2}", "--text FILE or --ids"),
    ("score {gpt2} --ids ids.json --text fox.txt", "one of them"),
    ("score . --ids ids.json", "not a run directory"),
    ("score {gpt2} --ids nowhere.json", "no such file"),
    ("score {gpt2} --ids broken.json", "not JSON"),
    ("score {gpt2} --ids nested.json", "not JSON"),
    ("score {gpt2} --ids binary.json", "not JSON"),
    ("score {gpt2} --ids list.json", '{"ids": [[...]]}'),
    ("score {gpt2} --ids key.json", "'labels'"),
    ("score {gpt2} --ids flat.json", "list of lists"),
    ("score {gpt2} --ids text.json", "ids[0][0]='a'"),
    ("score {gpt2} --ids float.json", "ids[0][1]='2.0'"),
    ("score {gpt2} --ids true.json", "whole number"),
    ("score {gpt2} --ids none.json", "no row"),
    ("score {gpt2} --ids empty.json", "ids[1]: the row is empty"),
    ("score {gpt2} --ids negative.json", "-1 is outside the vocabulary (0 to 63)"),
    ("score {gpt2} --ids large.json", "ids[1]: 64 is outside"),
    ("score {gpt2} --ids huge.json", "outside the vocabulary"),
    ("score {gpt2} --ids long.json", "17 ids, and the model has 16"),
    ("score {gpt2} --ids pairs.json", "reads ids alone"),
    ("score {t5} --ids ids.json", "ids and decoder_ids"),
    ("score {t5} --ids rows.json", "1 rows for 2 rows"),
    ("score {t5} --text fox.txt", "--ids FILE.json"),
    ("score {bert-bare} --ids ids.json", "mlm_head=false"),
    ("score {gpt2} --text fox.txt", "scaling score RUN --ids"),
    ("score {gpt2} --text nowhere.txt", "no such file"),
    ("score {text} --text nothing.txt", "empty"),
    ("score {text} --text binary.txt", "not UTF-8"),
    ("score {gpt2} --ids ids.json --logits out.txt", ".npy"),
    ("score {gpt2} --ids ids.json --logits nowhere/out.npy", "a directory that exists"),
    ("generate {gpt2} --prompt a", "data.tokenizer=ids"),
    ("import-hf nowhere --out run", "no such directory"),
    ("import-hf . --out run", "config.json"),
    ("export-hf . --out back", "not a run directory"),
    ("export-hf {gpt2} --out {t5}", "already exists"),
    ("export-hf {gpt2} --out back --shard-bytes 0", "at least 1"),
    ("export-hf {gpt2} --out back --shard-bytes few", "a number of bytes"),
    ("export-hf {gpt2} --out back --shard-bytes inf", "a number of bytes"),
    ("export-hf {gpt2} --out back --layout bloom", "known: gpt2"),
    ("export-hf {gpt2} --out back --layout llama", "gpt2 does"),
]


@pytest.mark.parametrize(("line", "says"), CASES, ids=[line for line, _ in CASES])
def test_bad_input_is_one_line(line: str, says: str, run_cli: RunCli, tmp_path: Path, runs: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run_cli(*line.format(**{p.name: p for p in runs.iterdir()}).split())
    assert (code, out) == (2, ""), (code, out, err)
    assert len(err.strip().splitlines()) == 1 and err.startswith("scaling: "), err
    assert says in err, err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_encoder_reads_each_token_where_it_stands(run_cli: RunCli, tmp_path: Path, runs: Path) -> None:
    (tmp_path / "ids.json").write_text(json.dumps(IDS))
    said = json.loads(run_cli("score", str(runs / "bert"), "--ids", "ids.json", "--json")[1])
    assert [row["tokens"] for row in said["rows"]] == IDS["ids"]
    with torch.no_grad():
        log_p = torch.log_softmax(peer("bert")(torch.tensor([IDS["ids"][1]])).prediction_logits[0], -1)
    expected = log_p[torch.arange(3), IDS["ids"][1]]
    np.testing.assert_allclose(said["rows"][1]["log_probs"], expected, atol=1e-4)


def test_an_imported_checkpoint_reads_and_writes_text_at_once(run_cli: RunCli, tmp_path: Path) -> None:
    """As docs/getting-started/checkpoint.md has it: import, score, generate, evaluate, export."""
    made("gpt2", tmp_path, n_positions=512)
    code, out, err = run_cli("import-hf", "gpt2", "--out", "runs/gpt2")
    assert code == 0 and "no tokenizer" not in err
    assert "next: scaling score runs/gpt2 --text FILE" in out.replace("\n", " ")
    (tmp_path / "text.txt").write_text("the quick brown fox")
    code, out, _ = run_cli("score", "runs/gpt2", "--text", "text.txt", "--json")
    assert code == 0 and json.loads(out)["bits_per_byte"] > 0
    code, out, _ = run_cli("generate", "runs/gpt2", "--prompt", "the quick", "--tokens", "8")
    assert code == 0 and out.startswith("the quick")
    items = [
        {
            "ctx": f"A man with {i} dogs",
            "endings": ["runs.", "sits on a wall.", "été.", "eats"],
            "label": i % 4,
        }
        for i in range(12)
    ]
    (tmp_path / "hellaswag_val.jsonl").write_text("\n".join(map(json.dumps, items)))
    suite = ("--suite", "hellaswag:hellaswag_val.jsonl", "--shots", "8")
    code, out, _ = run_cli("evaluate", "runs/gpt2", *suite, "--json")
    (scores,) = json.loads(out)["results"]
    assert code == 0 and (scores["n"], scores["skipped"]) == (12, 0)
    assert {"choice_accuracy", "acc_norm", "acc_bytes", "brier"} <= set(scores["scores"])
    code, out, _ = run_cli("export-hf", "runs/gpt2", "--out", "exported")
    assert code == 0 and (tmp_path / "exported/tokenizer.json").is_file()
