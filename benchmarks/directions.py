"""How much quicker is `ULMFiT().fit` where both directions are trained at the same time (`n_jobs=2`) than one after the other, on the same threads?

    export ULMFIT_DATA=...
    python benchmarks/directions.py --json results/directions.json [--rounds 3 --threads 2 --labels 100 --unlabelled 3000]
    python benchmarks/directions.py --json results/fit.json --rounds 1 --labels 500 --unlabelled 10000 --passes 0 --n-jobs 2     # how long `ULMFiT().fit` takes, as it comes

Film reviews, `en-small`, one pass of stage 2 unless told otherwise, a second round; by turns, on an idle machine."""
import argparse, json, time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import torch

from ulmfit_nb import ULMFiT
from ulmfit_nb.lab import load_task
from ulmfit_nb.reproduce import draw
from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--json', type=Path, required=True); p.add_argument('--rounds', type=int, default=3); p.add_argument('--threads', type=int, default=2)
    p.add_argument('--labels', type=int, default=100); p.add_argument('--unlabelled', type=int, default=3000)
    p.add_argument('--passes', type=float, default=1., help='of stage 2; 0: as many as the package takes'); p.add_argument('--n-jobs', type=int, nargs='+', choices=[1, 2], default=[1, 2])
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    task = load_task('imdb')
    rows,more = [task.train[i] for i in draw(task.train, a.labels, 0)],list(task.more[:a.unlabelled])
    texts,labels = map(list, zip(*rows))
    secs = {1: [], 2: []}
    facts = dict(what='seconds of `ULMFiT().fit`, both directions one after the other (1) and at the same time (2), by turns', labels=a.labels, unlabelled=len(more), lm_epochs=a.passes or None, threads=a.threads, hardware=hardware(), torch=torch.__version__, commit=commit())
    for r in range(a.rounds):
        for n in sorted(a.n_jobs, reverse=bool(r % 2)):
            begun = time.monotonic()
            ULMFiT(lm_epochs=a.passes or None, random_state=0, device='cpu', progress=False, n_jobs=n).fit(texts, labels, more)
            secs[n].append(round(time.monotonic()-begun, 1))
            print(f'round {r+1}, {n} at a time: {secs[n][-1]:.0f} s', flush=True)
        ratios = [round(x/y, 3) for x,y in zip(secs[1], secs[2])]
        with atomic(a.json) as tmp: tmp.write_text(json.dumps(facts | dict(seconds=secs, ratios=ratios, ratio=median(ratios) if ratios else None, recorded=datetime.now(timezone.utc).isoformat(timespec='seconds')), indent=1) + '\n')
    if ratios: print(f'{median(ratios):.2f} times as fast at the same time')
