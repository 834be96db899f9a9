"""A DataFrame is read and checked as the CSV file is that it was read from."""

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from scaling.laws import Points, read_points
from scaling.laws.points import canonical
from scaling.laws.read import Sources
from scaling.runtime.errors import BadInputError

pandas = pytest.importorskip("pandas")

ROOT = Path(__file__).parents[3]
FILES = sorted([*(ROOT.parent / "shared" / "data").glob("*.csv"), *(ROOT / "tests" / "cases").rglob("*.csv")])
COLUMNS = {  # of files whose columns do not say all by their names
    "gadre_104_models.csv": {"params": "N", "tokens": "D", "flops": "flops_6ND", "loss": "loss_c4_val"},
    "optimizers_best.csv": {"params": "size", "loss": "min_loss", "tokens_per_param": "chinchilla*20"},
    "porian_optima.csv": {"params": "N_opt", "tokens": "tokens_opt", "loss": "loss_opt"},
    "routing_final.csv": {
        "params": "dense_parameter_count",
        "tokens": "step*131072",
        "loss": "loss_validation",
    },
    "training_times.csv": {"loss": "seconds"},
}
DESCRIBED = ("source", "columns", "places", "groups", "labels")  # by the name and place of rows


def number_or_text(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell.casefold()


def same(one: Points, other: Points) -> None:
    """Both have the same numbers, texts and notes, whatever their sources are called."""
    assert [len(one.columns), *one.columns] == [len(other.columns), *other.columns]
    for name, cells in one.columns.items():
        # pandas reads `1.50` and `true` as a number and a bool.
        assert list(map(number_or_text, cells)) == list(map(number_or_text, other.columns[name])), name
    for field in fields(Points):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        elif field.name == "counts":
            tables = [{name: replace(count, table=None) for name, count in one.items()} for one in (a, b)]
            assert tables[0] == tables[1]
        elif field.name in ("dropped", "doubts"):
            assert list(map(unplaced, a)) == list(map(unplaced, b)), field.name
        elif field.name not in DESCRIBED:
            assert a == b, field.name


def unplaced(text: str) -> str:
    """A message without the lines or rows that it names."""
    return re.sub(r"(line|row)s? [\d, ]+", "", text)


def read(source, columns, force=False):
    """The points, or the refusal without the name and places of its source."""
    try:
        return read_points(source, columns, force=force)
    except BadInputError as error:
        source = "DataFrame" if not isinstance(source, Path) else str(source)
        text = str(error).replace(f"{source}, line 1: ", "").replace(source, "").strip(":, ")
        return unplaced(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_csv_and_its_frame_are_the_same_points(path):
    frame = pandas.read_csv(path)
    for columns in ({}, COLUMNS.get(path.name, {})):
        for force in (False, True):
            a, b = read(path, columns, force), read(frame, columns, force)
            if isinstance(a, str) or isinstance(b, str):
                assert a == b
            else:
                same(a, b)
                same(canonical(a), canonical(b))


FRAME = {
    "N": [1e8, 2e8, 1e9, 1e9],
    "tokens (B)": [2, 4, 20, 40],
    "loss": [3.1, 2.9, 2.5, 2.45],
    "status": ["finished", "done", "running", "finished"],
    "seed": [1, None, 2, 1],
    "dataset": ["c4"] * 4,
}


def test_rows_are_named_by_their_index_and_missing_values_are_empty_cells():
    frame = pandas.DataFrame(FRAME, index=[3, 5, 7, 9])
    points = read_points(frame)
    assert points.groups == points.labels == ("row 3", "row 5", "row 7", "row 9")
    assert points.seeds == ("1", "", "2", "1")
    assert points.final == (True, True, False, True)
    np.testing.assert_array_equal(points.tokens, [2e9, 4e9, 2e10, 4e10])
    assert points.counting == {"params": "column N of DataFrame", "flops": "6ND"}
    frame.loc[5, "loss"] = None
    with pytest.raises(BadInputError, match=r"^DataFrame, row 5, column loss: '' is not accepted"):
        read_points(frame)
    assert read_points(frame, force=True).dropped == (
        "row 5, column loss: '' is not accepted; give a positive finite number",
    )
    twice = pandas.concat([pandas.DataFrame(FRAME), pandas.DataFrame(FRAME)])
    assert read_points(twice).groups == tuple(f"row {i}" for i in range(8))


def test_the_order_of_rows_does_not_matter():
    frame = pandas.DataFrame(FRAME)
    straight, back = (canonical(read_points(one)) for one in (frame, frame.iloc[::-1]))
    assert (
        straight.groups
        == back.groups
        == (
            "params 1e+08, tokens 2e+09",
            "params 2e+08, tokens 4e+09",
            "params 1e+09, tokens 2e+10",
            "params 1e+09, tokens 4e+10",
        )
    )
    same(straight, back)


def test_named_indices_are_columns():
    frame = pandas.DataFrame(FRAME)
    same(
        read_points(frame.set_index(["N", "seed"])[["tokens (B)", "loss", "status", "dataset"]]),
        reordered(frame),
    )


def reordered(frame) -> Points:
    return read_points(frame[["N", "seed", "tokens (B)", "loss", "status", "dataset"]])


def test_numbers_of_a_frame_say_nothing_of_the_decimal_mark_of_its_texts():
    frame = pandas.DataFrame(FRAME | {"loss": ["3,1", "2,9", "2,5", "2,45"], "lr": 0.5})
    points = read_points(frame, {"learning_rate": "lr"})
    np.testing.assert_array_equal(points.loss, FRAME["loss"])
    np.testing.assert_array_equal(points.learning_rate, [0.5] * 4)


def test_columns_rows_and_units_are_those_of_a_csv():
    frame = pandas.DataFrame(FRAME)
    assert len(read_points(frame, {"params": "N*2"}, where={"seed": ("1",)})) == 2
    with pytest.raises(
        BadInputError, match=r"^DataFrame: params: .*, too small .* likely params in billions"
    ):
        read_points(
            frame.rename(columns={"N": "params"}).assign(params=FRAME["N"]), {"params": "params*1e-9"}
        )
    with pytest.raises(BadInputError, match="DataFrame: columns: params=M: there is no column 'M'"):
        read_points(frame, {"params": "M"})
    with pytest.raises(BadInputError, match=r"^DataFrame: losses of several experiments .*dataset"):
        Sources((frame.assign(dataset=["c4", "c4", "pile", "pile"]),)).points  # noqa: B018


@pytest.mark.parametrize("given", [pandas.DataFrame(), 3, None, [1.0], {"params": [1]}])
def test_what_is_no_frame_or_has_no_columns_is_one_line(given):
    with pytest.raises(BadInputError, match=r"DataFrame") as refusal:
        read_points(given)
    assert "\n" not in str(refusal.value)


def test_a_frame_has_points_only(tmp_path):
    path = tmp_path / "runs.csv"
    frame = pandas.DataFrame(FRAME)
    frame.to_csv(path, index=False)
    both = Sources((frame, path))
    assert len(both.points) == 8 and len(set(both.points.groups)) == 8
    assert both.curves == () and both.law is None
    with pytest.raises(BadInputError, match="DataFrame: only points can be read from it"):
        both.paths  # noqa: B018
