"""Is a language model worth more as features that stay fixed (hypercolumns, chapter 08b) or when all of it is fine-tuned?

    python benchmarks/hypercolumns.py runs/hypercolumns [--tasks docs imdb] [--seeds 3] [--labels 500] [--unlabelled 5000] [--results results]

The same `en-small`, forward, before stage 2 and after it; the same labelled texts. Fixed: the mean, or the mean and the maximum, over a text's last 1,400 tokens of [embedding, layer 1, layer 2],
standardised, and a logistic regression whose C five-fold cross-validation chooses on the labelled texts. Fine-tuned: stage 3 with the package's settings, one round. Judged on validation texts (docs) or on 2,000 held-out training reviews (imdb, from
the folder ULMFIT_DATA); no test text is read. Each row goes to results/hypercolumns as soon as it is known; the same call goes on."""
import argparse, json, time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ulmfit_nb.awd_lstm import CLAS_DROPOUTS
from ulmfit_nb.bpt3c import TextClassifier, hypercolumns
from ulmfit_nb.classifier import finetune_classifier, predict_logits
from ulmfit_nb.docs_corpus import docs_task
from ulmfit_nb.evidence import baseline
from ulmfit_nb.fine_tuning import finetune_lm, transfer_vocab
from ulmfit_nb.ids import Corpus
from ulmfit_nb.inputs import clas_passes, default_settings, lm_passes
from ulmfit_nb.lab import load_task, without_twins
from ulmfit_nb.optimizers import TrainConfig
from ulmfit_nb.reproduce import draw
from ulmfit_nb.results import record_result
from ulmfit_nb.storage import load_backbone
from ulmfit_nb.tokenization import Tokenizer

def docs_texts(a):
    t = docs_task()
    return lambda seed: (t.texts, t.labels), (t.valid_texts, t.valid_labels), t.texts+t.unlabelled[:9000], 9000

def imdb_texts(a):
    t = load_task('imdb')
    perm = np.random.default_rng(1).permutation(len(t.train))
    held = [t.train[i] for i in perm[:2000]]
    used = without_twins([t.train[i] for i in perm[2000:]], held)
    more = without_twins([t.more[i] for i in np.random.default_rng(0).permutation(len(t.more))], held)[:a.unlabelled]
    return lambda seed: tuple(zip(*(used[i] for i in draw(used, a.labels, seed)))), tuple(zip(*held)), more, len(more)

def language_models(texts, a, folder):
    "Tokenizer and `en-small`, moved to the words of `texts`, before and after stage 2."
    lm,old = load_backbone('en-small')
    tok = Tokenizer.train(texts, kind='word', vocab_size=60000, min_count=3, also=old)
    before = transfer_vocab(lm, old, tok)[0]
    corpus,s = Corpus.from_docs(tok.encode_iter(texts), tok.vocab_size),default_settings(before.backbone.size)
    held = np.random.default_rng(0).permutation(len(corpus))[:500]
    train,epochs = corpus.select(np.setdiff1d(np.arange(len(corpus)), held)),lm_passes(corpus.n_tokens, s['max_lm_epochs'])
    t = finetune_lm(deepcopy(before), train, corpus.select(held), epochs, 4e-3, s['lm_drop_mult'], div=s['lm_div'], bs=s['lm_bs'], cfg=TrainConfig(device='cpu'), path=folder, resume=True, progress=True)
    return tok, {'before': before, 'after': t.model}, dict(lm_epochs=epochs, lm_tokens=corpus.n_tokens, lm_valid_loss=t.history[-1]['valid_loss'])

def fixed(backbone, docs, ys, held, which):
    x,z = ((h if which == 'mean and maximum' else h[:, :1]).reshape(len(h), -1) for h in (hypercolumns(backbone, docs), hypercolumns(backbone, held)))
    return make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-4, 0, 9), cv=5, max_iter=3000)).fit(x, ys).predict(z)

def tuned(backbone, docs, ys, held, seed):
    s = default_settings(backbone.size, n_labels=len(docs))
    torch.manual_seed(seed)
    m = TextClassifier(deepcopy(backbone), len({*ys}), CLAS_DROPOUTS*s['drop_mult'])
    finetune_classifier(m, docs, ys, recipe=s['recipe'], epochs=clas_passes(-(-len(docs)//32), s['max_epochs']), lr=s['lr'], div=s['div'], bs=32, cfg=TrainConfig(clip=25., device='cpu', seed=seed), progress=False)
    return predict_logits(m, held).argmax(1).numpy()

def run(name, a):
    draw_of,(held,truth),texts,n_more = dict(docs=docs_texts, imdb=imdb_texts)[name](a)
    classes,done = sorted({*truth}),a.out/f'{name}.json'
    known = json.loads(done.read_text()) if done.exists() else {}
    tok,models,facts = language_models(texts, a, a.out/name)
    test,truth = list(tok.encode_iter(held)),np.array([classes.index(l) for l in truth])
    for seed in range(a.seeds):
        labelled,labels = draw_of(seed)
        docs,ys = list(tok.encode_iter(labelled)),np.array([classes.index(l) for l in labels])
        base = baseline(list(labelled), list(labels)).score(list(held), [classes[i] for i in truth])
        for stage,lm in models.items():
            for way in ('mean', 'mean and maximum', 'fine-tuned'):
                key,begun = f'{stage}/{way}/{seed}',time.monotonic()
                if key in known or name == 'docs' and seed and way != 'fine-tuned': continue # the same texts each time: nothing is drawn
                said = tuned(lm.backbone, docs, ys, test, seed) if way == 'fine-tuned' else fixed(lm.backbone, docs, ys, test, way)
                known[key] = acc = float((said == truth).mean())
                record_result(a.results, experiment='hypercolumns', dataset=dict(docs='documentation of seven packages', imdb='imdb')[name], split='validation texts' if name == 'docs' else '2,000 held-out training texts', n=len(truth), protocol='inductive', direction='forward', backbone='en-small',
                    variant=f'{way}, {stage} stage 2', labels=len(docs), unlabelled=n_more*(stage == 'after'), seed=seed, accuracy=acc, baseline_accuracy=base, epochs=None, minutes=(time.monotonic()-begun)/60, settings=default_settings(lm.backbone.size, n_labels=len(docs)), **facts if stage == 'after' else dict(lm_epochs=0))
                done.write_text(json.dumps(known))
                print(f'{name}, seed {seed}, {stage} stage 2, {way}: {acc:.1%} (counting words {base:.1%})', flush=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('out', type=Path, help='folder of stage 2'); p.add_argument('--tasks', nargs='+', default=['docs', 'imdb'], choices=['docs', 'imdb']); p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--labels', type=int, default=500); p.add_argument('--unlabelled', type=int, default=5000); p.add_argument('--results', default='results')
    a = p.parse_args(); a.out.mkdir(parents=True, exist_ok=True)
    for name in a.tasks: run(name, a)
