"""One table of costs and one of modules, with an entry for every family that a config can name."""

from typing import get_args

import pytest

from scaling.config.load import load_model, model_names, validate
from scaling.config.model import ModelConfig, NetworkConfig
from scaling.estimate.families import FAMILIES, family_of
from scaling.estimate.layout import Layout
from scaling.models.build import MODULES
from scaling.runtime.errors import BadInputError

NAMED = {load_model(name).family: name for name in model_names()}


def test_every_family_has_its_costs_and_its_module() -> None:
    families = {kind.model_fields["family"].default for kind in get_args(NetworkConfig)}
    assert set(FAMILIES) == set(MODULES) == set(NAMED) == families


def test_an_ngram_has_no_costs() -> None:
    config = validate(ModelConfig, {"family": "ngram", "vocab_size": 9, "max_length": 8, "order": 3})
    with pytest.raises(BadInputError, match="family=ngram"):
        family_of(config)


@pytest.mark.parametrize("name", NAMED.values(), ids=NAMED)
def test_a_family_is_complete(name: str) -> None:
    """Its layers are those of the config, and longer sequences never cost less."""
    model = load_model(name)
    family = family_of(model)
    groups = family.activations(Layout(data=1, fsdp=1, tensor=1, rows=4, length=32), "cpu")
    depth = model.n_layers + getattr(model, "decoder_layers", model.n_layers) * model.two_sided  # type: ignore[union-attr]
    assert sum(group.layers for group in groups) == depth
    assert {group.side for group in groups} == ({"source", "target"} if model.two_sided else {"source"})
    for group in groups:
        kept = [group.activations.kept(remat) for remat in ("full", "dots", "none")]
        assert 0 < kept[0] <= kept[1] and kept[0] <= kept[2]
    short, long = (family.forward_flops(length, length, "causal").total for length in (16, 32))
    assert 2 * short <= long <= 4 * short
    assert family.executed_flops(32, 32, 1, 1) >= 3 * long * 0.99
