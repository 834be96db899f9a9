"""HellaSwag (Zellers et al. 2019, arXiv:1905.07830): `hellaswag_val.jsonl` with `ctx`, `endings`, `label`."""

import re

from scaling.evals.adapters.file_task import OF_CHOICES, Asking, FileTask, chosen, questions_of
from scaling.evals.adapters.reading import Entry, read_entries, read_jsonl


def hellaswag(path: str) -> tuple[FileTask, ...]:
    """The task of one file."""
    questions = questions_of(read_entries(path, read_jsonl), _question)
    return (FileTask("hellaswag", questions, OF_CHOICES, chance=0.25, template="raw"),)


def _question(entry: Entry) -> Asking:
    endings = tuple(map(_clean, entry.texts("endings")))
    context = _clean(entry.text("ctx"))
    label = entry.fields.get("activity_label")
    if isinstance(label, str) and label:
        context = f"{_clean(label)}: {context}"
    right = entry.index("label", len(endings))
    if "" in endings:
        number = endings.index("") + 1
        raise entry.empty("endings", f"ending {number} is empty without the marks of WikiHow's texts")
    if not context:
        raise entry.empty("ctx", "is empty without the marks of WikiHow's texts")
    return chosen(context, endings, right)


def _clean(text: str) -> str:
    """Without the marks that WikiHow's texts carry: [title] becomes a full stop, other brackets go."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return re.sub(" +", " ", text).strip()
