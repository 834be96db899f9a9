#!/usr/bin/env bash
## The template of `scaling launch --on tpu-vm`: requests the slice of one run, whose machines then run the startup
## script inside. Lines that begin with ## are left out. Values are quoted for the shell when they are filled in,
## so placeholders stay outside quotes. Where __JOIN__ has no value (one machine), its line is left out; __SPOT__
## is a further line, `--spot`, or nothing.
# The run __RUN__ of the sweep __SWEEP__ on __DEVICES__
set -euo pipefail
start=$(mktemp)
trap 'rm -f "$start"' EXIT
cat > "$start" <<'END-OF-START-__RUN_ID__'
#!/usr/bin/env bash
# Runs as root on every machine of the slice, at every boot.
set -uo pipefail
export HOME=/root DEBIAN_FRONTEND=noninteractive
worker() {
    curl -fsS -H 'Metadata-Flavor: Google' \
        http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number
}
set_up() {
    key=/usr/share/keyrings/cloud.google.asc packages=https://packages.cloud.google.com/apt
    list=/etc/apt/sources.list.d/gcsfuse.list
    echo "deb [signed-by=$key] $packages gcsfuse-$(lsb_release -cs) main" > "$list"
    curl -fsS "$packages/doc/apt-key.gpg" -o "$key"
    apt-get -q update
    apt-get -qy install gcsfuse python3-venv
    mkdir -p __MOUNT__
    # A checkpoint is written to a temporary folder, which is then renamed.
    mountpoint -q __MOUNT__ || gcsfuse --implicit-dirs --rename-dir-limit=200000 __BUCKET__ __MOUNT__
    python3 -m venv "$HOME/scaling-venv"
    wheel=$(find __FOLDER__ -maxdepth 1 -name 'scaling_lab-*.whl' | sort | tail -n 1)
    "$HOME/scaling-venv/bin/pip" install -q "${wheel}[tpu]"
    export PATH="$HOME/scaling-venv/bin:$PATH"
}
train() {
__JOIN__
__TRAIN__
}
(
    set -euo pipefail
    set_up
    train
)
code=$?
# 75: a machine was lost; above 128: stopped by a signal. Otherwise the run has ended, and the slice is deleted.
if [ "$code" -ne 75 ] && [ "$code" -lt 128 ] && [ "$(worker)" = 0 ]; then
    gcloud compute tpus queued-resources delete __NAME__ --zone=__ZONE__ --force --quiet --async
fi
END-OF-START-__RUN_ID__
# A resource that was preempted or failed still exists under this name.
if gcloud compute tpus queued-resources describe __NAME__ --zone=__ZONE__ > /dev/null 2>&1; then
    gcloud compute tpus queued-resources delete __NAME__ --zone=__ZONE__ --force --quiet
fi
gcloud compute tpus queued-resources create __NAME__ \
    --zone=__ZONE__ \
    __NODES__ \
    --accelerator-type=__ACCELERATOR__ \
    --runtime-version=__RUNTIME__ \
    --scopes=https://www.googleapis.com/auth/cloud-platform \
    --metadata-from-file=startup-script="$start"__SPOT__
