#!/usr/bin/env bash
# All that has to be seen on a GPU, unattended: the test suite, every method for one epoch (bf16,
# eager and compiled, both memory layouts), the efficiency page, the GMS step in ms per image, cells
# per hour one at a time and packed, then GlaS at 224 px.
#
#   benchmarks/gpu.sh [--dry-run] [--device cuda] [--data DIR] [--work DIR] [--jobs N|auto]
#
# --dry-run: print the commands. --data: prepared datasets; without it GlaS is left out. --work:
# cells, logs and times, default results/gpu. --jobs: cells at a time where they are packed.
#
# A step that is done is not done again, so the same command resumes. A step that fails is reported
# at the end, and the others go on. Tables go to results/measured/, with the device's name.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

dry_run=false device=cuda data="" work=results/gpu jobs=auto
while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry_run=true ;;
    --device) device=${2:?--device takes a name}; shift ;;
    --data) data=${2:?--data takes a folder}; shift ;;
    --work) work=${2:?--work takes a folder}; shift ;;
    --jobs) jobs=${2:?--jobs takes a number}; shift ;;
    *) echo "Unknown option $1. See the first lines of $0." >&2; exit 2 ;;
  esac
  shift
done

failed=()

# step NAME COMMAND...: run a command once; its output goes to NAME.log, its seconds to times.tsv.
step() {
  local name=$1 started
  shift
  if $dry_run; then
    echo "# $name"
    printf '%q ' "$@"
    echo
    return
  fi
  if [ -e "$work/$name.done" ]; then
    return
  fi
  echo "$(date +%T) $name: $*"
  started=$(date +%s)
  if "$@" >> "$work/$name.log" 2>&1; then
    printf '%s\t%s\n' "$name" "$(($(date +%s) - started))" >> "$work/times.tsv"
    touch "$work/$name.done"
  else
    failed+=("$name")
    echo "$name failed; see $work/$name.log"
  fi
}

# epoch NAME OPTIONS...: every method for one epoch, one cell at a time.
epoch() {
  local name=$1
  shift
  step "$name" bench run --train busi --methods all --profile benchmarks/gpu.toml:native \
    --device "$device" --jobs 1 --results "$work/$name" "$@"
}

# many NAME JOBS: sixteen small cells, all in one go: a part of them would give no rate.
many() {
  if ! $dry_run && [ ! -e "$work/$1.done" ]; then
    rm -rf "${work:?}/$1"
  fi
  step "$1" bench run --train busi --methods unet,nnunet,ege_unet,gms --seeds 0-3 \
    --profile benchmarks/gpu.toml:native --device "$device" --jobs "$2" --results "$work/$1"
}

if ! $dry_run; then
  mkdir -p "$work"
fi
step suite python -m pytest -q -m "heavy or not heavy"
epoch eager
epoch compiled --compile
epoch contiguous --no-channels-last
step measure-fp32 bench measure --device "$device" --precision fp32 --results "$work"
step measure-bf16 bench measure --device "$device" --precision bf16 --results results/measured
step gms-step python benchmarks/gms_ms_per_image.py --device "$device" --out results/measured
many one-at-a-time 1
many packed "$jobs"
if ! $dry_run; then
  rm -f "$work/tables.done" # written anew from what there is
fi
step tables python benchmarks/gpu_tables.py "$work" --device "$device" --out results/measured
if [ -n "$data" ]; then
  step glas bench run --train glas --methods all --profile paper --data "$data" \
    --device "$device" --jobs "$jobs" --results "$work/glas"
fi

if [ ${#failed[@]} -gt 0 ]; then
  echo "Failed: ${failed[*]}. The same command tries these again." >&2
  exit 1
fi
