#!/usr/bin/env bash
# Builds `en-small`, the backbone that travels in the package, from $ULMFIT_DATA/enwiki: forward and backward side by side, then both into one
# directory with 8-bit weights and a model card. The same command goes on where it was stopped (MINUTES ends it in time).
#   ULMFIT_DATA=... OUT=runs/en-small bash benchmarks/en_small.sh
# On a CPU each direction takes THREADS cores; on a GPU they share it; on several GPUs: LAUNCH="torchrun --nproc-per-node 2 -m ulmfit_nb".
# INIT names a backbone to go on from, such as the one that is in the package now, whose vocabulary and network stay; SHARDS the parts of enwiki that are read.
set -euo pipefail
OUT=${OUT:-runs/en-small} TO=${TO:-ulmfit_nb/backbones/en-small} SHARDS=${SHARDS:-0 1 2 3} TOKENS=${TOKENS:-1000000000} EPOCHS=${EPOCHS:-1} MINUTES=${MINUTES:-} INIT=${INIT:-}
SIZE=${SIZE:-192,384,2} BS=${BS:-16} LR=${LR:-0.006} LAUNCH=${LAUNCH:-ulmfit} SEED=${SEED:-0} DIRECTIONS=${DIRECTIONS:-forward backward}
export OMP_NUM_THREADS=${THREADS:-1}
files=(); for s in $SHARDS; do files+=("$ULMFIT_DATA/enwiki/train-$s.jsonl.xz"); done
mkdir -p "$OUT"
net=(--size "$SIZE" --skip --kind word --vocab-size 20000 --cutoffs 2000 8000 --vocab-texts 5000)
if [ -n "$INIT" ]; then net=(--init "$INIT"); fi
pids=()
trap 'kill "${pids[@]}" 2> /dev/null || true; wait' EXIT # where one direction fails, or this script is stopped, none goes on
for d in $DIRECTIONS; do
    if [ -f "$OUT/$d/config.json" ]; then continue; fi
    more=(); if [ -d "$OUT/$d/run" ]; then more+=(--resume); fi
    if [ -n "$MINUTES" ]; then more+=(--minutes "$MINUTES"); fi
    $LAUNCH pretrain "${files[@]}" --out "$OUT/$d" --direction "$d" "${net[@]}" \
        --bs "$BS" --lr "$LR" --drop-mult 0.1 --max-tokens "$TOKENS" --epochs "$EPOCHS" --seed "$SEED" "${more[@]}" >> "$OUT/$d.log" 2>&1 &
    pids+=($!)
done
for _ in "${pids[@]}"; do wait -n || { tail -n 2 "$OUT"/*.log; exit 1; }; done # whichever ends first
trap - EXIT
for d in $DIRECTIONS; do if [ ! -f "$OUT/$d/config.json" ]; then STOPPED=1; fi; done
if [ -n "${STOPPED:-}" ]; then echo 'time is up: call again'; exit 0; fi
python benchmarks/en_small.py "$OUT" "$TO"
