"""Model configuration: the shape of a network and how it is computed. One class a family."""

from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from scaling.config.base import Frozen

DType = Literal["float32", "bfloat16"]
LayerKind = Literal["dense", "banded"]


class DecoderConfig(Frozen):
    """A decoder-only Transformer: GPT-1 (post-norm), GPT-2 and GPT-3 (pre-norm) and what lies between.

    `d_head` and `d_ff` follow from the width (d_model / n_heads and 4 d_model) where they are not given.
    `layer_pattern` repeats over depth: GPT-3 alternates `dense` with `banded`, in which a token sees the
    `band_width` positions that end at its own (Child et al. 2019; Brown et al. 2020, section 2.1).
    """

    name: str = "custom"
    family: Literal["decoder"] = "decoder"

    vocab_size: int = Field(ge=2)
    max_length: PositiveInt
    n_layers: PositiveInt
    d_model: PositiveInt
    n_heads: PositiveInt
    d_head: PositiveInt
    d_ff: PositiveInt
    norm: Literal["pre", "post"] = "pre"
    norm_epsilon: float = Field(default=1e-5, gt=0)
    activation: Literal["gelu_tanh", "gelu", "relu"] = "gelu_tanh"
    bias: bool = True
    tie_embeddings: bool = True
    layer_pattern: tuple[LayerKind, ...] = Field(default=("dense",), min_length=1)
    band_width: PositiveInt | None = None
    dropout: float = Field(default=0.0, ge=0, lt=1)

    init_std: float = Field(default=0.02, gt=0)
    position_init_std: float = Field(default=0.02, gt=0)
    residual_init_scaling: bool = True  # output projections start at init_std / sqrt(2 n_layers)

    param_dtype: DType = "float32"
    compute_dtype: DType = "float32"
    remat: Literal["none", "dots", "full"] = "none"
    scan_layers: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_widths(cls, data: Any) -> Any:
        """Give `d_head` and `d_ff` their customary values where the width and heads allow it."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        d_model, n_heads = data.get("d_model"), data.get("n_heads")
        if not isinstance(d_model, int) or isinstance(d_model, bool) or d_model < 1:
            return data | {"d_head": data.get("d_head", 1), "d_ff": data.get("d_ff", 1)}
        if data.get("d_ff") is None:
            data["d_ff"] = 4 * d_model
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
    def _check(self) -> "DecoderConfig":
        if self.n_layers % len(self.layer_pattern):
            raise ValueError(
                f"n_layers={self.n_layers} does not divide by the length of "
                f"layer_pattern={list(self.layer_pattern)}"
            )
        if "banded" in self.layer_pattern and self.band_width is None:
            raise ValueError("layer_pattern has banded layers: give band_width (positions a token sees)")
        return self


ModelConfig = DecoderConfig
