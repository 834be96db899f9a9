"""The tasks of `scaling.tasks` as sources of a suite."""

from dataclasses import dataclass

from scaling.evals.items import Item, right_choices
from scaling.tasks.example import Task


@dataclass(frozen=True)
class TaskSource:
    """The test side of a synthetic task; its examples are of the training side."""

    task: Task
    template: str = "plain"

    @property
    def name(self) -> str:
        """What the task is called."""
        return self.task.name

    @property
    def description(self) -> str:
        """The instruction that a prompt may begin with."""
        return self.task.description

    @property
    def chance(self) -> float | None:
        """What guessing reaches on the first metric."""
        return self.task.chance

    @property
    def metrics(self) -> tuple[str, ...]:
        """The task's own, the main one first."""
        return self.task.metrics

    def size(self) -> int | None:
        """Distinct items of the test side; None where there is no end of them."""
        return self.task.size("test")

    def unusable(self, index: int) -> str | None:
        """None: every item can be asked."""
        return None

    def item(self, index: int, shots: int, seed: int) -> Item:
        """Episode `index` of the test side."""
        episode = self.task.episode("test", index, shots, seed)
        query = episode.query
        return Item(episode.shots, query, (query.answer,), right_choices(query))
