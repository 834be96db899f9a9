"""Schedules against their closed forms, and the arithmetic of steps and tokens."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.config.load import validate
from scaling.config.train import TrainConfig
from scaling.train.schedules import computed_tokens, make_schedule, segments


def _train(**fields: object) -> TrainConfig:
    return validate(TrainConfig, {"steps": 100, "batch_tokens": 32, "learning_rate": 1.0, **fields})


def test_warmup_is_linear_and_reaches_the_peak() -> None:
    rate = make_schedule(_train(warmup_steps=10, schedule="constant"), 100)
    assert [rate(i) for i in (0, 4, 9, 10, 99)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])


def test_cosine_ends_at_its_floor() -> None:
    rate = make_schedule(_train(warmup_steps=20, final_lr_fraction=0.1), 100)
    assert rate(20) == 1.0
    assert rate(60) == pytest.approx(0.55)
    assert rate(100) == pytest.approx(0.1)


def test_wsd_cools_down_by_one_minus_the_square_root() -> None:
    rate = make_schedule(_train(schedule="wsd", cooldown_fraction=0.2, final_lr_fraction=0.0), 100)
    assert rate(80) == rate(5) == 1.0
    assert rate(85) == pytest.approx(1 - math.sqrt(5 / 20))
    assert rate(99) == pytest.approx(1 - math.sqrt(19 / 20))


def test_inverse_square_root_and_linear() -> None:
    rate = make_schedule(_train(schedule="inverse_sqrt", warmup_steps=4), 100)
    assert rate(3) == rate(4 - 1) == 1.0
    assert rate(15) == pytest.approx(0.5)
    line = make_schedule(_train(schedule="linear", final_lr_fraction=0.0), 100)
    assert [line(i) for i in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0])


@given(
    start=st.sampled_from([32, 64, 128]),
    warmup=st.integers(1, 20_000),
    tokens=st.integers(512, 200_000),
)
def test_steps_and_tokens_agree_under_batch_warmup(start: int, warmup: int, tokens: int) -> None:
    train = _train(
        steps=None, tokens=tokens, batch_tokens=512, batch_warmup_start=start, batch_warmup_tokens=warmup
    )
    steps = train.total_steps()
    assert train.tokens_before(steps) <= max(tokens, train.tokens_before(1))
    assert train.tokens_before(steps + 1) > tokens
    sizes = [train.tokens_before(i + 1) - train.tokens_before(i) for i in range(min(steps, 300))]
    assert sizes == sorted(sizes) and set(sizes) <= {32, 64, 128, 256, 512}


@given(
    budgets=st.lists(st.integers(1, 400), min_size=1, max_size=5, unique=True).map(sorted),
    cooldown=st.floats(0.01, 1.0),
)
def test_segments_cover_the_trunk_once_and_every_branch_leaves_it(
    budgets: list[int], cooldown: float
) -> None:
    tokens = [b * 32 for b in budgets]
    train = _train(
        steps=None, tokens=tokens[-1], branches=tokens[:-1], schedule="wsd", cooldown_fraction=cooldown
    )
    plan = segments(train)
    trunk = [part for part in plan if part.branch is None]
    assert [part.start for part in trunk] == [0, *[part.stop for part in trunk[:-1]]]
    assert trunk[-1].stop == budgets[-1]
    assert [part.stop for part in plan if part.branch is not None] == budgets[:-1]
    trunk_rate = make_schedule(train, plan[-1].total)
    for part in plan:
        if part.branch is not None and part.start > 0:
            assert make_schedule(train, part.total)(part.start - 1) == trunk_rate(part.start - 1)
    assert computed_tokens(train) >= tokens[-1]
