"""Which small backbone should travel in the package? Candidates of 20 MB or less for both directions, judged by accuracy on reviews held out of IMDb's training set.

    ULMFIT_DATA=... python benchmarks/en_small_choice.py runs/choice [--names words-192 ...] [--json results/backbones/choice.json]

Every candidate reads the same articles once (two million words), then the same 4,000 unlabelled reviews once, forward; then a classifier learns from each draw of labels,
with the package's settings for small backbones. The test set is not opened. A stage that is done is kept in the folder; a call that was interrupted goes on with the next one."""
import argparse, itertools, json, time
from pathlib import Path

import numpy as np
import torch

from ulmfit_nb.awd_lstm import CLAS_DROPOUTS
from ulmfit_nb.bpt3c import TextClassifier
from ulmfit_nb.classifier import clas_metrics, finetune_classifier
from ulmfit_nb.corpus import data_dir, read_texts
from ulmfit_nb.evidence import baseline
from ulmfit_nb.fine_tuning import finetune_lm, transfer_vocab
from ulmfit_nb.ids import Corpus
from ulmfit_nb.inputs import clas_passes, default_settings
from ulmfit_nb.lab import load_task, without_twins
from ulmfit_nb.language_model import lm_scores, pretrain
from ulmfit_nb.optimizers import TrainConfig
from ulmfit_nb.reproduce import draw
from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic
from ulmfit_nb.storage import load_backbone, save_backbone
from ulmfit_nb.tokenization import Tokenizer

CANDIDATES = { # name → vocabulary, network
    'words-192': dict(kind='word', vocab_size=20000, size=(192, 384, 2), skip=True, cutoffs=(2000, 8000)), # the one that is in the package
    'pieces-256': dict(kind='bpe', vocab_size=8000, size=(256, 640, 3), skip=False, cutoffs=(1000, 3000)),
    'words-256': dict(kind='word', vocab_size=20000, size=(256, 640, 2), skip=True, cutoffs=(2000, 8000)),
    'words-30k': dict(kind='word', vocab_size=30000, size=(192, 384, 2), skip=True, cutoffs=(2000, 8000)),
    'pieces-192': dict(kind='bpe', vocab_size=8000, size=(192, 384, 2), skip=True, cutoffs=(1000, 3000))}

def timed(f):
    at = time.perf_counter()
    return f(), round((time.perf_counter()-at)/60, 2)

def split(task, held, unlabelled):
    "Reviews that are held out, those that labels are drawn from, and texts for stage 2; none of these two stands among the first."
    perm = np.random.default_rng(5).permutation(len(task.train))
    held_out,rest = [task.train[i] for i in perm[:held]],[task.train[i] for i in perm[held:]]
    more = [task.more[i] for i in np.random.default_rng(0).permutation(len(task.more))]
    return held_out, without_twins(rest, held_out), without_twins(more, held_out)[:unlabelled]

def candidate(name, a, articles, classes, held_out, rest, more):
    c,folder = CANDIDATES[name],a.out/name
    if not (folder/'config.json').exists():
        tok = Tokenizer.train(articles, kind=c['kind'], vocab_size=c['vocab_size'], n_workers=1)
        ids = Corpus.from_docs(tok.encode_iter(articles), tok.vocab_size)
        t,minutes = timed(lambda: pretrain(ids, None, c['size'], .1, lr=6e-3, skip=c['skip'], cutoffs=[x for x in c['cutoffs'] if x < tok.vocab_size], bs=16, cfg=TrainConfig(seed=0), path=a.out/f'{name}-run', resume=True, progress=False))
        save_backbone(folder, dict(forward=t.model), tok, t.history, tokens=ids.n_tokens, minutes=minutes)
    lm,old = load_backbone(folder, 'forward')
    meta = json.loads((folder/'config.json').read_text())['meta']
    held = lm_scores(lm, old, list(itertools.islice(read_texts(data_dir()/'enwiki'/'valid.jsonl.xz'), 40)))
    res = dict(name=name, **c, parameters=sum(p.numel() for p in lm.parameters()), megabytes_both=round(2*sum(p.numel() for p in lm.parameters())/1e6, 1), stage1=dict(tokens=meta['tokens'], minutes=meta['minutes'], bits_per_byte=round(held['bits_per_byte'], 4), unknown=round(held['unknown'], 4)))
    tok = old if c['kind'] != 'word' else Tokenizer.train(more, vocab_size=60000, also=old, n_workers=1)
    lm = lm if tok is old else transfer_vocab(lm, old, tok)[0]
    corpus = Corpus.from_docs(tok.encode_iter(more), tok.vocab_size)
    torch.manual_seed(0)
    t,minutes = timed(lambda: finetune_lm(lm, corpus, None, 1, drop_mult=.1, div=1., cfg=TrainConfig(seed=0), bs=16, path=a.out/f'{name}-lm', resume=True, progress=False))
    s = lm_scores(t.model, tok, [x for x,_ in held_out[:300]])
    res['stage2'] = dict(tokens=corpus.n_tokens, minutes=minutes, bits_per_byte=round(s['bits_per_byte'], 4), unknown=round(s['unknown'], 4))
    docs,ys = list(tok.encode_iter(x for x,_ in held_out)),[classes.index(l) for _,l in held_out]
    base = {k: v.clone() for k,v in t.model.backbone.state_dict().items()}
    res['stage3'] = []
    for n in a.labels:
        for seed in range(a.draws):
            rows = [rest[i] for i in draw(rest, n, seed)]
            few,fy = list(tok.encode_iter(x for x,_ in rows)),np.array([classes.index(l) for _,l in rows])
            st = default_settings(t.model.backbone.size, True, n)
            t.model.backbone.load_state_dict(base)
            torch.manual_seed(seed)
            m = TextClassifier(t.model.backbone, len(classes), CLAS_DROPOUTS*st['drop_mult'])
            _,minutes = timed(lambda: finetune_classifier(m, few, fy, None, st['recipe'], clas_passes(-(-n//32), st['max_epochs']), st['lr'], 32, TrainConfig(clip=25., seed=seed), seed=seed, progress=False, div=st['div']))
            acc = clas_metrics(m, docs, ys)['accuracy']
            res['stage3'].append(dict(labels=n, draw=seed, accuracy=round(acc, 4), minutes=minutes))
            print(name, res['stage3'][-1], flush=True)
    return res

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('out', type=Path); p.add_argument('--names', nargs='+', choices=CANDIDATES, default=list(CANDIDATES)); p.add_argument('--words', type=int, default=2_000_000)
    p.add_argument('--unlabelled', type=int, default=4000); p.add_argument('--held', type=int, default=1500); p.add_argument('--labels', type=int, nargs='+', default=[100, 500]); p.add_argument('--draws', type=int, default=3)
    p.add_argument('--json', type=Path, help='where to write all results')
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    articles,n = [],0
    for text in read_texts(data_dir()/'enwiki'/'train-0.jsonl.xz'):
        articles.append(text); n += len(text.split())
        if n >= a.words: break
    task = load_task('imdb')
    held_out,rest,more = split(task, a.held, a.unlabelled)
    for name in a.names:
        f = a.out/f'{name}.json'
        if f.exists(): continue
        res = candidate(name, a, articles, task.classes, held_out, rest, more)
        with atomic(f) as tmp: tmp.write_text(json.dumps(res, indent=1))
    rows = [json.loads(f.read_text()) for f in sorted(a.out.glob('*.json'))]
    def tfidf(n, seed): rows = [rest[i] for i in draw(rest, n, seed)]; return round(float(baseline([x for x,_ in rows], [l for _,l in rows]).score([x for x,_ in held_out], [l for _,l in held_out])), 4)
    tf = [dict(labels=n, draw=s, accuracy=tfidf(n, s)) for n in a.labels for s in range(a.draws)]
    out = dict(words=n, articles=len(articles), unlabelled=a.unlabelled, held_out=a.held, tfidf=tf, candidates=rows, hardware=hardware('cpu'), torch=torch.__version__, commit=commit())
    if a.json: a.json.write_text(json.dumps(out, indent=1)+'\n')
    print(json.dumps(out, indent=1))
