"""Cloud TPU VMs: a queued resource for each run, whose machines train at their start and remove themselves.

A queued resource waits until Google has the slice. Its start-up script runs on every machine, at every boot.
A preempted slice is not made again by itself: submitting the sweep once more does it, and the run goes on.
"""

import math
import shlex
import string
from collections.abc import Sequence
from pathlib import Path

from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.launch.engine import State, ask, call
from scaling.launch.job import MOUNT, WHEEL, Job, Site, train_script

# Google Cloud documentation, "TPU software versions" and the page of each TPU. Accelerator types of v2 to v4
# and of v5p count cores, two a chip; those of v5e and v6e count chips.
_TYPES = {
    "tpu-v2": ("v2-{cores}", "tpu-ubuntu2204-base"),
    "tpu-v3": ("v3-{cores}", "tpu-ubuntu2204-base"),
    "tpu-v4": ("v4-{cores}", "tpu-ubuntu2204-base"),
    "tpu-v5e": ("v5litepod-{chips}", "v2-alpha-tpuv5-lite"),
    "tpu-v5p": ("v5p-{cores}", "v2-alpha-tpuv5"),
    "tpu-v6e": ("v6e-{chips}", "v2-alpha-tpuv6e"),
}
_EXAMPLE_ZONE = "your-zone"

_START = string.Template("""\
#!/usr/bin/env bash
# Runs as root on every machine of the slice, at every boot.
set -uo pipefail
export HOME=/root DEBIAN_FRONTEND=noninteractive
worker() {
    curl -fsS -H 'Metadata-Flavor: Google' \\
        http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number
}
set_up() {
    key=/usr/share/keyrings/cloud.google.asc packages=https://packages.cloud.google.com/apt
    list=/etc/apt/sources.list.d/gcsfuse.list
    echo "deb [signed-by=$$key] $$packages gcsfuse-$$(lsb_release -cs) main" > "$$list"
    curl -fsS "$$packages/doc/apt-key.gpg" -o "$$key"
    apt-get -q update
    apt-get -qy install gcsfuse python3-venv
    mkdir -p $mount
    # Checkpoints are written aside and renamed, folder and all.
    mountpoint -q $mount || gcsfuse --implicit-dirs --rename-dir-limit=200000 $bucket $mount
    python3 -m venv "$$HOME/scaling-venv"
    wheel=$$(find $folder -maxdepth 1 -name $wheel | sort | tail -n 1)
    "$$HOME/scaling-venv/bin/pip" install -q "$${wheel}[tpu]"
    export PATH="$$HOME/scaling-venv/bin:$$PATH"
}
train() {
$train}
(
    set -euo pipefail
    set_up
    train
)
code=$$?
# 75: a machine was lost; more than 128: asked to stop. Else the run has ended, and so does the bill.
if [ "$$code" -ne 75 ] && [ "$$code" -lt 128 ] && [ "$$(worker)" = 0 ]; then
    gcloud compute tpus queued-resources delete $name --zone=$zone --force --quiet --async
fi
""")

_SCRIPT = string.Template("""\
#!/usr/bin/env bash
# $title
set -euo pipefail
start=$$(mktemp)
trap 'rm -f "$$start"' EXIT
cat > "$$start" <<'$end'
$start$end
# One that was preempted or failed is still there by name.
if gcloud compute tpus queued-resources describe $name --zone=$zone > /dev/null 2>&1; then
    gcloud compute tpus queued-resources delete $name --zone=$zone --force --quiet
fi
gcloud compute tpus queued-resources create $name \\
    --zone=$zone \\
    $nodes \\
    --accelerator-type=$accelerator \\
    --runtime-version=$runtime \\
    --scopes=https://www.googleapis.com/auth/cloud-platform \\
    --metadata-from-file=startup-script="$$start"$spot
""")


class TpuVm:
    """TPU VMs by gcloud, without Kubernetes."""

    name = "tpu-vm"
    suffix = ".sh"
    default_device = "tpu-v5p"
    rented = True

    def accepts(self, devices: Devices) -> bool:
        """Kinds that have an accelerator type of their own."""
        return devices.hardware.name in _TYPES

    def check(self, site: Site) -> None:
        """A bucket for the runs, and a zone."""
        if site.bucket is None or not site.bucket.startswith("gs://"):
            raise BadInputError("--bucket: TPU VMs keep the runs in a bucket; give gs://NAME")
        if site.zone is None:
            raise BadInputError("--zone: give the zone that has your TPUs, for example us-east5-a")

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """A queued resource each."""
        return [[job] for job in jobs]

    def submission(self, jobs: Sequence[Job]) -> str:
        """The script that asks for the slice of a run."""
        (job,) = jobs
        devices, site = job.placement.devices, job.site
        kind, runtime = _TYPES[devices.hardware.name]
        chips = math.prod(devices.topology)
        zone, name = shlex.quote(site.zone or _EXAMPLE_ZONE), shlex.quote(job.name)
        several = job.placement.hosts > 1
        start = _START.substitute(
            mount=shlex.quote(MOUNT),
            folder=shlex.quote(site.mounted),
            bucket=shlex.quote(site.store.removeprefix("gs://")),
            wheel=shlex.quote(WHEEL),
            train=("export SCALING_COORDINATOR=auto\n" if several else "") + train_script(job),
            name=name,
            zone=zone,
        )
        nodes = f"--node-id={name}"
        if devices.slices > 1:
            nodes = f"--node-count={devices.slices} --node-prefix={name}"
        return _SCRIPT.substitute(
            title=f"The run {job.run_name} of the sweep {site.sweep} on {devices}",
            end=f"END-OF-START-{job.run_id}",
            start=start,
            name=name,
            zone=zone,
            nodes=nodes,
            accelerator=shlex.quote(kind.format(chips=chips, cores=2 * chips)),
            runtime=shlex.quote(runtime),
            spot=" \\\n    --spot" if site.spot else "",
        )

    def submit(self, jobs: Sequence[Job], file: Path) -> list[str]:
        """Ask for the slice."""
        call(["bash", str(file)], "--on tpu-vm")
        return [jobs[0].name]

    def state(self, name: str, job: str | None, site: Site) -> State:
        """What the queued resource says of itself."""
        if site.zone is None:
            return "unknown"
        question = ["gcloud", "compute", "tpus", "queued-resources", "describe", name]
        state, said = ask(
            [*question, f"--zone={site.zone}", "--format=value(state.state)"], missing="NOT_FOUND"
        )
        return "gone" if said in ("SUSPENDED", "SUSPENDING", "FAILED", "DELETING") else state
