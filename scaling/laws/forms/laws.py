"""The laws that `scaling fit --law NAME` knows."""

from itertools import product

import numpy as np

from scaling.laws.forms.broken import BROKEN
from scaling.laws.forms.chinchilla import CHINCHILLA, RepeatedData
from scaling.laws.forms.coupled import Coupled
from scaling.laws.forms.farseer import Farseer
from scaling.laws.forms.form import Form, no_term
from scaling.laws.forms.kaplan import KaplanTokens
from scaling.laws.forms.power_sum import (
    Power,
    PowerSum,
    Term,
    constant,
    product_of,
    ratio,
    share_grid,
)
from scaling.laws.forms.task_error import DownstreamError, GadreError

_ALONE = ((1.0,),)
_POWER = share_grid(_ALONE, np.geomspace(0.01, 2.0, 12))
_FLOOR = share_grid([(s, 1 - s) for s in np.linspace(0.02, 0.98, 10)], np.geomspace(0.01, 2.0, 10), "min")
_SIGNS = share_grid(_ALONE, (-0.5, 0.0, 0.5))
_HALVES = [(s, 1 - s) for s in (0.1, 0.3, 0.5, 0.7, 0.9)]
_SPLITS = [
    (s, (1 - s) * n, (1 - s) * (1 - n)) for s, n in product(np.linspace(0.05, 0.95, 7), (0.2, 0.5, 0.8))
]


SUMS = (
    # Henighan et al. 2020 (arXiv:2010.14701), equation 1.1, on the lower envelope of loss against compute.
    PowerSum(
        "compute-envelope",
        (constant("E"), ratio("C0", "flops", "gamma")),
        starts=_FLOOR,
        reads="hull",
    ),
    # Kaplan et al. 2020 (arXiv:2001.08361), equation 1.3, on the same envelope.
    PowerSum(
        "compute-power",
        (ratio("C0", "flops", "gamma"),),
        starts=_POWER,
        reads="hull",
        equation="L(C) = (C0 / C)^gamma",
        theta_names=("log L", "gamma"),
    ),
    # Henighan et al. 2020, equation 1.1 in N.
    PowerSum(
        "params-floor",
        (constant("E"), ratio("Nc", "params", "alpha_N")),
        starts=_FLOOR,
        reads="lowest",
        theta_names=("log E", "log (X0/X)^exponent", "exponent"),
    ),
    # Kaplan et al. 2020, equation 1.1.
    PowerSum(
        "params-power",
        (ratio("Nc", "params", "alpha_N"),),
        starts=_POWER,
        reads="lowest",
        theta_names=("log L", "exponent"),
    ),
    # Henighan et al. 2020, equation 1.1 in D.
    PowerSum(
        "tokens-floor",
        (constant("E"), ratio("Dc", "tokens", "alpha_D")),
        starts=_FLOOR,
        reads="lowest",
        theta_names=("log E", "log (X0/X)^exponent", "exponent"),
    ),
    # Kaplan et al. 2020, equation 1.2.
    PowerSum(
        "tokens-power",
        (ratio("Dc", "tokens", "alpha_D"),),
        starts=_POWER,
        reads="lowest",
        theta_names=("log L", "exponent"),
    ),
    # Gadre et al. 2024 (arXiv:2403.08540), equation 4: parallel lines in log C, shifted by M = D / N. With
    # C = 6ND the terms are a 6^-eta N^-2eta and b 6^-eta D^-2eta: Chinchilla's law with one exponent. The
    # authors fit it by least squares of the loss itself: `residual="plain"`, `delta=10`.
    PowerSum(
        "over-training",
        (
            constant("E"),
            Term("a", (Power("params", "eta", -2.0),), "a M^eta C^-eta", over=6.0),
            Term("b", (Power("tokens", "eta", -2.0),), "b M^-eta C^-eta", over=6.0),
        ),
        starts=share_grid(_SPLITS, np.geomspace(0.02, 1.0, 7)),
        equation="L(C, M) = E + (a M^eta + b M^-eta) C^-eta with M = D/N, C = 6ND",
        theta_names=("log E", "log a (M/C)^eta", "log b (MC)^-eta", "eta"),
        limits=(
            no_term("a", 1, "(a M^eta + b M^-eta)", rest="(b M^-eta)"),
            no_term("b", 2, "(a M^eta + b M^-eta)", rest="(a M^eta)"),
            no_term("E", 0, "E + ", optimum=True),
        ),
    ),
    # Kaplan et al. 2020, equation 1.6, in N and S_min, the steps that an infinite batch would take: a column
    # `min_steps`, or from tokens, `batch_tokens` and loss by equations 1.4 and 5.4 (see `CriticalBatch`).
    PowerSum(
        "kaplan-steps",
        (ratio("Nc", "params", "alpha_N"), ratio("Sc", "min_steps", "alpha_S")),
        starts=share_grid(_HALVES, (0.03, 0.1, 0.3, 0.8), exponents_first=True),
    ),
    # Kaplan et al. 2020, equation 1.4, fitted to measured critical batch sizes: `batch_tokens` at each loss.
    PowerSum(
        "critical-batch",
        (Term("B_star", (Power("loss", "alpha_B"),), "B_star / L^(1 / alpha_B)", inverse=True),),
        target="batch_tokens",
        starts=share_grid(_ALONE, np.geomspace(0.5, 20.0, 8)),
        equation="B_crit(L) = B_star / L^(1 / alpha_B), B_crit in batch_tokens",
        theta_names=("log B_crit", "1 / alpha_B"),
        bounds=((0.0, 40.0), (1e-2, 100.0)),
    ),
)

# The best learning rate and batch size (in tokens) at each budget, read off the run of lowest loss: runs must
# sweep the setting. Exponents have either sign. In N and D as Bjorck et al. 2024 (arXiv:2409.19913); in C as
# DeepSeek-AI 2024 (arXiv:2401.02954), equation 1.
SETTINGS = tuple(
    PowerSum(
        f"{word}{suffix}",
        (product_of("c", **exponents),),
        target=target,
        starts=_SIGNS,
        reads="lowest",
        swept=True,
        theta_names=("log level", *exponents.values()),
    )
    for word, target in (("learning-rate", "learning_rate"), ("batch-size", "batch_tokens"))
    for suffix, exponents in (("", {"params": "a", "tokens": "b"}), ("-compute", {"flops": "a"}))
)

LAWS: dict[str, Form] = {
    law.name: law
    for law in (
        CHINCHILLA,
        RepeatedData(),
        KaplanTokens(),
        Coupled(),
        Farseer(),
        *SUMS,
        *BROKEN,
        DownstreamError(),
        GadreError(),
        *SETTINGS,
    )
}
