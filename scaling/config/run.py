"""A run: one model, one data set, one budget, one mesh. What `config.yaml` in a run directory holds."""

import hashlib
import json

from pydantic import Field, model_validator

from scaling.config.base import Frozen
from scaling.config.data import DataConfig
from scaling.config.mesh import MeshConfig
from scaling.config.model import ModelConfig
from scaling.config.train import TrainConfig


class RunConfig(Frozen):
    """Everything that a run's numbers depend on, and nothing else."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+-]*$", max_length=120)
    model: ModelConfig
    data: DataConfig = DataConfig()
    train: TrainConfig
    mesh: MeshConfig = MeshConfig()

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        length, train = self.data.sequence_length, self.train
        if length > self.model.max_length:
            raise ValueError(
                f"data.sequence_length={length} is longer than the positions of the model "
                f"(model.max_length={self.model.max_length})"
            )
        for _, batch in train.batch_stages():
            if batch % length:
                raise ValueError(
                    f"train.batch_tokens={batch} is not a whole number of sequences of "
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
                    f"divide over mesh data x fsdp = {shards} devices"
                )
        return self

    def id(self) -> str:
        """Twelve hex digits: the SHA-256 of the canonical JSON of the resolved config without its mesh.

        The mesh says where a run is computed, not what: a run may resume on another one.
        """
        tree = self.model_dump(mode="json", exclude={"mesh"})
        text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
