"""Arithmetic: the tests of Brown et al. 2020 (arXiv:2005.14165), section 3.9.1, and modular tables.

Numbers of N digits are uniform from 0 to 10^N - 1, as there. In the reversed variants numbers are padded with
zeros and the answer is written from its last digit, so that each digit depends on two digits and a carry. The
modular tables are those of Power et al. 2022 (arXiv:2201.02177, grokking), in decimal.
"""

import itertools
from collections.abc import Callable, Iterable
from functools import cache

from scaling.tasks.splitmix import SplitMix
from scaling.tasks.task import CHOICE_METRICS, Example, IndependentTask, Instance

PRIME = 97
_ENUMERATED = 2  # digits: 10^4 pairs are enumerated, 10^6 would take seconds
_DIGITS = (2, 3, 4, 5)


def _sum(a: int, b: int) -> Instance:
    return Instance(f"{min(a, b)}+{max(a, b)}", Example(f"{a}+{b}", str(a + b)))


def _difference(a: int, b: int) -> Instance:
    # 9-4 and 4-9 differ by a sign: one instance.
    return Instance(f"{max(a, b)}-{min(a, b)}", Example(f"{a}-{b}", str(a - b)))


def _product(a: int, b: int) -> Instance:
    return Instance(f"{min(a, b)}*{max(a, b)}", Example(f"{a}*{b}", str(a * b)))


def _pairs(
    name: str, definition: str, description: str, chance: float, digits: int,
    make: Callable[[int, int], Instance],
) -> IndependentTask:  # fmt: skip
    """A task on pairs of numbers of `digits` digits."""
    n = 10**digits

    def draw(random: SplitMix) -> Instance:
        return make(random.below(n), random.below(n))

    def everything() -> Iterable[Instance]:
        return itertools.starmap(make, itertools.product(range(n), repeat=2))

    enumerated = everything if digits <= _ENUMERATED else None
    return IndependentTask(name, definition, description, chance, draw, enumerated)


def addition(digits: int) -> IndependentTask:
    """N-digit addition. The likeliest sum, 10^N - 1, has a probability of 10^-N."""
    definition = f"The sum of two numbers, each uniform from 0 to {10**digits - 1}."
    return _pairs(f"add{digits}", definition, "Add the two numbers.", 10.0**-digits, digits, _sum)


def subtraction(digits: int) -> IndependentTask:
    """N-digit subtraction; answers may be negative. The likeliest, 0, has a probability of 10^-N."""
    definition = f"The first number minus the second, each uniform from 0 to {10**digits - 1}."
    description = "Subtract the second number from the first."
    return _pairs(f"sub{digits}", definition, description, 10.0**-digits, digits, _difference)


def multiplication(digits: int) -> IndependentTask:
    """N-digit multiplication. The likeliest product is 0."""
    n = 10**digits
    definition = f"The product of two numbers, each uniform from 0 to {n - 1}."
    chance = (2 * n - 1) / n**2
    return _pairs(f"mul{digits}", definition, "Multiply the two numbers.", chance, digits, _product)


def reversed_addition(digits: int) -> IndependentTask:
    """N-digit addition: numbers padded to N digits, the answer to N + 1, last digit first."""

    def make(a: int, b: int) -> Instance:
        answer = f"{a + b:0{digits + 1}}"[::-1]
        return Instance(_sum(a, b).canonical, Example(f"r{a:0{digits}}+{b:0{digits}}", answer))

    definition = f"The sum of two numbers of {digits} digits, written from its last digit to its first."
    description = "Add the two numbers and write the digits of the sum in reverse order."
    return _pairs(f"add{digits}r", definition, description, 10.0**-digits, digits, make)


def comparison(digits: int) -> IndependentTask:
    """The larger of two different numbers: a choice."""
    n = 10**digits

    def draw(random: SplitMix) -> Instance:
        a, b = random.below(n), random.below(n - 1)
        b += b >= a  # a different number, uniform
        key = f"{min(a, b)}<>{max(a, b)}"
        return Instance(key, Example(f"{a}<>{b}", str(max(a, b)), choices=(str(a), str(b))))

    return IndependentTask(
        f"larger{digits}",
        f"The larger of two different numbers, each from 0 to {n - 1}.",
        "Which of the two numbers is larger?",
        0.5,
        draw,
        metrics=(*CHOICE_METRICS, "exact_match", "answer_log_prob"),
    )


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


def _composite(a: int, outer: str, b: int, inner: str, c: int) -> Instance:
    bracket = _OPERATIONS[inner](b, c)
    answer = _OPERATIONS[outer](a, bracket)
    numbers = [b, c] if inner == "-" else sorted([b, c])
    key = f"{a}{outer}({numbers[0]}{inner}{numbers[1]})"
    if outer == inner != "-":  # a+(b+c): the order of all three is irrelevant
        numbers = sorted([a, b, c])
        key = f"{numbers[0]}{outer}({numbers[1]}{inner}{numbers[2]})"
    return Instance(key, Example(f"{a}{outer}({b}{inner}{c})", str(answer), reasoning=str(bracket)))


@cache
def _composites() -> tuple[Instance, ...]:
    numbers = range(10)
    return tuple(itertools.starmap(_composite, itertools.product(numbers, "+-*", numbers, "+-*", numbers)))


def composites() -> IndependentTask:
    """Three one-digit numbers and two operations, the last two in brackets; the likeliest answer is 0."""
    return IndependentTask(
        "composite1",
        "A one-digit number, an operation, and in brackets two more numbers with an operation (+, - or *).",
        "Work out the value.",
        797 / 9000,
        draw=lambda random: random.one(_composites()),
        everything=_composites,
    )


def _modular(
    name: str, sign: str, operation: Callable[[int, int], int], verb: str, chance: float, first: int = 0
) -> IndependentTask:
    """All pairs of residues under an operation; the second residue starts at `first`."""
    commutes = sign != "/"

    def make(a: int, b: int) -> Instance:
        low, high = (min(a, b), max(a, b)) if commutes else (a, b)
        example = Example(f"{a}{sign}{b}%{PRIME}", str(operation(a, b) % PRIME))
        return Instance(f"{low}{sign}{high}%{PRIME}", example)

    return IndependentTask(
        name,
        f"Two residues {verb} modulo {PRIME}.",
        f"The two numbers {verb}, modulo {PRIME}.",
        chance,
        draw=lambda random: make(random.below(PRIME), first + random.below(PRIME - first)),
        everything=lambda: itertools.starmap(make, itertools.product(range(PRIME), range(first, PRIME))),
    )


TASKS = (
    *map(addition, _DIGITS),
    *map(subtraction, _DIGITS),
    multiplication(2),
    composites(),
    *map(reversed_addition, _DIGITS),
    comparison(3),
    _modular("modadd", "+", lambda a, b: a + b, "added", 1 / PRIME),
    _modular("modmul", "*", lambda a, b: a * b, "multiplied", (2 * PRIME - 1) / PRIME**2),
    _modular("moddiv", "/", lambda a, b: a * pow(b, -1, PRIME), "divided", 1 / PRIME, first=1),
)
SUITES = {
    "gpt3-arithmetic": (*(f"add{n}" for n in _DIGITS), *(f"sub{n}" for n in _DIGITS), "mul2", "composite1"),
    "modular": ("modadd", "modmul", "moddiv"),
}
