"""Preparing a corpus: speed against two usual ways, memory over sizes, and how long training waits for its input.

    python benchmarks/prepare.py                         # speed, in turn (A B C A B C) in one run
    python benchmarks/prepare.py --mb 200 --rounds 5
    python benchmarks/prepare.py --memory                # 20 MB, 200 MB, 2 GB: 8 GB of disk, removed at the end
    python benchmarks/prepare.py --wait                  # a run on a prepared corpus

Speed, all with the same tokenizer.json (a byte-level BPE trained here) and two processes, imports not counted:

  ours      `scaling data prepare`: JSON lines to shards, with hashes, the split and the manifest
  datasets  `load_dataset("json")`, then `map(batched=True, num_proc=2)` with the tokenizer of `transformers`, which
            leaves the ids in Arrow files
  memmap    as nanoGPT prepares OpenWebText: `map(num_proc=2)` document by document, then all ids joined in one
            np.memmap of uint16. `tiktoken` encodes there; here the same tokenizer.json does

Prints JSON: median seconds of each, and the medians over rounds of theirs / ours. With --memory, the peak of the
resident memory of all processes of a preparation, and that of a training process afterwards, in MB by size.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

OURS = """
import sys, time
from pathlib import Path
from scaling.config.data import DataConfig
from scaling.data.store.prepare import prepare
import scaling.data.sources.json_lines
source, tokenizer, out = sys.argv[1:]
begin = time.perf_counter()
done = prepare(DataConfig(source=f"jsonl:{source}", tokenizer=f"hf:{tokenizer}"), Path(out), workers=2)
print(time.perf_counter() - begin, done.manifest.tokens - done.manifest.documents)
"""
DATASETS = """
import sys, time
import datasets, transformers
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
source, tokenizer, out = sys.argv[1:]
begin = time.perf_counter()
encode = transformers.PreTrainedTokenizerFast(tokenizer_file=tokenizer)
rows = datasets.load_dataset("json", data_files=source, split="train", cache_dir=out)
ids = rows.map(
    lambda batch: {"ids": encode(batch["text"], return_attention_mask=False)["input_ids"]},
    batched=True, num_proc=2, remove_columns=rows.column_names,
)
print(time.perf_counter() - begin, 0)
"""
MEMMAP = """
import sys, time
import datasets, numpy as np, tokenizers
datasets.disable_progress_bars()
source, tokenizer, out = sys.argv[1:]
begin = time.perf_counter()
encode = tokenizers.Tokenizer.from_file(tokenizer)
rows = datasets.load_dataset("json", data_files=source, split="train", cache_dir=out)

def encoded(row):
    ids = encode.encode(row["text"]).ids
    ids.append(0)
    return {"ids": ids, "len": len(ids)}

sides = rows.train_test_split(test_size=0.05, seed=0)
total = 0
for name, side in sides.items():
    side = side.map(encoded, num_proc=2, remove_columns=side.column_names)
    length = int(np.sum(side["len"], dtype=np.uint64))
    written = np.memmap(f"{out}/{name}.bin", dtype=np.uint16, mode="w+", shape=(length,))
    at = 0
    for number in range(min(64, len(side))):
        batch = side.shard(min(64, len(side)), number, contiguous=True).with_format("numpy")
        joined = np.concatenate(list(batch["ids"]))
        written[at : at + len(joined)] = joined
        at += len(joined)
    written.flush()
    total += length - len(side)
print(time.perf_counter() - begin, total)
"""
WAYS = {"ours": OURS, "datasets": DATASETS, "memmap": MEMMAP}
TRAIN = """
import sys, resource, json
from scaling.config.load import load_run
from scaling.train.loop import train
from pathlib import Path
source, out, steps = sys.argv[1:]
run = load_run({"name": "bench", "model": "cpu-213k", "data": {"source": source, "sequence_length": 128},
    "train": {"steps": int(steps), "batch_tokens": 2048, "learning_rate": 1e-3, "eval_tokens": 4096}})
record = train(run, Path(out))
status = Path("/proc/self/status").read_text()
peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps({"peak_mb": peak, "seconds": record.seconds, "goodput": record.goodput.model_dump(mode="json")}))
"""


def documents(count_bytes: int, out: Path, seed: int = 0) -> None:
    """JSON lines of the given size: paragraphs of the standard library's source in random order, 1 to 8 of them."""
    texts = [
        path.read_text(errors="ignore") for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    ]
    paragraphs = [part for text in texts for part in text.split("\n\n") if len(part) > 40]
    draw, written = random.Random(seed), 0
    with out.open("w") as file:
        while written < count_bytes:
            text = "\n\n".join(draw.choices(paragraphs, k=draw.randint(1, 8)))
            written += file.write(json.dumps({"text": f"{draw.getrandbits(40)}\n{text}"}) + "\n")


def tokenizer(folder: Path, source: Path) -> Path:
    """A byte-level BPE of 16,384 tokens, trained on the beginning of a corpus."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    with source.open() as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(5000), strict=False)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=16_384, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def run(code: str, *arguments: object) -> str:
    # The usual ways warn about forks of parallel tokenizers, and then switch their threads off themselves.
    environment = os.environ | {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.splitlines()[-1]


def speed(folder: Path, mb: int, rounds: int) -> dict[str, Any]:
    source = folder / "corpus.jsonl"
    documents(mb * 10**6, source)
    vocabulary = tokenizer(folder, source)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    tokens = {}
    for number in range(rounds):
        for way, code in WAYS.items():
            out = folder / f"{way}-{number}"
            if way != "ours":
                out.mkdir()
            taken, count = run(code, source, vocabulary, out).split()
            seconds[way].append(float(taken))
            tokens[way] = int(count)
            shutil.rmtree(out)
    assert tokens["memmap"] == tokens["ours"], tokens
    return {
        "mb": mb,
        "tokens": tokens["ours"],
        "seconds": {way: round(statistics.median(taken), 2) for way, taken in seconds.items()},
        "mb_per_second": round(mb / statistics.median(seconds["ours"]), 2),
        "ratio": {
            way: round(statistics.median(b / a for a, b in zip(seconds["ours"], taken, strict=True)), 3)
            for way, taken in seconds.items()
            if way != "ours"
        },
    }


class Peak(threading.Thread):
    """The largest sum of the resident memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.bytes = psutil.Process(pid), 0

    def run(self) -> None:
        while self.process.is_running():
            total = 0
            try:
                for one in [self.process, *self.process.children(recursive=True)]:
                    total += one.memory_info().rss
            except psutil.Error:
                continue
            self.bytes = max(self.bytes, total)
            time.sleep(0.05)


def memory(folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    rows = []
    for mb in sizes:
        source, out = folder / f"{mb}.jsonl", folder / f"prepared-{mb}"
        documents(mb * 10**6, source)
        command = [sys.executable, "-m", "scaling.cli", "data", "prepare", f"jsonl:{source}"]
        process = subprocess.Popen(
            [*command, "--out", str(out), "--workers", "2", "--json"], stdout=subprocess.PIPE
        )
        peak = Peak(process.pid)
        peak.start()
        document = json.loads(process.communicate()[0])
        source.unlink()
        trained = json.loads(run(TRAIN, f"prepared:{out}", folder / f"run-{mb}", 20))
        shutil.rmtree(out)
        rows.append(
            {
                "mb": mb,
                "documents": document["manifest"]["documents"],
                "prepare_peak_mb": round(peak.bytes / 2**20),
                "train_peak_mb": round(trained["peak_mb"]),
                "prepare_seconds": document["seconds"],
            }
        )
    return rows


def wait(folder: Path) -> dict[str, Any]:
    source, out = folder / "corpus.jsonl", folder / "prepared"
    documents(20 * 10**6, source)
    command = [
        sys.executable,
        "-m",
        "scaling.cli",
        "data",
        "prepare",
        f"jsonl:{source}",
        "--out",
        str(out),
        "--json",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    trained = json.loads(run(TRAIN, f"prepared:{out}", folder / "run", 200))
    seconds = trained["seconds"]
    return {"seconds": seconds, "input_wait_share": round(seconds["input_wait"] / seconds["step"], 5)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--sizes", default="20,200,2000", help="of --memory, in MB")
    parser.add_argument("--wait", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SCALING_CACHE"] = str(folder / "cache")
        if chosen.memory:
            result: Any = memory(folder, [int(size) for size in chosen.sizes.split(",")])
        else:
            result = wait(folder) if chosen.wait else speed(folder, chosen.mb, chosen.rounds)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
