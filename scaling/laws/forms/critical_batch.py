"""The critical batch size: what a batch costs in steps and in tokens (McCandlish et al. 2018)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CriticalBatch:
    """B_crit(L) = B_star / L^(1 / alpha_B) in tokens: Kaplan et al. 2020 (arXiv:2001.08361), equation 1.4."""

    B_star: float
    alpha_B: float

    def tokens(self, loss: Any) -> Floats:
        """B_crit in tokens at a loss in nats per token."""
        return self.B_star / np.asarray(loss, float) ** (1 / self.alpha_B)

    def min_steps(self, tokens: Any, batch_tokens: Any, loss: Any) -> Floats:
        """S_min: steps to the same loss at a batch far above critical (equation 5.4).

        Args:
            tokens: trained on, steps times batch.
            batch_tokens: tokens of a step.
            loss: reached, in nats per token.
        """
        batch = np.asarray(batch_tokens, float)
        return np.asarray(tokens, float) / batch / (1 + self.tokens(loss) / batch)

    def min_flops(self, flops: Any, batch_tokens: Any, loss: Any) -> Floats:
        """C_min: compute to the same loss at a batch far below critical (equation 5.5)."""
        return np.asarray(flops, float) / (1 + np.asarray(batch_tokens, float) / self.tokens(loss))


# Appendix A, table 6; of another tokenizer and data set than yours: fit `critical-batch` where it matters.
KAPLAN_BATCH = CriticalBatch(B_star=2.1e8, alpha_B=0.21)
