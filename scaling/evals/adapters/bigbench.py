"""BIG-bench JSON tasks (Srivastava et al. 2022, arXiv:2206.04615): `task.json`.

Read: `name`, `description`, `examples[].{input, target, target_scores}`, `metrics`, `example_input_prefix`,
`example_output_prefix`, `choice_prefix`, `append_choices_to_input`, `task_prefix`. Other keys change nothing
here. Examples with `target_scores` are scored by the likelihood of their choices (the multiple-choice grade
is the score of the likeliest), those with `target` by what the model writes.
"""

from scaling.evals.adapters.file_task import OF_CHOICES, Asking, FileTask, mean_chance, questions_of
from scaling.evals.adapters.reading import Entry, read_json
from scaling.evals.items import Example

_FREE = ("exact_match", "edit_similarity", "token_accuracy", "answer_log_prob")


def bigbench(path: str) -> tuple[FileTask, ...]:
    """The task of one file.

    Raises:
        BadInputError: a field is missing, no choice is right, or only some examples have choices.
    """
    document = read_json(path)
    name = document.text("name")
    settings = document.fields
    entries = list(document.entries("examples"))
    if not entries:
        raise document.refuse("examples", "is empty")
    with_choices = "target_scores" in entries[0].fields

    def question(entry: Entry) -> Asking:
        if ("target_scores" in entry.fields) != with_choices:
            raise entry.refuse("target_scores", "some examples have it and some have not")
        return _choice(entry, settings) if with_choices else _free(entry, settings)

    asked = questions_of(entries, question)
    return (
        FileTask(
            name=name,
            questions=asked,
            metrics=OF_CHOICES if with_choices else _FREE,
            chance=mean_chance(asked) if with_choices else 0.0,
            description=str(settings.get("task_prefix") or document.text("description")).strip(),
            template="raw-described" if settings.get("task_prefix") else "raw",
        ),
    )


def _words(text: str, settings: dict[str, object]) -> str:
    """The input between the prefixes that the task asks for; both default to those of the benchmark."""
    before = settings.get("example_input_prefix", "\nQ: ")
    after = settings.get("example_output_prefix", "\nA: ")
    return f"{before}{text}{after}".lstrip("\n").rstrip(" ")


def _free(entry: Entry, settings: dict[str, object]) -> Asking:
    target = entry.get("target", (str, list))
    accepted = (entry.text("target"),) if isinstance(target, str) else entry.texts("target")
    return Asking(Example(_words(entry.text("input"), settings), accepted[0]), accepted)


def _choice(entry: Entry, settings: dict[str, object]) -> Asking:
    scores = entry.inside("target_scores")
    choices = tuple(scores.fields)
    if not choices:
        raise entry.empty("target_scores")
    grades = tuple(float(scores.get(choice, (int, float))) for choice in choices)
    if max(grades) <= 0:
        raise entry.refuse("target_scores", "no choice has a score above 0")
    if not all(choice.strip() for choice in choices):
        raise entry.empty("target_scores", "a choice is empty")
    text = entry.text("input")
    if settings.get("append_choices_to_input", True):
        prefix = settings.get("choice_prefix", "\n  choice: ")
        text += "".join(f"{prefix}{choice}" for choice in choices)
    best = choices[grades.index(max(grades))]
    accepted = tuple(choice for choice, grade in zip(choices, grades, strict=True) if grade == max(grades))
    return Asking(Example(_words(text, settings), best, choices), (best, *accepted), grades)
