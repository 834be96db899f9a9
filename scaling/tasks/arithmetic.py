"""Arithmetic on numbers: the tests of Brown et al. 2020 (arXiv:2005.14165), section 3.9.1, and variants.

Numbers of N digits are uniform from 0 to 10^N - 1, as there. Asked backwards, numbers are padded with zeros
and the answer is written from its last digit on, so that each digit depends on two and a carry.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

from scaling.tasks.draws import Draws
from scaling.tasks.example import CHOSEN, Example
from scaling.tasks.independent import Independent, Instance

_COUNTED = 2  # digits: 10^4 pairs are counted, 10^6 would take seconds


def _plus(a: int, b: int) -> Instance:
    return Instance(f"{min(a, b)}+{max(a, b)}", Example(f"{a}+{b}", str(a + b)))


def _minus(a: int, b: int) -> Instance:
    # 9-4 and 4-9 differ by a sign: one instance.
    return Instance(f"{max(a, b)}-{min(a, b)}", Example(f"{a}-{b}", str(a - b)))


def _times(a: int, b: int) -> Instance:
    return Instance(f"{min(a, b)}*{max(a, b)}", Example(f"{a}*{b}", str(a * b)))


def _on_pairs(digits: int, make: Callable[[int, int], Instance], task: Independent) -> Independent:
    """The task over pairs of numbers of `digits` digits."""
    n = 10**digits

    def draw(draws: Draws) -> Instance:
        return make(draws.below(n), draws.below(n))

    def everything() -> Iterable[Instance]:
        return itertools.starmap(make, itertools.product(range(n), repeat=2))

    return replace(task, draw=draw, everything=everything if digits <= _COUNTED else None)


def _named(name: str, definition: str, description: str, chance: float) -> Independent:
    return Independent(name, definition, description, chance, draw=lambda draws: _plus(0, 0))


def addition(digits: int) -> Independent:
    """N-digit addition. The likeliest sum, 10^N - 1, is that of one pair in 10^N."""
    definition = f"The sum of two numbers, each uniform from 0 to {10**digits - 1}."
    task = _named(f"add{digits}", definition, "Add the two numbers.", 10.0**-digits)
    return _on_pairs(digits, _plus, task)


def subtraction(digits: int) -> Independent:
    """N-digit subtraction; answers may be negative. The likeliest, 0, is that of one pair in 10^N."""
    definition = f"The first number less the second, each uniform from 0 to {10**digits - 1}."
    task = _named(f"sub{digits}", definition, "Subtract the second number from the first.", 10.0**-digits)
    return _on_pairs(digits, _minus, task)


def multiplication(digits: int) -> Independent:
    """N-digit multiplication. The likeliest product is 0, wherever a factor is."""
    n = 10**digits
    definition = f"The product of two numbers, each uniform from 0 to {n - 1}."
    task = _named(f"mul{digits}", definition, "Multiply the two numbers.", (2 * n - 1) / n**2)
    return _on_pairs(digits, _times, task)


def backwards(digits: int) -> Independent:
    """N-digit addition, all numbers of N digits and the answer of N + 1, last digit first."""

    def make(a: int, b: int) -> Instance:
        answer = f"{a + b:0{digits + 1}}"[::-1]
        return Instance(_plus(a, b).canonical, Example(f"r{a:0{digits}}+{b:0{digits}}", answer))

    definition = f"The sum of two numbers of {digits} digits, written from its last digit to its first."
    description = "Add the two numbers and write the digits of the sum in reverse order."
    return _on_pairs(digits, make, _named(f"add{digits}r", definition, description, 10.0**-digits))


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


def _composite(a: int, outer: str, b: int, inner: str, c: int) -> Instance:
    between = _OPERATIONS[inner](b, c)
    answer = _OPERATIONS[outer](a, between)
    numbers = [b, c] if inner == "-" else sorted([b, c])
    key = f"{a}{outer}({numbers[0]}{inner}{numbers[1]})"
    if outer == inner != "-":  # a+(b+c): the order of all three is nothing
        numbers = sorted([a, b, c])
        key = f"{numbers[0]}{outer}({numbers[1]}{inner}{numbers[2]})"
    return Instance(key, Example(f"{a}{outer}({b}{inner}{c})", str(answer), reasoning=str(between)))


@cache
def _composites() -> tuple[Instance, ...]:
    numbers = range(10)
    return tuple(itertools.starmap(_composite, itertools.product(numbers, "+-*", numbers, "+-*", numbers)))


def composites() -> Independent:
    """Three one-digit numbers and two operations, the last two in brackets; the likeliest answer is 0."""
    return Independent(
        "composite1",
        "A one-digit number, an operation, and in brackets two more with another of +, - and *.",
        "Work out the value.",
        797 / 9000,
        draw=lambda draws: draws.one(_composites()),
        everything=_composites,
    )


def comparison(digits: int) -> Independent:
    """Which of two different numbers is larger: a choice."""
    n = 10**digits

    def draw(draws: Draws) -> Instance:
        a, b = draws.below(n), draws.below(n - 1)
        b += b >= a  # another number, uniform
        key = f"{min(a, b)}<>{max(a, b)}"
        return Instance(key, Example(f"{a}<>{b}", str(max(a, b)), choices=(str(a), str(b))))

    return Independent(
        f"larger{digits}",
        f"The larger of two different numbers, each from 0 to {n - 1}.",
        "Which of the two numbers is larger?",
        0.5,
        draw,
        metrics=(*CHOSEN, "exact_match", "answer_log_prob"),
    )
