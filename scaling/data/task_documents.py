"""Demonstrations of synthetic tasks as documents that are trained on beside the text of a source."""

from functools import cached_property

from scaling.config.data import TasksConfig
from scaling.tasks import word_list
from scaling.tasks.demonstrations import demonstration
from scaling.tasks.registry import SUITES, task
from scaling.tasks.template import CHAIN, PLAIN

_FORMAT = 1  # raised whenever a task's draws or texts change, so that no cache holds the former ones


class TaskDocuments:
    """Documents without end, a task's turn after another's; see `scaling.data.store.Added`."""

    def __init__(self, config: TasksConfig) -> None:
        """Raises BadInputError for a name that is no task's."""
        self._config = config
        self._tasks = tuple(map(task, config.names))
        self._template = CHAIN if config.reasoning else PLAIN

    @property
    def share(self) -> float:
        """Of the training tokens."""
        return self._config.share

    @cached_property
    def identity(self) -> str:
        """Names, shots, seed and template; of tasks on words also the words, which machines have or lack."""
        config = self._config
        words = word_list.identity() if set(config.names) & set(SUITES["gpt3-words"]) else ""
        return (
            f"tasks:{_FORMAT}:{'+'.join(config.names)}:{config.shots}:{config.seed}:{self._template}:{words}"
        )

    def __getitem__(self, index: int) -> str:
        config = self._config
        chosen = self._tasks[index % len(self._tasks)]
        return demonstration(chosen, index, config.shots, config.seed, template=self._template)
