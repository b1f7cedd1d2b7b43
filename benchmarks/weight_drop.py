"""Does weight-drop keep a language model from learning its text by heart? (chapter 13c)

    ULMFIT_DATA=... python benchmarks/weight_drop.py --json results/weight-drop.json [--drops 0 .25 .5] [--seeds 2 --tokens 60000 --passes 12]

The first tokens of WikiText-2's training text, few enough to be learned by heart, and no other dropout: what stays is weight-drop alone. Words that stand once are unknown. Adam in one cycle, as in the experiment `wikitext2`;
the loss after each pass is that on the first 50,000 tokens of the validation text. No test text is read. A row is written as soon as it is known; the same call goes on."""
import argparse, json, time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import torch

from ulmfit_nb.awd_lstm import AWDLSTM, NO_DROPOUT, LanguageModel
from ulmfit_nb.corpus import InputError, data_dir
from ulmfit_nb.ids import Corpus
from ulmfit_nb.language_model import train_lm
from ulmfit_nb.optimizers import Phase, TrainConfig
from ulmfit_nb.reproduce import wikitext2_lines
from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic

def first(split, n):
    "The first `n` tokens of a split, line ends among them."
    ws = []
    for line in wikitext2_lines(split, data_dir() and data_dir()/'wikitext-2'):
        ws += [*line.split(), '<eos>']
        if len(ws) >= n: return ws[:n]
    raise InputError(f'{split} has {len(ws):,} tokens: ask for no more')

def corpora(n_train, n_valid):
    "The two texts as ids, and the vocabulary: words of the first that stand there more than once."
    train,valid = first('train', n_train),first('valid', n_valid)
    vocab = ['<unk>', '<pad>', *sorted(w for w,n in Counter(train).items() if n > 1 and w != '<unk>')]
    at = {w: i for i,w in enumerate(vocab)}
    return vocab, *(Corpus.from_docs([[at.get(w, 0) for w in ws]], len(vocab)) for ws in (train, valid))

def main(args=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--json', type=Path, required=True); p.add_argument('--drops', type=float, nargs='+', default=[0., .25, .5]); p.add_argument('--seeds', type=int, default=2)
    p.add_argument('--tokens', type=int, default=60000); p.add_argument('--valid-tokens', type=int, default=50000); p.add_argument('--passes', type=int, default=12); p.add_argument('--lr', type=float, default=4e-3)
    p.add_argument('--size', type=int, nargs=3, default=[192, 384, 2]); p.add_argument('--bs', type=int, default=16); p.add_argument('--threads', type=int, default=1)
    a = p.parse_args(args)
    torch.set_num_threads(a.threads)
    vocab,train,valid = corpora(a.tokens, a.valid_tokens)
    facts = dict(what='a language model on few tokens of WikiText-2 with weight-drop alone: losses in nats a token, pass by pass; those of training under dropout', size=a.size, tokens=a.tokens, valid_tokens=a.valid_tokens, words=len(vocab),
        unknown=round(float((torch.as_tensor(valid.ids[:]) == 0).float().mean()), 4), passes=a.passes, lr=a.lr, bs=a.bs)
    old = json.loads(a.json.read_text(encoding='utf-8')) if a.json.exists() else facts | dict(rows=[])
    code = commit() # before anything is computed: the checkout may change meanwhile
    if any(old.get(k) != v for k,v in facts.items()): raise InputError(f'{a.json} holds runs with other settings: name another file')
    rows = old['rows']
    for seed in range(a.seeds):
        for drop in a.drops:
            if any((r['weight_drop'], r['seed']) == (drop, seed) for r in rows): continue
            torch.manual_seed(seed)
            begun,model = time.monotonic(),LanguageModel(AWDLSTM(len(vocab), a.size, replace(NO_DROPOUT, weight=drop)))
            t = train_lm(model, train, valid, [Phase(a.passes, a.lr, div=1., schedule='one_cycle')], TrainConfig(device='cpu', seed=seed), a.bs, progress=False)
            rows.append(dict(weight_drop=drop, seed=seed, train=[round(r['train_loss'], 3) for r in t.history], valid=[round(r['valid_loss'], 3) for r in t.history], minutes=round((time.monotonic()-begun)/60, 1),
                hardware=hardware(), torch=torch.__version__, commit=code, recorded=datetime.now(timezone.utc).isoformat(timespec='seconds')))
            with atomic(a.json) as tmp: tmp.write_text(json.dumps(facts | dict(rows=rows), indent=1) + '\n', encoding='utf-8')
            print(f"weight-drop {drop:g}, seed {seed}: held out {min(rows[-1]['valid']):.3f} at best, {rows[-1]['valid'][-1]:.3f} at the end; training {rows[-1]['train'][-1]:.3f}", flush=True)

if __name__ == '__main__': main()
