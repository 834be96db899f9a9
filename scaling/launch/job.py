"""A run as a job: its name, where its files are, and the templates that are filled in for it.

Templates are the files in `launch/`, with placeholders such as `__NAME__`. A shell template is filled in as
text, and every value is quoted for the shell. A YAML template is parsed first and filled in as a tree, so
that no value can change its structure. A line or key whose value is None is left out.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.launch.slices import PlacedRun
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint
from scaling.runtime.yaml_files import as_yaml, dump_yaml, read_yaml

Values = Mapping[str, Any]

PLACEHOLDER = re.compile(r"__([A-Z]+(?:_[A-Z]+)*)__")
_PACKAGED = Path(__file__).resolve().with_name("templates")  # in a wheel
_CHECKOUT = Path(__file__).resolve().parents[2] / "launch"  # in a checkout
_OMITTED = object()
MOUNT = "/mnt/scaling"  # where cloud machines mount the bucket
PORT = 8476  # of the coordinator, the first process
_BUCKET = re.compile(r"^(gs|s3)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[A-Za-z0-9][A-Za-z0-9._=+-]*)*$")
_IMAGE = re.compile(r"^[a-z0-9][A-Za-z0-9._/:@-]*$")
_ZONE = re.compile(r"^[a-z][a-z0-9-]*$")
EXAMPLE_BUCKET = "gs://your-bucket"
EXAMPLE_IMAGE = "REGION-docker.pkg.dev/PROJECT/REPOSITORY/scaling:latest"


@dataclasses.dataclass(frozen=True)
class Site:
    """Where a sweep runs, and what its machines need to know.

    Raises:
        BadInputError: a bucket, image or zone that is not a valid name.
    """

    directory: Path  # the local sweep directory: submissions.json and launch/; on shared disks also the runs
    sweep: str
    command: tuple[str, ...] = ("scaling",)
    bucket: str | None = None
    image: str | None = None
    zone: str | None = None
    spot: bool = False
    within: float = 720.0  # hours
    template: Path | None = None  # the user's, instead of the built-in one

    def __post_init__(self) -> None:
        if self.bucket is not None and not _BUCKET.fullmatch(self.bucket):
            raise BadInputError(
                f"--bucket {self.bucket}: give gs://NAME or s3://NAME, optionally with a folder"
            )
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise BadInputError(f"--image {self.image}: give the name of a container image")
        if self.zone is not None and not _ZONE.fullmatch(self.zone):
            raise BadInputError(f"--zone {self.zone}: give the name of a zone, for example us-east5-a")

    @property
    def store(self) -> str:
        """The bucket without its folder; an example name in a dry run without a bucket."""
        return "/".join((self.bucket or EXAMPLE_BUCKET).split("/")[:3])

    @property
    def mounted(self) -> str:
        """The folder of the bucket on cloud machines, in which training runs."""
        return MOUNT + (self.bucket or EXAMPLE_BUCKET).removeprefix(self.store)


@dataclasses.dataclass(frozen=True)
class Job:
    """A run of a sweep on its slice."""

    placement: PlacedRun
    site: Site

    @property
    def run_name(self) -> str:
        """The name of the run in its sweep."""
        return self.placement.run.name

    @property
    def run_id(self) -> str:
        """The id of the run, its key in submissions.json."""
        return self.placement.run.id()

    @property
    def name(self) -> str:
        """A name that every scheduler accepts (RFC 1123, at most 40 characters), fixed for a run."""
        words = "-".join(slug(part, 14) for part in (self.site.sweep, self.run_name))
        return f"{words}-{self.run_id[:8]}"

    @property
    def config(self) -> Path:
        """The config of the run in the local sweep directory."""
        return self.site.directory / "launch" / f"{self.run_name}.yaml"


def slug(text: str, most: int) -> str:
    """At most `most` lower-case letters, digits and single hyphens, starting with a letter."""
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    kept = kept if kept[:1].isalpha() else f"x{kept}"
    return kept[:most].strip("-")


def shared_disk_values(jobs: Sequence[Job]) -> dict[str, Any]:
    """Placeholders of templates for machines that share the local sweep directory."""
    site = jobs[0].site
    directory = site.directory.absolute()
    return {
        "SWEEP": site.sweep,
        "DEVICES": Code(jobs[0].placement.devices),
        "RUNS": [job.run_name for job in jobs],
        "COMMAND": site.command,
        "CONFIGS": directory / "launch",
        "DIRECTORY": directory,
    }


def cloud_values(job: Job) -> dict[str, Any]:
    """Placeholders of templates for cloud machines, which have only the bucket."""
    return {
        "NAME": job.name,
        "RUN": job.run_name,
        "RUN_ID": job.run_id,
        "SWEEP": job.site.sweep,
        "DEVICES": Code(job.placement.devices),
        "MOUNT": MOUNT,
        "FOLDER": job.site.mounted,
        "TRAIN": Code(train_script(job).removesuffix("\n")),
    }


def train_script(job: Job, command: Sequence[str] = ("scaling",)) -> str:
    """The shell script, with the config of the run, that trains a run on one cloud machine."""
    config = dump_yaml(job.placement.run)
    if f"END-OF-{job.run_id}" in config:
        raise BadInputError(f"{job.run_name}: the config must not contain END-OF-{job.run_id}")
    values = {
        "RUN": job.run_name,
        "RUN_ID": job.run_id,
        "SWEEP": job.site.sweep,
        "FOLDER": job.site.mounted,
        "CONFIG": Code(config.removesuffix("\n")),
        "COMMAND": command,
    }
    return fill(template_file("train.bash"), values, "shell")


class Code(str):
    """Shell code, which is filled in without quotes."""


def template_file(name: str) -> Path:
    """A template by its path in `launch/`, of the checkout or the installed package."""
    return (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT) / name


def fill(path: Path, values: Values, kind: str) -> str:
    """A template with its placeholders filled in; `kind` is "shell" or "yaml".

    Raises:
        BadInputError: the file cannot be read, or has an unknown placeholder.
    """
    if kind == "yaml":
        tree = _fill_tree(read_yaml(path), values, path)
        return as_yaml({} if tree is _OMITTED else tree)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read as text ({error})") from error
    return _fill_text(text, values, path)


def _value(name: str, values: Values, path: Path) -> Any:
    if name not in values:
        known = hint(name, values)
        raise BadInputError(f"{path}: __{name}__ is not a placeholder of this template; {known}")
    return values[name]


def _fill_text(text: str, values: Values, path: Path, *, quoted: bool = True) -> str:
    """Leaves out lines that start with `##` or that have a placeholder whose value is None."""

    def shell(value: Any) -> str:
        if isinstance(value, Code) or not quoted:
            return str(value)
        return shlex.join(value) if isinstance(value, list | tuple) else shlex.quote(str(value))

    kept = []
    for line in text.splitlines(keepends=True):
        if line.startswith("##"):
            continue
        if all(_value(name, values, path) is not None for name in PLACEHOLDER.findall(line)):
            kept.append(PLACEHOLDER.sub(lambda match: shell(_value(match[1], values, path)), line))
    return "".join(kept)


def _fill_tree(node: Any, values: Values, path: Path) -> Any:
    """A string that is a single placeholder becomes its value, of any type; one of several lines is a script.

    Leaves out keys whose value is None, mappings without remaining keys, and list entries that lost a key.
    """
    if isinstance(node, str):
        if alone := PLACEHOLDER.fullmatch(node):
            value = _value(alone[1], values, path)
            return _OMITTED if value is None else str(value) if isinstance(value, Code) else value
        return _fill_text(node, values, path, quoted="\n" in node)
    if isinstance(node, dict):
        pairs = [(_fill_tree(key, values, path), _fill_tree(one, values, path)) for key, one in node.items()]
        filled = {key: value for key, value in pairs if key is not _OMITTED and value is not _OMITTED}
        return filled if filled or not node else _OMITTED
    if isinstance(node, list):
        entries = [(one, _fill_tree(one, values, path)) for one in node]
        return [
            value
            for one, value in entries
            if value is not _OMITTED and not (isinstance(one, dict) and len(value) < len(one))
        ]
    return node
