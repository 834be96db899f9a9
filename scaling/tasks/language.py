"""Scrambled words (Brown et al. 2020, arXiv:2005.14165, section 3.9.2), and an artificial language.

The scrambled tasks are split by word: a word of the test side is the answer of no training problem in
any of them. The artificial language has its own words, the verb at the end, and adjectives after nouns.
"""

import hashlib
import os
import re
import sysconfig
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

from scaling.runtime.errors import BadInputError
from scaling.tasks.splitmix import SplitMix
from scaling.tasks.task import Example, IndependentTask, Instance

# -- the list of words -----------------------------------------------------------------------------------

VARIABLE = "SCALING_WORDS"
DICTIONARY = Path("/usr/share/dict/words")
SHORTEST, LONGEST = 5, 14  # letters: Brown et al. 2020, section 3.9.2, use lengths between 4 and 15
MOST = 10_000
_FEWEST = 200

# A word of running text: lower case, after a word and before another or the end of a clause.
_IN_PROSE = re.compile(rf"(?<=[a-z,] )[a-z]{{{SHORTEST},{LONGEST}}}(?=[,.;:]?[ \n])")


@cache
def words() -> tuple[str, ...]:
    """At most 10,000 words of 5 to 14 lower-case letters.

    They come from the file that `SCALING_WORDS` names (one word per line, in its order), else from
    /usr/share/dict/words, else from the prose in the running Python's library, most frequent first. In the
    last case the tasks differ between versions of Python, and so does `words_identity`.

    Raises:
        BadInputError: the named file cannot be read, or there are fewer than 200 words.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found, where = _listed(Path(named).expanduser()), named
    elif DICTIONARY.is_file():
        found, where = _listed(DICTIONARY), str(DICTIONARY)
    else:
        found, where = _harvested(Path(sysconfig.get_path("stdlib"))), "the running Python's library"
    if len(found) < _FEWEST:
        raise BadInputError(
            f"{where} has {len(found)} words of {SHORTEST} to {LONGEST} lower-case letters; tasks on words "
            f"need {_FEWEST}: set {VARIABLE} to a file with one word per line"
        )
    # Every n-th word of a complete dictionary, or all would begin with an a.
    step = max(1, len(found) // MOST)
    return tuple(found[::step][:MOST])


def words_identity() -> str:
    """A hash of the word list."""
    return hashlib.blake2b("\n".join(words()).encode(), digest_size=8).hexdigest()


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError as error:
        raise BadInputError(f"{VARIABLE}={path}: cannot be read ({error.strerror})") from None
    right = re.compile(rf"[a-z]{{{SHORTEST},{LONGEST}}}")
    return [word for word in dict.fromkeys(lines) if right.fullmatch(word)]


def _harvested(library: Path) -> list[str]:
    counts: Counter[str] = Counter()
    for path in (*sorted(library.glob("*.py")), library / "pydoc_data" / "topics.py"):
        try:
            counts.update(_IN_PROSE.findall(path.read_text(encoding="utf-8", errors="replace")))
        except OSError:
            continue
    often = [(count, word) for word, count in counts.items() if count >= 2]
    return [word for _, word in sorted(often, key=lambda pair: (-pair[0], pair[1]))]


# -- scrambled words -------------------------------------------------------------------------------------

_INSERTED = " .,;:!?-/'\"()"


def _cycled(word: str, random: SplitMix) -> str:
    at = 1 + random.below(len(word) - 1)
    return word[at:] + word[:at]


def _anagram(word: str, random: SplitMix, kept: int) -> str:
    middle = list(word[kept:-kept])
    random.shuffle(middle)
    return word[:kept] + "".join(middle) + word[-kept:]


def _inserted(word: str, random: SplitMix) -> str:
    return "".join(letter + random.one(_INSERTED) for letter in word[:-1]) + word[-1]


def _scrambled(
    name: str,
    definition: str,
    scramble: Callable[[str, SplitMix], str],
    description: str = "Unscramble the letters into a word.",
) -> IndependentTask:
    def draw(random: SplitMix) -> Instance:
        word = random.one(words())
        return Instance(f"word {word}", Example(scramble(word, random), word))

    return IndependentTask(name, definition, description, 0.0, draw)


# -- translation -----------------------------------------------------------------------------------------

_NOUNS = {
    "cat": "miro", "dog": "bako", "bird": "sula", "frog": "neto", "king": "doru", "girl": "pila",
    "tree": "gano", "stone": "teku", "boat": "rima", "house": "vola",
}  # fmt: skip
_VERBS = {
    "saw": "shan", "liked": "velk", "found": "torn", "heard": "lusk", "feared": "gorm", "helped": "prin",
}  # fmt: skip
_ADJECTIVES = {"old": "esh", "big": "ump", "red": "aki", "wise": "ost", "small": "iti", "quiet": "unu"}
_PLURAL = "lo"


def _phrase(random: SplitMix) -> tuple[str, str]:
    """A noun with its number and perhaps an adjective, in English and in the other language."""
    noun = random.one(list(_NOUNS))
    number, plural, ending = random.one((("the", "", ""), ("two", "s", _PLURAL)))
    ours, theirs = noun + plural, _NOUNS[noun] + ending
    if random.below(2):
        adjective = random.one(list(_ADJECTIVES))
        ours, theirs = f"{adjective} {ours}", f"{theirs} {_ADJECTIVES[adjective]}"
    return f"{number} {ours}", theirs


def _sentence(random: SplitMix) -> tuple[str, str]:
    (subject, theirs), (object_, others) = _phrase(random), _phrase(random)
    verb = random.one(list(_VERBS))
    return f"{subject} {verb} {object_}", f"{theirs} {others} {_VERBS[verb]}"


def _translation(name: str, definition: str, description: str, into: bool) -> IndependentTask:
    """Into the artificial language or out of it; a sentence is on one side of the split in both."""

    def draw(random: SplitMix) -> Instance:
        ours, theirs = _sentence(random)
        return Instance(f"sentence {ours}", Example(ours, theirs) if into else Example(theirs, ours))

    return IndependentTask(name, definition, description, 0.0, draw)


TASKS = (
    _scrambled("cycle", "A word with its letters rotated.", _cycled),
    _scrambled(
        "anagrams1",
        "A word with its letters in random order, except for the first and the last.",
        lambda word, random: _anagram(word, random, 1),
    ),
    _scrambled(
        "anagrams2",
        "A word with its letters in random order, except for the first two and the last two.",
        lambda word, random: _anagram(word, random, 2),
    ),
    _scrambled(
        "insertion",
        "A word with a random mark or space between every two letters.",
        _inserted,
        "Take out what is no letter, and write the word.",
    ),
    _scrambled(
        "reversed-words",
        "A word with its letters in reverse order.",
        lambda word, random: word[::-1],
        "Write the word backwards.",
    ),
    _translation(
        "translate-to",
        "A sentence of subject, verb and object translated into an artificial language.",
        "Translate into the other language.",
        into=True,
    ),
    _translation(
        "translate-from",
        "A sentence of an artificial language translated into English.",
        "Translate into English.",
        into=False,
    ),
)
SUITES = {
    "gpt3-words": ("cycle", "anagrams1", "anagrams2", "insertion", "reversed-words"),
    "translation": ("translate-to", "translate-from"),
}
