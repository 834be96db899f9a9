"""Every example runs, cell by cell as in a notebook: the value of a cell's last line shows itself."""

import ast
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def cells(text: str) -> list[str]:
    """The code cells of a script in jupytext's percent format."""
    parts = [part.split("\n", 1) for part in text.split("# %%")[1:]]
    return [code for head, code in parts if "[markdown]" not in head]


def run_cell(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, where that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


TRAIN = ("compare_two_sweeps", "import_and_score", "own_corpus", "train_a_ladder")  # some 20 seconds


@pytest.mark.parametrize(
    "path",
    [pytest.param(one, marks=pytest.mark.slow if one.stem in TRAIN else ()) for one in EXAMPLES],
    ids=lambda path: path.stem,
)
def test_example(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("OWN_CORPUS_MB", "2")
    names: dict[str, Any] = {"__name__": "example"}
    shown = 0
    for code in cells(path.read_text()):
        value = run_cell(code, names)
        if hasattr(value, "_repr_html_"):
            html = value._repr_html_()
            assert html.lstrip().startswith("<"), code
            shown += 1
    assert shown >= 2


def test_the_examples_are_listed() -> None:
    text = (EXAMPLES[0].parent / "README.md").read_text()
    assert len(EXAMPLES) == 6
    assert all(f"`{path.name}`" in text for path in EXAMPLES)
