"""Compiler options: known by name, and the user's own come first."""

from types import SimpleNamespace

import jax
import pytest

from scaling.parallel.compiler_options import OPTIONS, compiler_options


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_of_a_kind_unless_the_user_sets_them(kind):
    device = SimpleNamespace(device_kind=kind)
    options = compiler_options(device, {})
    assert options == {option.name: option.value for option in OPTIONS[kind]}
    for name in options:
        assert name not in compiler_options(device, {"LIBTPU_INIT_ARGS": f"--{name}=1"})
    assert all(option.reason for option in OPTIONS[kind])


def test_other_devices_have_none():
    assert compiler_options(jax.devices("cpu")[0], {}) == {}
