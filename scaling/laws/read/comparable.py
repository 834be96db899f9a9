"""Whether the losses of points can be compared: one unit, one tokenizer, one corpus, one experiment.

A law, or an axis, has the losses of one experiment. Losses per token of different tokenizers are converted to
bits per byte if bytes per token are known; losses on different corpora, or on training and validation data,
cannot be compared. An experiment has many seeds, sizes and token budgets.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from scaling.config.record import TokenizerInfo
from scaling.laws.law import Law
from scaling.laws.points import BITS_PER_BYTE, NATS_PER_TOKEN, Points
from scaling.laws.settings import SETTINGS, plain
from scaling.runtime.errors import BadInputError

# fmt: off
# Names of columns, by their last part, whose values separate experiments wherever they vary.
CORPORA = {
    "dataset", "datasets", "data", "corpus", "traindataset", "trainingdataset", "trainingdata", "traindata",
    "evaldataset", "validationdataset", "validationset", "evalset", "testset", "mixture",
}
SPLITS = {
    "split", "evalsplit", "losssplit", "lossunit", "losstype", "objective",
}
# The same, unless each value belongs to one size or one budget, as labels do.
TREATMENTS = {
    "experiment", "experiments", "study", "series", "sweep", "paper", "optimizer", "optimiser", "opt",
    "schedule", "lrschedule", "scheduler", "hparams", "hyperparameters", "recipe", "decay",
}
TOKENIZERS = {
    "tokenizer", "tokeniser", "tokenizerhash", "vocab", "vocabsize", "vocabulary", "bytespertoken",
}
# Names whose values differ within one experiment, or do not affect the loss.
WITHIN = {
    "seed", "replicate", "repeat", "trial", "rep", "id", "runid", "hyperid", "index", "name", "run",
    "runname", "group", "label", "step", "steps", "status", "state", "final", "scheduleend", "finished",
    "notes", "note", "comment", "comments", "date", "time", "created", "started", "ended", "user", "host",
    "hostname", "url", "link", "path", "file", "device", "hardware", "gpu", "tpu", "weight", "remat",
    "seconds", "hours", "usd", "cost", "flops", "color", "marker", "commit", "gitcommit", "mesh",
}
WORDY = {"warmup"}  # settings that are also given in words, as "short": these separate experiments
# Columns that are variables of a law.
VARIABLES = {"uniquetokens", "epochs"}
# fmt: on
SAME_SIZE = 0.02  # relative difference in bytes per token between validation sets of one tokenizer
SHOWN = 4


def comparable(points: Points, force: bool = False) -> tuple[Points, tuple[str, ...]]:
    """The points with their losses in one unit, and the reasons against mixing them if `force` is set.

    If tokenizers differ and bytes per token are known, losses are converted to bits per byte, with a note.

    Raises:
        BadInputError: the losses cannot be compared; the message says why, and how to choose.
    """
    reasons: list[str] = []
    kinds = _tokenizer_of_each(points)
    if len(set(kinds)) > 1:
        if points.loss_unit == BITS_PER_BYTE:
            pass
        elif points.loss_unit == NATS_PER_TOKEN and _bytes_known(points):
            points = in_bits_per_byte(points)
        else:
            reasons.append(_mixed_tokenizers(points, kinds))
    reasons += _mixed_columns(points)
    if reasons and not force:
        raise BadInputError(reasons[0])
    return points, tuple(reasons)


def check_law(points: Points, law: Law) -> None:
    """Check that a law predicts the losses that the points have.

    Raises:
        BadInputError: their units, tokenizers or datasets are known and differ.
    """
    here, there = points.tokenizer, law.tokenizer
    differ = ""
    if law.form.target == "loss" and law.loss_unit != points.loss_unit:
        differ = f"in {law.loss_unit}, and the points in {points.loss_unit}"
    elif points.loss_unit != BITS_PER_BYTE and here and there and not _same(here, there):
        differ = f"of the tokenizer {_named(there)}, and the points of {_named(here)}"
    elif points.corpus and law.dataset and points.corpus.casefold() != law.dataset.casefold():
        differ = f"of the dataset {law.dataset}, and the points of {points.corpus}"
    if differ:
        raise BadInputError(
            f"{points.source}: the law of {law.source or 'law.json'} is {differ}: give the law of these "
            "points with --law, fit one with `scaling fit`, or use it anyway with --force"
        )


def in_bits_per_byte(points: Points) -> Points:
    """The same points with losses in bits per byte.

    Raises:
        BadInputError: bytes per token are not known for all points, or losses are not per token.
    """
    if points.loss_unit == BITS_PER_BYTE:
        return points
    if points.loss_unit != NATS_PER_TOKEN or not _bytes_known(points):
        raise BadInputError(
            f"{points.source}: losses in {points.loss_unit} cannot be converted to bits per byte: bytes per "
            "token are not known for all points; add a column bytes_per_token"
        )
    assert points.tokenizers is not None
    sizes = np.array([one.bytes_per_token for one in points.tokenizers if one is not None], np.float64)
    names = _list(list(dict.fromkeys(_named(one) for one in points.tokenizers)))
    return replace(
        points,
        loss=points.loss / math.log(2) / sizes,
        loss_unit=BITS_PER_BYTE,
        notes=(
            *points.notes,
            f"losses are in bits per byte, because tokenizers differ ({names}); "
            "a count of tokens is in the tokens of its own run",
        ),
    )


def _bytes_known(points: Points) -> bool:
    return points.tokenizers is not None and all(
        one is not None and one.bytes_per_token for one in points.tokenizers
    )


def _tokenizer_of_each(points: Points) -> list[int]:
    """(n,) an index of each point's tokenizer, equal for points that share one."""
    found: list[TokenizerInfo | None] = []
    numbers: dict[TokenizerInfo | None, int] = {}
    for one in points.tokenizers or (None,) * len(points):
        if one not in numbers:
            at = next((i for i, other in enumerate(found) if _same(one, other)), len(found))
            if at == len(found):
                found.append(one)
            numbers[one] = at
    return [numbers[one] for one in points.tokenizers or (None,) * len(points)]


def _same(a: TokenizerInfo | None, b: TokenizerInfo | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.hash is not None and b.hash is not None:
        return a.hash == b.hash
    if a.name == b.name == "bytes":
        return True
    sizes = a.bytes_per_token, b.bytes_per_token
    if sizes[0] is not None and sizes[1] is not None and abs(sizes[0] / sizes[1] - 1) > SAME_SIZE:
        return False
    if a.name != b.name:
        return False
    if None not in sizes and a.name is not None:
        return True  # a vocabulary padded for the devices encodes text in the same way
    return a.vocab_size == b.vocab_size or None in (a.vocab_size, b.vocab_size)


def _named(one: TokenizerInfo | None) -> str:
    if one is None:
        return "not named"
    words = [one.name] if one.name else []
    words += [f"vocabulary {one.vocab_size:,}"] if one.vocab_size else []
    if not words and one.bytes_per_token:
        words = [f"{one.bytes_per_token:.3g} bytes per token"]
    return " of ".join(words) or "not named"


def _mixed_tokenizers(points: Points, kinds: Sequence[int]) -> str:
    infos = points.tokenizers or (None,) * len(points)
    names = {kind: _named(infos[i]) for i, kind in reversed(list(enumerate(kinds)))}
    counts = Counter(kinds)
    each = _list([f"{names[kind]}: {counts[kind]} points" for kind in dict.fromkeys(kinds)])
    unknown = sum(one is None or not one.bytes_per_token for one in infos)
    column = next((name for name in points.columns if plain(name) in TOKENIZERS), "tokenizer")
    value = points.columns[column][0] if column in points.columns else "NAME"
    why = (
        f"bytes per token, for bits per byte, are not known for {unknown} of {len(points)} points"
        if points.loss_unit == NATS_PER_TOKEN
        else f"the unit is {points.loss_unit}"
    )
    return (
        f"{points.source}: losses per token of different tokenizers ({each}) cannot be compared; {why}: add "
        f"a column bytes_per_token, choose rows with --where {column}={_quoted(value)}, fit each with "
        f"--by {column}, or mix them with --force"
    )


def _mixed_columns(points: Points) -> Iterator[str]:
    """One line about the columns that separate the points into experiments, if any."""
    mixed: dict[str, Sequence[str]] = {}
    if points.dataset not in points.columns.values() and _divides(points, "dataset", points.dataset):
        mixed["dataset"] = points.dataset
    mixed |= {name: cells for name, cells in points.columns.items() if _divides(points, name, cells)}
    # Other columns may separate the points of one value of these.
    known = [tuple(cells[i] for cells in mixed.values()) for i in range(len(points))]
    places = _places(points, known)
    mixed |= {
        name: cells
        for name, cells in points.columns.items()
        if name not in mixed and _varies_at_one_place(points, name, cells, places)
    }
    mixed = _without_copies(mixed)
    if mixed:
        yield mixed_line(points.source, mixed)


def mixed_line(source: str, mixed: Mapping[str, Sequence[str]], what: str = "losses") -> str:
    """A message on the columns that separate rows into experiments, and on how to choose."""
    shown = list(mixed)[:SHOWN]
    each = "; ".join(
        f"{name}: {_list([f'{v or repr(v)} in {n} rows' for v, n in _counts(mixed[name])])}" for name in shown
    )
    hidden = len(mixed) - len(shown)
    each += f"; and {hidden} more column{'s' * (hidden > 1)}" if hidden else ""
    rows = Counter(zip(*(mixed[name] for name in shown), strict=True))
    largest = min(rows, key=lambda values: (-rows[values], values))
    where = ",".join(f"{name}={_quoted(value)}" for name, value in zip(shown, largest, strict=True))
    by = f"fit each with --by {shown[0]}, " if what == "losses" else ""
    return (
        f"{source}: {what} of several experiments cannot be compared ({each}); choose rows with "
        f"--where {where}, {by}or mix them with --force"
    )


def _counts(cells: Sequence[str]) -> list[tuple[str, int]]:
    """Each value with its number of rows, largest first, independent of the order of rows."""
    return sorted(Counter(cells).items(), key=lambda item: (-item[1], item[0]))


def _without_copies(mixed: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Drop config values that separate the rows as another column does: `data.source` equals `dataset`."""
    seen: set[tuple[int, ...]] = set()
    kept: dict[str, Sequence[str]] = {}
    for name, cells in mixed.items():
        order = {value: i for i, value in enumerate(dict.fromkeys(cells))}
        parts = tuple(order[value] for value in cells)
        if "." not in name or parts not in seen:
            kept[name] = cells
        seen.add(parts)
    return kept


def _divides(points: Points, name: str, cells: Sequence[str]) -> bool:
    """Whether a column has a name that separates experiments, and several values."""
    word = plain(name)
    values = [cell.casefold() for cell in cells]
    known = {value for value in values if value}
    if word in CORPORA:
        return len(set(values)) > 1
    if word in SPLITS:
        return len(known) > 1
    return word in TREATMENTS and len(known) > 1 and not _is_label(points, values)


def _is_label(points: Points, values: Sequence[str]) -> bool:
    """Whether values correspond one to one to rows, sizes, budgets, or pairs of these."""
    sizes, budgets = points.params.tolist(), points.tokens.tolist()
    rows = range(len(points))
    for keys in (rows, sizes, budgets, list(zip(sizes, budgets, strict=True)), points.groups):
        pairs = set(zip(values, keys, strict=True))
        if len(pairs) == len(set(values)) == len(set(keys)):
            return True
    return False


def _places(points: Points, known: Sequence[tuple[str, ...]]) -> list[list[int]]:
    """Sets of rows with equal numbers and `known` values whose losses differ."""
    settings = [v for v in (points.unique_tokens, points.learning_rate, points.batch_tokens) if v is not None]
    places: dict[tuple[object, ...], list[int]] = {}
    for i in range(len(points)):
        # To about one percent, because tokens of one budget are rounded to batches.
        place = np.round(100 * np.log([points.params[i], points.tokens[i]])).tolist()
        places.setdefault((*known[i], *place, *(float(v[i]) for v in settings)), []).append(i)
    return [rows for rows in places.values() if len(rows) > 1 and np.ptp(points.loss[rows]) > 0]


def _varies_at_one_place(
    points: Points, name: str, cells: Sequence[str], places: Sequence[Sequence[int]]
) -> bool:
    """Whether rows of equal numbers differ in a column whose values recur, and so separate experiments.

    Numbers do so only if they are integers that recur in many rows, as a number of experts does; numbers in
    the config of a run are settings.
    """
    word = plain(name)
    values = [cell.casefold() for cell in cells]
    known = {value for value in values if value}
    numeric = all(_is_number(value) for value in known)
    if word in TOKENIZERS | WITHIN | VARIABLES or (word in SETTINGS and (numeric or word not in WORDY)):
        return False
    if numeric and ("." in name or not all(map(_is_whole, known))):
        return False
    if len(known) < 2 or (4 if numeric else 2) * len(known) > len(values):
        return False
    return any(len({values[i] for i in rows if values[i]}) > 1 for rows in places)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_whole(text: str) -> bool:
    return float(text).is_integer()


def _quoted(value: str) -> str:
    return f"'{value}'" if re.search(r"[\s,;=]", value) else value


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
