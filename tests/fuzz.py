"""Run the property tests with random inputs, ten times the examples, and a new seed each round.

    python -m tests.fuzz --minutes 30 [pytest arguments]

Each round is a pytest session that prints its seed; a failure also prints the failing example. The same seed
and the same version of the code repeat a round:

    python -m tests.fuzz --seed SEED [pytest arguments]

As a pytest plugin, this module selects the tests that hypothesis generates inputs for.
"""

import argparse
import random
import subprocess
import sys
import time

import pytest
from hypothesis import is_hypothesis_test, settings

EXAMPLES = 10  # times as many as in the default run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--until", type=float, help="time of day, in seconds since 1970, to start no test after")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    found = [item for item in items if is_hypothesis_test(getattr(item, "obj", None))]
    config.hook.pytest_deselected(items=[item for item in items if item not in found])
    multiplied = set()
    for item in found:
        test = item.obj  # type: ignore[attr-defined]
        key = getattr(test, "__func__", test)
        if key not in multiplied:  # a parametrised test is one function of several items
            multiplied.add(key)
            own = key._hypothesis_internal_use_settings
            key._hypothesis_internal_use_settings = settings(own, max_examples=EXAMPLES * own.max_examples)
    # Time may run out within a round: then the next one starts with others.
    random.Random(config.getoption("--hypothesis-seed")).shuffle(found)
    items[:] = found


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = item.config.getoption("--until")
    if until is not None and time.time() > until:
        pytest.skip("the time is up")


def main() -> int:
    parser = argparse.ArgumentParser(description="property tests at random, with ten times the examples")
    parser.add_argument("--minutes", type=float, help="repeat with new seeds until then; default: one round")
    parser.add_argument("--seed", type=int, help="of the first round")
    given, rest = parser.parse_known_args()
    until = None if given.minutes is None else time.time() + 60 * given.minutes
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(2**32)
    rounds = 0
    while True:
        print(f"round {rounds + 1}: --seed {seed}", flush=True)
        command = [sys.executable, "-m", "pytest", "-p", "tests.fuzz", "--hypothesis-profile=fuzz"]
        command += [f"--hypothesis-seed={seed}", *([] if until is None else [f"--until={until}"]), *rest]
        code = subprocess.run(command).returncode
        if code:
            print(
                f"repeat this round: {sys.executable} -m tests.fuzz {' '.join(['--seed', str(seed), *rest])}"
            )
            return code
        rounds += 1
        if until is None or time.time() > until:
            print(f"{rounds} rounds passed")
            return 0
        seed = random.SystemRandom().randrange(2**32)


if __name__ == "__main__":
    sys.exit(main())
