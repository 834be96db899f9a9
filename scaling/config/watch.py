"""How a run is watched: where its metrics go, and which steps are profiled. Its numbers are the same."""

import re
from typing import Any

from pydantic import Field, field_validator

from scaling.config.base import Frozen

_STEPS = re.compile(r"^(\d{1,9}):(\d{1,9})$")


class TrackingConfig(Frozen):
    """Where metrics go in addition to `metrics.jsonl`.

    Keys, hosts and users of Weights & Biases and MLflow come from their own environment variables
    (WANDB_API_KEY, MLFLOW_TRACKING_URI, ...) and stay there: a config holds no secrets.
    """

    tensorboard: bool = True
    """Write TensorBoard events into the run directory."""
    wandb: str | None = Field(default=None, min_length=1, max_length=120)
    """Weights & Biases project; null is off."""
    mlflow: str | None = Field(default=None, min_length=1, max_length=120)
    """MLflow experiment; null is off."""


class ProfileConfig(Frozen):
    """A window of steps, `FIRST:STOP` as a slice, whose trace is written to `profile/` of the run.

    `20:25` are the steps 20 to 24, counted from 1 as in `metrics.jsonl`.
    """

    steps: str | None = None
    """Steps to trace, as `FIRST:STOP`; null traces none."""

    @field_validator("steps", mode="before")
    @classmethod
    def _steps(cls, value: Any) -> Any:
        if value is None:
            return None
        found = _STEPS.match(value) if isinstance(value, str) else None
        if found is None or not 1 <= int(found[1]) < int(found[2]):
            raise ValueError(f"{value!r}: give FIRST:STOP with 1 <= FIRST < STOP, for example 20:25")
        return value

    @property
    def window(self) -> tuple[int, int] | None:
        """The first step and the one after the last; None without a window."""
        if self.steps is None:
            return None
        first, stop = self.steps.split(":")
        return int(first), int(stop)
