"""ScoreTable of several experiments are not one curve."""

import pytest

from scaling.laws.emergence import read_scores
from scaling.laws.read.select import parse_where
from scaling.runtime.errors import BadInputError


def write(path, column, values):
    rows = [f"copy,{score},{params},{value}" for score, params, value in zip(
        (0.1, 0.2, 0.5, 0.9), (1e6, 1e7, 1e6, 1e7), values, strict=True)]  # fmt: skip
    path.write_text("\n".join([f"task,score,params,{column}", *rows]))
    return path


@pytest.mark.parametrize("column", ["dataset", "Tokenizer", "optimizer", "family", "split"])
def test_mixed_scores_are_one_line_and_each_offer_works(tmp_path, column):
    path = write(tmp_path / "s.csv", column, "aabb")
    with pytest.raises(
        BadInputError, match=f"scores of several.*{column}: a in 2 rows, b in 2 rows"
    ) as refusal:
        read_scores(path)
    assert f"--where {column}=a" in str(refusal.value)
    assert "--by" not in str(refusal.value)
    chosen = read_scores(path, where=parse_where(f"{column.lower()}=b"))
    assert chosen.score.tolist() == [0.5, 0.9]
    assert len(read_scores(path, force=True)) == 4


@pytest.mark.parametrize(("column", "values"), [("seed", "0011"), ("family", "1212"), ("dataset", "xxxx")])
def test_seeds_and_names_of_sizes_are_one_experiment(tmp_path, column, values):
    assert len(read_scores(write(tmp_path / "s.csv", column, values))) == 4


def test_a_dataset_that_is_the_task_is_no_mix(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("task,dataset,score,params\npiqa,piqa,0.5,1e6\narc,arc,0.3,1e6\narc,arc,0.4,1e7\n")
    assert len(read_scores(path)) == 3
    with pytest.raises(BadInputError, match="--where task=boolq: no row of"):
        read_scores(path, where=parse_where("task=boolq"))
