"""Random strings copied, reversed, and continued as they went before."""

import string

from scaling.tasks.draws import Draws
from scaling.tasks.example import Example
from scaling.tasks.independent import Independent, Instance

LETTERS = string.ascii_lowercase


def copying(length: int) -> Independent:
    """A string of random letters, again."""

    def draw(draws: Draws) -> Instance:
        text = draws.letters(LETTERS, length)
        return Instance(f"string {text}", Example(f"c {text}", text))

    return Independent(
        f"copy{length}", f"A string of {length} random letters, again.", "Copy.", 26.0**-length, draw
    )


def reversal(length: int) -> Independent:
    """A string of random letters, backwards. A string and its reverse are one instance."""

    def draw(draws: Draws) -> Instance:
        text = draws.letters(LETTERS, length)
        return Instance(f"string {min(text, text[::-1])}", Example(f"b {text}", text[::-1]))

    return Independent(
        f"reverse{length}",
        f"A string of {length} random letters from its last to its first.",
        "Write the letters backwards.",
        26.0**-length,
        draw,
    )


def induction(length: int) -> Independent:
    """The letter that followed the last one before (Olsson et al. 2022, arXiv:2209.11895).

    Letters but the last are all different, so that exactly one answer is right.
    """

    def draw(draws: Draws) -> Instance:
        letters = draws.some(LETTERS, length)
        at = draws.below(length - 1)
        text = "".join(letters) + letters[at]
        return Instance(f"induction {text}", Example(f"i {text}", letters[at + 1]))

    return Independent(
        f"induction{length}",
        f"What followed the last letter where it stood before, among {length} different ones.",
        "Which letter followed the last one before?",
        1 / len(LETTERS),
        draw,
    )
