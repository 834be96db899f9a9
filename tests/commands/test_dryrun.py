"""`scaling dryrun`: the run it compiles, what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest

from scaling.api.costs import would_help
from scaling.config.devices import default_mesh, parse_mesh
from scaling.config.record import AttentionChoice, Compiled, OutOfMemory, Profile, ProfileLine, Roofline
from scaling.config.run import RunConfig
from scaling.runtime.errors import BadInputError
from scaling.train import dry_run
from tests.absent import devices, needs_tpu_compiler, tiny_run
from tests.end_to_end.conftest import RunCli
from tests.train.test_compiled_cache import ANSWER

MODEL = """
vocab_size: 512
max_length: 128
n_layers: 2
d_model: 256
n_heads: 2
compute_dtype: bfloat16
scan_layers: true
"""


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunConfig]:
    """The runs that were to be compiled; none is."""
    runs: list[RunConfig] = []

    def note(run: RunConfig, on: object, effort: str) -> Compiled:
        runs.append(run)
        return ANSWER

    monkeypatch.setattr(dry_run, "dry_run", note)
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "cache"))
    return runs


@needs_tpu_compiler
def test_a_model_of_ones_own(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(MODEL)
    code, out, err = run_cli("dryrun", "own.yaml", "--on", "tpu-v5e:2x2", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["devices"] == {
        "kind": "tpu-v5e",
        "count": 4,
        "topology": "2x2",
        "mesh": {"data": 1, "fsdp": 2, "expert": 1, "context": 1, "tensor": 2},
    }
    assert document["estimate_over_compiled"]["argument_bytes"] == pytest.approx(1.0, abs=1e-3)
    assert document["compiled"]["fits"] and document["would_help"] == []
    assert document["compiled"]["collectives"]["all_reduce"]["count"] > 0

    code, out, err = run_cli("dryrun", "own.yaml", "--on", "tpu-v5e:2x2")  # remembered
    assert (code, err) == (0, "")
    assert "Fits, with 15." in out and "peak" in out and "all-reduce" in out


def test_attention_without_a_kernel_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_cli: RunCli
) -> None:
    found = [
        AttentionChoice(
            attention="causal, 64 positions, 4 heads of 8", implementation="splash", why_not=None
        ),
        AttentionChoice(attention="another", implementation="blocks", why_not="of a reason"),
    ]
    answer = ANSWER.model_copy(update={"attention": tuple(found), "backend": "tpu"})
    monkeypatch.setattr(dry_run, "dry_run", lambda run, on, effort: answer)
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "cache"))
    code, out, _ = run_cli("dryrun", "gpt3-125m", "--on", "tpu-v5e:2x2")
    assert code == 0
    assert "Attention (causal, 64 positions, 4 heads of 8): splash kernel." in out
    assert "Attention (another): blocks, no fused kernel: of a reason." in out
    code, out, _ = run_cli("dryrun", "gpt3-125m", "--on", "tpu-v5e:2x2", "--json")
    assert json.loads(out)["compiled"]["attention"] == [one.model_dump() for one in found]


def test_one_sequence_for_each_batch_shard(compiled: list[RunConfig], run_cli: RunCli) -> None:
    assert run_cli("dryrun", "gpt3-175b", "--on", "tpu-v5p:8x8x8")[0] == 0
    assert compiled[0].mesh.sizes() == {
        "data": 1,
        "stage": 1,
        "fsdp": 64,
        "expert": 1,
        "context": 1,
        "tensor": 8,
    }
    assert compiled[0].train.batch_tokens == 64 * 2048
    assert compiled[0].model.remat == "full"


def test_options_and_overrides(compiled: list[RunConfig], run_cli: RunCli) -> None:
    line = (
        "dryrun gpt3-125m n_layers=4 train.beta2=0.9 --on h100-sxm:8 --mesh data=2,fsdp=-1 --remat dots "
        "--length 1024 --accumulation 3 --optimizer lion"
    )
    assert run_cli(*line.split())[0] == 0
    run = compiled[0]
    assert (run.model.n_layers, run.model.remat, run.train.beta2) == (4, "dots", 0.9)
    assert run.mesh.sizes() == {"data": 2, "stage": 1, "fsdp": 4, "expert": 1, "context": 1, "tensor": 1}
    assert (run.data.sequence_length, run.train.accumulation, run.train.optimizer) == (1024, 3, "lion")
    assert run.train.batch_tokens == 8 * 3 * 1024
    assert run_cli("dryrun", "gpt3-125m", "--on", "h100-sxm:8", "--batch-tokens", "65536")[0] == 0
    assert compiled[1].train.batch_tokens == 65536


def test_a_run_in_place_of_a_model(compiled: list[RunConfig], run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("dryrun", "cpu", "train.batch_tokens=8192", "--on", "tpu-v5e:2x2")[0] == 0
    (tmp_path / "run.yaml").write_text("base: cpu\ntrain: {batch_tokens: 8192}\nmesh: {fsdp: 4}\n")
    assert run_cli("dryrun", "run.yaml", "--on", "tpu-v5e:2x2")[0] == 0
    assert [run.train.batch_tokens for run in compiled] == [8192, 8192]
    assert compiled[1].mesh.fsdp == 4


def test_the_answer_for_a_person_who_has_too_little_memory(
    compiled: list[RunConfig], run_cli: RunCli
) -> None:
    code, out, _ = run_cli("dryrun", "gpt3-13b", "--on", "tpu-v5e:2x2", "--batch-tokens", "16384")
    assert code == 0
    assert "Does not fit" in out and "--accumulation 2" in out


CASES = [
    ("gpt3-125m", "--on tpu-v5p"),
    ("gpt3-125m --on", "--on"),
    ("gpt3-125m --on tpu-v9:2x2", "tpu-v9"),
    ("gpt3-125m --on tpu-v5e", "KIND:COUNT"),
    ("gpt3-125m --on tpu-v5e:-4", "KIND:COUNT"),
    ("gpt3-125m --on tpu-v5e:16x32", "256 chips"),
    ("gpt3-999b --on tpu-v5e:2x2", "gpt3-"),
    ("nowhere.yaml --on tpu-v5e:2x2", "no such file"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh fsdp=8", "there are 4"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh fsdp=2", "multiply to 4"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh fsdp=3,tensor=-1", "do not divide 4 devices"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh fsdp=-2", "fsdp=-2"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh fsdp=0", "fsdp=0"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh fsdp", "fsdp=8,tensor=2"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh fsdp=-1,data=-1", "only one"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh fsdp=2,fsdp=2", "given twice"),
    ("gpt3-125m --on tpu-v5e:2x2 --mesh depth=4", "'depth' is not a mesh axis; known: data, fsdp"),
    ("gpt3-125m --on tpu-v5e:2x2 --batch-tokens -2048", "train.batch_tokens"),
    ("gpt3-125m --on tpu-v5e:2x2 --batch-tokens many", "train.batch_tokens"),
    ("gpt3-125m --on tpu-v5e:2x2 --batch-tokens 2048", "does not divide"),
    ("gpt3-125m --on tpu-v5e:2x2 --length 4096", "max_length=2048"),
    ("gpt3-125m --on tpu-v5e:2x2 --length 0", "sequence_length"),
    ("gpt3-125m --on tpu-v5e:2x2 --accumulation 0", "accumulation"),
    ("gpt3-125m --on tpu-v5e:2x2 --accumulation half", "accumulation"),
    ("gpt3-125m --on tpu-v5e:2x2 --optimizer adam", "adamw"),
    ("gpt3-125m --on tpu-v5e:2x2 --remat most", "dots"),
    ("gpt3-125m --on tpu-v5e:2x2 --effort much", "quick or full"),
    ("gpt3-125m n_layerz=3 --on tpu-v5e:2x2", "did you mean n_layers"),
    ("gpt3-125m train.lr=3 --on tpu-v5e:2x2", "train.lr"),
    ("gpt3-125m --on v100:8", "CUDA 13"),
]


@pytest.mark.parametrize(("line", "says"), CASES, ids=[line for line, _ in CASES])
def test_bad_input(line: str, says: str, run_cli: RunCli, tmp_path: Path) -> None:
    code, out, err = run_cli("dryrun", *line.split())
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1 and err.startswith("scaling: ")
    assert says in err, err
    assert list(tmp_path.iterdir()) == []


def test_meshes() -> None:
    assert parse_mesh(" fsdp = 8, tensor=-1") == {"fsdp": 8, "tensor": -1}
    with pytest.raises(BadInputError, match=r"fsdp=2\.5"):
        parse_mesh("fsdp=2.5")


@pytest.mark.parametrize(
    ("width", "heads", "on", "experts", "sizes"),
    [
        (12288, 96, "tpu-v5p:8x8x8", 1, (1, 64, 1, 8)),
        (2048, 16, "tpu-v5e:4x4", 1, (1, 16, 1, 1)),
        (768, 12, "tpu-v5e:16x16", 1, (16, 4, 1, 4)),  # 256 devices: 6 x 128 of the width, 12 heads
        (2048, 16, "tpu-v5e:4x4*2", 1, (2, 16, 1, 1)),
        (4096, 32, "h100-sxm:1", 1, (1, 1, 1, 1)),
        (768, 12, "h100-sxm:8", 32, (1, 1, 8, 1)),
        (768, 12, "tpu-v5e:8x8*2", 8, (2, 4, 8, 2)),  # experts, too, stay inside a slice
    ],
)
def test_default_meshes(
    width: int, heads: int, on: str, experts: int, sizes: tuple[int, int, int, int]
) -> None:
    found = default_mesh(width, heads, devices(on), experts)
    assert (found["data"], found["fsdp"], found["expert"], found["tensor"]) == sizes


def test_what_would_help() -> None:
    run = tiny_run("train.batch_tokens=2048", mesh={"data": 2, "fsdp": 2})
    helps = would_help(run, ANSWER)
    for word, line in zip(
        ("remat", "accumulation 2", "batch", "fsdp in place", "adafactor"), helps, strict=False
    ):
        assert word in line
    assert would_help(run, ANSWER.model_copy(update={"fits": True})) == []


PROFILE = Profile(
    step_seconds=0.02,
    clock_hz=1.75e9,
    cycles=3.5e7,
    by_kind={
        "matmul": 0.011,
        "attention": 0.003,
        "elementwise": 0.002,
        "copy": 0.001,
        "collective": 0.003,
        "other": 0,
    },
    top=(
        ProfileLine(
            source="scaling/models/functional.py:75",
            caller="scaling/models/layers.py:263",
            kind="matmul",
            seconds=0.011,
            share=0.55,
            count=128,
        ),
        ProfileLine(source="", caller="", kind="collective", seconds=0.003, share=0.15, count=1),
    ),
    collective_seconds=0.008,
    roofline=Roofline(compute_seconds=0.004, memory_seconds=0.003, step_seconds=0.008),
    priced_by_compiler=0.7,
    notes=("attention kernels at 55% of peak on the blocks they compute (assumed)",),
)


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The efforts of what was to be compiled; all has `PROFILE`."""
    efforts: list[str] = []

    def note(run: RunConfig, on: object, effort: str) -> Compiled:
        efforts.append(effort)
        return ANSWER.model_copy(update={"profile": PROFILE, "fits": True, "capacity_bytes": 30})

    monkeypatch.setattr(dry_run, "dry_run", note)
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "cache"))
    return efforts


def test_a_profile_next_to_the_roofline_and_the_estimate(profiled: list[str], run_cli: RunCli) -> None:
    line = ("dryrun", "gpt3-125m", "--on", "tpu-v5p:2x2x1", "--profile")
    code, out, err = run_cli(*line)
    assert (code, err, profiled) == (0, "", ["full"])
    assert "Time of a step: 20.0 ms, 3.5e+07 cycles at 1.75 GHz" in out
    assert "functional.py:75 < layers.py:263" in out and "(no source line)" in out
    assert "8.000 ms on the links" in out and "5.000 ms are hidden" in out
    assert "roofline" in out and "estimate" in out
    shown = out[out.index("Time of a step") :].splitlines()
    assert max(map(len, shown)) <= 100
    document = json.loads(run_cli(*line, "--json")[1])
    assert document["compiled"]["profile"] == PROFILE.model_dump(mode="json")
    ratio = document["estimate_over_compiled"]["step_seconds"]
    assert ratio == pytest.approx(document["time"]["step_seconds"] / 0.02)


def test_without_the_option_there_is_no_profile(profiled: list[str], run_cli: RunCli) -> None:
    line = ("dryrun", "gpt3-125m", "--on", "tpu-v5p:2x2x1", "--json")
    document = json.loads(run_cli(*line)[1])
    assert profiled == ["quick"] and document["compiled"]["profile"] is None
    assert document["estimate_over_compiled"]["step_seconds"] is None


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_figure_of_a_profile(profiled: list[str], run_cli: RunCli, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"profile.{suffix}"
    assert run_cli("dryrun", "gpt3-125m", "--on", "tpu-v5p:2x2x1", "--figure", str(path))[0] == 0
    first = path.read_bytes()
    assert len(first) > 5000
    run_cli("dryrun", "gpt3-125m", "--on", "tpu-v5p:2x2x1", "--figure", str(path))
    assert path.read_bytes() == first
    if suffix == "svg":
        assert b"hidden" in first or b"<path" in first


def test_no_profile_of_a_step_that_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch, run_cli: RunCli, tmp_path: Path
) -> None:
    short = OutOfMemory(needed_bytes=20, capacity_bytes=15, over_by_bytes=5)
    answer = ANSWER.model_copy(update={"out_of_memory": short})
    monkeypatch.setattr(dry_run, "dry_run", lambda run, on, effort: answer)
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "profile.png"
    line = ("dryrun", "gpt3-125m", "--on", "tpu-v5p:2x2x1", "--figure", str(path))
    code, out, _ = run_cli(*line)
    assert code == 0 and "no profile, because the compiler ran out of memory" in out
    assert "Time of a step" not in out and not path.exists()


PROFILE_CASES = [
    ("gpt3-125m --on cpu:1 --profile", "needs a TPU or a GPU"),
    ("gpt3-125m --on tpu-v5p:2x2x1 --profile --effort quick", "needs full"),
    ("gpt3-125m --on tpu-v5p:2x2x1 --figure profile.bmp", ".bmp"),
    ("gpt3-125m --on tpu-v5p:2x2x1 --figure nowhere/profile.png", "nowhere"),
]


@pytest.mark.parametrize(("line", "says"), PROFILE_CASES, ids=[line for line, _ in PROFILE_CASES])
def test_profiles_that_are_refused(profiled: list[str], line: str, says: str, run_cli: RunCli) -> None:
    code, out, err = run_cli("dryrun", *line.split())
    assert (code, out, profiled) == (2, "", [])
    assert len(err.strip().splitlines()) == 1 and says in err
