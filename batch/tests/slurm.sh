#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# As root: a Slurm of one node, without systemd, and real renders in it: slurm.sh
#
# LIPSYNC_TOOL is the tool; it finds the plugin by GST_PLUGIN_PATH. Daemons and files go when this ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || { echo "slurm.sh: run it as root: it starts Slurm" >&2; exit 1; }
export LIPSYNC_TOOL=${LIPSYNC_TOOL:-$PWD/target/release/lipsync}
work=$(mktemp -d)
chmod 755 "$work"
pids=()
finish() {
    # The process that runs the scripts of slurmctld ends with it.
    kill "${pids[@]}" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap finish EXIT

fail() {
    echo "FAIL $*" >&2
    tail -n 20 "$work"/*.log "$work"/jobs/*.log >&2 || true
    exit 1
}

# until_so WHAT COMMAND...: waits with patience until the command succeeds
until_so() {
    local what=$1
    shift
    for _ in $(seq 900); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 1
    done
    fail "it does not come to that: $what"
}

start_slurm() {
    local host=${HOSTNAME%%.*}
    mkdir -m 700 "$work/munge"
    dd if=/dev/urandom of="$work/munge/key" bs=128 count=1 status=none
    chmod 400 "$work/munge/key"
    # Requeued jobs wait for cred_expire.
    cat >"$work/slurm.conf" <<EOF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17817
SlurmdPort=17818
AuthInfo=socket=$work/munge/socket,cred_expire=5
SlurmUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MinJobAge=7200
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc)
PartitionName=all Nodes=$host Default=YES
EOF
    export SLURM_CONF=$work/slurm.conf
    munged --foreground --force --key-file "$work/munge/key" --socket "$work/munge/socket" --pid-file "$work/munge/pid" \
        --seed-file "$work/munge/seed" >"$work/munge.log" 2>&1 &
    pids+=($!)
    until_so "munge answers" test -S "$work/munge/socket"
    slurmctld -D >"$work/slurmctld.log" 2>&1 &
    pids+=($!)
    slurmd -D >"$work/slurmd.log" 2>&1 &
    pids+=($!)
    until_so "the node is idle" sh -c 'sinfo | grep -q idle'
}

# field JOB NAME: what Slurm says of a job
field() {
    scontrol show job "$1" | grep -o "$2=[^ ]*" | cut -d= -f2
}

has_ended() {
    # What runs may be requeued.
    ! squeue --noheader --job "$1" --states all --format %T | grep -qvE 'COMPLETED|FAILED|CANCELLED'
}

check_frames() {
    local is
    is=$(ffprobe -v error -count_frames -select_streams v -show_entries stream=nb_read_frames -of csv=p=0 "$1")
    [ "$is" = "$2" ] || fail "$1: $is frames, not $2"
    grep -q '"status": "done"' "$1.json" || fail "$1: has no report"
}

mkdir "$work/state" "$work/spool" "$work/jobs"
start_slurm
sbatch="$PWD/batch/slurm/render.sbatch"
parts="$PWD/batch/slurm/parts.sh"
sample="$PWD/examples/sample.wav"
cd "$work/jobs"
ffmpeg -v error -i "$sample" -t 1.2 short.wav
ffmpeg -v error -stream_loop 1 -i "$sample" -t 12 long.wav
for name in 1 2 busy; do
    echo "{\"speech\": \"short.wav\", \"video\": \"$name.mp4\", \"size\": \"96x96\"}" >$name.json
    realpath $name.json >>jobs.txt
done
echo '{"speech": "missing.wav", "video": "wrong.mp4"}' >wrong.json
realpath wrong.json >>jobs.txt
echo '{"speech": "long.wav", "video": "long.mp4", "size": "96x96"}' >long.json

echo "==> an array: two good jobs, one that another process is at, one that is wrong"
mkdir .busy.mp4.work
exec 9>.busy.mp4.work/lock
flock 9
array=$(sbatch --parsable --array=1-4 "$sbatch" jobs.txt 9>&-)
until_so "the third is requeued" grep -q requeued "lipsync-${array}_3.log"
exec 9>&-
until_so "the array has ended" has_ended "$array"
for name in 1 2 busy; do check_frames $name.mp4 30; done
[ "$(field "${array}_3" JobState)" = COMPLETED ] || fail "the third is $(field "${array}_3" JobState)"
[ "$(field "${array}_3" Restarts)" -ge 1 ] || fail "the third was not requeued"
[ "$(field "${array}_4" ExitCode)/$(field "${array}_4" Restarts)" = 3:0/0 ] || fail "the fourth was tried again"

echo "==> one that is interrupted while it renders"
sed 's/long.mp4/stopped.mp4/' long.json >stopped.json
realpath stopped.json >stopped.txt
array=$(sbatch --parsable --array=1 "$sbatch" stopped.txt)
until_so "it renders" grep -q '"done":[1-9]' "lipsync-${array}_1.log"
scancel --batch --signal=TERM "${array}_1"
until_so "it is requeued" grep -q "exit status 130: requeued" "lipsync-${array}_1.log"
until_so "it has ended" has_ended "$array"
check_frames stopped.mp4 300

echo "==> one that is cancelled"
sed 's/long.mp4/cancelled.mp4/' long.json >cancelled.json
realpath cancelled.json >cancelled.txt
array=$(sbatch --parsable --array=1 "$sbatch" cancelled.txt)
until_so "it renders" grep -q '"done":[1-9]' "lipsync-${array}_1.log"
scancel "$array"
until_so "it has ended" has_ended "$array"
[ "$(field "${array}_1" JobState)/$(field "${array}_1" Restarts)" = CANCELLED/0 ] || fail "it was requeued"

echo "==> a long video in two parts, and the job that joins them"
join=$("$parts" "$PWD/long.json" 2)
until_so "it is joined" has_ended "$join"
check_frames long.mp4 300
echo "==> Slurm $(sbatch --version | cut -d' ' -f2): all as it should be"
