"""Configs of the language models that preceded Transformers: LSTM, feed-forward, recurrent, n-gram."""

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from scaling.config.family import DType, FamilyConfig, Parametrization, Remat


class BaselineConfig(FamilyConfig):
    """Fields of the networks that preceded Transformers."""

    objectives: ClassVar[tuple[str, ...]] = ("causal",)
    remat: ClassVar[Remat] = "none"
    parametrization: ClassVar[Parametrization] = "standard"
    mixture: ClassVar[None] = None
    n_heads: ClassVar[int] = 1

    name: str = "custom"
    vocab_size: int = Field(ge=2)
    """Tokens in the vocabulary."""
    max_length: PositiveInt
    """The longest sequence, in tokens."""
    tie_embeddings: bool = False
    """Use the token embedding as the output head."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability of dropping an activation during training."""
    init_std: float = Field(default=0.05, gt=0)
    """Standard deviation of initial weights."""
    param_dtype: DType = "float32"
    """Type in which parameters are stored."""
    compute_dtype: DType = "float32"
    """Type in which activations and matrix products are computed."""


class LSTMConfig(BaselineConfig):
    """A stacked LSTM language model (Zaremba et al. 2014, arXiv:1409.2329)."""

    family: Literal["lstm"] = "lstm"
    n_layers: PositiveInt
    """Stacked LSTM layers."""
    d_model: PositiveInt
    """Width of the embedding and of every hidden state."""


class FeedForwardLMConfig(BaselineConfig):
    """The neural probabilistic language model (Bengio et al. 2003, JMLR 3:1137-1155, section 2).

    The embeddings of the `context` tokens before the target are concatenated and go through a hidden layer
    to the vocabulary.
    """

    family: Literal["feed_forward"] = "feed_forward"
    context: PositiveInt
    """Tokens before the target that the model reads (the paper's n - 1)."""
    d_embedding: PositiveInt
    """Width of a token's embedding."""
    d_model: PositiveInt
    """Width of the hidden layer (the paper's h)."""
    n_layers: PositiveInt = 1
    """Hidden layers; the paper has one."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the hidden layers."""
    direct: bool = False
    """Connect the embeddings to the output directly (the paper's W)."""

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
    """A recurrent encoder-decoder with additive attention (Bahdanau et al. 2014, arXiv:1409.0473)."""

    objectives = ("spans", "denoising", "continuation")
    two_sided = True

    family: Literal["rnn_encoder_decoder"] = "rnn_encoder_decoder"
    n_layers: Literal[1] = 1
    """Layers on each side."""
    d_embedding: PositiveInt
    """Width of a token's embedding."""
    d_model: PositiveInt
    """Width of each direction of the encoder, and of the decoder (the paper's n)."""
    d_attention: PositiveInt
    """Width of the attention's hidden layer (the paper's n')."""
    d_readout: PositiveInt
    """Width of the maxout layer before the vocabulary (the paper's l)."""
    share_embeddings: bool = False
    """Use one token embedding for both sides."""

    @model_validator(mode="after")
    def _check(self) -> "RNNEncoderDecoderConfig":
        if self.tie_embeddings and self.d_readout != self.d_embedding:
            raise ValueError(
                f"tie_embeddings=true needs d_readout={self.d_readout} equal to "
                f"d_embedding={self.d_embedding}"
            )
        return self


class NGramConfig(FamilyConfig):
    """An n-gram language model with interpolated Kneser-Ney smoothing (Chen and Goodman 1999)."""

    objectives = ("causal",)
    # Counts drop nothing and have one type of number.
    dropout: ClassVar[float] = 0.0
    param_dtype: ClassVar[DType] = "float32"
    compute_dtype: ClassVar[DType] = "float32"
    remat: ClassVar[Remat] = "none"
    parametrization: ClassVar[Parametrization] = "standard"
    n_heads: ClassVar[int] = 1

    name: str = "custom"
    family: Literal["ngram"] = "ngram"
    vocab_size: int = Field(ge=2)
    """Tokens in the vocabulary."""
    max_length: PositiveInt
    """The longest sequence, in tokens."""
    order: int = Field(ge=1, le=16)
    """The n of the n-gram: a token is predicted from the n - 1 tokens before it."""
    discounts: Literal["modified", "single"] = "modified"
    """Kneser-Ney discounts per order: `modified` has three, `single` one."""
