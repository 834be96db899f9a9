"""YAML's numbers and booleans by the core schema of YAML 1.2; what is dumped reads back in either version."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import as_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # The spec's own examples (section 10.3.2), then what YAML 1.1 reads otherwise.
        ("0", 0), ("0o7", 7), ("0x3A", 58), ("-19", -19), ("0.", 0.0), ("-0.0", 0.0), (".5", 0.5),
        ("+12e03", 12_000.0), ("-2E+05", -200_000.0), (".inf", float("inf")), ("-.Inf", -float("inf")),
        ("true", True), ("False", False), ("TRUE", True), ("null", None), ("~", None), ("", None),
        ("010", 10), ("0100000", 100_000), ("-010", -10), ("09", 9), ("1e-3", 1e-3), ("6.5e+6", 6.5e6),
        ("20:00:00", "20:00:00"), ("20:25", "20:25"), ("yes", "yes"), ("No", "No"), ("on", "on"),
        ("OFF", "OFF"),        ("y", "y"), ("0b11", "0b11"), ("2026-01-01", "2026-01-01"),
        ("1e3x", "1e3x"), ("1.2.3", "1.2.3"),
        ("1_000_000", 1_000_000), ("1_000.5", 1000.5), ("1_0", "1_0"), ("2024_01_01", "2024_01_01"),
        ("_1", "_1"), ("=", "="), ("0o8", "0o8"), ("0x", "0x"), ("١٢", "١٢"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: Any) -> None:
    read = parse_yaml(text, "x")
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a: 1, a: 2}", "'a' is given twice"),
        ('{a: 1, "a": 2}', "'a' is given twice"),
        ("{0x1: 1, 1: 2}", "'1' is given twice"),
        ("a: {b: [{c: 1, c: 2}]}", "'c' is given twice"),
        ("!!bool yes", "'yes' is not true or false"),
        ("!!int x", "invalid literal"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("9" * 5000, "digits"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as error:
        parse_yaml(text, "x")
    assert len(str(error.value).splitlines()) == 1


AMBIGUOUS = st.sampled_from(
    ["yes", "no", "on", "010", "0o7", "1e3", "1_000", "20:00:00", "2026-01-01", "null", "~", "", ".5", "<<",
     "=", "0x1F", "true", "09", "-1", ".inf", "y", "n", "1e-3", "0b1", "+1.e5", "- a", "a: b", "\u2028",
     "a\x85b"]
)  # fmt: skip
VALUES = st.recursive(
    AMBIGUOUS | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
    | st.none() | st.booleans() | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(AMBIGUOUS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), VALUES, max_size=4))
def test_what_is_written_reads_back_in_either_version(tree: dict[str, Any]) -> None:
    text = as_yaml(tree)
    assert parse_yaml(text, "x") == tree
    assert yaml.safe_load(text) == tree  # YAML 1.1


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12), st.integers(0, 4), st.sampled_from(["", "+", "-"]))
def test_leading_zeros_change_nothing(number: int, zeros: int, sign: str) -> None:
    digits = str(abs(number))
    assert parse_yaml(f"{sign}{'0' * zeros}{digits}", "x") == int(f"{sign}{digits}")
