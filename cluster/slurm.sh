#!/usr/bin/env bash
# A sweep on the nodes of a Slurm job: one Ray node on each, the driver on the first. NOT RUN: its syntax and #SBATCH lines are checked only.
#
#   make .venv/ready                             # once, in a checkout on a file system that all nodes share
#   .venv/bin/ray get-auth-token --generate      # once, if your home is shared too: makes ~/.ray/auth_token
#   sbatch cluster/slurm.sh sweeps/quickstart.py --concurrent 8
#
# Everything after the script's name goes to `optical sweep`. Killed by the time limit? sbatch the same line with --resume added.
#SBATCH --job-name=optical-sweep
#SBATCH --nodes=2
# One Ray node per machine; it hands out the machine's CPUs and GPUs itself.
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-task=1
# Not shared with other jobs: Ray's ports and memory are not divided by Slurm.
#SBATCH --exclusive
#SBATCH --time=24:00:00
# Ten minutes before the end the driver is told, as by Ctrl-C: it writes checkpoints and a report.
#SBATCH --signal=B:INT@600
#SBATCH --output=optical-%j.log
set -euo pipefail

# Slurm runs a copy of this file: what the checkout holds is found from where sbatch was called.
ROOT=${SLURM_SUBMIT_DIR:?call it by sbatch, from the root of the checkout}
SHARED=${OPTICAL_SHARED:-$ROOT}  # runs and artifacts: a folder that all nodes share
export PATH="$ROOT/.venv/bin:$PATH"

# Every process of the cluster asks for the token and gives it; without, anybody on these machines could run code as you.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token"
[ -s "$RAY_AUTH_TOKEN_PATH" ] || { echo "$RAY_AUTH_TOKEN_PATH: no token; call ray get-auth-token --generate first" >&2; exit 2; }

# Another port for each job: two jobs of one user may follow each other on a machine.
PORT=$((20000 + SLURM_JOB_ID % 10000))
HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
HEAD=${HOSTS%%$'\n'*}  # not by head: what it leaves unread would end scontrol, and by pipefail this script
ADDRESS="$HEAD:$PORT"
# A folder of the job's own for sockets and logs: short, because a socket's path holds 107 characters.
TEMPORARY="/tmp/ray-$SLURM_JOB_ID"
GPUS=${SLURM_GPUS_PER_TASK:-0}
GPUS=${GPUS##*:}  # Slurm may say TYPE:NUMBER

ray_node() {  # NODES-OPTIONS... -- RAY-START-OPTIONS...: a step that lives as long as the job; --block keeps Ray inside it, so that Slurm ends it
  local options=()
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  srun --overlap --export=ALL "${options[@]}" ray start "$@" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$GPUS" --block &
}

ray_node --nodes=1 --ntasks=1 --nodelist="$HEAD" -- --head --port="$PORT" --dashboard-host=127.0.0.1 --temp-dir="$TEMPORARY"
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  OTHERS=$((SLURM_JOB_NUM_NODES - 1))
  ray_node --nodes="$OTHERS" --ntasks="$OTHERS" --exclude="$HEAD" -- --address="$ADDRESS"
fi

# The head answers within two minutes; for the others the sweep itself waits (--wait), until its trials have room.
for _ in $(seq 120); do
  (exec 3<> "/dev/tcp/$HEAD/$PORT") 2> /dev/null && break
  sleep 1
done

# In the background with `wait`, so that the signal above reaches the driver at once.
FILE=${1:?which sweep file?}
shift
# A shell ignores SIGINT in what it starts in the background, and Python then never sees it: env gives it back.
env --default-signal=INT optical sweep "$FILE" --address "$ADDRESS" --wait 300 --out "$SHARED/runs" --store "$SHARED/artifacts" "$@" &
DRIVER=$!
trap 'kill -INT "$DRIVER"' INT
STATUS=0
wait "$DRIVER" || STATUS=$?
while kill -0 "$DRIVER" 2> /dev/null; do wait "$DRIVER" || STATUS=$?; done
# What else runs (the Ray nodes) ends with the job.
exit "$STATUS"
