"""Cloud TPU VMs: a queued resource per run, which trains when its machines boot and then deletes itself.

A queued resource waits until Google has the slice. Its startup script runs on every machine, at every boot.
Google does not recreate a preempted slice: submitting the sweep again does, and the run resumes.
"""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.launch.engine import Engine, State, call, query
from scaling.launch.job import Job, Site, cloud_values
from scaling.launch.template import Code, Values
from scaling.runtime.errors import BadInputError

# Google Cloud documentation, "TPU software versions" and the page of each TPU. Accelerator types of v2 to v4
# and of v5p count cores, two per chip; those of v5e and v6e count chips.
_TYPES = {
    "tpu-v2": ("v2-{cores}", "tpu-ubuntu2204-base"),
    "tpu-v3": ("v3-{cores}", "tpu-ubuntu2204-base"),
    "tpu-v4": ("v4-{cores}", "tpu-ubuntu2204-base"),
    "tpu-v5e": ("v5litepod-{chips}", "v2-alpha-tpuv5-lite"),
    "tpu-v5p": ("v5p-{cores}", "v2-alpha-tpuv5"),
    "tpu-v6e": ("v6e-{chips}", "v2-alpha-tpuv6e"),
}
_EXAMPLE_ZONE = "your-zone"


class TpuVm(Engine):
    """TPU VMs by gcloud, without Kubernetes."""

    name = "tpu-vm"
    template = "tpu-vm/queued_resource.sh"
    suffix = ".sh"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Kinds that have an accelerator type."""
        return devices.hardware.name in _TYPES

    def check(self, site: Site) -> None:
        """Requires a bucket for the runs, and a zone."""
        if site.bucket is None or not site.bucket.startswith("gs://"):
            raise BadInputError("--bucket: TPU VMs keep the runs in a bucket; give gs://NAME")
        if site.zone is None:
            raise BadInputError("--zone: give the zone that has your TPUs, for example us-east5-a")

    def values(self, jobs: Sequence[Job]) -> Values:
        """The slice of a run, and what its machines do."""
        (job,) = jobs
        devices, site = job.placement.devices, job.site
        accelerator, runtime = _TYPES[devices.hardware.name]
        chips, name = math.prod(devices.topology), shlex.quote(job.name)
        one, several = f"--node-id={name}", f"--node-count={devices.slices} --node-prefix={name}"
        return cloud_values(job) | {
            "ZONE": site.zone or _EXAMPLE_ZONE,
            "BUCKET": site.store.removeprefix("gs://"),
            "JOIN": Code("export SCALING_COORDINATOR=auto") if job.placement.hosts > 1 else None,
            "NODES": Code(several if devices.slices > 1 else one),
            "ACCELERATOR": accelerator.format(chips=chips, cores=2 * chips),
            "RUNTIME": runtime,
            "SPOT": Code(" \\\n    --spot" if site.spot else ""),
        }

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Request the slice."""
        call(["bash", str(file)], "--on tpu-vm")
        return [jobs[0].name]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """The state that the queued resource reports."""
        if site.zone is None:
            return "unknown"
        command = ["gcloud", "compute", "tpus", "queued-resources", "describe", name]
        command += [f"--zone={site.zone}", "--format=value(state.state)"]
        state, reported = query(command, missing="NOT_FOUND")
        return "gone" if reported in ("SUSPENDED", "SUSPENDING", "FAILED", "DELETING") else state
