"""Model configuration: the shape of a network and how it is computed. One class a family."""

import math
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from scaling.config.base import Frozen
from scaling.config.errors import BadInputError

DType = Literal["float32", "bfloat16"]
LayerKind = Literal["dense", "banded"]
Remat = Literal["none", "dots", "full"]
Activation = Literal["gelu_tanh", "gelu", "relu", "silu"]
Parametrization = Literal["standard", "mup"]


class Mixture(Frozen):
    """A mixture of experts in place of feed-forward layers (Switch: Fedus et al. 2021, arXiv:2101.03961).

    Every `every`-th layer of a stack is a mixture, the last of each group. A token goes to `top_k` of
    `experts`, each of which takes at most `capacity_factor` times its even share of a row's tokens.
    `balance_loss` and `router_z_loss` are what the two losses of a router count in the loss: 1e-2 (Fedus et
    al., section 2.2) and 1e-3 (Zoph et al. 2022, arXiv:2202.08906, section 3.3). `jitter` is the noise on a
    router's input while training (Fedus et al., appendix C); Switch's is 1e-2.
    """

    experts: int = Field(ge=2)
    top_k: Literal[1, 2] = 1
    every: PositiveInt = 2
    capacity_factor: float = Field(default=1.25, gt=0)
    balance_loss: float = Field(default=0.01, ge=0)
    router_z_loss: float = Field(default=0.001, ge=0)
    jitter: float = Field(default=0.0, ge=0, lt=1)

    def capacity(self, tokens: int) -> int:
        """Most of a row's `tokens` that one expert takes; a token goes to an expert at most once."""
        share = self.capacity_factor * self.top_k * tokens / self.experts
        return min(tokens, math.ceil(share - 1e-9))  # 1.1 x 100 / 10 is 11, and not 12

    def slots(self, tokens: int) -> int:
        """Tokens that all experts together have room for in a row of `tokens`: what they multiply."""
        return self.experts * self.capacity(tokens)


class TransformerConfig(Frozen):
    """What the three Transformer families share.

    `d_head` and `d_ff` follow from the width (d_model / n_heads and 4 d_model) where they are not given, and
    `n_heads` from `d_head`.
    `gated` multiplies the activation with a second projection (GEGLU, SwiGLU: Shazeer 2020).

    `parametrization: mup` is the maximal update parametrisation (Yang et al. 2022, arXiv:2203.03466, table
    8): what is tuned at `base_width` holds at every width. It equals `standard` there. `d_ff` and the
    features of all heads together are taken to grow with the width; `base_d_head` is given where heads
    themselves grow.
    `base_depth` adds transfer over depth (CompleteP: Dey et al. 2025, arXiv:2505.01618, alpha = 1): every
    residual branch is multiplied by base_depth / n_layers, which leaves learning rates as they are.
    """

    name: str = "custom"

    vocab_size: int = Field(ge=2)
    max_length: PositiveInt
    n_layers: PositiveInt
    d_model: PositiveInt
    n_heads: PositiveInt
    d_head: PositiveInt
    d_ff: PositiveInt
    norm: Literal["pre", "post"] = "pre"
    norm_kind: Literal["layer", "rms"] = "layer"
    norm_epsilon: float = Field(default=1e-5, gt=0)
    activation: Activation = "gelu_tanh"
    gated: bool = False
    bias: bool = True
    tie_embeddings: bool = True
    mixture: Mixture | None = None
    dropout: float = Field(default=0.0, ge=0, lt=1)

    init: Literal["normal", "fan_in"] = "normal"  # fan_in: std 1 / sqrt(inputs), embeddings 1 (T5)
    init_std: float = Field(default=0.02, gt=0)
    position_init_std: float = Field(default=0.02, gt=0)
    residual_init_scaling: bool = True  # output projections start at init_std / sqrt(2 n_layers)

    parametrization: Parametrization = "standard"
    base_width: PositiveInt | None = None  # d_model at which mup equals standard
    base_d_head: PositiveInt | None = None  # null is d_head: the number of heads grows, not their width
    base_depth: PositiveInt | None = None  # n_layers at which branches count in full; null: at any depth

    param_dtype: DType = "float32"
    compute_dtype: DType = "float32"
    remat: Remat = "none"
    scan_layers: bool = False

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
                raise ValueError(f"d_model={d_model} is no whole number of heads of d_head={d_head}")
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
            raise ValueError(f"{given[0]} is read by parametrization=mup alone: give that, or leave it out")
        if self.parametrization == "mup" and self.base_width is None:
            raise ValueError("parametrization=mup needs base_width, the d_model at which it equals standard")
        if self.base_depth is not None and self.norm == "post":
            raise ValueError(f"base_depth={self.base_depth} needs norm=pre: it scales what joins a residual")
        return self

    @property
    def width_ratio(self) -> float:
        """Width over the base's, m of muP; 1 of a standard model."""
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

        None stands for the usual 1 / sqrt(E).
        """
        if self.base_d_head is None or self.base_d_head == self.d_head:
            return None
        return self.base_d_head**0.5 / self.d_head

    @model_validator(mode="after")
    def _whole_groups(self) -> "TransformerConfig":
        if self.mixture is not None and self.n_layers % self.mixture.every:
            raise ValueError(
                f"n_layers={self.n_layers} does not divide by mixture.every={self.mixture.every}"
            )
        return self


class DecoderConfig(TransformerConfig):
    """A decoder-only Transformer: GPT-1 (post-norm), GPT-2 and GPT-3 (pre-norm), LLaMA shapes.

    `layer_pattern` repeats over depth: GPT-3 alternates `dense` with `banded`, in which a token sees the
    `band_width` positions that end at its own (Child et al. 2019; Brown et al. 2020, section 2.1).
    `n_kv_heads` below `n_heads` shares keys and values between heads (Ainslie et al. 2023).
    """

    family: Literal["decoder"] = "decoder"
    positions: Literal["learned", "rotary", "none"] = "learned"
    rotary_base: float = Field(default=10_000.0, gt=0)
    n_kv_heads: PositiveInt | None = None  # null is one for every head
    layer_pattern: tuple[LayerKind, ...] = Field(default=("dense",), min_length=1)
    band_width: PositiveInt | None = None

    @model_validator(mode="after")
    def _check(self) -> "DecoderConfig":
        if self.n_layers % len(self.layer_pattern):
            raise ValueError(
                f"n_layers={self.n_layers} does not divide by the length of "
                f"layer_pattern={list(self.layer_pattern)}"
            )
        if "banded" in self.layer_pattern and self.band_width is None:
            raise ValueError("layer_pattern has banded layers: give band_width (positions a token sees)")
        if self.n_kv_heads is not None and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads={self.n_heads} does not divide by n_kv_heads={self.n_kv_heads}")
        if self.positions == "rotary" and self.d_head % 2:
            raise ValueError(
                f"d_head={self.d_head}: rotary positions turn pairs of features, give an even one"
            )
        return self


class EncoderConfig(TransformerConfig):
    """An encoder: BERT (Devlin et al. 2018), RoBERTa (Liu et al. 2019), ALBERT (Lan et al. 2020).

    `embedding_size` below the width factorises the embedding, `share_layers` uses one layer's parameters at
    every depth (both ALBERT). `pooler` is the projection of the first position, `sentence_head` the two-way
    classifier upon it, `mlm_head` the transform before the vocabulary. `head_positions` is the share of
    positions at which the vocabulary head is computed: 1 computes all, BERT gathers the masked 15%.
    """

    family: Literal["encoder"] = "encoder"
    norm: Literal["pre", "post"] = "post"
    positions: Literal["learned"] = "learned"
    token_types: int = Field(default=2, ge=0)
    embedding_size: PositiveInt | None = None  # null is the width
    project_embedding: bool = False  # also where embedding_size is the width, as every ALBERT does
    share_layers: bool = False
    pooler: bool = True
    sentence_head: bool = True
    mlm_head: bool = True
    head_positions: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> "EncoderConfig":
        if self.sentence_head and not self.pooler:
            raise ValueError("sentence_head reads the pooler's output: give pooler=true")
        if self.mixture is not None:
            raise ValueError("mixture: encoders have no mixture of experts")
        if self.parametrization == "mup" and self.projects_embedding:
            raise ValueError(
                f"embedding_size={self.embedding_size} does not grow with the width, and parametrization=mup "
                f"has no rule for what stands between the two: leave it out"
            )
        return self

    @property
    def projects_embedding(self) -> bool:
        """Whether a matrix leads from the embedding to the width."""
        return self.project_embedding or self.embedding_size not in (None, self.d_model)


class EncoderDecoderConfig(TransformerConfig):
    """An encoder-decoder Transformer: that of 2017 (Vaswani et al.) and T5 (Raffel et al. 2019).

    `n_layers` counts the encoder's layers; the decoder has as many unless `n_decoder_layers` says otherwise.
    Both sides share one token embedding. With `relative` positions each side has one table of biases, of
    `relative_buckets` by heads, which all of its layers use.
    """

    family: Literal["encoder_decoder"] = "encoder_decoder"
    n_decoder_layers: PositiveInt | None = None
    positions: Literal["relative", "sinusoidal"] = "relative"
    relative_buckets: PositiveInt = 32
    relative_max_distance: PositiveInt = 128
    scale_attention: bool = True  # T5 folds 1 / sqrt(d_head) into the initialisation

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder."""
        return self.n_decoder_layers or self.n_layers

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


class BaselineConfig(Frozen):
    """What the language models that Transformers displaced share."""

    name: str = "custom"
    vocab_size: int = Field(ge=2)
    max_length: PositiveInt
    tie_embeddings: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    init_std: float = Field(default=0.05, gt=0)
    param_dtype: DType = "float32"
    compute_dtype: DType = "float32"

    @property
    def remat(self) -> Remat:
        """Nothing is rematerialised that a config could choose."""
        return "none"


class LSTMConfig(BaselineConfig):
    """A stacked LSTM language model (Zaremba et al. 2014, arXiv:1409.2329)."""

    family: Literal["lstm"] = "lstm"
    n_layers: PositiveInt
    d_model: PositiveInt  # width of the embedding and of every hidden state


class FeedForwardLMConfig(BaselineConfig):
    """The neural probabilistic language model (Bengio et al. 2003, JMLR 3:1137-1155, section 2).

    The embeddings of the `context` tokens before the target (n - 1 of the paper's n), side by side, go
    through a hidden layer of `d_model` (the paper's h) to the vocabulary. `direct` adds the paper's direct
    connections from the embeddings to the output (its matrix W). The paper has one hidden layer.
    """

    family: Literal["feed_forward"] = "feed_forward"
    context: PositiveInt
    d_embedding: PositiveInt
    d_model: PositiveInt
    n_layers: PositiveInt = 1
    activation: Literal["tanh", "relu"] = "tanh"
    direct: bool = False

    @property
    def d_window(self) -> int:
        """Width of the embeddings of a context, side by side."""
        return self.context * self.d_embedding

    @model_validator(mode="after")
    def _check(self) -> "FeedForwardLMConfig":
        if self.tie_embeddings and (self.direct or self.d_embedding != self.d_model):
            raise ValueError(
                f"tie_embeddings=true needs direct=false and d_embedding={self.d_embedding} equal to "
                f"d_model={self.d_model}: the embedding is then what the hidden layer multiplies with"
            )
        return self


class RNNEncoderDecoderConfig(BaselineConfig):
    """A recurrent encoder-decoder with additive attention (Bahdanau et al. 2014, arXiv:1409.0473).

    `d_model` is the width of each direction of the encoder and of the decoder (the paper's n), `d_attention`
    of the attention's hidden layer (n'), `d_readout` of the maxout layer before the vocabulary (l).
    `share_embeddings` gives both sides one table.
    """

    family: Literal["rnn_encoder_decoder"] = "rnn_encoder_decoder"
    n_layers: Literal[1] = 1
    d_embedding: PositiveInt
    d_model: PositiveInt
    d_attention: PositiveInt
    d_readout: PositiveInt
    share_embeddings: bool = False

    @model_validator(mode="after")
    def _check(self) -> "RNNEncoderDecoderConfig":
        if self.tie_embeddings and self.d_readout != self.d_embedding:
            raise ValueError(
                f"tie_embeddings=true needs d_readout={self.d_readout} equal to "
                f"d_embedding={self.d_embedding}"
            )
        return self


class NGramConfig(Frozen):
    """An n-gram language model with interpolated Kneser-Ney smoothing (Chen and Goodman 1999).

    `order` is the n: a token is predicted from the `order - 1` before it. `modified` discounts have three
    values an order, `single` ones one.
    """

    name: str = "custom"
    family: Literal["ngram"] = "ngram"
    vocab_size: int = Field(ge=2)
    max_length: PositiveInt
    order: int = Field(ge=1, le=16)
    discounts: Literal["modified", "single"] = "modified"

    # What may be asked of a model of any family: counts drop nothing, and know one kind of number.
    dropout: ClassVar[float] = 0.0
    param_dtype: ClassVar[DType] = "float32"
    compute_dtype: ClassVar[DType] = "float32"


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
TwoSidedConfig = EncoderDecoderConfig | RNNEncoderDecoderConfig  # a source and a target in every example
ModelConfig = Annotated[
    Annotated[DecoderConfig, Tag("decoder")]
    | Annotated[EncoderConfig, Tag("encoder")]
    | Annotated[EncoderDecoderConfig, Tag("encoder_decoder")]
    | Annotated[LSTMConfig, Tag("lstm")]
    | Annotated[FeedForwardLMConfig, Tag("feed_forward")]
    | Annotated[RNNEncoderDecoderConfig, Tag("rnn_encoder_decoder")]
    | Annotated[NGramConfig, Tag("ngram")],
    Discriminator(_family),
]


def network(model: ModelConfig) -> NetworkConfig:
    """The config, if its parameters and FLOPs follow from it alone.

    Raises:
        BadInputError: it is an n-gram.
    """
    if isinstance(model, NGramConfig):
        raise BadInputError(
            f"model {model.name}: family=ngram has counts that follow from the text it is fitted to, not "
            f"from its config; estimates are for {', '.join(_NETWORK_FAMILIES)}"
        )
    return model


_NETWORK_FAMILIES = [kind.model_fields["family"].default for kind in get_args(NetworkConfig)]
