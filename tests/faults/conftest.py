"""The table that `make faults` prints: what was tried, how often, and what came of it."""

from collections import Counter
from typing import Any

import pytest

_TRIED: Counter[str] = Counter()
_SURVIVED: Counter[str] = Counter()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    """Count a test's tries by the fault it names: `@pytest.mark.fault("SIGKILL while stepping")`."""
    report = (yield).get_result()
    mark = item.get_closest_marker("fault")
    if mark is None or report.when != "call" or report.skipped:
        return
    tries = next((value for name, value in item.user_properties if name == "tries"), 1)
    _TRIED[mark.args[0]] += tries
    _SURVIVED[mark.args[0]] += tries if report.passed else 0


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _TRIED:
        return
    width = max(map(len, _TRIED))
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':{width}}  tried  survived")
    for name, tried in _TRIED.items():
        terminalreporter.write_line(f"{name:{width}}  {tried:5}  {_SURVIVED[name]:8}")
