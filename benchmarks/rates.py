"""Is one recipe of stage 3 better than another, or does it only suit the one rate at which both are run? And what is pretraining worth when each side has the rate that suits it? With `en-small`, forward, at several largest rates.

    export ULMFIT_DATA=...
    python benchmarks/rates.py runs/rates --json results/stage3/rates.json [--minutes 60]
    python benchmarks/rates.py runs/rates --json results/stage3/rates-edge.json --rates .1
    python benchmarks/rates.py runs/rates --json results/stage3/rates-start.json --rates .001 .003 .01 .03 .1 --recipes 'full, no pretraining' 'full, no stage 2' 'from scratch'
    python benchmarks/rates.py runs/rates --json results/stage3/rates-package.json --rates .003 .005 .01 --recipes 'settings of the package'
    python benchmarks/rates.py runs/rates-imdb --json results/stage3/rates-imdb.json --task imdb --labels 1000 --unlabelled 5000 --seeds 0 --rates .003 .01 --recipes full 'full + discr' 'freez + discr + stlr' 'from scratch' 'full, no pretraining'
    python benchmarks/rates.py runs/rates-border --json results/stage3/package-imdb-border.json --task imdb --labels 1000 2000 3000 5000 --unlabelled 5000 --one-stage-2 --rates .003 .005 .01 --recipes 'settings of the package'
    python benchmarks/rates.py runs/rates-3000 --json results/stage3/starts-imdb-3000.json --task imdb --labels 3000 --unlabelled 5000 --one-stage-2 --seeds 0 1 --rates .003 .01 .03 --recipes full 'freez + discr + stlr' 'full, no stage 2' 'full, no pretraining' 'from scratch'
    (package-imdb-low.json: from the same stage 2, --labels 3000 5000 --rates .001 .002 --seeds 0 1; package-trec-6.json: as rates-package.json, --seeds 3 4 5 6 7)

As `ulmfit reproduce trec6-ablation` (or `imdb-ablation`) otherwise: the paper's stage 2 (the same for all rows of a seed, or of all seeds with --one-stage-2; its passes go by the number of tokens, 5.2 over 5,000 reviews, where the recorded ablation of IMDb has two), its dropouts, as many passes as the ablation has, scored on the same tenth of the training set; no test text is scored.
Runs that are finished stay in the folder: the same call goes on. --limit rehearses with so many texts a split."""
import argparse, json, time
from itertools import product
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from ulmfit_nb.lab import Lab, TimeUp, load_task, without_twins
from ulmfit_nb.reproduce import ablation_rows, draw, scores
from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic

TABLE_7 = 'full', 'full + discr', 'freez', 'freez + discr', 'freez + stlr', 'freez + discr + stlr'
RECIPES = {r: (r, dict(recipe='full + discr + stlr')) for r in TABLE_7} | { # name → stage 3, stage 2
    'full, no pretraining': ('full', dict(recipe='full + discr + stlr', pretrained=False)), 'full, no stage 2': ('full', dict(recipe='none')), 'from scratch': ('from scratch', dict(recipe='none')),
    'settings of the package': (None, dict(recipe=None))}

def run(lab, task, labels, rates, seeds, recipes, one=False):
    "A row for each seed, number of labels, rate and recipe; `one` stage 2 for all seeds."
    for lab.labels in [(few,) for few in labels] if labels else [None]: held,used,_ = ablation_rows(lab, task) # or says which number cannot be
    tok,corpus = lab.texts(lab.reads(replace(task, train=used, more=without_twins(task.more, held))), key='rates')
    for seed in seeds:
        for few,rate,recipe in product(labels or [None], rates, recipes):
            rows = [used[i] for i in draw(used, few, seed)] if few else used
            docs,ys = [np.asarray(i) for i in tok.encode_iter([t for t,_ in rows])],np.array([task.classes.index(l) for _,l in rows])
            lab.lr,name,(stage3,stage2) = rate,f'{recipe.replace(" ", "")}-{rate:g}' + (f'-{few}' if few else ''),RECIPES[recipe]
            lm,f2 = lab.lm(tok, corpus, 'forward', 0 if one else seed, key='rates', **stage2)
            model,f3 = lab.classifier(name, lm, docs, ys, len(task.classes), 'forward', seed, recipe=stage3, key='rates')
            p = lab.probs(name, model, tok, [t for t,_ in held], 'forward', seed, 'rates')
            yield dict(recipe=recipe, lr=rate, seed=seed, n=len(held), labels=len(rows), lm_epochs=f2['epochs'], epochs=f3['epochs'], minutes=round(f2['minutes']+f3['minutes'], 2), accuracy=scores(p, held, task.classes)['accuracy'])

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('out', type=Path); p.add_argument('--json', type=Path, required=True); p.add_argument('--minutes', type=float)
    p.add_argument('--task', choices=['trec-6', 'imdb'], default='trec-6'); p.add_argument('--labels', type=int, nargs='+', help='a draw a seed for each number; all without it'); p.add_argument('--unlabelled', type=int, help='texts that stage 2 reads; all without it')
    p.add_argument('--rates', type=float, nargs='+', default=[.001, .003, .01, .03]); p.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    p.add_argument('--recipes', nargs='+', choices=['all', *RECIPES], default=TABLE_7); p.add_argument('--one-stage-2', action='store_true'); p.add_argument('--limit', type=int)
    a = p.parse_args()
    lab = Lab(a.out, a.out/'rows', a.minutes, 'en-small', unlabelled=a.unlabelled, progress=False)
    rows,begun,recipes = [],time.monotonic(),RECIPES if 'all' in a.recipes else a.recipes
    facts = dict(what=f"stage 3 on {a.task}, recipes of the paper's tables at several largest rates: accuracy on a tenth of the training texts, held out", task=a.task, unlabelled=a.unlabelled, one_stage_2=a.one_stage_2, backbone='en-small', direction='forward',
        hardware=hardware(), torch=torch.__version__, commit=commit(), recorded=datetime.now(timezone.utc).isoformat(timespec='seconds'))
    try:
        for r in run(lab, load_task(a.task, a.limit), a.labels, a.rates, a.seeds, recipes, a.one_stage_2):
            rows.append(r)
            print(f"{r['recipe']:22} {r['lr']:g} seed {r['seed']}: {r['accuracy']:.1%}  ({(time.monotonic()-begun)/60:.0f} min)", flush=True)
            with atomic(a.json) as tmp: tmp.write_text(json.dumps(facts | dict(rows=rows), indent=1) + '\n')
    except TimeUp: print('time is up: the same call goes on')
