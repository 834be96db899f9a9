"""Google Kubernetes Engine: a JobSet per run, like those of xpk, on node pools of TPUs or GPUs.

On TPUs, GKE's webhook tells each pod about the others, and JAX finds them by itself. On GPUs, the manifest
does so through the stable host names that a JobSet gives its pods. When a pod fails or is preempted, the
JobSet controller recreates the set.
"""

from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.launch.engine import Engine, State, call, query
from scaling.launch.job import EXAMPLE_IMAGE, PORT, Job, Site, cloud_values, slug, train_script
from scaling.launch.slices import host_chips
from scaling.launch.template import Code, Values
from scaling.runtime.errors import BadInputError

# Google Cloud documentation, "TPUs in GKE" and "GPUs in GKE": values of the node labels.
_TPUS = {
    "tpu-v4": "tpu-v4-podslice",
    "tpu-v5e": "tpu-v5-lite-podslice",
    "tpu-v5p": "tpu-v5p-slice",
    "tpu-v6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
}
_GPUS = {
    "v100": "nvidia-tesla-v100",
    "a100-40gb": "nvidia-tesla-a100",
    "a100-80gb": "nvidia-a100-80gb",
    "h100-sxm": "nvidia-h100-80gb",
    "h200": "nvidia-h200-141gb",
    "b200": "nvidia-b200",
}
_POD_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


class Gke(Engine):
    """A cluster that kubectl is logged in to, with the JobSet controller and Cloud Storage FUSE."""

    name = "gke"
    template = "gke/jobset.yaml"
    suffix = ".yaml"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Kinds that Google has."""
        return devices.hardware.name in _TPUS | _GPUS

    def check(self, site: Site) -> None:
        """Requires a bucket for the runs, and an image."""
        if site.bucket is None or not site.bucket.startswith("gs://"):
            raise BadInputError("--bucket: GKE keeps the runs in a bucket; give gs://NAME")
        if site.image is None:
            raise BadInputError(
                f"--image: give the container image with scaling in it, for example {EXAMPLE_IMAGE}"
            )

    def values(self, jobs: Sequence[Job]) -> Values:
        """The slices of a run, how their pods find each other, and what they do."""
        (job,) = jobs
        devices, site, name = job.placement.devices, job.site, job.name
        kind, machines = devices.hardware.name, job.placement.hosts // devices.slices
        tpu = kind in _TPUS
        coordinator: str | None = f"{name}-slice-0-0.{name}:{PORT}"
        if tpu:
            coordinator = "auto" if job.placement.hosts > 1 else None
        return cloud_values(job) | {
            "SWEEP_LABEL": slug(site.sweep, 40),
            "SLICES": devices.slices,
            "MACHINES": machines,
            "TPU": _TPUS.get(kind),
            "TOPOLOGY": "x".join(map(str, devices.topology)) if tpu else None,
            "GPU": _GPUS.get(kind),
            "SPOT": "true" if site.spot else None,
            "RESOURCE": "google.com/tpu" if tpu else "nvidia.com/gpu",
            "CHIPS": host_chips(devices),
            "IMAGE": site.image or EXAMPLE_IMAGE,
            # exec: the trainer itself receives the SIGTERM of a preemption, and saves a checkpoint.
            "TRAIN": Code(train_script(job, ("exec", "scaling"))),
            "COORDINATOR": coordinator,
            "PROCESSES": None if tpu else str(machines),
            "POD_INDEX": None if tpu else _POD_INDEX,
            "PORT": PORT,
            "BUCKET": site.store.removeprefix("gs://"),
        }

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Create the JobSet, after deleting an ended one of the same name."""
        name = jobs[0].name
        call(["kubectl", "delete", "jobset", name, "--ignore-not-found"], "--on gke")
        call(["kubectl", "create", "--filename", str(file)], "--on gke")
        return [name]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """The terminal state in the JobSet's status, if it has one."""
        command = ["kubectl", "get", "jobset", name, "--output=jsonpath={.status.terminalState}"]
        state, terminal = query(command, missing="NotFound")
        return "gone" if terminal in ("Completed", "Failed") else state
