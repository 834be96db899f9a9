# %% [markdown]
# # Train a small ladder and read the result
#
# Three sizes, one token budget each, on the source of Python's argparse module. All is tiny, so that this
# runs in seconds on a CPU; `scaling demo` is the same on a ladder that is large enough for a law.

# %%
import argparse

import scaling

source = f"text:{argparse.__file__}"
ladder = {
    "name": "ladder",
    "design": "grid",
    "base": {
        "base": "cpu",
        "model": {"n_layers": 1, "n_heads": 1},
        "data": {"source": source, "sequence_length": 64},
        "train": {"batch_tokens": 1024, "tokens": 20480, "eval_tokens": 1024, "learning_rate": 0.01},
    },
    "axes": {"model.d_model": [8, 16, 32]},
}
scaling.sweep(ladder, dry_run=True)

# %% [markdown]
# The same call without `dry_run` trains. It skips finished runs, so a notebook can be run again.

# %%
sweep = scaling.sweep(ladder, out="runs/ladder")
sweep

# %%
status = scaling.status(sweep.directory)
status.to_frame()[["name", "status", "params.total", "tokens", "validation_loss"]]

# %% [markdown]
# A finished run is read, not trained again: its record, and a row per logged step.

# %%
run = scaling.train("runs/ladder/d_model=32/config.yaml", out="runs/ladder/d_model=32")
print(f"loss {run.loss:.4f} nats per token after {run.record.tokens:,} tokens")
run.to_frame().tail()

# %% [markdown]
# `read` gives the points that laws are fitted to, from this directory or any other.

# %%
points = scaling.read(sweep.directory)
points.to_frame()[["label", "params", "tokens", "flops", "loss"]]

# %%
scaling.plot("loss-vs-compute", sweep.directory)
