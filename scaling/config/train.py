"""Training configuration: budget, batch, optimizer, schedule, checkpoints, loss spikes, tracking."""

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

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


@dataclasses.dataclass(frozen=True)
class OptimizerFacts:
    """What an optimizer keeps and computes; memory, step time and FLOPs are estimated from it.

    `moments` arrays of a parameter's shape are kept for it, and `hidden_moments` for a matrix inside the
    network where that differs. `factored` keeps row and column sums in place of a matrix's moment (Shazeer
    and Stern 2018). `newton_schulz_steps` orthogonalise the update of every matrix inside the network.
    """

    moments: int
    hidden_moments: int | None = None
    factored: bool = False
    newton_schulz_steps: int = 0


# Each has its update in `scaling.train.optimizers`.
OPTIMIZERS: dict[str, OptimizerFacts] = {
    "adamw": OptimizerFacts(moments=2),
    "adafactor": OptimizerFacts(moments=1, factored=True),
    # Embeddings, the head, biases and norm scales are AdamW's (Jordan et al. 2024).
    "muon": OptimizerFacts(moments=2, hidden_moments=1, newton_schulz_steps=5),
    "lion": OptimizerFacts(moments=1),
}
if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]


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


ScheduleName = Literal["cosine", "wsd", "inverse_sqrt", "linear", "constant"]


class TrainConfig(Frozen):
    """How a model is trained. Token counts are input positions (of the source, for models with two sides),
    whatever the objective predicts; steps are optimizer steps.

    Give the budget as `tokens` or as `steps`. With the `wsd` schedule (warm-up, stable, decay: Hu et al.
    2024; the (1 - sqrt) cooldown of Hägele et al. 2024), `branches` lists smaller token budgets: each has its
    own cooldown from the one stable trunk, and so its own final loss.
    """

    tokens: PositiveInt | None = None
    """Budget in tokens (input positions). Give this or `steps`."""
    steps: PositiveInt | None = None
    """Budget in optimizer steps. Give this or `tokens`."""
    branches: tuple[PositiveInt, ...] = ()
    """Smaller token budgets, each with a cooldown of its own from the one `wsd` trunk; rising."""

    batch_tokens: PositiveInt
    """Tokens per optimizer step."""
    accumulation: PositiveInt = 1
    """Microbatches per step, which add up to `batch_tokens`."""
    batch_warmup_tokens: NonNegativeInt = 0
    """Tokens over which the batch grows to `batch_tokens`, by doubling; 0 is no warm-up."""
    batch_warmup_start: PositiveInt | None = None
    """Tokens per step at the start of that warm-up."""

    optimizer: OptimizerName = "adamw"
    """Optimizer."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the second moment."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay: each step shrinks weights by learning rate times this."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Global norm at which gradients are clipped; null does not clip."""

    schedule: ScheduleName = "cosine"
    """Learning-rate schedule after the warm-up."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate rises linearly from 0."""
    final_lr_fraction: float = Field(default=0.1, ge=0, le=1)
    """Floor of the `cosine` and `linear` schedules and of the cooldown, as a share of the peak."""
    cooldown_fraction: float = Field(default=0.2, gt=0, le=1)
    """Share of all steps that the `wsd` cooldown takes."""

    z_loss: float = Field(default=0.0, ge=0)
    """Weight of the squared log-normaliser of the output softmax; 0 is none."""
    loss_chunk: PositiveInt | None = None
    """Positions per row whose logits are in memory at once; null chooses."""

    eval_every: PositiveInt | None = None
    """Steps between evaluations; null evaluates only at the end."""
    eval_tokens: PositiveInt = 65_536
    """Validation tokens per evaluation; of a mixture, of each source."""
    log_every: PositiveInt = 10
    """Steps between lines of metrics."""
    checkpoint_every: PositiveInt | None = None
    """Steps between checkpoints; null saves only branch points and the end."""
    keep_checkpoints: int = Field(default=2, ge=2)
    """Newest checkpoints to keep; at least two, so that a damaged one can be replaced."""
    spikes: SpikesConfig | None = None
    """Rewind after loss spikes; `true` uses the defaults, null is off."""
    seed: NonNegativeInt = 0
    """Seed of the initial weights and of the noise in training (dropout, router jitter)."""

    @field_validator("spikes", mode="before")
    @classmethod
    def _spikes(cls, value: Any) -> Any:
        return ({} if value else None) if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if (self.tokens is None) == (self.steps is None):
            raise ValueError("give the budget as either tokens or steps")
        if self.tokens is not None and self.tokens < self.batch_tokens:
            raise ValueError(
                f"tokens={self.tokens} is less than one batch of batch_tokens={self.batch_tokens}"
            )
        if bool(self.batch_warmup_tokens) != (self.batch_warmup_start is not None):
            raise ValueError("batch_warmup_tokens and batch_warmup_start are given together")
        if self.batch_warmup_start is not None and self.batch_warmup_start > self.batch_tokens:
            raise ValueError("batch_warmup_start is more than batch_tokens")
        self._check_spikes()
        if self.branches:
            if self.schedule != "wsd":
                raise ValueError("branches need schedule=wsd: only a stable trunk can be cooled down twice")
            if self.batch_warmup_tokens:
                raise ValueError("branches and batch_warmup_tokens cannot be combined")
            if self.tokens is None:
                raise ValueError("branches are token budgets: give the trunk's budget as tokens too")
            if list(self.branches) != sorted(set(self.branches)):
                raise ValueError("branches must rise and not repeat")
            if self.branches[-1] >= self.tokens:
                raise ValueError(f"branches must be less than tokens={self.tokens}")
            if self.branches[0] < self.batch_tokens:
                raise ValueError(f"branches[0]={self.branches[0]} is less than one batch")
        return self

    def _check_spikes(self) -> None:
        """Check that a checkpoint far enough back is always kept."""
        if self.spikes is None:
            return
        back, every = self.spikes.rewind_steps, self.checkpoint_every
        if every is None:
            raise ValueError("spikes need checkpoints to rewind to: give checkpoint_every too")
        if (self.keep_checkpoints - 1) * every < back:
            raise ValueError(
                f"spikes.rewind_steps={back} is more than keep_checkpoints={self.keep_checkpoints} "
                f"checkpoints of checkpoint_every={every} cover: keep at least {-(-back // every) + 1}"
            )

    def batch_stages(self) -> tuple[tuple[int, int], ...]:
        """(first step, batch tokens) of each stage; one stage unless the batch warms up.

        The warm-up doubles the batch at equal shares of `batch_warmup_tokens`: each size is one more
        compiled step, so a few doublings approximate the linear ramp of GPT-3.
        """
        if self.batch_warmup_start is None:
            return ((0, self.batch_tokens),)
        sizes = []
        size = self.batch_warmup_start
        while size < self.batch_tokens:
            sizes.append(size)
            size *= 2
        stages, step = [], 0
        for size in sizes:
            stages.append((step, size))
            step += max(1, round(self.batch_warmup_tokens / len(sizes) / size))
        return (*stages, (step, self.batch_tokens))

    def tokens_before(self, step: int) -> int:
        """Tokens trained on before `step` (steps count from 0)."""
        stages = self.batch_stages()
        ends = [first for first, _ in stages[1:]] + [step]
        return sum(
            size * (min(end, step) - first)
            for (first, size), end in zip(stages, ends, strict=True)
            if step > first
        )

    def steps_for(self, tokens: int) -> int:
        """The most steps that fit in `tokens`, at least one."""
        first, size = self.batch_stages()[-1]
        if tokens >= self.tokens_before(first) + size or first == 0:
            return max(1, first + (tokens - self.tokens_before(first)) // size)
        low = 1
        while self.tokens_before(low + 1) <= tokens:
            low += 1
        return low

    def total_steps(self) -> int:
        """Steps of the complete run, the trunk's own cooldown included."""
        return self.steps if self.steps is not None else self.steps_for(self.tokens or self.batch_tokens)

    def cooldown_steps(self, total: int) -> int:
        """Steps of the cooldown that ends a budget of `total` steps."""
        return min(total, max(1, math.ceil(self.cooldown_fraction * total)))
