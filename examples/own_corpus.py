# %% [markdown]
# # Train on a corpus of your own
#
# Parquet and JSON lines are generated, a tokenizer is trained on them, three corpora are prepared by two
# processes, and a mixture of them is trained, killed and resumed. `OWN_CORPUS_MB` is the size of the text:
# 200 MB by default, 2 MB in the tests.

# %%
import json
import os
import random
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SIZE = float(os.environ.get("OWN_CORPUS_MB", "200")) * 1e6


def scaling(*words: str) -> dict:
    """A command, and the JSON that it prints."""
    command = [sys.executable, "-m", "scaling.cli", *words, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


# %% [markdown]
# ## Three corpora
#
# Functions, comments and prose of the standard library, drawn at random until each corpus has its size.

# %%
library = [
    path.read_text(errors="ignore") for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
]
blocks = [block for text in library for block in text.split("\n\n") if 40 < len(block) < 4000]
kinds = {
    "code": [block for block in blocks if "def " in block],
    "notes": [block for block in blocks if "#" in block],
    "prose": [block for block in blocks if "def " not in block and "#" not in block],
}
draw = random.Random(0)


def documents(kind: str, size: float) -> list[str]:
    """Some paragraphs each, of `size` characters together."""
    texts, written = [], 0
    while written < size:
        texts.append("\n\n".join(draw.choices(kinds[kind], k=draw.randint(2, 8))))
        written += len(texts[-1])
    return texts


Path("texts").mkdir(exist_ok=True)
pq.write_table(
    pa.table({"content": documents("prose", SIZE / 2)}), "texts/prose.parquet", row_group_size=2000
)
for kind in ("code", "notes"):
    with open(f"texts/{kind}.jsonl", "w") as file:
        file.writelines(json.dumps({"content": text}) + "\n" for text in documents(kind, SIZE / 4))
sources = {
    "prose": "parquet:texts/prose.parquet",
    "code": "jsonl:texts/code.jsonl",
    "notes": "jsonl:texts/notes.jsonl",
}

# %% [markdown]
# ## Tokenizer and preparation

# %%
made = ["--kind", "bpe", "--vocab-size", "2048", "--max-bytes", "2000000", "--out", "tokenizer"]
scaling("data", "tokenizer", "--source", sources["prose"], "--field", "content", *made)
prepared = {}
for name, source in sources.items():
    options = [
        "--field",
        "content",
        "--tokenizer",
        "hf:tokenizer",
        "--workers",
        "2",
        "--out",
        f"prepared/{name}",
    ]
    prepared[name] = scaling("data", "prepare", source, *options)
counts = ["documents", "tokens", "text_bytes", "empty", "duplicates", "shards"]
pd.DataFrame({name: one["manifest"] for name, one in prepared.items()}).T[counts]

# %% [markdown]
# ## A mixture, killed and resumed
#
# The run is killed after its first checkpoint and started again. An uninterrupted run has the same loss at
# every step, to the last bit.

# %%
run = {
    "name": "own",
    "model": "cpu-213k",
    "data": {
        "tokenizer": "hf:tokenizer",
        "sequence_length": 64,
        "mixture": {
            name: {"source": f"prepared:prepared/{name}", "weight": weight}
            for name, weight in {"prose": 0.5, "code": 0.3, "notes": 0.2}.items()
        },
    },
    "train": {
        "steps": 60,
        "batch_tokens": 512,
        "learning_rate": 1e-3,
        "eval_tokens": 1024,
        "checkpoint_every": 10,
        "log_every": 1,
    },
}
Path("own.yaml").write_text(json.dumps(run))
train = ["train", "own.yaml", "model.vocab_size=2048"]
process = subprocess.Popen([sys.executable, "-m", "scaling.cli", *train, "--out", "runs/killed"])
while process.poll() is None and not any(Path("runs/killed/checkpoints").glob("[1-9]0*")):
    time.sleep(0.05)
process.kill()
process.wait()
resumed = scaling(*train, "--out", "runs/killed")
alone = scaling(*train, "--out", "runs/alone")


def losses(path: str) -> dict[int, float]:
    """Training loss by step; a step that was repeated counts once."""
    rows = [json.loads(line) for line in Path(path, "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


assert losses("runs/killed") == losses("runs/alone") and len(losses("runs/alone")) == 60
pd.DataFrame({"killed and resumed": losses("runs/killed"), "uninterrupted": losses("runs/alone")}).tail()

# %% [markdown]
# ## Losses by source, in nats per token and bits per byte

# %%
pd.DataFrame(json.loads(Path("runs/alone/record.json").read_text())["by_source"]).T

# %% [markdown]
# ## Memory
#
# Documents stay on disk: the peak of a training process does not depend on the size of its corpus.
# `python benchmarks/prepare.py --memory` compares corpora of 20 MB, 200 MB and 2 GB.

# %%
json.loads(Path("runs/alone/record.json").read_text())["peak_memory_bytes"]
