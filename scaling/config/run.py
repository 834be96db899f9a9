"""A run: one model, one data set, one budget, one mesh. What `config.yaml` in a run directory holds."""

import hashlib
import json
from typing import Any

from pydantic import Field, model_validator

from scaling.config.base import Frozen, identity
from scaling.config.data import Arrays, DataConfig, batch_arrays, masked_limit, row_lengths
from scaling.config.mesh import MeshConfig
from scaling.config.model import EncoderConfig, ModelConfig
from scaling.config.objective import (
    MaskedObjective,
    ObjectiveConfig,
    check_objective,
    with_default_objective,
)
from scaling.config.train import ProfileConfig, TrackingConfig, TrainConfig

_UNRELATED = ("mesh", "tracking", "profile")  # fields that an id does not depend on


class RunConfig(Frozen):
    """Everything that a run's numbers depend on, and where its metrics go.

    The default objective follows from the model's family: `masked` for encoders, `spans` for
    encoder-decoders, `causal` for everything else. `train.batch_tokens` and all token budgets count input
    positions, rows times data.sequence_length, whatever the objective (T5's convention: Raffel et al. 2019,
    section 3.1.2).
    """

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+-]*$", max_length=120)
    model: ModelConfig
    """The model; its `family` selects the fields."""
    objective: ObjectiveConfig
    """What is predicted; by default, the first objective of the model's family."""
    data: DataConfig = DataConfig()
    """Corpus, tokenizer and rows."""
    train: TrainConfig
    """Budget, batch, optimizer and schedule."""
    mesh: MeshConfig = MeshConfig()
    """Devices per axis of parallelism."""
    tracking: TrackingConfig = TrackingConfig()
    """Where metrics go in addition to `metrics.jsonl`."""
    profile: ProfileConfig = ProfileConfig()
    """Steps to trace."""

    @model_validator(mode="before")
    @classmethod
    def _fill_objective(cls, data: Any) -> Any:
        return with_default_objective(data)

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        length, train = self.data.sequence_length, self.train
        check_objective(self.objective, self.model)
        if length > self.model.max_length:
            raise ValueError(
                f"data.sequence_length={length} is longer than the positions of the model "
                f"(model.max_length={self.model.max_length})"
            )
        self._check_targets()
        self._check_data()
        self.mesh.check_experts(self.model.experts)
        self.mesh.check_context(length, self.model.splits_sequences)
        self.mesh.check_stages(self.model.stacks, self.model.layer_period)
        for _, batch in train.batch_stages():
            if batch % length:
                raise ValueError(
                    f"train.batch_tokens={batch} does not divide into sequences of "
                    f"data.sequence_length={length}"
                )
            rows = batch // length
            if rows % train.accumulation:
                raise ValueError(
                    f"a batch of {rows} sequences does not divide by train.accumulation={train.accumulation}"
                )
            shards = self.mesh.batch_shards()
            if shards and rows // train.accumulation % shards:
                raise ValueError(
                    f"a batch of {rows // train.accumulation} sequences (train.batch_tokens={batch}, "
                    f"data.sequence_length={length}, train.accumulation={train.accumulation}) does not "
                    f"divide over mesh data x fsdp x expert = {shards} devices"
                )
            if rows // train.accumulation % ((shards or 1) * self.mesh.parts):
                raise ValueError(
                    f"a batch of {rows // train.accumulation} sequences does not divide into "
                    f"mesh.microbatches={self.mesh.parts} over data x fsdp x expert = {shards} devices"
                )
        return self

    def _check_data(self) -> None:
        """Check that the mixture and the packing suit the objective and the cooldown branches."""
        data, train = self.data, self.train
        if data.packing == "best_fit" and self.objective.name != "causal":
            raise ValueError(
                f"data.packing=best_fit packs documents for objective causal, not {self.objective.name}: "
                "use cut"
            )
        earliest = min((change.at for change in data.mixture_schedule), default=1.0)
        if train.branches and earliest < 1 - train.cooldown_fraction:
            raise ValueError(
                f"data.mixture_schedule.0.at={earliest:g} changes the weights before the cooldowns of "
                f"train.branches begin, at {1 - train.cooldown_fraction:g} of each budget, while all budgets "
                f"still have one trunk: give at least {1 - train.cooldown_fraction:g}, or train each budget "
                "as a run of its own (branches=false in a sweep)"
            )

    def _check_targets(self) -> None:
        """Check that the model has the positions and the heads that the objective needs."""
        length, objective, model = self.data.sequence_length, self.objective, self.model
        target = self.target_length
        if target is not None and target > model.max_length:
            raise ValueError(
                f"objective: {objective.name} has targets of {target} tokens at "
                f"data.sequence_length={length}, more than the positions of the model "
                f"(model.max_length={model.max_length})"
            )
        if not isinstance(objective, MaskedObjective) or not isinstance(model, EncoderConfig):
            return
        chosen, computed = masked_limit(objective.rate, length), round(model.head_positions * length)
        if model.head_positions < 1 and computed < chosen:
            raise ValueError(
                f"model.head_positions={model.head_positions} computes the head at {computed} of {length} "
                f"positions, objective.rate={objective.rate} masks up to {chosen}: give at least the rate"
            )
        if objective.sentences == "none":
            return
        if not model.sentence_head:
            raise ValueError(f"objective.sentences={objective.sentences} needs model.sentence_head=true")
        if model.token_types < 2:
            raise ValueError(
                f"objective.sentences={objective.sentences} needs model.token_types of at least 2, "
                f"it is {model.token_types}"
            )

    @property
    def target_length(self) -> int | None:
        """Positions of a row's target; None for a model of one side."""
        return row_lengths(self.objective, self.data.sequence_length).target

    def batch_arrays(self) -> Arrays:
        """Name, shape and type of every array in the largest training batch, over all hosts."""
        rows = self.train.batch_tokens // self.data.sequence_length
        return batch_arrays(self.objective, self.data, rows)

    def id(self) -> str:
        """Twelve hex digits: the start of the SHA-256 of the canonical JSON of the resolved config.

        The mesh is not part of it, because it does not change what is computed: a run may resume on another
        one. Nor are tracking and profiling. See `scaling.config.base.identity`.
        """
        tree = {name: value for name, value in identity(self).items() if name not in _UNRELATED}
        text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
