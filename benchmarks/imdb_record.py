"Write the rows of the recorded IMDb run to results/imdb-first/."
import argparse, csv, json
from pathlib import Path

from ulmfit_nb.results import record_result

p = argparse.ArgumentParser(description=__doc__)
p.add_argument('out', type=Path); p.add_argument('--seed', type=int, default=0); p.add_argument('--results', default='results')
a = p.parse_args()
bb = json.loads((a.out/'backbone'/'config.json').read_text())
for name in ('scratch', 'no-pretraining', 'ulmfit'):
    cfg, res = json.loads((a.out/name/'config.json').read_text()), json.loads((a.out/f'{name}.json').read_text())
    hist = list(csv.DictReader(open(a.out/name/'history.csv')))
    epochs = sum(r['stage'].startswith('classifier') for r in hist)
    lm = [r for r in hist if r['stage'].startswith('lm')]
    print(record_result(a.results, experiment='imdb-first', dataset='imdb', split='test, 5,000 drawn by seed', n=res['n'], protocol='inductive', direction='forward',
        backbone=bb['meta'] if name == 'ulmfit' else None, variant=name, labels=cfg['meta']['n_labelled'], unlabelled=cfg['meta']['n_unlabelled'], seed=a.seed,
        accuracy=res['accuracy'], macro_f1=res['macro_f1'], baseline_accuracy=res.get('baseline_accuracy'), epochs=epochs, minutes=cfg['meta']['minutes'],
        model=cfg['model'], lm_valid_loss=float(lm[-1]['valid_loss']) if lm else None, command='benchmarks/imdb_run.sh'))
