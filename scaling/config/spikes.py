"""Loss spikes: what counts as one, how far a run rewinds, and how much data it then skips."""

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from scaling.config.base import Frozen


class SpikesConfig(Frozen):
    """Rewinding past loss spikes (Chowdhery et al. 2022, section 5.1: PaLM rewound about 100 steps from a
    spike and skipped 200 to 500 batches, including those around it, and the spike did not recur).

    A step is a spike if its loss is above the median of the `window` losses before it by `deviations`
    robust standard deviations (1.4826 times the median absolute deviation), or if its loss or gradient
    norm is not finite. The defaults are PaLM's where the paper gives them.
    """

    deviations: float = Field(default=10.0, gt=0)
    """Robust standard deviations above the running median that count as a spike."""
    window: int = Field(default=128, ge=8)
    """Losses in the running median, in steps; steps are judged once half of them exist."""
    rewind_steps: PositiveInt = 100
    """Steps before the spike that the checkpoint to return to must be, at least."""
    skip_batches: PositiveInt = 200
    """Batches to skip, counted from `rewind_steps` before the spike."""
    max_rewinds: NonNegativeInt = 10
    """Rewinds after which the run stops."""

    @model_validator(mode="after")
    def _check(self) -> "SpikesConfig":
        if self.skip_batches <= self.rewind_steps:
            raise ValueError(
                f"skip_batches={self.skip_batches} would not skip the spike's own batch: give more than "
                f"rewind_steps={self.rewind_steps}"
            )
        return self
