"""What a corpus or the data of a run hold: `scaling data describe`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaling.api.arguments import Overrides, overrides_of
from scaling.api.results import Result
from scaling.api.text.blocks import Block
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.data import DataConfig
    from scaling.data.description import DataDescription


@dataclass(frozen=True, repr=False)
class Described(Result):
    """The description of a corpus or a mixture."""

    description: "DataDescription"

    def to_dict(self) -> dict[str, Any]:
        """Counts, sources and the first row."""
        return self.description.as_dict()

    def blocks(self) -> list[Block]:
        """The tables, and the first row."""
        from scaling.api.text.data import description_blocks

        return description_blocks(self.description)


def describe(what: str | None = None, overrides: Overrides = None, *, tokens: int | None = None) -> Described:
    """Count what a corpus holds, as the rows that a run would train on.

    Args:
        what: a source as `data.source`, or a run: a name in `configs/runs` or a YAML file. The default is the
            embedded corpus.
        overrides: changes to the data, as `packing=best_fit`, or to the run, as `data.packing=best_fit`.
        tokens: a budget, for the epochs it takes; that of the run by default.

    Raises:
        BadInputError: the source or the run is unknown, or cannot be read.
    """
    from scaling.data.description import describe_data

    changes = overrides_of(overrides)
    if tokens is not None and tokens < 1:
        raise BadInputError(f"--tokens {tokens}: give a budget of at least 1")
    if what is not None and not _is_source(what):
        from scaling.config.load import load_run

        run = load_run(what, changes)
        budget = tokens or run.train.tokens_before(run.train.total_steps())
        return Described(describe_data(run.data, vocab_size=run.model.vocab_size, tokens=budget))
    return Described(describe_data(_data(what, changes), tokens=tokens))


def _is_source(what: str) -> bool:
    """Whether a text names a source; a source of an unknown kind is refused as one."""
    from scaling.config.data import EMBEDDED_SOURCE

    return what == EMBEDDED_SOURCE or ":" in what


def _data(source: str | None, changes: list[str]) -> "DataConfig":
    """The data of a source with overrides, which may begin with `data.`."""
    from scaling.config.data import DataConfig
    from scaling.config.load import apply_override, parse_overrides, validate

    tree: dict[str, Any] = {"data": {} if source is None else {"source": source}}
    for parts, value in parse_overrides(changes):
        path = parts if parts[0] == "data" and len(parts) > 1 else ["data", *parts]
        tree = apply_override(tree, path, value)
    data: DataConfig = validate(DataConfig, tree["data"], "data")
    return data
