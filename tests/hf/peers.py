"""Tiny models of transformers with random weights, saved the way people publish them."""

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is the peer; pip install 'scaling-lab[test]'")
transformers = pytest.importorskip("transformers")

V, L, D, H, F, N = 64, 16, 32, 4, 48, 2
_GPT = {"vocab_size": V, "n_positions": L, "n_embd": D, "n_layer": N, "n_head": H}
_BERT = {
    "vocab_size": V,
    "hidden_size": D,
    "num_hidden_layers": N,
    "num_attention_heads": H,
    "intermediate_size": F,
    "max_position_embeddings": L,
}
_T5 = {"vocab_size": V, "d_model": D, "d_kv": 6, "d_ff": F, "num_layers": N, "num_heads": H}
_LLAMA = _BERT | {"num_key_value_heads": 2, "rms_norm_eps": 1e-5}

# name: (class, config class, settings)
PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt1": ("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", _GPT),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _GPT | {"n_inner": F}),
    "gpt2-untied": ("GPT2LMHeadModel", "GPT2Config", _GPT | {"tie_word_embeddings": False}),
    "bert": ("BertForPreTraining", "BertConfig", _BERT),
    "bert-mlm": ("BertForMaskedLM", "BertConfig", _BERT | {"hidden_act": "gelu_new"}),
    "bert-untied": ("BertForMaskedLM", "BertConfig", _BERT | {"tie_word_embeddings": False}),
    "bert-next": ("BertForNextSentencePrediction", "BertConfig", _BERT),
    "bert-bare": ("BertModel", "BertConfig", _BERT),
    "roberta": (
        "RobertaForMaskedLM",
        "RobertaConfig",
        _BERT | {"max_position_embeddings": L + 2, "type_vocab_size": 1},
    ),
    "roberta-bare": ("RobertaModel", "RobertaConfig", _BERT | {"max_position_embeddings": L + 2}),
    "albert": ("AlbertForPreTraining", "AlbertConfig", _BERT | {"embedding_size": 16}),
    "albert-mlm": ("AlbertForMaskedLM", "AlbertConfig", _BERT | {"embedding_size": 16, "hidden_act": "relu"}),
    "t5": ("T5ForConditionalGeneration", "T5Config", _T5 | {"num_decoder_layers": 3}),
    "t5v11": (
        "T5ForConditionalGeneration",
        "T5Config",
        _T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _LLAMA | {"head_dim": 6}),
    "llama-theta": (
        "LlamaForCausalLM",
        "LlamaConfig",
        _LLAMA
        | {
            "num_key_value_heads": H,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_theta": 500.0, "rope_type": "default"},
        },
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", _LLAMA | {"sliding_window": 5}),
    "mistral-full": ("MistralForCausalLM", "MistralConfig", _LLAMA | {"sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _LLAMA | {"tie_word_embeddings": True}),
    "qwen2-windows": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        _LLAMA | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", _LLAMA | {"head_dim": 6, "tie_word_embeddings": True}),
    "qwen3-windows": (
        "Qwen3ForCausalLM",
        "Qwen3Config",
        _LLAMA
        | {"use_sliding_window": True, "sliding_window": 4, "head_dim": 8, "num_hidden_layers": 4}
        | {"layer_types": ["sliding_attention", "full_attention"] * 2},
    ),
}
DECODERS = ("gpt1", "gpt2", "gpt2-untied")


def peer(name: str) -> Any:
    """A model whose every weight is random: norms and biases too, so that each one counts."""
    kind, config_kind, settings = PEERS[name]
    torch.manual_seed(sum(map(ord, name)))
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1 if "roberta" in name else 0}
    config = getattr(transformers, config_kind)(**{**ids, **settings})
    model = getattr(transformers, kind)(config).eval()
    if name == "t5v11":  # transformers ties it at first and reads what the file says later
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    if "roberta" in name:  # the rows that no position reads
        model.base_model.embeddings.position_embeddings.weight.data[:2] = 0
    if name == "bert-untied":  # transformers reads one of the two and keeps the other
        model.cls.predictions.bias.data = model.cls.predictions.decoder.bias.data.clone()
    return model


def saved(name: str, directory: Path, **options: Any) -> Path:
    """The directory of a saved peer."""
    peer(name).save_pretrained(directory / name, **options)
    return directory / name


def edit(directory: Path, **changes: Any) -> None:
    """Change config.json; None takes a key out."""
    path = directory / "config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))
