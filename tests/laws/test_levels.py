"""Laws are refused where too few different values of a variable leave their parameters undetermined."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.laws.forms.laws import LAWS
from scaling.laws.points import Points
from scaling.laws.refusals import refuse
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural
from tests.laws.known import points_of

NEEDED = {
    "chinchilla": {"params": 3, "tokens": 3},
    "params-floor": {"params": 3},
    "broken-params": {"params": 6},
    "broken-tokens": {"tokens": 6},
    "broken-params-2": {"params": 9},
    "broken-compute-2": {"flops": 9},
    "kaplan-steps": {"params": 3, "min_steps": 3},
    "downstream-error": {"loss": 4},
}


def with_levels(variable: str, levels: int) -> Points:
    """60 runs with so many different values of one variable, and 20 of every other."""
    random = np.random.default_rng(0)
    spread = np.geomspace(1.0, 100.0, 20)
    few = np.geomspace(1.0, 100.0, levels)[np.arange(60) % levels]
    columns = {
        name: few if name == variable else random.permutation(np.repeat(spread, 3))
        for name in ("params", "tokens", "flops", "loss", "unique_tokens", "min_steps", "batch_tokens")
    }
    sizes = 1e8 * columns["params"], 1e9 * columns["tokens"]
    points = points_of(*sizes, 1 + columns["loss"] / 50)
    return replace(
        points,
        flops=1e18 * columns["flops"],
        unique_tokens=1e6 * columns["unique_tokens"],
        min_steps=1e3 * columns["min_steps"],
        batch_tokens=1e5 * columns["batch_tokens"],
        learning_rate=np.full(60, 1e-3),
        error=np.linspace(0.2, 0.8, 60),
    )


@pytest.mark.parametrize("name", LAWS)
def test_one_value_fewer_than_needed_is_refused(name: str) -> None:
    law = LAWS[name]
    assert NEEDED.get(name, {}).items() <= {v: law.levels_needed(v) for v in law.variables}.items()
    for variable in law.variables:
        needed = law.levels_needed(variable)
        if len(law.variables) == 1 and law.theta_names:
            assert needed >= len(law.theta_names)  # every parameter acts on the only variable
        few = with_levels(variable, needed - 1)
        with pytest.raises(BadInputError) as error:
            refuse(law, few, force=False)
        assert f"{name} needs at least" in str(error.value)
        if law.select(law.log_variables(few), np.log(few.loss)).sum() >= law.min_points:
            count = plural(needed - 1, "different value")
            words = f"{count} of {variable}; {name} needs at least {needed}"
            assert words in str(error.value) and "--force" in str(error.value)
            assert any(words in one for one in refuse(law, few, force=True))


def test_a_broken_law_is_fitted_to_as_many_values_as_parameters() -> None:
    points = with_levels("params", 6)
    law = LAWS["broken-params"]
    columns = law.log_variables(points)
    assert law.has_levels(columns) and not law.has_levels(columns[columns[:, 0] < columns.max()])
