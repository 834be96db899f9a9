"""A trained model read back from its run directory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from scaling.config.errors import BadInputError
from scaling.config.run import RunConfig
from scaling.data.tokenizers import Tokenizer, load_tokenizer
from scaling.models.build import new_model
from scaling.models.language_model import LanguageModel
from scaling.parallel.rules import shardings
from scaling.train.checkpoints import restore_model
from scaling.train.run_directory import read_origin, read_run


@dataclass(frozen=True)
class Trained:
    """What a run left behind."""

    run: RunConfig
    model: LanguageModel
    origin: dict[str, Any] = field(default_factory=dict)  # of imported weights: `source.json`

    @property
    def start(self) -> int:
        """The id before a decoder's text: end-of-text, unless weights from elsewhere say another."""
        key = "decoder_start_token_id" if self.run.model.family == "encoder_decoder" else "bos_token_id"
        held = self.origin.get(key)
        return held if isinstance(held, int) else self.tokenizer.end_of_text

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer, read when it is asked for.

        Raises:
            BadInputError: its file is gone, or the run reads ids alone.
        """
        return load_tokenizer(self.run.data.tokenizer)


def load_trained(
    path: Path, warn: Callable[[str], None], *, step: int | None = None, mesh: Mesh | None = None
) -> Trained:
    """The newest whole checkpoint of a run directory, or the one of `step`, and its config.

    Without a `mesh` the model lies on one device.

    Raises:
        BadInputError: not a run directory, or no checkpoint that can be read.
    """
    run = read_run(path)
    like = jax.eval_shape(lambda: new_model(run.model, jax.random.key(0)))
    laid_out = None if mesh is None else shardings(like, mesh)
    model = restore_model(path / "checkpoints", like, warn, step=step, shardings=laid_out)
    if model is None:
        which = "no checkpoint that can be read" if step is None else f"no checkpoint of step {step}"
        raise BadInputError(f"{path}: {which}; train the run first")
    return Trained(run, model, read_origin(path))
