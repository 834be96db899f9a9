"""From one dial, the width, to a model and its training settings."""

from typing import Any

from scaling.config.load import merge, validate
from scaling.config.model import ModelConfig
from scaling.config.sweep import Recipe
from scaling.estimate.counts import count_parameters
from scaling.runtime.errors import BadInputError

Tree = dict[str, Any]
_MOST_HEADS = 512
_FURTHEST = 3.0  # a size is at most so many times its target, or the reverse


def model_at_width(recipe: Recipe, width: int, base: Tree, depth: int | None = None) -> Tree:
    """The model tree of a rung: heads, and a depth that is not given, follow from the width; `base` wins.

    Raises:
        BadInputError: the width is not a whole number of heads.
    """
    if width % recipe.d_head:
        raise BadInputError(
            f"width {width} is not a whole number of heads: the recipe {recipe.name!r} has "
            f"d_head={recipe.d_head}"
        )
    depth = depth or max(1, int(width / recipe.width_per_layer + 0.5))
    shape = {"n_layers": depth, "d_model": width, "n_heads": width // recipe.d_head, "d_head": recipe.d_head}
    return merge({"name": f"w{width}-d{depth}", **shape}, base)


def size(recipe: Recipe, width: int, base: Tree, depth: int | None = None) -> int:
    """N of a rung: non-embedding parameters with the output head."""
    model = validate(ModelConfig, model_at_width(recipe, width, base, depth), "base.model")
    return count_parameters(model).non_embedding_with_head


def width_for_depth(recipe: Recipe, depth: int) -> int:
    """The width of a rung of `depth` layers, in whole heads."""
    return max(1, round(depth * recipe.width_per_layer / recipe.d_head)) * recipe.d_head


def width_for_params(recipe: Recipe, params: float, base: Tree) -> int:
    """The width whose N is nearest to `params`, in ratio.

    Raises:
        BadInputError: no width of the recipe is within a factor of 3 of it.
    """
    best, best_ratio = recipe.d_head, float("inf")
    for heads in range(1, _MOST_HEADS + 1):
        n = size(recipe, heads * recipe.d_head, base)
        ratio = max(n / params, params / n)
        if ratio < best_ratio:
            best, best_ratio = heads * recipe.d_head, ratio
        if n > params:
            break
    if best_ratio > _FURTHEST:
        n = size(recipe, best, base)
        raise BadInputError(
            f"params {params:,.0f}: the nearest size of the recipe {recipe.name!r} is {n:,} at width {best}; "
            f"give a target nearer to it, or another recipe.d_head or base.model.vocab_size"
        )
    return best


def training_at_size(recipe: Recipe, params: int, sequence_length: int) -> Tree:
    """Batch and learning rate of a rung by the recipe's power laws."""
    ratio = params / recipe.reference_params
    rows = max(1, round(recipe.batch_tokens * ratio**recipe.batch_exponent / sequence_length))
    return {
        "batch_tokens": rows * sequence_length,
        "learning_rate": float(f"{recipe.learning_rate * ratio**recipe.learning_rate_exponent:.4g}"),
    }
