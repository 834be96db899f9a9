"""`scaling fit`: its document, its words, and what it refuses, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.conftest import RunCli
from tests.laws.known import few_starts, ladder
from tests.laws.valleys import valleys
from tests.plots.sweep_of import write_sweep

QUICK = ("--bootstrap", "0", "--holdout", "none", "--rolling", "0", "--no-profile", "--no-sensitivity")


@pytest.fixture(autouse=True)
def quick():
    with few_starts():
        yield


def table(path: Path, points, **columns) -> str:
    """A CSV of points, with further columns of text."""
    rows = [",".join(["params", "tokens", "loss", *columns])]
    for i in range(len(points)):
        numbers = (repr(float(v)) for v in (points.params[i], points.tokens[i], points.loss[i]))
        rows.append(",".join([*numbers, *(str(c[i]) for c in columns.values())]))
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def few(path):
    return table(path, ladder(0.003).subset(slice(0, 28, 6)))


def follows(path):
    return table(path, ladder(0.003, sizes=12, multiples=(20,)))


def edge(path):
    return table(path, valleys(span=4, skew=8))


def setting_at_edge(path):
    params = np.repeat(np.geomspace(1e7, 1e9, 5), 4)
    rates = np.tile([1e-4, 3e-4, 1e-3, 3e-3], 5)
    tokens = np.repeat([1e9, 4e9, 2e9, 8e9, 3e9], 4)
    lines = [f"{n},{d},{3 - 1e-2 * np.log(r)},{r}" for n, d, r in zip(params, tokens, rates, strict=True)]
    path.write_text("\n".join(["params,tokens,loss,learning_rate", *lines]) + "\n")
    return str(path)


def mid_schedule(path):
    points = ladder(0.003)
    return table(path, points, final=["true", "true", "true", "false"] * 7)


def running(path):
    return table(path, ladder(0.003), status=["finished"] * 27 + ["running"])


def not_numbers(path):
    points = ladder(0.003)
    points.loss[[3, 9]] = [np.nan, -1.0]
    return table(path, points)


@pytest.mark.parametrize(
    ("build", "law", "reason", "remedy"),
    [
        (few, "chinchilla", "5 points; chinchilla needs at least 6", "add runs"),
        (follows, "chinchilla", "tokens follow params exactly", "add other token budgets"),
        (setting_at_edge, "learning-rate", "largest tried at 5 budget(s)", "sweep further on both sides"),
        (
            mid_schedule,
            "chinchilla",
            "7 of 28 losses are from before the end of their schedule",
            "leave them out",
        ),
        (running, "chinchilla", "1 of 28 losses are from before the end", "cool down"),
        (not_numbers, "chinchilla", "line 5, column loss: 'nan' is not accepted", "leave such rows out"),
    ],
)
def test_each_refusal_is_one_line_with_a_remedy_and_force_marks_the_result(
    run_cli: RunCli, tmp_path: Path, build, law: str, reason: str, remedy: str
) -> None:
    source = build(tmp_path / "points.csv")
    code, out, err = run_cli("fit", source, "--law", law, *QUICK)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("scaling: ")
    assert reason in err and remedy in err and "--force" in err
    code, out, _ = run_cli("fit", source, "--law", law, *QUICK, "--force", "--json")
    assert code == 0
    law_json = json.loads(out)
    assert law_json["forced"] and law_json["warnings"]
    assert json.loads((tmp_path / "points.law.json").read_text())["forced"]
    code, out, _ = run_cli("fit", source, "--law", law, *QUICK, "--force")
    assert code == 0 and "[forced]" in out and "note: " in out


def test_forced_rows_that_are_no_numbers_are_dropped_and_counted(run_cli: RunCli, tmp_path: Path) -> None:
    code, out, _ = run_cli("fit", not_numbers(tmp_path / "points.csv"), *QUICK, "--force", "--json")
    law = json.loads(out)
    assert code == 0 and law["n_points"] == 26
    assert [row.split(",")[0] for row in law["dropped"]] == ["line 5", "line 11"]
    (tmp_path / "none.csv").write_text("params,tokens,loss\n1,1,-1\n")
    code, _, err = run_cli("fit", str(tmp_path / "none.csv"), "--force")
    assert code == 2 and "none of 1 row(s)" in err


def test_a_law_of_n_and_d_needs_no_isoflop_minimum(run_cli: RunCli, tmp_path: Path) -> None:
    """Approach 2 does; the law is fitted, and the document says what that approach would lack."""
    code, out, err = run_cli("fit", edge(tmp_path / "points.csv"), *QUICK, "--json")
    assert (code, err) == (0, "")
    law = json.loads(out)
    assert not law["forced"]
    (warning,) = law["warnings"]
    assert "no interior minimum of loss over size in 6 isoFLOP group(s)" in warning
    assert "add smaller sizes" in warning


def test_a_design_with_minima_inside_is_not_refused(run_cli: RunCli, tmp_path: Path) -> None:
    source = table(tmp_path / "points.csv", valleys(span=4, noise=5e-4))
    code, out, err = run_cli("fit", source, *QUICK, "--json")
    assert (code, err) == (0, "")
    assert not json.loads(out)["forced"]


def test_everything_of_a_sweep_in_one_document(run_cli: RunCli, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep")
    asked = ("--at", "1e15,1e16", "--predict", "params=1e7,tokens=2e8", "--approaches", "--bootstrap", "40")
    code, out, _ = run_cli("fit", str(sweep), *asked, "--no-profile", "--json")
    assert code == 0
    law = json.loads(out)
    assert [row["flops"] for row in law["at"]] == [1e15, 1e16]
    for row in law["at"]:
        assert 6 * row["params"] * row["tokens"] == pytest.approx(row["flops"])
        for name in ("params", "tokens_per_param", "loss"):
            low, high = row[f"{name}_interval"]
            assert low <= row[name] * (1 + 1e-9) and row[name] <= high * (1 + 1e-9)
    told = law["predict"]
    assert told["run_interval"][0] < told["interval"][0] < told["value"]
    assert told["value"] < told["interval"][1] < told["run_interval"][1]
    changes = [row["change"] for row in law["sensitivity"]]
    assert {"N: total", "N: non_embedding", "C: counted"} <= set(changes)
    written = json.loads((sweep / "approaches.json").read_text())
    assert written == law["approaches"] and len(written) == 4
    kept = json.loads((sweep / "law.json").read_text())
    assert {"profile", "hessian", "rolling", "seed_noise", "sensitivity"} <= set(kept)
    assert law["rolling"] and law["hessian"]["intervals"]["alpha"]


@pytest.mark.slow
def test_allocations_say_how_far_beyond_the_data_they_are(run_cli: RunCli, tmp_path: Path) -> None:
    source = table(tmp_path / "points.csv", ladder(0.003, 1))
    options = (
        "--at",
        "1e21,1e28",
        "--holdout",
        "none",
        "--no-profile",
        "--no-sensitivity",
        "--bootstrap",
        "0",
    )
    code, out, _ = run_cli("fit", source, *options, "--json")
    near, far = json.loads(out)["at"]
    assert code == 0 and near["reach"] is None and far["reach"]["far"]
    assert far["reach"]["times"]["flops"] == pytest.approx(1e28 / 2.4e22)
    assert "no rolled hold-out reaches that far" in far["reach"]["text"]
    code, out, _ = run_cli("fit", source, *options)
    words = " ".join(out.split())
    assert "warning: 1e+28 FLOPs is beyond the data: 4.17e+05 times the most FLOPs" in words


def test_the_screen_shows_intervals_tests_and_choices(run_cli: RunCli, tmp_path: Path) -> None:
    source = table(tmp_path / "points.csv", ladder(0.003, 1, sizes=10))
    code, out, err = run_cli("fit", source, "--bootstrap", "20", "--at", "1e21")
    assert (code, err) == (0, "")
    for words in (
        "95% bootstrap", "95% profile", "95% Hessian", "gradient norm", "condition", "seed noise unknown",
        "Rolled hold-out", "inside 95%", "Sensitivity", "least squares", "Compute-optimal allocation",
    ):  # fmt: skip
        assert words in out
    assert max(map(len, out.splitlines())) < 130


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--at", "1e21,x"), "--at: 'x' is not accepted"),
        (("--at", "-1"), "--at: '-1' is not accepted"),
        (("--predict", "params"), "'params' is not NAME=NUMBER"),
        (("--predict", "params=7e9"), "chinchilla reads params, tokens"),
        (("--predict", "params=7e9,tokens=none"), "--predict tokens: 'none'"),
        (("--law", "compute-power", "--at", "1e21"), "compute-power has no compute optimum"),
        (("--rolling", "-2"), "--rolling -2 is not accepted"),
        (("--law", "atuo"), "did you mean auto?"),
        (("--laws", "chinchila,coupled"), "did you mean chinchilla?"),
        (("--laws", "chinchilla,learning-rate"), "learning-rate predicts learning_rate"),
        (("--law", "auto", "--laws", "chinchilla"), "give --laws alone"),
    ],
)
def test_refused_options(run_cli: RunCli, tmp_path: Path, options, words: str) -> None:
    code, out, err = run_cli("fit", table(tmp_path / "points.csv", ladder(0.003)), *options)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1


def test_laws_are_compared(run_cli: RunCli, tmp_path: Path) -> None:
    """The table, the law that is fitted, and the average where a prediction is asked for."""
    source = table(tmp_path / "points.csv", ladder(0.003))
    laws = ("--laws", "chinchilla,kaplan-tokens", "--predict", "params=1e11,tokens=2e12")
    code, out, _ = run_cli("fit", source, *QUICK, *laws, "--json")
    assert code == 0
    found = json.loads(out)["comparison"]
    assert found["chosen"] == json.loads(out)["law"] == "chinchilla"
    errors = {one["law"]: one["rms"] for one in found["laws"]}
    assert errors["chinchilla"] < errors["kaplan-tokens"]
    assert sum(one["weight"] for one in found["laws"]) == pytest.approx(1.0)
    code, out, _ = run_cli("fit", source, *QUICK, *laws)
    assert code == 0 and "Laws by rolled error" in out and "average of the laws at params" in out


def test_a_row_of_weight_zero_is_left_out(run_cli: RunCli, tmp_path: Path) -> None:
    points = ladder(0.003)
    weighted = table(tmp_path / "weighted.csv", points, weight=["1"] * 27 + ["0"])
    without = table(tmp_path / "without.csv", points.subset(slice(0, 27)))
    with_zero, fewer = (json.loads(run_cli("fit", one, *QUICK, "--json")[1]) for one in (weighted, without))
    assert with_zero["parameters"] == pytest.approx(fewer["parameters"])
    assert "of weight 0 and left out: 1 point" in with_zero["notes"]
    code, _, err = run_cli("fit", table(tmp_path / "n.csv", points, weight=["1"] * 27 + ["-1"]), *QUICK)
    assert code == 2 and "'-1' is not accepted; give a positive finite number, or 0" in err
