"""Loss spikes: what counts as one, how far a run goes back, and how much data it then passes by."""

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from scaling.config.base import Frozen


class SpikesConfig(Frozen):
    """Rewinding past loss spikes (Chowdhery et al. 2022, section 5.1: PaLM went back about 100 steps from a
    spike and skipped 200 to 500 batches, among them those around it, and the spike did not come back).

    A step is a spike where its loss is above the median of the `window` losses before it by `deviations`
    robust standard deviations (1.4826 times the median absolute deviation), or where its loss or gradient
    norm is not finite. The defaults are PaLM's where the paper gives them.
    """

    deviations: float = Field(default=10.0, gt=0)
    window: int = Field(default=128, ge=8)  # losses that a step is held against; judged from half of them on
    rewind_steps: PositiveInt = 100  # the checkpoint is at least so far before the spike
    skip_batches: PositiveInt = 200  # counted from rewind_steps before the spike
    max_rewinds: NonNegativeInt = 10  # then the run stops

    @model_validator(mode="after")
    def _check(self) -> "SpikesConfig":
        if self.skip_batches <= self.rewind_steps:
            raise ValueError(
                f"skip_batches={self.skip_batches} would not skip the spike's own batch: give more than "
                f"rewind_steps={self.rewind_steps}"
            )
        return self
