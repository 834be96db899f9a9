#!/usr/bin/env bash
## The template of `scaling launch --on local`. Lines that begin with ## are left out. Values are quoted for the
## shell when they are filled in, so placeholders stay outside quotes.
# The runs of the sweep __SWEEP__, one after the other
set -uo pipefail
failed=0
runs=(__RUNS__)
for run in "${runs[@]}"; do
    __COMMAND__ train __CONFIGS__/"$run".yaml --out __DIRECTORY__/"$run"
    code=$?
    if [ "$code" -ge 128 ]; then exit "$code"; fi  # stopped by a signal: start no other run
    if [ "$code" -ne 0 ]; then failed=1; fi
done
exit "$failed"
