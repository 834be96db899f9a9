# %% [markdown]
# # Import a model and score text
#
# `import_hf` reads a directory in the Hugging Face layout: `config.json` and safetensors. With no download
# at hand, this example makes such a directory first: it trains a small GPT-2 for a few steps and exports
# it.

# %%
import argparse

import scaling

small = {"n_layers": 1, "d_model": 32, "n_heads": 2}
source = f"text:{argparse.__file__}"
run = scaling.train(
    "cpu",
    {f"model.{name}": value for name, value in small.items()}
    | {
        "data.source": source,
        "data.sequence_length": 64,
        "train.batch_tokens": 1024,
        "train.tokens": 10240,
        "train.eval_tokens": 1024,
    },
    out="runs/small",
)
run

# %%
scaling.export_hf("runs/small", "downloads/small")

# %% [markdown]
# From here on it is the same for any directory in that layout.

# %%
scaling.import_hf("downloads/small", "runs/imported", tokenizer="bytes")

# %%
text = "def add(a, b):\n    return a + b\n"
scores = scaling.score("runs/imported", text)
scores

# %%
scores.to_frame().assign(character=list(text)).sort_values("log_prob").head()

# %%
same = scaling.score("runs/small", text)
print(f"{scores.bits_per_byte:.4f} bits per byte, {same.bits_per_byte:.4f} before the export")
assert abs(scores.bits_per_byte - same.bits_per_byte) < 1e-4

# %%
scaling.generate("runs/imported", "def ", tokens=20, seed=1)
