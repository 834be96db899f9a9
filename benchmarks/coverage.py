"""How often 95% bootstrap intervals hold the truth, on data of a known law with normal noise.

    python benchmarks/coverage.py --law params-power --law chinchilla

prints one JSON document: by law and parameter, the share of draws whose interval holds the true value. Every
draw has its own targets and its own resamples of points; all are solved together, from the true parameters.
The interval is the percentile interval that `scaling fit --bootstrap` reports.
"""

import argparse
import json

import numpy as np

from scaling.laws.registry import LAWS
from scaling.laws.solver import solve

# Published constants, as in tests/laws/test_forms.py.
TRUTH = {
    "params-power": {"Nc": 8.8e13, "alpha_N": 0.076},
    "params-floor": {"E": 1.7, "Nc": 5e7, "alpha_N": 0.34},
    "tokens-power": {"Dc": 5.4e13, "alpha_D": 0.095},
    "tokens-floor": {"E": 1.7, "Dc": 1e9, "alpha_D": 0.28},
    "chinchilla": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "over-training": {"E": 1.84, "a": 212.0, "b": 367.0, "eta": 0.136},
    "kaplan-tokens": {"Nc": 6.4e13, "Dc": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
}


def coverage(name: str, draws: int, resamples: int, noise: float, delta: float) -> dict[str, float]:
    """The share of draws whose interval holds each parameter's true value."""
    law, random = LAWS[name], np.random.default_rng(0)
    size, budget = np.geomspace(1e7, 1e10, 9), np.geomspace(1e9, 3e11, 6)
    run = {"params": np.repeat(size, 6), "tokens": np.tile(budget, 9)}
    columns = np.log(np.stack([run[v] for v in law.variables], axis=1))
    reference = law.reference(columns)
    exact = np.log(law.predict(TRUTH[name], **{v: run[v] for v in law.variables}))
    n = len(exact)
    targets = np.repeat(exact + noise * random.normal(size=(draws, n)), resamples, axis=0)
    weights = random.multinomial(n, np.full(n, 1 / n), size=draws * resamples).astype(float)
    start = np.repeat(law.theta(TRUTH[name], reference)[None], len(weights), axis=0)
    first = np.full(len(weights), max(delta, 4 * noise))
    rows = np.arange(len(weights))
    out = solve(law, columns - reference, targets, weights, rows, start, first, delta)
    fitted = law.parameters(out.theta, reference).reshape(draws, resamples, -1)
    low, high = np.quantile(fitted, [0.025, 0.975], axis=1)
    true = np.array([TRUTH[name][p] for p in law.parameter_names])
    inside = ((low <= true) & (true <= high)).mean(axis=0)
    return dict(zip(law.parameter_names, map(float, inside), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--law", action="append", choices=sorted(TRUTH), help="default: all")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.005)
    parser.add_argument("--delta", type=float, default=1e-3)
    args = parser.parse_args()
    settings = (args.draws, args.resamples, args.noise, args.delta)
    table = {name: coverage(name, *settings) for name in args.law or TRUTH}
    print(json.dumps({**vars(args), "law": list(table), "coverage": table}, indent=2))


if __name__ == "__main__":
    main()
