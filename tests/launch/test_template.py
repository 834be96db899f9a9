"""Templates: each is shipped, completely filled in and safe for any value; users can bring their own."""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaling.launch.job import (
    PLACEHOLDER,
    Code,
    fill,
    template_file,
)
from scaling.launch.submit import LAUNCHERS
from scaling.runtime.errors import BadInputError
from tests.launch.conftest import MakeJob

ROOT = Path(__file__).parents[2]
TRAIN = "train.bash"  # part of every template for clouds
ODD = 'it\'s $(touch hacked); `id` "x" \\ # : {a} \n - b: __A__ ${IFS}'


def test_the_launch_folder_holds_the_templates_of_the_engines_and_the_testbed() -> None:
    names = {
        str(path.relative_to(ROOT / "launch")) for path in (ROOT / "launch").rglob("*") if path.is_file()
    }
    preparation = {"slurm/prepare.sh", "skypilot/prepare.yaml"}
    engines = {engine.template for engine in LAUNCHERS.values()}
    assert names == {TRAIN, "slurm/testbed.sh", *preparation, *engines}
    for name in names:
        assert template_file(name) == ROOT / "launch" / name


def test_an_installed_package_finds_its_templates(tmp_path: Path) -> None:
    """The folders of the wheel, laid out as pyproject.toml says, far from the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = project["tool"]["hatch"]["build"]["targets"]
    assert "/launch" in build["sdist"]["include"]
    shutil.copytree(ROOT / "scaling", tmp_path / "scaling", ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in build["wheel"]["force-include"].items():
        shutil.copytree(ROOT / source, tmp_path / target)
    program = """
from scaling.launch.submit import LAUNCHERS
from scaling.launch.job import template_file
print(*(template_file(name) for name in ("train.bash", *(engine.template for engine in LAUNCHERS.values()))))
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    paths = [Path(path) for path in done.stdout.split()]
    assert len(paths) == 6 and all(path.is_file() and path.is_relative_to(tmp_path) for path in paths)


@pytest.mark.parametrize("site", [{}, {"bucket": "gs://a-bucket/f", "spot": True, "image": "i", "zone": "z"}])
@pytest.mark.parametrize(
    "device", ["cpu:1", "cpu:2", "h100-sxm:1", "h100-sxm:16", "tpu-v5p:2x2x1", "tpu-v5e:4x4"]
)
def test_no_placeholder_is_left(device: str, site: dict[str, Any], make_job: MakeJob) -> None:
    job = make_job(device, **site)
    for engine in LAUNCHERS.values():
        if engine.accepts(job.placement.devices):
            text = engine.submission([job])
            assert not PLACEHOLDER.search(text) and "\n##" not in text and "None" not in text, engine.name


def test_shell_templates_quote_values_and_leave_out_lines(tmp_path: Path) -> None:
    template = tmp_path / "t.sh"
    template.write_text(
        "## a note about __ANYTHING__\nprintf '%s|' __A__/x __WORDS__ __CODE__ \\\n__NONE__ \\\nend\n"
    )
    values = {"A": ODD, "WORDS": [ODD, "b c"], "CODE": Code('"$HOME"'), "NONE": None}
    script = fill(template, values, "shell")
    assert script == f"printf '%s|' {shlex.quote(ODD)}/x {shlex.join([ODD, 'b c'])} \"$HOME\" \\\nend\n"
    environment = {"HOME": "home", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == f"{ODD}/x|{ODD}|b c|home|end|"
    assert [path.name for path in tmp_path.iterdir()] == ["t.sh"]


def test_yaml_templates_take_any_value_and_leave_out_keys(tmp_path: Path) -> None:
    template = tmp_path / "t.yaml"
    template.write_text(
        """
        text: __A__
        __A__: {number: __N__, empty: {}, nothing: null, gone: __NONE__}
        gone: {only: {this: __NONE__}}
        entries: [__NONE__, {name: a, value: __NONE__}, {name: b, value: __N__}, c]
        inside: <__A__>
        script: |
          echo __A__ __CODE__
          __NONE__
        """
    )
    filled = yaml.safe_load(fill(template, {"A": ODD, "N": 3, "NONE": None, "CODE": Code("$X")}, "yaml"))
    assert filled == {
        "text": ODD,
        ODD: {"number": 3, "empty": {}, "nothing": None},
        "entries": [{"name": "b", "value": 3}, "c"],
        "inside": f"<{ODD}>",
        "script": f"echo {shlex.quote(ODD)} $X\n",
    }


@pytest.mark.parametrize("kind", ["shell", "yaml"])
def test_templates_that_cannot_be_filled_in_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    template = tmp_path / "mine"
    for content, words in ((None, "mine: "), (b"\xff", "mine: "), (b"a: __RUNZ__\n", "did you mean RUNS?")):
        if content is not None:
            template.write_bytes(content)
        with pytest.raises(BadInputError, match="mine: ") as caught:
            fill(template, {"RUNS": ["a"]}, kind)
        assert words in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_user_brings_a_template(make_job: MakeJob, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\nmodule load cuda\nrun-all __RUNS__\n")
    assert LAUNCHERS["slurm"].submission([make_job("cpu:1", template=mine)]).endswith("\nrun-all run-1\n")
    for name in ("gke", "skypilot"):
        text = template_file(LAUNCHERS[name].template).read_text()
        mine.write_text(f'{text}\nmine: {{script: "a\\n__TRAIN__\\n", of: __SWEEP__}}\n')
        filled = yaml.safe_load(LAUNCHERS[name].submission([make_job("h100-sxm:1", template=mine)]))
        assert filled["mine"]["of"] == "Sweep_1" and "scaling train " in filled["mine"]["script"]
