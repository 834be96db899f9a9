"""Where scores come from: evaluations, CSVs, papers. And exact match from tokens."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.config.load import read_yaml
from scaling.config.record import Evaluation, Score, TaskScores
from scaling.laws.emergence import emergence, read_scores
from scaling.laws.emergence.analysis import effective_length, exact_match_from_tokens
from scaling.laws.emergence.gpt3 import SIZES, TABLE, WEI
from scaling.laws.emergence.score_table import as_scores
from scaling.runtime.errors import BadInputError

SHARED = Path(__file__).parents[2] / "../shared/data/published.json"
HEADER = "task,metric,shots,score,params,n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("task,params\nt,1", "line 1: no column score"),
        ("task,score\nt,1", "line 1: no column flops, params, loss or step"),
        ("task,score,params\n", "a header and no rows"),
        (f"{HEADER}\nt,exact_match,0,176.9,1e6,100", "176.9 is not accepted for exact_match; give a share"),
        (f"{HEADER}\nt,exact_match,0,x,1e6,100", "column score: 'x' is not accepted"),
        (f"{HEADER}\nt,exact_match,0,nan,1e6,100", "column score: 'nan' is not accepted"),
        (f"{HEADER}\nt,exact_match,-1,0.5,1e6,100", "column shots: '-1' is not accepted"),
        (f"{HEADER}\nt,exact_match,0,0.5,-3,100", "column params: '-3' is not accepted"),
        (f"{HEADER}\nt,exact_match,0,0.5,1e6,0", "column n: '0' is not accepted"),
        (f"{HEADER}\n,exact_match,0,0.5,1e6,9", "column task: '' is not accepted"),
        (f"{HEADER}\nt,exact_match,0,0.5", "line 2: 4 cells; the header has 6 columns"),
        ("task,task,score,params\nt,t,1,1", "column 'task' is in the header twice"),
        ("task,score,params,chance\nt,1,1,1.5", "column chance: 1.5 is not accepted"),
    ],
)
def test_a_bad_csv_is_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_scores(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_csv_fills_in_what_it_leaves_out(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("task,score,params,n,other\nt,0.5,1e6,100,x\nt,0.6,2e6,,y\n")
    scores = read_scores(path)
    assert scores.metric == ("score", "score")
    assert scores.shots.tolist() == [0, 0]
    assert scores.group == ("line 2", "line 3")
    assert np.isnan(scores.n[1])
    assert scores.best_scale() == "params"
    with pytest.raises(BadInputError, match="against=flops: 2 of 2 rows have no flops; use params"):
        scores.scale("flops")


def test_decimal_commas(tmp_path):
    comma, point = tmp_path / "comma.csv", tmp_path / "point.csv"
    comma.write_text("task;score;chance;params;n\na;0,25;25%;1.000.000;10.000\na;62,5%;0,25;2e6;10.000\n")
    point.write_text("task,score,chance,params,n\na,0.25,25%,1000000,10000\na,62.5%,0.25,2e6,10000\n")
    one, other = read_scores(comma), read_scores(point)
    for field in ("score", "chance", "params", "n"):
        assert getattr(one, field).tolist() == getattr(other, field).tolist()
    assert "commas are decimal marks" in one.notes and not other.notes
    comma.write_text("task;score;params\na;0,25;1e6\na;0.5;2e6\n")
    with pytest.raises(BadInputError, match=r"'0\.5' has a decimal point and '0,25' a decimal comma"):
        read_scores(comma)


def test_a_data_frame_is_read_as_its_csv(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "scores.csv"
    path.write_text(
        "Task,metric,shots,acc,params,n,chance\na,acc,8,55,1e6,100,\na,acc,8,60,2000000,,\nb,f1,0,70,1e7,9,0.25\n"
    )
    given = {"columns": {"score": "acc"}, "where": {"metric": ("acc",)}, "chance": {"a": 0.1}}
    first, second = read_scores(path, **given), read_scores(pandas.read_csv(path), **given)
    for name in ("task", "metric", "shots", "seed", "score", "params", "n", "chance", "low", "notes"):
        assert str(getattr(first, name)) == str(getattr(second, name)), name
    assert (second.source, second.group) == ("DataFrame", ("row 0", "row 1"))
    assert second.score.tolist() == [0.55, 0.60] and np.isnan(second.n[1])


def test_a_bad_data_frame_is_refused_in_one_line():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"task": ["t", "t"], "score": [0.1, None], "params": [1e6, 1e7]})
    with pytest.raises(BadInputError, match=r"^DataFrame, row 1, column score: '' is not accepted; give"):
        read_scores(frame)
    with pytest.raises(BadInputError, match=r"^DataFrame: no column score in the header, which has 'task'"):
        read_scores(frame[["task", "params"]])


def test_a_source_that_is_none():
    with pytest.raises(
        BadInputError, match=r"does not exist; give a run or sweep directory, a CSV file, or gpt3"
    ):
        read_scores("gpt4")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tasks": ["nim"]}, "has no task 'nim'; it has 2D"),
        ({"shots": [7]}, "has no shots 7"),
        ({"metrics": ["bleu"]}, "has no metric 'bleu'"),
        ({"tasks": ["2D+"], "shots": [100]}, "no scores with these tasks, metrics and shots together"),
    ],
)
def test_choices_that_are_none(asked, message):
    with pytest.raises(BadInputError) as caught:
        read_scores("gpt3").choose(**asked)
    assert message in str(caught.value)


def _evaluation(step, template="plain", family="decoder", run="r"):
    task = TaskScores(
        task="copy",
        shots=2,
        template=template,
        n=50,
        skipped=1,
        chance=0.1,
        answer_tokens=3.0,
        scores={
            "exact_match": Score(value=0.0, interval=(0.0, 0.07), kind="wilson"),
            "answer_log_prob": Score(value=-4.0, interval=None, kind="none"),
        },
    )
    return Evaluation(
        run=run,
        run_id="1",
        family=family,
        suite="s",
        step=step,
        tokens=10 * step,
        flops=60.0 * step,
        loss=2.0,
        params={"total": 20, "non_embedding": 8, "non_embedding_with_head": 10},
        train_seed=4,
        seed=0,
        results=(task,),
    )


def test_evaluations_of_a_sweep(tmp_path):
    for run, steps in (("a", (5, 10)), ("b", (20,))):
        (tmp_path / run / "evals").mkdir(parents=True)
        for step in steps:
            path = tmp_path / run / "evals" / f"s-{step}.json"
            path.write_text(_evaluation(step, run=run).model_dump_json())
    scores = read_scores(tmp_path)
    assert len(scores) == 6
    assert scores.combinations() == (("copy", "exact_match", 2), ("copy", "answer_log_prob", 2))
    exact = scores.of(("copy", "exact_match", 2))
    assert (exact.high[0], exact.n[0], exact.chance[0], exact.params[0]) == (0.07, 50, 0.1, 10)
    assert np.isnan(scores.of(("copy", "answer_log_prob", 2)).chance).all()
    assert exact.last_steps().step.tolist() == [10, 20]
    assert read_scores(tmp_path, "total").params[0] == 20
    with pytest.raises(BadInputError, match="params='active' is not a counting convention"):
        read_scores(tmp_path, "active")


def test_templates_and_families_are_other_tasks(tmp_path):
    (tmp_path / "evals").mkdir()
    for i, (template, family) in enumerate((("plain", "decoder"), ("qa", "encoder"))):
        path = tmp_path / "evals" / f"{i}.json"
        path.write_text(_evaluation(5, template, family).model_dump_json())
    assert set(read_scores(tmp_path).task) == {"copy, decoder", "copy (qa), encoder"}


def test_a_directory_without_evaluations(tmp_path):
    with pytest.raises(BadInputError, match="run scaling evaluate first"):
        read_scores(tmp_path)


@given(st.floats(0.01, 0.99), st.integers(1, 12))
def test_exact_match_from_tokens_and_back(accuracy, length):
    p = np.array([accuracy])
    exact = exact_match_from_tokens(p, length)
    assert exact[0] == pytest.approx(np.prod([accuracy] * length))
    assert effective_length(p, exact) == pytest.approx(length)


@pytest.mark.slow
def test_sharp_and_smooth_of_one_task():
    """Exact match drawn as token accuracy to the power 5: the metric, not the model."""
    random = np.random.default_rng(1)
    names = ("task", "metric", "group", "score", "flops", "loss", "n", "answer_tokens")
    rows = {name: [] for name in names}
    for k in range(12):
        nll = 1.6 * 10 ** (-0.12 * k)
        accuracy = np.exp(-nll)
        token = random.binomial(4000 * 5, accuracy) / 20000
        for metric, score in (
            ("exact_match", random.binomial(4000, accuracy**5) / 4000),
            ("token_accuracy", token),
            ("answer_log_prob", -5 * nll * (1 + 0.01 * random.standard_normal())),
        ):
            row = ("t", metric, f"run {k}", score, 1e15 * 4.0**k, 1.5 + nll, 4000, 5)
            for column, cell in zip(rows.values(), row, strict=True):
                column.append(cell)
    document = emergence(as_scores(rows, "drawn")).document
    first, second = document.metric_or_model
    assert (first.smooth, second.smooth) == ("token_accuracy", "answer_log_prob")
    assert first.mean_abs_error < 0.02
    assert first.effective_length == pytest.approx(5, abs=0.3)
    assert (first.smooth_word, first.conclusion) == ("smooth", "metric")
    exact = document.verdicts[0]
    ways = {f.via: f for f in exact.forecasts}
    assert list(ways) == [
        "exact_match",
        "token_accuracy",
        "token_accuracy ^ length",
        "answer_log_prob",
        "loss",
    ]
    assert all(abs(f.error) < 0.1 for f in ways.values())
    assert ways["token_accuracy ^ length"].inside


def test_compute_is_that_of_table_d1():
    """The other place where these figures stand: what the estimator is held against."""
    printed = read_yaml(Path(__file__).parents[2] / "benchmarks" / "published.yaml")["gpt3_table_d1"]["rows"]
    rows = [row for row in printed if row["model"].startswith("gpt3")]
    assert [float(row["flops"]) for row in rows] == [flops for _, _, flops in SIZES]
    assert [float(row["params"][:-1]) * 1e6 for row in rows] == [params for _, params, _ in SIZES]


def test_shares_are_whole_numbers_of_items():
    """Printed to three digits or two decimals; two figures are not of any whole number of items."""
    odd = []
    for (_, _, n, _, _), settings in TABLE.values():
        for value in (v for row in settings for v in row if n):
            half = 0.05 if value >= 10 else 0.005
            if abs(round(value * n / 100) * 100 / n - value) > half * 1.001:
                odd.append(value)
    assert odd == [2.54, 43.1]


@pytest.mark.skipif(not SHARED.is_file(), reason="needs ../shared/data/published.json")
def test_the_tables_are_those_that_came_with_the_task():
    shared = json.loads(SHARED.read_text())
    settings = ("zero", "one", "few")
    theirs = {(r["task"], r["setting"]): r for r in shared["gpt3_table_H1_by_size"]}
    assert set(theirs) == {(task, setting) for task in TABLE for setting in settings}
    for task, ((_, _, _, _, few), rows) in TABLE.items():
        for setting, values in zip(settings, rows, strict=True):
            assert theirs[task, setting]["values"] == list(values)
            assert theirs[task, setting]["K_fewshot"] == few
            assert theirs[task, setting]["models"] == [name for name, _, _ in SIZES]
    wei = {r["ability"]: r for r in shared["wei_emergence_table1"]}
    for ability, _, flops, params in WEI:
        assert (wei[ability]["flops"], wei[ability]["params"]) == (flops, params)
