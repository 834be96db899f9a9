"""A task is one new file: the one on the page about extending, put into the package and used everywhere."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import scaling.tasks
from scaling.config.data import TasksConfig
from scaling.data.sources import TaskDocuments
from scaling.evals.evaluator import EvalSettings
from scaling.evals.prompts import template_named
from scaling.evals.suites import load_suite
from tests.evals.test_evaluator import evaluator

ROOT = Path(__file__).parents[2]
TOUCHED = ("scaling/tasks/parity.py",)


def section(title: str) -> str:
    """A section of the page."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file of the page as a module of `scaling.tasks`, found in the way that all of them are."""
    (code,) = re.findall(r"```python\n(.*?)```", section("A task"), re.DOTALL)
    (path,) = TOUCHED
    (tmp_path / Path(path).name).write_text(code, encoding="utf-8")
    monkeypatch.setattr(scaling.tasks, "__path__", [*scaling.tasks.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    tasks, suites = scaling.tasks.collected()
    for name in set(tasks) - set(scaling.tasks.TASKS):
        monkeypatch.setitem(scaling.tasks.TASKS, name, tasks[name])
    for name, members in suites.items():
        monkeypatch.setitem(scaling.tasks.SUITES, name, members)
    yield
    sys.modules.pop("scaling.tasks.parity")
    del scaling.tasks.parity  # type: ignore[attr-defined]


def test_a_task_is_one_file() -> None:
    assert len(TOUCHED) == 1
    assert "One file in `scaling/tasks/`" in section("A task")


@pytest.mark.usefixtures("added")
def test_the_task_is_trained_on_and_evaluated() -> None:
    documents = TaskDocuments(TasksConfig(names=("parity8",), shots=2))
    lines = [line for i in range(20) for line in documents[i].splitlines()]
    assert len(lines) == 60
    trained = {question: answer for question, _, answer in (line.partition("=") for line in lines)}
    assert all(answer == ("odd", "even")[q.count("1") % 2 == 0] for q, answer in trained.items())

    suite = load_suite("parity")
    assert [task.name for task in suite.tasks] == ["parity8", "parity16"]
    assert {"parity8", "parity16"} <= {task.name for task in load_suite("synthetic").tasks}
    settings = EvalSettings(template_named(suite.tasks[0].template), shots=1, items=30)
    result = evaluator(text="odd\n")[0].evaluate(suite.tasks[0], settings)
    asked = {one.item.query.question for one in result.items}
    assert not asked & set(trained)  # a test instance is never in a training document
    share = sum(one.item.query.answer == "odd" for one in result.items) / 30
    assert result.scores(suite.tasks[0], settings).scores["exact_match"].value == pytest.approx(share)


@pytest.mark.usefixtures("added")
def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parity2.py").write_text("from scaling.tasks.parity import TASKS\n", encoding="utf-8")
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="there is already a task parity8"):
        scaling.tasks.collected()
    sys.modules.pop("scaling.tasks.parity2")
    del scaling.tasks.parity2  # type: ignore[attr-defined]


def test_the_tasks_of_the_package_are_as_before() -> None:
    assert "parity8" not in scaling.tasks.TASKS
