"""Suites by name: those of `scaling.tasks`, and `KIND:PATH` for benchmarks read from files."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.evals.adapters import ADAPTERS
from scaling.evals.items import Source
from scaling.evals.synthetic import TaskSource
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint
from scaling.tasks.registry import SUITES, TASKS


@dataclass(frozen=True)
class Suite:
    """Tasks under one name."""

    name: str
    sources: tuple[Source, ...]

    @property
    def file_name(self) -> str:
        """The name as part of a file's name; one that holds a path is told apart by its hash."""
        if re.fullmatch(r"[A-Za-z0-9_.-]+", self.name):
            return self.name
        kind, _, path = self.name.partition(":")
        words = re.sub(r"[^A-Za-z0-9_.]+", "-", path.rstrip("/").rpartition("/")[2])[:60]
        return f"{kind}-{words}-{hashlib.blake2b(self.name.encode(), digest_size=4).hexdigest()}"


def load_suite(name: str, tasks: Sequence[str] | None = None) -> Suite:
    """The suite of a name, or of it the named tasks.

    Raises:
        BadInputError: no such suite or task, or files that are not of the format.
    """
    kind, colon, path = name.partition(":")
    if colon and kind in ADAPTERS:
        if not path:
            raise BadInputError(f"--suite {name}: give the path of its files, as {kind}:PATH")
        sources = ADAPTERS[kind](path)
    elif name in SUITES:
        sources = tuple(TaskSource(TASKS[task]) for task in SUITES[name])
    else:
        known = [*SUITES, *(f"{kind}:PATH" for kind in ADAPTERS)]
        raise BadInputError(f"--suite {name}: unknown; {hint(name, known)}")
    if tasks is None:
        return Suite(name, sources)
    by_name = {source.name: source for source in sources}
    for task in tasks:
        if task not in by_name:
            raise BadInputError(f"--tasks {task}: not in the suite {name}; {hint(task, by_name)}")
    return Suite(name, tuple(by_name[task] for task in dict.fromkeys(tasks)))
