"""Case 01: what a sweep's file says is in its runs, or is refused with what to write instead."""

from pathlib import Path

import pytest

from scaling.config.load import load_sweep
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand

HERE = Path(__file__).parent / "01-sweep-seed"


def test_replicates_by_an_axis_are_different_runs() -> None:
    runs = expand(load_sweep(HERE / "grid.yaml"))
    assert [run.train.seed for run in runs] == [0, 1, 2]
    assert len({run.id() for run in runs}) == 3


def test_rungs_keep_their_seeds() -> None:
    runs = expand(load_sweep(HERE / "rungs.yaml"))
    assert [(run.name, run.train.seed) for run in runs] == [("a", 1), ("b", 2)]


def test_a_ladder_keeps_the_seed_and_refuses_a_schedule_that_it_cannot_have() -> None:
    with pytest.raises(BadInputError, match=r"base\.train\.schedule='cosine'.*write branches=false"):
        expand(load_sweep(HERE / "ladder.yaml"))
    for run in expand(load_sweep(HERE / "ladder.yaml", ["branches=false"])):
        assert (run.train.seed, run.train.schedule) == (7, "cosine")
    (run,) = expand(load_sweep(HERE / "ladder.yaml", ["base.train.schedule=wsd"]))
    assert (run.train.seed, run.train.schedule, run.train.branches) == (7, "wsd", (18_432,))


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("ladder", "base.train.tokens=50000", r"base\.train\.tokens=50000: write the budgets .* as tokens"),
        ("ladder", "base.train.steps=9", r"base\.train\.steps=9: write the budgets"),
        ("ladder", "base.train.branches=[4096]", r"base\.train\.branches=.*: each budget is a branch"),
        ("ladder", "base.model.d_model=64", r"base\.model\.d_model=64: write the widths .* as widths"),
        ("ladder", "base.name=x", r"base\.name='x': .* the sweep's own name"),
        ("ladder", "base.model.family=lstm", r"base\.model\.family='lstm': .* write design=rungs"),
        ("ladder", "axes.train.seed=[1]", "axes is not read by design=ladder"),
        ("ladder", "tokens=[100]", "a budget of 100 tokens at width 16 is less than one batch of 2,048"),
        ("ladder", "tokens=[40000,40100]", "two budgets at width 16 are 19 batches"),
        ("ladder", "train.seed=1", r"override train\.seed: .* write base\.train\.seed"),
        ("grid", "base.train.seed=3", r"override base\.train\.seed: axes\.train\.seed sets it"),
        ("grid", "seeds=[1,2]", "both give the seed"),
        ("grid", "widths=[8]", "widths is not read by design=grid"),
        ("rungs", "base.train.seed=3", r"rung 1 sets it itself: write rungs\.0\.train\.seed"),
        ("rungs", "rungs.2.train.seed=3", "'2' is not one of 0 to 1"),
        ("rungs", "budgets=[1e9,1e9]", r"base\.train\.tokens=4096: budgets gives the runs theirs"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_what_to_write(name: str, override: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as error:
        expand(load_sweep(HERE / f"{name}.yaml", [override]))
    assert len(str(error.value).splitlines()) == 1


def test_overrides_are_honoured() -> None:
    assert [r.train.seed for r in expand(load_sweep(HERE / "grid.yaml", ["axes.train.seed=[5, 6]"]))] == [
        5,
        6,
    ]
    assert [r.train.seed for r in expand(load_sweep(HERE / "rungs.yaml", ["rungs.0.train.seed=9"]))] == [9, 2]
    one = expand(load_sweep(HERE / "rungs.yaml", ["base.train.steps=5"]))
    assert {(run.train.steps, run.train.tokens) for run in one} == {(5, None)}
