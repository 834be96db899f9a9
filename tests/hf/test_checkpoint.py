"""Checkpoints that cannot be read: one line that names what is wrong, and nothing left behind."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from scaling.hf.checkpoint import Weights
from scaling.hf.convert import export_run, import_run
from scaling.runtime.errors import BadInputError
from tests.hf.peers import edit, saved

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    for name in (
        *("gpt2", "bert", "t5", "llama", "albert", "roberta", "mistral", "qwen2"),
        "qwen2-windows",
        "qwen3",
        "qwen3-windows",
    ):
        saved(name, folder)
    return folder


def _tensors(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(source: Path) -> None:
        held = load_file(source / FILE)
        change(held)
        save_file(held, source / FILE)

    return apply


def _settings(**changes: Any) -> Callable[[Path], None]:
    return lambda source: edit(source, **changes)


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda source: (source / FILE).write_bytes(change((source / FILE).read_bytes())) and None


def _sharded(weight_map: Any) -> Callable[[Path], None]:
    def apply(source: Path) -> None:
        (source / FILE).rename(source / "one.safetensors")
        (source / INDEX).write_text(json.dumps({"weight_map": weight_map}))

    return apply


def _pickled(source: Path) -> None:
    (source / FILE).rename(source / "pytorch_model.bin")


def _drop(*names: str) -> Callable[[Path], None]:
    return _tensors(lambda held: [held.pop(name) for name in names] and None)


_QKV = "transformer.h.0.attn.c_attn.weight"
_MANY = [f"transformer.h.1.{part}" for part in ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias")]

CASES: list[tuple[str, str, Callable[[Path], Any], tuple[str, ...]]] = [
    # files
    ("no config.json", "gpt2", lambda s: (s / "config.json").unlink(), ("config.json", "no such file")),
    ("config is no JSON", "gpt2", lambda s: (s / "config.json").write_text("{"), ("not JSON",)),
    ("config is a list", "gpt2", lambda s: (s / "config.json").write_text("[]"), ("expected a mapping",)),
    ("config is binary", "gpt2", lambda s: (s / "config.json").write_bytes(b"\xff\xfe"), ("not JSON",)),
    ("no weights", "gpt2", lambda s: (s / FILE).unlink(), ("no model.safetensors",)),
    ("pickled weights", "gpt2", _pickled, ("pickle", "safetensors")),
    ("truncated", "gpt2", _bytes(lambda b: b[:-7]), ("not a complete safetensors file",)),
    ("cut inside the header", "gpt2", _bytes(lambda b: b[:50]), ("not a complete safetensors file",)),
    ("empty file", "gpt2", _bytes(lambda b: b""), ("not a complete safetensors file",)),
    ("noise", "gpt2", _bytes(lambda b: b"\xff" * len(b)), ("not a complete safetensors file",)),
    ("index leaves upwards", "gpt2", _sharded({"a": "../one.safetensors"}), ("weight_map.a", "not a file")),
    ("index leaves by root", "gpt2", _sharded({"a": "/etc/passwd"}), ("weight_map.a", "not a file")),
    ("index names a number", "gpt2", _sharded({"a": 3}), ("weight_map.a=3",)),
    ("index is empty", "gpt2", _sharded({}), ("weight_map",)),
    ("index names no file", "gpt2", _sharded({"a": "two.safetensors"}), ("two.safetensors", "no such file")),
    ("index names no tensor", "gpt2", _sharded({"a": "one.safetensors"}), ("has no a",)),
    # tensors
    ("one missing", "gpt2", _drop(_QKV), ("1 tensor (transformer.h.0.attn.c_attn.weight) is missing",)),
    ("four missing", "gpt2", _drop(*_MANY), ("4 tensors", "and 1 more) are missing")),
    ("one too many", "gpt2", _tensors(lambda h: h.update(score=h["transformer.ln_f.bias"])), ("(score)",)),
    ("another shape", "gpt2", _tensors(lambda h: h.update({_QKV: h[_QKV].T.copy()})), ("[96, 32] instead",)),
    ("integers", "gpt2", _tensors(lambda h: h.update({_QKV: h[_QKV].astype(np.int8)})), (_QKV, "I8", "BF16")),
    ("doubles", "gpt2", _tensors(lambda h: h.update({_QKV: h[_QKV].astype(np.float64)})), ("F64",)),
    ("more layers", "gpt2", _settings(n_layer=3), ("12 tensors (transformer.h.2",)),
    ("far more layers", "gpt2", _settings(n_layer=10**12), ("n_layers=1000000000000",)),
    ("larger vocabulary", "gpt2", _settings(vocab_size=10**15), ("wte.weight [64, 32] instead of",)),
    ("untied and no head", "gpt2", _settings(tie_word_embeddings=False), ("lm_head.weight) is missing",)),
    ("a classifier", "bert", _tensors(lambda h: h.update({"classifier.weight": np.ones((2, 32), "f4")})),
     ("classifier.weight",)),
    ("no relative bias", "t5", _drop("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
     ("relative_attention_bias",)),
    # settings
    ("no model_type", "gpt2", _settings(model_type=None), ("model_type: None", "known: gpt2")),
    ("unknown model_type", "gpt2", _settings(model_type="mamba"), ("model_type: 'mamba'", "t5")),
    ("text for a number", "gpt2", _settings(n_head="four"), ("n_head='four'",)),
    ("negative", "gpt2", _settings(n_head=-4), ("n_head=-4",)),
    ("zero", "gpt2", _settings(n_layer=0), ("n_layers",)),
    ("heads do not divide", "gpt2", _settings(n_head=5), ("n_heads=5",)),
    ("a fraction", "gpt2", _settings(n_positions=16.5), ("n_positions=16.5",)),
    ("true", "gpt2", _settings(n_embd=True), ("n_embd=True",)),
    ("activation", "gpt2", _settings(activation_function="relu6"), ("relu6", "gelu_new")),
    ("no scaling", "gpt2", _settings(scale_attn_weights=False), ("scale_attn_weights=False",)),
    ("cross attention", "gpt2", _settings(add_cross_attention=True), ("add_cross_attention=True",)),
    ("quantized", "gpt2", _settings(quantization_config={"bits": 4}), ("quantization_config",)),
    ("rope scaling", "llama", _settings(rope_scaling={"type": "linear", "factor": 2.0}), ("rope_scaling",)),
    ("rope type", "llama", _settings(rope_parameters={"rope_type": "llama3"}), ("rope_type='llama3'",)),
    ("rope theta", "llama", _settings(rope_parameters={"rope_theta": "big"}), ("rope_theta='big'",)),
    ("sliding window", "llama", _settings(sliding_window=64), ("sliding_window=64",)),
    ("window", "mistral", _settings(sliding_window="wide"), ("sliding_window='wide'",)),
    ("no width", "qwen2-windows", _settings(sliding_window=0), ("sliding_window=0",)),
    ("kinds", "qwen3-windows", _settings(layer_types=["full_attention"]), ("layer_types=",)),
    ("kind", "qwen3-windows", _settings(layer_types=["full_attention"] * 3 + ["linear_attention"]),
     ("layer_types[3]='linear_attention'",)),
    ("windowless", "qwen3-windows", _settings(use_sliding_window=False), ("layer_types[0]=", "without a")),
    ("first window", "qwen2-windows", _settings(layer_types=None, max_window_layers="1"),
     ("max_window_layers='1'",)),
    ("qwen bias", "qwen3", _settings(attention_bias=True), ("attention_bias=True",)),
    ("no bias", "qwen2", _drop("model.layers.0.self_attn.q_proj.bias"), ("q_proj.bias",)),
    ("attention bias", "llama", _settings(attention_bias=True), ("attention_bias=True",)),
    ("key heads", "llama", _settings(num_key_value_heads=3), ("n_kv_heads=3",)),
    ("relative keys", "bert", _settings(position_embedding_type="relative_key"), ("relative_key",)),
    ("layer groups", "albert", _settings(num_hidden_groups=2), ("num_hidden_groups=2",)),
    ("full embeddings", "albert", _settings(embedding_size=32), ("not as config.json says",)),
    ("another activation", "roberta", _settings(hidden_act="relu"), ("hidden_act='relu'",)),
    ("another padding", "roberta", _settings(pad_token_id=0), ("pad_token_id=0",)),
    ("activation of t5", "t5", _settings(feed_forward_proj="gated-swish"), ("feed_forward_proj",)),
]  # fmt: skip


@pytest.mark.parametrize(("peer", "damage", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_checkpoint_that_cannot_be_read(
    peer: str, damage: Callable[[Path], Any], said: tuple[str, ...], sources: Path, tmp_path: Path
) -> None:
    shutil.copytree(sources / peer, tmp_path / peer)
    damage(tmp_path / peer)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInputError) as error:
        import_run(tmp_path / peer, tmp_path / "deep/run")
    line = str(error.value)
    assert "\n" not in line and len(line) < 700
    for part in said:
        assert part in line
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_there_already_stays(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out in ("run", "file", "file/run"):
        with pytest.raises(BadInputError, match="--out"):
            import_run(sources / "gpt2", tmp_path / out)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "mine", "run"]
    (tmp_path / "empty").mkdir()
    import_run(sources / "gpt2", tmp_path / "empty")
    assert (tmp_path / "empty/config.yaml").is_file()


def test_a_bad_option_leaves_nothing(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"param_dtype.*float16"):
        import_run(sources / "gpt2", tmp_path / "run", dtype="float16")
    with pytest.raises(BadInputError, match="has 257 pieces"):
        import_run(sources / "gpt2", tmp_path / "run", tokenizer="bytes")
    with pytest.raises(BadInputError, match="no SentencePiece model at"):
        import_run(sources / "gpt2", tmp_path / "run", tokenizer="sentencepiece:nowhere.model")
    with pytest.raises(BadInputError, match="hf:nowhere: no such folder or file"):
        import_run(sources / "gpt2", tmp_path / "run", tokenizer="hf:nowhere")
    with pytest.raises(BadInputError, match="unknown tokenizer 'words'"):
        import_run(sources / "gpt2", tmp_path / "run", tokenizer="words")
    with pytest.raises(BadInputError, match="no such directory"):
        import_run(tmp_path / "nowhere", tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_link_inside_the_directory_is_followed(sources: Path, tmp_path: Path) -> None:
    """Download caches keep weights elsewhere and link to them."""
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / FILE).symlink_to(sources / "gpt2" / FILE)
    assert Weights(tmp_path / "snapshot").shape("transformer.wte.weight") == (64, 32)


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "place", ["scaling.train.checkpoints.write_streamed", "scaling.hf.convert.keep_files"]
)
def test_a_full_disk_leaves_no_run(
    place: str, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, _full)
    with pytest.raises(BadInputError, match=r"--out .*run: cannot be written \(No space left on device\)$"):
        import_run(sources / "gpt2", tmp_path / "deep/run")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_while_weights_are_written(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage layer raises its own errors in its own threads."""
    import_run(sources / "gpt2", tmp_path / "run")
    monkeypatch.setattr("scaling.hf.checkpoint.to_ours", _full)
    with pytest.raises(BadInputError, match="No space left on device"):
        import_run(sources / "gpt2", tmp_path / "other")
    monkeypatch.setattr("scaling.hf.weight_files._write_tensor", _full)
    with pytest.raises(BadInputError, match=r"--out .*out: cannot be written \(No space left on device\)$"):
        export_run(tmp_path / "run", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_export_without_room_is_refused_before_it_is_written(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_run(sources / "gpt2", tmp_path / "run")
    free = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    with pytest.raises(BadInputError, match=r"--out .*out: needs 0\.00 GB, and its disk has 0\.00 GB free"):
        export_run(tmp_path / "run", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_file_that_shrinks_while_it_is_read(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sources / "gpt2", tmp_path / "source")
    file = tmp_path / "source" / FILE

    def shrink(weights: Weights, name: str, rows: slice = slice(None)) -> Any:
        os.truncate(file, 3000)
        return read(weights, name, rows)

    read = Weights.read
    monkeypatch.setattr(Weights, "read", shrink)
    with pytest.raises(BadInputError, match=r"cannot be read \(the file ends within it\)") as error:
        import_run(tmp_path / "source", tmp_path / "run")
    assert FILE in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_damaged_run_is_not_exported(sources: Path, tmp_path: Path) -> None:
    import_run(sources / "gpt2", tmp_path / "run")
    for data in (tmp_path / "run/checkpoints").rglob("d/*"):
        data.write_bytes(data.read_bytes()[:-1])
    said: list[str] = []
    with pytest.raises(BadInputError, match="no readable checkpoint"):
        export_run(tmp_path / "run", tmp_path / "out", warn=said.append)
    assert len(said) == 1 and "does not match its checksum" in said[0]
    assert not (tmp_path / "out").exists()
