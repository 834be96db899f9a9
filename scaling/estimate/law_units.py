"""What a law's numbers count, and whether they hold for a model of another tokenizer.

Nats per token and tokens are of one tokenizer: a law of bytes says nothing of a model of 50,257 pieces until
both are put in bytes. With b the bytes of a token, D tokens of the model are D b_model / b_law tokens of the
law, and its nats per token times b_model / b_law are those of the model: the nats per byte stay.
"""

import dataclasses

from scaling.config.errors import BadInputError
from scaling.estimate.loss_law import NATS_PER_TOKEN, LossLaw
from scaling.estimate.shapes import VOCABULARY, padded_vocabulary

_SAME = 0.02  # relative difference of bytes per token within one tokenizer, between texts


@dataclasses.dataclass(frozen=True)
class Travelled:
    """A law in the tokens of a model, and the pieces of the model's tokenizer."""

    law: LossLaw
    vocab_size: int
    notes: tuple[str, ...]


def for_model(
    law: LossLaw, vocab_size: int | None, bytes_per_token: float | None, force: bool = False
) -> Travelled:
    """The law for a model whose tokenizer has so many pieces and bytes per token; the law's where not given.

    Raises:
        BadInputError: the tokenizers differ and a number of bytes is missing to convert by, unless forced.
    """
    theirs = law.tokenizer
    known = theirs.vocab_size if theirs else None
    bytes_of_law = theirs.bytes_per_token if theirs else None
    if law.unit != NATS_PER_TOKEN:
        return Travelled(
            law,
            vocab_size or known or VOCABULARY,
            (f"the law is in {law.unit}: the loss is the same for any tokenizer, its tokens are not",),
        )
    same = vocab_size is None or known is None or _same_vocabulary(vocab_size, known)
    size = known if known is not None and (vocab_size is None or same) else vocab_size or VOCABULARY
    if same and bytes_per_token and bytes_of_law:
        same = abs(bytes_per_token / bytes_of_law - 1) <= _SAME
    if known is None and bytes_of_law is None:
        note = (
            "the law does not name its tokenizer: its loss and tokens are those of the tokenizer of its "
            f"runs, which must be the one of this model ({size:,} pieces)"
        )
        return Travelled(law, size, (note,))
    if same:
        return Travelled(law, size, ())
    if bytes_of_law and bytes_per_token:
        ratio = bytes_per_token / bytes_of_law
        note = (
            f"converted from the law's tokenizer ({bytes_of_law:.3g} bytes per token) to the model's "
            f"({bytes_per_token:.3g}): nats per byte are taken to be equal"
        )
        return Travelled(converted(law, ratio), size, (note,))
    if force:
        note = (
            f"forced: the law is of a tokenizer of {_pieces(known)} and the model has {size:,}; the loss is "
            "not that of this model"
        )
        return Travelled(law, size, (note,))
    remedies = ["leave --vocab-size out", "fit a law to runs of your tokenizer"]
    if bytes_of_law:
        remedies.insert(0, "give --bytes-per-token of your tokenizer")
    raise BadInputError(
        f"--vocab-size {size}: the law {law.name} is in {law.unit} of a tokenizer of {_pieces(known)}, and "
        f"another tokenizer's losses are other numbers: {', '.join(remedies)}, or plan all the same with "
        "--force"
    )


def _pieces(count: int | None) -> str:
    return "unknown size" if count is None else f"{count:,} pieces"


def _same_vocabulary(one: int, other: int) -> bool:
    """Equal, or equal once padded to rows that devices split."""
    return one == other or padded_vocabulary(one) == padded_vocabulary(other)


def converted(law: LossLaw, ratio: float) -> LossLaw:
    """The law in tokens that hold `ratio` times the bytes of its own: L'(N, D) = ratio L(N, ratio D)."""

    def scaled(row: tuple[float, ...]) -> tuple[float, float, float, float, float]:
        E, A, B, alpha, beta = row
        return ratio * E, ratio * A, ratio ** (1 - beta) * B, alpha, beta

    factors = {"E": ratio, "A": ratio, "B": ratio ** (1 - law.beta)}
    E, A, B, _, _ = scaled((law.E, law.A, law.B, law.alpha, law.beta))
    ranges = {
        name: (low / ratio, high / ratio) if name == "tokens" else (low, high)
        for name, (low, high) in law.ranges.items()
    }
    if "flops" in ranges:
        ranges["flops"] = (ranges["flops"][0] / ratio, ranges["flops"][1] / ratio)
    return law.model_copy(
        update={
            "E": E,
            "A": A,
            "B": B,
            "draws": tuple(scaled(row) for row in law.draws),
            "intervals": {
                name: (low * factors.get(name, 1.0), high * factors.get(name, 1.0))
                for name, (low, high) in law.intervals.items()
            },
            "ranges": ranges,
        }
    )
