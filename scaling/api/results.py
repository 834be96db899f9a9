"""What all results of the API share: JSON, data frames, text and HTML."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scaling.api.text.blocks import Block, html_of, terminal_width, text_of
from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from pandas import DataFrame

WIDTH = 100  # columns of a result's text where there is no terminal


class Result:
    """What a function of the API returns. In a notebook it shows itself as a table."""

    def to_dict(self) -> Any:
        """The JSON document that the command prints with `--json`."""
        raise NotImplementedError

    def blocks(self) -> Sequence[Block]:
        """The tables and paragraphs that the command prints."""
        raise NotImplementedError

    def __str__(self) -> str:
        return text_of(self.blocks(), terminal_width() or WIDTH)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_of(self.blocks())


class TableResult(Result):
    """A result that is a table."""

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """A mapping per row of the table, with unrounded numbers."""
        raise NotImplementedError

    def to_frame(self) -> "DataFrame":
        """The rows as a pandas DataFrame.

        Raises:
            BadInputError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise BadInputError(
                "to_frame: pandas is not installed; pip install 'scaling-lab[pandas]'"
            ) from error
        return DataFrame(list(self.rows()))


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with joined keys: `{"params": {"total": 1}}` as `{"params.total": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
