import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config.record import read_record
from scaling.laws import Points, fit_points, parse_columns, read_points
from scaling.laws.read.inputs import join_points
from scaling.runtime.errors import BadInputError
from tests.plots.sweep_of import MULTIPLES, SIZES, write_sweep

GADRE = Path(__file__).parents[3] / "../shared/data/gadre_104_models.csv"
GOOD = "params,tokens,loss\n1e6,2e7,4.0\n2e6,4e7,3.5\n"


def read(tmp_path, content, columns=None):
    path = tmp_path / "points.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_points(path, columns)


def test_columns_are_read_by_name_and_flops_are_6nd(tmp_path):
    text = "\ufeffloss, N ,tokens,weight,dataset,group,extra\n4.0,1e6,2e7,2,c4,a,?\n\n3.5,2e6,4e7,,c4,a,!\n"
    points = read(tmp_path, text, {"params": "N"})
    np.testing.assert_array_equal(points.params, [1e6, 2e6])
    np.testing.assert_array_equal(points.flops, [1.2e14, 4.8e14])
    np.testing.assert_array_equal(points.weight, [2, 1])
    assert points.groups == ("a", "a")
    assert points.dataset == ("c4", "c4")
    assert points.counting == {"params": "column N of points.csv", "flops": "6ND"}


def test_rows_without_a_group_are_their_own(tmp_path):
    assert read(tmp_path, GOOD).groups == ("line 2", "line 3")


def test_empty_flops_cells_are_6nd(tmp_path):
    points = read(tmp_path, "params,tokens,loss,flops\n1e6,2e7,4,9e14\n1e6,2e7,4,\n")
    np.testing.assert_array_equal(points.flops, [9e14, 1.2e14])
    assert points.counting["flops"] == "column flops of points.csv, 6ND where it is empty"


@pytest.mark.parametrize(
    ("content", "columns", "words"),
    [
        ("", None, "is empty"),
        ("\n\n  \n", None, "is empty"),
        ("params,tokens,loss\n", None, "no rows"),
        ("1e6,2e7,4.0\n2e6,4e7,3.5\n", None, "no column 'params' or 'tokens' or 'loss'"),
        ("params,tokens\n1,2\n", None, "no column 'loss'"),
        ("params|tokens|loss\n1|2|3\n", None, "separated by commas, semicolons or tabs"),
        ("params,tokens,loss,loss\n1,2,3,3\n", None, "'loss' appears twice"),
        (GOOD, {"params": "N"}, "there is no column 'N'"),
        (GOOD, {"size": "params"}, "'size' is not a field"),
        (GOOD, {"params": "tokens"}, "read from one column"),
        (GOOD + "abc,1,1\n", None, r"line 4, column params: 'abc'"),
        (GOOD + "nan,1,1\n", None, r"line 4, column params: 'nan'"),
        (GOOD + "1,inf,1\n", None, r"column tokens: 'inf'"),
        (GOOD + "1,1e999,1\n", None, r"column tokens: '1e999'"),
        (GOOD + "1,1,0\n", None, r"column loss: '0'"),
        (GOOD + "1,1,-2\n", None, r"column loss: '-2'"),
        (GOOD + "1,1,\n", None, r"column loss: ''"),
        (GOOD + "1,1\n", None, "line 4: 2 cells; the header has 3"),
        (GOOD + "1,1,1,1\n", None, "line 4: 4 cells"),
        (GOOD + '1,"1,1\n', None, "line 4: not CSV"),
        (GOOD + "1e200,1e200,1\n", None, "not a finite number of FLOPs"),
        ("params,tokens,loss,weight\n1,1,1,-1\n", None, "column weight: '-1'"),
        ("params,tokens,loss,flops\n1,1,1,x\n", None, "column flops: 'x'"),
        (b"params,tokens,loss\n1,1,\xff\n", None, "line 2: byte 0xff is not UTF-8"),
        (b"\x7fELF\x02\x01\0\0\0", None, "NUL byte"),
        ("N,tokens,loss\n1,1,bad\n", {"params": "N"}, "column loss: 'bad'"),
        ("N,tokens,loss\nbad,1,1\n", {"params": "N"}, r"column N \(params\): 'bad'"),
    ],
)
def test_malformed_tables_say_where(tmp_path, content, columns, words):
    with pytest.raises(BadInputError, match=words) as error:
        read(tmp_path, content, columns)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["params", "params=", "=N", "params=N,params=M", "speed=N", "params=N,,=,"])
def test_malformed_mappings(text):
    with pytest.raises(BadInputError, match="columns"):
        parse_columns(text)


def test_mapping():
    assert parse_columns(" params=N, tokens = D") == {"params": "N", "tokens": "D"}
    assert parse_columns("") == {}


def test_missing_paths(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        read_points(tmp_path / "none.csv")
    with pytest.raises(BadInputError, match=r"no \*/record.json"):
        read_points(tmp_path)
    with pytest.raises(BadInputError, match="is a directory"):
        read_points(tmp_path, {"params": "N"})


def test_a_damaged_record_is_named(tmp_path):
    write_sweep(tmp_path)
    (tmp_path / "run-3" / "record.json").write_text('{"id": 3')
    with pytest.raises(BadInputError, match=r"run-3/record.json is not a run record"):
        read_points(tmp_path)


def test_a_sweep_gives_a_point_a_budget_grouped_by_run(tmp_path):
    write_sweep(tmp_path)
    points = read_points(tmp_path)
    assert len(points) == len(SIZES) * len(MULTIPLES)
    assert len(set(points.groups)) == len(SIZES)
    np.testing.assert_array_equal(points.flops, 6 * points.params * points.tokens)
    total = read_points(tmp_path, params="total", flops="counted")
    assert (total.params > points.params).all()
    np.testing.assert_allclose(total.flops, 6.4 * points.params * points.tokens)
    assert total.counting["params"] == "all parameters"
    one = read_points(tmp_path / "run-2")
    assert set(one.groups) == {points.groups[6]}
    with pytest.raises(BadInputError, match="non_embedding"):
        read_points(tmp_path, params="active")
    with pytest.raises(BadInputError, match="6nd"):
        read_points(tmp_path, flops="mac")


def test_points_logged_at_the_peak_of_the_rate_are_no_ends_of_schedules(tmp_path):
    """Two runs cool down, and one of them kept a point of its trunk."""
    write_sweep(tmp_path)
    for home in tmp_path.iterdir():
        record = read_record(home)
        lines = []
        for point in record.points:
            for step in range(1, point.step + 1, max(1, point.step // 200)):
                share = step / point.step
                rate = 1e-3 * min(1.0, 5 * (1 - share) + 0.1)
                lines.append({"step": step, "branch": point.tokens, "learning_rate": rate, "loss": 4.0})
            last = 1e-3 if (home.name, point) == ("run-3", record.points[0]) else 1e-4
            lines.append({"step": point.step, "branch": point.tokens, "learning_rate": last, "loss": 4.0})
            lines.append({"step": point.step, "branch": point.tokens, "validation_loss": 4.0})
        text = "\n".join(json.dumps(line) for line in lines)
        (home / "metrics.jsonl").write_text(text + '\n{"step": 9')
    points = read_points(tmp_path)
    assert [i for i, final in enumerate(points.final) if not final] == [3 * len(MULTIPLES)]
    with pytest.raises(BadInputError, match="1 of 18 losses are from before the end of their schedule"):
        fit_points(points)


def test_states_are_read_in_any_case_and_unknown_words_are_listed(tmp_path):
    text = "params,tokens,loss,{}\n1e6,2e7,4.0,{}\n2e6,4e7,3.5,Finished\n"
    for column in ("status", "Status", "STATE", "schedule_end", "final"):
        assert read(tmp_path, text.format(column, "Crashed")).final == (False, True)
        assert read(tmp_path, text.format(column, "COMPLETED")).final == (True, True)
    for word in (
        "failed",
        "killed",
        "Preempted",
        "OOM",
        "timed-out",
        "CANCELLED by 1000",
        "node_fail",
        "NaN",
    ):
        assert read(tmp_path, text.format("status", word)).final == (False, True), word
    with pytest.raises(BadInputError, match=r"column status: .*'ok\?' in 1 row\(s\); write finished"):
        read(tmp_path, text.format("status", "ok?"))
    forced = read_points(tmp_path / "points.csv", force=True)
    assert forced.final == (False, True)
    assert "'ok?' in 1 row(s)" in forced.notes[-1]


def test_a_column_without_a_known_state_is_listed_and_not_used(tmp_path):
    points = read(tmp_path, GOOD.replace("\n", ",{}\n").format("state", "Ohio", "Iowa"))
    assert points.final is None
    assert "'Ohio' in 1 row(s), 'Iowa' in 1 row(s)" in points.notes[0]


CELL = st.one_of(
    st.sampled_from(["1e6", "2", "nan", "-1", "inf", "", '"', "params", "é"]), st.text(max_size=6)
)
TABLE = st.lists(st.lists(CELL, max_size=5), max_size=5).map(
    lambda rows: "params,tokens,loss\n" + "\n".join(map(",".join, rows))
)


@settings(max_examples=150, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), TABLE.map(lambda t: t.encode("utf-8", "replace"))))
def test_any_bytes_are_points_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        points = read_points(path)
    except BadInputError as refusal:
        points, line = None, str(refusal)
    if points is None:
        assert str(path) in line
        assert "\n" not in line
        return
    assert isinstance(points, Points)
    for values in (points.params, points.tokens, points.flops, points.loss):
        assert np.isfinite(values).all()
        assert (values > 0).all()


@pytest.mark.skipif(not GADRE.is_file(), reason="needs ../shared/data/gadre_104_models.csv")
def test_gadre_models_fit_and_extrapolate():
    points = read_points(
        GADRE, parse_columns("params=N,tokens=D,flops=flops_6ND,loss=loss_c4_val,dataset=train_dataset")
    )
    chosen = points.subset(np.array([d.startswith("rpj") for d in points.dataset]))
    assert len(chosen) > 25
    fit = fit_points(chosen)
    assert fit.boundary_hits == ()
    assert 1.2 < fit.parameters["E"] < 2.2
    assert fit.holdout.mean_abs_rel_error < 0.03


def test_how_n_and_c_were_counted_is_data_and_its_words_are_made_from_it(tmp_path):
    directory = write_sweep(tmp_path)
    points = read_points(directory, params="total", flops="counted")
    assert points.conventions == {"params": "total", "flops": "counted"}
    assert points.counting == {
        "params": "all parameters",
        "flops": "training FLOPs matmul by matmul, causal attention",
    }
    path = tmp_path / "points.csv"
    path.write_text("n_params,tokens,flops,loss\n1e6,2e7,,4.0\n2e6,4e7,5e14,3.5\n")
    points = read_points(path)
    assert points.conventions == {"params": None, "flops": None}
    assert points.counting == {
        "params": "column n_params of points.csv",
        "flops": "column flops of points.csv, 6ND where it is empty",
    }
    other = tmp_path / "other.csv"
    other.write_text(path.read_text())
    joined = join_points([points, read_points(other)])
    assert joined.counting == {"params": "column n_params", "flops": "column flops, 6ND where it is empty"}
    other.write_text("n_params,tokens,loss\n1e6,2e7,4.0\n")
    with pytest.raises(BadInputError, match=r"other.csv counts flops as '6ND' and .* as 'column flops, 6ND"):
        join_points([points, read_points(other)])
