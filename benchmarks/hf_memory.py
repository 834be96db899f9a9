"""Peak memory of importing and exporting a sharded checkpoint, and whether every tensor comes back bit for bit.

    python benchmarks/hf_memory.py --out /scratch                       # 8 GB of LLaMA in bfloat16: 16 GB of disk
    python benchmarks/hf_memory.py --layout gpt2 --dtype float32 --gb 2

Makes a checkpoint of random weights in shards of --shard-gb, imports it and exports it again, each in a process of
its own, and compares a hash of every tensor. Only one of the checkpoint and its export is on disk together with the run.
All files are removed at the end.

Prints JSON: for both processes the seconds and the peak of resident memory in GB (VmHWM, which counts mapped pages
of files too) next to the resident memory once everything is imported, which is that of Python, JAX and Orbax.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import safe_open

from scaling.config.load import load_model
from scaling.config.model import ModelConfig
from scaling.hf.architecture import place
from scaling.hf.settings import ARCHITECTURES, settings_of
from scaling.hf.weight_files import StreamedTensor, write

MODELS = {
    "llama": ("llama-7b", ["d_model=2560", "n_heads=20", "d_head=128", "d_ff=6912", "vocab_size=32000"]),
    "gpt2": ("gpt2-124m", ["d_model=2560", "n_heads=20", "d_head=128", "d_ff=10240"]),
}
CHILD = """
import sys, json, time
from pathlib import Path
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024 / 1e9
from scaling.hf.convert import import_run, export_run
started, before = time.perf_counter(), status("VmRSS")
if sys.argv[1] == "import":
    import_run(Path(sys.argv[2]), Path(sys.argv[3]), dtype=sys.argv[4], tokenizer="ids")
else:
    export_run(Path(sys.argv[2]), Path(sys.argv[3]), shard_bytes=int(float(sys.argv[4])))
seconds = time.perf_counter() - started
print(json.dumps({"seconds": round(seconds, 1), "before_gb": round(before, 3), "peak_gb": round(status("VmHWM"), 3)}))
"""


def model_of(layout: str, dtype: str, size: float) -> ModelConfig:
    """A model of about `size` bytes: as many layers as that takes."""
    name, changes = MODELS[layout]

    def with_layers(layers: int) -> ModelConfig:
        return load_model(name, [*changes, f"param_dtype={dtype}", f"n_layers={layers}"])

    one, two = (nbytes(layout, with_layers(layers)) for layers in (1, 2))
    return with_layers(max(1, round((size - one) / (two - one)) + 1))


def nbytes(layout: str, model: ModelConfig) -> int:
    """Bytes of all tensors."""
    placed = place(ARCHITECTURES[layout], model)[0]
    item = jax.numpy.dtype(model.param_dtype).itemsize
    return sum(len(one.names) * int(np.prod(one.shape)) * item for one in placed)


def make(layout: str, model: ModelConfig, directory: Path, shard_bytes: int) -> dict[str, str]:
    """Write a checkpoint of random weights; returns a hash of each tensor."""
    directory.mkdir()
    arch, dtype = ARCHITECTURES[layout], np.dtype(jax.numpy.dtype(model.param_dtype))
    hashes: dict[str, str] = {}

    def parts(name: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        draw = np.random.default_rng(zlib.crc32(name.encode()))
        array = draw.random(shape, np.float32)
        array -= 0.5
        array *= 0.04
        array = array.astype(dtype, copy=False)
        hashes[name] = hashed(array)
        yield array

    tensors = [
        StreamedTensor(name, one.shape, dtype, partial(parts, name, one.shape))
        for one in place(arch, model)[0]
        for name in one.names
    ]
    write(directory, settings_of(arch, model, model.param_dtype, {}), tensors, shard_bytes)
    return hashes


def hashed(array: np.ndarray) -> str:
    """A hash of an array's bytes."""
    return hashlib.blake2b(np.ascontiguousarray(array).view(np.uint8).data, digest_size=16).hexdigest()


def hashes_in(directory: Path) -> dict[str, str]:
    """A hash of each tensor of a checkpoint, read by the safetensors library."""
    found: dict[str, str] = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            found |= {name: hashed(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    return found


def child(*arguments: str) -> dict[str, Any]:
    """Run one side in a process of its own."""
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Run the benchmark and print its document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layout", choices=list(MODELS), default="llama")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--gb", type=float, default=8.0)
    parser.add_argument("--shard-gb", type=float, default=2.0)
    parser.add_argument(
        "--out", type=Path, default=None, help="directory for the files; default: the temporary one"
    )
    given = parser.parse_args()
    model, shard = model_of(given.layout, given.dtype, given.gb * 1e9), str(given.shard_gb * 1e9)
    with tempfile.TemporaryDirectory(dir=given.out, prefix="hf_memory.") as folder:
        source, run, out = (Path(folder) / name for name in ("source", "run", "out"))
        before = make(given.layout, model, source, int(float(shard)))
        size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
        files = len(list(source.glob("*.safetensors")))
        imported = child("import", str(source), str(run), given.dtype)
        shutil.rmtree(source)
        exported = child("export", str(run), str(out), shard)
        same = hashes_in(out) == before
    document = {
        "layout": given.layout,
        "dtype": given.dtype,
        "checkpoint_gb": round(size / 1e9, 3),
        "files": files,
        "tensors": len(before),
        "import": imported,
        "export": exported,
        "same": same,
    }
    print(json.dumps(document, indent=2))
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
