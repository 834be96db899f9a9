"""From one dial, the depth, to a model and its training settings."""

from typing import Any

from scaling.config.load import merge, validate
from scaling.config.model import ModelConfig
from scaling.config.sweep import Recipe
from scaling.estimate.parameters import count_parameters

Tree = dict[str, Any]
_DEEPEST = 256


def model_at_depth(recipe: Recipe, depth: int, base: Tree) -> Tree:
    """The model tree of a rung: width and heads follow from the depth; what `base` gives wins."""
    heads = max(1, round(recipe.width_per_layer * depth / recipe.d_head))
    shape = {"n_layers": depth, "d_model": heads * recipe.d_head, "n_heads": heads, "d_head": recipe.d_head}
    return merge({"name": f"depth-{depth}", **shape}, base)


def size(recipe: Recipe, depth: int, base: Tree) -> int:
    """N of a rung: non-embedding parameters with the output head."""
    model = validate(ModelConfig, model_at_depth(recipe, depth, base), "model")
    return count_parameters(model).non_embedding_with_head


def depth_for(recipe: Recipe, params: float, base: Tree) -> int:
    """The depth whose N is nearest to `params`, in ratio."""
    best, best_ratio = 1, float("inf")
    for depth in range(1, _DEEPEST + 1):
        n = size(recipe, depth, base)
        ratio = max(n / params, params / n)
        if ratio < best_ratio:
            best, best_ratio = depth, ratio
        if n > params:
            break
    return best


def training_at_size(recipe: Recipe, params: int, sequence_length: int) -> Tree:
    """Batch and learning rate of a rung by the recipe's power laws."""
    ratio = params / recipe.reference_params
    rows = max(1, round(recipe.batch_tokens * ratio**recipe.batch_exponent / sequence_length))
    return {
        "batch_tokens": rows * sequence_length,
        "learning_rate": float(f"{recipe.learning_rate * ratio**recipe.learning_rate_exponent:.4g}"),
    }
