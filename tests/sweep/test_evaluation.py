"""A sweep that names an evaluation scores its runs; an offset gives it other seeds."""

from pathlib import Path

import pytest

from scaling.config.load import load_sweep
from scaling.config.record import read_evaluations
from scaling.config.sweep import SweepConfig
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand
from scaling.sweep.execute import run_sweep
from scaling.train.progress import Silent

TINY = [
    "seeds=[0,1]",
    "base.train.tokens=8192",
    "base.train.warmup_steps=1",
    "base.train.eval_tokens=512",
    "base.data.max_documents=40",
    "rungs=[{model: {d_model: 4, n_heads: 1}}, {model: {d_model: 8, n_heads: 1}}]",
    "evaluation.items=4",
]


@pytest.fixture
def tiny() -> SweepConfig:
    return load_sweep("emergence-cpu", TINY)


@pytest.mark.slow
def test_every_run_of_a_sweep_is_scored(tiny: SweepConfig, tmp_path: Path) -> None:
    records, failures = run_sweep(tiny, tmp_path, Silent())
    assert failures == []
    scored = read_evaluations(tmp_path)
    assert {e.run_id for e in scored} == {r.id for r in records}
    assert len(scored) == 4
    assert {t.task for e in scored for t in e.results} == {"reverse6", "copy8"}


def test_an_offset_moves_every_seed_and_nothing_else(tiny: SweepConfig) -> None:
    first, other = expand(tiny), expand(tiny.with_seed_offset(100))
    assert [run.train.seed for run in first] == [0, 0, 1, 1]
    assert [run.train.seed for run in other] == [100, 100, 101, 101]
    assert not {run.id() for run in first} & {run.id() for run in other}
    same = {"name", "train"}
    for a, b in zip(first, other, strict=True):
        assert a.model_dump(exclude=same) == b.model_dump(exclude=same)


def test_a_sweep_without_seeds_has_none_to_move(tiny: SweepConfig) -> None:
    with pytest.raises(BadInputError, match="has no seeds; give seeds="):
        tiny.model_copy(update={"seeds": None}).with_seed_offset(1)
