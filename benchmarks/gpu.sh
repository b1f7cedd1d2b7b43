#!/usr/bin/env bash
# Everything here that wants a GPU, in the order of its worth. Each call works MINUTES minutes, saves, and the next call goes on.
#   ULMFIT_DATA=... OUT=runs/gpu MINUTES=9 bash benchmarks/gpu.sh
# Needs $ULMFIT_DATA/enwiki and $ULMFIT_DATA/imdb, and for its last step $ULMFIT_DATA/wikitext-2. Do `python benchmarks/en_base.py prepare runs/gpu/en-base` beforehand: it needs no GPU.
# Rehearse on a CPU: SIZE=micro BS=16 EPOCHS=1 ARTICLES=20 LIMIT=60 LM_EPOCHS=1 WT2_EPOCHS=1 RESULTS=runs/rehearsal OUT=runs/gpu-rehearsal MINUTES=9
set -euo pipefail
OUT=${OUT:-runs/gpu} MINUTES=${MINUTES:-9} SIZE=${SIZE:-base} BS=${BS:-256} EPOCHS=${EPOCHS:-2} LM_EPOCHS=${LM_EPOCHS:-5} ARTICLES=${ARTICLES:-} LIMIT=${LIMIT:-} RESULTS=${RESULTS:-results}
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
device=$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
echo "device: $device" # on a CPU it is a rehearsal, in which the cells that need a GPU do nothing
once checks bash -c 'for f in nbs/0[35678]_*.ipynb nbs/10_*.ipynb; do nbdev-test --flags cuda "$f" || exit 1; done' # the chapters with such cells
once tests python -m pytest -q tests/test_awd_lstm.py tests/test_bfloat16.py tests/test_training.py
if [ $device = cuda ]; then once speed python benchmarks/run.py --gpu; else once speed python benchmarks/run.py --rounds 1 --json "$OUT/speed.json"; fi
base=$OUT/en-base limit=() articles=()
if [ -n "$LIMIT" ]; then limit=(--limit "$LIMIT"); fi
if [ -n "$ARTICLES" ]; then articles=(--limit "$ARTICLES" --vocab-texts "$ARTICLES"); fi
python benchmarks/en_base.py prepare "$base" "${articles[@]}"
for d in forward backward; do
    late
    python benchmarks/en_base.py train "$base" --direction $d --size "$SIZE" --epochs "$EPOCHS" --bs "$BS" --minutes "$(left)"
    [ -f "$base/$d/config.json" ] || { echo 'time is up: call again'; exit 0; }
done
once join python benchmarks/en_base.py join "$base" "$base/en-base" --device $device --results "$RESULTS" "${articles[@]}"
reproduce() {
    late
    ulmfit reproduce "$1" --backbone "$base/en-base" --out "$OUT/$1" --results "$RESULTS" --bs "$BS" --clas-bs 64 --lm-epochs "$LM_EPOCHS" --lm-drop-mult .3 --minutes "$(left)" "${limit[@]}"
}
reproduce imdb
once choose python benchmarks/choose_stage3.py "$OUT/imdb" --backbone "$base/en-base" --try freez:8:.01 freez:12:.01 freez-fall:8:.01 full:6:.003 --json "$RESULTS/gpu/stage3.json" --minutes "$(left)" "${limit[@]}"
for name in imdb-lowshot imdb-transductive imdb-ablation imdb-lowshot-transductive; do reproduce $name; done
late
ulmfit reproduce wikitext2 --size "$SIZE" --bs 64 --lm-epochs "${WT2_EPOCHS:-60}" --out "$OUT/wikitext2" --results "$RESULTS" --minutes "$(left)" "${limit[@]}"
