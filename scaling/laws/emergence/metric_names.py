"""What the name of a metric implies (range, noise, better direction), and the units of scores.

Names are those of this lab's evaluations and the usual ones of evaluation harnesses: `acc`, `acc_norm`,
`exact_match,strict-match`, `em`, `f1`, `mc1`, `mc2`, `pass@1`, `bleu`, `word_perplexity` and so on. Case,
punctuation and a harness's filter after a comma are ignored. From them follow which scores are percentages,
how many items a standard error implies, and the score of guessing.
"""

import math
import re
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from scaling.runtime.errors import BadInputError

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Metric:
    """Known properties of a metric.

    Attributes:
        share: whether it is a share of items, so that its noise is binomial if their number is known.
        fraction: whether it is between 0 and 1 and often printed in percent, as shares are.
        smooth: whether it gives partial credit, or credit for probability.
        less: whether lower is better.
        logged: whether its logarithm is fitted, as for a perplexity, which is exp(loss).
        low, high: the range of its values; None is unbounded.
    """

    share: bool = False
    fraction: bool = False
    smooth: bool = False
    less: bool = False
    logged: bool = False
    low: float | None = None
    high: float | None = None


SHARE = Metric(share=True, fraction=True, low=0.0, high=1.0)
TOKENS = Metric(share=True, fraction=True, smooth=True, low=0.0, high=1.0)
PART = Metric(
    fraction=True, smooth=True, low=0.0, high=1.0
)  # partial credit per item: its noise is not binomial
LOG_PROBABILITY = Metric(smooth=True, high=0.0)
LOSS = Metric(smooth=True, less=True, low=0.0)
PERPLEXITY = Metric(smooth=True, less=True, logged=True, low=1.0)
DISTANCE = Metric(less=True, low=0.0)
BRIER = Metric(smooth=True, less=True, low=0.0, high=2.0)
CORRELATION = Metric(low=-1.0, high=1.0)
UNKNOWN = Metric()

# Patterns over the normalised name (lower case, words joined by _); the first that matches decides.
_PATTERNS: tuple[tuple[str, Metric], ...] = (
    (r"token_acc(uracy)?", TOKENS),
    (r"(.*_)?log_?(prob|likelihood)s?(_.*)?", LOG_PROBABILITY),
    (r"(.*_)?(perplexity|ppl)(_.*)?", PERPLEXITY),
    (r"(.*_)?brier(_.*)?", BRIER),
    (r"(.*_)?(loss|nll|cross_entropy|bits_per_byte|bpb)", LOSS),
    (r"(edit|levenshtein)_distance|ter|wer|cer", DISTANCE),
    (r"(.*_)?(mcc|matthews|pearson|spearman)(_.*)?|(.*_)?correlation", CORRELATION),
    (r"(.*_)?acc(uracy)?(_.*)?", SHARE),
    (r"(.*_)?(exact(_str(ing)?)?_match|exact|em|likeliest_match|multiple_choice_grade)(_.*)?", SHARE),
    (r"mc1|(pass|maj|top|best|solve|win|success)(_at|_rate)?(_\d+)?|correct|is_correct", SHARE),
    (r"(.*_)?(f1|bleu|sacrebleu|rouge|chrf(pp)?|meteor|bertscore|similarity)(_.*)?", PART),
    (r"(.*_)?rouge[12l](sum)?(_.*)?|mc2|precision|recall|jaccard|iou|auc|auroc|probability", PART),
)


def normalised(name: str) -> str:
    """`Exact Match,strict-match` as `exact_match`; `pass@1` as `pass_1`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().partition(",")[0].replace("+", "p")).strip("_")


@cache
def metric_named(name: str) -> Metric:
    """The properties of the metric of a name; `UNKNOWN` if it is not known."""
    plain = normalised(name)
    for pattern, known in _PATTERNS:
        if re.fullmatch(pattern, plain):
            return known
    return UNKNOWN


# The number of choices of common multiple-choice benchmarks, as their papers define it.
CHOICES: dict[str, int] = {
    "anli": 3,
    "arc": 4,
    "belebele": 4,
    "blimp": 2,
    "boolq": 2,
    "cb": 3,
    "commonsense_qa": 5,
    "copa": 2,
    "hellaswag": 4,
    "logiqa": 4,
    "medmcqa": 4,
    "mmlu": 4,
    "mnli": 3,
    "openbookqa": 4,
    "piqa": 2,
    "qnli": 2,
    "qqp": 2,
    "race": 4,
    "rte": 2,
    "sciq": 4,
    "siqa": 3,
    "social_iqa": 3,
    "sst2": 2,
    "storycloze": 2,
    "wic": 2,
    "winogrande": 2,
    "wsc": 2,
    "xnli": 3,
    "xwinograd": 2,
}
_BY_CHOICE = re.compile(r"(choice_)?acc(uracy)?(_.*)?")

# By definition printed out of 100, so that values below 1 together with values above it are no contradiction.
_OUT_OF_100 = ("bleu", "sacrebleu", "chrf", "chrfpp", "rouge1", "rouge2", "rougel", "rougelsum")
_BELOW_CHANCE = 3.0  # standard errors below the usual chance at which it is not assumed


def usual_chance(task: str, name: str) -> float | None:
    """The accuracy of guessing on a well-known multiple-choice benchmark; None for others."""
    if not _BY_CHOICE.fullmatch(normalised(name)):
        return None
    words = normalised(task)
    for known, choices in CHOICES.items():
        if words == known or words.startswith(f"{known}_"):
            return 1 / choices
    return None


# -- columns of scores -----------------------------------------------------------------------------------


def read_percents(
    source: str, places: Sequence[str], columns: Columns, percent: Collection[str]
) -> list[str]:
    """Convert percentages to shares, in place; the notes name the metrics.

    A share is read as a percentage if values exceed 1 and none is between 0 and 1. A mixture is refused,
    because either could be meant. `percent` names metrics that are percentages in any case.

    Raises:
        BadInputError: a value outside 0 to 100, or shares mixed with percentages.
    """
    unknown = [name for name in percent if name not in columns["metric"]]
    if unknown:
        known = ", ".join(dict.fromkeys(columns["metric"]))
        raise BadInputError(f"--percent {unknown[0]}: {source} has no such metric; it has {known}")
    notes: list[str] = []
    for name in dict.fromkeys(columns["metric"]):
        rows = [i for i, metric in enumerate(columns["metric"]) if metric == name]
        counted = name == "score" and any(columns["n"][i] is not None for i in rows)
        if not (metric_named(name).fraction or counted or name in percent):
            _check_range(source, places, columns, rows, name)
            continue
        scores = {i: columns["score"][i] for i in rows}
        where = {i: f"{source}, {places[i]}, column score" for i in rows}
        for i, score in scores.items():
            if not 0 <= score <= 100:
                raise BadInputError(
                    f"{where[i]}: {score:g} is not accepted for {name}; give a share from 0 to 1, or percent"
                )
        above = next((i for i, score in scores.items() if score > 1), None)
        inside = next((i for i, score in scores.items() if 0 < score <= 1), None)
        if above is None and name not in percent:
            continue
        if counted and name not in percent and above is not None:
            raise BadInputError(
                f"{where[above]}: {scores[above]:g} is not a share of items; give a share between 0 and 1, "
                "--percent score, or a metric column"
            )
        plain = name in percent or normalised(name) in _OUT_OF_100
        if above is not None and inside is not None and not plain:
            raise BadInputError(
                f"{where[above]}: {name} is {scores[above]:g} here and {scores[inside]:g} in "
                f"{places[inside]}; give all as shares, or all as percent with --percent {name}"
            )
        for i in rows:
            for column in ("score", "low", "high", "stderr"):
                if columns[column][i] is not None:
                    columns[column][i] /= 100
            if columns["chance"][i] is not None and columns["chance"][i] > 1:
                columns["chance"][i] /= 100
        low, high = (f"{100 * end:g}" for end in (min(scores.values()) / 100, max(scores.values()) / 100))
        notes.append(f"{name} was read as percent ({low} to {high})")
    for i, chance in enumerate(columns["chance"]):
        if chance is not None and chance >= 1:
            raise BadInputError(
                f"{source}, {places[i]}, column chance: {chance:g} is not accepted; give a share below 1"
            )
    return notes


def _check_range(
    source: str, places: Sequence[str], columns: Columns, rows: Sequence[int], name: str
) -> None:
    known = metric_named(name)
    for i in rows:
        score = columns["score"][i]
        if (known.low is not None and score < known.low) or (known.high is not None and score > known.high):
            ends = "at most 0" if known.high == 0 else f"at least {known.low:g}"
            if known.low is not None and known.high is not None:
                ends = f"between {known.low:g} and {known.high:g}"
            raise BadInputError(
                f"{source}, {places[i]}, column score: {score:g} is not accepted for {name}, "
                f"which is {ends}; correct it, or give the metric another name"
            )


def items_from_errors(source: str, places: Sequence[str], columns: Columns) -> None:
    """Fill in `n` of shares and the 95% interval of any score from its standard error, in place.

    A harness's standard error of a share p of n items is sqrt(p (1 - p) / (n - 1)). At 0 and 1 it is 0 and
    carries no information: such rows get the median count of their task.

    Raises:
        BadInputError: a standard error that no share can have.
    """
    counts: dict[tuple[str, str], list[float]] = {}
    missing = []
    for i, error in enumerate(columns["stderr"]):
        score, key = columns["score"][i], (columns["task"][i], columns["metric"][i])
        if error is None:
            continue
        if columns["low"][i] is None and columns["high"][i] is None and error > 0:
            known = metric_named(columns["metric"][i])
            low, high = score - 1.96 * error, score + 1.96 * error
            columns["low"][i] = low if known.low is None else max(low, known.low)
            columns["high"][i] = high if known.high is None else min(high, known.high)
        if not metric_named(columns["metric"][i]).share or columns["n"][i] is not None:
            continue
        if error > 0.5:
            raise BadInputError(
                f"{source}, {places[i]}, column stderr: {error:g} is not accepted for a share of "
                f"{score:g}; give the standard error of the score in the same unit"
            )
        if error > 0 and 0 < score < 1:
            columns["n"][i] = max(1.0, round(1 + score * (1 - score) / error**2))
            counts.setdefault(key, []).append(columns["n"][i])
        else:
            missing.append((i, key))
    for i, key in missing:
        if key in counts:
            columns["n"][i] = statistics.median(counts[key])


def fill_chance(source: str, columns: Columns, given: Mapping[str, float]) -> list[str]:
    """Fill in the chance of each row: as given for its task, from its columns, or the usual one; with notes.

    The usual chance of a well-known benchmark is not used if scores are clearly below it.

    Raises:
        BadInputError: a chance for a task that the source does not have.
    """
    for task in given:
        if task not in columns["task"]:
            known = ", ".join(dict.fromkeys(columns["task"]))
            raise BadInputError(f"--chance {task}: {source} has no such task; it has {known}")
    usual: dict[tuple[str, str], list[int]] = {}
    for i, task in enumerate(columns["task"]):
        if task in given:
            columns["chance"][i] = given[task]
        elif columns["chance"][i] is None and columns["choices"][i] is not None:
            columns["chance"][i] = 1 / columns["choices"][i]
        elif columns["chance"][i] is None and usual_chance(task, columns["metric"][i]) is not None:
            usual.setdefault((task, columns["metric"][i]), []).append(i)
    notes = []
    for (task, name), rows in usual.items():
        chance = usual_chance(task, name) or 0.0
        if any(_below(columns["score"][i], columns["n"][i], chance) for i in rows):
            notes.append(f"{task} scores below its usual chance of {chance:.3g}; --chance {task}=... sets it")
            continue
        for i in rows:
            columns["chance"][i] = chance
        notes.append(f"chance of {task} is taken to be {chance:.3g}; --chance {task}=... changes it")
    return list(dict.fromkeys(notes))


def _below(score: float, n: float | None, chance: float) -> bool:
    error = math.sqrt(chance * (1 - chance) / n) if n else 0.05
    return score < chance - _BELOW_CHANCE * error
