"""A run as a job: its name, where its files lie, and the script that trains it on a machine of a cloud."""

import dataclasses
import re
import shlex
import string
from pathlib import Path

from scaling.config.errors import BadInputError
from scaling.config.yaml_files import dump_yaml
from scaling.launch.slices import Placement

MOUNT = "/mnt/scaling"  # where machines of a cloud see the bucket
PORT = 8476  # of the first process, for the others
_BUCKET = re.compile(r"^(gs|s3)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[A-Za-z0-9][A-Za-z0-9._=+-]*)*$")
_IMAGE = re.compile(r"^[a-z0-9][A-Za-z0-9._/:@-]*$")
_PLACE = re.compile(r"^[a-z][a-z0-9-]*$")
EXAMPLE_BUCKET = "gs://your-bucket"
EXAMPLE_IMAGE = "REGION-docker.pkg.dev/PROJECT/REPOSITORY/scaling:latest"
WHEEL = "scaling_lab-*.whl"  # in the bucket, beside the sweeps


@dataclasses.dataclass(frozen=True)
class Site:
    """Where a sweep is run, and what its machines need to know.

    Raises:
        BadInputError: a name that is none.
    """

    directory: Path  # the sweep directory here: `submissions.json`, `launch/`; on shared disks the runs too
    sweep: str
    command: tuple[str, ...] = ("scaling",)
    bucket: str | None = None
    image: str | None = None
    zone: str | None = None
    spot: bool = False
    within: float = 720.0  # hours

    def __post_init__(self) -> None:
        if self.bucket is not None and not _BUCKET.fullmatch(self.bucket):
            raise BadInputError(
                f"--bucket {self.bucket}: give gs://NAME or s3://NAME, with a folder or without"
            )
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise BadInputError(f"--image {self.image}: give the name of a container image")
        if self.zone is not None and not _PLACE.fullmatch(self.zone):
            raise BadInputError(f"--zone {self.zone}: give the name of a zone, for example us-east5-a")

    @property
    def store(self) -> str:
        """The bucket, alone; an example where none was named, which only a dry run prints."""
        return "/".join((self.bucket or EXAMPLE_BUCKET).split("/")[:3])

    @property
    def mounted(self) -> str:
        """The bucket's folder on machines of a cloud: runs are trained from here, relative paths and all."""
        return MOUNT + (self.bucket or EXAMPLE_BUCKET).removeprefix(self.store)


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep on its slice."""

    placement: Placement
    site: Site

    @property
    def run_name(self) -> str:
        """As the sweep calls the run."""
        return self.placement.run.name

    @property
    def run_id(self) -> str:
        """What the ledger of submissions knows it by."""
        return self.placement.run.id()

    @property
    def name(self) -> str:
        """A name that every engine accepts (RFC 1123, 40 characters at most), the same every time."""
        words = "-".join(slug(part, 14) for part in (self.site.sweep, self.run_name))
        return f"{words}-{self.run_id[:8]}"

    @property
    def config(self) -> Path:
        """The run's config in the sweep directory here."""
        return self.site.directory / "launch" / f"{self.run_name}.yaml"


def slug(text: str, most: int) -> str:
    """Lower-case letters, digits and single hyphens; a letter first."""
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    kept = kept if kept[:1].isalpha() else f"x{kept}"
    return kept[:most].strip("-")


_TRAIN = string.Template("""\
mkdir -p "$$HOME/scaling-launch"
cat > "$$HOME/scaling-launch/"$file <<'$end'
$config$end
cd $folder
export SCALING_CACHE="$$HOME/.cache/scaling"
scaling train "$$HOME/scaling-launch/"$file --out $out
""")


def train_script(job: Job) -> str:
    """Shell lines that train a run on one machine of a cloud, its config with them."""
    end = f"END-OF-{job.run_id}"
    config = dump_yaml(job.placement.run)
    if end in config:
        raise BadInputError(f"{job.run_name}: the config holds the line {end}")
    return _TRAIN.substitute(
        file=shlex.quote(f"{job.run_id}.yaml"),
        end=end,
        config=config,
        folder=shlex.quote(job.site.mounted),
        out=shlex.quote(f"{job.site.sweep}/{job.run_name}"),
    )
