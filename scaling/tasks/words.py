"""Scrambled words: the five tasks of Brown et al. 2020 (arXiv:2005.14165), section 3.9.2.

The split is over words: a word of the test side is the answer of no training problem in any of them.
"""

from collections.abc import Callable

from scaling.tasks.draws import Draws
from scaling.tasks.example import Example
from scaling.tasks.independent import Independent, Instance
from scaling.tasks.word_list import words

_INSERTED = " .,;:!?-/'\"()"


def _cycled(word: str, draws: Draws) -> str:
    at = 1 + draws.below(len(word) - 1)
    return word[at:] + word[:at]


def _anagram(word: str, draws: Draws, kept: int) -> str:
    middle = list(word[kept:-kept])
    draws.shuffle(middle)
    return word[:kept] + "".join(middle) + word[-kept:]


def _inserted(word: str, draws: Draws) -> str:
    return "".join(letter + draws.one(_INSERTED) for letter in word[:-1]) + word[-1]


def _task(name: str, definition: str, description: str, scramble: Callable[[str, Draws], str]) -> Independent:
    def draw(draws: Draws) -> Instance:
        word = draws.one(words())
        return Instance(f"word {word}", Example(scramble(word, draws), word))

    return Independent(name, definition, description, 0.0, draw)


def scrambled() -> tuple[Independent, ...]:
    """Cycled letters, two kinds of anagrams, random insertion, reversed words."""
    unscramble = "Unscramble the letters into a word."
    return (
        _task("cycle", "A word from its letters turned round in a circle.", unscramble, _cycled),
        _task(
            "anagrams1",
            "A word from its letters in random order, but for the first and the last.",
            unscramble,
            lambda word, draws: _anagram(word, draws, 1),
        ),
        _task(
            "anagrams2",
            "A word from its letters in random order, but for the first two and the last two.",
            unscramble,
            lambda word, draws: _anagram(word, draws, 2),
        ),
        _task(
            "insertion",
            "A word from its letters with a random mark or space between every two.",
            "Take out what is no letter, and write the word.",
            _inserted,
        ),
        _task(
            "reversed-words",
            "A word from its letters backwards.",
            "Write the word backwards.",
            lambda word, draws: word[::-1],
        ),
    )
