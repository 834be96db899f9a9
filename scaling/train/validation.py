"""Validation losses of a run: in nats per token and bits per byte, of each source and of their mixture."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scaling.config.record import SourceLoss
from scaling.data.validation import ValidationSet


@dataclass(frozen=True)
class ValidationLosses:
    """`loss` in nats per token, and bits per byte where the targets hold text.

    Of a mixture they are those of text in which each source has the share of tokens that the mixture begins
    with: the weighted mean of the losses, and the weighted bits over the weighted bytes. `by_source` has the
    losses of each source; it is None without a mixture.
    """

    loss: float
    bits_per_byte: float | None
    by_source: dict[str, SourceLoss] | None = None

    def line(self) -> dict[str, Any]:
        """The losses as a line of metrics.jsonl has them."""
        return {
            "validation_loss": self.loss,
            "bits_per_byte": self.bits_per_byte,
            **({} if self.by_source is None else {"by_source": dumped(self.by_source)}),
        }


def dumped(by_source: Mapping[str, SourceLoss]) -> dict[str, Any]:
    """Losses by source as plain JSON."""
    return {name: one.model_dump() for name, one in by_source.items()}


def validation_losses(sets: Sequence[ValidationSet], sums: Sequence[tuple[float, float]]) -> ValidationLosses:
    """The losses on validation sets, from the summed loss in nats of each, and its tokens."""
    losses = [source_loss(*sum, one.batches.text_bytes) for one, sum in zip(sets, sums, strict=True)]
    if sets[0].name is None:
        return ValidationLosses(losses[0].loss, losses[0].bits_per_byte)
    by_source = {str(one.name): loss for one, loss in zip(sets, losses, strict=True)}
    return mixed(by_source, {str(one.name): one.weight for one in sets})


def source_loss(nll: float, tokens: float, text_bytes: int) -> SourceLoss:
    """The losses of a set with a summed loss of `nll` nats."""
    loss = nll / tokens
    bits = nll / math.log(2) / text_bytes if text_bytes else None
    return SourceLoss(loss=loss, bits_per_byte=bits)


def mixed(by_source: Mapping[str, SourceLoss], weights: Mapping[str, float]) -> ValidationLosses:
    """The losses of a mixture in which sources have these shares of the tokens, which sum to 1."""
    read = [(weights[name], one) for name, one in by_source.items() if weights[name] > 0]
    loss = math.fsum(weight * one.loss for weight, one in read)
    return ValidationLosses(loss, _bits(loss, read), dict(by_source))


def _bits(loss: float, read: Iterable[tuple[float, SourceLoss]]) -> float | None:
    sizes = [(weight, one.bytes_per_token) for weight, one in read]
    if any(size is None for _, size in sizes):
        return None
    return loss / math.log(2) / math.fsum(weight * (size or 0.0) for weight, size in sizes)
