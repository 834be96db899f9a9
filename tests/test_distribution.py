"""What is distributed: the name, the files of the wheel, and messages that name what can be installed."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import scaling

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Where `pip install` may be recommended to a reader.
TEXTS = [
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "scaling/**/*.py",
        "benchmarks/**/*.py",
        "tests/**/*.py",
        "configs/**/*.yaml",
    )
    for path in ROOT.glob(pattern)
    if path != Path(__file__) and path.name not in ("CHANGELOG.md", "log.md")
]


def test_nothing_recommends_the_distribution_of_that_name_by_somebody_else() -> None:
    """`scaling` on PyPI converts units. Extras are named as this distribution's, and exist."""
    said = 0
    for path in TEXTS:
        text = path.read_text()
        assert not re.search(r"\bscaling\[", text), f"{path}: scaling[...] is another project's extra"
        assert not re.search(r"pip install[^\n`]* [\"']?scaling(?=[\s\"'`=<>~]|$)", text), path
        for extra in re.findall(r"scaling-lab\[([\w,]+)\]", text):
            assert extra in PROJECT["optional-dependencies"], f"{path}: there is no extra {extra}"
            said += 1
    assert said >= 5


def test_the_citation_and_the_package_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == scaling.__version__ and citation["license"] == PROJECT["license"]
    assert f"## [{scaling.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_wheel_has_what_commands_need(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    if done.returncode and "Could not find a version" in done.stderr:
        pytest.skip("the build back end cannot be installed here")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"scaling_lab-{scaling.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
        (entry,) = (archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    configs = {f"scaling/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    templates = {
        f"scaling/launch/templates/{path.relative_to(ROOT / 'launch')}"
        for path in (ROOT / "launch").rglob("*")
        if path.is_file()
    }
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "scaling").rglob("*.py")}
    assert configs and templates and configs | templates | modules | {"scaling/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert metadata.startswith("Metadata-Version") and "\nName: scaling-lab\n" in metadata
    assert "scaling = scaling.cli:start" in entry
    # On a package index there are no files beside the description.
    assert not re.search(r"\]\((?!https?://|#)", metadata)
