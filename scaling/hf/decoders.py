"""Decoders in the Hugging Face layout: GPT-1, GPT-2, LLaMA, Mistral and Qwen."""

from dataclasses import replace

from scaling.config.model import DecoderConfig
from scaling.hf.architecture import (
    ACTIVATIONS,
    Architecture,
    Copy,
    Rule,
    same,
    transposed,
)

_QKV = ("layers.attention.query", "layers.attention.key", "layers.attention.value")
_PLAIN = {
    "bias": True,
    "qk_norm": False,
    "norm_kind": "layer",
    "positions": "learned",
    "mixture": None,
}


def _gpt_layer(prefix: str) -> tuple[Rule, ...]:
    """GPT's Conv1D is (in, out) and concatenates the three projections."""
    return (
        same(f"{prefix}.attn.c_attn.weight", *_QKV),
        same(f"{prefix}.attn.c_attn.bias", *(f"{name}_bias" for name in _QKV)),
        same(f"{prefix}.attn.c_proj.weight", "layers.attention.out"),
        same(f"{prefix}.attn.c_proj.bias", "layers.attention.out_bias"),
        same(f"{prefix}.ln_1.weight", "layers.attention_norm.scale"),
        same(f"{prefix}.ln_1.bias", "layers.attention_norm.bias"),
        same(f"{prefix}.mlp.c_fc.weight", "layers.feed_forward.up"),
        same(f"{prefix}.mlp.c_fc.bias", "layers.feed_forward.up_bias"),
        same(f"{prefix}.mlp.c_proj.weight", "layers.feed_forward.down"),
        same(f"{prefix}.mlp.c_proj.bias", "layers.feed_forward.down_bias"),
        same(f"{prefix}.ln_2.weight", "layers.feed_forward_norm.scale"),
        same(f"{prefix}.ln_2.bias", "layers.feed_forward_norm.bias"),
    )


_GPT_NUMBERS = {
    "vocab_size": "vocab_size",
    "max_length": "n_positions",
    "d_model": "n_embd",
    "n_layers": "n_layer",
    "n_heads": "n_head",
    "norm_epsilon": "layer_norm_epsilon",
    "init_std": "initializer_range",
}
_GPT_DEFAULTS = {
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02,
    "resid_pdrop": 0.1,
}

GPT1 = Architecture(
    model_type="openai-gpt",
    family=DecoderConfig,
    prefix="transformer.",
    rules=(
        same("transformer.tokens_embed.weight", "token_embedding"),
        same("transformer.positions_embed.weight", "position_embedding"),
        *_gpt_layer("transformer.h.{i}"),
        same("lm_head.weight", "untied_head"),
    ),
    copies=(Copy("lm_head.weight", "transformer.tokens_embed.weight"),),
    head="lm_head.weight",
    embedding="transformer.tokens_embed.weight",
    classes={(): "OpenAIGPTLMHeadModel"},
    numbers=_GPT_NUMBERS,
    defaults=_GPT_DEFAULTS | {"vocab_size": 40478, "n_positions": 512, "afn": "gelu"},
    activation_key="afn",
    # Here "gelu" is the tanh approximation.
    activations={"gelu": ("gelu_tanh", False), "relu": ("relu", False), "silu": ("silu", False)}
    | {"swish": ("silu", False)},
    dropout_keys=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    implied=_PLAIN | {"norm": "post"},
    unused=(r"position_ids", r".*\.attn\.bias"),
)

GPT2 = Architecture(
    model_type="gpt2",
    family=DecoderConfig,
    prefix="transformer.",
    rules=(
        same("transformer.wte.weight", "token_embedding"),
        same("transformer.wpe.weight", "position_embedding"),
        *_gpt_layer("transformer.h.{i}"),
        same("transformer.ln_f.weight", "final_norm.scale"),
        same("transformer.ln_f.bias", "final_norm.bias"),
        same("lm_head.weight", "untied_head"),
    ),
    copies=(Copy("lm_head.weight", "transformer.wte.weight"),),
    head="lm_head.weight",
    embedding="transformer.wte.weight",
    classes={(): "GPT2LMHeadModel"},
    numbers=_GPT_NUMBERS | {"d_ff": "n_inner"},
    defaults=_GPT_DEFAULTS | {"vocab_size": 50257, "n_positions": 1024, "activation_function": "gelu_new"},
    activation_key="activation_function",
    activations={name: (ours, False) for name, ours in ACTIVATIONS.items()},
    dropout_keys=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    implied=_PLAIN | {"norm": "pre"},
    required={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    unused=(r".*\.attn\.bias", r".*\.attn\.masked_bias"),
)

LLAMA = Architecture(
    model_type="llama",
    family=DecoderConfig,
    prefix="model.",
    rules=(
        same("model.embed_tokens.weight", "token_embedding"),
        *(
            transposed(f"model.layers.{{i}}.{theirs}.weight", f"layers.{ours}")
            for theirs, ours in (
                ("self_attn.q_proj", "attention.query"),
                ("self_attn.k_proj", "attention.key"),
                ("self_attn.v_proj", "attention.value"),
                ("self_attn.o_proj", "attention.out"),
                ("mlp.gate_proj", "feed_forward.gate"),
                ("mlp.up_proj", "feed_forward.up"),
                ("mlp.down_proj", "feed_forward.down"),
            )
        ),
        same("model.layers.{i}.input_layernorm.weight", "layers.attention_norm.scale"),
        same("model.layers.{i}.post_attention_layernorm.weight", "layers.feed_forward_norm.scale"),
        same("model.norm.weight", "final_norm.scale"),
        same("lm_head.weight", "untied_head"),
    ),
    copies=(Copy("lm_head.weight", "model.embed_tokens.weight"),),
    head="lm_head.weight",
    embedding="model.embed_tokens.weight",
    classes={(): "LlamaForCausalLM"},
    numbers={
        "vocab_size": "vocab_size",
        "max_length": "max_position_embeddings",
        "d_model": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "n_kv_heads": "num_key_value_heads",
        "d_head": "head_dim",
        "d_ff": "intermediate_size",
        "norm_epsilon": "rms_norm_eps",
        "init_std": "initializer_range",
    },
    defaults={
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.02,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
    },
    activation_key="hidden_act",
    activations={name: (ours, True) for name, ours in ACTIVATIONS.items()},
    dropout_keys=(),
    implied={
        "norm": "pre",
        "norm_kind": "rms",
        "bias": False,
        "qkv_bias": False,
        "qk_norm": False,
        "positions": "rotary",
        "mixture": None,
    },
    required={"attention_bias": False, "mlp_bias": False, "sliding_window": None},
    written={"attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0},
    unused=(r".*rotary_emb\.inv_freq",),
)

MISTRAL = replace(
    LLAMA,
    model_type="mistral",
    classes={(): "MistralForCausalLM"},
    defaults={
        **LLAMA.defaults,
        "max_position_embeddings": 131_072,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "sliding_window": 4096,
    },
    required={},
    written={"attention_dropout": 0.0},
    windows="all",
)

_QWEN_DEFAULTS = {
    **LLAMA.defaults,
    "vocab_size": 151_936,
    "max_position_embeddings": 32_768,
    "num_key_value_heads": 32,
    "intermediate_size": 22016,
    "sliding_window": 4096,
    "use_sliding_window": False,
    "max_window_layers": 28,
}

QWEN2 = replace(
    LLAMA,
    model_type="qwen2",
    classes={(): "Qwen2ForCausalLM"},
    rules=(
        *LLAMA.rules,
        *(
            same(f"model.layers.{{i}}.self_attn.{theirs}_proj.bias", f"layers.attention.{ours}_bias")
            for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"))
        ),
    ),
    defaults=_QWEN_DEFAULTS,
    implied={**LLAMA.implied, "qkv_bias": True},
    required={},
    written={"attention_dropout": 0.0},
    windows="layers",
)

QWEN3 = replace(
    LLAMA,
    model_type="qwen3",
    classes={(): "Qwen3ForCausalLM"},
    rules=(
        *LLAMA.rules,
        same("model.layers.{i}.self_attn.q_norm.weight", "layers.attention.query_norm.scale"),
        same("model.layers.{i}.self_attn.k_norm.weight", "layers.attention.key_norm.scale"),
    ),
    defaults={**_QWEN_DEFAULTS, "head_dim": 128},
    implied={**LLAMA.implied, "qk_norm": True},
    required={"attention_bias": False},
    written={"attention_bias": False, "attention_dropout": 0.0},
    windows="layers",
)
