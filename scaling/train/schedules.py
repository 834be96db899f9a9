"""Learning-rate schedules: closed forms of the step, evaluated on the host.

The rate enters the compiled step as an argument, so every schedule, every cooldown branch and every rung
with another budget runs the same program.
"""

import math
from collections.abc import Callable

from scaling.config.train import TrainConfig

Schedule = Callable[[int], float]


def _cosine(train: TrainConfig, total: int) -> Schedule:
    """Half a cosine from the peak to the floor (Loshchilov and Hutter 2017)."""

    def at(step: int) -> float:
        done = min(1.0, (step - train.warmup_steps) / max(1, total - train.warmup_steps))
        floor = train.final_lr_fraction
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return at


def _wsd(train: TrainConfig, total: int) -> Schedule:
    """Stable, then a cooldown by 1 - sqrt to the floor (Hägele et al. 2024, equation 1)."""
    steps = train.cooldown_steps(total)

    def at(step: int) -> float:
        done = max(0.0, (step - (total - steps)) / steps)
        return train.final_lr_fraction + (1 - train.final_lr_fraction) * (1 - math.sqrt(done))

    return at


def _inverse_sqrt(train: TrainConfig, total: int) -> Schedule:
    """1 / sqrt(step) after the warm-up (Vaswani et al. 2017, equation 3; Raffel et al. 2020)."""
    start = max(1, train.warmup_steps)
    return lambda step: math.sqrt(start / max(start, step + 1))


def _linear(train: TrainConfig, total: int) -> Schedule:
    """A line from the peak to the floor."""

    def at(step: int) -> float:
        done = min(1.0, (step - train.warmup_steps) / max(1, total - train.warmup_steps))
        return 1 - (1 - train.final_lr_fraction) * done

    return at


def _constant(train: TrainConfig, total: int) -> Schedule:
    """The peak throughout."""
    return lambda step: 1.0


_SHAPES: dict[str, Callable[[TrainConfig, int], Schedule]] = {
    "cosine": _cosine,
    "wsd": _wsd,
    "inverse_sqrt": _inverse_sqrt,
    "linear": _linear,
    "constant": _constant,
}


def make_schedule(train: TrainConfig, total: int) -> Schedule:
    """The learning rate at each step (from 0) of a budget of `total` steps, after a linear warm-up."""
    shape = _SHAPES[train.schedule](train, total)

    def at(step: int) -> float:
        if step < train.warmup_steps:
            return train.learning_rate * (step + 1) / train.warmup_steps
        return train.learning_rate * shape(step)

    return at
