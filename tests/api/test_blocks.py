"""Tables and paragraphs within the columns of a terminal: nothing is cut, and no word is broken."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.api.text.blocks import Table, Text, count_in_words, seconds_in_words, table, terminal_width
from scaling.api.text.runs import forecast_table
from scaling.config.load import load_sweep, names
from scaling.sweep.design import expand
from scaling.sweep.run_cost import cost_of_run

NAMES = ("run", "status", "done", "params", "tokens", "FLOPs", "loss", "bits/byte", "time", "tok/s", "note")
ROWS = (
    ("mup-d_model=128-learning_rate=0.002", "finished", "100%", "471k", "164k", "1.2e11", "2.9876", "1.23",
     "1.5 min", "12,345", ""),
    ("small", "failed", "3%", "11k", "5k", "1.2e09", "-", "-", "2 s", "345",
     "the loss is not finite at step 12: lower train.learning_rate or raise train.warmup_steps"),
)  # fmt: skip


def cells_of(text: str) -> list[str]:
    return re.findall(r"\S+", text)


def check(grid: Table, width: int) -> None:
    lines = grid.lines(width)
    words = {word for row in (grid.columns, *grid.rows) for cell in row for word in cells_of(cell)}
    words |= set(cells_of(grid.title))
    longest = max(map(len, words))
    assert max(map(len, lines)) <= max(width, longest + 2)
    assert {word for line in lines for word in cells_of(line)} <= words, "a word was broken"
    for row in grid.rows:  # nothing was left out
        for cell in row:
            shown = " ".join(lines).split()
            assert cell in ("", "-") or set(cells_of(cell)) <= set(shown)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 400])
def test_a_wide_table(width: int) -> None:
    check(table("A ledger of runs", NAMES, ROWS, left=2, words_last=True), width)


def test_a_table_that_fits_is_one_block_and_its_natural_width_is_kept_without_a_terminal() -> None:
    grid = table("", ("run", "token budgets", "loss"), [("a", "1", "2.5"), ("b", "2", "2.25")])
    assert (
        grid.lines(None)
        == grid.lines(80)
        == [
            "run  token budgets  loss",
            "a                1   2.5",
            "b                2  2.25",
        ]
    )
    assert grid.lines(20) == [
        "run    token  loss",
        "     budgets",
        "a          1   2.5",
        "b          2  2.25",
    ]
    assert grid.lines(14) == [
        "run    token", "     budgets", "a          1", "b          2", "",
        "run  loss", "a     2.5", "b    2.25",
    ]  # fmt: skip


def test_columns_without_a_value_are_left_out() -> None:
    grid = table("", ("run", "MFU", "note"), [("a", "-", ""), ("b", "-", "")])
    assert grid.lines(None) == ["run", "a", "b"]


def test_keys_that_are_too_wide_are_on_lines_of_their_own() -> None:
    grid = table("", ("run", "loss", "time"), [("r" * 38, "2.5", "3 s")])
    assert grid.lines(40) == ["run", "  loss  time", "r" * 38, "   2.5   3 s"]


@settings(deadline=None, max_examples=100)
@given(
    rows=st.lists(
        st.lists(
            st.text(alphabet="ab1 ,", max_size=30).map(lambda t: " ".join(t.split())), min_size=6, max_size=6
        ),
        min_size=1,
        max_size=4,
    ),
    left=st.integers(1, 6),
    keys=st.integers(1, 3),
    width=st.integers(40, 100),
)
def test_any_table(rows: list[list[str]], left: int, keys: int, width: int) -> None:
    check(table("A title", ("key", "a", "two words", "c", "d", "e"), rows, left, keys=keys), width)


@pytest.mark.parametrize("name", names("sweeps"))
def test_plans_of_the_named_sweeps_fit_80_columns(name: str) -> None:
    plans = [cost_of_run(run, 1e11) for run in expand(load_sweep(name))]
    check(forecast_table(f"Sweep {name}", plans), 80)


def test_numbers_are_rounded_to_what_a_reader_needs() -> None:
    assert [count_in_words(n) for n in (0, 9_999, 10_704, 999_424, 999_700, 1_572_864, 174_604_259_328)] == [
        "0", "9,999", "10.7k", "999k", "1M", "1.57M", "175B",
    ]  # fmt: skip
    assert [seconds_in_words(s) for s in (12, 100, 9_000, 1e6, 1e7, 1.3e13)] == [
        "12 s", "1.7 min", "2.5 h", "11.6 days", "116 days", "412,000 years",
    ]  # fmt: skip


def test_a_paragraph() -> None:
    text = "note: " + "words that a terminal would break in the middle " * 4
    assert Text(text).lines() == [text]
    lines = Text(text).lines(80)
    assert len(lines) == 3 and max(map(len, lines)) <= 80
    assert " ".join(line.strip() for line in lines) == text.strip()
    assert Text("\nthen this\n  indented").lines(80) == ["", "then this", "  indented"]


def test_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert terminal_width() is None
    for columns, width in (("80", 80), ("12", 40)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal_width() == width
