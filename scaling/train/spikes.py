"""Loss spikes: noticed by a running median, and how far to go back from one."""

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from scaling.config.train import SpikesConfig

_TO_SIGMA = 1.4826  # of a median absolute deviation, for a normal distribution (Rousseeuw and Croux 1993)
_LEAST = 1e-3  # of the median: a loss that hardly varies is no reason to call a hundredth of it a spike
_SMALLEST = 1e-6  # nats: a loss of exactly zero has no spread and no size; the rounding of a loss in float32


class SpikeError(Exception):
    """A step whose loss stands out, or is not finite: caught by the loop, which goes back."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step, self.reason = step, reason


class SpikeDetector:
    """Holds each step's loss against those before it. Its state is those losses: `state()` goes into
    checkpoints, so that a resumed run judges as the undisturbed one does."""

    def __init__(self, config: SpikesConfig, losses: Iterable[float] = ()) -> None:
        self._config = config
        self._losses = deque(losses, maxlen=config.window)

    def state(self) -> list[float]:
        """The losses that the next one is held against, the newest last."""
        return list(self._losses)

    def judge(self, metrics: Mapping[str, float]) -> str | None:
        """Why this step is a spike, in words; None, and its loss is kept, where it is none."""
        if (name := not_finite(metrics)) is not None:
            return f"{name} is {metrics[name]}"
        loss = metrics["loss"]
        if 2 * len(self._losses) >= self._config.window:
            losses = np.array(self._losses)
            median = float(np.median(losses))
            deviation = _TO_SIGMA * float(np.median(np.abs(losses - median)))
            deviation = max(deviation, _LEAST * abs(median), _SMALLEST)
            if loss > median + self._config.deviations * deviation:
                return (
                    f"loss {loss:.4f} is {(loss - median) / deviation:.1f} robust deviations above the "
                    f"median {median:.4f} of {len(losses)} steps"
                )
        self._losses.append(loss)
        return None


def not_finite(metrics: Mapping[str, float]) -> str | None:
    """The first metric that is NaN or infinite."""
    return next((name for name, value in metrics.items() if not math.isfinite(value)), None)


def goal(first: int, spike: int, kept: Collection[int], every: int) -> int:
    """The checkpoint to go back to from a spike at step `spike`, or 0 for the start.

    The last multiple of `every` up to `first`, the step whose batch is the first to be skipped: the same
    however often the run was stopped. Where it is gone (damaged, or pushed out by those that a stopped run
    saves), the newest before it, else the oldest before the spike.
    """
    wanted = first // every * every
    if wanted == 0 or wanted in kept:
        return wanted
    before = [step for step in kept if step < spike]
    earlier = [step for step in before if step <= first]
    return max(earlier) if earlier else min(before, default=0)
