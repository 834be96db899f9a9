"""Rented machines, whose runs are in a bucket: Google Kubernetes Engine, Cloud TPU VMs, SkyPilot.

- GKE: a JobSet per run, like those of xpk, on node pools of TPUs or GPUs. On TPUs, the webhook of GKE tells
  each pod about the others, and JAX finds them by itself. On GPUs, the manifest uses the stable host names
  that a JobSet gives its pods. The JobSet controller recreates the set when a pod fails or is preempted.
- TPU VMs: a queued resource per run, which waits until Google has the slice, trains when its machines boot
  and then deletes itself. Its startup script runs on every machine at every boot. Google does not recreate a
  preempted slice: submit the sweep again, and the run resumes.
- SkyPilot: a managed job per run on a cloud that has the devices; a preempted job resumes elsewhere.
"""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.launch.job import EXAMPLE_IMAGE, PORT, Code, Job, Site, Values, cloud_values, slug, train_script
from scaling.launch.launcher import (
    Launcher,
    State,
    call,
    query,
)
from scaling.launch.slices import host_chips
from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import read_yaml

# Values of node labels: Google Cloud documentation, "TPUs in GKE" and "GPUs in GKE".
_GKE_TPUS = {
    "tpu-v4": "tpu-v4-podslice",
    "tpu-v5e": "tpu-v5-lite-podslice",
    "tpu-v5p": "tpu-v5p-slice",
    "tpu-v6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
}
_GKE_GPUS = {
    "v100": "nvidia-tesla-v100",
    "a100-40gb": "nvidia-tesla-a100",
    "a100-80gb": "nvidia-a100-80gb",
    "h100-sxm": "nvidia-h100-80gb",
    "h200": "nvidia-h200-141gb",
    "b200": "nvidia-b200",
}
_POD_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


class Gke(Launcher):
    """A Kubernetes cluster that kubectl is logged in to, with JobSet and Cloud Storage FUSE."""

    name = "gke"
    template = "gke/jobset.yaml"
    suffix = ".yaml"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Whether Google has the kind."""
        return devices.hardware.name in _GKE_TPUS | _GKE_GPUS

    def check(self, site: Site) -> None:
        """Requires a bucket and a container image."""
        if site.bucket is None or not site.bucket.startswith("gs://"):
            raise BadInputError("--bucket: runs on GKE are kept in a bucket; give gs://NAME")
        if site.image is None:
            raise BadInputError(
                f"--image: give a container image that contains scaling, for example {EXAMPLE_IMAGE}"
            )

    def values(self, jobs: Sequence[Job]) -> Values:
        """The slices of a run, how their pods find each other, and the script they run."""
        (job,) = jobs
        devices, site, name = job.placement.devices, job.site, job.name
        kind, machines = devices.hardware.name, job.placement.hosts // devices.slices
        tpu = kind in _GKE_TPUS
        coordinator: str | None = f"{name}-slice-0-0.{name}:{PORT}"
        if tpu:
            coordinator = "auto" if job.placement.hosts > 1 else None
        return cloud_values(job) | {
            "SWEEP_LABEL": slug(site.sweep, 40),
            "SLICES": devices.slices,
            "MACHINES": machines,
            "TPU": _GKE_TPUS.get(kind),
            "TOPOLOGY": "x".join(map(str, devices.topology)) if tpu else None,
            "GPU": _GKE_GPUS.get(kind),
            "SPOT": "true" if site.spot else None,
            "RESOURCE": "google.com/tpu" if tpu else "nvidia.com/gpu",
            "CHIPS": host_chips(devices),
            "IMAGE": site.image or EXAMPLE_IMAGE,
            # With exec the trainer itself receives the SIGTERM of a preemption and saves a checkpoint.
            "TRAIN": Code(train_script(job, ("exec", "scaling"))),
            "COORDINATOR": coordinator,
            "PROCESSES": None if tpu else str(machines),
            "POD_INDEX": None if tpu else _POD_INDEX,
            "PORT": PORT,
            "BUCKET": site.store.removeprefix("gs://"),
        }

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Create the JobSet after deleting one of the same name that has ended."""
        name = jobs[0].name
        call(["kubectl", "delete", "jobset", name, "--ignore-not-found"], "--on gke")
        call(["kubectl", "create", "--filename", str(file)], "--on gke")
        return [name]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """Gone if the status of the JobSet has a terminal state."""
        command = ["kubectl", "get", "jobset", name, "--output=jsonpath={.status.terminalState}"]
        state, terminal = query(command, missing="NotFound")
        return "gone" if terminal in ("Completed", "Failed") else state


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


class TpuVm(Launcher):
    """Cloud TPU VMs through gcloud, without Kubernetes."""

    name = "tpu-vm"
    template = "tpu-vm/queued_resource.sh"
    suffix = ".sh"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Whether the kind has an accelerator type."""
        return devices.hardware.name in _TYPES

    def check(self, site: Site) -> None:
        """Requires a bucket and a zone."""
        if site.bucket is None or not site.bucket.startswith("gs://"):
            raise BadInputError("--bucket: runs on TPU VMs are kept in a bucket; give gs://NAME")
        if site.zone is None:
            raise BadInputError("--zone: give the zone that has your TPUs, for example us-east5-a")

    def values(self, jobs: Sequence[Job]) -> Values:
        """The slice of a run and the script that its machines run."""
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
        """The state of the queued resource."""
        if site.zone is None:
            return "unknown"
        command = ["gcloud", "compute", "tpus", "queued-resources", "describe", name]
        command += [f"--zone={site.zone}", "--format=value(state.state)"]
        state, reported = query(command, missing="NOT_FOUND")
        return "gone" if reported in ("SUSPENDED", "SUSPENDING", "FAILED", "DELETING") else state


# SkyPilot's names (`sky show-gpus --all`); v2 to v4 and v5p count cores, two per chip; others, chips.
_SKY_GPUS = {
    "v100": "V100",
    "a100-40gb": "A100",
    "a100-80gb": "A100-80GB",
    "h100-sxm": "H100",
    "h200": "H200",
    "b200": "B200",
    "mi300x": "MI300X",
}
_SKY_TPUS = {
    "tpu-v2": ("tpu-v2-{cores}", None),
    "tpu-v3": ("tpu-v3-{cores}", None),
    "tpu-v4": ("tpu-v4-{cores}", None),
    "tpu-v5e": ("tpu-v5litepod-{chips}", "v2-alpha-tpuv5-lite"),
    "tpu-v5p": ("tpu-v5p-{cores}", "v2-alpha-tpuv5"),
    "tpu-v6e": ("tpu-v6e-{chips}", "v2-alpha-tpuv6e"),
}
_NOT_INSTALLED = "--on skypilot: SkyPilot is not installed; pip install 'skypilot[gcp]' (or [aws], ...)"
_JOIN_BY_ADDRESS = f"""\
export SCALING_COORDINATOR="$(head -n 1 <<< "$SKYPILOT_NODE_IPS"):{PORT}"
export SCALING_PROCESSES="$SKYPILOT_NUM_NODES" SCALING_PROCESS_ID="$SKYPILOT_NODE_RANK\""""


class SkyPilot(Launcher):
    """SkyPilot managed jobs, which its controller restarts elsewhere after a preemption."""

    name = "skypilot"
    template = "skypilot/task.yaml"
    suffix = ".yaml"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Whether it is a single slice of a kind in SkyPilot's catalog."""
        return devices.slices == 1 and devices.hardware.name in _SKY_GPUS | _SKY_TPUS

    def check(self, site: Site) -> None:
        """Requires a bucket and SkyPilot itself."""
        if site.bucket is None:
            raise BadInputError(
                "--bucket: runs under SkyPilot are kept in a bucket; give gs://NAME or s3://NAME"
            )
        try:
            import sky  # noqa: F401
        except ImportError as error:
            raise BadInputError(_NOT_INSTALLED) from error

    def values(self, jobs: Sequence[Job]) -> Values:
        """The devices of a run and the script that their machines run."""
        (job,) = jobs
        devices, machines = job.placement.devices, job.placement.hosts
        kind, chips = devices.hardware.name, math.prod(devices.topology)
        values = cloud_values(job) | {"SPOT": job.site.spot, "BUCKET_URL": job.site.store}
        if kind in _SKY_TPUS:
            accelerator, runtime = _SKY_TPUS[kind]
            return values | {
                "NODES": 1,  # a SkyPilot node is a complete slice; the task runs on every machine of it
                "CLOUD": "gcp",
                "ACCELERATORS": f"{accelerator.format(chips=chips, cores=2 * chips)}:1",
                "RUNTIME": runtime,
                "EXTRA": "tpu",
                "JOIN": Code("export SCALING_COORDINATOR=auto") if machines > 1 else None,
            }
        return values | {
            "NODES": machines,
            "CLOUD": None,
            "ACCELERATORS": f"{_SKY_GPUS[kind]}:{host_chips(devices)}",
            "RUNTIME": None,
            "EXTRA": "cuda",
            "JOIN": Code(_JOIN_BY_ADDRESS) if machines > 1 else None,
        }

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Launch the managed job through SkyPilot's API, which validates the task first."""
        import sky

        try:
            checked = sky.Task.from_yaml_config(read_yaml(file))
            ids, _ = sky.get(sky.jobs.launch(checked, name=jobs[0].name))
        except Exception as error:  # SkyPilot raises many types
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadInputError(f"--on skypilot: {jobs[0].run_name}: {line[:300]}") from error
        return [str(ids[0] if isinstance(ids, list) else ids)]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """The state in SkyPilot's queue of managed jobs."""
        if job is None or not job.isdecimal():
            return "unknown"
        try:
            import sky

            found = sky.get(sky.jobs.queue(refresh=False, job_ids=[int(job)]))
        except Exception:  # not installed, no controller, no network
            return "unknown"
        states = [one["status"] for one in found if one["job_id"] == int(job)]
        return "alive" if any(not state.is_terminal() for state in states) else "gone"
