"""Losses that cannot be compared are refused in one line, and what the line offers works."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaling.config.record import RunRecord, TokenizerInfo
from scaling.laws import fit_points, read_law, read_points
from scaling.laws.points import canonical
from scaling.laws.read.comparable import check_law, comparable
from scaling.laws.read.inputs import Sources, join_points
from scaling.laws.read.select import parse_where, rows_where, split_by
from scaling.runtime.errors import BadInputError
from tests.laws.known import few_starts, ladder, points_of
from tests.plots.sweep_of import write_sweep

DATA = Path(__file__).parents[3] / "../shared/data"
BYTES = TokenizerInfo(name="bytes", vocab_size=257, bytes_per_token=1.0)
PIECES = TokenizerInfo(name="sentencepiece:tok.model", vocab_size=2048, bytes_per_token=3.2)
FOUR = points_of([1e6, 2e6, 1e6, 2e6], [2e7, 4e7, 2e7, 4e7], [2.3, 2.1, 7.3, 6.9])


def test_tokenizers_meet_in_bits_per_byte():
    points, mixed = comparable(replace(FOUR, tokenizers=(BYTES, BYTES, PIECES, PIECES)))
    np.testing.assert_allclose(points.loss, FOUR.loss / np.log(2) / [1, 1, 3.2, 3.2])
    assert points.loss_unit == "bits per byte"
    assert mixed == ()
    assert "bytes of vocabulary 257, sentencepiece:tok.model of vocabulary 2,048" in points.notes[0]
    assert points.tokenizer is None


def test_tokenizers_without_bytes_are_one_line_unless_forced():
    unknown = PIECES.model_copy(update={"bytes_per_token": None})
    points = replace(FOUR, tokenizers=(BYTES, BYTES, PIECES, unknown))
    with pytest.raises(
        BadInputError, match=r"2 points\) cannot be compared; bytes per token.* 1 of 4"
    ) as refusal:
        comparable(points)
    for offer in ("--where tokenizer=", "--by tokenizer", "--force", "bytes_per_token"):
        assert offer in str(refusal.value)
    forced, mixed = comparable(points, force=True)
    assert forced is points
    assert len(mixed) == 1
    with pytest.raises(BadInputError, match="not named: 2 points"):
        comparable(replace(FOUR, tokenizers=(BYTES, BYTES, None, None)))


def test_one_tokenizer_stays_in_nats_however_its_vocabulary_is_padded():
    padded = PIECES.model_copy(update={"vocab_size": 2304, "bytes_per_token": 3.21})
    points, _ = comparable(replace(FOUR, tokenizers=(PIECES, padded, PIECES, padded)))
    assert points.loss_unit == "nats per token"
    moved = PIECES.model_copy(update={"name": "sentencepiece:elsewhere.model", "hash": "h"})
    known = PIECES.model_copy(update={"hash": "h"})
    points, _ = comparable(replace(FOUR, tokenizers=(known, moved, known, moved)))
    assert points.loss_unit == "nats per token"


@pytest.mark.parametrize(
    "name", ["dataset", "Corpus", "split", "eval/split", "optimizer", "experiment", "router"]
)
def test_columns_that_divide_experiments_are_refused(name):
    points = replace(FOUR, columns={name: ("a", "a", "b", "b")})
    with pytest.raises(BadInputError, match=f"{name}: a in 2 rows, b in 2 rows") as refusal:
        comparable(points)
    assert f"--where {name}=a" in str(refusal.value)
    assert f"--by {name}" in str(refusal.value)
    assert comparable(points.subset([0, 1]))[1] == ()
    for part in split_by(points, name).values():
        assert comparable(part)[1] == ()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seed", "0011"),
        ("name", "aabb"),
        ("lr", ("1e-3", "1e-3", "2e-3", "2e-3")),
        ("status", ("finished", "finished", "running", "running")),
        ("experiment", ("1m", "2m", "1m", "2m")),  # the names of sizes
        ("experiment", "abcd"),  # the names of rows
        ("schedule", ("", "", "", "wsd")),
        ("width", ("64", "128", "64", "128")),
        ("accuracy", ("0.1", "0.1", "0.2", "0.2")),
    ],
)
def test_columns_of_one_experiment_are_not(name, values):
    assert comparable(replace(FOUR, columns={name: tuple(values)}))[1] == ()


def test_a_dataset_that_is_constant_is_no_problem_and_is_kept():
    points = replace(ladder(), dataset=("c4",) * 28, columns={"dataset": ("c4",) * 28})
    with few_starts():
        law = fit_points(points, "compute-power", holdout=None)
    assert (law.dataset, law.loss_unit, law.tokenizer) == ("c4", "nats per token", None)


def test_fit_points_refuses_a_mix_and_marks_a_forced_one(tmp_path):
    points = replace(ladder(), dataset=("c4", "rw") * 14)
    with pytest.raises(BadInputError, match="dataset: c4 in 14 rows, rw in 14 rows"):
        fit_points(points, "compute-power")
    law = fit_points(points, "compute-power", force=True, holdout=None)
    assert law.forced
    assert "several experiments" in law.warnings[0]
    law.write(tmp_path / "law.json")
    assert read_law(tmp_path / "law.json").dataset is None


def test_a_law_and_points_of_another_tokenizer_or_unit_are_refused():
    points = replace(ladder(), tokenizers=(BYTES,) * 28)
    law = fit_points(points, "compute-power", holdout=None)
    assert law.tokenizer == BYTES
    check_law(points, law)
    with pytest.raises(
        BadInputError, match=r"of the tokenizer bytes of vocabulary 257, and the points of sentence"
    ):
        check_law(replace(points, tokenizers=(PIECES,) * 28), law)
    with pytest.raises(BadInputError, match="in nats per token, and the points in bits per byte"):
        check_law(replace(points, loss_unit="bits per byte"), law)
    with pytest.raises(BadInputError, match="of the dataset c4, and the points of rw"):
        check_law(replace(points, dataset=("rw",) * 28), law.model_copy(update={"dataset": "c4"}))


def sweep_of_pieces(home, size):
    """A sweep whose runs read sentence pieces of `size` bytes."""
    write_sweep(home, names={i: f"pieces-{i}" for i in range(6)})
    for path in home.glob("*/record.json"):
        record = RunRecord.model_validate_json(path.read_text())
        changed = [
            point.model_copy(update={"loss": point.loss * size, "bits_per_byte": point.loss / np.log(2)})
            for point in record.points
        ]
        update = {"points": tuple(changed), "tokenizer": "sentencepiece:t.model", "vocab_size": 2048}
        path.write_text(record.model_copy(update=update).model_dump_json())
    return home


def test_sweeps_of_different_tokenizers_share_an_axis_in_bits_per_byte(tmp_path):
    one = sweep_of_pieces(tmp_path / "pieces", 3.2)
    other = tmp_path / "bytes"
    write_sweep(other)
    for path in other.glob("*/record.json"):
        record = RunRecord.model_validate_json(path.read_text())
        points = tuple(p.model_copy(update={"bits_per_byte": p.loss / np.log(2)}) for p in record.points)
        update = {"points": points, "tokenizer": "bytes", "vocab_size": 257}
        path.write_text(record.model_copy(update=update).model_dump_json())
    sources = Sources((one, other))
    assert sources.points.loss_unit == "bits per byte"
    np.testing.assert_allclose(sources.points.loss[:18], sources.points.loss[18:], rtol=0.05)
    assert Sources((one,)).points.loss_unit == "nats per token"
    parts = sources.by("tokenizer")
    assert set(parts) == {"sentencepiece:t.model", "bytes"}
    assert len(parts["bytes"].points) == 18
    assert parts["bytes"].points.loss_unit == "nats per token"
    assert len(parts["sentencepiece:t.model"].records) == 6
    with pytest.raises(BadInputError, match=r"no row of .*pieces has it"):
        Sources((one, other), where={"tokenizer": ("ids",)}).points  # noqa: B018
    record = RunRecord.model_validate_json((other / "run-0" / "record.json").read_text())
    lacking = [p.model_copy(update={"bits_per_byte": None}) for p in record.points]
    text = record.model_copy(update={"points": tuple(lacking)}).model_dump_json()
    (other / "run-0" / "record.json").write_text(text)
    with pytest.raises(BadInputError, match="losses per token of different tokenizers"):
        Sources((one, other)).points  # noqa: B018
    assert len(Sources((one, other), force=True).points) == 36


def test_runs_are_selected_by_facts_of_their_record_and_config(tmp_path):
    write_sweep(tmp_path)
    (tmp_path / "run-3" / "config.yaml").write_text(
        "name: x\ntrain: {optimizer: muon, learning_rate: 0.01}\n"
    )
    points = read_points(tmp_path, where=parse_where("optimizer=muon"))
    assert set(points.groups) == {"ladder-0.60m"}
    assert points.columns["train.learning_rate"] == ("0.01",) * 3
    assert len(read_points(tmp_path, where=parse_where("dataset=stdlib"))) == 18
    with pytest.raises(
        BadInputError, match=r"--where optimizer=lion: no row .*; train.optimizer has '', 'muon'"
    ):
        read_points(tmp_path, where=parse_where("optimizer=lion"))
    with pytest.raises(BadInputError, match="has no column 'optimiser'; it has name, family"):
        read_points(tmp_path, where=parse_where("optimiser=lion"))


def test_conditions():
    assert parse_where("a=1, b='x, y',a=2,c=o'neil") == {"a": ("1", "2"), "b": ("x, y",), "c": ("o'neil",)}
    for text in ("a", "=1", "", ","):
        with pytest.raises(BadInputError, match="--where"):
            parse_where(text)
    table = {"Split": ["val", "train", "VAL"], "lr": ["1e-3", "0.001", "0.01"], "x.lr": ["a", "b", "c"]}
    assert rows_where({"split": ("val",)}, table, "t") == [0]
    assert rows_where({"split": ("Val",)}, table, "t") == [0, 2]
    assert rows_where({"lr": ("0.0010",)}, table, "t") == [0, 1]
    assert rows_where({"split": ("val", "train"), "lr": ("0.001",)}, table, "t") == [1]
    with pytest.raises(BadInputError, match="together"):
        rows_where({"split": ("train",), "lr": ("0.01",)}, table, "t")


def test_joined_sources_keep_their_columns(tmp_path):
    for name, column in (("a", "optimizer"), ("b", "note")):
        rows = "".join(f"{n}e6,{n}e8,{5 - n},{name}\n" for n in (1, 2, 3))
        (tmp_path / f"{name}.csv").write_text(f"params,tokens,loss,{column}\n{rows}")
    joined = join_points([read_points(tmp_path / f"{name}.csv") for name in "ab"])
    assert joined.columns["optimizer"] == ("a", "a", "a", "", "", "")
    assert comparable(joined)[1] == ()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_joined_sources_keep_what_only_one_of_them_has(tmp_path, order):
    for name, column, cells in (("a", "final", "yes no yes"), ("b", "seed", "1 2 3")):
        rows = "".join(f"{n}e6,{n}e8,{5 - n},{c}\n" for n, c in zip((1, 2, 3), cells.split(), strict=True))
        (tmp_path / f"{name}.csv").write_text(f"params,tokens,loss,{column}\n{rows}")
    joined = join_points([read_points(tmp_path / f"{name}.csv") for name in order])
    parts = {"a": (True, False, True), "b": (True, True, True)}
    assert joined.final == parts[order[0]] + parts[order[1]]
    assert joined.seeds is None  # not known for all
    assert len(canonical(joined)) == 6


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_the_experiments_of_one_file_are_told_apart():
    file = DATA / "porian_isoflop_points.csv"
    with pytest.raises(BadInputError, match="dataset: rw in 1164 rows, owt2 in 581 rows"):
        comparable(read_points(file))
    left = read_points(file, where=parse_where("dataset=rw,hparams=base,warmup=long,split=val"))
    assert comparable(left)[1] == ()
    columns = {"params": "size", "loss": "min_loss", "tokens_per_param": "chinchilla*20"}
    with pytest.raises(BadInputError, match="optimizer: adamw in 18 rows"):
        comparable(read_points(DATA / "optimizers_best.csv", columns))


def test_a_tokenizer_file_that_was_replaced_is_another_tokenizer(tmp_path):
    """Two runs name one path; what it held is told apart by the identity that each run keeps."""
    directory = write_sweep(tmp_path)
    homes = sorted(path.parent for path in directory.glob("*/record.json"))
    for number, home in enumerate(homes):
        record = json.loads((home / "record.json").read_text())
        points = [{**point, "bits_per_byte": None} for point in record["points"]]
        named = {"tokenizer": "sentencepiece:tok.model", "bits_per_byte": None, "points": points}
        (home / "record.json").write_text(json.dumps(record | named))
        kept = {"tokenizer": {"file": "tokenizer.model", "identity": "first" if number else "second"}}
        (home / "files.json").write_text(json.dumps(kept))
    points = read_points(directory)
    assert {one.hash for one in points.tokenizers or ()} == {"first", "second"}
    with pytest.raises(BadInputError, match="cannot be compared"):
        comparable(points)
