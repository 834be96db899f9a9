"""Arithmetic modulo a prime, the tables of Power et al. 2022 (arXiv:2201.02177, grokking), in decimal."""

import itertools
from collections.abc import Callable, Iterable

from scaling.tasks.example import Example
from scaling.tasks.independent import Independent, Instance

PRIME = 97


def _table(
    name: str, sign: str, operation: Callable[[int, int], int], words: str, chance: float, first: int = 0
) -> Independent:
    commutes = sign != "/"

    def everything() -> Iterable[Instance]:
        for a, b in itertools.product(range(PRIME), range(first, PRIME)):
            low, high = (min(a, b), max(a, b)) if commutes else (a, b)
            example = Example(f"{a}{sign}{b}%{PRIME}", str(operation(a, b) % PRIME))
            yield Instance(f"{low}{sign}{high}%{PRIME}", example)

    def draw(draws: object) -> Instance:
        raise AssertionError("its instances are counted")

    return Independent(
        name,
        f"Two residues {words} modulo {PRIME}.",
        f"The two numbers {words}, modulo {PRIME}.",
        chance,
        draw,
        everything,
    )


def modular() -> tuple[Independent, ...]:
    """Addition, multiplication and division modulo 97; the last by numbers that are not 0."""
    n = PRIME
    return (
        _table("modadd", "+", lambda a, b: a + b, "added", 1 / n),
        _table("modmul", "*", lambda a, b: a * b, "multiplied", (2 * n - 1) / n**2),
        _table("moddiv", "/", lambda a, b: a * pow(b, -1, n), "divided", 1 / n, first=1),
    )
