"""What device time costs: money, energy, carbon."""

import datetime

from scaling.config.base import Frozen
from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.config.hardware import Hardware, Price, PriceKind

_STALE = datetime.timedelta(days=365)
# IEA, Electricity 2025: the world's mean of 2024.
KG_CO2_PER_KWH = 0.445
# Uptime Institute, Global Data Center Survey 2024: 1.56 on average; large clouds state 1.1 to 1.2.
POWER_USAGE_EFFECTIVENESS = 1.2


class Cost(Frozen):
    """Cost of a run. Device-hours are of the JAX devices of the mesh; a part that is unknown is null."""

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
    price = None if usd_per_device_hour is not None else list_price(hardware, kind)
    rate, note = usd_per_device_hour, None
    if price is not None:
        rate = price.per_chip_hour / hardware.devices_per_chip
        notes = []
        if price.kind != kind:
            notes.append(f"no {kind} price is known: this is {price.kind}")
        age = (today or datetime.date.today()) - price.date
        if age > _STALE:
            notes.append(
                f"the price is {age.days // 365} years old" if age.days >= 730 else "older than a year"
            )
        note = "; ".join(notes) or None
    elif rate is None:
        note = "no list price is known: give --price USD per device and hour"
    usd = None if rate is None else rate * device_hours
    kwh = hours * devices.chips * hardware.watts / 1000 * POWER_USAGE_EFFECTIVENESS
    return Cost(
        device_hours=device_hours,
        usd=usd,
        usd_low=None if usd is None else usd * spread[0],
        usd_high=None if usd is None else usd * spread[1],
        usd_per_device_hour=rate,
        price_kind="given" if usd_per_device_hour is not None else price.kind if price else None,
        price_source=(
            "given"
            if usd_per_device_hour is not None
            else f"{price.provider} {price.region}: {price.source}".strip()
            if price
            else None
        ),
        price_date=price.date.isoformat() if price else None,
        price_note=note,
        kwh=kwh,
        kg_co2=kwh * KG_CO2_PER_KWH,
        energy_assumption=(
            f"{hardware.watts:g} W a chip, {POWER_USAGE_EFFECTIVENESS:g} for the building, "
            f"{KG_CO2_PER_KWH:g} kg CO2 a kWh (world mean 2024, IEA)"
        ),
    )
