"""Google Kubernetes Engine: a JobSet for each run, as xpk makes them, on node pools of TPUs or GPUs.

On TPUs GKE's webhook tells the pods of each other, and JAX finds them by itself; on GPUs the manifest does,
by the stable names that a JobSet gives its pods. Where a pod fails or is preempted, the set is made anew.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.config.yaml_files import as_yaml
from scaling.launch.engine import State, ask, call
from scaling.launch.job import EXAMPLE_IMAGE, MOUNT, PORT, Job, Site, slug, train_script
from scaling.launch.slices import host_chips

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
_MOST_RESTARTS = 100
_GRACE_SECONDS = 180  # between SIGTERM and SIGKILL: a step and a checkpoint


class Gke:
    """A cluster that kubectl is logged in to, with the JobSet controller and Cloud Storage FUSE."""

    name = "gke"
    suffix = ".yaml"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Kinds that Google has."""
        return devices.hardware.name in _TPUS | _GPUS

    def check(self, site: Site) -> None:
        """A bucket for the runs, and an image to run."""
        if site.bucket is None or not site.bucket.startswith("gs://"):
            raise BadInputError("--bucket: GKE keeps the runs in a bucket; give gs://NAME")
        if site.image is None:
            raise BadInputError(
                f"--image: give the container image with scaling in it, for example {EXAMPLE_IMAGE}"
            )

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """A JobSet each."""
        return [[job] for job in jobs]

    def submission(self, jobs: Sequence[Job]) -> str:
        """The JobSet of a run as YAML."""
        (job,) = jobs
        return as_yaml(jobset(job))

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Create the JobSet; an ended one of the same name goes first."""
        name = jobs[0].name
        call(["kubectl", "delete", "jobset", name, "--ignore-not-found"], "--on gke")
        call(["kubectl", "create", "--filename", str(file)], "--on gke")
        return [name]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """What the JobSet's status says."""
        question = ["kubectl", "get", "jobset", name, "--output=jsonpath={.status.terminalState}"]
        state, said = ask(question, missing="NotFound")
        return "gone" if said in ("Completed", "Failed") else state


def jobset(job: Job) -> dict[str, Any]:
    """The manifest of a run: a Job for each slice, a pod for each machine."""
    devices, site = job.placement.devices, job.site
    machines = job.placement.hosts // devices.slices
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": job.name,
            "labels": {
                "kueue.x-k8s.io/queue-name": "multislice-queue",  # xpk's; without Kueue it means nothing
                "xpk.google.com/workload": job.name,
                "scaling/sweep": slug(site.sweep, 40),
                "scaling/run-id": job.run_id,
            },
            # A slice is one node pool: its pods must not be spread over two.
            "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "ttlSecondsAfterFinished": 7 * 86400,
            "failurePolicy": {"maxRestarts": _MOST_RESTARTS},
            "replicatedJobs": [
                {
                    "name": "slice",
                    "replicas": devices.slices,
                    "template": {
                        "spec": {
                            "parallelism": machines,
                            "completions": machines,
                            "completionMode": "Indexed",
                            "backoffLimit": 0,
                            "template": {
                                "metadata": {"annotations": {"gke-gcsfuse/volumes": "true"}},
                                "spec": _pod(job, machines),
                            },
                        }
                    },
                }
            ],
        },
    }


def _pod(job: Job, machines: int) -> dict[str, Any]:
    devices, site = job.placement.devices, job.site
    kind, chips = devices.hardware.name, host_chips(devices)
    environment: list[dict[str, Any]] = []
    if kind in _TPUS:
        selector = {
            "cloud.google.com/gke-tpu-accelerator": _TPUS[kind],
            "cloud.google.com/gke-tpu-topology": "x".join(map(str, devices.topology)),
        }
        resource = "google.com/tpu"
        if machines * devices.slices > 1:
            environment = [{"name": "SCALING_COORDINATOR", "value": "auto"}]
    else:
        selector = {"cloud.google.com/gke-accelerator": _GPUS[kind]}
        resource = "nvidia.com/gpu"
        index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        environment = [
            {"name": "SCALING_COORDINATOR", "value": f"{job.name}-slice-0-0.{job.name}:{PORT}"},
            {"name": "SCALING_PROCESSES", "value": str(machines)},
            {"name": "SCALING_PROCESS_ID", "valueFrom": {"fieldRef": {"fieldPath": index}}},
        ]
    if site.spot:
        selector["cloud.google.com/gke-spot"] = "true"
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "serviceAccountName": "scaling",
        "nodeSelector": selector,
        "tolerations": [
            {"key": resource, "operator": "Exists", "effect": "NoSchedule"},
            {"key": "cloud.google.com/gke-spot", "operator": "Exists", "effect": "NoSchedule"},
        ],
        "containers": [
            {
                "name": "train",
                "image": site.image or EXAMPLE_IMAGE,
                # exec: the trainer itself gets the SIGTERM of a preemption, and saves.
                "command": [
                    "bash",
                    "-euc",
                    train_script(job).replace("\nscaling train", "\nexec scaling train"),
                ],
                "env": environment,
                "ports": [{"containerPort": PORT}],
                "resources": {"limits": {resource: chips}},
                "volumeMounts": [{"name": "runs", "mountPath": MOUNT}],
            }
        ],
        "volumes": [
            {
                "name": "runs",
                "csi": {
                    "driver": "gcsfuse.csi.storage.gke.io",
                    "volumeAttributes": {
                        "bucketName": site.store.removeprefix("gs://"),
                        # Checkpoints are written aside and renamed, folder and all.
                        "mountOptions": "implicit-dirs,rename-dir-limit=200000",
                    },
                },
            }
        ],
    }
