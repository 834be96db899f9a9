"""Tasks that can only be learned in the prompt: every episode has a mapping of its own, new each time.

The split is over mappings: what a test episode asks for was in no training document. Without shots the
answer is a guess, whatever the model.
"""

from collections.abc import Callable
from dataclasses import dataclass

from scaling.tasks.draws import Draws
from scaling.tasks.example import WRITTEN, Episode, Example, Split
from scaling.tasks.sequences import LETTERS
from scaling.tasks.split import side


@dataclass(frozen=True)
class Mapping:
    """A hidden mapping: `canonical` names it, `example` draws a problem under it.

    `keys` are the questions where they are few: shots are then different ones, and the query asks one of
    them again. Without, shots are problems that are not the query.
    """

    canonical: str
    example: Callable[[Draws], Example]
    keys: tuple[Example, ...] = ()


@dataclass(frozen=True)
class InContext:
    """An in-context task by the generator of its mappings."""

    name: str
    definition: str
    description: str
    chance: float | None
    draw: Callable[[Draws], Mapping]
    metrics: tuple[str, ...] = WRITTEN

    def size(self, split: Split) -> int | None:
        """None: mappings are not counted."""
        return None

    def _mapping(self, split: Split, draws: Draws) -> Mapping:
        while True:
            mapping = self.draw(draws)
            if side(mapping.canonical) == split:
                return mapping

    def episode(self, split: Split, index: int, shots: int, seed: int = 0) -> Episode:
        """See `Task.episode`; mapping, query and shots belong to one episode.

        Of a mapping with few keys the query asks one of those shown, where any is.
        """
        draws = Draws("episode", self.name, split, index, seed)
        mapping = self._mapping(split, draws)
        if mapping.keys:
            shown = _shown(mapping, shots, draws)
            return Episode(tuple(shown), draws.one(shown or mapping.keys))
        query = mapping.example(draws)
        chosen: list[Example] = []
        while len(chosen) < shots:
            shot = mapping.example(draws)
            if shot.question != query.question:
                chosen.append(shot)
        return Episode(tuple(chosen), query)

    def lesson(self, index: int, shots: int, seed: int = 0) -> tuple[Example, ...]:
        """Problems of one training mapping, `shots` and as many queries.

        Of few keys as many as `shots` are shown, at least one; each is then asked again, in random order.
        """
        draws = Draws("lesson", self.name, index, seed)
        mapping = self._mapping("train", draws)
        if mapping.keys:
            shown = _shown(mapping, 1 + draws.below(max(1, shots)), draws)
            again = list(shown)
            draws.shuffle(again)
            return (*shown, *again)
        return tuple(mapping.example(draws) for _ in range(2 * max(1, shots)))


def _shown(mapping: Mapping, shots: int, draws: Draws) -> list[Example]:
    """Different keys in random order; where there are fewer than shots, round again."""
    some = draws.some(mapping.keys, min(shots, len(mapping.keys)))
    return [some[i % len(some)] for i in range(shots)]


def lookup(values: int, keys: int = 16) -> InContext:
    """Letters with random strings of `values` letters: a pair that was shown is asked for again."""

    def draw(draws: Draws) -> Mapping:
        names = draws.some(LETTERS, keys)
        pairs = tuple(Example(name, draws.letters(LETTERS, values)) for name in names)
        text = " ".join(sorted(f"{pair.question}={pair.answer}" for pair in pairs))
        return Mapping(f"lookup {text}", lambda draws: draws.one(pairs), pairs)

    return InContext(
        f"lookup{values}",
        f"The string of {values} letters that stood beside this letter earlier in the prompt.",
        "Give the value of the key.",
        26.0**-values,
        draw,
    )


def cipher(letters: int, length: int) -> InContext:
    """Words of the first letters of the alphabet under a permutation of them."""
    alphabet = LETTERS[:letters]

    def draw(draws: Draws) -> Mapping:
        image = "".join(draws.some(alphabet, letters))
        table = str.maketrans(alphabet, image)

        def example(draws: Draws) -> Example:
            word = draws.letters(alphabet, length)
            return Example(word, word.translate(table))

        return Mapping(f"cipher {image}", example)

    return InContext(
        f"cipher{letters}",
        f"{length} of {letters} letters under a permutation of them that the examples show.",
        "Replace each letter as in the examples.",
        float(letters) ** -length,
        draw,
    )


def shift() -> InContext:
    """A shift of the alphabet: one example tells it. Its 25 mappings are on both sides of the split."""

    def draw(draws: Draws) -> Mapping:
        by = 1 + draws.below(25)

        def example(draws: Draws) -> Example:
            word = draws.letters(LETTERS, 3)
            return Example(word, "".join(LETTERS[(LETTERS.index(letter) + by) % 26] for letter in word))

        return Mapping(f"shift {by}", example)

    return InContext(
        "shift",
        "Three letters moved on in the alphabet by a number that the examples show.",
        "Move each letter on as in the examples.",
        1 / 25,
        draw,
    )
