"""What the name of a metric says: its range, whether it is a share of items, and which direction is better.

Names are those of this lab's evaluations and the usual ones of evaluation harnesses: `acc`, `acc_norm`,
`exact_match,strict-match`, `em`, `f1`, `mc1`, `mc2`, `pass@1`, `bleu`, `word_perplexity` and so on. Upper and
lower case, punctuation and a harness's filter after a comma make no difference.
"""

import re
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Metric:
    """What is known of a metric.

    Attributes:
        share: whether it is a share of items, so that its noise is binomial where their number is known.
        fraction: whether it lies between 0 and 1 and is often printed in percent; shares do.
        smooth: whether it gives credit for part of an answer, or for probability.
        less: whether lower is better.
        logged: whether it is read as its logarithm: a perplexity is a loss in disguise.
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
PART = Metric(fraction=True, smooth=True, low=0.0, high=1.0)  # of an item: its noise is not binomial
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
    """What is known of the metric of a name; of an unknown one nothing."""
    plain = normalised(name)
    for pattern, known in _PATTERNS:
        if re.fullmatch(pattern, plain):
            return known
    return UNKNOWN


# Number of choices of the usual multiple-choice benchmarks, each as its paper defines it.
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


def usual_chance(task: str, name: str) -> float | None:
    """What guessing reaches on a well-known multiple-choice benchmark by accuracy; None of any other."""
    if not _BY_CHOICE.fullmatch(normalised(name)):
        return None
    words = normalised(task)
    for known, choices in CHOICES.items():
        if words == known or words.startswith(f"{known}_"):
            return 1 / choices
    return None
