"""Import and export hold a part of a tensor at a time: peak memory is far below the checkpoint's size."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from scaling.config.load import load_model
from scaling.hf.architecture import place
from scaling.hf.convert import export_run
from scaling.hf.settings import ARCHITECTURES, settings_of
from scaling.hf.weight_files import StreamedTensor, write
from scaling.train import stored_arrays
from scaling.train.checkpoints import open_model
from scaling.train.loop import train
from tests.train.conftest import MakeRun

MIB = 1 << 20
SHAPE = ["d_model=512", "n_heads=4", "d_head=128", "d_ff=2048", "n_layers=6", "vocab_size=4099"]
# VmHWM is reset once all modules are loaded; it counts anonymous memory and mapped pages of files.
CHILD = """
import json, sys
from pathlib import Path
def held(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024
from scaling.hf.convert import export_run, import_run
small, large = Path(sys.argv[1]), Path(sys.argv[2])
grown = {}
def measure(name, action):
    open("/proc/self/clear_refs", "w").write("5")
    before = held("VmRSS")
    action()
    grown[name] = held("VmHWM") - before
import_run(small, small.with_name("warm"))  # buffers and threads of the libraries
export_run(small.with_name("warm"), small.with_name("warmed"))
measure("import", lambda: import_run(large, large.with_name("run")))
measure("export", lambda: export_run(large.with_name("run"), large.with_name("out"), shard_bytes=30_000_000))
print(json.dumps(grown))
"""


def make(directory: Path, changes: list[str], shard_bytes: int) -> int:
    """A checkpoint of random weights in shards; returns its bytes."""
    model = load_model("llama-7b", [*SHAPE, *changes])
    arch, kind = ARCHITECTURES["llama"], np.dtype(np.float32)

    def parts(seed: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        yield np.random.default_rng(seed).standard_normal(shape, np.float32)

    tensors = [
        StreamedTensor(name, one.shape, kind, partial(parts, i, one.shape))
        for i, (name, one) in enumerate((n, one) for one in place(arch, model)[0] for n in one.names)
    ]
    directory.mkdir()
    write(directory, settings_of(arch, model, "float32", {}), tensors, shard_bytes)
    return sum(tensor.nbytes for tensor in tensors)


def held(directory: Path) -> dict[str, Any]:
    return {name: x for file in directory.glob("*.safetensors") for name, x in load_file(file).items()}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak of memory")
def test_peak_memory_is_a_part_of_the_checkpoint(tmp_path: Path) -> None:
    make(tmp_path / "small", ["n_layers=1", "vocab_size=64"], 10 * MIB)
    size = make(tmp_path / "large", [], 30_000_000)
    assert size > 110 * MIB and len(list((tmp_path / "large").glob("*.safetensors"))) > 3
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "small"), str(tmp_path / "large")],
        check=True,
        stdout=subprocess.PIPE,
    )
    grown = json.loads(done.stdout.splitlines()[-1])
    assert grown["import"] < size / 2 and grown["export"] < size / 2, (grown, size)
    before, after = held(tmp_path / "large"), held(tmp_path / "out")
    assert after.keys() == before.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)


def test_large_tensors_are_read_and_written_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of embeddings with a prime number of rows, in parts of a few of them."""
    from scaling.hf.convert import import_run

    monkeypatch.setattr(stored_arrays, "PART_BYTES", 100_000)
    make(tmp_path / "source", ["n_layers=2", "d_model=32", "d_ff=64", "n_heads=2", "d_head=16"], 10**9)
    import_run(tmp_path / "source", tmp_path / "run")
    stored = open_model(tmp_path / "run/checkpoints", {"token_embedding.value": (4099, 32)}, print)
    assert stored is not None
    parts = [len(part) for part in stored["token_embedding.value"].parts()]
    assert len(parts) > 4 and sum(parts) == 4099 and len(set(parts[:-1])) == 1
    export_run(tmp_path / "run", tmp_path / "out")
    before, after = held(tmp_path / "source"), held(tmp_path / "out")
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_skipped_by_export(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("train.steps=4", "train.checkpoint_every=2", "train.keep_checkpoints=2")
    train(run, tmp_path / "run")
    newest = max((tmp_path / "run/checkpoints").iterdir(), key=lambda path: int(path.name))
    data = max((newest / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    data.write_bytes(data.read_bytes()[:-1] + b"\xff")
    said: list[str] = []
    export_run(tmp_path / "run", tmp_path / "out", warn=said.append)
    assert len(said) == 1 and f"checkpoint {newest.name} cannot be read" in said[0]
