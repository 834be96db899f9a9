"""Megatron-LM's published settings: Korthikanti et al. 2022, arXiv:2205.05198, table 3."""

from scaling.config.model import DecoderConfig
from scaling.estimate.layout import Layout

# heads, width, layers, tensor and pipeline ways, batch, microbatch, interleaved stages
SETTINGS = {
    "22B": (64, 6144, 48, 8, 1, 4, 4, 1),
    "175B": (96, 12288, 96, 8, 8, 64, 1, 3),
    "530B": (128, 20480, 105, 8, 35, 280, 1, 3),
    "1T": (160, 25600, 128, 8, 64, 512, 1, 1),
}


def megatron_case(name: str, sequence_parallel: bool) -> tuple[DecoderConfig, Layout]:
    """The model and layout of one setting."""
    heads, width, layers, tensor, stages, batch, micro, interleave = SETTINGS[name]
    model = DecoderConfig(vocab_size=51200, max_length=2048, n_layers=layers, d_model=width, n_heads=heads)
    layout = Layout(
        data=1,
        fsdp=1,
        tensor=tensor,
        rows=batch,
        length=2048,
        microbatches=batch // micro,
        stages=stages,
        interleave=interleave,
        sequence_parallel=sequence_parallel,
    )
    return model, layout
