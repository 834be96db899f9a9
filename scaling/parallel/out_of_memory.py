"""What a compiler says of memory: what a program that it refused would need, and what a device has."""

import re

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from scaling.config.record import OutOfMemory

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = r"([0-9.]+)([KMGTP]?)"
# Two ways of saying it: before temporaries were given their places, and after.
_PATTERNS = (
    re.compile(rf"Used {_SIZE} of {_SIZE} hbm"),
    re.compile(rf"required for [^(]*\({_SIZE}\) exceeds available HBM \({_SIZE}\)"),
)


def parse_out_of_memory(text: str) -> OutOfMemory | None:
    """Bytes needed and there, from an error of the TPU compiler; None for another error.

    The compiler rounds to a hundredth of its unit.
    """
    for pattern in _PATTERNS:
        match = pattern.search(text)
        if match is not None:
            number, unit, there, its_unit = match.groups()
            needed, capacity = round(float(number) * _UNITS[unit]), round(float(there) * _UNITS[its_unit])
            return OutOfMemory(
                needed_bytes=needed, capacity_bytes=capacity, over_by_bytes=max(0, needed - capacity)
            )
    return None


def usable_memory(tpu: jax.Device) -> int | None:
    """Bytes of an absent TPU's memory that programs may use: it keeps some for itself.

    Asked by a program that fits no device; None where the compiler does not complain of it.
    """
    tebibyte = jax.ShapeDtypeStruct((2**20, 2**20), jnp.uint8, sharding=SingleDeviceSharding(tpu))
    try:
        jax.jit(lambda x: x + 1).lower(tebibyte).compile()
    except jax.errors.JaxRuntimeError as error:
        said = parse_out_of_memory(str(error))
        return None if said is None else said.capacity_bytes
    return None
