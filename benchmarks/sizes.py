"""What does stage 1 cost by the size of the network, and what does it reach: every named size, and that of `en-small`, reads the same articles of Wikipedia once, in one thread.

    ULMFIT_DATA=... python benchmarks/sizes.py runs/sizes [--names micro tiny] [--words 1000000] [--results results]

All have the settings of `en-small` (words, adaptive softmax, skip connections, hardly any dropout, one rate), which are not the best for a large network; the loss is that of articles that nobody read.
A size that is done is not trained again, and one that was interrupted goes on: a row stands in results/sizes as soon as it is known. --size and --valid rehearse with another network and fewer held-out articles."""
import argparse, json, platform
from itertools import islice
from pathlib import Path

import torch

from ulmfit_nb.awd_lstm import SIZES, Size
from ulmfit_nb.corpus import data_dir, read_texts
from ulmfit_nb.ids import Corpus
from ulmfit_nb.language_model import lm_scores, pretrain
from ulmfit_nb.optimizers import TrainConfig
from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic
from ulmfit_nb.tokenization import Tokenizer

NAMES = dict(micro='micro', tiny='tiny', **{'en-small': '192,384,2'}, small='small', base='base')
SETTINGS = dict(drop_mult=.1, lr=6e-3, bs=16, skip=True, cutoffs=(2000, 8000))

def articles(words):
    "So many that they have `words` words or a few more."
    n = 0
    for text in read_texts(data_dir()/'enwiki'/'train-0.jsonl.xz'):
        yield text
        if (n := n+len(text.split())) >= words: return

def prepared(a): # tokenizer, ids
    f = a.out/'tokenizer.json'
    if not f.exists(): Tokenizer.train(articles(a.words), vocab_size=20000, n_workers=1).save(f)
    tok = Tokenizer.load(f)
    if not (a.out/'corpus').exists(): Corpus.write(a.out/'corpus', tok.encode_iter(articles(a.words)), tok.vocab_size)
    return tok, Corpus(a.out/'corpus')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('out', type=Path); p.add_argument('--names', nargs='+', choices=NAMES, default=list(NAMES)); p.add_argument('--words', type=int, default=1_000_000)
    p.add_argument('--results', type=Path, default=Path('results')); p.add_argument('--size', help='in place of the named ones'); p.add_argument('--valid', type=int, default=40); p.add_argument('--note', default='')
    a = p.parse_args()
    torch.set_num_threads(1)
    tok,ids = prepared(a)
    held = list(islice(read_texts(data_dir()/'enwiki'/'valid.jsonl.xz'), a.valid))
    kw = SETTINGS | dict(cutoffs=tuple(c for c in SETTINGS['cutoffs'] if c < tok.vocab_size))
    for name in a.names:
        to,size = a.results/'sizes'/f'{name}.json',Size.of(a.size or NAMES[name])
        if to.exists(): continue
        t = pretrain(ids, None, size, cfg=TrainConfig(seed=0, device='cpu'), path=a.out/name, resume=True, progress=False, **kw)
        s,ours = lm_scores(t.model, tok, held),sum(q.numel() for q in t.model.backbone.parameters())
        row = dict(name=name, size=f'{size.emb_sz}/{size.n_hid}/{size.n_layers}', parameters=ours, tokens=ids.n_tokens, minutes=round(t.seconds/60, 2), tokens_per_s=round(ids.n_tokens/t.seconds), valid_loss=round(s['valid_loss'], 3), perplexity=round(s['perplexity'], 1), held_out=len(held),
            vocab_size=tok.vocab_size, settings=kw | dict(threads=1), hardware=hardware('cpu'), torch=torch.__version__, python=platform.python_version(), commit=commit(), **(dict(note=a.note) if a.note else {}))
        with atomic(to) as tmp: tmp.write_text(json.dumps(row, indent=1)+'\n', encoding='utf-8')
        print(json.dumps(row), flush=True)

if __name__ == '__main__': main()
