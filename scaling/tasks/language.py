"""Translation of a small artificial language: other words, the verb at the end, adjectives after nouns."""

from scaling.tasks.draws import Draws
from scaling.tasks.example import Example
from scaling.tasks.independent import Independent, Instance

_NOUNS = {
    "cat": "miro", "dog": "bako", "bird": "sula", "frog": "neto", "king": "doru", "girl": "pila",
    "tree": "gano", "stone": "teku", "boat": "rima", "house": "vola",
}  # fmt: skip
_VERBS = {
    "saw": "shan",
    "liked": "velk",
    "found": "torn",
    "heard": "lusk",
    "feared": "gorm",
    "helped": "prin",
}
_ADJECTIVES = {"old": "esh", "big": "ump", "red": "aki", "wise": "ost", "small": "iti", "quiet": "unu"}
_MANY = "lo"  # after a noun of more than one


def _phrase(draws: Draws) -> tuple[str, str]:
    """A noun with its number and perhaps an adjective, in English and in the other language."""
    noun = draws.one(list(_NOUNS))
    number, plural, ending = draws.one((("the", "", ""), ("two", "s", _MANY)))
    ours, theirs = noun + plural, _NOUNS[noun] + ending
    if draws.below(2):
        adjective = draws.one(list(_ADJECTIVES))
        ours, theirs = f"{adjective} {ours}", f"{theirs} {_ADJECTIVES[adjective]}"
    return f"{number} {ours}", theirs


def _sentence(draws: Draws) -> tuple[str, str]:
    (subject, theirs), (object_, others) = _phrase(draws), _phrase(draws)
    verb = draws.one(list(_VERBS))
    return f"{subject} {verb} {object_}", f"{theirs} {others} {_VERBS[verb]}"


def translation() -> tuple[Independent, ...]:
    """Into the language and out of it; a sentence is on one side of the split in both."""

    def into(draws: Draws) -> Instance:
        ours, theirs = _sentence(draws)
        return Instance(f"sentence {ours}", Example(ours, theirs))

    def out_of(draws: Draws) -> Instance:
        ours, theirs = _sentence(draws)
        return Instance(f"sentence {ours}", Example(theirs, ours))

    return (
        Independent(
            "translate-to",
            "A sentence of subject, verb and object put into an artificial language.",
            "Translate into the other language.",
            0.0,
            into,
        ),
        Independent(
            "translate-from",
            "A sentence of an artificial language put into English.",
            "Translate into English.",
            0.0,
            out_of,
        ),
    )
