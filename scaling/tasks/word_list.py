"""The words that word tasks scramble: the user's, the machine's dictionary, or Python's own prose."""

import hashlib
import os
import re
import sysconfig
from collections import Counter
from functools import cache
from pathlib import Path

from scaling.runtime.errors import BadInputError

VARIABLE = "SCALING_WORDS"
DICTIONARY = Path("/usr/share/dict/words")
SHORTEST, LONGEST = 5, 14  # letters: Brown et al. 2020, section 3.9.2, take lengths between 4 and 15
MOST = 10_000
_FEWEST = 200

# A word of running text: lower case, after a word and before another or the end of a clause.
_IN_PROSE = re.compile(rf"(?<=[a-z,] )[a-z]{{{SHORTEST},{LONGEST}}}(?=[,.;:]?[ \n])")


@cache
def words() -> tuple[str, ...]:
    """Words of 5 to 14 lower-case letters, 10,000 at most.

    They are those of the file that `SCALING_WORDS` names (one a line, in its order), else of
    /usr/share/dict/words, else the likeliest of the prose in the running Python's library: then the tasks
    differ from one Python to another, and `identity` says so.

    Raises:
        BadInputError: the named file cannot be read, or there are not 200 words anywhere.
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
            f"{where} has {len(found)} words of {SHORTEST} to {LONGEST} lower-case letters, tasks on words "
            f"need {_FEWEST}: set {VARIABLE} to a file with one word a line"
        )
    # Of a whole dictionary an even share, or all would begin with an a.
    step = max(1, len(found) // MOST)
    return tuple(found[::step][:MOST])


def identity() -> str:
    """Names the word list: equal where the words are."""
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
