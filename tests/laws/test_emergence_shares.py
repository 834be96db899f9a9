"""Names of metrics, percents, standard errors, chance levels, and columns by other names."""

import numpy as np
import pytest

from scaling.laws.emergence import read_scores
from scaling.laws.emergence.metric_names import metric_named, usual_chance
from scaling.laws.emergence.score_reader import parse_chance, parse_score_columns
from scaling.runtime.errors import BadInputError

SHARES = (
    "acc", "acc_norm", "acc,none", "acc_norm,none", "ACC", "Accuracy",
    "exact_match", "exact_match,strict-match", "exact_match,flexible-extract", "Exact Match", "em", "EM",
    "mc1", "pass@1", "pass@10", "pass_at_1", "maj@8", "prompt_level_strict_acc,none",
    "inst_level_loose_acc", "choice_accuracy_per_token", "balanced_accuracy", "quasi_exact_match",
    "exact_str_match", "multiple_choice_grade", "top_1", "win_rate", "acc_mutual_info",
)  # fmt: skip
PARTS = (
    "f1", "F1", "squad_f1", "f1_macro", "mc2", "bleu", "BLEU", "rougeL", "rouge1", "chrf++",
    "edit_similarity",
)  # fmt: skip
LOSSES = (
    "loss",
    "val_loss",
    "word_perplexity,none",
    "byte_perplexity",
    "ppl",
    "bits_per_byte",
    "brier_score",
)


@pytest.mark.parametrize("name", SHARES)
def test_usual_shares_are_shares(name):
    known = metric_named(name)
    assert (known.share, known.fraction, known.low, known.high) == (True, True, 0.0, 1.0)


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_answers_are_bounded_without_binomial_noise(name):
    assert metric_named(name).fraction
    assert not metric_named(name).share


@pytest.mark.parametrize("name", LOSSES)
def test_of_losses_less_is_better(name):
    assert metric_named(name).less


@pytest.mark.parametrize("name", ["answer_log_prob", "choice_logprob", "loglikelihood", "log_prob"])
def test_log_probabilities_end_at_0(name):
    assert metric_named(name).high == 0


def test_an_unknown_metric_is_any_number():
    known = metric_named("elo")
    assert (known.fraction, known.low, known.high) == (False, None, None)


def _csv(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("metric", "values", "read"),
    [
        ("acc", "1.5 25 70", [0.015, 0.25, 0.70]),
        ("acc,none", "0 25 100", [0.0, 0.25, 1.0]),
        ("exact_match", "0.2 0.3 1", [0.2, 0.3, 1.0]),
        ("bleu", "0.4 12 31", [0.004, 0.12, 0.31]),
        ("bleu", "0.1 0.2 0.31", [0.1, 0.2, 0.31]),
        ("f1", "12% 50% 0.9%", [0.12, 0.5, 0.009]),
        ("elo", "900 1000 1100", [900, 1000, 1100]),
    ],
)
def test_percents(metric, values, read, tmp_path):
    rows = "".join(f't,"{metric}",{v},{10**i}\n' for i, v in enumerate(values.split(), 6))
    scores = read_scores(_csv(tmp_path, f"task,metric,score,params\n{rows}"))
    assert scores.score.tolist() == pytest.approx(read)
    assert bool(scores.notes) == (max(read) <= 1 and float(values.split()[-1].strip("%")) > 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("t,acc,0.4,1e6\nt,acc,55,1e7", "acc is 55 here and 0.4 in line 2"),
        ("t,acc,101,1e6", "101 is not accepted for acc"),
        ("t,acc,-3,1e6", "-3 is not accepted for acc"),
        ("t,answer_log_prob,0.5,1e6", "0.5 is not accepted for answer_log_prob, which is at most 0"),
        ("t,perplexity,0.5,1e6", "0.5 is not accepted for perplexity, which is at least 1"),
        ("t,mcc,3,1e6", "3 is not accepted for mcc, which is between -1 and 1"),
    ],
)
def test_values_that_a_metric_cannot_have(rows, message, tmp_path):
    with pytest.raises(BadInputError) as caught:
        read_scores(_csv(tmp_path, f"task,metric,score,params\n{rows}\n"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_by_other_names_and_case(tmp_path):
    text = "Benchmark,Params,acc_norm,se,extra\nx,1e6,0.30,0.0102,a\nx,1e7,0.5,0.0112,b\n"
    columns = parse_score_columns("task=Benchmark,score=acc_norm,stderr=se")
    scores = read_scores(_csv(tmp_path, text), columns=columns)
    assert scores.metric == ("acc_norm", "acc_norm")
    assert scores.params.tolist() == [1e6, 1e7]
    # n from sqrt(p (1 - p) / (n - 1)).
    assert scores.n.tolist() == [round(1 + 0.21 / 0.0102**2), round(1 + 0.25 / 0.0112**2)]
    assert scores.low[0] == pytest.approx(0.30 - 1.96 * 0.0102)


def test_a_standard_error_of_0_says_nothing_of_the_items(tmp_path):
    text = "task,metric,score,stderr,params\nt,acc,0,0,1e6\nt,acc,50,5,1e7\nt,acc,100,0,1e8\n"
    scores = read_scores(_csv(tmp_path, text))
    assert scores.n.tolist() == [101, 101, 101]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score", "is not FIELD=COLUMN"),
        ("scores=acc", "did you mean score?"),
        ("score=a,score=b", "score is named twice"),
    ],
)
def test_bad_columns(text, message):
    with pytest.raises(BadInputError) as caught:
        parse_score_columns(text)
    assert message in str(caught.value)


def test_chance_is_given_or_from_choices_or_the_usual_one(tmp_path):
    text = "task,metric,score,params,choices\na,acc,0.5,1e6,4\npiqa,acc,0.6,1e6,\nb,acc,0.5,1e6,\n"
    path = _csv(tmp_path, text)
    assert read_scores(path).chance[:2].tolist() == [0.25, 0.5]
    assert np.isnan(read_scores(path).chance[2])
    assert read_scores(path, chance=parse_chance("b=20%,piqa=0.4")).chance.tolist() == [0.25, 0.4, 0.2]
    with pytest.raises(BadInputError, match=r"--chance c: .* has no such task; it has a, piqa, b"):
        read_scores(path, chance={"c": 0.5})
    with pytest.raises(BadInputError, match="give TASK=SHARE"):
        parse_chance("b=2")


def test_percents_have_their_chance_in_percent_or_as_a_share(tmp_path):
    text = "task,metric,score,params,chance\na,acc,50,1e6,25\na,acc,60,1e7,0.25\n"
    assert read_scores(_csv(tmp_path, text)).chance.tolist() == [0.25, 0.25]


def test_the_usual_chance_is_that_of_choices_alone():
    assert usual_chance("mmlu_anatomy", "acc,none") == 0.25
    assert usual_chance("piqa", "exact_match") is None
    assert usual_chance("arctic", "acc") is None


def test_columns_are_for_csvs():
    with pytest.raises(BadInputError, match="--columns: gpt3 is not a CSV file"):
        read_scores("gpt3", columns={"score": "acc"})
