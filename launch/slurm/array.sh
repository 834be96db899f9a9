#!/usr/bin/env bash
## The template of `scaling launch --on slurm`: an array of runs on slices of the same shape. Lines that begin
## with ## are left out. Values are quoted for the shell when they are filled in, so placeholders stay outside
## quotes. __GPUS__ has no value on machines without GPUs; its line is then left out.
# Runs of the sweep __SWEEP__, each on __DEVICES__
#SBATCH --job-name=__NAME__
#SBATCH --array=0-__LAST__
#SBATCH --nodes=__NODES__
#SBATCH --ntasks-per-node=__TASKS__
#SBATCH --gpus-per-node=__GPUS__
#SBATCH --time=__MINUTES__
## Time between SIGTERM and the time limit, in seconds: enough for a step and a checkpoint.
#SBATCH --signal=TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=__LOG__
set -uo pipefail

runs=(__RUNS__)
run=${runs[$SLURM_ARRAY_TASK_ID]}
# Exit code 75 (a process was lost) or above 128 (a signal, also at the time limit): the job is requeued, and the run
# resumes. Every process requeues it, because after a node failure srun waits until SLURM declares the node down.
# shellcheck disable=SC2016
process='trap : TERM
"$@"
code=$?
if [ "$code" -ge 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 100 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"'
srun --kill-on-bad-exit=1 bash -c "$process" process \
    __COMMAND__ train __CONFIGS__/"$run".yaml --out __DIRECTORY__/"$run"
code=$?
if [ "$code" -ge 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 100 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
