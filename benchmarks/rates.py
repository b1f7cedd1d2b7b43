"""Is one recipe of stage 3 better than another, or does it only suit the one rate at which both are run? TREC-6 with `en-small`, forward: recipes of the paper's table 7, each at several largest rates.

    ULMFIT_DATA=... python benchmarks/rates.py runs/rates --json results/stage3/rates.json [--minutes 60]

As `ulmfit reproduce trec6-ablation` otherwise: the paper's stage 2 (the same for all rows of a seed), its dropouts, four passes, scored on the same tenth of the training set; no test question is scored.
Runs that are finished stay in the folder: the same call goes on. --limit rehearses with so many questions a split."""
import argparse, json, time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from ulmfit_nb.reproduce import Lab, TimeUp, ablation_rows, load_task, scores
from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic

RECIPES = 'full', 'full + discr', 'freez', 'freez + discr', 'freez + stlr', 'freez + discr + stlr'

def run(lab, rates, seeds, limit=None):
    "A row for each recipe, rate and seed."
    task = load_task('trec-6', limit)
    held,used,_ = ablation_rows(lab, task)
    tok,corpus = lab.texts(lab.reads(replace(task, train=used)), key='rates')
    docs,ys = [np.asarray(i) for i in tok.encode_iter([t for t,_ in used])],np.array([task.classes.index(l) for _,l in used])
    for seed in range(seeds):
        for rate in rates:
            for recipe in RECIPES:
                lab.lr,name = rate,f'{recipe.replace(" ", "")}-{rate:g}'
                lm,stage2 = lab.lm(tok, corpus, 'forward', seed, recipe='full + discr + stlr', key='rates')
                model,facts = lab.classifier(name, lm, docs, ys, len(task.classes), 'forward', seed, recipe=recipe, key='rates')
                p = lab.probs(name, model, tok, [t for t,_ in held], 'forward', seed, 'rates')
                yield dict(recipe=recipe, lr=rate, seed=seed, n=len(held), labels=len(used), lm_epochs=stage2['epochs'], epochs=facts['epochs'], accuracy=scores(p, held, task.classes)['accuracy'])

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('out', type=Path); p.add_argument('--json', type=Path, required=True); p.add_argument('--minutes', type=float)
    p.add_argument('--rates', type=float, nargs='+', default=[.001, .003, .01, .03]); p.add_argument('--seeds', type=int, default=3); p.add_argument('--limit', type=int)
    a = p.parse_args()
    lab,rows,begun = Lab(a.out, a.out/'rows', a.minutes, 'en-small', progress=False),[],time.monotonic()
    facts = dict(what="stage 3 on TREC-6, recipes of the paper's table 7 at several largest rates: accuracy on a tenth of the training questions, held out", backbone='en-small', direction='forward',
        hardware=hardware(), torch=torch.__version__, commit=commit(), recorded=datetime.now(timezone.utc).isoformat(timespec='seconds'))
    try:
        for r in run(lab, a.rates, a.seeds, a.limit):
            rows.append(r)
            print(f"{r['recipe']:22} {r['lr']:g} seed {r['seed']}: {r['accuracy']:.1%}  ({(time.monotonic()-begun)/60:.0f} min)", flush=True)
            with atomic(a.json) as tmp: tmp.write_text(json.dumps(facts | dict(rows=rows), indent=1) + '\n')
    except TimeUp: print('time is up: the same call goes on')
