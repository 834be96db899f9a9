"""What `emergence` prints for a person, and what it refuses."""

import json

import pytest

from scaling.api.text.blocks import text_of
from scaling.api.text.emergence import full_table, number, summary
from scaling.laws.emergence import emergence
from scaling.laws.emergence.score_table import as_scores
from tests.end_to_end.conftest import RunCli, run_cli  # noqa: F401

SIZES = (1000, 2000, 4000, 8000, 16000, 32000)


@pytest.fixture(scope="module")
def document():
    """Three seeds per size of a task that is learned or not, and one that rises by degrees."""
    rows = {name: [] for name in ("task", "metric", "group", "score", "params", "n", "seed")}
    scores = {
        "learned by chance, with a very long name": (
            (0, 0, 0.01), (0, 0.02, 0), (0.01, 1, 0.03), (0.99, 0.02, 1), (1, 0.98, 0), (1, 1, 0.99),
        ),
        "gradual": ((0.1,) * 3, (0.2,) * 3, (0.35,) * 3, (0.5,) * 3, (0.66,) * 3, (0.8,) * 3),
    }  # fmt: skip
    for task, by_size in scores.items():
        for size, seeds in zip(SIZES, by_size, strict=True):
            for seed, score in enumerate(seeds):
                row = (task, "exact_match", f"{size}-{seed}", score, size, 100, seed)
                for column, cell in zip(rows.values(), row, strict=True):
                    column.append(cell)
    return emergence(as_scores(rows, "drawn")).document


def test_a_line_per_task_fits_80_columns(document):
    lines = summary(document)
    assert all(len(line) <= 80 for line in lines)
    chance = next(line for line in lines if line.startswith("learned by"))
    assert "bimodal" in chance
    assert "0/3 to 3/3 seeds; half at" in chance
    assert not chance.endswith("..")
    assert any(line.startswith("gradual") and "half way up at" in line for line in lines)
    claims = " ".join(lines)
    assert "grows with scale: yes" in claims
    assert "bimodal: yes" in claims


def test_the_table_has_the_shares_of_seeds(document):
    text = text_of(full_table(document))
    assert "seeds above 50%" in text
    assert "8.0k  2 of 3  67% [21, 94]" in text


def test_claims_are_yes_no_or_open(document):
    found = {(c.task, c.claim): c.holds for c in document.claims}
    assert len(found) == 10
    assert found["learned by chance, with a very long name", "bimodal"] is True
    assert found["gradual", "bimodal"] is not True
    assert found["gradual", "grows_with_scale"] is True


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999, "1.0k"),
        (9900, "9.9k"),
        (33696, "34k"),
        (999_600, "1.0M"),
        (175e9, "175B"),
        (9.2e22, "9.2e22"),
        (12, "12"),
    ],
)
def test_numbers_have_two_or_three_digits(value, text):
    assert number(value) == text


CSV = "task,metric,score,params,n\n" + "".join(
    f"t,acc,{score},{10**i},100\n" for i, score in enumerate((10, 20, 35, 50, 66, 80), 3)
)


def test_json_has_the_claims_and_the_notes(run_cli: RunCli, tmp_path) -> None:  # noqa: F811
    path = tmp_path / "scores.csv"
    path.write_text(CSV)
    code, out, err = run_cli("emergence", str(path), "--json")
    assert code == 0
    document = json.loads(out)
    assert document["notes"] == ["acc was read as percent (10 to 80)"]
    assert "read as percent" in err
    assert document["claims"] == []
    assert document["verdicts"][0]["breakthrough"]["least_seeds"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--above", "2"), "--above 2: give a share between 0 and 1"),
        (("--percent", "f1"), "--percent f1: "),
        (("--columns", "score=accuracy"), "has no column 'accuracy'; it has 'task', 'metric', 'score'"),
        (("--chance", "t=3"), "--chance 't=3': give TASK=SHARE"),
        (("--chance", "u=0.5"), "has no such task; it has t"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, message, run_cli: RunCli, tmp_path) -> None:  # noqa: F811
    path = tmp_path / "scores.csv"
    path.write_text(CSV)
    code, _, err = run_cli("emergence", str(path), *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
