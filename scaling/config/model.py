"""Model configuration: the three families of Transformers, and the union of all families."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from scaling.config.base import Frozen
from scaling.config.baselines import FeedForwardLMConfig, LSTMConfig, NGramConfig, RNNEncoderDecoderConfig
from scaling.config.family import DType, FamilyConfig, Parametrization, Remat
from scaling.runtime.errors import BadInputError

LayerKind = Literal["dense", "banded"]
Activation = Literal["gelu_tanh", "gelu", "relu", "silu"]


class Mixture(Frozen):
    """A mixture of experts in place of feed-forward layers (Switch: Fedus et al. 2021, arXiv:2101.03961).

    The losses' weights are those of Fedus et al., section 2.2 (1e-2) and of Zoph et al. 2022
    (arXiv:2202.08906), section 3.3 (1e-3). Switch's `jitter` is 1e-2 (Fedus et al., appendix C).
    """

    experts: int = Field(ge=2)
    """Experts per mixture layer."""
    top_k: Literal[1, 2] = 1
    """Experts that each token is routed to."""
    every: PositiveInt = 2
    """The last of every so many layers is a mixture; the others are dense."""
    capacity_factor: float = Field(default=1.25, gt=0)
    """Capacity of an expert, as a multiple of its even share of a row's tokens. Tokens beyond it pass through
    the residual."""
    balance_loss: float = Field(default=0.01, ge=0)
    """Weight of the load-balancing loss."""
    router_z_loss: float = Field(default=0.001, ge=0)
    """Weight of the router's z-loss."""
    jitter: float = Field(default=0.0, ge=0, lt=1)
    """Half-width of the multiplicative noise on the router's input during training."""

    def capacity(self, tokens: int) -> int:
        """The most of a row's `tokens` that one expert takes; a token is sent to an expert at most once."""
        share = self.capacity_factor * self.top_k * tokens / self.experts
        return min(tokens, math.ceil(share - 1e-9))  # so that 1.1 x 100 / 10 is 11, not 12

    def slots(self, tokens: int) -> int:
        """Slots of all experts together for a row of `tokens`: the tokens that they multiply."""
        return self.experts * self.capacity(tokens)


class TransformerConfig(FamilyConfig):
    """Fields of all three Transformer families.

    `parametrization: mup` is the maximal update parametrisation (Yang et al. 2022, arXiv:2203.03466, table
    8): hyperparameters tuned at `base_width` hold at every width, and at `base_width` it equals `standard`.
    It assumes that `d_ff` and the features of all heads together grow with the width.
    `base_depth` adds transfer over depth (CompleteP: Dey et al. 2025, arXiv:2505.01618, alpha = 1): every
    residual branch is multiplied by base_depth / n_layers, which leaves learning rates unchanged.
    """

    splits_sequences = True

    name: str = "custom"

    vocab_size: int = Field(ge=2)
    """Tokens in the vocabulary."""
    max_length: PositiveInt
    """Positions of the model: the longest sequence, in tokens."""
    n_layers: PositiveInt
    """Layers; of an encoder-decoder, layers of the encoder."""
    d_model: PositiveInt
    """Width of the residual stream."""
    n_heads: PositiveInt
    """Attention heads. Where it is left out, d_model / d_head."""
    d_head: PositiveInt
    """Width of a head. Where it is left out, d_model / n_heads."""
    d_ff: PositiveInt
    """Width of the feed-forward layer. Where it is left out, 4 d_model."""
    norm: Literal["pre", "post"] = "pre"
    """`pre`: normalise the input of each branch; `post`: normalise the sum after it."""
    norm_kind: Literal["layer", "rms"] = "layer"
    """`layer`: LayerNorm; `rms`: RMSNorm."""
    norm_epsilon: float = Field(default=1e-5, gt=0)
    """Added to the variance inside each norm."""
    activation: Activation = "gelu_tanh"
    """Activation of the feed-forward layers."""
    gated: bool = False
    """Multiply the activation by a second projection (GEGLU, SwiGLU)."""
    bias: bool = True
    """Biases in linear layers and in LayerNorm (RMSNorm has none)."""
    qkv_bias: bool = False
    """Biases of the query, key and value projections even where `bias` is off (Qwen2)."""
    qk_norm: bool = False
    """Normalise the queries and keys of each head, with one scale for all heads (Qwen3; Dehghani et al. 2023,
    arXiv:2302.05442)."""
    attention_soft_cap: float | None = Field(default=None, gt=0)
    """Squash attention scores to cap * tanh(scores / cap) (Gemma 2, arXiv:2408.00118); null leaves them."""
    tie_embeddings: bool = True
    """Use the token embedding as the output head."""
    mixture: Mixture | None = None
    """Mixture of experts in place of feed-forward layers; null is a dense model."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability of dropping an activation during training."""

    init: Literal["normal", "fan_in"] = "normal"
    """`normal`: standard deviation `init_std`; `fan_in`: 1 / sqrt(inputs), and 1 for embeddings (T5)."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of initial weights, for `init: normal`."""
    position_init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of initial position embeddings."""
    residual_init_scaling: bool = True
    """Divide the initial standard deviation of output projections by sqrt(2 n_layers)."""

    parametrization: Parametrization = "standard"
    """`standard`, or `mup`: the maximal update parametrisation."""
    base_width: PositiveInt | None = None
    """The `d_model` at which muP equals the standard parametrisation; required by muP."""
    base_d_head: PositiveInt | None = None
    """Width of a head at the base; null where the number of heads grows and their width does not."""
    base_depth: PositiveInt | None = None
    """The `n_layers` at which residual branches count in full; null leaves depth unscaled."""

    param_dtype: DType = "float32"
    """Type in which parameters are stored."""
    compute_dtype: DType = "float32"
    """Type in which activations and matrix products are computed."""
    remat: Remat = "none"
    """Rematerialisation. `none` keeps all activations, `dots` keeps the results of linear maps, `full` keeps
    each layer's input."""
    scan_layers: bool = False
    """Run the layers in one `jax.lax.scan`: faster to compile, sometimes slower to run."""

    @model_validator(mode="before")
    @classmethod
    def _fill_widths(cls, data: Any) -> Any:
        """Give `d_head` or `n_heads`, and `d_ff`, their customary values where the width allows it."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for name in ("d_model", "n_heads", "d_head", "d_ff"):
            if isinstance(data.get(name), float) and data[name].is_integer():
                data[name] = int(data[name])  # 1e3
        d_model, n_heads = data.get("d_model"), data.get("n_heads")
        if not isinstance(d_model, int) or isinstance(d_model, bool) or d_model < 1:
            return data | {"d_head": data.get("d_head", 1), "d_ff": data.get("d_ff", 1)}
        if data.get("d_ff") is None:
            data["d_ff"] = 4 * d_model
        d_head = data.get("d_head")
        if n_heads is None and isinstance(d_head, int) and d_head > 0:
            if d_model % d_head:
                raise ValueError(f"d_model={d_model} does not divide by d_head={d_head}")
            data["n_heads"] = d_model // d_head
        if data.get("d_head") is None and isinstance(n_heads, int) and n_heads > 0:
            if d_model % n_heads:
                raise ValueError(
                    f"d_model={d_model} does not divide by n_heads={n_heads}: choose heads that divide the "
                    f"width, or give d_head"
                )
            data["d_head"] = d_model // n_heads
        elif data.get("d_head") is None:
            data["d_head"] = 1
        return data

    @model_validator(mode="after")
    def _bases(self) -> "TransformerConfig":
        bases = {name: getattr(self, name) for name in ("base_width", "base_d_head", "base_depth")}
        given = [f"{name}={value}" for name, value in bases.items() if value is not None]
        if self.parametrization == "standard" and given:
            raise ValueError(f"{given[0]} is read by parametrization=mup only: set that, or leave it out")
        if self.parametrization == "mup" and self.base_width is None:
            raise ValueError("parametrization=mup needs base_width, the d_model at which it equals standard")
        if self.base_depth is not None and self.norm == "post":
            raise ValueError(f"base_depth={self.base_depth} needs norm=pre: it scales residual branches")
        return self

    @property
    def width_ratio(self) -> float:
        """Width over the width of the base, m of muP; 1 for a standard model."""
        return 1.0 if self.base_width is None else self.d_model / self.base_width

    @property
    def residual_multiplier(self) -> float:
        """What every residual branch is multiplied by: 1 / m_L of CompleteP (table 1, alpha = 1)."""
        return 1.0 if self.base_depth is None else self.base_depth / self.n_layers

    @property
    def output_multiplier(self) -> float:
        """What output heads (vocabulary, sentences, routers) take their inputs times: 1 / m of table 8."""
        return 1.0 / self.width_ratio

    @property
    def score_scale(self) -> float | None:
        """What attention scores are multiplied by: 1 / E, and 1 / sqrt(E) at the base (definition 4.1).

        None means the usual 1 / sqrt(E).
        """
        if self.base_d_head is None or self.base_d_head == self.d_head:
            return None
        return self.base_d_head**0.5 / self.d_head

    @property
    def experts(self) -> int | None:
        """Experts of a mixture; None for a dense model."""
        return None if self.mixture is None else self.mixture.experts

    @property
    def stacks(self) -> dict[str, int] | None:
        """The layers of each stack, by field; None where layers differ one by one."""
        return None if self.mixture is not None else {"model.n_layers": self.n_layers}

    @model_validator(mode="after")
    def _whole_groups(self) -> "TransformerConfig":
        if self.mixture is not None and self.n_layers % self.mixture.every:
            raise ValueError(
                f"n_layers={self.n_layers} does not divide by mixture.every={self.mixture.every}"
            )
        return self


class DecoderConfig(TransformerConfig):
    """A decoder-only Transformer: GPT-1 (post-norm), GPT-2 and GPT-3 (pre-norm), LLaMA shapes.

    `layer_pattern` repeats over depth: GPT-3 alternates `dense` with `banded`, in which a token attends to
    the `band_width` positions that end at its own (Child et al. 2019; Brown et al. 2020, section 2.1).
    `n_kv_heads` below `n_heads` shares keys and values between heads (Ainslie et al. 2023).
    """

    objectives = ("causal", "prefix")
    generates = True

    family: Literal["decoder"] = "decoder"
    positions: Literal["learned", "rotary", "none"] = "learned"
    """Position encoding."""
    rotary_base: float = Field(default=10_000.0, gt=0)
    """Base of the wavelengths of rotary positions."""
    n_kv_heads: PositiveInt | None = None
    """Heads of keys and values; null is one for every query head."""
    layer_pattern: tuple[LayerKind, ...] = Field(default=("dense",), min_length=1)
    """Kinds of attention, repeated over depth."""
    band_width: PositiveInt | None = None
    """Positions that a token attends to in a `banded` layer, its own included."""

    @property
    def layer_period(self) -> int:
        """Layers after which `layer_pattern` repeats."""
        return len(self.layer_pattern)

    @model_validator(mode="after")
    def _check(self) -> "DecoderConfig":
        if self.n_layers % len(self.layer_pattern):
            raise ValueError(
                f"n_layers={self.n_layers} does not divide by the length of "
                f"layer_pattern={list(self.layer_pattern)}"
            )
        if "banded" in self.layer_pattern and self.band_width is None:
            raise ValueError(
                "layer_pattern has banded layers: give band_width (positions that a token attends to)"
            )
        if self.n_kv_heads is not None and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads={self.n_heads} does not divide by n_kv_heads={self.n_kv_heads}")
        if self.positions == "rotary" and self.d_head % 2:
            raise ValueError(
                f"d_head={self.d_head}: rotary positions rotate pairs of features: give an even one"
            )
        return self


class EncoderConfig(TransformerConfig):
    """An encoder: BERT (Devlin et al. 2018), RoBERTa (Liu et al. 2019), ALBERT (Lan et al. 2020)."""

    objectives = ("masked",)
    bidirectional = True

    family: Literal["encoder"] = "encoder"
    norm: Literal["pre", "post"] = "post"
    """`pre`: normalise the input of each branch; `post`: normalise the sum after it."""
    positions: Literal["learned"] = "learned"
    """Position encoding."""
    token_types: int = Field(default=2, ge=0)
    """Token types (segments) with an embedding of their own; 0 is none."""
    embedding_size: PositiveInt | None = None
    """Width of a factorised token embedding (ALBERT); null is `d_model`."""
    project_embedding: bool = False
    """Add the projection from embedding to width even where both are equal, as ALBERT does."""
    share_layers: bool = False
    """Use one layer's parameters at every depth (ALBERT)."""
    pooler: bool = True
    """Add the projection of the first position."""
    sentence_head: bool = True
    """Add the two-way sentence classifier on top of the pooler."""
    mlm_head: bool = True
    """Add the transform before the vocabulary projection."""
    head_positions: float = Field(default=1.0, gt=0, le=1)
    """Share of positions at which the vocabulary head is computed; BERT computes the masked 15%."""

    @model_validator(mode="after")
    def _check(self) -> "EncoderConfig":
        if self.sentence_head and not self.pooler:
            raise ValueError("sentence_head reads the pooler's output: give pooler=true")
        if self.mixture is not None:
            raise ValueError("mixture: encoders have no mixture of experts")
        if self.parametrization == "mup" and self.projects_embedding:
            raise ValueError(
                f"embedding_size={self.embedding_size} does not grow with the width, and parametrization=mup "
                f"has no rule for the projection between the two: leave it out"
            )
        return self

    @property
    def has_vocabulary_head(self) -> bool:
        """Whether it has the masked-token head."""
        return self.mlm_head

    @property
    def stacks(self) -> dict[str, int] | None:
        """The layers of the stack; None where one layer's parameters are shared."""
        return None if self.share_layers else super().stacks

    @property
    def projects_embedding(self) -> bool:
        """Whether there is a projection from the embedding to the width."""
        return self.project_embedding or self.embedding_size not in (None, self.d_model)


class EncoderDecoderConfig(TransformerConfig):
    """An encoder-decoder Transformer: that of 2017 (Vaswani et al.) and T5 (Raffel et al. 2019).

    Both sides share one token embedding. With `relative` positions, each side has one table of biases
    (`relative_buckets` by heads) that all of its layers use.
    """

    objectives = ("spans", "denoising", "continuation")
    two_sided = True
    generates = True

    family: Literal["encoder_decoder"] = "encoder_decoder"
    n_decoder_layers: PositiveInt | None = None
    """Layers of the decoder; null is `n_layers`."""
    positions: Literal["relative", "sinusoidal"] = "relative"
    """Position encoding."""
    relative_buckets: PositiveInt = 32
    """Buckets of relative distance, each with a bias per head."""
    relative_max_distance: PositiveInt = 128
    """Distance, in tokens, from which all distances share the last bucket."""
    scale_attention: bool = True
    """Divide attention scores by sqrt(d_head). T5 folds that factor into its initialisation."""

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder."""
        return self.n_decoder_layers or self.n_layers

    @property
    def stacks(self) -> dict[str, int] | None:
        """The layers of the encoder and of the decoder; None where layers differ one by one."""
        stacks = super().stacks
        return None if stacks is None else {**stacks, "model.decoder_layers": self.decoder_layers}

    @property
    def most_positions(self) -> int | None:
        """Any number with relative positions: buckets of distances have no last position."""
        return None if self.positions == "relative" else self.max_length

    @property
    def score_scale(self) -> float | None:
        """As of `TransformerConfig`; with `scale_attention: false` 1, and under muP 1 at the base."""
        if self.scale_attention:
            return super().score_scale
        return (self.base_d_head or self.d_head) / self.d_head

    @model_validator(mode="after")
    def _check(self) -> "EncoderDecoderConfig":
        if self.mixture is not None and self.decoder_layers % self.mixture.every:
            raise ValueError(
                f"n_decoder_layers={self.decoder_layers} does not divide by "
                f"mixture.every={self.mixture.every}"
            )
        return self


def _family(value: Any) -> str:
    """A config without a family is a decoder."""
    if isinstance(value, dict):
        return str(value.get("family", "decoder"))
    return str(getattr(value, "family", "decoder"))


NetworkConfig = (
    DecoderConfig
    | EncoderConfig
    | EncoderDecoderConfig
    | LSTMConfig
    | FeedForwardLMConfig
    | RNNEncoderDecoderConfig
)
"""Families whose parameters and FLOPs follow from the config alone. A new family is an entry here."""
FAMILIES: dict[str, type[FamilyConfig]] = {
    str(kind.model_fields["family"].default): kind for kind in (*get_args(NetworkConfig), NGramConfig)
}
if TYPE_CHECKING:
    ModelConfig = NetworkConfig | NGramConfig
else:
    ModelConfig = Annotated[
        Union[tuple(Annotated[kind, Tag(family)] for family, kind in FAMILIES.items())],  # noqa: UP007
        Discriminator(_family),
    ]


def network(model: ModelConfig) -> NetworkConfig:
    """The config, if its parameters and FLOPs follow from it alone.

    Raises:
        BadInputError: it is an n-gram.
    """
    if isinstance(model, NGramConfig):
        known = [family for family, kind in FAMILIES.items() if kind is not NGramConfig]
        raise BadInputError(
            f"model {model.name}: the parameters of family=ngram follow from the text that it is fitted to, "
            f"not from its config; estimates are for {', '.join(known)}"
        )
    return model
