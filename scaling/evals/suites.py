"""Suites by name: synthetic ones from `scaling.tasks`, and benchmarks from the files of their authors.

No benchmark is bundled. Its suite is `KIND:PATH`, for example `hellaswag:hellaswag_val.jsonl`. A benchmark is
a function from a path to tasks; `BENCHMARKS` at the end of the file lists them.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from scaling.evals.benchmark_files import (
    EmptyFieldError,
    Row,
    files_in,
    lines_of,
    read_csv,
    read_json,
    read_jsonl,
    read_rows,
    read_text,
    read_tsv,
)
from scaling.evals.items import (
    BenchmarkTask,
    EvalTask,
    Question,
    SyntheticTask,
    Unusable,
    choice_question,
    mean_chance,
)
from scaling.evals.metrics import CHOICE_METRICS
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint
from scaling.tasks import SUITES, TASKS
from scaling.tasks.task import Example

T = TypeVar("T")
Questions = tuple[Question | Unusable, ...]


@dataclass(frozen=True)
class Suite:
    """Tasks under one name."""

    name: str
    tasks: tuple[EvalTask, ...]

    @property
    def file_name(self) -> str:
        """The name as part of a file's name; one with a path is shortened and identified by a hash."""
        if re.fullmatch(r"[A-Za-z0-9_.-]+", self.name):
            return self.name
        kind, _, path = self.name.partition(":")
        words = re.sub(r"[^A-Za-z0-9_.]+", "-", path.rstrip("/").rpartition("/")[2])[:60]
        return f"{kind}-{words}-{hashlib.blake2b(self.name.encode(), digest_size=4).hexdigest()}"


def load_suite(name: str, tasks: Sequence[str] | None = None) -> Suite:
    """The suite of a name, or only its tasks in `tasks`.

    Raises:
        BadInputError: no such suite or task, or files that are not in the benchmark's format.
    """
    kind, colon, path = name.partition(":")
    every: tuple[EvalTask, ...]
    if colon and kind in BENCHMARKS:
        if not path:
            raise BadInputError(f"--suite {name}: give the path of its files, as {kind}:PATH")
        every = BENCHMARKS[kind](path)
    elif name in SUITES:
        every = tuple(SyntheticTask(TASKS[task]) for task in SUITES[name])
    else:
        known = [*SUITES, *(f"{kind}:PATH" for kind in BENCHMARKS)]
        raise BadInputError(f"--suite {name}: unknown; {hint(name, known)}")
    if tasks is None:
        return Suite(name, every)
    by_name = {task.name: task for task in every}
    for task in tasks:
        if task not in by_name:
            raise BadInputError(f"--tasks {task}: not in the suite {name}; {hint(task, by_name)}")
    return Suite(name, tuple(by_name[task] for task in dict.fromkeys(tasks)))


def questions_of(rows: Iterable[T], question: Callable[[T], Question]) -> Questions:
    """The question of each row; a row with an empty field is kept as unusable.

    Raises:
        BadInputError: a row is damaged, or none is usable.
    """
    questions: list[Question | Unusable] = []
    for row in rows:
        try:
            questions.append(question(row))
        except EmptyFieldError as error:
            questions.append(Unusable(str(error)))
    reasons = [one.reason for one in questions if isinstance(one, Unusable)]
    if reasons and len(reasons) == len(questions):
        others = f", and {len(reasons) - 1} more like it" if len(reasons) > 1 else ""
        raise BadInputError(f"{reasons[0]}{others}: there is no usable item left")
    return tuple(questions)


# -- benchmarks ------------------------------------------------------------------------------------------


def arc(path: str) -> tuple[BenchmarkTask, ...]:
    """ARC (Clark et al. 2018, arXiv:1803.05457): `ARC-Challenge-Test.jsonl`, or a directory of such files.

    A line has `question{stem, choices[{text, label}]}` and `answerKey`. Examples come from `*-Train.jsonl`.
    """

    def question(row: Row) -> Question:
        body = row.object("question")
        stem = body.text("stem")
        choices = [(choice.text("label"), choice.text("text")) for choice in body.objects("choices")]
        labels = [label for label, _ in choices]
        key = row.text("answerKey")
        if key not in labels:
            raise row.refuse("answerKey", f"{key[:20]!r} is none of the labels {', '.join(labels)}")
        return choice_question(stem, tuple(text for _, text in choices), labels.index(key))

    tasks = []
    for file in files_in(path, "*-Test.jsonl"):
        questions = questions_of(read_jsonl(file), question)
        train = file.with_name(file.name.replace("-Test.", "-Train."))
        pool = questions_of(read_jsonl(train), question) if train != file and train.is_file() else ()
        name = Path(file).stem.removesuffix("-Test").lower()
        tasks.append(BenchmarkTask(name, questions, CHOICE_METRICS, mean_chance(questions), pool=pool))
    return tuple(tasks)


def bigbench(path: str) -> tuple[BenchmarkTask, ...]:
    """A BIG-bench JSON task (Srivastava et al. 2022, arXiv:2206.04615): `task.json`.

    Reads `name`, `description`, `examples[].{input, target, target_scores}`, `example_input_prefix`,
    `example_output_prefix`, `choice_prefix`, `append_choices_to_input` and `task_prefix`. Examples with
    `target_scores` are scored by the likelihood of their choices (the multiple-choice grade is the score of
    the likeliest), those with `target` by generated text.

    Raises:
        BadInputError: a field is missing, no choice is right, or only some examples have choices.
    """
    document = read_json(path)
    name = document.text("name")
    settings = document.fields
    rows = list(document.objects("examples"))
    if not rows:
        raise document.refuse("examples", "is empty")
    with_choices = "target_scores" in rows[0].fields

    def prompt(text: str) -> str:
        before = settings.get("example_input_prefix", "\nQ: ")
        after = settings.get("example_output_prefix", "\nA: ")
        return f"{before}{text}{after}".lstrip("\n").rstrip(" ")

    def free(row: Row) -> Question:
        target = row.get("target", (str, list))
        accepted = (row.text("target"),) if isinstance(target, str) else row.texts("target")
        return Question(Example(prompt(row.text("input")), accepted[0]), accepted)

    def choice(row: Row) -> Question:
        scores = row.object("target_scores")
        choices = tuple(scores.fields)
        if not choices:
            raise row.empty("target_scores")
        grades = tuple(float(scores.get(one, (int, float))) for one in choices)
        if max(grades) <= 0:
            raise row.refuse("target_scores", "no choice has a score above 0")
        if not all(one.strip() for one in choices):
            raise row.empty("target_scores", "a choice is empty")
        text = row.text("input")
        if settings.get("append_choices_to_input", True):
            prefix = settings.get("choice_prefix", "\n  choice: ")
            text += "".join(f"{prefix}{one}" for one in choices)
        best = choices[grades.index(max(grades))]
        accepted = tuple(one for one, grade in zip(choices, grades, strict=True) if grade == max(grades))
        return Question(Example(prompt(text), best, choices), (best, *accepted), grades)

    def question(row: Row) -> Question:
        if ("target_scores" in row.fields) != with_choices:
            raise row.refuse("target_scores", "only some examples have it")
        return choice(row) if with_choices else free(row)

    questions = questions_of(rows, question)
    text_metrics = ("exact_match", "edit_similarity", "token_accuracy", "answer_log_prob")
    return (
        BenchmarkTask(
            name,
            questions,
            metrics=CHOICE_METRICS if with_choices else text_metrics,
            chance=mean_chance(questions) if with_choices else 0.0,
            description=str(settings.get("task_prefix") or document.text("description")).strip(),
            template="raw-described" if settings.get("task_prefix") else "raw",
        ),
    )


@dataclass(frozen=True)
class _GlueTask:
    """The column of the label, the words for its values in their order in the file, and the question."""

    label: str
    words: dict[str, str]
    columns: tuple[str, ...]
    question: str
    dev: str = "dev.tsv"


_YES = {"1": "yes", "0": "no"}
_SENTIMENT = {"1": "positive", "0": "negative"}
_ENTAILED = {"entailment": "yes", "not_entailment": "no"}
_MAYBE = {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}
_PAIR = ("sentence1", "sentence2")
_FOLLOWS = "Does the second sentence follow from the first?"
_GLUE = {
    "CoLA": _GlueTask("label", _YES, ("sentence",), "Is this sentence grammatical?"),
    "SST-2": _GlueTask("label", _SENTIMENT, ("sentence",), "Is this good or bad?"),
    "MRPC": _GlueTask("Quality", _YES, ("#1 String", "#2 String"), "Do both sentences say the same?"),
    "QQP": _GlueTask("is_duplicate", _YES, ("question1", "question2"), "Do both questions ask the same?"),
    "MNLI": _GlueTask("gold_label", _MAYBE, _PAIR, _FOLLOWS, "dev_matched.tsv"),
    "QNLI": _GlueTask("label", _ENTAILED, ("question", "sentence"), "Does the sentence answer the question?"),
    "RTE": _GlueTask("label", _ENTAILED, _PAIR, _FOLLOWS),
    "WNLI": _GlueTask("label", _YES, _PAIR, _FOLLOWS),
}
_COLA_COLUMNS = ("source", "label", "judgement", "sentence")  # its files have no header


def glue(path: str) -> tuple[BenchmarkTask, ...]:
    """A task of GLUE (Wang et al. 2018, arXiv:1804.07461): a directory of TSV files with the task's name.

    `glue:DIR/SST-2` reads `dev.tsv` and takes examples from `train.tsv`; MNLI reads `dev_matched.tsv`. STS-B
    is not supported, because its answers are numbers.
    """
    place = Path(path).expanduser()
    task = _GLUE.get(place.name)
    if task is None:
        raise BadInputError(f"glue:{path}: the directory must be called {', '.join(_GLUE)}")
    words = tuple(task.words.values())

    def question(row: Row) -> Question:
        label = row.text(task.label)
        if label not in task.words:
            raise row.refuse(task.label, f"{label[:20]!r} is none of {', '.join(task.words)}")
        text = "\n".join((*map(row.text, task.columns), task.question))
        return choice_question(text, words, words.index(task.words[label]))

    def questions(file: Path) -> Questions:
        rows = _cola_rows(file) if place.name == "CoLA" else read_tsv(file)
        if not rows:
            raise BadInputError(f"{file}: there is no row below the header")
        return questions_of(rows, question)

    train = place / "train.tsv"
    pool = questions(train) if train.is_file() else ()
    name = f"glue-{place.name.lower()}"
    return (BenchmarkTask(name, questions(place / task.dev), CHOICE_METRICS, 1 / len(words), pool=pool),)


def _cola_rows(file: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(lines_of(read_text(file)), 1):
        if not line:
            continue
        values = line.split("\t")
        if len(values) != len(_COLA_COLUMNS):
            expected = ", ".join(_COLA_COLUMNS)
            raise BadInputError(f"{file}: line {number}: {len(values)} fields; expected {expected}")
        rows.append(Row(f"{file}: line {number}", dict(zip(_COLA_COLUMNS, values, strict=True))))
    return rows


def hellaswag(path: str) -> tuple[BenchmarkTask, ...]:
    """HellaSwag (Zellers et al. 2019, arXiv:1905.07830): `hellaswag_val.jsonl`.

    A line has `ctx`, `endings` and `label`, and perhaps `activity_label`.
    """

    def clean(text: str) -> str:
        """Replace the marks of texts from WikiHow: [title] by a full stop, others by nothing."""
        text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
        return re.sub(" +", " ", text).strip()

    def question(row: Row) -> Question:
        endings = tuple(map(clean, row.texts("endings")))
        context = clean(row.text("ctx"))
        label = row.fields.get("activity_label")
        if isinstance(label, str) and label:
            context = f"{clean(label)}: {context}"
        right = row.index("label", len(endings))
        if "" in endings:
            number = endings.index("") + 1
            raise row.empty("endings", f"ending {number} is empty without the marks of WikiHow's texts")
        if not context:
            raise row.empty("ctx", "is empty without the marks of WikiHow's texts")
        return choice_question(context, endings, right)

    questions = questions_of(read_rows(path, read_jsonl), question)
    return (BenchmarkTask("hellaswag", questions, CHOICE_METRICS, chance=0.25, template="raw"),)


def lambada(path: str) -> tuple[BenchmarkTask, ...]:
    """LAMBADA (Paperno et al. 2016, arXiv:1606.06031): passages whose last word is to be predicted.

    Reads lines of `{"text": ...}` (the test set that OpenAI published), or plain text with one passage per
    line. A word counts as right if each of its tokens is the likeliest one, as greedy decoding would produce.
    """

    def rows(path: str | Path) -> list[Row]:
        if {".jsonl", ".json"} & set(Path(path).suffixes[-2:]):  # the last suffix may be .gz or .zst
            return read_jsonl(path)
        lines = enumerate(lines_of(read_text(path)), 1)
        return [Row(f"{path}: line {number}", {"text": line}) for number, line in lines if line.strip()]

    def question(row: Row) -> Question:
        before, _, word = row.text("text").rstrip().rpartition(" ")
        if not before.strip():
            raise row.empty("text", "a passage needs a word before its last one")
        return Question(Example(before, word), (word,))

    metrics = ("likeliest_match", "answer_log_prob", "token_accuracy")
    return (BenchmarkTask("lambada", questions_of(read_rows(path, rows), question), metrics, template="raw"),)


def mmlu(path: str) -> tuple[BenchmarkTask, ...]:
    """MMLU (Hendrycks et al. 2020, arXiv:2009.03300): one task per subject, or one file.

    The published directory has `dev/SUBJECT_dev.csv` (five examples), `val/` and `test/SUBJECT_test.csv`.
    Files have no header; a row is the question, four choices, and the letter of the right one. The choices
    are part of the question and the letter is scored, as by the authors.
    """
    letters = "ABCD"

    def question(row: Row) -> Question:
        right = row.text("answer").strip()
        if right not in letters or len(right) != 1:
            raise row.refuse("answer", f"{right[:20]!r} is none of A, B, C, D")
        listed = "".join(f"\n{letter}. {row.text(letter)}" for letter in letters)
        return choice_question(row.text("question") + listed, tuple(letters), letters.index(right))

    def questions(file: Path) -> Questions:
        return questions_of(read_csv(file, ("question", *letters, "answer")), question)

    place = Path(path).expanduser()
    tasks = []
    for file in files_in(str(place / "test") if (place / "test").is_dir() else path, "*_test.csv"):
        subject = file.stem.rsplit("_", 1)[0]
        dev = file.parent.parent / "dev" / f"{subject}_dev.csv"
        tasks.append(
            BenchmarkTask(
                f"mmlu-{subject}",
                questions(file),
                CHOICE_METRICS,
                chance=0.25,
                description=f"Multiple choice questions (with answers) about {subject.replace('_', ' ')}.",
                template="described-answer",
                pool=questions(dev) if dev.is_file() and dev != file else (),
            )
        )
    return tuple(tasks)


def squad(path: str) -> tuple[BenchmarkTask, ...]:
    """SQuAD v1.1 and v2.0 (Rajpurkar et al. 2016, arXiv:1606.05250; 2018, arXiv:1806.03822).

    Reads `data[].paragraphs[].{context, qas[].{question, answers[].text, is_impossible}}`. A question without
    an answer is answered by "unanswerable". Scores exact match and F1 over words, normalised as in the
    official script.
    """

    def question(row: tuple[Row, Row]) -> Question:
        paragraph, query = row
        context = paragraph.text("context")
        answers = tuple(dict.fromkeys(answer.text("text") for answer in query.objects("answers")))
        if not answers:
            if query.fields.get("is_impossible") is not True:
                raise query.refuse("answers", "is empty, and is_impossible is not true")
            answers = ("unanswerable",)
        # The template writes "Question: ..." first, so the passage follows the question.
        return Question(Example(f"{query.text('question')}\nPassage: {context}", answers[0]), answers)

    document = read_json(path)
    rows = [
        (paragraph, query)
        for article in document.objects("data")
        for paragraph in article.objects("paragraphs")
        for query in paragraph.objects("qas")
    ]
    if not rows:
        raise document.refuse("data", "has no question")
    metrics = ("squad_f1", "squad_exact", "answer_log_prob")
    return (BenchmarkTask("squad", questions_of(rows, question), metrics),)


BENCHMARKS: dict[str, Callable[[str], tuple[BenchmarkTask, ...]]] = {
    "arc": arc,
    "bigbench": bigbench,
    "glue": glue,
    "hellaswag": hellaswag,
    "lambada": lambada,
    "mmlu": mmlu,
    "squad": squad,
}
