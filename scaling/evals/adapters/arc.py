"""ARC (Clark et al. 2018, arXiv:1803.05457): `ARC-Challenge-Test.jsonl` and its like.

A line has `question{stem, choices[{text, label}]}` and `answerKey`.
"""

from pathlib import Path

from scaling.evals.adapters.file_task import OF_CHOICES, Asking, FileTask, chosen, mean_chance, questions_of
from scaling.evals.adapters.reading import Entry, files_in, read_jsonl


def arc(path: str) -> tuple[FileTask, ...]:
    """The task of a file, or those of a directory's `*-Test.jsonl`; examples come from `*-Train.jsonl`."""
    tasks = []
    for file in files_in(path, "*-Test.jsonl"):
        questions = questions_of(read_jsonl(file), _question)
        train = file.with_name(file.name.replace("-Test.", "-Train."))
        pool = questions_of(read_jsonl(train), _question) if train != file and train.is_file() else ()
        name = Path(file).stem.removesuffix("-Test").lower()
        tasks.append(
            FileTask(
                name,
                questions,
                OF_CHOICES,
                chance=mean_chance(questions),
                template="question-answer",
                pool=pool,
            )
        )
    return tuple(tasks)


def _question(entry: Entry) -> Asking:
    asked = entry.inside("question")
    stem = asked.text("stem")
    choices = [(choice.text("label"), choice.text("text")) for choice in asked.entries("choices")]
    labels = [label for label, _ in choices]
    key = entry.text("answerKey")
    if key not in labels:
        raise entry.refuse("answerKey", f"{key[:20]!r} is none of the labels {', '.join(labels)}")
    return chosen(stem, tuple(text for _, text in choices), labels.index(key))
