"Run `ulmfit demo` with several seeds, or take the directories of finished ones, and write the accuracies to results/docs-demo/."
import argparse, json, subprocess, sys, tempfile
from pathlib import Path

from ulmfit_nb.results import record_result

p = argparse.ArgumentParser(description=__doc__)
p.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2]); p.add_argument('--results', default='results')
p.add_argument('--done', type=Path, nargs='+', help='directories that `ulmfit demo` has left')
a = p.parse_args()
def read(d): return json.loads((d/'demo.json').read_text()), json.loads((d/'model'/'config.json').read_text())

def demos():
    "What each demo printed, and its model."
    if a.done: yield from map(read, a.done)
    else:
        for seed in a.seeds:
            with tempfile.TemporaryDirectory() as d:
                subprocess.run([sys.executable, '-c', 'from ulmfit_nb.cli import main; main()', 'demo', '--out', d+'/demo', '--seed', str(seed)], check=True)
                yield read(Path(d, 'demo'))

for demo, model in demos():
    acc = demo['accuracy']
    for variant, name in (('ulmfit', 'ULMFiT'), ('scratch', 'LSTM from scratch')):
        print(record_result(a.results, experiment='docs-demo', dataset='documentation of seven packages', split='test', n=7*200, protocol='inductive', direction='forward',
            backbone=demo.get('backbone', 'trained in the demo') if variant == 'ulmfit' else None, variant=variant if variant == 'ulmfit' else f'scratch {"/".join(str(model["model"][k]) for k in ("emb_sz", "n_hid", "n_layers"))}', labels=7*demo['labels'], unlabelled=demo['unlabelled'] if variant == 'ulmfit' else 0,
            seed=demo['seed'], accuracy=acc[name], baseline_accuracy=acc['TF-IDF + logistic regression'], epochs=10, minutes=demo['seconds']/60, model=model['model'], command=f'ulmfit demo --unlabelled {demo["unlabelled"]}'))
