"""Names never reach a shell unquoted: scripts for hostile names, read back by bash and by shlex."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling.config.load import load_run
from scaling.launch.cloud import Gke, SkyPilot, TpuVm
from scaling.launch.job import Job, Site, train_script
from scaling.launch.shared_disk import Local, Slurm
from scaling.launch.slices import smallest_slice
from scaling.runtime.errors import BadInputError

SHELLCHECK = Path(sys.executable).with_name("shellcheck")
HOSTILE = [
    "$(touch hacked)", "`touch hacked`", "; touch hacked;", "'; touch hacked; '", '"; touch hacked; "', "a b",
    "| touch hacked", "&& touch hacked", "> hacked", "$HOME", "${IFS}", "*", "~", "-rf", "\\", "$'\\n'", "é",
    "#", "!!", "\ttouch hacked", "%x",
]  # fmt: skip
hostile = (
    st.lists(
        st.sampled_from(HOSTILE)
        | st.text(
            alphabet=st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), max_size=6
        ),
        min_size=1,
        max_size=3,
    )
    .map("".join)
    .filter(bool)
)


def job(
    folder: str, device: str, command: tuple[str, ...] = ("scaling",), source: str = "x", **site: Any
) -> Job:
    run = load_run(
        {
            "name": "run-1",
            "model": "cpu-213k",
            "data": {"sequence_length": 128, "source": f"text:{source}"},
            "train": {"tokens": 10_000_000, "batch_tokens": 1024 * 128, "learning_rate": 1e-3},
        }
    )
    where = Site(Path("/runs") / folder, "Sweep_1", command=command, within=1e6, **site)
    return Job(smallest_slice(run, device, within=1e6), where)


def script_of(engine: Any, one: Job) -> str | None:
    """The script; None where the engine refuses the folder in one line."""
    try:
        return engine.submission([one])
    except BadInputError as error:
        assert len(str(error).splitlines()) == 1
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(folder=hostile, program=hostile)
def test_folders_and_programs_stay_single_words(folder: str, program: str) -> None:
    """As shlex, which splits as a shell does, reads the script's lines."""
    for engine, device in ((Local(), "cpu:1"), (Slurm(), "h100-sxm:8")):
        one = job(folder, device, command=(program, "--flag"))
        script = script_of(engine, one)
        if script is None:
            assert isinstance(engine, Slurm)
            continue
        start = next(line for line in script.splitlines() if " train " in line)
        words = shlex.split(start.rstrip("\\"), posix=True)
        assert words[:3] == [program, "--flag", "train"]
        assert words[3].startswith(f"{one.site.directory}/launch/$run")
        assert words[5] == f"{one.site.directory}/$run"


@pytest.mark.parametrize("text", HOSTILE)
def test_bash_and_shellcheck_agree(text: str, tmp_path: Path) -> None:
    """Every script parses, and run with a program that does nothing leaves nothing behind."""
    spy = tmp_path / "scaling"
    spy.write_text('#!/bin/sh\nprintf "%s\\0" "$@" >> "$SPIED"\n')
    spy.chmod(0o755)
    one = job(text, "cpu:1", command=(str(spy),))
    script = Local().submission([one])
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SPIED": str(tmp_path / "spied")}
    subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "spied").read_text().split("\0")[:-1] == [
        "train", f"{one.site.directory}/launch/run-1.yaml", "--out", f"{one.site.directory}/run-1",
    ]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scaling", "spied"]
    scripts = [script, script_of(Slurm(), job(text, "h100-sxm:8"))]
    scripts.append(TpuVm().submission([job("x", "tpu-v5p:2x2x1", source=text, zone="us-east5-a")]))
    # Notes that what stands in single quotes looks as if it were meant to be read: that is what they are for.
    command = [SHELLCHECK, "--exclude=SC2016,SC1003,SC2088", "-"]
    for one_script in filter(None, scripts):
        subprocess.run(["bash", "-n"], input=one_script, text=True, check=True)
        found = subprocess.run(command, input=one_script, text=True, capture_output=True)
        assert found.returncode == 0, found.stdout


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(source=hostile)
def test_a_config_goes_through_a_shell_as_it_is(source: str) -> None:
    """A config's own text stands in a here-document that nothing in it can end or expand."""
    one = job("x", "tpu-v5p:2x2x1", source=source, bucket="gs://a-bucket")
    script = train_script(one)
    here = script.split("<<'", 1)[1]
    end, _, rest = here.partition("'\n")
    body = rest.partition(f"\n{end}\n")[0]
    assert load_run(yaml.safe_load(body)).id() == one.run_id
    (container,) = yaml.safe_load(Gke().submission([one]))["spec"]["replicatedJobs"][0]["template"]["spec"][
        "template"
    ]["spec"]["containers"]
    assert body in container["command"][-1] and body in yaml.safe_load(SkyPilot().submission([one]))["run"]


@pytest.mark.parametrize("text", [*HOSTILE, "gs://a\n", "us-east5-a\n", "an/image\n"])
def test_sites_take_names_alone(text: str) -> None:
    for field in ("bucket", "image", "zone"):
        with pytest.raises(BadInputError, match=f"--{field}"):
            job("x", "cpu:1", **{field: text})
