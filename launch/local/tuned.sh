#!/usr/bin/env bash
# Runs a command with glibc told to keep freed memory in the process: XLA's CPU back end gives its buffers
# back to the kernel every step, and takes as many page faults to get them again.
#   launch/local/tuned.sh scaling sweep demo
# Resident memory can grow (benchmarks/throughput.py --allocator glibc | tuned measures both sides of it).
set -euo pipefail
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456 MALLOC_ARENA_MAX=1
exec "$@"
