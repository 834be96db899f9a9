"""The environment that JAX is started in, as a function of a directory and a mapping."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.runtime import environment as module
from scaling.runtime.environment import (
    ALLOCATOR,
    accelerator_present,
    choose_platform,
    prepare_environment,
    tune_allocator,
)
from scaling.runtime.errors import BadInputError


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
    code = "import sys, scaling.runtime.environment; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


CPU = {"JAX_PLATFORMS": "cpu", "HOME": "/somewhere"}


def restarted(environment: dict[str, str]) -> dict[str, str] | None:
    """The environment that a process would be restarted in; None where it goes on as it is."""
    calls: list[tuple[str, list[str], dict[str, str]]] = []
    tune_allocator(environment, lambda *call: calls.append(call))
    for program, command, _ in calls:
        assert program == sys.executable and command == [program, *sys.orig_argv[1:]]
    return calls[0][2] if calls else None


@pytest.fixture
def glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.machine, "libc_ver", lambda: ("glibc", "2.36"))


@pytest.mark.usefixtures("glibc")
def test_training_on_the_cpu_restarts_once_with_the_allocator_tuned() -> None:
    tuned = restarted(CPU)
    assert tuned == CPU | ALLOCATOR
    assert restarted(tuned) is None
    assert restarted(CPU | {"SCALING_ALLOCATOR": "tuned"}) is not None


@pytest.mark.usefixtures("glibc")
@pytest.mark.parametrize(
    "chosen",
    [
        {"SCALING_ALLOCATOR": "system"},
        {"JAX_PLATFORMS": "cuda"},
        {"LD_PRELOAD": "/usr/lib/libjemalloc.so"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"},
        {"MALLOC_ARENA_MAX": "2"},
    ],
)
def test_what_a_person_chose_is_left(chosen: dict[str, str]) -> None:
    assert restarted(CPU | chosen) is None


def test_another_libc_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.machine, "libc_ver", lambda: ("", ""))
    assert restarted(CPU) is None


def test_the_switch_knows_two_values() -> None:
    with pytest.raises(BadInputError, match="SCALING_ALLOCATOR='jemalloc': give tuned or system"):
        restarted(CPU | {"SCALING_ALLOCATOR": "jemalloc"})


@pytest.mark.skipif(module.machine.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_the_program_restarts_for_commands_that_train_alone() -> None:
    """The child says which settings it runs with, and keeps its arguments."""
    child = (
        "import os, sys\n"
        "from scaling import cli\n"
        "cli.app = lambda standalone_mode: print(os.environ.get('MALLOC_ARENA_MAX'), sys.argv[1:])\n"
        "cli.start()"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    bare |= {"JAX_PLATFORMS": "cpu"}

    def said(*arguments: str, **more: str) -> str:
        command = [sys.executable, "-c", child, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=bare | more, check=True)
        return done.stdout.strip()

    assert said("train", "cpu", "model.name=a b") == "1 ['train', 'cpu', 'model.name=a b']"
    assert said("train", "cpu", SCALING_ALLOCATOR="system") == "None ['train', 'cpu']"
    assert said("estimate", "gpt1") == "None ['estimate', 'gpt1']"
