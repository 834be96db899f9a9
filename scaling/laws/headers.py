"""Which column of a table is what, and in which unit: `n_params`, `Tokens (B)`, `total_gflops`."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from scaling.laws.cells import count_unit, flops_unit

COUNTED = ("params", "tokens", "unique_tokens", "batch_tokens", "min_steps")
NATS, BITS, PERPLEXITY, NATS_PER_BYTE, BITS_PER_BYTE, BITS_PER_CHAR = (
    "nats per token",
    "bits per token",
    "perplexity",
    "nats per byte",
    "bits per byte",
    "bits per character",
)
# Names in lower case without marks, best first: of each field the first list that has a column decides.
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
WORDED = ("dataset", "name", "final", "seed", "tokenizer")  # fields of words
_LOSS_UNITS = {
    **dict.fromkeys(("nats", "nat", "natspertoken", "natstoken", "nats per tok"), NATS),
    **dict.fromkeys(("bits", "bit", "bitspertoken", "bitstoken"), BITS),
    **dict.fromkeys(("bitsperbyte", "bitsbyte", "bpb"), BITS_PER_BYTE),
    **dict.fromkeys(("natsperbyte", "natsbyte"), NATS_PER_BYTE),
    **dict.fromkeys(("bpc", "bitsperchar", "bitsperchararacter", "bitschar"), BITS_PER_CHAR),
    **dict.fromkeys(("ppl", "perplexity"), PERPLEXITY),
}
_TRAINING = ("train", "training")


@dataclass(frozen=True)
class Header:
    """A column's name taken apart: `word` names it, in lower case without marks but for N, D, C, L.

    `factor` is what its numbers are multiplied by, None where the name says nothing; `unit` is its words.
    """

    word: str
    unit: str | None = None
    factor: float | None = None


def read_header(name: str, field: str) -> Header:
    """The name of a column as that of a field, whose units it may give.

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
        # `n_params` and `training_flops` end in what they count, not in a unit.
        if len(words) > n and (factor := _factor(" ".join(words[-n:]), field)) not in (None, 1.0):
            rest = words[:-n]
            if rest[-1] == "in" and len(rest) > 1:
                rest = rest[:-1]
            # `total_gflops` is a count of FLOPs, and so is `flops_1e18`.
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
        return Header(_word(text), text, factor)  # a column of sizes that is called `millions`
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
    """The unit that a column of losses names; nats per token where it names none."""
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
    return NATS


def is_training_loss(name: str) -> bool:
    """Whether a column of losses says that they are those of training."""
    return any(word.casefold() in _TRAINING for word in _words(name))


def _words(name: str) -> list[str]:
    """`nParams`, `n_params`, `n-params` and `n params` as their two words; marks such as # are left out."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^0-9A-Za-z%^*+]+", spaced) if word]


def _word(text: str) -> str:
    words = _words(text)
    return _single("".join(words), words)


def _single(joined: str, words: Sequence[str]) -> str:
    """One capital letter is the field's symbol, and no other letter is."""
    return joined if len(words) == 1 and joined in ("N", "D", "C", "L") else joined.casefold()


def _known(field: str) -> set[str]:
    return {word for tier in SPELLINGS[field] for word in tier}


@dataclass(frozen=True)
class Found:
    """Where fields are: column numbers by field, and by field the columns among which none can be chosen."""

    place: dict[str, int]
    unclear: dict[str, list[str]]


def find_columns(header: Sequence[str], given: Mapping[str, int], numeric: Collection[int]) -> Found:
    """The columns of the fields that `given` does not name: by exact names, then by `SPELLINGS`.

    `numeric` are the columns of numbers, among which fields of numbers are looked for.
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
    """The words that a column's name may be known by: as it is, and without the path before it."""
    names = {name, re.split(r"[./](?![^(\[]*[)\]])", name)[-1] if "/" in name or "." in name else name}
    words = {read_header(one, field).word for one in names}
    return words | {_word(name)} if name.isidentifier() else words
