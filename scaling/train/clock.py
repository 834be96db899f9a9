"""Where a run's wall time goes: accounts in seconds, carried over restarts and rewinds."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from scaling.config.record import Goodput

ACCOUNTS = ("total", "step", "input_wait", "evaluation", "checkpoint", "compile", "restart", "lost")


class Clock:
    """Charges time to accounts. `waited` says how long this process has waited for batches, within steps.

    What a step costs while the device works is charged when its metrics are read: two calls of the
    system's clock a step.
    """

    def __init__(self, waited: Callable[[], float] = lambda: 0.0) -> None:
        self._waited = waited
        self._kept = dict.fromkeys(ACCOUNTS, 0.0)
        self._began = self._last = time.perf_counter()

    def charge(self, account: str) -> float:
        """Seconds since the last charge, added to an account."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        self._kept[account] += elapsed
        return elapsed

    @property
    def step(self) -> float:
        """Seconds of steps that count."""
        return self._kept["step"]

    def seconds(self) -> dict[str, float]:
        """All accounts as they stand."""
        return {
            **self._kept,
            "total": self._kept["total"] + time.perf_counter() - self._began,
            "input_wait": self._kept["input_wait"] + self._waited(),
        }

    def resume(self, saved: Mapping[str, float], lost: float) -> None:
        """Go on from a checkpoint's accounts; `lost` seconds of steps came after it and are done again."""
        self._kept.update(saved)
        self._kept["lost"] += lost
        self._kept["total"] += lost

    def rewind(self, saved: Mapping[str, float]) -> float:
        """Steps since a checkpoint with these accounts were in vain: their seconds."""
        lost = self._kept["step"] - saved.get("step", 0.0)
        self._kept["step"] -= lost
        self._kept["lost"] += lost
        self._kept["input_wait"] = saved.get("input_wait", 0.0) - self._waited()
        return lost


def goodput(seconds: Mapping[str, Any]) -> Goodput | None:
    """Accounts as shares of the wall time; None where no time was taken."""
    wall = seconds.get("total", 0.0)
    if wall <= 0:
        return None
    account = {name: seconds.get(name, 0.0) for name in ACCOUNTS}
    waited = min(account["input_wait"], account["step"])
    parts = {
        "productive": account["step"] - waited,
        "data_wait": waited,
        **{name: account[name] for name in ("compile", "evaluation", "checkpoint", "restart", "lost")},
    }
    parts["other"] = max(0.0, wall - sum(parts.values()))
    rounded = {name: round(value, 4) for name, value in parts.items()}
    return Goodput(share=parts["productive"] / wall, wall=round(wall, 4), **rounded)
