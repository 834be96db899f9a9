"""Tables of the report: cells of escaped text, and the markup around them."""

import html
from collections.abc import Callable, Sequence

Cell = tuple[str, str]  # text or markup already escaped, and its class


def maybe(value: float | None, form: str) -> str:
    """The number, or a dash where there is none."""
    return "\N{EN DASH}" if value is None else format(value, form)


def text_cell(value: object) -> Cell:
    """A cell of any text, escaped."""
    return html.escape(str(value)), "text"


def number_cell(value: str) -> Cell:
    """A cell of a number, which stands at the right."""
    return html.escape(value), "number"


def html_table(head: Sequence[str], rows: Sequence[Sequence[Cell]], foot: Sequence[Cell] = ()) -> str:
    """Rows under a head of titles, which are escaped here, over a foot."""
    row: Callable[[Sequence[Cell]], str] = lambda cells: (  # noqa: E731
        "<tr>" + "".join(f'<td class="{kind}">{text}</td>' for text, kind in cells) + "</tr>"
    )
    kinds = [kind for _, kind in rows[0]] if rows else []
    titles = "".join(
        f'<th class="{kind}">{html.escape(name)}</th>' for name, kind in zip(head, kinds, strict=False)
    )
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    bottom = f"<tfoot>{row(foot)}</tfoot>" if foot else ""
    return f'<div class="scroll"><table>{top}<tbody>{"".join(map(row, rows))}</tbody>{bottom}</table></div>'
