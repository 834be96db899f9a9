"""Problems of several steps. `reasoning` writes the intermediate results, so that both ways can be compared.

The answer alone asks for all steps at once; with the results written out each asks for one.
"""

import itertools

from scaling.tasks.draws import Draws
from scaling.tasks.example import Example
from scaling.tasks.independent import Independent, Instance
from scaling.tasks.sequences import LETTERS


def sums(steps: int) -> Independent:
    """One-digit numbers added and taken away from left to right, modulo 10: every result is one digit."""

    def draw(draws: Draws) -> Instance:
        value = draws.below(10)
        question, results = str(value), []
        for _ in range(steps):
            sign, number = draws.one("+-"), draws.below(10)
            value = (value + number if sign == "+" else value - number) % 10
            question += f"{sign}{number}"
            results.append(str(value))
        example = Example(f"m {question}", results[-1], reasoning=",".join(results[:-1]))
        return Instance(f"chain {question}", example)

    return Independent(
        f"chain{steps}",
        f"{steps} one-digit numbers added to a first or taken from it in turn, modulo 10.",
        "Work out the last digit, from left to right.",
        0.1,
        draw,
    )


def hops(steps: int) -> Independent:
    """Arrows followed from letter to letter (pointer chasing): twice as many arrows as steps."""

    def draw(draws: Draws) -> Instance:
        letters = draws.some(LETTERS, 2 * steps + 1)
        path, others = letters[: steps + 1], letters[steps + 1 :]
        arrows = [a + b for a, b in itertools.pairwise(path)]
        # Arrows that lead nowhere: from letters that are not on the path, so that the way is one.
        arrows += [letter + draws.one(letters) for letter in others]
        draws.shuffle(arrows)
        question = f"{' '.join(arrows)} {path[0]}"
        example = Example(f"h {question}", path[-1], reasoning=",".join(path[1:-1]))
        return Instance(f"hops {path[0]} {' '.join(sorted(arrows))}", example)

    return Independent(
        f"hops{steps}",
        f"The letter {steps} arrows on from the last one, among {2 * steps} arrows (ab: from a to b).",
        f"Each pair of letters is an arrow. Which letter is {steps} arrows on?",
        1 / len(LETTERS),
        draw,
    )
