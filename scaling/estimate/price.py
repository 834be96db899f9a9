"""Money: what device time costs, with its energy and carbon, and what a budget buys.

A budget is a limit: speeds are those at the slow end of the estimate, so that the upper end of the stated
price, or of the device-hours, is within it.
"""

import dataclasses
import datetime
from typing import Literal

from scaling.config.base import Frozen
from scaling.config.devices import Devices
from scaling.config.hardware import Hardware, Price, PriceKind
from scaling.runtime.errors import BadInputError

_STALE = datetime.timedelta(days=365)
# IEA, Electricity 2025: the world's mean of 2024.
KG_CO2_PER_KWH = 0.445
# Uptime Institute, Global Data Center Survey 2024: 1.56 on average; large clouds state 1.1 to 1.2.
POWER_USAGE_EFFECTIVENESS = 1.2

BudgetKind = Literal["usd", "flops", "device_hours"]
_MOST = 1e40  # of any unit: more than the Earth will ever have, and far below the largest float
_OPTIONS: dict[BudgetKind, str] = {"usd": "--usd", "flops": "--flops", "device_hours": "--device-hours"}


class Cost(Frozen):
    """Cost of a run. Device-hours are of the JAX devices of the mesh; unknown parts are null."""

    device_hours: float
    usd: float | None
    usd_low: float | None
    usd_high: float | None
    usd_per_device_hour: float | None
    price_kind: str | None
    price_source: str | None
    price_date: str | None
    price_note: str | None  # what to know before trusting it
    kwh: float
    kg_co2: float
    energy_assumption: str


def list_price(hardware: Hardware, kind: PriceKind = "on-demand") -> Price | None:
    """The newest list price of a kind; the nearest kind where there is none; None where nothing is known."""
    order = [kind, "on-demand", "committed-1y", "committed-3y", "spot"]
    for wanted in order:
        found = [price for price in hardware.prices if price.kind == wanted]
        if found:
            return max(found, key=lambda price: price.date)
    return None


def cost(
    devices: Devices,
    hours: float,
    spread: tuple[float, float],
    *,
    kind: PriceKind = "on-demand",
    usd_per_device_hour: float | None = None,
    today: datetime.date | None = None,
) -> Cost:
    """What `hours` of all devices cost; `spread` multiplies the hours for the interval.

    Raises:
        BadInputError: a price that is not positive.
    """
    if usd_per_device_hour is not None and not usd_per_device_hour > 0:
        raise BadInputError(
            f"--price {usd_per_device_hour}: give a positive price in USD per device and hour"
        )
    hardware = devices.hardware
    device_hours = hours * devices.count
    rate, listed, note, price_source = usd_per_device_hour, None, None, None
    if rate is not None:
        price_kind: str | None = "given"
        price_source = "given"
    elif listed := list_price(hardware, kind):
        rate = listed.per_chip_hour / hardware.devices_per_chip
        price_kind = listed.kind
        price_source = f"{listed.provider} {listed.region}: {listed.source}".strip()
        note = _price_note(listed, kind, today or datetime.date.today())
    else:
        price_kind, note = None, "no list price is known: give --price USD per device and hour"
    usd = None if rate is None else rate * device_hours
    kwh = hours * devices.chips * hardware.watts / 1000 * POWER_USAGE_EFFECTIVENESS
    return Cost(
        device_hours=device_hours,
        usd=usd,
        usd_low=None if usd is None else usd * spread[0],
        usd_high=None if usd is None else usd * spread[1],
        usd_per_device_hour=rate,
        price_kind=price_kind,
        price_source=price_source,
        price_date=listed.date.isoformat() if listed else None,
        price_note=note,
        kwh=kwh,
        kg_co2=kwh * KG_CO2_PER_KWH,
        energy_assumption=(
            f"{hardware.watts:g} W per chip, {POWER_USAGE_EFFECTIVENESS:g} for the building, "
            f"{KG_CO2_PER_KWH:g} kg CO2 per kWh (world mean 2024, IEA)"
        ),
    )


def _price_note(price: Price, kind: PriceKind, today: datetime.date) -> str | None:
    notes = []
    if price.kind != kind:
        notes.append(f"no {kind} price is known: this is {price.kind}")
    age = today - price.date
    if age > _STALE:
        notes.append(f"the price is {age.days // 365} years old" if age.days >= 730 else "older than a year")
    return "; ".join(notes) or None


@dataclasses.dataclass(frozen=True)
class Budget:
    """An amount of money, FLOPs or device-hours. Money and device-hours buy seconds, FLOPs buy FLOPs."""

    kind: BudgetKind
    value: float
    seconds_per_unit: float | None  # of all devices together; None for a budget in FLOPs

    @property
    def option(self) -> str:
        """The budget as an option of the command line."""
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
    """The one budget that is given.

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
    hours = 1.0  # of one device, per unit
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
