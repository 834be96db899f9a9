"""Loading: composition by name, overrides, YAML as people write it, and nothing but one-line errors."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.compose import model_run_names
from scaling.config.load import (
    apply_override,
    dump_yaml,
    load_model,
    load_run,
    load_sweep,
    merge,
    names,
    parse_overrides,
    parse_yaml,
    read_yaml,
)
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand


@pytest.mark.parametrize("name", [*names("runs"), *model_run_names()])
def test_every_named_run_is_valid_and_survives_its_own_yaml(name: str, tmp_path: Path) -> None:
    run = load_run(name)
    (tmp_path / "run.yaml").write_text(dump_yaml(run))
    again = load_run(str(tmp_path / "run.yaml"))
    assert again == run and again.id() == run.id()


@pytest.mark.parametrize(
    ("name", "batch", "rate", "tokens"),
    [
        ("gpt3-125m", 0.5e6, 6e-4, 300e9),  # Brown et al. 2020, table 2.1
        ("gpt3-760m", 0.5e6, 2.5e-4, 300e9),
        ("gpt3-13b", 2e6, 1e-4, 300e9),
        ("gpt3-175b", 3.2e6, 0.6e-4, 300e9),
        ("bert-base", 256 * 512, 1e-4, 1e6 * 256 * 512),  # Devlin et al. 2018, appendix A.2
        ("roberta-large", 8000 * 512, 4e-4, 5e5 * 8000 * 512),  # Liu et al. 2019, table 9
        ("t5-base", 128 * 512, 1e-2, 2**19 * 128 * 512),  # Raffel et al. 2019, section 3.1.2
        ("llama-13b", 4e6, 3e-4, 1e12),  # Touvron et al. 2023, table 2
        ("llama-65b", 4e6, 1.5e-4, 1.4e12),
    ],
)
def test_a_model_is_a_run_with_its_published_settings(
    name: str, batch: float, rate: float, tokens: float
) -> None:
    run = load_run(name)
    assert (run.name, run.model.name, run.train.learning_rate) == (name, name, rate)
    assert run.train.batch_tokens == pytest.approx(batch, rel=0.05)
    budget = run.train.tokens or (run.train.steps or 0) * run.train.batch_tokens
    assert budget == pytest.approx(tokens, rel=0.05)
    changed = load_run(name, ["data.source=text:*.txt", "train.tokens=1e9", "model.n_layers=2"])
    assert (changed.data.source, changed.train.steps, changed.model.n_layers) == ("text:*.txt", None, 2)


@pytest.mark.parametrize("name", names("sweeps"))
def test_every_named_sweep_expands_and_says_how_to_run_it(name: str) -> None:
    sweep = load_sweep(name)
    assert expand(sweep)
    text = (Path(__file__).parents[2] / f"configs/sweeps/{name}.yaml").read_text()
    commands = (
        f"scaling {name}",
        f"scaling sweep {name}",
        f"scaling launch {name}",
        f"scaling launch configs/sweeps/{name}.yaml",
    )
    assert any(command in text for command in commands)


def test_composition_by_name_and_by_base(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "base: cpu\nmodel: {base: gpt2-124m, n_layers: 3}\ntrain: {learning_rate: 1e-3}\n"
    )
    run = load_run(str(tmp_path / "mine.yaml"), ["train.seed=7"])
    assert (run.model.n_layers, run.model.d_model, run.model.name) == (3, 768, "custom")
    assert run.train.learning_rate == 1e-3 and run.train.seed == 7
    assert run.train.batch_tokens == load_run("cpu").train.batch_tokens
    assert run.name == "mine"


def test_overrides_change_what_follows_from_them() -> None:
    assert load_model("gpt2-124m", ["d_model=384"]).d_ff == 4 * 384
    assert load_model("gpt2-124m", ["n_heads=6"]).d_head == 128
    assert load_run("cpu", ["model=gpt2-124m", "model.n_layers=2"]).model.n_layers == 2
    assert load_run("cpu", ["train.steps=5"]).train.tokens is None
    assert load_run("cpu", ["train.tokens=1e6"]).train.tokens == 1_000_000


def test_the_mesh_is_no_part_of_a_runs_identity() -> None:
    assert load_run("cpu").id() == load_run("cpu", ["mesh.fsdp=8"]).id()
    assert load_run("cpu").id() != load_run("cpu", ["train.seed=1"]).id()


def test_numbers_as_people_write_them() -> None:
    assert parse_yaml("1e-3", "x") == 1e-3
    assert parse_yaml("3.0e+11", "x") == 3e11
    assert parse_yaml("1_000_000", "x") == 1_000_000
    assert parse_yaml("1e3x", "x") == "1e3x"
    assert parse_yaml("[1e2, a]", "x") == [100.0, "a"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_plain_yaml_reads_as_pyyaml_reads_it(value: Any) -> None:
    text = yaml.safe_dump(value)
    if not any(c.isdigit() for c in text):  # numbers in exponents are read as numbers, on purpose
        assert parse_yaml(text, "x") == yaml.safe_load(text)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_config_file_end_in_one_line(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    try:
        load_run(str(path))
    except BadInputError as error:
        assert len(str(error).splitlines()) == 1


FIELDS = [
    "model.n_layers", "model.d_model", "model.layer_pattern", "model", "train.tokens", "train.schedule",
    "train.branches", "train.batch_warmup_start", "data.source", "data", "mesh.fsdp", "mesh", "name", "x.y",
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), json_values), max_size=3))
def test_any_override_gives_a_run_or_one_line(changes: list[tuple[str, Any]]) -> None:
    overrides = [f"{field}={yaml.safe_dump(value, default_flow_style=True)}" for field, value in changes]
    try:
        run = load_run("cpu", overrides)
    except BadInputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert load_run(yaml.safe_load(dump_yaml(run))) == run


@given(st.text(max_size=30))
def test_any_text_as_an_override_parses_or_is_refused_in_one_line(text: str) -> None:
    try:
        for parts, _ in parse_overrides([text]):
            assert all(parts)
    except BadInputError as error:
        assert len(str(error).splitlines()) == 1


def test_merge_and_apply_leave_their_arguments_alone() -> None:
    base = {"a": {"b": 1}, "c": [1]}
    merged = merge(base, {"a": {"d": 2}, "c": [2]})
    changed = apply_override(base, ["a", "b"], 5)
    assert merged == {"a": {"b": 1, "d": 2}, "c": [2]}
    assert changed == {"a": {"b": 5}, "c": [1]}
    assert base == {"a": {"b": 1}, "c": [1]}


def test_a_missing_file_and_a_directory_are_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(BadInputError):
            read_yaml(path)
