"""Which side of the split an instance is on: a function of its canonical form and of nothing else.

Not of the task: 3+5 is on one side in every task that can ask it, and so is 5+3.
"""

from scaling.tasks.draws import hash64
from scaling.tasks.example import Split

TEST_SHARE = 0.1
"""The share of instances, in expectation, that are held out."""


def side(canonical: str) -> Split:
    """The side of an instance; `canonical` is the same for instances that are one another's repetition."""
    return "test" if hash64(canonical) < TEST_SHARE * 2.0**64 else "train"
