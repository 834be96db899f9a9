"""What is submitted: valid by the checkers that exist for it, with every name quoted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from scaling.config.load import load_run
from scaling.launch.cloud import Gke, SkyPilot, TpuVm
from scaling.launch.job import Site, slug, train_script
from scaling.launch.shared_disk import Local, Slurm
from scaling.launch.submit import LAUNCHERS
from scaling.runtime.errors import BadInputError
from tests.launch.conftest import MakeJob, gpt3_jobs

SHELLCHECK = Path(sys.executable).with_name("shellcheck")
SCRIPTS = [
    (Local(), "cpu:1", {}),
    (Slurm(), "h100-sxm:1", {}),
    (Slurm(), "h100-sxm:16", {}),
    (Slurm(), "cpu:2", {}),
    (TpuVm(), "tpu-v5p:2x2x1", {"zone": "us-east5-a"}),
    (TpuVm(), "tpu-v5e:4x4", {"spot": True}),
    (TpuVm(), "tpu-v5e:16x16*4", {"spot": True}),
]


def checked(script: str) -> None:
    """By shellcheck, and by bash itself."""
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    found = subprocess.run([SHELLCHECK, "-"], input=script, text=True, capture_output=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(("engine", "device", "site"), SCRIPTS, ids=lambda x: getattr(x, "name", str(x)))
def test_scripts_pass_shellcheck(engine: Any, device: str, site: dict[str, Any], make_job: MakeJob) -> None:
    script = engine.submission([make_job(device, **site)])
    checked(script)
    if isinstance(engine, TpuVm):  # the script inside it too
        start = script.split("<<'END-OF-START", 1)[1].partition("\n")[2].partition("\nEND-OF-START")[0]
        assert start.startswith("#!/usr/bin/env bash")
        checked(start + "\n")


def test_shell_files_of_the_repository_pass_shellcheck() -> None:
    root = Path(__file__).parents[2]
    for path in (root / "launch").rglob("*.sh"):
        checked(path.read_text())


def test_names_reach_no_shell_unquoted(make_job: MakeJob, tmp_path: Path) -> None:
    """A folder and a corpus that a shell would read otherwise: run by bash, they stay what they are."""
    odd = tmp_path / "it's $(touch hacked); `touch hacked`"
    odd.mkdir()
    spy = tmp_path / "spy the command"
    spy.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$SPIED"\n')
    spy.chmod(0o755)
    job = make_job("cpu:1")
    site = Site(odd, job.site.sweep, (str(spy),), within=job.site.within)
    script = Local().submission([type(job)(job.placement, site)])
    environment = os.environ | {"SPIED": str(tmp_path / "spied")}
    subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "spied").read_text().splitlines() == [
        "train", str(odd / "launch/run-1.yaml"), "--out", str(odd / "run-1"),
    ]  # fmt: skip
    assert not list(tmp_path.rglob("hacked"))


def test_the_config_arrives_as_it_was(make_job: MakeJob, tmp_path: Path) -> None:
    """The script of a cloud's machine, run here with a `scaling` that only looks at what it is given."""
    job = make_job("tpu-v5p:2x2x1", bucket="gs://a-bucket/folder")
    assert job.site.mounted == "/mnt/scaling/folder" and job.site.store == "gs://a-bucket"
    script = train_script(job)
    assert f"cd {job.site.mounted}\n" in script
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "scaling").write_text(
        '#!/bin/sh\ncp "$2" "$HOME/seen.yaml"\necho "$1 $3 $4" > "$HOME/seen"\n'
    )
    (binaries / "scaling").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{binaries}:{os.environ['PATH']}"}
    here = script.replace(f"cd {job.site.mounted}\n", "")
    subprocess.run(["bash", "-euc", here], check=True, env=environment, cwd=tmp_path)
    assert load_run(yaml.safe_load((tmp_path / "seen.yaml").read_text())).id() == job.run_id
    assert (tmp_path / "seen").read_text() == "train --out Sweep_1/run-1\n"
    assert not (tmp_path / "uid=0").exists()


def jobset_schema() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("jobset_schema.json").read_text())


def test_jobsets_are_what_the_published_schema_allows(make_job: MakeJob, tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(jobset_schema())
    site = Site(tmp_path, "gpt1-to-gpt3", bucket="gs://a-bucket", image="an/image:1", spot=True)
    for device in ("tpu-v5p", "h100-sxm"):
        for job in gpt3_jobs(device, site):
            validator.validate(yaml.safe_load(Gke().submission([job])))
    several = yaml.safe_load(Gke().submission([make_job("tpu-v5e:16x16*4")]))
    validator.validate(several)
    (slices,) = several["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    assert (slices["replicas"], job["parallelism"], job["completions"]) == (4, 64, 64)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "16x16",
    }
    assert pod["containers"][0]["resources"] == {"limits": {"google.com/tpu": 4}}
    # The schema is one: what is misspelt or of another type is refused.
    for harm in ({"replicaz": 1}, {"replicas": "1"}, {"template": {"spec": {}}}):
        broken = yaml.safe_load(Gke().submission([make_job("h100-sxm:16")]))
        broken["spec"]["replicatedJobs"][0] |= harm
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(broken)


def test_gpu_pods_find_each_other_by_the_jobsets_names(make_job: MakeJob) -> None:
    manifest = yaml.safe_load(Gke().submission([make_job("h100-sxm:16")]))
    name = manifest["metadata"]["name"]
    (slices,) = manifest["spec"]["replicatedJobs"]
    (container,) = slices["template"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    # <jobset>-<replicated job>-<job index>-<pod index>.<subdomain, by default the jobset's name>
    assert environment["SCALING_COORDINATOR"] == f"{name}-slice-0-0.{name}:8476"
    assert environment["SCALING_PROCESSES"] == "2"
    assert len(f"{name}-slice-0-0") <= 63
    assert "\nexec scaling train " in container["command"][2], "the trainer itself gets the signals"


def sky_python() -> str | None:
    """A Python that has SkyPilot: this one, or the one that SCALING_SKY_PYTHON names."""
    named = os.environ.get("SCALING_SKY_PYTHON")
    if named:
        return named
    from importlib.util import find_spec

    return sys.executable if find_spec("sky") else None


@pytest.mark.skipif(
    sky_python() is None, reason="SkyPilot is not installed (pip install 'scaling-lab[cloud]')"
)
def test_skypilot_accepts_its_tasks(make_job: MakeJob, tmp_path: Path) -> None:
    site = Site(tmp_path, "gpt1-to-gpt3", bucket="gs://a-bucket/folder", spot=True)
    jobs = [
        *gpt3_jobs("tpu-v5p", site),
        *gpt3_jobs("h100-sxm", site),
        make_job("tpu-v6e:4x4"),
        make_job("cpu:1"),
    ]
    program = """
import json, sys, yaml
import sky
out = []
for text in json.load(sys.stdin):
    task = sky.Task.from_yaml_config(yaml.safe_load(text))
    (resources,) = task.resources
    out.append([task.name, task.num_nodes, dict(resources.accelerators), resources.use_spot,
                resources.job_recovery["strategy"], str(resources.cloud)])
json.dump(out, sys.stdout)
"""
    texts = [SkyPilot().submission([job]) for job in jobs[:-1]]
    python = sky_python()
    assert python is not None
    done = subprocess.run(
        [python, "-c", program],
        input=json.dumps(texts),
        text=True,
        capture_output=True,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": "", "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout[done.stdout.index("[[") :])
    assert [one[0] for one in found] == [job.name for job in jobs[:-1]]
    assert found[7][1:] == [1, {"tpu-v5p-1024": 1}, True, "EAGER_NEXT_REGION", "GCP"]  # 8x8x8 is 1,024 cores
    assert found[15][1:4] == [32, {"H100": 8}, True]
    assert found[16][2] == {"tpu-v6e-16": 1}
    assert not SkyPilot().accepts(jobs[-1].placement.devices)


def test_slurm_makes_an_array_of_each_shape(make_job: MakeJob) -> None:
    jobs = [make_job("cpu:2", "a"), make_job("h100-sxm:16", "b"), make_job("cpu:2", "c")]
    groups = Slurm().groups(jobs)
    assert [[job.run_name for job in group] for group in groups] == [["a", "c"], ["b"]]
    script = Slurm().submission(groups[0])
    assert "#SBATCH --array=0-1\n" in script and "#SBATCH --nodes=2\n" in script
    assert "runs=(a c)\n" in script and "--requeue" in script and "gpus" not in script
    gpus = Slurm().submission(groups[1])
    assert "#SBATCH --ntasks-per-node=8\n#SBATCH --gpus-per-node=8\n" in gpus


def test_names_are_those_of_kubernetes_and_tell_runs_apart(make_job: MakeJob) -> None:
    names = {make_job("cpu:1", name).name for name in ("A.b=1e-3", "A.b=1e-4", "0", "x" * 120)}
    assert len(names) == 4
    for name in names:
        assert len(name) <= 40 and name == slug(name, 63), name


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"bucket": "gs://UPPER"}, "--bucket gs://UPPER"),
        ({"bucket": "gs://a-bucket/$(id)"}, "--bucket"),
        ({"bucket": "http://a-bucket"}, "--bucket"),
        ({"image": "an image"}, "--image an image"),
        ({"zone": "us;id"}, "--zone us;id"),
    ],
)
def test_names_that_are_none_are_refused(site: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        Site(tmp_path, "s", **site)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_every_engine_checks_what_it_needs(tmp_path: Path) -> None:
    for name, words in (("gke", "--bucket"), ("tpu-vm", "--bucket"), ("skypilot", "--bucket")):
        with pytest.raises(BadInputError, match=words):
            LAUNCHERS[name].check(Site(tmp_path, "s"))
    with pytest.raises(BadInputError, match="--image"):
        Gke().check(Site(tmp_path, "s", bucket="gs://abc"))
    with pytest.raises(BadInputError, match="--zone"):
        TpuVm().check(Site(tmp_path, "s", bucket="gs://abc"))
    with pytest.raises(BadInputError, match="SLURM interprets %"):
        Slurm().check(Site(tmp_path / "100%", "s"))
