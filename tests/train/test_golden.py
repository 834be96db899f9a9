"""What compiled steps exchange and hold is what benchmarks/golden.json says."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.absent import needs_tpu_compiler


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "golden.py"
    spec = importlib.util.spec_from_file_location("golden", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_step_of_the_file_is_a_case(golden: ModuleType) -> None:
    steps = golden.read()["steps"]
    assert steps and set(steps) <= set(map(golden.name_of, golden.CASES))
    for case in golden.CASES:
        golden.run_of(case)


def test_a_collective_more_is_told(golden: ModuleType) -> None:
    step = next(iter(golden.read()["steps"].values()))
    count, size = step["collectives"]["all_reduce"]
    more = {**step, "collectives": {**step["collectives"], "all_reduce": [count + 1, size]}}
    assert golden.differences(step, step) == []
    assert golden.differences(step, more)[0].startswith(f"all_reduce: {count} of")
    assert golden.differences(step, {**step, "peak_bytes": 1.02 * step["peak_bytes"]})


@needs_tpu_compiler
def test_this_commit_compiles_to_the_file(golden: ModuleType) -> None:
    """Of the smallest model; `python benchmarks/golden.py` compares all."""
    held = golden.read()
    for case in golden.CASES:
        if case[0] != "bert-large" or golden.name_of(case) not in held["steps"]:
            continue
        found = golden.measured(case)
        if found.pop("versions") != held["versions"]:
            pytest.skip(f"the file is of {held['versions']}")
        assert golden.differences(held["steps"][golden.name_of(case)], found) == []
