"""Laws that papers print, by name. What a paper does not print is not made up.

Kaplan et al. 2020 is not here: their advice on sizes rests on L(N, S_min), a law of steps at the critical
batch; minimising their L(N, D) under 6ND = C would answer in their name what they did not say.
"""

from pathlib import Path

from scaling.config.errors import BadInputError
from scaling.config.record import TokenizerInfo
from scaling.config.suggest import hint, near
from scaling.estimate.loss_law import LossLaw, read_loss_law

_Z95 = 1.96  # standard errors to the ends of a 95% interval


def _within(value: float, standard_error: float) -> tuple[float, float]:
    """A 95% interval; a scale or exponent is not below zero."""
    return max(0.0, value - _Z95 * standard_error), value + _Z95 * standard_error


# Sizes of Table A9; tokens and FLOPs: 5 to 500 billion tokens (abstract), 6e18 to 3e21 FLOPs (section 3.2).
_RANGES = {"params": (44e6, 16.183e9), "tokens": (5e9, 500e9), "flops": (6e18, 3e21)}
# Rae et al. 2021 (arXiv:2112.11446), section 3.1: SentencePiece of 32,000 pieces, which Chinchilla kept but
# for its normalisation (section 4.1).
_TOKENIZER = TokenizerInfo(name="SentencePiece of Gopher and Chinchilla", vocab_size=32_000)

# Chinchilla's exponents are as the paper prints them, to two digits: at Gopher's 5.76e23 FLOPs they put the
# optimum at 32B, where the paper says 40B; the digits of its source (0.3392 and 0.2849) do give 40B.
# Both papers count all parameters: Table A9's sizes hold the embedding, tied to the head. Of a model with
# learned positions "with the output head" is that count without the table of positions, which theirs lack.
PUBLISHED: dict[str, LossLaw] = {
    "chinchilla": LossLaw(
        name="chinchilla",
        source="Hoffmann et al. 2022, arXiv:2203.15556, approach 3 (appendix D.3)",
        E=1.69,
        A=406.4,
        B=410.7,
        alpha=0.34,
        beta=0.28,
        note=(
            "the paper prints intervals of the optimum's exponents alone, and Besiroglu et al. 2024 "
            "(arXiv:2404.10102) could not reproduce this fit: chinchilla-replication is theirs"
        ),
        ranges=_RANGES,
        tokenizer=_TOKENIZER,
        dataset="MassiveText",
    ),
    "chinchilla-replication": LossLaw(
        name="chinchilla-replication",
        source="Besiroglu et al. 2024, arXiv:2404.10102, Table 1 (Chinchilla's points, read off a figure)",
        E=1.8172,
        A=482.01,
        B=2085.43,
        alpha=0.3478,
        beta=0.3658,
        # Standard errors in brackets in the paper's Table 1.
        intervals={
            "E": _within(1.8172, 0.03),
            "A": _within(482.01, 124.58),
            "B": _within(2085.43, 1293.23),
            "alpha": _within(0.3478, 0.02),
            "beta": _within(0.3658, 0.02),
        },
        level=0.95,
        ranges=_RANGES,
        tokenizer=_TOKENIZER,
        dataset="MassiveText",
    ),
}


def find_law(name: str) -> LossLaw:
    """A published law by its name, or the law in a file.

    Raises:
        BadInputError: neither, or a file that does not hold a law of parameters and tokens.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    path = Path(name)
    if path.suffix == ".json" or path.exists():
        return read_loss_law(path)
    raise BadInputError(
        f"--law {name}: {hint(name, PUBLISHED)}"
        if near(name, PUBLISHED)
        else f"--law {name}: give {', '.join(PUBLISHED)}, or the path of a law.json"
    )
