"""A trained model read back from its run directory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax

from scaling.config.errors import BadInputError
from scaling.config.run import RunConfig
from scaling.data.tokenizers import Tokenizer, load_tokenizer
from scaling.models.build import new_model
from scaling.models.language_model import LanguageModel
from scaling.train.checkpoints import restore_model
from scaling.train.run_directory import read_origin, read_run


@dataclass(frozen=True)
class Trained:
    """What a run left behind, on one device."""

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


def load_trained(path: Path, warn: Callable[[str], None]) -> Trained:
    """The newest whole checkpoint of a run directory, and its config.

    Raises:
        BadInputError: not a run directory, or no checkpoint that can be read.
    """
    run = read_run(path)
    like = jax.eval_shape(lambda: new_model(run.model, jax.random.key(0)))
    model = restore_model(path / "checkpoints", like, warn)
    if model is None:
        raise BadInputError(f"{path}: no checkpoint that can be read; train the run first")
    return Trained(run, model, read_origin(path))
