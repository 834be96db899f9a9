"""Every task and suite by name."""

from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint
from scaling.tasks import arithmetic, chains, in_context, language, modular, sequences, words
from scaling.tasks.example import Task

_DIGITS = (2, 3, 4, 5)

_ALL: tuple[Task, ...] = (
    *map(arithmetic.addition, _DIGITS),
    *map(arithmetic.subtraction, _DIGITS),
    arithmetic.multiplication(2),
    arithmetic.composites(),
    *map(arithmetic.backwards, _DIGITS),
    arithmetic.comparison(3),
    *modular.modular(),
    *words.scrambled(),
    *map(sequences.copying, (4, 8, 16)),
    *map(sequences.reversal, (4, 6, 8)),
    sequences.induction(8),
    *language.translation(),
    *map(chains.sums, (2, 4, 8)),
    *map(chains.hops, (2, 3)),
    in_context.lookup(1),
    in_context.lookup(2),
    in_context.lookup(3),
    in_context.cipher(8, 4),
    in_context.shift(),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}

SUITES: dict[str, tuple[str, ...]] = {
    "gpt3-arithmetic": (
        *(f"add{n}" for n in _DIGITS),
        *(f"sub{n}" for n in _DIGITS),
        "mul2",
        "composite1",
    ),
    "gpt3-words": ("cycle", "anagrams1", "anagrams2", "insertion", "reversed-words"),
    "modular": ("modadd", "modmul", "moddiv"),
    "sequences": ("copy4", "copy8", "copy16", "reverse4", "reverse6", "reverse8", "induction8"),
    "in-context": ("lookup1", "lookup2", "lookup3", "cipher8", "shift"),
    "chains": ("chain2", "chain4", "chain8", "hops2", "hops3"),
    "translation": ("translate-to", "translate-from"),
    "emergence": (
        "lookup2",
        "reverse6",
        "reverse8",
        "copy8",
    ),  # what configs/sweeps/emergence-cpu.yaml trains
    "synthetic": tuple(TASKS),
}


def task(name: str) -> Task:
    """The task of a name.

    Raises:
        BadInputError: there is none; the message gives near ones.
    """
    if name not in TASKS:
        raise BadInputError(f"task {name!r}: unknown; {hint(name, TASKS)}")
    return TASKS[name]
