"""A figure is one file and one entry: those on the page about extending, drawn by `scaling plot`."""

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from typer.testing import CliRunner

import scaling.plots
from scaling.cli import app
from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import KINDS, draw

ROOT = Path(__file__).parents[2]
TOUCHED = ("scaling/plots/tokens_per_param.py", "scaling/plots/kinds.py")
KIND = "tokens-per-param"


def section(title: str) -> str:
    """A section of the page."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file of the page as a module of `scaling.plots`, and its entry in the table."""
    code, entry = re.findall(r"```python\n(.*?)```", section("A figure"), re.DOTALL)
    (tmp_path / Path(TOUCHED[0]).name).write_text(code, encoding="utf-8")
    monkeypatch.setattr(scaling.plots, "__path__", [*scaling.plots.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    ((name, function),) = ast.literal_eval(f"{{{entry}}}").items()
    monkeypatch.setitem(KINDS, name, function)
    yield
    if sys.modules.pop("scaling.plots.tokens_per_param", None) is not None:
        del scaling.plots.tokens_per_param  # type: ignore[attr-defined]


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    rows = [f"{n},{20 * n * k},{4 - 0.1 * k - n / 1e8}" for n in (1e6, 1e7) for k in (1, 2, 4)]
    path.write_text("\n".join(["params,tokens,loss", *rows]) + "\n", encoding="utf-8")
    return path


def test_a_figure_is_one_file_and_one_entry() -> None:
    assert len(TOUCHED) == 2
    assert not (ROOT / TOUCHED[0]).exists() and (ROOT / TOUCHED[1]).is_file()
    assert KIND not in KINDS


@pytest.mark.usefixtures("added")
def test_the_figure_is_drawn_by_the_command(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "figure.svg"
    done = CliRunner().invoke(app, ["plot", KIND, str(csv), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["bytes"] == out.stat().st_size
    assert out.read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.usefixtures("added")
def test_the_figure_shows_the_points(csv: Path) -> None:
    (axes,) = draw(KIND, Sources((csv,), None)).axes
    shown = [c.get_offsets() for c in axes.collections if isinstance(c, PathCollection)]
    np.testing.assert_allclose(np.sort(np.concatenate(shown)[:, 0]), [20, 20, 40, 40, 80, 80])
    assert axes.get_xlabel() == "Tokens per parameter D / N"
