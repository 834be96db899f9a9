"""Synthetic tasks, generated from a seed and never stored. No JAX.

Read `task` first: what a task is. Each module here that defines `TASKS` (and, if it likes, `SUITES`) adds its
tasks; a new one is one new file. `demonstrations` makes text of them, for training and for prompts alike.
"""

import importlib
import pkgutil

from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint
from scaling.tasks.task import Task

__all__ = ["SUITES", "TASKS", "task_named"]


def collected() -> tuple[dict[str, Task], dict[str, tuple[str, ...]]]:
    """The `TASKS` and `SUITES` of all modules here, by name; the suite `synthetic` has all tasks.

    Raises:
        ValueError: two tasks have one name, or a suite names a task that does not exist.
    """
    tasks: dict[str, Task] = {}
    suites: dict[str, tuple[str, ...]] = {}
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(found.name)
        for task in getattr(module, "TASKS", ()):
            if task.name in tasks:
                raise ValueError(f"{found.name}: there is already a task {task.name}")
            tasks[task.name] = task
        suites |= getattr(module, "SUITES", {})
    for suite, names in suites.items():
        if missing := set(names) - set(tasks):
            raise ValueError(f"suite {suite}: no task {', '.join(sorted(missing))}")
    return tasks, {**suites, "synthetic": tuple(tasks)}


TASKS, SUITES = collected()


def task_named(name: str) -> Task:
    """The task of a name.

    Raises:
        BadInputError: there is none; the message suggests similar names.
    """
    if name not in TASKS:
        raise BadInputError(f"task {name!r}: unknown; {hint(name, TASKS)}")
    return TASKS[name]
