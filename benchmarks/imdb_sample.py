"Draw the rows of the recorded IMDb run: balanced labels and unlabelled reviews from train and unsup, a test sample read once."
import argparse, csv, hashlib
from pathlib import Path

import numpy as np

from ulmfit_nb.corpus import InputError, data_dir, read_rows
from ulmfit_nb.runtime import atomic

def same(text): return hashlib.sha256(text.encode()).digest()

def write(path, cols, rows):
    with atomic(path) as tmp, open(tmp, 'w', newline='', encoding='utf-8') as f: csv.writer(f).writerows([cols, *rows])

p = argparse.ArgumentParser(description=__doc__)
p.add_argument('out', type=Path)
for o, d in dict(labels=1000, unlabelled=10000, test=5000, seed=0).items(): p.add_argument(f'--{o}', type=int, default=d)
a = p.parse_args()
if data_dir() is None: raise SystemExit('set ULMFIT_DATA to the folder that holds imdb/train.jsonl.xz, test and unsup')
rows = {s: list(read_rows(data_dir()/'imdb'/f'{s}.jsonl.xz')) for s in ('train', 'test', 'unsup')}
rng = np.random.default_rng(a.seed)
name = {0: 'neg', 1: 'pos'}
test = [rows['test'][i] for i in rng.permutation(len(rows['test']))[:a.test]]
held = {same(r['text']) for r in rows['test']} # texts that stand in the test set too are not learned from
train = [r for r in (rows['train'][i] for i in rng.permutation(len(rows['train']))) if same(r['text']) not in held]
unsup = [r for r in (rows['unsup'][i] for i in rng.permutation(len(rows['unsup']))) if same(r['text']) not in held][:a.unlabelled]
picked = [r for l in (0, 1) for r in [r for r in train if r['label'] == l][:a.labels//2]]
write(a.out/'train.csv', ['text', 'label'], [(picked[i]['text'], name[picked[i]['label']]) for i in rng.permutation(len(picked))])
write(a.out/'unlabelled.csv', ['text'], [(r['text'],) for r in unsup])
write(a.out/'test.csv', ['text', 'label'], [(r['text'], name[r['label']]) for r in test])
