"""Lines of progress on a terminal of 80 columns: nothing is cut off but the beginnings of long names."""

import io

import pytest
from rich.console import Console

from scaling.train.progress import Counter, Status, Terminal


def console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def drawn(bars: object, width: int) -> list[str]:
    page = Console(file=io.StringIO(), width=width, color_system=None)
    page.print(bars)
    return page.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_bars_of_runs(width: int) -> None:
    status = Status(step=1234, loss=12.56789, tokens_per_second=123_456_789.0, mfu=0.3456)
    with Terminal(console(width)) as first:
        second = first.another()
        for bar, name in ((first, "demo-168k"), (second, "standard-d_model=128-learning_rate=0.128")):
            bar.start(name, 572_204, 0)
            bar.advance(572_203, status)
        lines = drawn(first._bar.get_renderable(), width)  # type: ignore[union-attr]
        first.finish()
        assert len(drawn(first._bar.get_renderable(), width)) == 1, "a finished bar is removed"  # type: ignore[union-attr]
    assert len(lines) == 2 and max(map(len, lines)) <= width
    for line, name in zip(lines, ("demo-168k", "rate=0.128"), strict=True):
        assert name in line
        assert "572,203/572,204 loss 12.568 123M tok/s 35% MFU" in line
        assert line.rstrip().endswith(":--") or line.rstrip()[-1].isdigit()


def test_a_counter() -> None:
    with Counter(12_000, console(80)) as counter:
        counter.name("emergence-cpu-ladder-8 at step 3,173")
        counter.advance("induction8, exact match, 8 shots")
        (line,) = drawn(counter._bar.get_renderable(), 80)
    assert "0/12,000 induction8, exact match" in line and "at step 3,173" in line
    assert len(line) <= 80 and line.rstrip().endswith(":--")


@pytest.mark.parametrize(
    ("rate", "mfu", "shown"),
    [
        (None, None, "loss 2.500 compiling"),
        (950.0, None, "loss 2.500 950 tok/s"),
        (12_345.0, 0.5, "loss 2.500 12.3k tok/s 50% MFU"),
        (2.5e9, 0.5, "loss 2.500 2.5B tok/s 50% MFU"),
    ],
)
def test_a_short_status(rate: float | None, mfu: float | None, shown: str) -> None:
    assert Status(1, 2.5, rate, mfu).short() == shown


@pytest.mark.parametrize("terminal", [True, False])
def test_messages_wrap_at_words_on_a_terminal_alone(terminal: bool) -> None:
    page = Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None)
    text = "[3/3] learning_rate=0.002: 224,704 parameters, loss 2.8434 at 397,312 tokens, 260 s"
    Terminal(page).message(text)
    lines = page.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == (2 if terminal else 1)
    assert " ".join(line.strip() for line in lines) == text
