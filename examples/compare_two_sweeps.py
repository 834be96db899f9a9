# %% [markdown]
# # Compare two sweeps
#
# Does a change to the recipe pay off, and does it still at scale? Fit each sweep, then compare the
# exponents with their intervals and the loss at equal compute. Here both sweeps are generated: "after"
# needs 20% fewer tokens for the same loss, so the right answer is known.

# %%
import numpy as np
import pandas as pd

import scaling


def sweep(name: str, data_efficiency: float, seed: int) -> pd.DataFrame:
    """Points of Chinchilla's law with 0.2% of noise."""
    params, per_param = np.meshgrid([40e6, 100e6, 250e6, 600e6, 1.5e9], [5, 10, 20, 40, 80], indexing="ij")
    tokens = params * per_param
    loss = 1.69 + 406.4 / params**0.34 + 410.7 / (data_efficiency * tokens) ** 0.28
    loss *= np.exp(np.random.default_rng(seed).normal(0, 0.002, params.shape))
    columns = {"params": params.ravel(), "tokens": tokens.ravel(), "loss": loss.ravel()}
    return pd.DataFrame(columns).assign(recipe=name)


frame = pd.concat([sweep("before", 1.0, 0), sweep("after", 1.25, 1)], ignore_index=True)

# %% [markdown]
# `by` fits one law per value of a column, with the same settings. Sweep directories work in the same way:
# fit each with its own call.

# %%
fits = scaling.fit(frame, by="recipe", bootstrap=100, rolling=0, profile=False, sensitivity=False)
fits

# %%
fits.to_frame().set_index("recipe")[
    ["alpha", "alpha_low", "alpha_high", "beta", "beta_low", "beta_high", "a"]
]

# %% [markdown]
# Equal compute: the loss of each at its own optimum, with the interval of its law.

# %%
budgets = [1e20, 1e21, 1e22, 1e23]
rows = []
for recipe in ("before", "after"):
    for best in fits[recipe].allocate(budgets):
        low, high = best.loss_interval
        rows.append({"FLOPs": best.flops, "recipe": recipe, "loss": best.loss, "low": low, "high": high})
at_compute = pd.DataFrame(rows).pivot(index="FLOPs", columns="recipe")
at_compute

# %%
gain = at_compute["loss"]["before"] - at_compute["loss"]["after"]
overlap = at_compute["low"]["before"] < at_compute["high"]["after"]
pd.DataFrame({"lower loss by": gain, "intervals overlap": overlap})

# %%
scaling.plot("loss-vs-compute", frame, where={"recipe": "after"}, law=fits["after"], bootstrap=100)
