"""Every family through the same commands: one sweep, one ledger, one figure; what is refused is one line."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import RunCli

SWEEP = """
name: families
design: rungs
budgets: [2.0e+8]
base:
  model: {vocab_size: 288, max_length: 32}
  data: {sequence_length: 32, source: "text:corpus/*.txt", validation_fraction: 0.3}
  train: {batch_tokens: 256, learning_rate: 1.0e-2, eval_tokens: 512, log_every: 2}
variants:
  gpt: {rungs: [{model: {n_layers: 1, d_model: 16, n_heads: 2}}]}
  prefix: {rungs: [{model: {n_layers: 1, d_model: 16, n_heads: 2}, objective: {name: prefix}}]}
  bert:
    base: {objective: {name: masked, sentences: order}}
    rungs: [{model: {family: encoder, n_layers: 1, d_model: 16, n_heads: 2}}]
  t5: {rungs: [{model: {family: encoder_decoder, n_layers: 1, d_model: 16, n_heads: 2}}]}
  switch:
    base: {model: {mixture: {experts: 2}}}
    rungs: [{model: {family: encoder_decoder, n_layers: 2, d_model: 16, n_heads: 2}}]
  lstm: {rungs: [{model: {family: lstm, n_layers: 1, d_model: 16}}]}
  nplm: {rungs: [{model: {family: feed_forward, context: 4, d_embedding: 8, d_model: 16}}]}
  rnn:
    base: {model: {family: rnn_encoder_decoder}}
    rungs: [{model: {d_embedding: 8, d_model: 8, d_attention: 8, d_readout: 8}}]
  ngram: {rungs: [{model: {family: ngram, order: 3}, train: {tokens: 4096}}]}
"""
FAMILIES = 9


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    for i in range(10):
        (tmp_path / f"corpus/{i}.txt").write_text("".join(f"{i} times {j} is {i * j}\n" for j in range(200)))
    (tmp_path / "families.yaml").write_text(SWEEP)
    return tmp_path


@pytest.mark.slow
def test_every_family_trains_scores_and_stands_on_one_figure(run_cli: RunCli, corpus: Path) -> None:
    code, out, err = run_cli("sweep", "families.yaml", "--dry-run", "--json")
    assert code == 0, err
    planned = json.loads(out)["runs"]
    assert len(planned) == FAMILIES
    for plan in planned:  # equal FLOPs, in whole batches
        assert plan["flops"] == 0 if "ngram" in plan["name"] else plan["flops"] == pytest.approx(2e8, rel=0.2)

    code, out, err = run_cli("sweep", "families.yaml", "--out", "runs", "--json")
    document = json.loads(out)
    assert code == 0 and not document["failures"], err
    assert all(run["bits_per_byte"] > 0 for run in document["runs"])
    code, _, err = run_cli("sweep", "families.yaml", "--out", "runs")
    assert code == 0 and err.count("finished before, skipped") == FAMILIES

    code, _, err = run_cli("plot", "families", "runs", "--out", "families.png")
    assert code == 0 and (corpus / "families.png").stat().st_size > 10_000, err
    code, _, err = run_cli("fit", "runs")
    assert code == 2 and "--family" in err and "lstm" in err

    how = ["--prompt", "3x", "--tokens", "8", "--beams", "2", "--json"]
    code, out, err = run_cli("generate", "runs/families-t5-1", *how)
    assert code == 0 and json.loads(out)["prompt"] == "3x", err
    for run, says in (("lstm", "family=lstm"), ("bert", "family=encoder"), ("ngram", "ngram")):
        code, _, err = run_cli("generate", f"runs/families-{run}-1", "--prompt", "3")
        assert code == 2 and says in err and len(err.strip().splitlines()) == 1


RUN = "train families-run.yaml --out run "
CASES = [
    ("objective.name=masked", "masked trains an encoder, the model is a decoder"),
    ("model.family=encoder objective.name=spans", "spans trains an encoder_decoder"),
    ("objective.name=clozed", "objective"),
    ("model.family=encoder model.vocab_size=257", "at least 258"),
    ("model.family=encoder_decoder model.vocab_size=257", "model.vocab_size"),
    ("model.family=encoder objective.rate=1.5", "objective.rate"),
    ("model.family=encoder objective.sentences=next model.token_types=1", "token_types"),
    ("model.family=encoder model.head_positions=0.05", "head_positions"),
    ("model.positions=rotary model.d_head=7", "d_head=7"),
    ("model.n_kv_heads=3", "n_kv_heads=3"),
    ("model.mixture.experts=4 model.mixture.every=2", "mixture.every=2"),
    ("mesh.expert=2 train.batch_tokens=512", "mixture of experts"),
    ("data.sequence_length=64", "longer than the positions"),
    ("data.field=body data.source=jsonl:missing.jsonl", "body"),
]


@pytest.mark.parametrize(("changes", "says"), CASES, ids=[changes for changes, _ in CASES])
def test_what_a_family_cannot_do_is_one_line(run_cli: RunCli, corpus: Path, changes: str, says: str) -> None:
    (corpus / "missing.jsonl").write_text('{"text": "a"}\n')
    (corpus / "families-run.yaml").write_text(
        "model: {vocab_size: 288, max_length: 32, n_layers: 1, d_model: 16, n_heads: 2}\n"
        'data: {sequence_length: 32, source: "text:corpus/*.txt", validation_fraction: 0.3}\n'
        "train: {batch_tokens: 256, steps: 2, learning_rate: 0.01}\n"
    )
    code, _, err = run_cli(*RUN.split(), *changes.split())
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1, err
    assert not (corpus / "run").exists()
