"""MMLU (Hendrycks et al. 2020, arXiv:2009.03300): CSV files without a header.

The published directory has `dev/SUBJECT_dev.csv` (five examples), `val/` and `test/SUBJECT_test.csv`. A row
is question, four choices, and the right one's letter.
"""

from pathlib import Path

from scaling.evals.adapters.file_task import OF_CHOICES, Asking, FileTask, Question, questions_of
from scaling.evals.adapters.reading import Entry, files_in, read_csv
from scaling.evals.items import Example

_COLUMNS = ("question", "A", "B", "C", "D", "answer")
_LETTERS = "ABCD"


def mmlu(path: str) -> tuple[FileTask, ...]:
    """A task for each subject of a directory, or for one file; examples from `dev` where that is beside."""
    place = Path(path).expanduser()
    files = files_in(str(place / "test") if (place / "test").is_dir() else path, "*_test.csv")
    tasks = []
    for file in files:
        subject = file.stem.rsplit("_", 1)[0]
        dev = file.parent.parent / "dev" / f"{subject}_dev.csv"
        tasks.append(
            FileTask(
                name=f"mmlu-{subject}",
                questions=_read(file),
                metrics=OF_CHOICES,
                chance=0.25,
                description=f"Multiple choice questions (with answers) about {subject.replace('_', ' ')}.",
                template="described-answer",
                pool=_read(dev) if dev.is_file() and dev != file else (),
            )
        )
    return tuple(tasks)


def _read(file: Path) -> tuple[Question, ...]:
    return questions_of(read_csv(file, _COLUMNS), _question)


def _question(entry: Entry) -> Asking:
    """The choices stand in the question; what is scored is the letter, as the authors do."""
    right = entry.text("answer").strip()
    if right not in _LETTERS or len(right) != 1:
        raise entry.refuse("answer", f"{right[:20]!r} is none of A, B, C, D")
    listed = "".join(f"\n{letter}. {entry.text(letter)}" for letter in _LETTERS)
    example = Example(entry.text("question") + listed, right, tuple(_LETTERS))
    return Asking(example, (right,), tuple(float(letter == right) for letter in _LETTERS))
