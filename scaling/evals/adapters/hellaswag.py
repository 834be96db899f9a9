"""HellaSwag (Zellers et al. 2019, arXiv:1905.07830): `hellaswag_val.jsonl` with `ctx`, `endings`, `label`."""

import re

from scaling.evals.adapters.file_task import OF_CHOICES, Asking, FileTask, chosen
from scaling.evals.adapters.reading import Entry, read_entries, read_jsonl


def hellaswag(path: str) -> tuple[FileTask, ...]:
    """The task of one file."""
    questions = tuple(_question(entry) for entry in read_entries(path, read_jsonl))
    return (FileTask("hellaswag", questions, OF_CHOICES, chance=0.25, template="raw"),)


def _question(entry: Entry) -> Asking:
    endings = tuple(map(_clean, entry.texts("endings")))
    context = _clean(entry.text("ctx"))
    label = entry.fields.get("activity_label")
    if isinstance(label, str) and label:
        context = f"{_clean(label)}: {context}"
    return chosen(context, endings, entry.index("label", len(endings)))


def _clean(text: str) -> str:
    """Without the marks that WikiHow's texts carry: [title] becomes a full stop, other brackets go."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return re.sub(" +", " ", text).strip()
