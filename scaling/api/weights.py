"""Trained weights: `import_hf`, `export_hf`, `score`, `generate`."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.api.progress import say
from scaling.api.results import Result, TableResult
from scaling.api.scored import check_logits, text_rows
from scaling.api.text.blocks import Block, Table, Text, table
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scaling.config.record import RunRecord
    from scaling.hf.convert import Exported

_SHOWN = 20  # tokens in a notebook


@dataclass(frozen=True, repr=False)
class ImportedRun(Result):
    """A run made from weights that were trained elsewhere."""

    record: "RunRecord"
    directory: Path

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return self.record.model_dump(mode="json")

    def blocks(self) -> list[Block]:  # noqa: D102
        record, out = self.record, self.directory
        given = "--ids FILE.json" if record.tokenizer == "ids" else "--text FILE"
        return [
            Text(
                f"{record.params.total:,} parameters ({record.family}), tokenizer {record.tokenizer}; "
                f"written to {out}; next: scaling score {out} {given}"
            )
        ]


def import_hf(
    path: str | Path, out: str | Path, *, tokenizer: str | None = None, dtype: str = "float32"
) -> ImportedRun:
    """Make a run from a Hugging Face checkpoint: GPT-1, GPT-2, LLaMA, BERT, RoBERTa, ALBERT or T5.

    Args:
        path: directory with config.json and safetensors.
        out: run directory to create.
        tokenizer: hf:PATH, sentencepiece:PATH, bytes or ids; by default the tokenizer in the folder, or ids.
        dtype: type of the parameters: float32 or bfloat16.

    Returns:
        The record of the run.

    Raises:
        BadInputError: an architecture or a tensor that is not supported, or `out` exists.

    Example:
        >>> scaling.import_hf("downloads/gpt2", "runs/gpt2")
    """
    from scaling.hf.convert import import_run

    record = import_run(Path(path), Path(out), tokenizer=tokenizer, dtype=dtype, say=say)
    return ImportedRun(record, Path(out))


@dataclass(frozen=True, repr=False)
class ExportedRun(Result):
    """Weights in the Hugging Face layout, in `directory`."""

    exported: "Exported"
    directory: Path

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        done = self.exported
        return {
            "out": str(self.directory),
            "architecture": done.architecture,
            "parameters": done.parameters,
            "bytes": done.size,
            "files": [file.name for file in done.files],
        }

    def blocks(self) -> list[Block]:  # noqa: D102
        done = self.exported
        files = f"{len(done.files)} file(s) in {self.directory}"
        return [Text(f"{done.architecture}, {done.parameters:,} parameters, {files}")]


def export_hf(
    run: str | Path, out: str | Path, *, layout: str | None = None, shard_bytes: float | str = 5e9
) -> ExportedRun:
    """Write a run's weights as config.json and safetensors, for transformers to load.

    Args:
        run: run directory.
        out: directory to create.
        layout: openai-gpt, gpt2, llama, bert, roberta, albert or t5; what fits by default.
        shard_bytes: most bytes per file of weights.

    Returns:
        The architecture and the files.

    Raises:
        BadInputError: no layout holds the model, or `out` exists.

    Example:
        >>> scaling.export_hf("runs/mine/w64", "export")
    """
    from scaling.hf.convert import export_run

    try:
        most = int(float(shard_bytes))
    except (ValueError, OverflowError) as error:
        raise BadInputError(f"--shard-bytes {shard_bytes}: give a number of bytes, as 5e9") from error
    done = export_run(Path(run), Path(out), layout=layout, shard_bytes=most, warn=say)
    return ExportedRun(done, Path(out))


@dataclass(frozen=True, repr=False)
class TokenScores(TableResult):
    """Log-probabilities in nats, one per scored token of each row. `bits_per_byte` is None for ids;
    `logits_BLV` is an array where it was requested. The table has a row per token."""

    run: Path
    family: str
    tokens: Sequence[Sequence[int]]
    log_probs: Sequence[Sequence[float]]
    bits_per_byte: float | None
    logits_BLV: "NDArray[np.float32] | None" = None
    logits_path: Path | None = None

    @property
    def count(self) -> int:
        """Scored tokens."""
        return sum(map(len, self.tokens))

    @property
    def log_prob(self) -> float:
        """The sum of all log-probabilities, in nats."""
        return sum(map(sum, self.log_probs))

    def to_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "run": str(self.run),
            "family": self.family,
            "rows": [
                {"tokens": tokens, "log_probs": values, "sum": sum(values)}
                for tokens, values in zip(self.tokens, self.log_probs, strict=True)
            ],
            "tokens": self.count,
            "log_prob": self.log_prob,
            "nats_per_token": -self.log_prob / self.count if self.count else None,
            "bits_per_byte": self.bits_per_byte,
            "logits": None if self.logits_path is None else str(self.logits_path),
        }

    def rows(self) -> list[dict[str, Any]]:  # noqa: D102
        return [
            {"row": i, "token": token, "log_prob": value}
            for i, (tokens, values) in enumerate(zip(self.tokens, self.log_probs, strict=True))
            for token, value in zip(tokens, values, strict=True)
        ]

    def blocks(self) -> list[Block]:  # noqa: D102
        lines = [f"{one['row']:4} {one['token']:8} {one['log_prob']:12.6f}" for one in self.rows()]
        return [*map(Text, lines), Text(self._total())]

    def _total(self) -> str:
        mean = f", {-self.log_prob / self.count:.4f} nats per token" if self.count else ""
        per_byte = "" if self.bits_per_byte is None else f", {self.bits_per_byte:.4f} bits per byte"
        return f"{self.count:,} tokens: log-probability {self.log_prob:.4f}{mean}{per_byte}"

    def _repr_html_(self) -> str:
        rows = self.rows()
        cells = [(str(one["row"]), str(one["token"]), f"{one['log_prob']:.4f}") for one in rows[:_SHOWN]]
        grid: Table = table(self._total(), ("row", "token", "log-probability"), cells, left=0, keys=0)
        return grid.html() + (f"<p>and {len(rows) - _SHOWN} more</p>" if len(rows) > _SHOWN else "")


def score(
    run: str | Path,
    text: str | None = None,
    *,
    ids: Sequence[Sequence[int]] | None = None,
    decoder_ids: Sequence[Sequence[int]] | None = None,
    logits: bool | str | Path = False,
) -> TokenScores:
    """The log-probability of each token, in nats.

    A decoder's tokens from the second on, each given those before it; an encoder's tokens each at its own
    position, nothing masked; an encoder-decoder's decoder ids from the second on, given the ids. Text is
    framed by the special tokens of the run's tokenizer; an encoder-decoder writes it, given an empty text.

    Args:
        run: run directory.
        text: text to score. Give this or `ids`.
        ids: rows of token ids.
        decoder_ids: rows of the decoder, for an encoder-decoder.
        logits: keep the logits, float32 (rows, longest, vocabulary), zero past a row's end; or the .npy file
            to write them to.

    Returns:
        Tokens with their log-probabilities, and the mean in nats per token and bits per byte.

    Raises:
        BadInputError: ids outside the vocabulary, rows longer than the model's positions, or a run without
            the tokenizer that the text needs.

    Example:
        >>> scaling.score("runs/mine/w64", "def f(x):").bits_per_byte
    """
    if (text is None) == (ids is None):
        raise BadInputError("give text or ids, one of them")
    if text == "":
        raise BadInputError("text: it is empty; give at least one character")
    path = Path(logits) if isinstance(logits, str | Path) else None
    if path is not None:
        check_logits(path)
    from scaling.models.score import score as score_rows
    from scaling.train.trained import load_trained

    trained = load_trained(Path(run), say)
    if ids is not None:
        rows = [list(row) for row in ids]
        decoder_rows = None if decoder_ids is None else [list(row) for row in decoder_ids]
    else:
        rows, decoder_rows = text_rows(trained, text or "")
    trained.check_rows(rows)
    scores = score_rows(trained.model, rows, decoder_rows, keep_logits=bool(logits))
    if text is not None and trained.run.model.family == "encoder":
        scores = scores.inner(len(trained.opening), len(trained.closing))
    if path is not None:
        _save(path, scores.logits_BLV)
    total, bits = sum(map(sum, scores.log_probs)), None
    if text is not None:
        bits = -total / math.log(2) / len(text.encode())
    return TokenScores(
        Path(run),
        trained.run.model.family,
        scores.tokens,
        scores.log_probs,
        bits,
        scores.logits_BLV if logits else None,
        path,
    )


def _save(path: Path, array: Any) -> None:
    import numpy as np

    from scaling.runtime.files import write_atomically

    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getvalue())


@dataclass(frozen=True, repr=False)
class Generated(Result):
    """A continuation of a prompt: its `text` and its `tokens`."""

    prompt: str
    text: str
    tokens: Sequence[int]

    def to_dict(self) -> Mapping[str, Any]:  # noqa: D102
        return {"prompt": self.prompt, "text": self.text, "tokens": list(self.tokens)}

    def blocks(self) -> list[Block]:  # noqa: D102
        return [Text(self.prompt + self.text)]


def generate(
    run: str | Path,
    prompt: str,
    *,
    tokens: int = 100,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    beams: int | None = None,
    length_penalty: float = 0.6,
    seed: int = 0,
) -> Generated:
    """Continue a prompt with a trained decoder, or answer it with an encoder-decoder.

    Args:
        run: run directory.
        prompt: text to continue.
        tokens: most tokens to generate.
        temperature: sampling temperature; 0 is greedy.
        top_k: sample from the k most likely tokens.
        top_p: sample from the most likely tokens that reach this probability.
        beams: number of beams, for beam search instead of sampling.
        length_penalty: length penalty of beam search; 0 is none.
        seed: seed of the samples.

    Returns:
        The continuation.

    Raises:
        BadInputError: a model that does not generate, a prompt longer than its positions, or bad settings.

    Example:
        >>> scaling.generate("runs/mine/w64", "def f(x):", tokens=20, temperature=0)
    """
    from scaling.models.generate import Beams, Sampling
    from scaling.models.generate import generate as continue_prompts
    from scaling.train.trained import load_trained

    how = Sampling(temperature, top_k, top_p) if beams is None else Beams(beams, length_penalty)
    how.check()
    trained = load_trained(Path(run), say)
    new = continue_prompts(
        trained.model,
        [trained.prompt(prompt)],
        new_tokens=tokens,
        sampling=how,
        seed=seed,
        start=trained.start,
        stops=trained.ends,
        writable=trained.writable,
    )[0]
    return Generated(prompt, trained.tokenizer.decode(new), new)
