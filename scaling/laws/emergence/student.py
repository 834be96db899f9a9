"""Quantiles of Student's t for whole degrees of freedom, without SciPy."""

import math


def student_cdf(t: float, degrees: int) -> float:
    """P(T <= t) (Abramowitz and Stegun 1964, equations 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(degrees))
    cos, sin = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term = total = cos if odd and degrees > 1 else float(not odd)
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cos * cos * (k - 1) / k
        total += term
    area = 2 / math.pi * (angle + sin * total) if odd else sin * total
    return 0.5 + area / 2


def student_quantile(p: float, degrees: int) -> float:
    """t with P(T <= t) = p, for p of at least one half, by bisection."""
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < p:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, degrees) < p else (low, middle)
    return (low + high) / 2
