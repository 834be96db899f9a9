"""Batch, learning rate and warm-up of a run that nobody has tuned, from its training compute.

DeepSeek LLM (Bi et al. 2024, arXiv:2401.02954, equation 1) fitted both to grids at 1e17 to 2e19 FLOPs and
found them right at 1e20: B = 0.2920 C^0.3271 tokens, eta = 0.3118 C^-0.1250, for AdamW with betas 0.9 and
0.95 and weight decay 0.1. Below and above they are extrapolated. The paper's C leaves the output head out;
here it is the counted training FLOPs, which moves both by a few percent, far inside their flat optimum.
"""

import math

_BATCH = (0.2920, 0.3271)
_RATE = (0.3118, -0.1250)
_MOST_TOKENS = 18_874_368  # the batch of the paper's largest model, 67B: 4,608 sequences of 4,096
_MOST_WARMUP = 2000  # steps: the paper's section 2.3
_WARMUP_SHARE = 0.05  # of a run so short that 2,000 steps would be most of it

BATCH_RULE = "Bi et al. 2024 (DeepSeek LLM, arXiv:2401.02954), equation 1: B = 0.2920 C^0.3271 tokens"
RATE_RULE = "Bi et al. 2024 (DeepSeek LLM, arXiv:2401.02954), equation 1: eta = 0.3118 C^-0.1250"


def batch_tokens(flops: float) -> float:
    """Tokens a step at a training compute in FLOPs, at most the paper's own largest."""
    return min(_BATCH[0] * flops ** _BATCH[1], float(_MOST_TOKENS))


def batch_rows(flops: float, length: int, devices: int, most_tensor: int) -> int:
    """Sequences a step: the rule's to the nearest power of two times what the devices need to share them.

    A batch is never less than a sequence for each group of `most_tensor` devices, the most that can work on
    one sequence together.
    """
    odd = devices // (devices & -devices)
    wanted = max(1.0, batch_tokens(flops) / length / odd)
    return int(max(odd * 2 ** round(math.log2(wanted)), devices // most_tensor))


def learning_rate(flops: float) -> float:
    """The peak of AdamW's learning rate, three digits."""
    return float(f"{_RATE[0] * flops ** _RATE[1]:.3g}")


def warmup_steps(steps: int) -> int:
    """2,000, at most a twentieth of the run."""
    return min(_MOST_WARMUP, max(1, round(_WARMUP_SHARE * steps)))
