#!/usr/bin/env bash
# The recorded IMDb run, through the `ulmfit` command alone; every step resumes where it was interrupted.
#   ULMFIT_DATA=... OUT=runs/imdb SIZE=tiny TOKENS=8000000 bash benchmarks/imdb_run.sh
# Needs $ULMFIT_DATA/enwiki/train-0.jsonl.xz (long English Wikipedia articles, a JSON object with "text" a line; any dump in that form will do) and $ULMFIT_DATA/imdb/{train,test,unsup}.jsonl.xz.
set -euo pipefail
OUT=${OUT:-runs/imdb} SIZE=${SIZE:-tiny} TOKENS=${TOKENS:-8000000} SEED=${SEED:-0}
mkdir -p "$OUT"
[ -d "$OUT/data" ] || python "$(dirname "$0")/imdb_sample.py" "$OUT/data" --labels 1000 --unlabelled 10000 --test 5000 --seed "$SEED"

step() { # step NAME COMMAND...: run unless its directory is finished; go on where it holds an unfinished run
    local name=$1; shift
    if [ -f "$OUT/$name/config.json" ]; then return; fi
    local resume=(); if [ -d "$OUT/$name/run" ]; then resume=(--resume); fi
    echo "== $name: $*"
    "$@" --out "$OUT/$name" --seed "$SEED" "${resume[@]}"
}
train=(ulmfit train "$OUT/data/train.csv")
step backbone   ulmfit pretrain "$ULMFIT_DATA/enwiki/train-0.jsonl.xz" --size "$SIZE" --kind bpe --vocab-size 8000 --max-tokens "$TOKENS" --lr 8e-3 --bs 32 --drop-mult .2
step scratch    "${train[@]}" --backbone none --lm-epochs 0 --size "$SIZE" --kind bpe --vocab-size 8000
step ulmfit     "${train[@]}" --backbone "$OUT/backbone" --unlabelled "$OUT/data/unlabelled.csv" --lm-epochs 1 --lm-lr 8e-3
step no-pretraining "${train[@]}" --backbone none --unlabelled "$OUT/data/unlabelled.csv" --lm-epochs 1 --lm-lr 8e-3 --size "$SIZE" --kind bpe --vocab-size 8000
for name in scratch no-pretraining ulmfit; do
    [ -f "$OUT/$name.json" ] || { ulmfit evaluate "$OUT/$name" "$OUT/data/test.csv" --json > "$OUT/$name.json.part" && mv "$OUT/$name.json.part" "$OUT/$name.json"; }
done
python "$(dirname "$0")/imdb_record.py" "$OUT" --seed "$SEED"
