# %% [markdown]
# # Price a ladder of models
#
# What do the sizes of GPT-3 cost on 64 H100s, each trained on 20 tokens per parameter? An estimate is
# arithmetic alone and takes milliseconds.

# %%
import pandas as pd

import scaling

sizes = scaling.models("gpt3").to_frame()
sizes[["model", "params.total", "train_flops_per_token"]]

# %%
rows = []
for model, params in zip(sizes["model"], sizes["params.total"], strict=True):
    one = scaling.estimate(model, on="h100-sxm:64", tokens=20 * params, batch_tokens=2**19, remat="full")
    rows.append(
        {
            "model": model,
            "tokens": one.train["tokens"],
            "FLOPs": one.train["flops"],
            "GiB per device": one.memory["total_bytes"] / 2**30,
            "fits": one.memory["fits"],
            "hours": one.time["train_hours"],
            "MFU": one.time["mfu"],
            "USD": one.cost and one.cost["usd"],
        }
    )
ladder = pd.DataFrame(rows).set_index("model")
ladder.style.format("{:.3g}", subset=[name for name in ladder if name != "fits"], na_rep="-")

# %% [markdown]
# One of them in full: parameters by component, FLOPs, memory, time and price, with what each rests on.

# %%
scaling.estimate("gpt3-2.7b", on="h100-sxm:64", tokens=54e9, batch_tokens=2**19, mesh={"fsdp": 64})

# %% [markdown]
# The other way round: what should 5,000 USD train? The plan carries a run config that `scaling.train`
# accepts.

# %%
plan = scaling.plan("h100-sxm:64", usd=5000, law="chinchilla-replication")
plan

# %%
low, high = plan.loss["interval"]
loss = f"{plan.loss['predicted']:.3f} ({low:.3f} to {high:.3f})"
print(f"{plan.params:,} parameters, {plan.tokens:,} tokens, loss {loss}")
plan.write("run.yaml")
