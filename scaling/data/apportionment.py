"""Which source of a mixture each row is from: exact shares, computed at any row without those before it.

Within a phase, where weights are constant, sources follow a periodic order in which every source is always
within one row of its share (Tijdeman 1980, "The chairman assignment problem", Discrete Mathematics 32). One
period is computed and kept; any row of the phase is then a look-up. A phase ends where the weights change by
the schedule, or where a source runs out and the others take over its share.
"""

import heapq
import math
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

RESOLUTION = 100_000  # units that weights are rounded to, and the longest period in rows


def units_of(weights: Sequence[float]) -> tuple[int, ...]:
    """Weights that sum to 1 as whole numbers in the same proportions.

    They sum to at most `RESOLUTION`; a positive weight has at least one unit. Fractions of small numbers, as
    0.7 and 1/3 are, are exact; others are rounded by largest remainders.
    """
    fractions = [Fraction(weight).limit_denominator(1000) for weight in weights]
    if sum(fractions) == 1 and all(abs(f - w) < 1e-12 for f, w in zip(fractions, weights, strict=True)):
        length = math.lcm(*(one.denominator for one in fractions))
        if length <= RESOLUTION:
            return tuple(int(one * length) for one in fractions)
    exact = [weight * RESOLUTION for weight in weights]
    units = [max(1, math.floor(one + 1e-6)) if one > 0 else 0 for one in exact]
    by_remainder = sorted(range(len(units)), key=lambda s: (units[s] - exact[s], s))
    missing = RESOLUTION - sum(units)
    for source in by_remainder[: max(0, missing)]:
        units[source] += 1
    for _ in range(max(0, -missing)):  # only where many weights are below one unit
        units[units.index(max(units))] -= 1
    return _lowest_terms(units)


def _lowest_terms(units: Sequence[int]) -> tuple[int, ...]:
    divisor = math.gcd(*units)
    return tuple(one // max(1, divisor) for one in units)


@dataclass(frozen=True)
class Period:
    """The order of sources in one period of D rows, in which source s has `units[s]` rows.

    `sources_D` holds the source of each row and `earlier_D` the rows of that source before it; `places[s]`
    (units[s],) the rows of source s.
    """

    units: tuple[int, ...]
    sources_D: np.ndarray
    earlier_D: np.ndarray
    places: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.sources_D)

    def counts(self, rows: int) -> list[int]:
        """Rows of each source among the first so many of the repeated period."""
        periods, rest = divmod(rows, len(self))
        return [
            periods * units + int(np.searchsorted(places, rest))
            for units, places in zip(self.units, self.places, strict=True)
        ]


@lru_cache(maxsize=64)
def period_of(units: tuple[int, ...]) -> Period:
    """The period of sources with these units: at each row, of those that have fallen behind their share far
    enough, the one that must be read soonest.

    Among the first n rows the count of source s differs from n units[s] / D by at most
    1 - 1 / (2 S - 2), S being the sources with units (Tijdeman's theorem 1).
    """
    length = sum(units)
    active = [s for s, one in enumerate(units) if one]
    sources_D = np.zeros(length, np.int32)
    if len(active) == 1:
        sources_D[:] = active[0]
    else:
        slack = 2 * len(active) - 2
        # Row number x of source s may be read at row t, counted from 1, once t u_s - x D >= D / slack, and
        # must be while t u_s - x D <= D - D / slack.
        waiting = [(-(-length // (slack * units[s])), s) for s in active]
        heapq.heapify(waiting)
        ready: list[tuple[float, int]] = []
        read = dict.fromkeys(active, 0)
        order = []
        for row in range(1, length + 1):
            while waiting and waiting[0][0] <= row:
                source = heapq.heappop(waiting)[1]
                due = length * (slack * (read[source] + 1) - 1) / (slack * units[source])
                heapq.heappush(ready, (due, source))
            source = heapq.heappop(ready)[1]
            order.append(source)
            read[source] += 1
            begins = -(-length * (slack * read[source] + 1) // (slack * units[source]))
            heapq.heappush(waiting, (begins, source))
        sources_D[:] = order
    earlier_D = np.zeros(length, np.int64)
    places = []
    for source in range(len(units)):
        at = np.flatnonzero(sources_D == source)
        earlier_D[at] = np.arange(len(at))
        places.append(at)
    return Period(units, sources_D, earlier_D, tuple(places))


@dataclass(frozen=True)
class Phase:
    """Rows from `start` on, in the repeated order of `period`; `counts[s]` rows of source s came before."""

    start: int
    period: Period
    counts: tuple[int, ...]


class Apportionment:
    """The source of each row of an endless sequence, and the row's number among those of its source.

    `length` is the number of rows, `sys.maxsize` if it has no end. It ends where a source that is not to be
    capped runs out, `ended_by`, or where all are exhausted.
    """

    def __init__(
        self,
        phases: Sequence[tuple[int, Sequence[float]]],
        limits: Sequence[int | None] | None = None,
        capped: Sequence[bool] | None = None,
    ) -> None:
        """Apportion rows.

        Args:
            phases: (first row, weight of each source) with rising rows from 0; weights sum to 1.
            limits: the most rows of each source; None has no limit.
            capped: for each source, whether the others replace it once it has reached its limit.
        """
        sources = len(phases[0][1])
        self._limits = [None] * sources if limits is None else list(limits)
        self._capped = [False] * sources if capped is None else list(capped)
        self.length = sys.maxsize
        self.ended_by: int | None = None
        self.phases: list[Phase] = []
        self.exhausted: dict[int, int] = {}  # the row from which a source is not read any more
        stops = [start for start, _ in phases[1:]] + [sys.maxsize]
        counts = (0,) * sources
        for (start, weights), stop in zip(phases, stops, strict=True):
            if start < stop and self.length == sys.maxsize:
                counts = self._add(start, stop, units_of(weights), counts)
        self._starts = [phase.start for phase in self.phases]

    def _add(self, start: int, stop: int, units: tuple[int, ...], counts: tuple[int, ...]) -> tuple[int, ...]:
        """Add the phases of rows [start, stop), a new one after each source that runs out; returns the rows
        of each source before `stop`."""
        while True:
            units = tuple(0 if s in self.exhausted else one for s, one in enumerate(units))
            if not any(units):
                self.length = start
                return counts
            phase = Phase(start, period_of(_lowest_terms(units)), counts)
            end, source = min(self._ends(phase), default=(stop, -1))
            if end > start:
                self.phases.append(phase)
            last = min(end, stop)
            counts = self._counts(phase, last)
            if end >= stop:
                return counts
            if not self._capped[source]:
                self.length, self.ended_by = end, source
                return counts
            self.exhausted[source] = start = end

    def _ends(self, phase: Phase) -> list[tuple[int, int]]:
        """(row, source) at which each limited source of a phase would be read once too often."""
        ends = []
        for source, (limit, units) in enumerate(zip(self._limits, phase.period.units, strict=True)):
            if limit is not None and units:
                periods, rest = divmod(limit - phase.counts[source], units)
                place = int(phase.period.places[source][rest])
                ends.append((phase.start + periods * len(phase.period) + place, source))
        return ends

    @staticmethod
    def _counts(phase: Phase, row: int) -> tuple[int, ...]:
        added = phase.period.counts(row - phase.start)
        return tuple(a + b for a, b in zip(phase.counts, added, strict=True))

    def counts(self, rows: int) -> tuple[int, ...]:
        """Rows of each source among the first `rows`, of which there must be so many."""
        return self._counts(self.phases[bisect_right(self._starts, rows) - 1], rows)

    def locate(self, numbers_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For rows by number, their source and their number among the rows of that source, each (N,)."""
        if len(numbers_N) and not 0 <= numbers_N.min() <= numbers_N.max() < self.length:
            raise IndexError(f"rows {numbers_N} of {self.length}")
        phases_N = np.searchsorted(self._starts, numbers_N, side="right") - 1
        sources_N = np.zeros(len(numbers_N), np.int32)
        own_N = np.zeros(len(numbers_N), np.int64)
        for number in np.unique(phases_N):
            phase = self.phases[number]
            at = np.flatnonzero(phases_N == number)
            periods, rest = np.divmod(numbers_N[at] - phase.start, len(phase.period))
            sources_N[at] = source = phase.period.sources_D[rest]
            before, units = np.array(phase.counts)[source], np.array(phase.period.units)[source]
            own_N[at] = before + periods * units + phase.period.earlier_D[rest]
        return sources_N, own_N
