"""A trained model read back from its run directory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax

from scaling.config.errors import BadInputError
from scaling.config.run import RunConfig
from scaling.data.tokenizers import Tokenizer, load_tokenizer
from scaling.models.build import new_model
from scaling.models.language_model import LanguageModel
from scaling.train.checkpoints import restore_model
from scaling.train.run_directory import read_run


@dataclass(frozen=True)
class Trained:
    """What a run left behind, on one device."""

    run: RunConfig
    model: LanguageModel

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
    return Trained(run, model)
