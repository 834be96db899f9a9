"""Designs expand to the runs they say, sizes come near their targets, budgets keep their FLOPs."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.load import load_sweep, validate
from scaling.config.sweep import Recipe, SweepConfig
from scaling.estimate.counts import count_parameters, run_flops_per_token, train_flops_per_token
from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import as_yaml
from scaling.sweep.design import expand, short
from scaling.sweep.directory import read_ledger, read_sweep
from scaling.sweep.run_cost import cost_of_run
from scaling.train import schedules

BASE = {"model": {"vocab_size": 257, "max_length": 64}, "data": {"sequence_length": 64}}
RECIPE = {"width_per_layer": 16, "d_head": 8, "batch_tokens": 1024, "learning_rate_exponent": -0.25}


def _sweep(**fields: Any) -> SweepConfig:
    return validate(SweepConfig, {"name": "s", "design": "ladder", "base": BASE, "recipe": RECIPE, **fields})


def test_rungs_of_variants_have_equal_flops(tmp_path: Any) -> None:
    """Families of different shapes on the same budgets; what a variant says wins over what they share."""
    (tmp_path / "both.yaml").write_text(
        "design: rungs\nbudgets: [1.0e+9, 4.0e+9]\nseeds: [0]\n"
        "base: {model: {vocab_size: 288, max_length: 64}, data: {sequence_length: 64}, "
        "train: {batch_tokens: 128, learning_rate: 0.01}}\n"
        "variants:\n"
        "  a: {rungs: [{model: {n_layers: 1, d_model: 16, n_heads: 2}}, "
        "{model: {n_layers: 2, d_model: 16, n_heads: 2}, train: {learning_rate: 0.02}}]}\n"
        "  b: {rungs: [{model: {family: lstm, n_layers: 1, d_model: 16}}, "
        "{model: {family: lstm, n_layers: 1, d_model: 32}}], base: {train: {batch_tokens: 256}}}\n"
    )
    sweep = load_sweep(tmp_path / "both.yaml")
    runs = expand(sweep)
    assert [run.name for run in runs] == ["both-a-1", "both-a-2", "both-b-1", "both-b-2"]
    for run, budget in zip(runs, [1e9, 4e9] * 2, strict=True):
        assert run.train.tokens * run_flops_per_token(run) == pytest.approx(budget, rel=0.1)
    assert [run.train.learning_rate for run in runs] == [0.01, 0.02, 0.01, 0.01]
    assert [run.train.batch_tokens for run in runs] == [128, 128, 256, 256]
    held = validate(SweepConfig, sweep.model_dump(mode="json"), "again")
    assert expand(held) == runs  # what sweep.yaml holds is the same sweep


def test_a_ladder_with_branches_is_one_run_a_size() -> None:
    runs = expand(_sweep(widths=[32, 16], tokens=[50_000, 100_000, 200_000]))
    assert [run.model.d_model for run in runs] == [16, 32]
    for run in runs:
        assert run.train.schedule == "wsd"
        assert [*run.train.branches, run.train.tokens] == [49_152, 99_328, 199_680]
        assert run.model.n_layers == run.model.d_model // 16
    assert runs[0].train.learning_rate > runs[1].train.learning_rate
    apart = expand(_sweep(widths=[32, 16], tokens=[50_000, 100_000, 200_000], branches=False))
    assert len(apart) == 6 and not any(run.train.branches for run in apart)


def test_tokens_per_parameter_follow_the_size() -> None:
    for run in expand(_sweep(depths=[2, 3], tokens_per_param=[5, 20])):
        n = count_parameters(run.model).non_embedding_with_head
        assert run.train.tokens == pytest.approx(20 * n, rel=1024 / n)
        assert run.train.branches[0] == pytest.approx(5 * n, rel=1024 / n)


@settings(max_examples=40, deadline=None)
@given(st.floats(3e3, 3e7))
def test_sizes_come_as_near_their_target_as_whole_heads_allow(target: float) -> None:
    (run,) = expand(_sweep(params=[target], tokens=[50_000]))
    n = count_parameters(run.model).non_embedding_with_head
    assert max(n / target, target / n) < 2.2


def test_isoflop_budgets_keep_their_flops() -> None:
    sweep = _sweep(design="isoflop", widths=[16, 24, 32, 48], budgets=[1e11, 4e11], branches=False)
    runs = expand(sweep)
    assert len(runs) == 8
    for run in runs:
        spent = (run.train.tokens or 0) * train_flops_per_token(run.model, 64)
        batch = 1024 * train_flops_per_token(run.model, 64)
        left = min(budget - spent for budget in sweep.budgets if budget >= spent - 1)
        assert left < batch + 1, "within a batch of its budget, and never over it"
        assert cost_of_run(run, 1e11).flops == pytest.approx(spent)


def test_a_grid_is_every_combination_and_every_seed() -> None:
    runs = expand(
        validate(
            SweepConfig,
            {
                "name": "g", "design": "grid", "seeds": [0, 1],
                "base": load_sweep("demo").base
                | {
                    "model": {**BASE["model"], "n_layers": 1, "d_model": 16, "n_heads": 2},
                    "train": {"steps": 10, "batch_tokens": 128, "learning_rate": 0.1},
                },
                "axes": {"train.learning_rate": [0.1, 0.2], "model.n_layers": [1, 2, 3]},
            },
        )
    )  # fmt: skip
    assert len(runs) == 12 and len({run.name for run in runs}) == 12
    assert {(r.train.learning_rate, r.model.n_layers, r.train.seed) for r in runs} == {
        (rate, n, seed) for rate in (0.1, 0.2) for n in (1, 2, 3) for seed in (0, 1)
    }


def test_the_demo_spans_what_it_promises() -> None:
    """Budgets of one 6ND at four sizes or more, each with at least 4 tokens per parameter."""
    runs = expand(load_sweep("demo"))
    sizes = [count_parameters(run.model).non_embedding_with_head for run in runs]
    assert len(runs) >= 6 and sizes[-1] / sizes[0] >= 10
    budgets = [(n, d) for run, n in zip(runs, sizes, strict=True) for d, _ in schedules.budgets(run.train)]
    assert all(d >= 4 * n for n, d in budgets)
    groups = [
        sum(abs(6 * n * d / flops - 1) < 0.01 for n, d in budgets) for flops in (6e10, 1.2e11, 2.4e11, 4.8e11)
    ]
    assert min(groups) >= 4
    assert all(sum(n == size for n, _ in budgets) >= 2 for size in sizes)


def test_two_runs_of_one_name_are_refused() -> None:
    with pytest.raises(BadInputError, match="two runs"):
        expand(_sweep(params=[30_000, 30_001], tokens=[50_000]))


@pytest.mark.parametrize(("number", "text"), [(7424, "7.42k"), (999_600, "1m"), (1.5e9, "1.5b"), (12, "12")])
def test_short(number: float, text: str) -> None:
    assert short(number) == text


def test_recipe_values_are_power_laws() -> None:
    recipe = Recipe(reference_params=1e5, learning_rate=0.01, learning_rate_exponent=-0.5)
    from scaling.sweep.design import training_at_size

    assert training_at_size(recipe, 400_000, 64)["learning_rate"] == pytest.approx(0.005)


def test_one_learning_rate_serves_a_mup_ladder() -> None:
    mup = {"parametrization": "mup", "base_width": 16, "base_depth": 1}
    ladder = _sweep(
        base=BASE | {"model": BASE["model"] | mup}, widths=[16, 32, 64], tokens=[65536],
        recipe=RECIPE | {"learning_rate_exponent": 0.0},
    )  # fmt: skip
    runs = expand(ladder)
    assert len({run.train.learning_rate for run in runs}) == 1
    shapes = [(run.model.width_ratio, run.model.residual_multiplier) for run in runs]  # type: ignore[union-attr]
    assert shapes == [(1, 1), (2, 1 / 2), (4, 1 / 4)]


def test_grids_of_variants_are_told_apart(tmp_path: Any) -> None:
    (tmp_path / "g.yaml").write_text(
        "design: grid\naxes: {train.learning_rate: [0.01, 0.02]}\n"
        "base: {model: {vocab_size: 32, max_length: 64, n_layers: 1, d_model: 16, d_head: 8}, "
        "data: {sequence_length: 64}, train: {batch_tokens: 64, steps: 1}}\n"
        "variants:\n  a: {}\n  b: {base: {model: {parametrization: mup, base_width: 8}}}\n"
    )
    names = [run.name for run in expand(load_sweep(tmp_path / "g.yaml"))]
    assert names == [f"{key}-learning_rate={rate}" for key in "ab" for rate in (0.01, 0.02)]


TRAIN = {"batch_tokens": 128, "learning_rate": 0.01}
WHOLE = {
    **BASE,
    "model": {**BASE["model"], "n_layers": 1, "d_model": 16, "n_heads": 2},
    "train": {**TRAIN, "steps": 3},
}


@pytest.mark.parametrize(
    ("tree", "ids"),
    [
        (
            {"design": "ladder", "base": BASE, "recipe": RECIPE, "widths": [16, 32],
             "tokens": [50_000, 100_000]},
            {"s-7.42k": "1a1f1f7df3ed", "s-33.7k": "dfeb6f660cd7"},
        ),
        (
            {"design": "ladder", "base": BASE, "recipe": RECIPE, "params": [2e4], "tokens_per_param": [2],
             "seeds": [0, 1]},
            {"s-20.7k-s0": "27416a07e8ef", "s-20.7k-s1": "dca574bd3a7a"},
        ),
        (
            {"design": "isoflop", "base": BASE, "recipe": RECIPE, "depths": [1], "budgets": [1e10, 4e10],
             "branches": False},
            {"s-7.42k-203k": "e97d5d5f9a08", "s-7.42k-812k": "05f3c9073f79"},
        ),
        (
            {"design": "grid", "base": WHOLE,
             "axes": {"train.learning_rate": [0.01, 1e-3], "model.n_layers": [1]}},
            {"learning_rate=0.01-n_layers=1": "72f0f3dec988",
             "learning_rate=0.001-n_layers=1": "ebea24bf5049"},
        ),
        (
            {"design": "rungs", "base": {**BASE, "train": TRAIN}, "budgets": [1e9],
             "rungs": [{"model": WHOLE["model"]}]},
            {"s-1": "4b00991fc7af"},
        ),
    ],
)  # fmt: skip
def test_runs_keep_the_ids_of_the_first_version(tree: dict[str, Any], ids: dict[str, str]) -> None:
    """Ids that version 0.1.0 gave: a directory of finished runs is never trained again after an upgrade."""
    assert {run.name: run.id() for run in expand(validate(SweepConfig, {"name": "s", **tree}))} == ids


def test_a_directory_of_the_first_version_is_read(tmp_path: Any) -> None:
    """It wrote the default `seeds: [0]`, and fields that its design did not read."""
    tree = {"name": "s", "design": "rungs", "seeds": [0], "budgets": [1e9], "widths": [8], "axes": {},
            "base": {**WHOLE, "train": {**WHOLE["train"], "seed": 7}}, "rungs": [{}]}  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(as_yaml(tree))
    (run,) = expand(read_sweep(tmp_path))
    assert (run.train.steps, run.train.seed) == (3, 7)
    assert [entry.name for entry in read_ledger(tmp_path)] == ["s-1"]


def test_depths_are_depths() -> None:
    """Also where a width of whole heads would round to another depth."""
    recipe = {**RECIPE, "width_per_layer": 4, "d_head": 16}
    runs = expand(_sweep(depths=[1, 2, 3, 5], recipe=recipe, tokens=[50_000]))
    assert [run.model.n_layers for run in runs] == [1, 2, 3, 5]


def test_a_target_that_no_width_is_near_is_refused() -> None:
    for target in (10.0, 1e14):
        with pytest.raises(BadInputError, match="the nearest size of the recipe"):
            expand(_sweep(params=[target], tokens=[50_000]))


def test_named_bases_are_changed_not_replaced(tmp_path: Any) -> None:
    """By a variant, by a rung, by an override: what the name stands for stays where nothing else is said."""
    (tmp_path / "n.yaml").write_text(
        "design: rungs\nbase: cpu\nvariants:\n"
        "  a: {base: {train: {learning_rate: 1e-2}}, rungs: [{model: {base: cpu-8k, n_layers: 3}}]}\n"
        "  b: {rungs: [{objective: prefix}, {train: {steps: 5}}]}\n"
    )
    three, prefix, steps = expand(load_sweep(tmp_path / "n.yaml", ["base.model.init_std=0.5"]))
    assert (three.train.learning_rate, three.model.n_layers, three.train.batch_tokens) == (0.01, 3, 4096)
    assert prefix.objective.name == "prefix" and prefix.train.tokens == 1_000_000
    assert (steps.train.steps, steps.train.tokens) == (5, None)
    assert {run.model.init_std for run in (prefix, steps)} == {0.5}


def test_overrides_reach_every_variant() -> None:
    """Also fields that the variants give themselves."""
    runs = expand(load_sweep("demo", ["seeds=[3]", "base.train.seed=null", "base.train.log_every=7"]))
    assert {(run.train.seed, run.train.log_every) for run in runs} == {(3, 7)}
    (only,) = {run.model.d_model for run in expand(load_sweep("demo", ["widths=[48]", "seeds=[0]"]))}
    assert only == 48


def test_long_names_of_a_grid_are_cut_and_told_apart() -> None:
    sources = [f"text:{'x' * 150}/{letter}.txt" for letter in "ab"]
    tree = {"name": "g", "design": "grid", "base": WHOLE, "axes": {"data.source": sources}}
    names = [run.name for run in expand(validate(SweepConfig, tree))]
    assert len(set(names)) == 2 and all(len(name) <= 100 for name in names)
