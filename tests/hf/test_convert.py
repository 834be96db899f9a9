"""A checkpoint imported and exported again is the checkpoint, bit for bit, and transformers loads it."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from scaling.config.record import read_record
from scaling.estimate.counts import tensors
from scaling.hf.convert import export_run, import_run
from scaling.models.score import score
from scaling.runtime.errors import BadInputError
from scaling.sweep.directory import read_ledger
from scaling.train.checkpoints import restore_model
from scaling.train.loop import train
from scaling.train.run_directory import read_run
from scaling.train.trained import load_trained
from tests.hf.peers import PEERS, edit, saved, torch, transformers
from tests.train.conftest import MakeRun


@pytest.mark.parametrize("name", PEERS)
def test_import_then_export_gives_the_same_tensors(name: str, tmp_path: Path) -> None:
    source = saved(name, tmp_path)
    import_run(source, tmp_path / "run")
    exported = export_run(tmp_path / "run", tmp_path / "out")
    assert exported.architecture == PEERS[name][0]

    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert set(after) == set(before)
    for tensor, values in before.items():
        assert after[tensor].dtype == values.dtype
        np.testing.assert_array_equal(after[tensor], values, err_msg=tensor)

    model, info = getattr(transformers, PEERS[name][0]).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values()), info
    original = getattr(transformers, PEERS[name][0]).from_pretrained(source)
    for key, value in original.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    for key in ("tie_word_embeddings", "scale_decoder_outputs", "rope_parameters", "hidden_act", "afn"):
        assert getattr(model.config, key, None) == getattr(original.config, key, None), key
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(model.config, key) == getattr(original.config, key), key


def test_an_imported_run_is_a_run_that_was_not_trained(tmp_path: Path) -> None:
    import_run(saved("gpt2", tmp_path), tmp_path / "runs/one")
    run, record = read_run(tmp_path / "runs/one"), read_record(tmp_path / "runs/one")
    assert record is not None
    assert (record.status, record.points, record.tokens, record.id) == ("imported", (), 0, run.id())
    assert [entry.status for entry in read_ledger(tmp_path / "runs")] == ["imported"]
    with pytest.raises(BadInputError, match="imported weights"):
        train(run, tmp_path / "runs/one")


@pytest.mark.parametrize(("kind", "dtype"), [("float16", "float32"), ("bfloat16", "bfloat16")])
def test_half_precision_is_read_exactly(kind: str, dtype: str, tmp_path: Path) -> None:
    source = saved("gpt2", tmp_path)
    half = ml_dtypes.bfloat16 if kind == "bfloat16" else np.float16
    before = {name: x.astype(half) for name, x in load_file(source / "model.safetensors").items()}
    save_file(before, source / "model.safetensors")
    import_run(source, tmp_path / "run", dtype=dtype)
    assert read_run(tmp_path / "run").model.param_dtype == dtype
    export_run(tmp_path / "run", tmp_path / "out")
    after = load_file(tmp_path / "out/model.safetensors")
    for name, values in before.items():
        np.testing.assert_array_equal(after[name].astype(np.float32), values.astype(np.float32))
        assert after[name].dtype == (half if dtype == kind else np.float32)


def test_shards_are_read_and_written(tmp_path: Path) -> None:
    source = saved("bert", tmp_path, max_shard_size="20KB")
    assert not (source / "model.safetensors").exists()
    import_run(source, tmp_path / "run")
    exported = export_run(tmp_path / "run", tmp_path / "out", shard_bytes=20_000)
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert len(exported.files) == len(set(index["weight_map"].values())) > 2
    assert index["metadata"]["total_size"] == exported.size
    model, info = transformers.BertForPreTraining.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    original = transformers.BertForPreTraining.from_pretrained(source)
    for key, value in original.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def _rename(source: Path, change: Any) -> None:
    path = source / "model.safetensors"
    held = load_file(path)
    path.unlink()
    save_file({change(name): values for name, values in held.items()}, path)


def test_names_of_older_files(tmp_path: Path) -> None:
    """GPT-2 was published without its prefix and with buffers, BERT with gamma, beta and its head twice."""
    source = saved("gpt2", tmp_path)
    _rename(source, lambda name: name.removeprefix("transformer."))
    held = load_file(source / "model.safetensors")
    save_file(held | {"h.0.attn.bias": np.ones((1, 1, 16, 16), np.float32)}, source / "model.safetensors")
    import_run(source, tmp_path / "gpt")
    export_run(tmp_path / "gpt", tmp_path / "gpt-out")
    after = load_file(tmp_path / "gpt-out/model.safetensors")
    assert set(after) == {f"transformer.{name}" for name in held}
    np.testing.assert_array_equal(after["transformer.wte.weight"], held["wte.weight"])

    source = saved("bert", tmp_path)
    before = load_file(source / "model.safetensors")
    norm = {"weight": "gamma", "bias": "beta"}
    _rename(
        source,
        lambda name: (
            ".".join([*name.split(".")[:-1], norm[name.split(".")[-1]]]) if "LayerNorm" in name else name
        ),
    )
    held = load_file(source / "model.safetensors")
    assert "bert.embeddings.LayerNorm.gamma" in held
    held["cls.predictions.decoder.weight"] = held["bert.embeddings.word_embeddings.weight"].copy()
    held["cls.predictions.decoder.bias"] = held["cls.predictions.bias"].copy()
    held["bert.embeddings.position_ids"] = np.arange(16)[None]
    save_file(held, source / "model.safetensors")
    import_run(source, tmp_path / "bert-run")
    export_run(tmp_path / "bert-run", tmp_path / "bert-out")
    after = load_file(tmp_path / "bert-out/model.safetensors")
    assert set(after) == set(before)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


def test_t5_v11_as_it_was_published(tmp_path: Path) -> None:
    """Older files say `tie_word_embeddings: false`, repeat the embedding and hold a table nobody reads."""
    source = saved("t5v11", tmp_path)
    edit(source, tie_word_embeddings=False, scale_decoder_outputs=None, dense_act_fn=None)
    held = load_file(source / "model.safetensors")
    for side in ("encoder", "decoder"):
        held[f"{side}.embed_tokens.weight"] = held["shared.weight"].copy()
    unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    save_file(held | {unused: np.ones((32, 4), np.float32)}, source / "model.safetensors")
    import_run(source, tmp_path / "run")
    assert not read_run(tmp_path / "run").model.tie_embeddings
    export_run(tmp_path / "run", tmp_path / "out")
    model = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert model.config.scale_decoder_outputs is False
    np.testing.assert_array_equal(model.lm_head.weight.detach(), held["lm_head.weight"])

    held["encoder.embed_tokens.weight"][3, 4] += 1
    save_file(held, source / "model.safetensors")
    with pytest.raises(BadInputError, match=r"encoder.embed_tokens.weight should equal shared.weight"):
        import_run(source, tmp_path / "other")


def test_a_t5_that_is_tied_and_not_scaled_gets_a_head_of_its_own(tmp_path: Path) -> None:
    source = saved("t5", tmp_path)
    edit(source, scale_decoder_outputs=False)
    import_run(source, tmp_path / "run")
    assert not read_run(tmp_path / "run").model.tie_embeddings
    export_run(tmp_path / "run", tmp_path / "out")
    after = load_file(tmp_path / "out/model.safetensors")
    np.testing.assert_array_equal(after["lm_head.weight"], after["shared.weight"])


def test_checkpoint_holds_the_estimators_tensors(tmp_path: Path) -> None:
    """Names, shapes and stacking are those of `scaling.estimate.counts`, which modules share."""
    import jax

    import_run(saved("gpt2", tmp_path), tmp_path / "run")
    model = read_run(tmp_path / "run").model
    from scaling.models.build import new_model

    like = jax.eval_shape(lambda: new_model(model, jax.random.key(0)))
    restored = restore_model(tmp_path / "run/checkpoints", like, print)
    paths = jax.tree_util.tree_flatten_with_path(restored)[0]
    held = {jax.tree_util.keystr(p, simple=True, separator=".").removesuffix(".value"): x for p, x in paths}
    assert {name: x.shape for name, x in held.items()} == {t.name: t.shape for t in tensors(model)}


def test_a_run_trained_here_computes_the_same_in_transformers(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("train.steps=3")
    train(run, tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    rows = [list(b"a bb ccc 123"), list(b"dd")]
    scores = score(load_trained(tmp_path / "run", print).model, rows, keep_logits=True)
    assert scores.logits_BLV is not None
    for i, row in enumerate(rows):
        with torch.no_grad():
            expected = peer(torch.tensor([row])).logits[0]
        np.testing.assert_allclose(scores.logits_BLV[i, : len(row)], expected, atol=1e-4)
