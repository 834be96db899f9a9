"""How many rows each step reads: constant, or growing in phases (batch-size warm-up)."""

import itertools
from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchSchedule:
    """Rows of the global batch, piecewise constant over steps: phases of (first step, rows), from step 0.

    Step n reads rows [rows_before(n), rows_before(n) + rows_at(n)) of the endless sequence of training rows.
    GPT-3 (Brown et al. 2020, appendix B) grows its batch over the first 4 to 12 billion tokens.

    Raises:
      ValueError: no phase, a first phase not at step 0, steps that do not increase, or rows below 1.
    """

    phases: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.phases or self.phases[0][0] != 0:
            raise ValueError(f"the first phase of a batch schedule starts at step 0, got {self.phases}")
        steps = [step for step, _ in self.phases]
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            raise ValueError(f"the phases of a batch schedule start at increasing steps, got {self.phases}")
        if any(rows < 1 for _, rows in self.phases):
            raise ValueError(f"every phase of a batch schedule has at least one row, got {self.phases}")

    @classmethod
    def constant(cls, rows: int) -> "BatchSchedule":
        """The same batch at every step."""
        return cls(((0, rows),))

    def rows_at(self, step: int) -> int:
        """Rows of the global batch of one step."""
        return self.phases[self._phase(step)][1]

    def rows_before(self, step: int) -> int:
        """Rows read by the steps before this one."""
        phase = self._phase(step)
        total = 0
        for (first, rows), (following, _) in zip(self.phases[:phase], self.phases[1:], strict=False):
            total += (following - first) * rows
        first, rows = self.phases[phase]
        return total + (step - first) * rows

    def steps_within(self, rows: int) -> int:
        """The most whole steps that `rows` rows suffice for."""
        phase = max(k for k, (first, _) in enumerate(self.phases) if self.rows_before(first) <= rows)
        first, batch = self.phases[phase]
        steps = first + (rows - self.rows_before(first)) // batch
        return min(steps, self.phases[phase + 1][0]) if phase + 1 < len(self.phases) else steps

    def steps_for(self, rows: int) -> int:
        """The fewest steps that read at least `rows` rows."""
        steps = self.steps_within(rows)
        return steps if self.rows_before(steps) >= rows else steps + 1

    def _phase(self, step: int) -> int:
        if step < 0:
            raise ValueError(f"step {step} is before the first")
        return bisect_right(self.phases, step, key=lambda phase: phase[0]) - 1
