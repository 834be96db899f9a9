"""What may be spent on a run: money, FLOPs or device-hours, and what each buys of a model.

A budget is a limit: speeds are those at the slow end of the estimate, so that the upper end of the stated
price, or of the device-hours, is within it.
"""

import dataclasses
from typing import Literal

from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.config.hardware import PriceKind
from scaling.estimate.price import list_price

BudgetKind = Literal["usd", "flops", "device_hours"]
_MOST = 1e40  # of any unit: more than the Earth will ever hold, and far from where floats end
_OPTIONS: dict[BudgetKind, str] = {"usd": "--usd", "flops": "--flops", "device_hours": "--device-hours"}


@dataclasses.dataclass(frozen=True)
class Budget:
    """An amount of one kind. Money and device-hours buy seconds, FLOPs buy FLOPs."""

    kind: BudgetKind
    value: float
    seconds_per_unit: float | None  # of all devices together at work; None of a budget in FLOPs

    @property
    def option(self) -> str:
        """As a person typed it."""
        return f"{_OPTIONS[self.kind]} {self.value:g}"

    @property
    def seconds(self) -> float | None:
        """Seconds that the devices work, where the budget buys time."""
        return None if self.seconds_per_unit is None else self.value * self.seconds_per_unit

    def price(self, tokens: float, flops_per_token: float, tokens_per_second: float) -> float:
        """What training on so many tokens takes of a budget of this kind."""
        if self.seconds_per_unit is None:
            return tokens * flops_per_token
        return tokens / tokens_per_second / self.seconds_per_unit

    def tokens(self, flops_per_token: float, tokens_per_second: float) -> float:
        """Tokens that the budget trains on."""
        return self.value / self.price(1.0, flops_per_token, tokens_per_second)


def make_budget(
    devices: Devices,
    *,
    usd: float | None = None,
    flops: float | None = None,
    device_hours: float | None = None,
    price_kind: PriceKind = "on-demand",
    price: float | None = None,
) -> Budget:
    """The one budget that was given.

    Raises:
        BadInputError: none or several, one that is not a positive number, or money for devices whose price is
            not known.
    """
    all_three: dict[BudgetKind, float | None] = {"usd": usd, "flops": flops, "device_hours": device_hours}
    given = {kind: value for kind, value in all_three.items() if value is not None}
    if len(given) != 1:
        found = " and ".join(_OPTIONS[kind] for kind in given) or "none"
        raise BadInputError(f"budget: give one of --usd, --flops and --device-hours; found {found}")
    ((kind, value),) = given.items()
    if not 0 < value <= _MOST:
        raise BadInputError(f"{_OPTIONS[kind]} {value:g}: give a positive number, at most {_MOST:g}")
    if kind == "flops":
        return Budget(kind, value, None)
    hours = 1.0  # of one device, for one unit
    if kind == "usd":
        known = list_price(devices.hardware, price_kind)
        rate = price or (known.per_chip_hour / devices.hardware.devices_per_chip if known else None)
        if rate is None:
            raise BadInputError(
                f"--usd {value:g}: no list price of {devices.hardware.name} is known: give --price USD per "
                f"device and hour, or a budget as --device-hours"
            )
        hours = 1 / rate
    return Budget(kind, value, 3600 * hours / devices.count)
