"""Do ULMFiT and counting words err in different places? The accuracy of each alone and of the mean of their probabilities, as scikit-learn's `VotingClassifier` has it.

    python benchmarks/two_views.py runs/two-views [--labels 100 500] [--draws 0 1 2] [--minutes 60]

The package's own settings on IMDb, with `en-small`, judged on a tenth of the training set that nothing here reads; the test set is not opened. Stage 2 reads 5,000 reviews without labels, once for all draws.
Roads: pretraining alone (no text without labels), three stages, and the second round. Rows go to results/two-views as soon as they are known; the same call goes on. --limit rehearses with so many reviews a split."""
import argparse
from pathlib import Path

import numpy as np

from confidence import held_out_reviews
from ulmfit_nb.lab import Lab, TimeUp
from ulmfit_nb.reproduce import draw, one_draw

class Two(Lab):
    "A lab whose rows say where ULMFiT and counting words differ; what their mean gets right they say anyway."
    def row(self, key, **fields):
        v,n,seed,d = (fields[k] for k in ('variant', 'labels', 'seed', 'direction'))
        ps = [np.load(self.out/fields['protocol']/f'{v.replace(" ", "-")}-{n}-{way}-{seed}'/'probs.npy') for way in (('forward', 'backward') if d == 'both' else (d,))]
        ours,theirs = (p.argmax(1) == self.truth for p in (np.mean(ps, 0), self.counting))
        super().row(key, **fields | dict(both_right=float((ours & theirs).mean()), neither_right=float((~ours & ~theirs).mean())))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path); p.add_argument('--results', default='results'); p.add_argument('--labels', type=int, nargs='+', default=[100, 500]); p.add_argument('--draws', type=int, nargs='+', default=[0, 1, 2], help='which')
    p.add_argument('--unlabelled', type=int, default=5000); p.add_argument('--minutes', type=float); p.add_argument('--device'); p.add_argument('--limit', type=int); p.add_argument('--backbone', default='en-small')
    a = p.parse_args()
    lab = Two(a.folder, a.results, a.minutes, a.backbone, device=a.device, unlabelled=a.unlabelled, direction='both')
    task,read,tok,corpus,common = held_out_reviews(lab, 'two-views', a.limit)
    held = task.test
    lab.truth = np.array([task.classes.index(l) for _,l in held])
    try:
        for n in a.labels:
            for seed in a.draws:
                rows = [task.train[i] for i in draw(task.train, n, seed)]
                lab.counting = lab.base(f'{task.name}-{n}-{seed}-{len(held)}', rows, held, task.classes) # the name that `one_draw` has for it
                one_draw(lab, task, tok, corpus, read, held, rows, seed, ('pretraining only', 'ulmfit', 'self-training'), common)
    except TimeUp: lab.say('Time is up: the same call goes on')

if __name__ == '__main__': main()
