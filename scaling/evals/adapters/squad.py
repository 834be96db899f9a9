"""SQuAD v1.1 and v2.0 (Rajpurkar et al. 2016, arXiv:1606.05250; 2018, arXiv:1806.03822): the published JSON.

`data[].paragraphs[].{context, qas[].{question, answers[].text, is_impossible}}`. A question that has no
answer is answered with "unanswerable", and scored as right where that is said.
"""

from scaling.evals.adapters.file_task import Asking, FileTask, questions_of
from scaling.evals.adapters.reading import Entry, read_json
from scaling.evals.items import Example

UNANSWERABLE = "unanswerable"


def squad(path: str) -> tuple[FileTask, ...]:
    """The task of one file: exact match and F1 over words, as the official script normalises them."""
    document = read_json(path)
    asked = [
        (paragraph, one)
        for article in document.entries("data")
        for paragraph in article.entries("paragraphs")
        for one in paragraph.entries("qas")
    ]
    if not asked:
        raise document.refuse("data", "holds no question")
    questions = questions_of(asked, lambda pair: _question(pair[0].text("context"), pair[1]))
    metrics = ("squad_f1", "squad_exact", "answer_log_prob")
    return (FileTask("squad", questions, metrics, template="question-answer"),)


def _question(context: str, asked: Entry) -> Asking:
    answers = tuple(dict.fromkeys(answer.text("text") for answer in asked.entries("answers")))
    if not answers:
        if asked.fields.get("is_impossible") is not True:
            raise asked.refuse("answers", "is empty, and is_impossible is not true")
        answers = (UNANSWERABLE,)
    # The template asks "Question: ...": the passage stands in front of the words of the question.
    return Asking(Example(f"{asked.text('question')}\nPassage: {context}", answers[0]), answers)
