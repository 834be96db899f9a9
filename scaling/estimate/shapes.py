"""What a plan trains: layer shapes for a number of parameters, and the rules for batch and learning rate.

Shapes are decoders that a device multiplies and shards well. Width grows in steps that split over many
devices: 128 (the side of a TPU's matrix unit, and its lanes) up to 1,024, then 256, 512 and 1,024. Width
over depth follows the published families: GPT-3 has 64 at 125M and 128 from 6.7B on (Brown et al. 2020, Table
2.1), Chinchilla's fifty shapes range from 64 at 44M to about 110 at 16B (Hoffmann et al. 2022, Table A9). A
power law joins the two ends; the loss hardly depends on the aspect ratio over a factor of several (Kaplan et
al. 2020, figure 5). Heads are 64 wide up to a model width of 1,024, as in both families, and 128 above.

Batch and learning rate are those of DeepSeek LLM (Bi et al. 2024, arXiv:2401.02954, equation 1), fitted to
grids at 1e17 to 2e19 FLOPs and confirmed at 1e20, for AdamW with betas 0.9 and 0.95 and weight decay 0.1;
beyond that range they are extrapolated. The paper's C leaves the output head out; here it is the counted
training FLOPs, which moves both by a few percent, far inside their flat optimum.
"""

import dataclasses
import math
from collections.abc import Iterator
from functools import cache

from scaling.config.model import DecoderConfig
from scaling.config.record import ParamCounting, ParameterCounts
from scaling.estimate.counts import count_parameters

VOCABULARY = 50257  # of GPT-2 and GPT-3
_VOCABULARY_STEP = 128  # so that it splits over devices and fills lanes: 50,257 becomes 50,304
_WIDE_HEADS = 1024  # larger widths have heads of 128
_STEPS = ((1024, 128), (2048, 256), (4096, 512), (65536, 1024))  # (widths up to, in steps of)
_NEAR = 0.03  # relative distance of a count from its target
_ASPECT = (64.0, 128.0)  # width over depth at the two sizes below
_AT = (125e6, 6.7e9)
_STRETCH = 2.0  # most that a shape's aspect ratio is off that, as a factor
_MOST_LAYERS = 400

_BATCH = (0.2920, 0.3271)
_RATE = (0.3118, -0.1250)
_MOST_TOKENS = 18_874_368  # the batch of the paper's largest model, 67B: 4,608 sequences of 4,096
_MOST_WARMUP = 2000  # steps: the paper's section 2.3
_WARMUP_SHARE = 0.05  # of a run so short that 2,000 steps would be most of it

BATCH_RULE = "Bi et al. 2024 (DeepSeek LLM, arXiv:2401.02954), equation 1: B = 0.2920 C^0.3271 tokens"
RATE_RULE = "Bi et al. 2024 (DeepSeek LLM, arXiv:2401.02954), equation 1: eta = 0.3118 C^-0.1250"


@dataclasses.dataclass(frozen=True)
class Sizing:
    """What every candidate of a plan shares."""

    vocab_size: int
    length: int
    counts: ParamCounting = "non_embedding_with_head"


@dataclasses.dataclass(frozen=True)
class DecoderShape:
    """A decoder's width and depth."""

    width: int
    depth: int

    @property
    def heads(self) -> int:
        """Heads of 64 up to a width of 1,024, of 128 above."""
        return self.width // (64 if self.width <= _WIDE_HEADS else 128)


def padded_vocabulary(size: int) -> int:
    """The size rounded up to a multiple of 128; the rows added are never a target."""
    return -(-size // _VOCABULARY_STEP) * _VOCABULARY_STEP


def aspect(params: float) -> float:
    """Width over depth of the published families at a size."""
    (small, large), (first, last) = _ASPECT, _AT
    share = math.log(params / first) / math.log(last / first)
    return small * (large / small) ** min(1.0, max(0.0, share))


def decoder(shape: DecoderShape, sizing: Sizing, remat: str = "none") -> DecoderConfig:
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


def counted(counts: ParameterCounts, kind: ParamCounting) -> int:
    """One of the three N."""
    return int(getattr(counts, kind))


@cache
def _affine(width: int, sizing: Sizing) -> tuple[int, int]:
    """(outside, per layer): a count is exactly affine in depth, so two counts give it at every depth."""
    one, two = (
        counted(count_parameters(decoder(DecoderShape(width, depth), sizing)), sizing.counts)
        for depth in (1, 2)
    )
    return 2 * one - two, two - one


def size_of(shape: DecoderShape, sizing: Sizing) -> int:
    """N of a shape, in the counting of `sizing`."""
    outside, layer = _affine(shape.width, sizing)
    return outside + shape.depth * layer


def _widths() -> Iterator[int]:
    width = 0
    for most, step in _STEPS:
        while width < most:
            width += step
            yield width


def smallest(sizing: Sizing) -> int:
    """N of the smallest shape."""
    return size_of(DecoderShape(128, 2), sizing)


def shape_for(params: float, sizing: Sizing) -> DecoderShape:
    """The shape whose N is near `params`: within 3% the best aspect ratio, else the nearest N."""
    wanted = aspect(params)
    near: list[tuple[float, DecoderShape]] = []
    others: list[tuple[float, DecoderShape]] = []
    for width in _widths():
        outside, layer = _affine(width, sizing)
        if outside + 2 * layer > 1.1 * params and others:
            break
        depth = min(_MOST_LAYERS, max(2, round((params - outside) / layer)))
        shape = DecoderShape(width, depth)
        off = abs(math.log((outside + depth * layer) / params))
        stretch = abs(math.log(width / depth / wanted))
        others.append((off + 0.1 * stretch, shape))
        if off <= _NEAR and stretch <= math.log(_STRETCH):
            near.append((stretch + 4 * off, shape))
    return min(near or others, key=lambda scored: scored[0])[1]


def batch_tokens(flops: float) -> float:
    """Tokens per step at a training compute in FLOPs, at most the paper's own largest."""
    return min(_BATCH[0] * flops ** _BATCH[1], float(_MOST_TOKENS))


def batch_rows(flops: float, length: int, devices: int, most_tensor: int) -> int:
    """Sequences per step: the rule's, to the nearest power of two times the odd factor of the devices.

    At least one sequence for each group of `most_tensor` devices, the most that can work on one sequence
    together.
    """
    odd = devices // (devices & -devices)
    wanted = max(1.0, batch_tokens(flops) / length / odd)
    return int(max(odd * 2 ** round(math.log2(wanted)), devices // most_tensor))


def learning_rate(flops: float) -> float:
    """The peak learning rate of AdamW, to three digits."""
    return float(f"{_RATE[0] * flops ** _RATE[1]:.3g}")


def warmup_steps(steps: int) -> int:
    """Warm-up steps: 2,000, at most a twentieth of the run."""
    return min(_MOST_WARMUP, max(1, round(_WARMUP_SHARE * steps)))
