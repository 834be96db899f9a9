"""The table that `make faults` prints: what was tried, how often, and what came of it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disturbed import orphans

_TRIED: Counter[str] = Counter()
_SURVIVED: Counter[str] = Counter()
_CHECKED: dict[str, str] = {}


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path) -> Iterator[Path]:
    """Where a run of the config of the module's `undisturbed` is to be disturbed; nobody may stay there."""
    (tmp_path / "run.yaml").write_text((undisturbed.parent / "run.yaml").read_text())
    yield tmp_path
    assert orphans(tmp_path) == []


@pytest.fixture(autouse=True)
def _named(request: pytest.FixtureRequest, record_property: Any) -> None:
    """A test names its row: `@pytest.mark.fault("a full disk", "what is checked")`."""
    mark = request.node.get_closest_marker("fault")
    if mark is not None:
        record_property("fault", mark.args)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the tries of a test: one, or a property `tries` of them by fault."""
    said = dict(report.user_properties)
    if "fault" not in said or report.when != "call" or report.skipped:
        return
    fault, checked = said["fault"]
    for name, tries in said.get("tries", {fault: 1}).items():
        _CHECKED[name] = checked
        _TRIED[name] += tries
        _SURVIVED[name] += tries if report.passed else 0


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _TRIED:
        return
    width = max(map(len, _TRIED))
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':{width}}  tried  survived  checked")
    for name in sorted(_TRIED):
        counts = f"{_TRIED[name]:5}  {_SURVIVED[name]:8}"
        terminalreporter.write_line(f"{name:{width}}  {counts}  {_CHECKED[name]}")
    terminalreporter.write_line(f"{'all':{width}}  {_TRIED.total():5}  {_SURVIVED.total():8}")
