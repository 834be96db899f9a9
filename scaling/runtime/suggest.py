"""Suggestions for a mistyped name of a model, device, law, figure, suite, task or field."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

_CUTOFF = 0.6  # of a similarity from 0 to 1; below it, a suggestion is more likely wrong than right
_MARGIN = 0.09  # names this much less similar than the best one are left out


def near(name: str, known: Iterable[str], most: int = 4) -> list[str]:
    """Known names that `name` may have meant, the most likely first, at most `most` of them.

    Case, hyphens, underscores and spaces do not count. A name also matches a longer one that contains it
    (`h100`, `h100-sxm`), one whose first word is like its own (`gpt2-small`, `gpt2-124m`), and one of which
    it is the initials (`lr`, `learning_rate`).
    """
    scores = {one: _similarity(name, one) for one in known}
    best = max(scores.values(), default=0.0)
    if best == 1.0:
        return [one for one, score in scores.items() if score == 1.0][:most]
    found = [one for one, score in scores.items() if score >= max(_CUTOFF, best - _MARGIN)]
    return sorted(found, key=lambda one: -scores[one])[:most]


def hint(name: str, known: Iterable[str], most_known: int | None = None) -> str:
    """`did you mean A or B?`, or the first `most_known` of the known names if none is near."""
    known = list(known)
    if found := near(name, known):
        return did_you_mean(found)
    cut = most_known is not None and len(known) > most_known
    return f"known: {', '.join(known[:most_known])}{', ...' if cut else ''}"


def plural(n: int, noun: str) -> str:
    """A count with its noun: `1 budget`, `1,200 budgets`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def did_you_mean(names: list[str]) -> str:
    """A question that offers one name or several."""
    *others, last = names
    return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"


def _similarity(name: str, other: str) -> float:
    """1 if only case and punctuation differ, otherwise less."""
    a, b = _letters(name), _letters(other)
    if a == b:
        return 1.0 if a else 0.0
    score = _ratio(a, b)
    if len(min(a, b, key=len)) >= 2 and (a in b or b in a):
        score = max(score, 0.85 if b.startswith(a) else 0.8)
    words, others = _words(name), _words(other)
    if set(words) & set(others):
        score = max(score, 0.7)
    if words and others and (family := _ratio(words[0], others[0])) >= 0.75:
        score = max(score, 0.85 * family)  # the first word is the family's: gpt2-small, gpt2-124m
    if len(a) >= 2 and a == "".join(word[0] for word in others):
        score = max(score, 0.9)
    return score


def _ratio(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


def _letters(text: str) -> str:
    """Letters, digits and dots: 1.3b is not 13b."""
    return "".join(character for character in text.lower() if character.isalnum() or character == ".")


def _words(text: str) -> list[str]:
    """Words of two characters or more, one of them a letter: `v5e-256` has `v5e`."""
    parts = re.split(r"[\W_]+", text.lower())
    return [part for part in parts if len(part) > 1 and any(c.isalpha() for c in part)]
