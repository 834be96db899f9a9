"""The environment that JAX is started in, as a function of a directory and a mapping."""

import subprocess
import sys
from pathlib import Path

import pytest

from scaling.config.environment import accelerator_present, choose_platform, prepare_environment


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("accel0", True),
        ("vfio/0", True),
        ("vfio/vfio", False),  # there on hosts without any chip
        ("nvidia0", True),
        ("nvidiactl", True),
        ("nvidia-uvm", False),
        ("dxg", True),
        ("kfd", True),
        ("tty0", False),
    ],
)
def test_what_a_driver_leaves_behind(file: str, found: bool, tmp_path: Path) -> None:
    assert not accelerator_present(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert accelerator_present(tmp_path) is found


def test_the_cpu_is_chosen_only_where_there_is_nothing_else(tmp_path: Path) -> None:
    assert not accelerator_present(tmp_path / "missing")
    environment: dict[str, str] = {}
    choose_platform(environment, tmp_path)
    assert environment == {"JAX_PLATFORMS": "cpu"}

    chosen = {"JAX_PLATFORMS": "tpu"}
    choose_platform(chosen, tmp_path)
    assert chosen == {"JAX_PLATFORMS": "tpu"}

    (tmp_path / "accel0").touch()
    environment = {}
    choose_platform(environment, tmp_path)
    assert environment == {}


def test_a_dry_run_computes_on_the_cpu_and_keeps_what_a_person_set() -> None:
    environment = {"JAX_PLATFORMS": "tpu", "TPU_LOG_DIR": "logs", "XLA_FLAGS": "--xla_foo=1"}
    prepare_environment("tpu", 512, environment)
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert environment["TPU_LOG_DIR"] == "logs"
    assert environment["TPU_SKIP_MDS_QUERY"] == "1"
    assert environment["XLA_FLAGS"] == "--xla_foo=1"


def test_cpu_devices_are_simulated_unless_they_are_already() -> None:
    environment = {"XLA_FLAGS": "--xla_foo=1"}
    prepare_environment("cpu", 6, environment)
    assert environment["XLA_FLAGS"] == "--xla_foo=1 --xla_force_host_platform_device_count=6"
    prepare_environment("cpu", 4, environment)
    assert environment["XLA_FLAGS"].count("device_count") == 1


def test_the_module_imports_no_jax() -> None:
    code = "import sys, scaling.config.environment; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
