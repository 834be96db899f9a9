"""Case 08: only CR and LF end a line; U+2028, U+0085, VT and FF are characters of a field."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.evals.benchmark_files import lines_of, read_csv, read_jsonl, read_tsv
from scaling.evals.suites import load_suite

HERE = Path(__file__).parent / "08-unicode-line-breaks"
MARKS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


def test_rows_with_marks_are_one_row_each() -> None:
    (rte,) = load_suite(f"glue:{HERE}/RTE" if (HERE / "RTE").is_dir() else f"glue:{HERE}/glue/RTE").tasks
    assert rte.size() == 13
    (anatomy,) = load_suite(f"mmlu:{HERE}/mmlu").tasks
    assert anatomy.size() == 4
    last = anatomy.item(3, 0, 0).query.question
    assert last.startswith("Two\nlines\nA. a")


FIELD = st.text(st.sampled_from("ab " + MARKS), min_size=1, max_size=8).map(lambda text: f"x{text}x")


@settings(deadline=None, max_examples=50)
@given(st.lists(FIELD, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n", "\r"]))
def test_fields_come_back_as_they_were(tmp_path_factory: Any, fields: list[str], end: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "a.tsv").write_bytes(end.join(["text", *fields, ""]).encode())
    assert [entry.fields["text"] for entry in read_tsv(folder / "a.tsv")] == fields
    (folder / "a.csv").write_bytes(end.join([*fields, ""]).encode())
    assert [entry.fields["text"] for entry in read_csv(folder / "a.csv", ["text"])] == fields
    lines = [json.dumps({"text": field}, ensure_ascii=False) for field in fields]
    (folder / "a.jsonl").write_bytes(end.join([*lines, ""]).encode())
    assert [entry.fields["text"] for entry in read_jsonl(folder / "a.jsonl")] == fields


@pytest.mark.parametrize("mark", MARKS)
def test_lines_of(mark: str) -> None:
    assert lines_of(f"a{mark}b\nc\r\nd\re") == [f"a{mark}b", "c", "d", "e"]
