"""Counts from the config equal the module's own, for every named model, and the published figures."""

import jax
import pytest
from flax import nnx

from scaling.config.load import load_model, model_names
from scaling.estimate.counts import count_parameters, tensors
from scaling.models.build import new_model
from scaling.models.decoder import Decoder
from scaling.parallel.mesh import logical_axes


@pytest.mark.parametrize("name", model_names())
def test_tensors_equal_the_module(name: str) -> None:
    """Tensor by tensor: path, shape and logical axes; and so the counts."""
    config = load_model(name)
    tree = jax.eval_shape(lambda: new_model(config, jax.random.key(0)))
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: isinstance(node, nnx.Variable))[
        0
    ]
    module = {
        jax.tree_util.keystr(path, simple=True, separator="."): (node.get_value().shape, logical_axes(node))
        for path, node in leaves
        if isinstance(node, nnx.Variable)
    }
    assert {tensor.name: (tensor.shape, tensor.axes) for tensor in tensors(config)} == module
    counts = count_parameters(config)
    assert counts.total == sum(counts.by_component.values()) >= (counts.active or 0)


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        (["tie_embeddings=false"], 50257 * 768),
        (["bias=false"], -(12 * (3 * 768 + 768 + 3072 + 768 + 2 * 768) + 768)),
        (["norm=post"], -2 * 768),
        (["d_head=32"], -12 * (4 * 768 * 384 + 3 * 384)),
    ],
)
def test_options_change_the_count_as_they_should(overrides: list[str], changes: int) -> None:
    config = load_model("gpt2-124m", overrides)
    shapes = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count_parameters(config).total == total == 124_439_808 + changes


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gpt1", 116_534_784),
        ("gpt2-124m", 124_439_808),
        ("gpt2-355m", 354_823_168),
        ("gpt2-774m", 774_030_080),
        ("gpt2-1.5b", 1_557_611_200),
    ],
)
def test_released_models(name: str, published: int) -> None:
    assert count_parameters(load_model(name)).total == published


# Brown et al. 2020, Table 2.1 (rounded by the authors).
@pytest.mark.parametrize(
    ("name", "stated", "tolerance"),
    [
        ("gpt3-125m", 125e6, 0.01),
        ("gpt3-350m", 350e6, 0.02),
        ("gpt3-760m", 760e6, 0.01),
        ("gpt3-1.3b", 1.3e9, 0.02),
        ("gpt3-2.7b", 2.7e9, 0.02),
        ("gpt3-6.7b", 6.7e9, 0.01),
        ("gpt3-13b", 13e9, 0.02),
        ("gpt3-175b", 175e9, 0.005),
    ],
)
def test_gpt3_sizes(name: str, stated: float, tolerance: float) -> None:
    assert count_parameters(load_model(name)).total == pytest.approx(stated, rel=tolerance)


def test_named_models_are_all_there() -> None:
    names = model_names()
    assert len([n for n in names if n.startswith("chinchilla-")]) == 50
    assert {"gpt1", "gpt2-1.5b", "gpt3-175b", "chinchilla-44m", "chinchilla-16183m"} <= set(names)


def test_chinchilla_sizes_lie_where_the_config_says() -> None:
    """Below the printed size by the relative-position projections that these configs leave out."""
    for name in model_names():
        if name.startswith("chinchilla-"):
            printed = float(name.removeprefix("chinchilla-").removesuffix("m")) * 1e6
            config = load_model(name)
            count = count_parameters(config)
            relative = config.n_layers * config.d_model * config.n_heads * config.d_head
            restored = count.total - count.by_component["position_embedding"] + relative
            assert restored == pytest.approx(printed, rel=0.01), name
            assert -0.08 < count.total / printed - 1 < 0, name
