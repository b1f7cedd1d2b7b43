#!/usr/bin/env bash
# Everything here that wants a GPU, in the order of its worth. Each call works MINUTES minutes, saves, and the next call goes on.
#   ULMFIT_DATA=... OUT=runs/gpu MINUTES=9 bash benchmarks/gpu.sh
# Needs $ULMFIT_DATA/enwiki/train-*.jsonl.xz and $ULMFIT_DATA/imdb/. Rehearse on a CPU: SIZE=micro BS=16 EPOCHS=1 TOKENS=200000 LIMIT=300 LM_EPOCHS=1 MINUTES=9
set -euo pipefail
OUT=${OUT:-runs/gpu} MINUTES=${MINUTES:-9} SIZE=${SIZE:-base} BS=${BS:-256} EPOCHS=${EPOCHS:-2} LM_EPOCHS=${LM_EPOCHS:-6} TOKENS=${TOKENS:-1000000000} LIMIT=${LIMIT:-} RESULTS=${RESULTS:-results}
mkdir -p "$OUT"
end=$(( $(date +%s) + MINUTES*60 ))
left() { python -c "import time; print(max(0., ($end - time.time())/60 - .3))"; }
late() { if [ "$(left)" = 0.0 ]; then echo 'time is up: call again'; exit 0; fi; }
once() { # once NAME COMMAND...: run unless it was finished
    local name=$1; shift
    if [ -f "$OUT/$name.done" ]; then return; fi
    late
    echo "== $name ($(left) minutes left)"
    timeout "$(left)m" "$@" > "$OUT/$name.log" 2>&1 && touch "$OUT/$name.done" || { tail -5 "$OUT/$name.log"; echo "== $name did not finish: the next call tries again"; }
}
python -c 'import torch; print("GPU:", torch.cuda.get_device_name() if torch.cuda.is_available() else "none; a rehearsal, in which the cells that need one do nothing")'
once checks bash -c 'for f in nbs/0[35678]_*.ipynb nbs/10_*.ipynb; do nbdev-test --flags cuda "$f" || exit 1; done' # the chapters with such cells
once tests python -m pytest -q tests/test_awd_lstm.py tests/test_training.py
once speed python benchmarks/run.py --json "$OUT/speed.json"
if [ ! -f "$OUT/en-$SIZE/config.json" ]; then
    resume=(); if [ -d "$OUT/en-$SIZE/run" ]; then resume=(--resume); fi
    ulmfit pretrain "$ULMFIT_DATA"/enwiki/train-*.jsonl.xz --out "$OUT/en-$SIZE" --size "$SIZE" --direction both --vocab-size 30000 --max-tokens "$TOKENS" --epochs "$EPOCHS" --bs "$BS" --minutes "$(left)" "${resume[@]}"
fi
[ -f "$OUT/en-$SIZE/config.json" ] || { echo 'time is up: call again'; exit 0; }
limit=(); if [ -n "$LIMIT" ]; then limit=(--limit "$LIMIT"); fi
for name in imdb imdb-lowshot imdb-transductive imdb-ablation; do
    late
    ulmfit reproduce "$name" --backbone "$OUT/en-$SIZE" --out "$OUT/$name" --results "$RESULTS" --bs "$BS" --lm-epochs "$LM_EPOCHS" --minutes "$(left)" "${limit[@]}"
done
