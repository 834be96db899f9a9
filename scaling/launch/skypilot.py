"""SkyPilot: a managed job for each run, on a cloud that has the devices; taken away, it goes on elsewhere."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.config.yaml_files import as_yaml, read_yaml
from scaling.launch.engine import State
from scaling.launch.job import EXAMPLE_BUCKET, MOUNT, PORT, WHEEL, Job, Site, train_script
from scaling.launch.slices import host_chips

# SkyPilot's names (`sky show-gpus --all`); those of v2 to v4 and v5p count cores, two a chip, others chips.
_GPUS = {
    "v100": "V100",
    "a100-40gb": "A100",
    "a100-80gb": "A100-80GB",
    "h100-sxm": "H100",
    "h200": "H200",
    "b200": "B200",
    "mi300x": "MI300X",
}
_TPUS = {
    "tpu-v2": ("tpu-v2-{cores}", None),
    "tpu-v3": ("tpu-v3-{cores}", None),
    "tpu-v4": ("tpu-v4-{cores}", None),
    "tpu-v5e": ("tpu-v5litepod-{chips}", "v2-alpha-tpuv5-lite"),
    "tpu-v5p": ("tpu-v5p-{cores}", "v2-alpha-tpuv5"),
    "tpu-v6e": ("tpu-v6e-{chips}", "v2-alpha-tpuv6e"),
}
_RESTARTS = 20  # after a failure that is none of the cloud's: a lost process, a full disk
_NOT_INSTALLED = "--on skypilot: SkyPilot is not installed here; pip install 'skypilot[gcp]' (or [aws], ...)"


class SkyPilot:
    """Managed jobs: SkyPilot's controller watches them, and starts them again elsewhere."""

    name = "skypilot"
    suffix = ".yaml"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Kinds that SkyPilot's catalog has; it knows no several slices."""
        return devices.slices == 1 and devices.hardware.name in _GPUS | _TPUS

    def check(self, site: Site) -> None:
        """A bucket for the runs, and SkyPilot itself."""
        if site.bucket is None:
            raise BadInputError("--bucket: SkyPilot keeps the runs in a bucket; give gs://NAME or s3://NAME")
        try:
            import sky  # noqa: F401
        except ImportError as error:
            raise BadInputError(_NOT_INSTALLED) from error

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """A managed job each."""
        return [[job] for job in jobs]

    def submission(self, jobs: Sequence[Job]) -> str:
        """The task of a run as YAML."""
        (job,) = jobs
        return as_yaml(task(job))

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Launch the managed job, by SkyPilot's own API, which validates the task first."""
        import sky

        try:
            checked = sky.Task.from_yaml_config(read_yaml(file))
            ids, _ = sky.get(sky.jobs.launch(checked, name=jobs[0].name))
        except Exception as error:  # of a library with its own hundred kinds
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadInputError(f"--on skypilot: {jobs[0].run_name}: {line[:300]}") from error
        return [str(ids[0] if isinstance(ids, list) else ids)]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """What SkyPilot's queue of managed jobs says."""
        if job is None or not job.isdecimal():
            return "unknown"
        try:
            import sky

            found = sky.get(sky.jobs.queue(refresh=False, job_ids=[int(job)]))
        except Exception:  # not installed, no controller, no network: nobody can be asked
            return "unknown"
        states = [one["status"] for one in found if one["job_id"] == int(job)]
        return "alive" if any(not state.is_terminal() for state in states) else "gone"


def task(job: Job) -> dict[str, Any]:
    """The task: `sky.Task.from_yaml_config` takes it."""
    devices, site = job.placement.devices, job.site
    kind, chips = devices.hardware.name, math.prod(devices.topology)
    machines = job.placement.hosts
    resources: dict[str, Any] = {"use_spot": site.spot, "disk_size": 256}
    if kind in _TPUS:
        name, runtime = _TPUS[kind]
        resources |= {"infra": "gcp", "accelerators": f"{name.format(chips=chips, cores=2 * chips)}:1"}
        if runtime is not None:
            resources["accelerator_args"] = {"runtime_version": runtime}
        nodes = 1  # SkyPilot's node is the whole slice; it runs the task on every machine of it
    else:
        resources["accelerators"] = f"{_GPUS[kind]}:{host_chips(devices)}"
        nodes = machines
    resources["job_recovery"] = {"strategy": "EAGER_NEXT_REGION", "max_restarts_on_errors": _RESTARTS}
    return {
        "name": job.name,
        "num_nodes": nodes,
        "resources": resources,
        "file_mounts": {MOUNT: {"source": site.store or EXAMPLE_BUCKET, "mode": "MOUNT"}},
        "setup": _setup(site, "tpu" if kind in _TPUS else "cuda"),
        "run": _joining(job, kind in _TPUS, machines) + train_script(job),
    }


def _setup(site: Site, extra: str) -> str:
    folder, wheel = shlex.quote(site.mounted), shlex.quote(WHEEL)
    return (
        "set -e\n"
        f"wheel=$(find {folder} -maxdepth 1 -name {wheel} | sort | tail -n 1)\n"
        f'pip install -q "${{wheel}}[{extra}]"\n'
    )


def _joining(job: Job, tpu: bool, machines: int) -> str:
    """Tell the trainer of the other machines."""
    if machines == 1:
        return ""
    if tpu:
        return "export SCALING_COORDINATOR=auto\n"
    return (
        f'export SCALING_COORDINATOR="$(head -n 1 <<< "$SKYPILOT_NODE_IPS"):{PORT}"\n'
        'export SCALING_PROCESSES="$SKYPILOT_NUM_NODES" SCALING_PROCESS_ID="$SKYPILOT_NODE_RANK"\n'
    )
