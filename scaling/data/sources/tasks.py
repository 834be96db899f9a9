"""Demonstrations of synthetic tasks as documents."""

from functools import cached_property

from scaling.config.data import TasksConfig
from scaling.tasks import SUITES, task_named
from scaling.tasks.demonstrations import CHAIN, PLAIN, demonstration
from scaling.tasks.language import words_identity

_FORMAT = 1  # raised whenever a task's draws or texts change, so that no cache holds the former ones


class TaskDocuments:
    """An endless sequence of documents, the tasks in turn; see `scaling.data.store.Added`."""

    def __init__(self, config: TasksConfig) -> None:
        """Raises BadInputError for an unknown task."""
        self._config = config
        self._tasks = tuple(map(task_named, config.names))
        self._template = CHAIN if config.reasoning else PLAIN

    @property
    def share(self) -> float:
        """Share of the training tokens."""
        return self._config.share

    @cached_property
    def identity(self) -> str:
        """Names, shots, seed and template; of tasks on words also the words, which differ between
        machines."""
        config, template = self._config, self._template
        words = words_identity() if set(config.names) & set(SUITES["gpt3-words"]) else ""
        # Fingerprints of corpora and checkpoints contain this text: its format must not change.
        form = (
            f"Template(name={template.name!r}, question={template.question!r}, answer={template.answer!r}, "
            f"separator={template.separator!r}, stop={template.stops[0]!r}, marker={template.marker!r})"
        )
        return f"tasks:{_FORMAT}:{'+'.join(config.names)}:{config.shots}:{config.seed}:{form}:{words}"

    def __getitem__(self, index: int) -> str:
        config = self._config
        chosen = self._tasks[index % len(self._tasks)]
        return demonstration(chosen, index, config.shots, config.seed, template=self._template)
