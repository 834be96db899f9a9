"""Names from configs and files from elsewhere stay where they belong."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling.config.load import config_root, find_config, load_run, load_sweep
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand
from scaling.train.checkpoints import kept_steps

ESCAPES = [
    "../escape",
    "..",
    ".",
    "/tmp/escape",
    "a/b",
    "a\\b",
    "a\nb",
    "a\0b",
    "",
    "-rf",
    "~root",
    "a b",
    "$HOME",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_run_or_sweep_name_that_leaves_its_directory_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="name"):
        load_run({"name": name, "base": "cpu"})
    path = tmp_path / "sweep.yaml"
    path.write_text(
        json.dumps({"name": name, "design": "grid", "base": {"base": "cpu"}, "axes": {"train.seed": [1]}})
    )
    with pytest.raises(BadInputError, match="name"):
        load_sweep(str(path))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=20) | st.sampled_from(ESCAPES))
def test_a_name_that_is_accepted_is_one_part_of_a_path(name: str) -> None:
    try:
        run = load_run({"name": name, "base": "cpu"})
    except BadInputError:
        return
    assert Path(run.name).name == run.name and run.name not in (".", "..")
    assert run.name.isascii() and run.name.isprintable() and not run.name.startswith("-")


@pytest.mark.parametrize("key", ["../x", "/x", "a/../../b"])
def test_the_key_of_a_variant_and_a_value_of_an_axis_name_no_other_place(key: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    for tree in (
        {"base": {"base": "cpu"}, "variants": {key: {"design": "grid", "axes": {"train.seed": [1]}}}},
        {"design": "grid", "base": {"base": "cpu"}, "axes": {"data.source": [f"text:{key}", "text:b"]}},
    ):
        path.write_text(json.dumps(tree))
        try:
            runs = expand(load_sweep(str(path)))
        except BadInputError:
            continue
        assert all(Path(run.name).name == run.name for run in runs)


@pytest.mark.parametrize("name", ["../runs/cpu", "../../etc/passwd", "/etc/passwd", "..", "."])
def test_a_config_name_reads_nothing_but_configs(name: str) -> None:
    for kind in ("runs", "sweeps", "recipes"):
        with pytest.raises(BadInputError, match="neither a named config nor a YAML file"):
            find_config(kind, name)
    assert find_config("runs", "cpu").parent == config_root() / "runs"


def test_a_tokenizer_or_a_corpus_that_is_no_such_file_is_one_line(tmp_path: Path) -> None:
    """A path is the user's own to choose; what is no model or text there is refused, not run or shown."""
    from scaling.data.tokenizers import load_tokenizer

    secret = tmp_path / "secret"
    secret.write_text("hunter2 " * 10)
    for path in (secret, tmp_path, "/dev/null", f"{tmp_path}/../{tmp_path.name}/secret"):
        with pytest.raises(BadInputError) as error:
            load_tokenizer(f"sentencepiece:{path}")
        assert "hunter2" not in str(error.value)
    for field in ("tokenizer=sentencepiece:", "source=text:", "source=jsonl:"):
        name, _, prefix = field.partition("=")
        with pytest.raises(BadInputError, match="NUL"):
            load_run({"base": "cpu", "name": "x", "data": {name: f"{prefix}a\0b"}})


def test_a_checkpoint_is_known_by_a_number_alone(tmp_path: Path) -> None:
    for name in ("5", "12", "..", "damaged-5", "5.orbax-checkpoint-tmp", "-3", "1e3", "٣"):
        if name != "..":
            (tmp_path / name).mkdir()
    assert kept_steps(tmp_path) == [5, 12]


@pytest.mark.parametrize("file", ["../outside.safetensors", "/etc/passwd", "a/../../b", "..\\b", "a\0b", 3])
def test_an_index_of_weights_stays_in_its_directory(file: object, tmp_path: Path) -> None:
    from scaling.hf.checkpoint import Weights

    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": file}}))
    with pytest.raises(BadInputError, match="not a file in this directory"):
        Weights(tmp_path)
