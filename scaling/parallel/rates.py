"""What turns the work of a compiled program into seconds on a device."""

import math
from collections.abc import Sequence

from scaling.config.devices import Devices
from scaling.parallel.attention_kernels import Work
from scaling.parallel.groups import groups
from scaling.parallel.hlo import Instruction
from scaling.parallel.links import Place, link, places

# Share of the rate of the matrix unit at which an attention kernel runs. Assumed: no measurement of a splash
# kernel alone was found. On TPU v5p the forward pass spends 4 x 128 FLOPs on a pair of a query and a key, and
# about ten operations of the vector unit (mask, scale, maximum, exponential, sum): 1.1 ps and 0.7 ps, partly
# one after the other.
KERNEL_SHARE = 0.55
# Width of the matrix unit: a narrower head leaves the rest of it idle.
_MATRIX_UNIT = {"tpu-v6e": 256, "tpu7x": 256}
_UNIT = 128
# Share of a GPU's peak rates that products and passes over memory reach, where its compiler says nothing.
_GPU_SHARE = 0.7


class Rates:
    """Rates of the devices that a program was compiled for; `where` are their places, by number."""

    def __init__(self, devices: Devices, where: Sequence[Place] | None = None) -> None:
        hardware = devices.hardware
        if hardware.platform == "cpu" or (hardware.platform == "tpu" and hardware.clock_hz is None):
            raise ValueError(f"{hardware.name}: its compiler does not estimate the time of programs")
        self._devices, self._where = devices, where or places(devices)
        self._tpu = hardware.platform == "tpu"
        self._unit = _MATRIX_UNIT.get(hardware.name, _UNIT)
        self.clock_hz = hardware.clock_hz
        self._bandwidth = hardware.memory_bandwidth / hardware.devices_per_chip
        self._peak_flops = max(hardware.peak_flops.values()) / hardware.devices_per_chip

    def priced(self, one: Instruction) -> float | None:
        """Seconds that the compiler expects of an instruction; None where it prints none."""
        if self.clock_hz is not None and (cycles := one.number("estimated_cycles")) is not None:
            return cycles / self.clock_hz
        return one.decimal("exec_time_us", 1e-6)

    def ideal(self, flops: float, moved: float) -> tuple[float, float]:
        """Seconds at the data sheet's rates of FLOPs, and of bytes."""
        return flops / self._peak_flops, moved / self._bandwidth

    def operation(self, flops: float, moved: float) -> float:
        """Seconds of an instruction that the compiler does not price."""
        longest = max(self.ideal(flops, moved))
        return longest if self._tpu else longest / _GPU_SHARE

    def kernel(self, work: Work) -> float:
        """Seconds of a call of an attention kernel."""
        width = math.ceil(work.head / self._unit) * self._unit if self._tpu else work.head
        compute, memory = self.ideal(work.flops * width / work.head, work.bytes)
        return max(compute / KERNEL_SHARE, memory)

    def groups_of(self, one: Instruction) -> tuple[int, ...]:
        """Which devices exchange in a collective: the first of its groups, or the first pair."""
        return groups(one.rest, self._devices.count)[0]

    def collective(self, one: Instruction, kind: str, size: float) -> float:
        """Seconds of a collective over an array of `size` bytes."""
        members = groups(one.rest, self._devices.count)
        if kind == "permute":
            moved = [pair for pair in members if len(set(pair)) > 1]
            links = {link(pair, self._where, self._devices) for pair in moved}
            return max((one.seconds("permute", size) for one in links), default=0.0)
        return link(max(members, key=len), self._where, self._devices).seconds(kind, size)  # type: ignore[arg-type]

    def notes(self) -> list[str]:
        """What the numbers rest on that the compiler does not say."""
        padded = f", heads padded to {self._unit}" if self._tpu else ""
        said = [
            f"attention kernels at {KERNEL_SHARE:.0%} of peak on the blocks they compute (assumed){padded}",
            "collectives by their bytes over the data sheet's links",
        ]
        if not self._tpu:
            said.append(
                f"operations that the compiler does not estimate at {_GPU_SHARE:.0%} of the data sheet's "
                "rates (assumed)"
            )
        return said
