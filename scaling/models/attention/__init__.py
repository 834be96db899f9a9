"""Softmax attention, one call and five ways to compute it.

- `reference`: readable, the complete (L, M) matrix of scores; dropout; decoding over a cache.
- `blocks`: plain array code that forms only the blocks of scores that the mask leaves.
- `ring`: the sequence is split over devices; keys and values travel around the ring.
- `splash`: JAX's fused kernel for TPUs.
- `cudnn`: cuDNN's fused kernel for NVIDIA GPUs.
"""

from scaling.models.attention.dispatch import Choice, Implementation, attention, choices
from scaling.models.attention.reference import cached_attention

__all__ = ["Choice", "Implementation", "attention", "cached_attention", "choices"]
