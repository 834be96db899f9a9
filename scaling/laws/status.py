"""Whether a row of a table is a finished run, by the words of its column of states."""

import re
from collections import Counter
from collections.abc import Sequence

WORDS = {
    **dict.fromkeys(
        ("true", "yes", "y", "1", "final", "finished", "finish", "complete", "completed", "done", "ended",
         "ok", "success", "successful", "succeeded", "converged"),
        True,
    ),
    **dict.fromkeys(
        ("false", "no", "n", "0", "running", "interrupted", "intermediate", "partial", "crashed", "crash",
         "failed", "fail", "failure", "error", "errored", "killed", "preempted", "preempting", "evicted",
         "pending", "queued", "scheduled", "starting", "waiting", "paused", "suspended", "resuming",
         "requeued", "cancelled", "canceled", "aborted", "terminated", "unfinished", "incomplete",
         "in progress", "ongoing", "timeout", "timed out", "time out", "diverged", "nan", "oom",
         "out of memory", "node fail", "boot fail", "deadline", "dead", "lost", "stopped early", "early"),
        False,
    ),
}  # fmt: skip


def is_final(cell: str) -> bool | None:
    """Whether a state is that of a finished run; None of a word that is not known."""
    word = re.sub(r"[\s_-]+", " ", cell.strip().casefold()).rstrip("+!. ")
    if word not in WORDS:
        word = re.sub(r"\bby \S+$", "", word).strip()  # as SLURM has it: CANCELLED by 1000
    return WORDS.get(word)


def unknown_words(cells: Sequence[str]) -> Counter[str]:
    """The words of a column that are not known, and in how many rows each is."""
    return Counter(cell.strip() for cell in cells if is_final(cell) is None)
