"""Encoders in the Hugging Face layout: BERT, RoBERTa and ALBERT."""

from typing import Any

from scaling.config.model import EncoderConfig
from scaling.hf.architecture import (
    ACTIVATIONS,
    Architecture,
    Copy,
    Rule,
    same,
    transposed,
)


def _linear(theirs: str, ours: str) -> tuple[Rule, Rule]:
    """A torch.nn.Linear that is a kernel and a bias here."""
    return transposed(f"{theirs}.weight", f"{ours}.kernel"), same(f"{theirs}.bias", f"{ours}.bias")


def _projection(theirs: str, ours: str) -> tuple[Rule, Rule]:
    """A torch.nn.Linear of a layer."""
    return transposed(f"{theirs}.weight", f"layers.{ours}"), same(f"{theirs}.bias", f"layers.{ours}_bias")


def _norm(theirs: str, ours: str) -> tuple[Rule, Rule]:
    return same(f"{theirs}.weight", f"{ours}.scale"), same(f"{theirs}.bias", f"{ours}.bias")


def _embeddings(prefix: str, blank_rows: int = 0) -> tuple[Rule, ...]:
    return (
        same(f"{prefix}.word_embeddings.weight", "token_embedding"),
        same(f"{prefix}.position_embeddings.weight", "position_embedding", blank_rows=blank_rows),
        same(f"{prefix}.token_type_embeddings.weight", "type_embedding"),
        *_norm(f"{prefix}.LayerNorm", "embedding_norm"),
    )


def _bert_layer(prefix: str) -> tuple[Rule, ...]:
    return (
        *_projection(f"{prefix}.attention.self.query", "attention.query"),
        *_projection(f"{prefix}.attention.self.key", "attention.key"),
        *_projection(f"{prefix}.attention.self.value", "attention.value"),
        *_projection(f"{prefix}.attention.output.dense", "attention.out"),
        *_norm(f"{prefix}.attention.output.LayerNorm", "layers.attention_norm"),
        *_projection(f"{prefix}.intermediate.dense", "feed_forward.up"),
        *_projection(f"{prefix}.output.dense", "feed_forward.down"),
        *_norm(f"{prefix}.output.LayerNorm", "layers.feed_forward_norm"),
    )


def _albert_layer(prefix: str) -> tuple[Rule, ...]:
    return (
        *_projection(f"{prefix}.attention.query", "attention.query"),
        *_projection(f"{prefix}.attention.key", "attention.key"),
        *_projection(f"{prefix}.attention.value", "attention.value"),
        *_projection(f"{prefix}.attention.dense", "attention.out"),
        *_norm(f"{prefix}.attention.LayerNorm", "layers.attention_norm"),
        *_projection(f"{prefix}.ffn", "feed_forward.up"),
        *_projection(f"{prefix}.ffn_output", "feed_forward.down"),
        *_norm(f"{prefix}.full_layer_layer_norm", "layers.feed_forward_norm"),
    )


def _head(dense: str, norm: str, bias: str, decoder: str, embedding: str) -> dict[str, Any]:
    """The rules and copies of an MLM head, whose bias is stored twice."""
    return {
        "rules": (
            *_linear(dense, "mlm_head"),
            *_norm(norm, "mlm_norm"),
            same(bias, "vocabulary_bias"),
            same(f"{decoder}.weight", "untied_head"),
        ),
        "copies": (
            Copy(f"{decoder}.weight", embedding),
            Copy(f"{decoder}.bias", bias, when_untied=True),
        ),
    }


_NUMBERS = {
    "vocab_size": "vocab_size",
    "max_length": "max_position_embeddings",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "d_ff": "intermediate_size",
    "token_types": "type_vocab_size",
    "norm_epsilon": "layer_norm_eps",
    "init_std": "initializer_range",
}
_DEFAULTS = {
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
}
_REQUIRED = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
_IMPLIED = {"norm": "post", "norm_kind": "layer", "bias": True, "positions": "learned", "mixture": None}
_SHARED: dict[str, Any] = {
    "family": EncoderConfig,
    "activation_key": "hidden_act",
    "dropout_keys": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "unused": (r".*embeddings\.position_ids", r".*embeddings\.token_type_ids"),
}

_BERT_HEAD = _head(
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.bias",
    "cls.predictions.decoder",
    "bert.embeddings.word_embeddings.weight",
)
BERT = Architecture(
    model_type="bert",
    prefix="bert.",
    rules=(
        *_embeddings("bert.embeddings"),
        *_bert_layer("bert.encoder.layer.{i}"),
        *_linear("bert.pooler.dense", "pooler"),
        *_linear("cls.seq_relationship", "sentence_head"),
        *_BERT_HEAD["rules"],
    ),
    copies=_BERT_HEAD["copies"],
    head="cls.predictions.decoder.weight",
    embedding="bert.embeddings.word_embeddings.weight",
    heads={
        "mlm_head": "cls.predictions.transform.dense.weight",
        "sentence_head": "cls.seq_relationship.weight",
        "pooler": "bert.pooler.dense.weight",
    },
    classes={
        (): "BertModel",
        ("mlm_head",): "BertForMaskedLM",
        ("sentence_head",): "BertForNextSentencePrediction",
        ("mlm_head", "sentence_head"): "BertForPreTraining",
    },
    bare="BertModel",
    numbers=_NUMBERS,
    defaults=_DEFAULTS,
    activations={name: (ours, False) for name, ours in ACTIVATIONS.items()},
    implied=_IMPLIED | {"share_layers": False, "embedding_size": None},
    required=_REQUIRED,
    **_SHARED,
)

_ROBERTA_HEAD = _head(
    "lm_head.dense",
    "lm_head.layer_norm",
    "lm_head.bias",
    "lm_head.decoder",
    "roberta.embeddings.word_embeddings.weight",
)
ROBERTA = Architecture(
    model_type="roberta",
    prefix="roberta.",
    # Positions start at padding_idx + 1 = 2; earlier rows have no position.
    rules=(
        *_embeddings("roberta.embeddings", blank_rows=2),
        *_bert_layer("roberta.encoder.layer.{i}"),
        *_linear("roberta.pooler.dense", "pooler"),
        *_ROBERTA_HEAD["rules"],
    ),
    copies=_ROBERTA_HEAD["copies"],
    head="lm_head.decoder.weight",
    embedding="roberta.embeddings.word_embeddings.weight",
    heads={"mlm_head": "lm_head.dense.weight", "pooler": "roberta.pooler.dense.weight"},
    classes={(): "RobertaModel", ("mlm_head",): "RobertaForMaskedLM"},
    bare="RobertaModel",
    position_rows=2,
    numbers=_NUMBERS,
    defaults=_DEFAULTS | {"vocab_size": 50265, "pad_token_id": 1},
    activations={"gelu": ("gelu", False)},  # its head always uses it
    implied=_IMPLIED | {"share_layers": False, "embedding_size": None, "sentence_head": False},
    required=_REQUIRED | {"pad_token_id": 1},
    written={"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    **_SHARED,
)

_ALBERT_LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0"
_ALBERT_HEAD = _head(
    "predictions.dense",
    "predictions.LayerNorm",
    "predictions.bias",
    "predictions.decoder",
    "albert.embeddings.word_embeddings.weight",
)
ALBERT = Architecture(
    model_type="albert",
    prefix="albert.",
    rules=(
        *_embeddings("albert.embeddings"),
        *_linear("albert.encoder.embedding_hidden_mapping_in", "embedding_projection"),
        *_albert_layer(_ALBERT_LAYER),
        *_linear("albert.pooler", "pooler"),
        *_linear("sop_classifier.classifier", "sentence_head"),
        *_ALBERT_HEAD["rules"],
    ),
    copies=_ALBERT_HEAD["copies"],
    head="predictions.decoder.weight",
    embedding="albert.embeddings.word_embeddings.weight",
    heads={
        "mlm_head": "predictions.dense.weight",
        "sentence_head": "sop_classifier.classifier.weight",
        "pooler": "albert.pooler.weight",
    },
    classes={
        (): "AlbertModel",
        ("mlm_head",): "AlbertForMaskedLM",
        ("mlm_head", "sentence_head"): "AlbertForPreTraining",
    },
    bare="AlbertModel",
    numbers=_NUMBERS | {"embedding_size": "embedding_size"},
    defaults=_DEFAULTS
    | {
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
    },
    activations={name: (ours, False) for name, ours in ACTIVATIONS.items()},
    implied=_IMPLIED | {"share_layers": True},
    required=_REQUIRED | {"num_hidden_groups": 1, "inner_group_num": 1},
    written={"num_hidden_groups": 1, "inner_group_num": 1},
    **_SHARED,
)
