"""Which recipe, rate and number of passes for stage 3 on IMDb? Judged by 2,400 reviews held out of the training set; the test set is not opened.

    python benchmarks/choose_stage3.py runs/gpu/imdb --backbone runs/gpu/en-base/en-base --try freez:4:.01 freez:4:.01:chunk freez:4:.01:chunk+ar --json results/gpu/stage3.json --minutes 9

The folder is one in which `ulmfit reproduce imdb` has finished stage 2 (same backbone, direction and seed); it is read and not changed. Each of `--try` is recipe:passes:rate, and what the authors' scripts do besides: `chunk` draws dropout masks for each chunk, `ar` adds AR and TAR to the loss, `chunk+ar` does both.
A row is written as soon as it is known; the same call goes on with those that are missing. --labels takes fewer training reviews."""
import argparse, json, sys, time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from ulmfit_nb.awd_lstm import CLAS_DROPOUTS
from ulmfit_nb.bpt3c import SCRIPTS, TextClassifier
from ulmfit_nb.classifier import finetune_classifier
from ulmfit_nb.lab import Lab, load_task, without_twins
from ulmfit_nb.optimizers import TrainConfig
from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic

EXTRAS = dict(chunk={'masks': SCRIPTS['masks']}, ar={k: SCRIPTS[k] for k in ('alpha', 'beta')})

def split(rows, n_held, labels=None, seed=0): # indices
    "Rows that are held out, and rows to learn from, none of which stands among the first."
    perm = np.random.default_rng([seed, 1]).permutation(len(rows))
    held = perm[:min(n_held, len(perm)//5)]
    used = without_twins([(rows[i][0], i) for i in perm[len(held):]], [rows[i] for i in held])
    return held, np.array([i for _,i in used[:labels]])

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path); p.add_argument('--backbone', required=True); p.add_argument('--try', dest='tries', nargs='+', required=True, metavar='RECIPE:PASSES:RATE[:chunk+ar]')
    p.add_argument('--direction', choices=['forward', 'backward'], default='forward'); p.add_argument('--seed', type=int, default=0); p.add_argument('--bs', type=int, default=64); p.add_argument('--held', type=int, default=2400)
    p.add_argument('--labels', type=int); p.add_argument('--limit', type=int, help='the limit of the run in the folder, for a rehearsal'); p.add_argument('--json', type=Path, required=True); p.add_argument('--minutes', type=float); p.add_argument('--device')
    a = p.parse_args()
    begun = time.monotonic()
    if wrong := [e for t in a.tries for more in t.split(':')[3:] for e in more.split('+') if e not in EXTRAS]: p.error(f'unknown {wrong[0]!r} in --try: choose chunk, ar or chunk+ar')
    if not (a.folder/'inductive'/f'lm-default-{a.direction}-{a.seed}'/'facts.json').exists(): sys.exit(f'{a.folder} holds no finished stage 2, {a.direction}, seed {a.seed}: run `ulmfit reproduce imdb` into it first')
    lab = Lab(a.folder, backbone=a.backbone, device=a.device)
    task = load_task('imdb', a.limit)
    tok,corpus = lab.texts(task)
    lm,_ = lab.lm(tok, corpus, a.direction, a.seed)
    held,used = split(task.train, a.held, a.labels, a.seed)
    ys = np.array([task.classes.index(l) for _,l in task.train])
    def docs(idx): return [np.asarray(corpus[i]) for i in idx]
    mine = dict(backbone=Path(a.backbone).name, direction=a.direction, seed=a.seed, bs=a.bs)
    known = json.loads(a.json.read_text()) if a.json.exists() else mine | dict(rows=[])
    if any(known[k] != v for k,v in mine.items()): sys.exit(f'{a.json} holds rows of other settings: choose another file')
    rows = known['rows']
    for text in a.tries:
        recipe,passes,lr,*more = text.split(':')
        extras = {k: v for e in more for name in e.split('+') for k,v in EXTRAS[name].items()}
        if any((r['name'], r['labels']) == (text, len(used)) for r in rows): continue
        left = None if a.minutes is None else a.minutes-(time.monotonic()-begun)/60
        if left is not None and left <= 0: sys.exit('time is up: the same call goes on')
        torch.manual_seed(a.seed)
        s = lab.settings(lm)
        model = TextClassifier(deepcopy(lm.backbone), len(task.classes), CLAS_DROPOUTS*s['drop_mult'], **extras)
        t = finetune_classifier(model, docs(used), ys[used], (docs(held), ys[held]), recipe, int(passes), float(lr), a.bs, TrainConfig(device=a.device, clip=25., seed=a.seed), a.direction == 'backward', a.seed, minutes=left, div=s['div'])
        if not t.done: sys.exit(f'{text}: time is up, and nothing is recorded of it: the same call tries it again')
        rows.append(dict(name=text, recipe=recipe, passes=int(passes), lr=float(lr), **extras, labels=len(used), n=len(held), accuracy=t.history[-1]['accuracy'], seconds=round(t.seconds, 1), history=t.history))
        about = dict(what='stage 3 on IMDb: accuracy on held-out training reviews', hardware=hardware(t.device.type), torch=torch.__version__, commit=commit(), **mine)
        a.json.parent.mkdir(parents=True, exist_ok=True)
        with atomic(a.json) as tmp: tmp.write_text(json.dumps(about | dict(rows=rows), indent=1)+'\n')
        print(f'{text}: {rows[-1]["accuracy"]:.2%} after {", ".join(format(h["accuracy"], ".1%") for h in t.history)}', flush=True)

if __name__ == '__main__': main()
