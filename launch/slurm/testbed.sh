#!/usr/bin/env bash
# A SLURM cluster of two nodes on one Debian machine, for tests: munged, slurmctld, and a slurmd for each node on
# a port of its own. No systemd. Needs root.
#   launch/slurm/testbed.sh start FOLDER     install what is missing, start, and wait until both nodes are idle
#   launch/slurm/testbed.sh kill FOLDER n2   a node dies: its daemon, and every process of its jobs, by SIGKILL
#   launch/slurm/testbed.sh node FOLDER n2   and comes back
#   launch/slurm/testbed.sh stop FOLDER      stop everything and take back what was written outside FOLDER
# Then: export SLURM_CONF=FOLDER/slurm.conf; sinfo; sbatch ...
set -euo pipefail

readonly MARK="# scaling testbed"
command=${1:?start, kill, node or stop}
folder=$(realpath -m "${2:?a folder for its state and logs}")
export SLURM_CONF="$folder/slurm.conf"

install() {
    if command -v slurmctld slurmd munged > /dev/null; then return; fi
    export DEBIAN_FRONTEND=noninteractive
    # The packages start no daemon of their own: there is no systemd to do it, and nothing is to run unasked.
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends slurm-wlm munge > /dev/null
}

configure() {
    local cpus memory
    cpus=$(nproc)
    memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
    mkdir -p "$folder"/{state,n1,n2,munge}
    cat > "$SLURM_CONF" <<CONF
ClusterName=testbed
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=${SCALING_TESTBED_PORT:-17001}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=10
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=5,batch_sched_delay=1
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
MinJobAge=30
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=n1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=${SCALING_TESTBED_PORT_N1:-17011} CPUs=$cpus RealMemory=$memory
NodeName=n2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=${SCALING_TESTBED_PORT_N2:-17012} CPUs=$cpus RealMemory=$memory
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
    # JAX's first process is found by the name of its node.
    grep -q "$MARK" /etc/hosts || echo "127.0.0.1 n1 n2 $MARK" >> /etc/hosts
}

start_munge() {
    # munged refuses folders that others can write to, and runs as a user of its own.
    head -c 128 /dev/urandom > "$folder/munge/key"
    chown -R munge:munge "$folder/munge"
    chmod 755 "$folder" "$folder/munge"
    chmod 400 "$folder/munge/key"
    setpriv --reuid=munge --regid=munge --clear-groups munged --force \
        --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
}

start_node() {
    slurmd -N "$1"
}

# Ends the process of a pid file, if it is still the one that wrote it.
end() {
    local pid
    if [ -s "$1" ]; then
        pid=$(cat "$1")
        if grep -qs "$2" "/proc/$pid/comm"; then kill "-$3" "$pid"; fi
        rm -f "$1"
    fi
}

# Whether a process has the log of a node open: its daemon's steps inherit that.
of_node() {
    local file
    for file in "/proc/$1/fd/"*; do
        if [ "$(readlink "$file")" = "$folder/$2.log" ]; then return; fi
    done
    return 1
}

# Every process of the jobs on a node: the daemons of its steps, and what descends from them.
kill_steps() {
    local pid pids="" children
    for pid in $(pgrep '^slurmstepd' || true); do
        if of_node "$pid" "$1"; then pids+=" $pid"; fi
    done
    while [ -n "$pids" ]; do
        children=""
        for pid in $pids; do
            children+=" $(pgrep --parent "$pid" | xargs || true)"
            kill -KILL "$pid" 2> /dev/null || true
        done
        pids=$(echo "$children" | xargs)
    done
}

wait_idle() {
    for _ in $(seq 60); do
        if [ "$(sinfo --noheader --Node --states=idle --format=%N 2> /dev/null | sort | xargs)" = "n1 n2" ]; then
            return
        fi
        sleep 1
    done
    echo "the nodes did not come up; see $folder/*.log" >&2
    exit 1
}

case "$command" in
    start)
        if [ "$(id -u)" -ne 0 ]; then
            echo "testbed.sh: needs root" >&2
            exit 1
        fi
        install
        configure
        start_munge
        slurmctld -c
        start_node n1
        start_node n2
        wait_idle
        ;;
    kill)
        end "$folder/${3:?n1 or n2}.pid" slurmd KILL
        kill_steps "$3"
        ;;
    node)
        start_node "${3:?n1 or n2}"
        ;;
    stop)
        for node in n1 n2; do
            end "$folder/$node.pid" slurmd KILL
            kill_steps "$node"
        done
        end "$folder/slurmctld.pid" slurmctld KILL
        end "$folder/munge/pid" munged TERM
        rm -f "$folder/munge/key"
        # /etc/hosts may be a mount that cannot be renamed over.
        kept=$(grep -v "$MARK" /etc/hosts) && echo "$kept" > /etc/hosts
        ;;
    *)
        echo "testbed.sh: unknown command $command; give start, kill, node or stop" >&2
        exit 2
        ;;
esac
