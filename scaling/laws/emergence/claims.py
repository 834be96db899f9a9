"""What a verdict says in yes or no: statements that another machine and other seeds can confirm.

A score of one run is not such a statement, nor is a mean over a few: with other seeds it comes out elsewhere.
These are about the distribution over seeds, and each holds only where its 95% interval does.
"""

from scaling.laws.emergence.document import Claim, Verdict

LEAST_SEEDS = 3  # at every size
CERTAIN = 0.975  # posterior probability
STATEMENTS = {
    "rare_at_smallest": "fewer than half of the seeds of the smallest size have it",
    "common_at_largest": "more than half of the seeds of the largest size have it",
    "grows_with_scale": "larger models have it more often",
    "bimodal": "seeds have it or lack it: few score in between",
    "foreseen": "the sizes below the threshold predicted those above it",
}


def claims_of(verdict: Verdict) -> tuple[Claim, ...]:
    """The claims of one verdict; none where sizes have too few seeds. `holds` is null where it is open."""
    b = verdict.breakthrough
    if b is None or b.least_seeds < LEAST_SEEDS:
        return ()
    low, high = b.shares[0].interval, b.shares[-1].interval
    found = {
        "rare_at_smallest": _beyond(low[1] < 0.5, low[0] > 0.5),
        "common_at_largest": _beyond(high[0] > 0.5, high[1] < 0.5),
        "grows_with_scale": _beyond(b.grows > CERTAIN, b.grows < 1 - CERTAIN),
        "bimodal": b.bimodal,
        "foreseen": verdict.foresight.foreseen,
    }
    return tuple(
        Claim(task=verdict.task, metric=verdict.metric, shots=verdict.shots, claim=name, holds=holds,
              text=STATEMENTS[name])
        for name, holds in found.items()
    )  # fmt: skip


def _beyond(yes: bool, no: bool) -> bool | None:
    return True if yes else False if no else None
