"""Submitting `scaling data prepare` as jobs that each make some shards: SLURM arrays, SkyPilot jobs."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from scaling.launch.job import MOUNT, Site, fill, slug, template_file
from scaling.launch.launcher import call
from scaling.launch.submit import launcher_named
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically
from scaling.runtime.yaml_files import read_yaml

_ENGINES = {"slurm": ("slurm/prepare.sh", ".sbatch"), "skypilot": ("skypilot/prepare.yaml", ".sky.yaml")}


@dataclasses.dataclass(frozen=True)
class Preparation:
    """A corpus that is prepared by `shards` jobs.

    Raises:
        BadInputError: an engine that has no template for it, or numbers that make no sense.
    """

    engine: str
    arguments: tuple[str, ...]
    """Of `scaling data prepare`, --shard left out."""
    shards: int
    workers: int
    site: Site
    """`directory` is where the corpus goes."""

    def __post_init__(self) -> None:
        launcher_named(self.engine)
        if self.engine not in _ENGINES:
            raise BadInputError(
                f"--on {self.engine}: a corpus is prepared by slurm or skypilot; on one machine give "
                "--workers and leave --on out"
            )
        if self.shards < 1:
            raise BadInputError(f"--shards {self.shards}: give the number of jobs, 1 or more")

    @property
    def file(self) -> Path:
        """The script or task that is submitted, next to the corpus."""
        out = self.site.directory.absolute()
        return out.with_name(out.name + _ENGINES[self.engine][1])

    @property
    def name(self) -> str:
        """Of the job."""
        return f"prepare-{slug(self.site.directory.name, 24)}"

    def submission(self) -> str:
        """The script or task. Raises BadInputError where the template cannot be filled in."""
        site, out = self.site, self.site.directory
        template = site.template or template_file(_ENGINES[self.engine][0])
        values = {
            "NAME": self.name,
            "OUT": str(out),
            "SHARDS": self.shards,
            "COMMAND": (*site.command, "data", "prepare", *self.arguments),
        }
        if self.engine == "slurm":
            launcher_named("slurm").check(Site(out.absolute(), site.sweep))
            log = self.file.with_name(f"{out.name}-%a.log")
            minutes = math.ceil(60 * site.within)
            values |= {"WORKERS": self.workers, "MINUTES": minutes, "LOG": log, "DIRECTORY": Path.cwd()}
            return fill(template, values, "shell")
        values |= {
            "CPUS": f"{self.workers}+",
            "SPOT": site.spot,
            "MOUNT": MOUNT,
            "BUCKET_URL": site.store,
            "FOLDER": site.mounted,
        }
        return fill(template, values, "yaml")

    def submit(self) -> str:
        """Write the script next to the corpus and submit it; returns the identifier of the job.

        Raises:
            BadInputError: something is missing, or the scheduler refuses.
        """
        launcher_named(self.engine).check(self.site)
        write_atomically(self.file, self.submission().encode())
        if self.engine == "slurm":
            command: Sequence[str] = ["sbatch", "--parsable", str(self.file)]
            return call(command, "--on slurm").strip().partition(";")[0]
        import sky

        try:
            task = sky.Task.from_yaml_config(read_yaml(self.file))
            ids, _ = sky.get(sky.jobs.launch(task, name=self.name))
        except Exception as error:  # SkyPilot raises many types
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadInputError(f"--on skypilot: {line[:300]}") from error
        return str(ids[0] if isinstance(ids, list) else ids)
