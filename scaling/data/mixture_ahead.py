"""What a run would read of each source of a mixture, before it reads it: shares, epochs, what runs out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scaling.config.data import DataConfig
from scaling.config.objective import Objective
from scaling.data.ahead import DataAhead, data_ahead
from scaling.data.apportionment import Apportionment
from scaling.runtime.errors import BadInputError


@dataclass(frozen=True)
class SourceAhead:
    """What a budget reads of one source: input positions, and passes over it; null where that is unknown."""

    tokens: int
    epochs: float | None


def reads(config: DataConfig, sizes: Mapping[str, int | None], tokens: int) -> dict[str, SourceAhead]:
    """What a run of so many tokens reads of each source, those that are capped up to their end.

    `sizes` are the rows of an epoch of each source; of a config without a mixture, of the one source.
    """
    rows = max(1, tokens // config.sequence_length)
    if config.mixture is None:
        return {
            name: SourceAhead(rows * config.sequence_length, None if size is None else rows / size)
            for name, size in sizes.items()
        }
    limits = [
        one.max_epochs * size if (size := sizes[name]) and one.max_epochs and one.exhausted == "cap" else None
        for name, one in config.mixture.items()
    ]
    phases = [
        (round(at * rows), [weights.get(name, 0.0) for name in config.mixture])
        for at, weights in config.mixture_phases()
    ]
    found = Apportionment(phases, limits, [True] * len(limits))
    counts = found.counts(min(rows, found.length))
    return {
        name: SourceAhead(count * config.sequence_length, None if size is None else count / size)
        for name, count, size in zip(config.mixture, counts, map(sizes.get, config.mixture), strict=True)
    }


@dataclass(frozen=True)
class MixtureAhead:
    """An estimate of each corpus of a mixture, in the order of the config."""

    config: DataConfig
    sources: tuple[DataAhead, ...]

    def __hash__(self) -> int:
        return hash(self.config.model_dump_json())

    def reads(self, tokens: int) -> dict[str, SourceAhead]:
        """What a run of so many tokens reads of each source, those that are capped up to their end."""
        length = self.config.sequence_length
        sizes = [one.tokens_per_epoch and max(1, one.tokens_per_epoch // length) for one in self.sources]
        return reads(self.config, dict(zip(self.config.mixture or (), sizes, strict=True)), tokens)

    def as_dict(self, tokens: int, smallest: int) -> dict[str, Any]:
        """Plain JSON: totals, and each source with its epochs at the largest and the smallest budget."""
        mixture = self.config.mixture or {}
        most, least = self.reads(tokens), self.reads(smallest)
        sources = {
            name: {
                **asdict(one),
                "weight": mixture[name].weight,
                "tokens": most[name].tokens,
                "epochs": most[name].epochs,
                "epochs_of_smallest_budget": least[name].epochs,
                "max_epochs": mixture[name].max_epochs,
                "exhausted": mixture[name].exhausted,
            }
            for name, one in zip(mixture, self.sources, strict=True)
        }
        totals = {
            name: None if None in (found := [one[name] for one in sources.values()]) else sum(found)
            for name in ("documents", "bytes", "tokens_per_epoch")
        }
        return {"source": self.config.source, **totals, "estimated": True, "sources": sources}


def mixture_ahead(
    config: DataConfig, objective: Objective | None = None, vocab_size: int | None = None
) -> MixtureAhead:
    """Estimate each source of a mixture as `data_ahead` does.

    Raises:
        BadInputError: as `data_ahead`; the message begins with the name of the source.
    """
    found = []
    for name in config.mixture or ():
        try:
            found.append(data_ahead(config.of_source(name), objective, vocab_size))
        except BadInputError as error:
            raise BadInputError(f"data.mixture.{name}: {error}") from error
    return MixtureAhead(config, tuple(found))
