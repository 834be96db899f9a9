"""`--where`, `--by` and `--force` on the command line."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import run_cli

__all__ = ["run_cli"]

QUICK = ("--bootstrap", "0", "--holdout", "none", "--rolling", "0", "--no-profile", "--no-sensitivity")


@pytest.fixture
def two(tmp_path) -> Path:
    """Losses of two optimizers at the same sizes and budgets."""
    lines = ["Params (M);Tokens (B);Val loss;Optimizer"]
    for n in (10, 20, 50, 100, 200):
        for name, factor in (("adamw", 1.0), ("muon", 0.97)):
            loss = factor * (1 + 60 * (n * 1e6 * 20 * n * 1e6) ** -0.1)
            lines.append(f"{n};{20 * n / 1e3};{loss:.6f};{name}".replace(".", ","))
    path = tmp_path / "two.csv"
    path.write_text("\n".join(lines))
    return path


def test_a_mix_is_one_line_and_each_of_its_offers_works(run_cli, two):
    fit = ("fit", str(two), "--law", "compute-power", *QUICK)
    code, _, err = run_cli(*fit)
    assert code == 2
    assert "Optimizer: adamw in 5 rows, muon in 5 rows" in err
    assert len(err.strip().splitlines()) == 1
    code, out, err = run_cli(*fit, "--where", "optimizer=muon", "--json")
    assert code == 0, err
    law = json.loads(out)
    assert (law["n_points"], law["forced"], law["loss_unit"]) == (5, False, "nats per token")
    code, out, err = run_cli(*fit, "--force", "--json")
    assert code == 0, err
    assert json.loads(out)["forced"]

    code, out, err = run_cli(*fit, "--by", "optimizer", "--json")
    assert code == 0, err
    grouped = json.loads(out)
    assert set(grouped["groups"]) == {"adamw", "muon"}
    assert grouped["groups"]["muon"]["parameters"] == law["parameters"]
    assert [row["value"] for row in grouped["table"]] == ["adamw", "muon"]
    assert [row["n_points"] for row in grouped["table"]] == [5, 5]
    assert grouped["table"][1]["parameters"] == law["parameters"]
    assert json.loads((two.parent / "two.by-optimizer.json").read_text()) == grouped


def test_by_prints_a_table_and_says_how_the_sheet_was_read(run_cli, two):
    code, out, _ = run_cli("fit", str(two), "--law", "compute-power", *QUICK, "--by", "Optimizer")
    assert code == 0
    assert "adamw" in out
    assert "Optimizer=muon: commas are decimal marks" in out


def test_plot_and_report_refuse_a_mix_alike(run_cli, two):
    home = two.parent
    for command in (("plot", "loss-vs-compute", str(two), "--out", str(home / "a.svg")),
                    ("report", str(two), "--out", str(home / "r.html"))):  # fmt: skip
        code, _, err = run_cli(*command)
        assert code == 2
        assert "Optimizer: adamw in 5 rows, muon in 5 rows" in err
    code, out, err = run_cli(
        "plot",
        "loss-vs-compute",
        str(two),
        "--out",
        str(home / "a.svg"),
        "--where",
        "optimizer=muon",
        "--json",
    )
    assert code == 0, err
    code, out, err = run_cli(
        "plot", "loss-vs-compute", str(two), "--out", str(home / "a.svg"), "--by", "optimizer", "--json"
    )
    assert code == 0, err
    made = {value: Path(group["out"]).name for value, group in json.loads(out)["groups"].items()}
    assert made == {"adamw": "a-adamw.svg", "muon": "a-muon.svg"}
    assert (home / "a-muon.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--where", "optimizer"), "--where: 'optimizer' is not COLUMN=VALUE"),
        (("--where", "optimizer=lion"), "no row of"),
        (("--where", "seed=1"), "has no column 'seed'; it has"),
        (("--by", "seed"), "--by seed:"),
        (("--by", "optimizer", "--approaches"), "--by and --approaches"),
        (("--by", "optimizer", "--law", "chinchilla"), "none of 2 values has a law"),
    ],
)
def test_what_cannot_be_selected_is_one_line(run_cli, two, arguments, words):
    code, _, err = run_cli("fit", str(two), *QUICK, *arguments)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
