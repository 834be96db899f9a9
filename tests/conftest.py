"""Eight simulated devices and reproducible examples for every test, and caches of the tests' own."""

import os
import tempfile

# Before JAX is imported anywhere: the number of CPU devices is fixed at start-up.
# Compiled without optimisation: tests compile much and compute little, and this halves their time.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    )
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Many tests compile the same tiny programs, some in processes of their own: they share what was compiled.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory(prefix="scaling-xla-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Output is as wide as it is, also where workers of a parallel run inherit the width of a terminal.
os.environ.pop("COLUMNS", None)

import pytest
from hypothesis import HealthCheck, settings

# The default run draws the same examples every time and does not depend on how fast the machine is.
settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
# `make fuzz` (tests/fuzz.py) draws at random and prints how to repeat a failure.
settings.register_profile("fuzz", settings.get_profile("ci"), derandomize=False, print_blob=True)
settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["SCALING_CACHE"] = str(tmp_path_factory.mktemp("cache"))
