"""GPT-3 by size, as printed: Brown et al. 2020 (arXiv:2005.14165), Table H.1; its compute from Table D.1.

Test-set sizes: 2,000 of each arithmetic task (section 3.9.1), 10,000 of each scrambling task (3.9.2), 374
analogies (3.9.3); LAMBADA's 5,153 are those of Paperno et al. 2016. The printed shares are multiples of
1/2,000 and 1/10,000 as far as their digits show. The table does not give the test-set sizes of the other
tasks, so their n is unknown.
"""

from typing import Any

from scaling.laws.emergence.score_table import ScoreTable, as_scores

# Table D.1: name, parameters, training FLOPs.
SIZES = (
    ("GPT-3 Small", 125e6, 2.25e20),
    ("GPT-3 Medium", 356e6, 6.41e20),
    ("GPT-3 Large", 760e6, 1.37e21),
    ("GPT-3 XL", 1320e6, 2.38e21),
    ("GPT-3 2.7B", 2650e6, 4.77e21),
    ("GPT-3 6.7B", 6660e6, 1.20e22),
    ("GPT-3 13B", 12850e6, 2.31e22),
    ("GPT-3 175B", 174600e6, 3.14e23),
)
# Wei et al. 2022 (arXiv:2206.07682), Table 1: the scale at which two abilities of this table
# "emerge", few-shot. Ability, its tasks here, training FLOPs, parameters.
WEI = (
    ("Add/sub (3 digit)", ("3D+", "3D-"), 2.3e22, 13e9),
    ("Add/sub (4-5 digit)", ("4D+", "4D-", "5D+", "5D-"), 3.1e23, 175e9),
)

# Task of Table H.1: (name here, metric, n, chance, examples of "few"), then percent (or perplexity) by size,
# a row each for zero, one and few examples.
TABLE: dict[str, tuple[tuple[str, str, int | None, float | None, int], tuple[tuple[float, ...], ...]]] = {
    "2D+": (("2D+", "exact_match", 2000, 0.0, 50), (
        (0.7, 0.65, 0.7, 0.85, 1.1, 2.54, 15.4, 76.9),
        (2.0, 0.55, 3.15, 4.0, 12.1, 19.6, 73.0, 99.6),
        (2.0, 4.1, 3.5, 4.5, 8.9, 11.9, 55.5, 100.0),
    )),
    "2D-": (("2D-", "exact_match", 2000, 0.0, 50), (
        (1.25, 1.25, 1.25, 1.25, 1.6, 7.6, 12.6, 58.0),
        (1.15, 0.95, 1.45, 1.95, 3.85, 11.5, 44.6, 86.4),
        (1.15, 1.45, 2.25, 2.7, 7.35, 13.6, 52.4, 98.9),
    )),
    "3D+": (("3D+", "exact_match", 2000, 0.0, 50), (
        (0.1, 0.1, 0.05, 0.1, 0.1, 0.25, 1.4, 34.2),
        (0.15, 0.0, 0.1, 0.3, 0.45, 0.95, 15.4, 65.5),
        (0.15, 0.45, 0.3, 0.55, 0.75, 0.9, 8.4, 80.4),
    )),
    "3D-": (("3D-", "exact_match", 2000, 0.0, 50), (
        (0.05, 0.05, 0.05, 0.05, 0.05, 0.45, 1.35, 48.3),
        (0.05, 0.15, 0.25, 0.3, 0.55, 1.6, 6.15, 78.7),
        (0.05, 0.1, 0.15, 0.35, 0.65, 1.05, 9.2, 94.2),
    )),
    "4D+": (("4D+", "exact_match", 2000, 0.0, 50), (
        (0.05, 0.05, 0.0, 0.0, 0.05, 0.05, 0.15, 4.0),
        (0.0, 0.0, 0.1, 0.0, 0.0, 0.1, 0.8, 14.0),
        (0.0, 0.05, 0.05, 0.0, 0.15, 0.15, 0.4, 25.5),
    )),
    "4D-": (("4D-", "exact_match", 2000, 0.0, 50), (
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 7.5),
        (0.0, 0.0, 0.0, 0.0, 0.05, 0.0, 0.5, 14.0),
        (0.0, 0.05, 0.0, 0.0, 0.1, 0.05, 0.4, 26.8),
    )),
    "5D+": (("5D+", "exact_match", 2000, 0.0, 50), (
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.65),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 3.45),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 9.3),
    )),
    "5D-": (("5D-", "exact_match", 2000, 0.0, 50), (
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 3.75),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.9),
    )),
    "2Dx": (("2Dx", "exact_match", 2000, 0.0, 50), (
        (2.2, 2.25, 2.65, 2.1, 2.55, 5.8, 6.15, 19.8),
        (1.35, 2.35, 3.35, 2.35, 4.75, 9.15, 11.0, 27.4),
        (1.35, 2.9, 2.7, 2.85, 4.25, 6.1, 7.05, 29.2),
    )),
    "1DC": (("1DC", "exact_match", 2000, 0.0, 50), (
        (1.25, 2.95, 2.75, 0.05, 0.3, 2.35, 0.75, 9.75),
        (1.9, 2.8, 2.85, 3.65, 6.45, 9.15, 8.2, 14.3),
        (1.7, 2.15, 3.9, 5.75, 6.2, 7.6, 9.95, 21.3),
    )),
    "Cycled Letters": (("Cycled Letters", "exact_match", 10_000, 0.0, 100), (
        (0.62, 0.71, 2.85, 0.0, 0.63, 1.35, 2.58, 3.66),
        (1.67, 4.36, 5.68, 6.46, 6.25, 9.41, 15.1, 21.7),
        (4.63, 9.27, 10.7, 14.5, 16.7, 21.9, 27.7, 37.9),
    )),
    "Anagrams 1": (("Anagrams 1", "exact_match", 10_000, 0.0, 100), (
        (0.1, 0.14, 0.4, 0.0, 0.27, 0.69, 1.16, 2.28),
        (0.21, 0.61, 1.12, 1.27, 1.6, 2.72, 3.72, 8.62),
        (0.5, 1.27, 2.13, 3.05, 3.81, 5.49, 8.38, 15.1),
    )),
    "Anagrams 2": (("Anagrams 2", "exact_match", 10_000, 0.0, 100), (
        (0.81, 1.21, 2.69, 0.01, 1.71, 3.75, 4.53, 8.91),
        (1.19, 2.62, 4.7, 4.77, 6.97, 10.2, 14.6, 25.9),
        (1.94, 4.8, 7.59, 9.87, 12.6, 18.9, 25.6, 39.7),
    )),
    "Symbol Insertion": (("Symbol Insertion", "exact_match", 10_000, 0.0, 100), (
        (0.0, 0.0, 0.1, 0.0, 0.05, 0.42, 0.89, 8.26),
        (0.03, 0.05, 0.57, 1.18, 1.67, 3.46, 6.62, 45.4),
        (0.11, 0.28, 2.19, 4.18, 6.61, 11.0, 27.3, 67.2),
    )),
    "Reversed Words": (("Reversed Words", "exact_match", 10_000, 0.0, 100), (
        (0.0, 0.01, 0.01, 0.01, 0.02, 0.03, 0.03, 0.09),
        (0.02, 0.01, 0.01, 0.0, 0.05, 0.07, 0.11, 0.48),
        (0.0, 0.05, 0.0, 0.17, 0.24, 0.3, 0.42, 0.44),
    )),
    "SAT Analogies": (("SAT Analogies", "choice_accuracy", 374, 0.2, 20), (
        (35.6, 39.0, 45.2, 44.1, 50.0, 49.2, 52.7, 53.7),
        (30.5, 41.2, 43.1, 46.5, 55.1, 54.3, 53.5, 59.1),
        (30.5, 40.4, 42.8, 40.6, 48.4, 51.9, 53.5, 65.2),
    )),
    "LAMBADA acc": (("LAMBADA", "accuracy", 5153, None, 15), (
        (42.7, 54.3, 60.4, 63.6, 67.1, 70.3, 72.5, 76.2),
        (22.0, 47.1, 52.6, 58.3, 61.1, 65.4, 69.0, 72.5),
        (22.0, 40.4, 63.2, 57.0, 78.1, 79.1, 81.3, 86.4),
    )),
    "LAMBADA ppl": (("LAMBADA", "perplexity", None, None, 15), (
        (18.6, 9.09, 6.53, 5.44, 4.6, 4.0, 3.56, 3.0),
        (165.0, 11.6, 8.29, 6.46, 5.53, 4.61, 4.06, 3.35),
        (165.0, 27.6, 6.63, 7.45, 2.89, 2.56, 2.56, 1.92),
    )),
    "HellaSwag acc": (("HellaSwag", "choice_accuracy", None, 0.25, 20), (
        (33.7, 43.6, 51.0, 54.7, 62.8, 67.4, 70.9, 78.9),
        (33.0, 42.9, 50.5, 53.5, 61.9, 66.5, 70.0, 78.1),
        (33.5, 43.1, 51.3, 54.9, 62.9, 67.3, 71.3, 79.3),
    )),
    "TriviaQA acc": (("TriviaQA", "exact_match", None, 0.0, 64), (
        (4.15, 7.61, 14.0, 19.7, 31.3, 38.7, 41.8, 64.3),
        (4.19, 12.9, 20.5, 26.5, 35.9, 44.4, 51.3, 68.0),
        (6.96, 16.3, 26.5, 32.1, 42.3, 51.6, 57.5, 71.2),
    )),
    "WiC acc": (("WiC", "choice_accuracy", None, 0.5, 32), (
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (50.0, 50.3, 50.3, 49.2, 49.4, 50.3, 50.0, 48.6),
        (49.8, 55.0, 53.0, 53.0, 51.6, 53.1, 51.1, 55.3),
    )),
    "PIQA acc": (("PIQA", "choice_accuracy", None, 0.5, 50), (
        (64.6, 70.2, 72.9, 75.1, 75.6, 78.0, 78.5, 81.0),
        (64.3, 69.3, 71.8, 74.4, 74.3, 76.3, 77.8, 80.5),
        (64.3, 69.4, 72.0, 74.3, 75.4, 77.8, 79.9, 82.3),
    )),
}  # fmt: skip


def gpt3_scores() -> ScoreTable:
    """The table as scores: percentages as shares; `shots` is 0, 1, or the number of examples of "few"."""
    rows: dict[str, list[Any]] = {
        name: [] for name in ("task", "metric", "group", "shots", "score", "params", "flops", "n", "chance")
    }
    for (task, metric, n, chance, few), settings in TABLE.values():
        for shots, values in zip((0, 1, few), settings, strict=True):
            for (model, params, flops), value in zip(SIZES, values, strict=True):
                score = value if metric == "perplexity" else value / 100
                row = (task, metric, model, shots, score, params, flops, n, chance)
                for column, cell in zip(rows.values(), row, strict=True):
                    column.append(cell)
    return as_scores(rows, "gpt3")
