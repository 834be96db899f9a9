"""SkyPilot: a managed job per run, on a cloud that has the devices; preempted, it resumes elsewhere."""

import math
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.launch.engine import Engine, State
from scaling.launch.job import PORT, Job, Site, cloud_values
from scaling.launch.slices import host_chips
from scaling.launch.template import Code, Values
from scaling.runtime.errors import BadInputError
from scaling.runtime.yaml_files import read_yaml

# SkyPilot's names (`sky show-gpus --all`); v2 to v4 and v5p count cores, two per chip; others, chips.
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
_NOT_INSTALLED = "--on skypilot: SkyPilot is not installed; pip install 'skypilot[gcp]' (or [aws], ...)"
_JOIN_BY_ADDRESS = f"""\
export SCALING_COORDINATOR="$(head -n 1 <<< "$SKYPILOT_NODE_IPS"):{PORT}"
export SCALING_PROCESSES="$SKYPILOT_NUM_NODES" SCALING_PROCESS_ID="$SKYPILOT_NODE_RANK\""""


class SkyPilot(Engine):
    """Managed jobs: SkyPilot's controller watches them and restarts them elsewhere."""

    name = "skypilot"
    template = "skypilot/task.yaml"
    suffix = ".yaml"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Single slices of the kinds in SkyPilot's catalog."""
        return devices.slices == 1 and devices.hardware.name in _GPUS | _TPUS

    def check(self, site: Site) -> None:
        """Requires a bucket for the runs, and SkyPilot itself."""
        if site.bucket is None:
            raise BadInputError("--bucket: SkyPilot keeps the runs in a bucket; give gs://NAME or s3://NAME")
        try:
            import sky  # noqa: F401
        except ImportError as error:
            raise BadInputError(_NOT_INSTALLED) from error

    def values(self, jobs: Sequence[Job]) -> Values:
        """The devices of a run, and what their machines do."""
        (job,) = jobs
        devices, machines = job.placement.devices, job.placement.hosts
        kind, chips = devices.hardware.name, math.prod(devices.topology)
        values = cloud_values(job) | {"SPOT": job.site.spot, "BUCKET_URL": job.site.store}
        if kind in _TPUS:
            accelerator, runtime = _TPUS[kind]
            return values | {
                "NODES": 1,  # a node of SkyPilot is a whole slice; the task runs on every machine of it
                "CLOUD": "gcp",
                "ACCELERATORS": f"{accelerator.format(chips=chips, cores=2 * chips)}:1",
                "RUNTIME": runtime,
                "EXTRA": "tpu",
                "JOIN": Code("export SCALING_COORDINATOR=auto") if machines > 1 else None,
            }
        return values | {
            "NODES": machines,
            "CLOUD": None,
            "ACCELERATORS": f"{_GPUS[kind]}:{host_chips(devices)}",
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
        except Exception as error:  # the library raises many kinds
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
