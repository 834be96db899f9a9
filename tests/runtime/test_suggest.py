"""Names that people type for what they mean, and names that resemble nothing."""

from pathlib import Path

import pytest

from scaling.config.load import load_run, load_sweep, model_names, names
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint, near


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gpt2", ["gpt2-124m", "gpt2-355m", "gpt2-774m", "gpt2-1.5b"]),
        ("GPT2", ["gpt2-124m", "gpt2-355m", "gpt2-774m", "gpt2-1.5b"]),
        ("gpt2-small", ["gpt2-124m", "gpt2-355m", "gpt2-774m", "gpt2-1.5b"]),
        ("gtp2", ["gpt2-124m", "gpt2-355m", "gpt2-774m", "gpt2-1.5b"]),
        ("gpt2_124M", ["gpt2-124m"]),
        ("GPT-3 175B", ["gpt3-175b"]),
        ("llama7b", ["llama-7b"]),
        ("175b", ["gpt3-175b"]),
        ("T5 Base", ["t5-base"]),
        ("zebra", []),
        ("", []),
    ],
)
def test_models(typed: str, meant: list[str]) -> None:
    assert near(typed, model_names()) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("h100", ["h100-pcie", "h100-sxm"]),
        ("a100", ["a100-40gb", "a100-80gb"]),
        ("v5e", ["tpu-v5e"]),
        ("tpu_v5p", ["tpu-v5p"]),
        ("MI300", ["mi300x"]),
    ],
)
def test_devices(typed: str, meant: list[str]) -> None:
    assert near(typed, names("hardware")) == meant


def test_every_known_name_is_found_however_it_is_punctuated() -> None:
    for known in (model_names(), names("hardware"), names("sweeps")):
        for name in known:
            assert near(name.upper().replace("-", "_"), known)[0] == name
            assert near(name.replace("-", " "), known)[0] == name


def test_words_of_a_hint() -> None:
    assert hint("a", ["alpha", "beta"]) == "known: alpha, beta"
    assert hint("zzz", ["alpha", "beta", "gamma"], 2) == "known: alpha, beta, ..."
    assert hint("alpa", ["alpha", "beta"]) == "did you mean alpha?"
    assert hint("add", ["add2", "add3", "add4"]) == "did you mean add2, add3 or add4?"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.lr=1", "did you mean learning_rate"),
        ("lr=1", "did you mean train.learning_rate"),
        ("optimizer=adamw", "did you mean train.optimizer"),
        ("model.layers=2", "did you mean n_layers"),
        ("train.batch_size=64", "did you mean batch_tokens"),
        ("zebra=1", "known: name, model, objective"),
    ],
)
def test_fields(override: str, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        load_run("cpu", [override])


def test_a_field_of_a_sweep(tmp_path: Path) -> None:
    """A sweep contains sweeps, its variants."""
    for field, says in (("width: [64]", "did you mean widths"), ("zebra: 1", "known: name, design, base")):
        path = tmp_path / "sweep.yaml"
        path.write_text(f"design: ladder\nbase: {{}}\n{field}\n")
        with pytest.raises(BadInputError, match=says):
            load_sweep(path)


def test_a_name_of_another_kind() -> None:
    with pytest.raises(BadInputError, match="cpu-213k is a model: scaling train RUN model=cpu-213k"):
        load_run("cpu-213k")
    with pytest.raises(BadInputError, match="gpt2-124m is a run: scaling train gpt2-124m"):
        load_sweep("gpt2-124m")
    with pytest.raises(BadInputError, match="did you mean gpt2-124m"):
        load_run("gpt2-124")
    with pytest.raises(BadInputError, match="demo is a sweep: scaling sweep demo"):
        load_run("demo")
    with pytest.raises(BadInputError, match="cpu is a run: scaling train cpu"):
        load_sweep("cpu")
