"""LAMBADA (Paperno et al. 2016, arXiv:1606.06031): a passage whose last word is to be told.

Lines of `{"text": ...}` (the test set that OpenAI published), or plain text, a passage a line.
"""

from pathlib import Path

from scaling.evals.adapters.file_task import Asking, FileTask, questions_of
from scaling.evals.adapters.reading import Entry, lines_of, read_entries, read_jsonl, read_text
from scaling.evals.items import Example


def lambada(path: str) -> tuple[FileTask, ...]:
    """The task of one file.

    A word counts as told where every token of it is the likeliest, which is what greedy writing tells.
    """
    questions = questions_of(read_entries(path, _entries), _question)
    metrics = ("likeliest_match", "answer_log_prob", "token_accuracy")
    return (FileTask("lambada", questions, metrics, template="raw"),)


def _entries(path: str | Path) -> list[Entry]:
    if {".jsonl", ".json"} & set(Path(path).suffixes[-2:]):  # maybe before .gz or .zst
        return read_jsonl(path)
    lines = enumerate(lines_of(read_text(path)), 1)
    return [Entry(f"{path}: line {number}", {"text": line}) for number, line in lines if line.strip()]


def _question(entry: Entry) -> Asking:
    before, _, word = entry.text("text").rstrip().rpartition(" ")
    if not before.strip():
        raise entry.empty("text", "a passage needs a word before its last one")
    return Asking(Example(before, word), (word,))
