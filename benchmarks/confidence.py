"""How sure is a classifier of film reviews, how often is it right, and what are 100 labelled texts for `calibrate` worth? And does `class_weight` help where one class is rare?

    python benchmarks/confidence.py runs/confidence [--what sure rare] [--draws 3] [--direction both] [--minutes 60]

The package's own settings on IMDb, with `en-small`, judged on a tenth of the training set that nothing here reads; the test set is not opened. Stage 2 reads 5,000 reviews without labels, once for all draws.
`sure`: 500 labels, both directions, the first round and the second, beside TF-IDF with logistic regression; a temperature from 100 of the reviews that were held out, the error on the others, twenty times.
`rare`: 450 negative and 50 positive labels, forward, one round, with weights and without, judged on all negative reviews that were held out and a ninth as many positive ones.
Rows go to results/confidence as soon as they are known; the same call goes on. --limit rehearses with so many reviews a split."""
import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_sample_weight

from ulmfit_nb.calibration import calibration_error, fit_temperature
from ulmfit_nb.classifier import soften
from ulmfit_nb.evidence import baseline
from ulmfit_nb.lab import Lab, TimeUp, load_task, without_twins
from ulmfit_nb.reproduce import ablation_rows, draw, one_draw, scores

def temperatures(p, y, n=100, times=20, seed=0):
    "Mean and deviation of the temperature from `n` of the texts, and of the calibration error on the others."
    rng,ts,errors,n = np.random.default_rng(seed),[],[],min(n, len(y)//2)
    for _ in range(times):
        perm = rng.permutation(len(y)); few,rest = perm[:n],perm[n:]
        ts.append(fit_temperature(p[few], y[few])); errors.append(calibration_error(soften(p[rest], ts[-1]), y[rest]))
    return dict(temperature=np.mean(ts), temperature_sd=np.std(ts, ddof=1), softened_error=np.mean(errors), softened_error_sd=np.std(errors, ddof=1), softened_times=times, softened_from=n)

def skewed(y):
    "Indices of all texts of class 0 and a ninth as many of class 1."
    one,other = np.flatnonzero(y == 0),np.flatnonzero(y == 1)
    return np.sort(np.concatenate([one, other[:len(one)//9]]))

def on_rare(answers, y):
    "Accuracy and macro F1 on the skewed texts, and how many of all texts of the rare class are found."
    k = skewed(y)
    return dict(n=len(k), accuracy=float((answers[k] == y[k]).mean()), macro_f1=float(f1_score(y[k], answers[k], average='macro')), found=float((answers[y == 1] == 1).mean()))

class Sure(Lab):
    "A lab whose rows say what a temperature would change."
    def row(self, key, **fields):
        v = fields['variant']
        name = f'{v.replace(" ", "-")}-{fields["labels"]}'
        ds = ('forward', 'backward') if fields['direction'] == 'both' else (fields['direction'],)
        p = np.mean([np.load(self.out/fields['protocol']/f'{name}-{d}-{fields["seed"]}'/'probs.npy') for d in ds], 0)
        super().row(key, **fields | temperatures(p, self.truth))

def counting(rows, held, weight=None):
    "Probabilities of the baseline, its columns in the order of the sorted classes."
    texts,labels = zip(*rows)
    m = baseline(texts, labels)
    if weight: m.set_params(logisticregression__class_weight=weight).fit(texts, labels)
    return m.predict_proba([t for t,_ in held])

def sure(lab, task, read, tok, corpus, common, draws, labels):
    lab.truth = np.array([task.classes.index(l) for _,l in task.test])
    for seed in range(draws):
        rows = [task.train[i] for i in draw(task.train, labels, seed)]
        one_draw(lab, task, tok, corpus, read, task.test, rows, seed, ('ulmfit', 'self-training'), common)
        key = f'TF-IDF {labels} labels, draw {seed}'
        s = scores(p := counting(rows, task.test), task.test, task.classes)
        Lab.row(lab, key, variant='TF-IDF', direction='none', labels=labels, seed=seed, epochs=0, lm_epochs=0, minutes=None, baseline_accuracy=s['accuracy'], **s, **common, **temperatures(p, lab.truth))

def rare(lab, task, tok, corpus, common, draws, labels):
    y = np.array([task.classes.index(l) for _,l in task.test])
    lm,f2 = lab.lm(tok, corpus, 'forward')
    few = labels//10
    for seed in range(draws):
        perm = np.random.default_rng(100+seed).permutation(len(task.train))
        by = [[i for i in perm if task.train[i][1] == c] for c in task.classes]
        rows = [task.train[i] for i in np.random.default_rng(seed).permutation(by[0][:labels-few] + by[1][:few])]
        docs,ys = list(tok.encode_iter([t for t,_ in rows])),np.array([task.classes.index(l) for _,l in rows])
        for weight in (None, 'balanced'):
            base = on_rare(counting(rows, task.test, weight).argmax(1), y)
            name = f'rare-{weight or "plain"}-{labels}'
            model,f3 = lab.classifier(name, lm, docs, ys, 2, 'forward', seed, weights=None if weight is None else compute_sample_weight(weight, ys))
            got = on_rare(lab.probs(name, model, tok, [t for t,_ in task.test], 'forward', seed).argmax(1), y)
            Lab.row(lab, f'{name}, draw {seed}', variant=f'rare class, {"weights" if weight else "no weights"}', direction='forward', labels=labels, rare_labels=few, seed=seed, epochs=f3['epochs'], lm_epochs=f2['epochs'],
                minutes=f2['minutes']+f3['minutes'], baseline_accuracy=base['accuracy'], baseline_macro_f1=base['macro_f1'], baseline_found=base['found'], **common | got)

def held_out_reviews(lab, experiment, limit):
    "IMDb with a tenth of train in the place of its test set, what stage 2 reads of it, and the fields that all rows share."
    lab.claim(experiment=experiment, limit=limit)
    task = load_task('imdb', limit)
    held,used,_ = ablation_rows(lab, task)
    task = replace(task, train=used, test=held, more=without_twins(task.more, held)) # from here on the test set is what was held out of train
    read = lab.reads(task)
    common = dict(experiment=experiment, dataset=task.name, split='a tenth of train', n=len(held), protocol='inductive', unlabelled=len(read.more), lr_lm=lab.lr_lm, note=task.note)
    return task,read,*lab.texts(read),common

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path); p.add_argument('--results', default='results'); p.add_argument('--what', nargs='+', choices=['sure', 'rare'], default=['sure', 'rare'])
    p.add_argument('--draws', type=int, default=3); p.add_argument('--labels', type=int, default=500); p.add_argument('--unlabelled', type=int, default=5000)
    p.add_argument('--direction', choices=['forward', 'backward', 'both'], default='both', help='of `sure`'); p.add_argument('--minutes', type=float); p.add_argument('--device'); p.add_argument('--limit', type=int); p.add_argument('--backbone', default='en-small')
    a = p.parse_args()
    lab = Sure(a.folder, a.results, a.minutes, a.backbone, device=a.device, labels=(a.labels,), unlabelled=a.unlabelled, direction=a.direction)
    task,read,tok,corpus,common = held_out_reviews(lab, 'confidence', a.limit)
    try:
        for what in a.what: sure(lab, task, read, tok, corpus, common, a.draws, a.labels) if what == 'sure' else rare(lab, task, tok, corpus, common, a.draws, a.labels)
    except TimeUp: lab.say('Time is up: the same call goes on')

if __name__ == '__main__': main()
