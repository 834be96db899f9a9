"""Solved problems as training documents, in the format in which they are asked for afterwards."""

from scaling.tasks.example import Task
from scaling.tasks.template import CHAIN, PLAIN, Template


def demonstration(task: Task, index: int, shots: int, seed: int = 0, *, template: Template = PLAIN) -> str:
    """Training document `index` of a task: a pure function of its arguments, of the training side alone.

    `shots` problems and one more, each as a prompt shows it; of an in-context task, problems of one mapping.
    """
    return "".join(map(template.solved, task.lesson(index, shots, seed)))


def reasoned(task: Task, index: int, shots: int, seed: int = 0) -> str:
    """The same document with intermediate results before the answers."""
    return demonstration(task, index, shots, seed, template=CHAIN)
