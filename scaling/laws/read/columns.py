"""Which column of a table holds which field, and in which unit: by `--columns`, else by the column's name."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from scaling.laws.points import BITS_PER_BYTE, NATS_PER_TOKEN
from scaling.laws.read.cells import count_unit, finite_positive, flops_unit
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint

COUNTED = ("params", "tokens", "unique_tokens", "batch_tokens", "min_steps")
BITS_PER_TOKEN = "bits per token"
PERPLEXITY = "perplexity"
NATS_PER_BYTE = "nats per byte"
BITS_PER_CHARACTER = "bits per character"
# Names in lower case without punctuation, best first: the first list that matches a column decides the field.
SPELLINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "params": (
        ("params", "parameters"),
        ("N", "param", "nparams", "nparam", "numparams", "numparameters", "nparameters", "paramcount",
         "paramscount", "parametercount", "parameterscount", "totalparams", "totalparameters", "modelparams",
         "modelparameters", "modelsize", "paramstotal", "numberofparameters", "numberofparams"),
    ),
    "tokens": (
        ("tokens",),
        ("D", "ntokens", "numtokens", "tokencount", "tokenscount", "totaltokens", "tokenstotal", "tokensseen",
         "seentokens", "traintokens", "trainingtokens", "trainedtokens", "tokenstrained", "tokensprocessed",
         "numberoftokens", "trainingtokensseen", "datatokens", "numtokensseen", "tokensconsumed"),
    ),
    "tokens_per_param": (("tokensperparam", "tokensperparameter", "tokensparam", "tokmult", "DN"),),
    "flops": (
        ("flops",),
        ("C", "flop", "compute", "trainingflops", "trainflops", "totalflops", "flopstotal", "trainingcompute",
         "traincompute", "totalcompute", "computeflops", "modelflops", "trainingflop", "numflops", "nflops"),
    ),
    "loss": (
        ("loss",),
        ("valloss", "validationloss", "evalloss", "validloss", "lossval", "lossvalidation", "losseval",
         "finalvalloss", "finalvalidationloss", "heldoutloss", "devloss", "testloss", "losstest", "L"),
        ("finalloss", "minloss", "bestloss", "lmloss", "celoss", "crossentropy", "crossentropyloss", "nll"),
        ("bitsperbyte", "bpb", "lossbpb", "valbpb", "validationbpb", "valbitsperbyte", "evalbpb",
         "validationbitsperbyte"),
        ("perplexity", "ppl", "lossppl", "valppl", "valperplexity", "validationppl", "validationperplexity",
         "evalppl", "evalperplexity", "testppl", "testperplexity"),
        ("trainloss", "trainingloss", "losstrain", "losstraining", "finaltrainloss"),
        ("trainppl", "trainperplexity", "trainingperplexity", "trainbpb"),
    ),
    "dataset": (("dataset",), ("corpus", "trainset", "traindataset", "trainingdataset", "trainingdata")),
    "name": (("name",), ("runname", "run", "label")),
    "final": (("final",), ("scheduleend", "status", "runstatus", "state", "runstate")),
    "seed": (("seed",), ("randomseed", "trainseed")),
    "tokenizer": (("tokenizer", "tokeniser"),),
    "vocab_size": (("vocabsize", "vocab", "vocabularysize", "nvocab"),),
    "bytes_per_token": (("bytespertoken",),),
    "bits_per_byte": (("bitsperbyte", "bpb", "valbpb", "validationbpb", "evalbpb", "valbitsperbyte"),),
}  # fmt: skip
WORDED = ("dataset", "name", "final", "seed", "tokenizer")  # fields of text
_LOSS_UNITS = {
    **dict.fromkeys(("nats", "nat", "natspertoken", "natstoken", "nats per tok"), NATS_PER_TOKEN),
    **dict.fromkeys(("bits", "bit", "bitspertoken", "bitstoken"), BITS_PER_TOKEN),
    **dict.fromkeys(("bitsperbyte", "bitsbyte", "bpb"), BITS_PER_BYTE),
    **dict.fromkeys(("natsperbyte", "natsbyte"), NATS_PER_BYTE),
    **dict.fromkeys(("bpc", "bitsperchar", "bitsperchararacter", "bitschar"), BITS_PER_CHARACTER),
    **dict.fromkeys(("ppl", "perplexity"), PERPLEXITY),
}
_TRAINING = ("train", "training")


@dataclass(frozen=True)
class Header:
    """The parts of a column's name: `word`, in lower case without punctuation (but N, D, C, L), and unit.

    Numbers are multiplied by `factor`, None if the name has no unit; `unit` is its text.
    """

    word: str
    unit: str | None = None
    factor: float | None = None


def read_header(name: str, field: str) -> Header:
    """The parts of a column's name, read as the name of a field and its unit.

    `params (M)`, `tokens_B`, `N [millions]`, `FLOPs (1e18)`, `total_gflops`, `loss (bits/byte)`.
    """
    text = name.strip()
    bracket = re.search(r"[(\[{]([^)\]}]*)[)\]}]\s*$", text)
    if bracket and bracket.start():
        inside, before = bracket[1].strip(), text[: bracket.start()].strip()
        factor = _factor(inside, field)
        return Header(_word(before), inside if factor is not None else None, factor)
    words = _words(text)
    for n in (1, 2):
        # `n_params` and `training_flops` end in the thing counted, not in a unit.
        if len(words) > n and (factor := _factor(" ".join(words[-n:]), field)) not in (None, 1.0):
            rest = words[:-n]
            if rest[-1] == "in" and len(rest) > 1:
                rest = rest[:-1]
            # `total_gflops` counts FLOPs, and so does `flops_1e18`.
            named = "".join(rest)
            if (
                field == "flops"
                and n == 1
                and _is_named_for_flops(words[-1])
                and named not in _known("flops")
            ):
                named += "flops"
            return Header(_single(named, rest), words[-1] if n == 1 else " ".join(words[-n:]), factor)
    if field == "flops" and (factor := flops_unit(text)) is not None and re.search(r"flop|day", text, re.I):
        return Header("flops", text, factor) if factor != 1 else Header(_word(text))
    if field in COUNTED and len(text) > 3 and (factor := count_unit(text)) not in (None, 1.0):
        return Header(_word(text), text, factor)  # a column of sizes named `millions`
    return Header(_word(text))


def _is_named_for_flops(word: str) -> bool:
    return flops_unit(word) is not None and bool(re.search(r"flops?$", word.casefold()))


def _factor(text: str, field: str) -> float | None:
    if field in COUNTED:
        return count_unit(text)
    if field == "flops":
        return flops_unit(text)
    if field == "error":
        return 0.01 if text.strip().casefold() in ("%", "percent", "pct") else None
    return None


def loss_unit(name: str) -> str:
    """The unit in the name of a column of losses; nats per token if it has none."""
    text = name.strip()
    bracket = re.search(r"[(\[{]([^)\]}]*)[)\]}]\s*$", text)
    parts = [bracket[1]] if bracket else []
    parts += [re.split(r"[./]", text)[-1], text]
    for part in parts:
        words = _words(part)
        for n in (len(words), 3, 2, 1):
            for chosen in (words[-n:], words[:n]):
                unit = _LOSS_UNITS.get("".join(w for w in chosen).casefold())
                if unit is not None:
                    return unit
    return NATS_PER_TOKEN


def is_training_loss(name: str) -> bool:
    """Whether the name of a column of losses says that they are training losses."""
    return any(word.casefold() in _TRAINING for word in _words(name))


def _words(name: str) -> list[str]:
    """The words of a name without punctuation: two for `nParams`, `n_params`, `n-params` and `n params`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^0-9A-Za-z%^*+]+", spaced) if word]


def _word(text: str) -> str:
    words = _words(text)
    return _single("".join(words), words)


def _single(joined: str, words: Sequence[str]) -> str:
    """The name in lower case, except for the symbols N, D, C and L."""
    return joined if len(words) == 1 and joined in ("N", "D", "C", "L") else joined.casefold()


def _known(field: str) -> set[str]:
    return {word for tier in SPELLINGS[field] for word in tier}


@dataclass(frozen=True)
class Found:
    """The column index of each field, and the candidates of each field that is ambiguous."""

    place: dict[str, int]
    unclear: dict[str, list[str]]


def find_columns(header: Sequence[str], given: Mapping[str, int], numeric: Collection[int]) -> Found:
    """The columns of the fields that `given` does not name: by exact names, then by `SPELLINGS`.

    Fields of numbers are searched for only in the `numeric` columns.
    """
    place, unclear = dict(given), {}
    for field, tiers in SPELLINGS.items():
        if field in place:
            continue
        taken = set(given.values())
        candidates = {
            i: words
            for i, name in enumerate(header)
            if i not in taken
            and name
            and (i in numeric or field in WORDED or name == field)
            and (words := _spellings_of(name, field))
        }
        exact = [i for i in candidates if header[i] == field]
        for tier in (exact, *tiers):
            meant = tier if tier is exact else [i for i, words in candidates.items() if words & set(tier)]
            if len(meant) == 1:
                place[field] = meant[0]
            if len(meant) > 1:
                unclear[field] = [header[i] for i in meant]
            if meant:
                break
    return Found(place, unclear)


def _spellings_of(name: str, field: str) -> set[str]:
    """The words under which a column may be known: its name with and without a leading path."""
    names = {name, re.split(r"[./](?![^(\[]*[)\]])", name)[-1] if "/" in name or "." in name else name}
    words = {read_header(one, field).word for one in names}
    return words | {_word(name)} if name.isidentifier() else words


REQUIRED = ("params", "tokens", "loss")
OPTIONAL = ("unique_tokens", "error", "learning_rate", "batch_tokens", "min_steps")
LOSSES = {"perplexity": PERPLEXITY, "bits_per_byte": BITS_PER_BYTE}  # fields that also give a loss
TOKENIZER = ("vocab_size", "bytes_per_token", "bits_per_byte")
NUMBERS = (*REQUIRED, "flops", "tokens_per_param", "weight", *OPTIONAL, *TOKENIZER)
NAMES = ("dataset", "group", "name", "seed", "final", "tokenizer")
FIELDS = (*NUMBERS, "perplexity", *NAMES)


def parse_columns(text: str) -> dict[str, str]:
    """`params=N,tokens=D*1e9` as {"params": "N", "tokens": "D*1e9"}.

    Raises:
        BadInputError: a part is not FIELD=COLUMN, or a field is unknown or named twice.
    """
    mapping = parse_assignments(text, FIELDS, "params=N,tokens=D")
    check_fields(mapping)
    return mapping


def parse_assignments(text: str, fields: Collection[str], example: str) -> dict[str, str]:
    """`FIELD=COLUMN,...` as a mapping; `example` is for the message.

    Raises:
        BadInputError: a part is not FIELD=COLUMN, or a field is unknown or named twice.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        field, equals, column = (p.strip() for p in part.partition("="))
        if not (equals and field and column):
            raise BadInputError(f"columns: {part!r} is not FIELD=COLUMN, for example {example}")
        if field not in fields:
            raise BadInputError(f"columns: {field!r} is not a field; {hint(field, fields)}")
        if field in mapping:
            raise BadInputError(f"columns: {field} is named twice ({mapping[field]!r} and {column!r})")
        mapping[field] = column
    return mapping


def check_fields(mapping: Mapping[str, str]) -> None:
    """Raises BadInputError where a field is not known, or two give the loss."""
    for field in mapping:
        if field not in FIELDS:
            raise BadInputError(f"columns: {field!r} is not a field; {hint(field, FIELDS)}")
    for field in ("loss", "bits_per_byte"):
        if field in mapping and "perplexity" in mapping:
            raise BadInputError(f"columns: {field} and perplexity both give the loss; name one of them")


@dataclass(frozen=True)
class Columns:
    """The column of each field, the factor of its unit, and notes on what was converted or renamed."""

    place: dict[str, int]
    factors: dict[str, float]
    unit: str  # of the loss column
    notes: tuple[str, ...]


def columns_of(
    where: str, header: list[str], mapping: Mapping[str, str], body: Sequence[Sequence[str]]
) -> Columns:
    """The column of each field, by the mapping and by name; `body` is the cells of each row.

    Raises:
        BadInputError: a column is missing, named twice or ambiguous; the message starts with `where`.
    """
    for name in header:
        if name and header.count(name) > 1:
            raise BadInputError(
                f"{where}: column {name!r} appears twice in the header; name each column once"
            )
    given: dict[str, int] = {}
    factors: dict[str, float] = {}
    for field, column in mapping.items():
        name, factor = _with_factor(column, header, field)
        if name not in header:
            raise BadInputError(
                f"{where}: columns: {field}={column}: there is no column {name!r}; "
                f"the header has {_list(header)}"
            )
        # A loss given both in nats per token and in bits per byte yields the bytes per token.
        instead = field in LOSSES and "loss" not in mapping
        given["loss" if instead else field] = header.index(name)
        if factor is not None:
            factors[field] = factor
    found = find_columns(header, given, _numeric(header, body))
    folded = {cell.casefold().replace(" ", "_").replace("-", "_"): i for i, cell in enumerate(header)}
    place = dict(found.place)
    if "loss" in place and place.get("bits_per_byte") == place["loss"]:
        del place["bits_per_byte"]
    for field in FIELDS:
        if field not in place and field in folded and field not in LOSSES:
            place[field] = folded[field]
    _check_place(where, header, place, found.unclear, mapping)
    notes = []
    renamed = [
        f"{field} = {header[place[field]]}"
        for field in (*REQUIRED, "flops")
        if field in place and field not in mapping and header[place[field]] != field
    ]
    if renamed:
        notes.append(f"columns by their names: {', '.join(renamed)}")
    for field in NUMBERS:
        if field not in place:
            continue
        read = read_header(header[place[field]], field)
        if field not in factors and read.factor is not None and read.factor != 1.0:
            factors[field] = read.factor
            notes.append(f"{field}: column {header[place[field]]} is read in {read.unit} (x {read.factor:g})")
        elif field in factors:
            notes.append(f"{field}: column {header[place[field]]} is multiplied by {factors[field]:g}")
    unit = None if "loss" in mapping else next((u for field, u in LOSSES.items() if field in mapping), None)
    return Columns(place, factors, unit or loss_unit(header[place["loss"]]), tuple(notes))


def _numeric(header: Sequence[str], body: Sequence[Sequence[str]]) -> set[int]:
    """The columns in which at least half of the cells that are not empty start like numbers."""
    found = set()
    for i in range(len(header)):
        cells = [cells[i].strip() for cells in body[:1000] if len(cells) > i and cells[i].strip()]
        if 2 * sum(cell[0].isdecimal() or cell[0] in "+-.," for cell in cells) >= len(cells):
            found.add(i)
    return found


def _with_factor(column: str, header: Sequence[str], field: str) -> tuple[str, float | None]:
    """`D*1e9` or `D*B` as the column D and its factor, unless a column has that exact name."""
    name, times, unit = column.rpartition("*")
    if column in header or not times:
        return column, None
    factor = flops_unit(unit) if field == "flops" else count_unit(unit)
    if factor is None:
        try:
            factor = float(unit)
        except ValueError:
            factor = math.nan
    if not finite_positive(factor):
        raise BadInputError(
            f"columns: {field}={column}: {unit!r} is not a factor; give COLUMN*1e9 or COLUMN*M (k, M, B, T)"
        )
    return name.strip(), factor


def _check_place(
    where: str,
    header: list[str],
    place: Mapping[str, int],
    unclear: Mapping[str, Sequence[str]],
    mapping: Mapping[str, str],
) -> None:
    derived = "flops" in place or "tokens_per_param" in place
    for field in REQUIRED:
        if field in unclear and not (field == "tokens" and derived):
            raise BadInputError(
                f"{where}: {field} could be {' or '.join(map(repr, unclear[field]))}; "
                f"name one: --columns {field}={unclear[field][0]}"
            )
    missing = [f for f in REQUIRED if f not in place and not (f == "tokens" and derived)]
    if missing:
        advice = (
            "are cells separated by commas, semicolons or tabs?"
            if len(header) == 1
            else f"or name it: --columns {missing[0]}=..."
        )
        also = " (or 'flops', for tokens)" if "tokens" in missing else ""
        raise BadInputError(
            f"{where}: no column {' or '.join(map(repr, missing))}{also} in the header, which has "
            f"{_list(header)}; add it, {advice}"
        )
    shared = [f for f in place if f not in NAMES and list(place.values()).count(place[f]) > 1]
    if len(shared) > 1:
        raise BadInputError(
            f"{where}: columns: {' and '.join(shared)} are read from one column; give each its own"
        )


def _list(header: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in header[:12])
    return shown + (f" and {len(header) - 12} more" if len(header) > 12 else "")
