#!/usr/bin/env bash
## The template of `scaling data prepare --on slurm`: an array whose tasks make the shards of a corpus. Lines that begin
## with ## are left out. Values are quoted for the shell when they are filled in, so placeholders stay outside quotes.
# Shards of the corpus __OUT__, in __SHARDS__ jobs
#SBATCH --job-name=__NAME__
#SBATCH --array=1-__SHARDS__
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=__WORKERS__
#SBATCH --time=__MINUTES__
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=__LOG__
set -uo pipefail

# Finished shards are kept. So a job that was killed (exit code above 128, also at the time limit) is requeued, and
# makes only what is missing. The job that finishes last joins the shards of all.
cd __DIRECTORY__ || exit 1
srun __COMMAND__ --shard "$SLURM_ARRAY_TASK_ID"/__SHARDS__
code=$?
if [ "$code" -gt 128 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 100 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
