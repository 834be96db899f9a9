"""Checkpoints with tokenizers, made by transformers: random weights, small tokenizers of the right kind."""

import argparse
import ast
import json
import random
from pathlib import Path
from typing import Any

from tokenizers import processors

from tests.data.tokenizers.kinds import KINDS, PIECES
from tests.hf.peers import torch, transformers

POSITIONS = 48
_WIDE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.4,
}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS, "initializer_range": 0.4}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "n_positions": POSITIONS}
_ROBERTA = _WIDE | {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1, "pad_token_id": 1}

# name: (class, config class, settings, kind of tokenizer, what a text is framed by)
CHECKPOINTS: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _GPT, "gpt2", "$A"),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _WIDE, "llama2", "<s> $A"),
    "llama3": ("LlamaForCausalLM", "LlamaConfig", _WIDE, "llama3", "<|begin_of_text|> $A"),
    "mistral": (
        "MistralForCausalLM",
        "MistralConfig",
        _WIDE | {"num_key_value_heads": 2, "sliding_window": 6},
        "llama2",
        "<s> $A",
    ),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _WIDE | {"num_key_value_heads": 2}, "qwen2", "$A"),
    "qwen3": (
        "Qwen3ForCausalLM",
        "Qwen3Config",
        _WIDE | {"num_key_value_heads": 2, "head_dim": 16},
        "qwen2",
        "$A",
    ),
    "bert": ("BertForMaskedLM", "BertConfig", _WIDE, "bert-uncased", "[CLS] $A [SEP]"),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", _ROBERTA, "roberta", "<s> $A </s>"),
    "albert": (
        "AlbertForMaskedLM",
        "AlbertConfig",
        _WIDE | {"embedding_size": 16},
        "albert",
        "[CLS] $A [SEP]",
    ),
    "t5": ("T5ForConditionalGeneration", "T5Config", _T5, "t5", "$A </s>"),
}
DECODERS = ("gpt2", "llama", "llama3", "mistral", "qwen2", "qwen3")
ENCODERS = ("bert", "roberta", "albert")
TEXTS = ("the quick brown fox", "a", " two  spaces ", "def f(x):\n    return x", "été 日本 😀")


def words() -> list[str]:
    """Texts to train tokenizers on."""
    rng = random.Random(1)
    mixed = [" ".join(rng.choices(PIECES, k=30)) for _ in range(40)]
    return [Path(module.__file__).read_text()[:8000] for module in (argparse, ast, json, random)] + mixed


def made(name: str, folder: Path, **changes: Any) -> Path:
    """A folder with a checkpoint and its tokenizer.json; the model has some ids more than the tokenizer."""
    kind, config_kind, settings, tokenizer_kind, frame = CHECKPOINTS[name]
    build, names = KINDS[tokenizer_kind]
    tokenizer = build(words())
    special = [(token, tokenizer.token_to_id(token)) for token in frame.split() if token != "$A"]
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=special)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    theirs.save_pretrained(folder / name)
    ids = {f"{role}_token_id": getattr(theirs, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    ids = {key: value for key, value in ids.items() if value is not None}
    if name == "t5":
        ids["decoder_start_token_id"] = ids["pad_token_id"]
    size = -(-len(theirs) // 8) * 8
    config = getattr(transformers, config_kind)(**{"vocab_size": size, **ids, **settings, **changes})
    torch.manual_seed(sum(map(ord, name)))
    model = getattr(transformers, kind)(config).eval()
    if name == "t5":
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    if name == "roberta":  # rows that no position reads
        model.base_model.embeddings.position_embeddings.weight.data[:2] = 0
    model.save_pretrained(folder / name)
    return folder / name


def peers(source: Path, name: str) -> tuple[Any, Any]:
    """The model and the tokenizer of transformers."""
    model = getattr(transformers, CHECKPOINTS[name][0]).from_pretrained(source).eval()
    return model, transformers.AutoTokenizer.from_pretrained(source)


def settings(folder: Path, **changes: Any) -> None:
    """Change tokenizer_config.json; None takes a key out."""
    path = folder / "tokenizer_config.json"
    tree = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in tree.items() if value is not None}))
