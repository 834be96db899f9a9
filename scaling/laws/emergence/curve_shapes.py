"""Candidate shapes of a score over scale: smooth ones, and ones with a break.

Scale enters as x, its logarithm stretched to [-1, 1] over the data, so that neither its unit nor a power of
it matters. With eta = level + slope (x - origin) + bend x^2 + turn max(0, x - place) + jump [x > place], the
score is

    logistic   low + (high - low) / (1 + exp(-eta))      a sigmoid in log scale
    power      low + (high - low) exp(-exp(-eta))        -log of the score is a power law of scale: token
                                                         accuracy exp(-(c / N)^alpha) to the power of the
                                                         answer's length (Schaeffer et al. 2023)
    straight   eta                                       logarithmic in scale
    decay      high - exp(-eta)                          the distance to `high` falls as a power law

A smooth shape has no turn and no jump. With a turn the slope changes at one place: a power law broken there,
with a sharp corner (the limit f -> 0 of Caballero et al. 2022, equation 1).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Link = Literal["logistic", "power", "straight", "decay"]
Family = Literal["flat", "smooth", "broken", "bent"]

LINKS: tuple[Link, ...] = ("logistic", "power", "straight", "decay")
ENTRIES = ("level", "slope", "bend", "turn", "jump", "low", "high")
LEVEL, SLOPE, BEND, TURN, JUMP, LOW, HIGH = range(len(ENTRIES))
LARGEST = 30.0  # of eta: exp(-30) is below the resolution of any test set
HALF = {"logistic": 0.0, "power": -float(np.log(np.log(2.0)))}  # eta at half of the rise


@dataclass(frozen=True)
class CurveShape:
    """One candidate.

    Attributes:
        name: as reported.
        family: flat, smooth, broken, or bent (a parabola, for scores that fall and rise).
        link: see the module.
        free: which of `ENTRIES` are fitted.
        placed: whether it has a place, which is searched on a grid.
        floor: where the score begins if `low` is not fitted: at chance, or at zero.
    """

    name: str
    family: Family
    link: Link
    free: tuple[int, ...]
    placed: Literal["", "between", "gap"] = ""
    floor: Literal["chance", "zero"] = "zero"

    @property
    def n_parameters(self) -> int:
        """Parameters of the mean; the noise has one more."""
        return len(self.free) + bool(self.placed)


BOUNDED_SHAPES = (  # for a score between 0 and 1
    CurveShape("constant", "flat", "logistic", (LEVEL,)),
    CurveShape("sigmoid", "smooth", "logistic", (LEVEL, SLOPE)),
    CurveShape("power law", "smooth", "power", (LEVEL, SLOPE)),
    CurveShape("sigmoid over a floor", "smooth", "logistic", (LEVEL, SLOPE, LOW)),
    CurveShape("power law over a floor", "smooth", "power", (LEVEL, SLOPE, LOW)),
    CurveShape("sigmoid to a ceiling", "smooth", "logistic", (LEVEL, SLOPE, HIGH)),
    CurveShape("sigmoid between levels", "smooth", "logistic", (LEVEL, SLOPE, LOW, HIGH)),
    CurveShape("parabola", "bent", "logistic", (LEVEL, SLOPE, BEND)),
    CurveShape("flat, then a sigmoid", "broken", "logistic", (LEVEL, TURN), "between"),
    CurveShape("flat, then a power law", "broken", "power", (LEVEL, TURN), "between"),
    CurveShape("two sigmoids", "broken", "logistic", (LEVEL, SLOPE, TURN), "between"),
    CurveShape("step", "broken", "logistic", (LEVEL, JUMP), "gap"),
)
CHANCE_SHAPES = (  # more of them, where guessing scores above 0
    CurveShape("sigmoid over chance", "smooth", "logistic", (LEVEL, SLOPE), floor="chance"),
    CurveShape("power law over chance", "smooth", "power", (LEVEL, SLOPE), floor="chance"),
)
UNBOUNDED_SHAPES = (  # for log-probabilities and the like, oriented so that more is better
    CurveShape("constant", "flat", "straight", (LEVEL,)),
    CurveShape("logarithm", "smooth", "straight", (LEVEL, SLOPE)),
    CurveShape("power law", "smooth", "decay", (LEVEL, SLOPE, HIGH)),
    CurveShape("sigmoid between levels", "smooth", "logistic", (LEVEL, SLOPE, LOW, HIGH)),
    CurveShape("parabola", "bent", "straight", (LEVEL, SLOPE, BEND)),
    CurveShape("flat, then a logarithm", "broken", "straight", (LEVEL, TURN), "between"),
    CurveShape("two logarithms", "broken", "straight", (LEVEL, SLOPE, TURN), "between"),
    CurveShape("step", "broken", "straight", (LEVEL, JUMP), "gap"),
)


def shapes_of(bounded: bool, chance: float) -> tuple[CurveShape, ...]:
    """The candidates for a score; `chance` is the score of guessing."""
    if not bounded:
        return UNBOUNDED_SHAPES
    return BOUNDED_SHAPES + CHANCE_SHAPES if chance > 0 else BOUNDED_SHAPES


def eta(theta: Any, x: Any, place: Any, origin: Any, xp: Any = np) -> Any:
    """(S, n) from theta (S, P), x (S, n), place and origin (S,)."""
    t = theta[:, :, None]
    past = x - place[:, None]
    value = t[:, LEVEL] + t[:, SLOPE] * (x - origin[:, None]) + t[:, BEND] * x**2
    value = value + t[:, TURN] * xp.maximum(past, 0.0) + t[:, JUMP] * (past > 0)
    return xp.clip(value, -LARGEST, LARGEST)


def mean(theta: Any, x: Any, place: Any, origin: Any, link: Any, xp: Any = np) -> tuple[Any, Any, Any, Any]:
    """(S, n) each: the score and its derivatives in eta, low and high; `link` (S,) are indices of `LINKS`."""
    value = eta(theta, x, place, origin, xp)
    low, high, link = theta[:, LOW, None], theta[:, HIGH, None], link[:, None]
    fall = xp.exp(-value)
    logistic = 1 / (1 + fall)
    power = xp.exp(-fall)
    share = xp.where(link == 0, logistic, power)
    slope = xp.where(link == 0, logistic * (1 - logistic), power * fall)
    risen = low + (high - low) * share
    score = xp.where(link <= 1, risen, xp.where(link == 2, value, high - fall))
    slope = xp.where(link <= 1, (high - low) * slope, xp.where(link == 2, 1.0, fall))
    in_low = xp.where(link <= 1, 1 - share, 0.0)
    in_high = xp.where(link <= 1, share, xp.where(link == 2, 0.0, 1.0))
    return score, slope, in_low, in_high


def predict(theta: Floats, x: Floats, place: Floats, origin: Floats, link: NDArray[np.int64]) -> Floats:
    """(S, n) scores of S parameter sets at a common x (n,), or each at its own x (S, n)."""
    with np.errstate(over="ignore"):
        score: Floats = mean(theta, np.broadcast_to(x, (len(theta), x.shape[-1])), place, origin, link)[0]
    return score


def rise_width(link: Link, slope: float) -> float:
    """The width in x from 10% to 90% of the rise of a sigmoid or power law."""
    ends = [float(np.log(s / (1 - s)) if link == "logistic" else -np.log(-np.log(s))) for s in (0.1, 0.9)]
    return (ends[1] - ends[0]) / max(abs(slope), 1e-12)
