# %% [markdown]
# # Fit a law to a table of runs
#
# Any table with parameters, tokens and loss will do: a CSV, or a DataFrame as here. The points below follow
# Chinchilla's law (Hoffmann et al. 2022) with 0.3% of noise, so the right answer is known.

# %%
import numpy as np
import pandas as pd

import scaling

E, A, B, alpha, beta = 1.69, 406.4, 410.7, 0.34, 0.28
params, per_param = np.meshgrid([40e6, 100e6, 250e6, 600e6, 1.5e9], [5, 10, 20, 40, 80], indexing="ij")
tokens = params * per_param
noise = np.exp(np.random.default_rng(0).normal(0, 0.003, params.shape))
loss = (E + A / params**alpha + B / tokens**beta) * noise
frame = pd.DataFrame({"params": params.ravel(), "tokens": tokens.ravel(), "loss": loss.ravel()})
frame.head()

# %% [markdown]
# `fit` starts from many points, resamples for intervals, and holds the largest runs out as a test. Here it
# also predicts one run beyond the data, and allocates one training compute.

# %%
fit = scaling.fit(
    frame,
    law="chinchilla",
    bootstrap=100,
    predict={"params": 7e9, "tokens": 140e9},
    at=[1e22],
    sensitivity=False,
)
fit

# %% [markdown]
# Results are objects with fields, a dictionary (what `scaling fit --json` prints) and a data frame.

# %%
fit.to_frame()

# %%
true_loss = E + A / 7e9**alpha + B / 140e9**beta
print(f"predicted {fit.prediction.value:.4f}, interval {fit.prediction.interval}, true {true_loss:.4f}")

# %%
scaling.plot("loss-vs-compute", frame, law=fit, bootstrap=100)

# %% [markdown]
# The law can be asked again without fitting: `fit.predict(params=..., tokens=...)`, `fit.allocate([1e23])`.

# %%
fit.write("law.json")
best = fit.allocate([1e23])[0]
print(f"1e23 FLOPs: {best.params:.3g} parameters, {best.tokens:.3g} tokens, loss {best.loss:.3f}")
