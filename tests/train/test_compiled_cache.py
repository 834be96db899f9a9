"""What is remembered of compiled steps, and when it is forgotten."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.config.record import Compiled
from scaling.train import compiled_cache, dry_run
from scaling.train.compiled_cache import cache_path, compiled_step
from tests.absent import devices, tiny_run

ANSWER = Compiled(
    backend="tpu",
    topology="v5e:2x2",
    effort="quick",
    compile_seconds=1.5,
    argument_bytes=10,
    output_bytes=None,
    alias_bytes=None,
    temp_bytes=None,
    peak_bytes=20,
    generated_code_bytes=None,
    flops_per_device=1e12,
    collectives=None,
    capacity_bytes=15,
    fits=False,
    out_of_memory=None,
    versions={},
)


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was compiled: the compiler's place is taken by a note."""
    done: list[str] = []

    def compile_it(run: object, on: object, effort: str) -> Compiled:
        done.append(f"{on} {effort}")
        return ANSWER

    monkeypatch.setattr(dry_run, "dry_run", compile_it)
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path))
    return done


def test_the_same_thing_is_compiled_once(compiles: list[str]) -> None:
    run, on = tiny_run(mesh={"fsdp": 4}), devices("tpu-v5e:2x2")
    assert compiled_step(run, on) == compiled_step(run, on) == ANSWER
    assert compiles == ["tpu-v5e:2x2 quick"]
    compiled_step(run, on, fresh=True)
    compiled_step(run, on, "full")
    compiled_step(run, devices("tpu-v6e:2x2"))
    assert compiles[1:] == ["tpu-v5e:2x2 quick", "tpu-v5e:2x2 full", "tpu-v6e:2x2 quick"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{}", json.dumps({"backend": 3}).encode()])
def test_a_damaged_answer_is_written_again(content: bytes, compiles: list[str]) -> None:
    run, on = tiny_run(mesh={"fsdp": 4}), devices("tpu-v5e:2x2")
    compiled_step(run, on)
    path = cache_path(run, on, "quick")
    path.write_bytes(content)
    assert compiled_step(run, on) == ANSWER
    assert len(compiles) == 2
    assert Compiled.model_validate_json(path.read_bytes()) == ANSWER


def test_a_cache_that_cannot_be_written_is_done_without(
    compiles: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "file"))
    assert compiled_step(tiny_run(mesh={"fsdp": 4}), devices("tpu-v5e:2x2")) == ANSWER


def test_what_an_answer_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    on = devices("tpu-v5e:2x2")
    path = cache_path(tiny_run(mesh={"fsdp": 4}), on, "quick")
    assert cache_path(tiny_run("name=other", "data.seed=7", mesh={"fsdp": 4}), on, "quick") == path
    others = [
        cache_path(tiny_run(change, mesh={"fsdp": 4}), on, "quick")
        for change in ("model.n_layers=3", "train.optimizer=lion", "data.mask_documents=false")
    ]
    others += [
        cache_path(tiny_run("train.batch_tokens=512", mesh={"fsdp": 2, "data": 2}), on, "quick"),
        cache_path(tiny_run(mesh={"fsdp": 4}), devices("tpu-v5e:2x2*2"), "quick"),
        cache_path(tiny_run(mesh={"fsdp": 4}), on, "full"),
    ]
    monkeypatch.setattr(compiled_cache, "versions", lambda platform: {"jax": "0"})
    others.append(cache_path(tiny_run(mesh={"fsdp": 4}), on, "quick"))
    monkeypatch.undo()
    monkeypatch.setattr(compiled_cache, "_sources", lambda: "another step")
    others.append(cache_path(tiny_run(mesh={"fsdp": 4}), on, "quick"))
    assert len({path, *others}) == 1 + len(others)


def test_where_answers_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    def folder() -> Path:
        return cache_path(tiny_run(mesh={"fsdp": 4}), devices("tpu-v5e:2x2"), "quick").parent

    monkeypatch.setenv("SCALING_CACHE", "/here")
    assert folder() == Path("/here/dryrun")
    monkeypatch.delenv("SCALING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert folder() == Path("/there/scaling/dryrun")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder() == Path("~/.cache/scaling/dryrun").expanduser()


def test_looking_an_answer_up_imports_no_jax() -> None:
    code = "import sys, scaling.train.compiled_cache; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
