"""GLUE (Wang et al. 2018, arXiv:1804.07461): the published TSV files, asked in words.

`glue:DIR/SST-2` reads `dev.tsv` and takes examples from `train.tsv`; MNLI reads `dev_matched.tsv`. STS-B,
whose answers are numbers, is not asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scaling.evals.adapters.file_task import OF_CHOICES, Asking, FileTask, Question, chosen, questions_of
from scaling.evals.adapters.reading import Entry, lines_of, read_text, read_tsv
from scaling.runtime.errors import BadInputError


@dataclass(frozen=True)
class _Layout:
    """How a task's rows read: labels in their order in the file, what each is called, the question."""

    label: str
    names: dict[str, str]
    ask: Callable[[Entry], str]
    dev: str = "dev.tsv"


def _pair(first: str, second: str, question: str) -> Callable[[Entry], str]:
    return lambda entry: f"{entry.text(first)}\n{entry.text(second)}\n{question}"


_ENTAILED = {"entailment": "yes", "not_entailment": "no"}
_YES = {"1": "yes", "0": "no"}

TASKS = {
    "CoLA": _Layout("label", _YES, lambda e: f"{e.text('sentence')}\nIs this sentence grammatical?"),
    "SST-2": _Layout(
        "label", {"1": "positive", "0": "negative"}, lambda e: f"{e.text('sentence')}\nIs this good or bad?"
    ),
    "MRPC": _Layout("Quality", _YES, _pair("#1 String", "#2 String", "Do both sentences say the same?")),
    "QQP": _Layout("is_duplicate", _YES, _pair("question1", "question2", "Do both questions ask the same?")),
    "MNLI": _Layout(
        "gold_label",
        {"entailment": "yes", "neutral": "maybe", "contradiction": "no"},
        _pair("sentence1", "sentence2", "Does the second sentence follow from the first?"),
        "dev_matched.tsv",
    ),
    "QNLI": _Layout(
        "label", _ENTAILED, _pair("question", "sentence", "Does the sentence answer the question?")
    ),
    "RTE": _Layout(
        "label",
        _ENTAILED,
        _pair("sentence1", "sentence2", "Does the second sentence follow from the first?"),
    ),
    "WNLI": _Layout(
        "label", _YES, _pair("sentence1", "sentence2", "Does the second sentence follow from the first?")
    ),
}
_COLA = ("source", "label", "judgement", "sentence")  # its files have no header


def glue(path: str) -> tuple[FileTask, ...]:
    """The task of one directory, told by its name."""
    place = Path(path).expanduser()
    layout = TASKS.get(place.name)
    if layout is None:
        raise BadInputError(f"glue:{path}: the directory must be called {', '.join(TASKS)}")
    questions = _read(place / layout.dev, place.name, layout)
    train = place / "train.tsv"
    pool = _read(train, place.name, layout) if train.is_file() else ()
    return (
        FileTask(
            f"glue-{place.name.lower()}",
            questions,
            OF_CHOICES,
            chance=1 / len(layout.names),
            template="question-answer",
            pool=pool,
        ),
    )


def _read(file: Path, task: str, layout: _Layout) -> tuple[Question, ...]:
    entries = _cola(file) if task == "CoLA" else read_tsv(file)
    if not entries:
        raise BadInputError(f"{file}: there is no row below the header")
    names = tuple(layout.names.values())

    def question(entry: Entry) -> Asking:
        label = entry.text(layout.label)
        if label not in layout.names:
            raise entry.refuse(layout.label, f"{label[:20]!r} is none of {', '.join(layout.names)}")
        return chosen(layout.ask(entry), names, names.index(layout.names[label]))

    return questions_of(entries, question)


def _cola(file: Path) -> list[Entry]:
    entries = []
    for number, line in enumerate(lines_of(read_text(file)), 1):
        if not line:
            continue
        values = line.split("\t")
        if len(values) != len(_COLA):
            raise BadInputError(f"{file}: line {number}: {len(values)} fields; expected {', '.join(_COLA)}")
        entries.append(Entry(f"{file}: line {number}", dict(zip(_COLA, values, strict=True))))
    return entries
