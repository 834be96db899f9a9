"""Layer shapes for a number of parameters: decoders that a device multiplies and shards well.

Width grows in steps that split over many devices: 128 (the side of a TPU's matrix unit, and its lanes) up to
1,024, then 256, 512 and 1,024. Width over depth follows the published families: GPT-3 has 64 at 125M and 128
from 6.7B on (Brown et al. 2020, Table 2.1), Chinchilla's fifty shapes run from 64 at 44M to about 110 at 16B
(Hoffmann et al. 2022, Table A9). In between a power law joins the two ends; the loss hardly depends on it
over a factor of several (Kaplan et al. 2020, figure 5), the size does. Heads have 64 up to a width of 1,024,
as both families, and 128 above.
"""

import dataclasses
import math
from collections.abc import Iterator
from functools import cache

from scaling.config.model import DecoderConfig
from scaling.config.record import ParameterCounts
from scaling.estimate.loss_law import Counting
from scaling.estimate.parameters import count_parameters

VOCABULARY = 50257  # pieces of GPT-2 and GPT-3
_VOCABULARY_STEP = 128  # so that it splits over devices and fills lanes: 50,257 becomes 50,304
_WIDE_HEADS = 1024  # widths above have heads of 128
_STEPS = ((1024, 128), (2048, 256), (4096, 512), (65536, 1024))  # (widths up to, in steps of)
_NEAR = 0.03  # of the target that a count may lie off
_ASPECT = (64.0, 128.0)  # width over depth at the two sizes below
_AT = (125e6, 6.7e9)
_STRETCH = 2.0  # times off that aspect that a shape may be
_MOST_LAYERS = 400


@dataclasses.dataclass(frozen=True)
class Sizing:
    """What every candidate of a plan shares."""

    vocab_size: int
    length: int
    counts: Counting = "non_embedding_with_head"


@dataclasses.dataclass(frozen=True)
class Shape:
    """A decoder's width and depth."""

    width: int
    depth: int

    @property
    def heads(self) -> int:
        """Heads of 64 up to a width of 1,024, of 128 above."""
        return self.width // (64 if self.width <= _WIDE_HEADS else 128)


def padded_vocabulary(size: int) -> int:
    """The size rounded up to whole multiples of 128; the rows too many are never a target."""
    return -(-size // _VOCABULARY_STEP) * _VOCABULARY_STEP


def aspect(params: float) -> float:
    """Width over depth that the families have at a size."""
    (small, large), (first, last) = _ASPECT, _AT
    share = math.log(params / first) / math.log(last / first)
    return small * (large / small) ** min(1.0, max(0.0, share))


def decoder(shape: Shape, sizing: Sizing, remat: str = "none") -> DecoderConfig:
    """The model of a shape: pre-norm, learned positions, tied head, no dropout, bfloat16 computation."""
    return DecoderConfig(
        name=f"decoder-d{shape.width}-l{shape.depth}",
        vocab_size=sizing.vocab_size,
        max_length=sizing.length,
        n_layers=shape.depth,
        d_model=shape.width,
        n_heads=shape.heads,
        d_head=shape.width // shape.heads,
        d_ff=4 * shape.width,
        positions="learned",
        dropout=0.0,
        compute_dtype="bfloat16",
        scan_layers=True,
        remat=remat,  # type: ignore[arg-type]
    )


def counted(counts: ParameterCounts, kind: Counting) -> int:
    """One of the three N."""
    return int(getattr(counts, kind))


@cache
def _affine(width: int, sizing: Sizing) -> tuple[int, int]:
    """(outside, a layer): a count is exactly affine in depth, so two counts give it at every depth."""
    one, two = (
        counted(count_parameters(decoder(Shape(width, depth), sizing)), sizing.counts) for depth in (1, 2)
    )
    return 2 * one - two, two - one


def size_of(shape: Shape, sizing: Sizing) -> int:
    """N of a shape, in the sizing's counting."""
    outside, layer = _affine(shape.width, sizing)
    return outside + shape.depth * layer


def _widths() -> Iterator[int]:
    width = 0
    for most, step in _STEPS:
        while width < most:
            width += step
            yield width


def smallest(sizing: Sizing) -> int:
    """N of the smallest shape there is."""
    return size_of(Shape(128, 2), sizing)


def shape_for(params: float, sizing: Sizing) -> Shape:
    """The shape whose N is near `params`: within 3% the one whose aspect is best, else the nearest N."""
    wanted = aspect(params)
    near: list[tuple[float, Shape]] = []
    others: list[tuple[float, Shape]] = []
    for width in _widths():
        outside, layer = _affine(width, sizing)
        if outside + 2 * layer > 1.1 * params and others:
            break
        depth = min(_MOST_LAYERS, max(2, round((params - outside) / layer)))
        shape = Shape(width, depth)
        off = abs(math.log((outside + depth * layer) / params))
        stretch = abs(math.log(width / depth / wanted))
        others.append((off + 0.1 * stretch, shape))
        if off <= _NEAR and stretch <= math.log(_STRETCH):
            near.append((stretch + 4 * off, shape))
    return min(near or others, key=lambda scored: scored[0])[1]
