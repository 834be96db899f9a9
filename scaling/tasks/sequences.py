"""Tasks on letters and digits: copying, problems of several steps, and mappings to learn in the prompt.

Problems of several steps have `reasoning`, which writes the intermediate results, so that answering at once
can be compared with answering step by step.
"""

import itertools
import string

from scaling.tasks.splitmix import SplitMix
from scaling.tasks.task import Example, InContextTask, IndependentTask, Instance, Mapping

LETTERS = string.ascii_lowercase


def copying(length: int) -> IndependentTask:
    """A string of random letters, to be repeated."""

    def draw(random: SplitMix) -> Instance:
        text = random.letters(LETTERS, length)
        return Instance(f"string {text}", Example(f"c {text}", text))

    definition = f"A string of {length} random letters, repeated."
    return IndependentTask(f"copy{length}", definition, "Copy.", 26.0**-length, draw)


def reversal(length: int) -> IndependentTask:
    """A string of random letters, to be reversed. A string and its reverse are one instance."""

    def draw(random: SplitMix) -> Instance:
        text = random.letters(LETTERS, length)
        return Instance(f"string {min(text, text[::-1])}", Example(f"b {text}", text[::-1]))

    definition = f"A string of {length} random letters from its last to its first."
    return IndependentTask(
        f"reverse{length}", definition, "Write the letters backwards.", 26.0**-length, draw
    )


def induction(length: int) -> IndependentTask:
    """The letter that followed the last one before (Olsson et al. 2022, arXiv:2209.11895).

    The other letters are all different, so that exactly one answer is right.
    """

    def draw(random: SplitMix) -> Instance:
        letters = random.some(LETTERS, length)
        at = random.below(length - 1)
        text = "".join(letters) + letters[at]
        return Instance(f"induction {text}", Example(f"i {text}", letters[at + 1]))

    return IndependentTask(
        f"induction{length}",
        f"The letter that followed the earlier occurrence of the last letter, among {length} different ones.",
        "Which letter followed the last one before?",
        1 / len(LETTERS),
        draw,
    )


def sums(steps: int) -> IndependentTask:
    """One-digit numbers added and subtracted from left to right, modulo 10: every result is one digit."""

    def draw(random: SplitMix) -> Instance:
        value = random.below(10)
        question, results = str(value), []
        for _ in range(steps):
            sign, number = random.one("+-"), random.below(10)
            value = (value + number if sign == "+" else value - number) % 10
            question += f"{sign}{number}"
            results.append(str(value))
        example = Example(f"m {question}", results[-1], reasoning=",".join(results[:-1]))
        return Instance(f"chain {question}", example)

    return IndependentTask(
        f"chain{steps}",
        f"{steps} one-digit numbers, each added to or subtracted from a first one, modulo 10.",
        "Work out the last digit, from left to right.",
        0.1,
        draw,
    )


def hops(steps: int) -> IndependentTask:
    """Arrows to follow from letter to letter (pointer chasing): twice as many arrows as steps."""

    def draw(random: SplitMix) -> Instance:
        letters = random.some(LETTERS, 2 * steps + 1)
        path, others = letters[: steps + 1], letters[steps + 1 :]
        arrows = [a + b for a, b in itertools.pairwise(path)]
        # Distractors start at letters that are not on the path, so that the path is unique.
        arrows += [letter + random.one(letters) for letter in others]
        random.shuffle(arrows)
        question = f"{' '.join(arrows)} {path[0]}"
        example = Example(f"h {question}", path[-1], reasoning=",".join(path[1:-1]))
        return Instance(f"hops {path[0]} {' '.join(sorted(arrows))}", example)

    return IndependentTask(
        f"hops{steps}",
        f"The letter {steps} arrows on from the last one, among {2 * steps} arrows (ab: from a to b).",
        f"Each pair of letters is an arrow. Which letter is {steps} arrows on?",
        1 / len(LETTERS),
        draw,
    )


def lookup(values: int, keys: int = 16) -> InContextTask:
    """Letters with random strings of `values` letters: the query repeats one of the pairs."""

    def draw(random: SplitMix) -> Mapping:
        names = random.some(LETTERS, keys)
        pairs = tuple(Example(name, random.letters(LETTERS, values)) for name in names)
        text = " ".join(sorted(f"{pair.question}={pair.answer}" for pair in pairs))
        return Mapping(f"lookup {text}", lambda random: random.one(pairs), pairs)

    return InContextTask(
        f"lookup{values}",
        f"The string of {values} letters that was given for this letter earlier in the prompt.",
        "Give the value of the key.",
        26.0**-values,
        draw,
    )


def cipher(letters: int, length: int) -> InContextTask:
    """Words of the first letters of the alphabet, with the letters permuted."""
    alphabet = LETTERS[:letters]

    def draw(random: SplitMix) -> Mapping:
        image = "".join(random.some(alphabet, letters))
        table = str.maketrans(alphabet, image)

        def example(random: SplitMix) -> Example:
            word = random.letters(alphabet, length)
            return Example(word, word.translate(table))

        return Mapping(f"cipher {image}", example)

    return InContextTask(
        f"cipher{letters}",
        f"{length} of {letters} letters under a permutation that the examples show.",
        "Replace each letter as in the examples.",
        float(letters) ** -length,
        draw,
    )


def shift() -> InContextTask:
    """A shift of the alphabet, which one example reveals. Each of its 25 mappings is on one side."""

    def draw(random: SplitMix) -> Mapping:
        by = 1 + random.below(25)

        def example(random: SplitMix) -> Example:
            word = random.letters(LETTERS, 3)
            return Example(word, "".join(LETTERS[(LETTERS.index(letter) + by) % 26] for letter in word))

        return Mapping(f"shift {by}", example)

    return InContextTask(
        "shift",
        "Three letters shifted in the alphabet by a number that the examples show.",
        "Move each letter on as in the examples.",
        1 / 25,
        draw,
    )


TASKS = (
    *map(copying, (4, 8, 16)),
    *map(reversal, (4, 6, 8)),
    induction(8),
    *map(sums, (2, 4, 8)),
    *map(hops, (2, 3)),
    *map(lookup, (1, 2, 3)),
    cipher(8, 4),
    shift(),
)
SUITES = {
    "sequences": ("copy4", "copy8", "copy16", "reverse4", "reverse6", "reverse8", "induction8"),
    "chains": ("chain2", "chain4", "chain8", "hops2", "hops3"),
    "in-context": ("lookup1", "lookup2", "lookup3", "cipher8", "shift"),
    # Those that configs/sweeps/emergence-cpu.yaml trains are among these.
    "emergence": ("lookup2", "reverse6", "reverse8", "copy8"),
}
