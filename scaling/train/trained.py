"""A trained model read back from its run directory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from scaling.config.run import RunConfig
from scaling.data.tokenizers import Tokenizer
from scaling.models.build import new_model
from scaling.models.language_model import LanguageModel
from scaling.objectives.specials import Specials
from scaling.parallel.mesh import shardings
from scaling.runtime.errors import BadInputError
from scaling.train.checkpoints import restore_model
from scaling.train.run_directory import SOURCE, read_origin, read_run
from scaling.train.run_tokenizer import run_tokenizer


@dataclass(frozen=True)
class Trained:
    """The trained model of a run, with its config."""

    run: RunConfig
    model: LanguageModel
    path: Path
    origin: dict[str, Any] = field(default_factory=dict)  # of imported weights: `source.json`

    @property
    def start(self) -> int:
        """The id before a decoder's text: end-of-text, unless imported weights have another."""
        if not self.run.model.two_sided and self._frame("opening") is not None:
            special = self.tokenizer.special  # what the checkpoint's own tokenizer names, as the harness does
            named = special.bos if special.bos is not None else special.eos
            return self.tokenizer.end_of_text if named is None else named
        key = "decoder_start_token_id" if self.run.model.two_sided else "bos_token_id"
        held = self.origin.get(key)
        return held if isinstance(held, int) else self.tokenizer.end_of_text

    @property
    def opening(self) -> tuple[int, ...]:
        """The ids before every text that the model reads.

        Of imported weights, those of their tokenizer; otherwise the start of a decoder's text.
        """
        held = self._frame("opening")
        if held is None:
            return (self.start,) if self.run.model.family == "decoder" else ()
        return held

    @property
    def closing(self) -> tuple[int, ...]:
        """The ids after every complete text that the model reads: of imported weights, their tokenizer's."""
        return self._frame("closing") or ()

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end generated text: those of imported weights' files, otherwise the end of text."""
        return self._frame("ends") or (self.tokenizer.end_of_text,)

    @property
    def mask(self) -> int:
        """The id of [MASK], as in training."""
        held = self.tokenizer
        return Specials(self.run.model.vocab_size, held.vocab_size, held.end_of_text, held.special).mask

    def prompt(self, text: str) -> list[int]:
        """The ids of a text that a decoder continues, or that the encoder of an encoder-decoder reads."""
        ids = [*self.opening, *self.tokenizer.encode(text).tolist()]
        if self.run.model.two_sided:
            return [*ids, *self.closing]
        return ids or [self.start]

    def _frame(self, side: str) -> tuple[int, ...] | None:
        """Ids that `source.json` gives for one side of a text; None if it gives none.

        Raises:
            BadInputError: something other than ids of the model.
        """
        held = self.origin.get(side)
        if held is None:
            return None
        if not isinstance(held, list) or not all(
            isinstance(i, int) and 0 <= i < self.run.model.vocab_size for i in held
        ):
            raise BadInputError(
                f"{self.path / SOURCE}: {side}={str(held)[:60]} is not a list of ids of the model"
            )
        return tuple(held)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer, read when it is first needed.

        Raises:
            BadInputError: its file is missing, was changed or does not fit the model, or the run reads only
                ids.
        """
        tokenizer = run_tokenizer(self.path, self.run.data)
        if tokenizer.vocab_size > self.run.model.vocab_size:
            raise BadInputError(
                f"data.tokenizer={self.run.data.tokenizer}: has {tokenizer.vocab_size} pieces, and the "
                f"model's vocabulary {self.run.model.vocab_size}"
            )
        return tokenizer

    @property
    def writable(self) -> int | None:
        """The number of ids, from 0, that the model may write; None is all of its vocabulary.

        A decoder writes ids that its tokenizer has text for. An encoder-decoder also writes sentinels, which
        are beyond the tokenizer and decode to nothing.
        """
        model = self.run.model
        return self.tokenizer.vocab_size if model.generates and not model.two_sided else None

    def check_rows(self, rows: Sequence[Sequence[int]]) -> None:
        """Refuse rows with padding, which this model does not read as its authors' code does.

        RoBERTa counts positions from the padding before a token, and its padding has a position of its own:
        rows are given without it, and may differ in length.

        Raises:
            BadInputError: names the row and the place.
        """
        pad = self.origin.get("pad_token_id")
        if self.origin.get("model_type") != "roberta" or not isinstance(pad, int):
            return
        for i, row in enumerate(rows):
            if pad in row:
                place = list(row).index(pad)
                raise BadInputError(
                    f"ids[{i}][{place}]={pad} is padding: leave it out; rows may differ in length"
                )


def load_trained(
    path: Path, warn: Callable[[str], None], *, step: int | None = None, mesh: Mesh | None = None
) -> Trained:
    """The newest complete checkpoint of a run directory, or the one of `step`, and its config.

    Without a `mesh` the model is on one device.

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
    return Trained(run, model, path, read_origin(path))
