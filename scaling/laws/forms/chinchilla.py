"""The parametric law of Hoffmann et al. 2022 (arXiv:2203.15556), equation 2, fitted as in equation 10."""

from itertools import product

import numpy as np

from scaling.laws.forms.form import Floats
from scaling.laws.forms.power_sum import PowerSum, constant, falling


def hoffmann_grid(form: PowerSum, log_target: Floats, reference: Floats) -> Floats:
    """The 4,500 starts of Hoffmann et al. 2022, appendix D.3."""
    exponents = (0.0, 0.5, 1.0, 1.5, 2.0)
    logs = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0)
    grid = np.array(list(product((-1.0, -0.5, 0.0, 0.5, 1.0), logs, logs, exponents, exponents)))
    return (
        grid
        - np.outer(grid[:, 3], [0, 1, 0, 0, 0]) * reference[0]
        - np.outer(grid[:, 4], [0, 0, 1, 0, 0]) * reference[1]
    )


CHINCHILLA = PowerSum(
    "chinchilla",
    (constant("E"), falling("A", "params", "alpha"), falling("B", "tokens", "beta")),
    starts=hoffmann_grid,
)
