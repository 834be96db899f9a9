"""T5 in the Hugging Face layout: v1.0 (ReLU, tied head) and v1.1 (gated GELU, untied head)."""

from scaling.config.model import EncoderDecoderConfig
from scaling.hf.architecture import (
    Architecture,
    Copy,
    Rule,
    same,
    transposed,
)


def _attention(theirs: str, ours: str) -> tuple[Rule, ...]:
    parts = (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out"))
    return tuple(transposed(f"{theirs}.{their}.weight", f"{ours}.{our}") for their, our in parts)


def _side(side: str) -> tuple[Rule, ...]:
    block, layers = f"{side}.block.{{i}}.layer", f"{side}.layers"
    last = 1 if side == "encoder" else 2  # the decoder has cross-attention in between
    return (
        *_attention(f"{block}.0.SelfAttention", f"{layers}.attention"),
        same(f"{block}.0.layer_norm.weight", f"{layers}.attention_norm.scale"),
        # One table per side, stored in its first layer.
        same(f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", f"{side}.relative_bias"),
        *_attention(f"{block}.1.EncDecAttention", f"{layers}.cross_attention"),
        same(f"{block}.1.layer_norm.weight", f"{layers}.cross_norm.scale"),
        transposed(f"{block}.{last}.DenseReluDense.wi.weight", f"{layers}.feed_forward.up", gated=False),
        transposed(f"{block}.{last}.DenseReluDense.wi_0.weight", f"{layers}.feed_forward.gate", gated=True),
        transposed(f"{block}.{last}.DenseReluDense.wi_1.weight", f"{layers}.feed_forward.up", gated=True),
        transposed(f"{block}.{last}.DenseReluDense.wo.weight", f"{layers}.feed_forward.down"),
        same(f"{block}.{last}.layer_norm.weight", f"{layers}.feed_forward_norm.scale"),
        same(f"{side}.final_layer_norm.weight", f"{side}.final_norm.scale"),
    )


T5 = Architecture(
    model_type="t5",
    family=EncoderDecoderConfig,
    rules=(
        same("shared.weight", "token_embedding"),
        *_side("encoder"),
        *_side("decoder"),
        same("lm_head.weight", "untied_head"),
    ),
    copies=(
        Copy("encoder.embed_tokens.weight", "shared.weight"),
        Copy("decoder.embed_tokens.weight", "shared.weight"),
        Copy("lm_head.weight", "shared.weight"),
    ),
    head="lm_head.weight",
    scaled_head=True,
    embedding="shared.weight",
    classes={(): "T5ForConditionalGeneration"},
    numbers={
        "vocab_size": "vocab_size",
        "max_length": "n_positions",
        "d_model": "d_model",
        "n_layers": "num_layers",
        "n_decoder_layers": "num_decoder_layers",
        "n_heads": "num_heads",
        "d_head": "d_kv",
        "d_ff": "d_ff",
        "norm_epsilon": "layer_norm_epsilon",
        "relative_buckets": "relative_attention_num_buckets",
        "relative_max_distance": "relative_attention_max_distance",
    },
    defaults={
        "vocab_size": 32128,
        "n_positions": 512,
        "d_model": 512,
        "num_layers": 6,
        "num_heads": 8,
        "d_kv": 64,
        "d_ff": 2048,
        "layer_norm_epsilon": 1e-6,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "relu",
        "dropout_rate": 0.1,
    },
    activation_key="feed_forward_proj",
    # "gated-gelu" is the gated tanh approximation.
    activations={
        "relu": ("relu", False),
        "gelu_new": ("gelu_tanh", False),
        "gelu": ("gelu", False),
        "silu": ("silu", False),
        "gated-gelu": ("gelu_tanh", True),
        "gated-gelu_new": ("gelu_tanh", True),
        "gated-gelu_python": ("gelu", True),
        "gated-relu": ("relu", True),
        "gated-silu": ("silu", True),
    },
    dropout_keys=("dropout_rate",),
    implied={
        "norm": "pre",
        "norm_kind": "rms",
        "bias": False,
        "positions": "relative",
        "scale_attention": False,
        "mixture": None,
    },
    required={"is_encoder_decoder": True, "is_decoder": False},
    written={
        "is_encoder_decoder": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    },
    unused=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
)
