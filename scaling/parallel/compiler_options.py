"""Compiler options of the train step by kind of device, each with its reason and what it gained."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class Option:
    """An option of XLA or of a platform's compiler, and why it is set."""

    name: str
    value: str
    reason: str


def _on_chip_memory(kib: int, measured: str) -> Option:
    return Option(
        "xla_tpu_scoped_vmem_limit_kib",
        str(kib),
        "How much on-chip memory one operation may use. The default forces small tiles on matrix products, "
        f"which then read their operands several times. {measured}",
    )


# By `jax.Device.device_kind`. Cycles are the compiler's own estimates (docs/log.md); kinds that were not
# measured have no options. Part of the on-chip memory is left for prefetching.
OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "TPU v5": (
        _on_chip_memory(
            32768, "A gated feed-forward layer of LLaMA-7B, forward and backward: 7.04e7 cycles to 5.54e7."
        ),
    ),
}


def compiler_options(
    device: jax.Device, environment: Mapping[str, str] = os.environ
) -> dict[str, bool | int | float | str]:
    """The options to compile a step with for this kind of device.

    An option that LIBTPU_INIT_ARGS or XLA_FLAGS names is left to the user.
    """
    chosen = f"{environment.get('LIBTPU_INIT_ARGS', '')} {environment.get('XLA_FLAGS', '')}"
    options = OPTIONS.get(device.device_kind, ())
    return {option.name: option.value for option in options if option.name not in chosen}
