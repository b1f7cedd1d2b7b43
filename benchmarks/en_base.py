"""en-base: the paper's size (400/1152/3, 30,000 words), in four steps, since only the second wants a GPU, whose minutes may be dear.

    ULMFIT_DATA=... python benchmarks/en_base.py prepare runs/en-base      vocabulary and ids, on a CPU
    python benchmarks/en_base.py train runs/en-base --direction forward --minutes 9      saves in time; the same call goes on
    python benchmarks/en_base.py join runs/en-base runs/en-base/en-base      both directions, 8 bits a weight
    ULMFIT_DATA=... python benchmarks/en_base.py score runs/en-base/en-base      its perplexities, into its card and into results/backbones

ULMFIT_DATA names a folder with enwiki/train-*.jsonl.xz and enwiki/valid.jsonl.xz, an article a line as {"text": ...}, and for `score` wikitext-2/wiki.test.tokens.xz.
`train` leaves runs/en-base/forward and runs/en-base/backward, backbones with all 32 bits."""
import argparse, itertools, shutil, sys
from pathlib import Path

import numpy as np
import torch


def prepare(a):
    "Words of 3,000 articles of each file, and every file as ids."
    from ulmfit_nb.corpus import data_dir, read_texts
    from ulmfit_nb.ids import Corpus
    from ulmfit_nb.tokenization import Tokenizer
    files = sorted((data_dir()/'enwiki').glob('train-*.jsonl.xz'))
    if not (a.folder/'tokenizer.json').exists():
        some = itertools.chain.from_iterable(itertools.islice(read_texts([f]), a.vocab_texts) for f in files)
        a.folder.mkdir(parents=True, exist_ok=True)
        Tokenizer.train(some, vocab_size=30000).save(a.folder/'tokenizer.json')
    tok = Tokenizer.load(a.folder/'tokenizer.json')
    for f in (*files, data_dir()/'enwiki'/'valid.jsonl.xz'):
        to = a.folder/'ids'/f.name.removesuffix('.jsonl.xz')
        if not to.exists(): print(to, Corpus.write(to, itertools.islice(tok.encode_iter(read_texts([f])), a.limit), tok.vocab_size, dict(tokenizer=tok.fingerprint)).n_tokens, flush=True)

def joined(parts):
    "Several corpora as one."
    from ulmfit_nb.ids import Corpus
    first = parts[0]
    res = Corpus.from_docs([[0]], first.vocab_size, first.meta)
    res.ids = np.concatenate([np.asarray(p.ids) for p in parts])
    res.offsets = np.concatenate([[0], *(np.asarray(p.offsets[1:]) + at for p,at in zip(parts, np.cumsum([0, *(p.n_tokens for p in parts)])))])
    return res

def train(a):
    "One direction, as far as the minutes go."
    from ulmfit_nb.ids import Corpus
    from ulmfit_nb.language_model import pretrain
    from ulmfit_nb.optimizers import TrainConfig
    from ulmfit_nb.storage import save_backbone
    from ulmfit_nb.tokenization import Tokenizer
    parts = sorted((a.folder/'ids').glob('train-*'))
    corpus,tok,to = joined([Corpus(p) for p in parts]),Tokenizer.load(a.folder/'tokenizer.json'),a.folder/a.direction
    if (to/'config.json').exists(): return print(f'{to} is there')
    print(f'{a.direction}: {corpus.n_tokens:,} tokens of {len(corpus):,} articles, {a.epochs:g} passes, {a.bs} streams', flush=True)
    t = pretrain(corpus, Corpus(a.folder/'ids'/'valid'), a.size, a.drop_mult, a.epochs, a.lr, 0, TrainConfig(device=a.device, save_minutes=3.), bs=a.bs, backward=a.direction == 'backward', path=a.folder/'run'/a.direction, resume=True, minutes=a.minutes)
    if not t.done: return print(f'time is up at step {t.step}: the same call goes on')
    save_backbone(to, {a.direction: t.model}, tok, [dict(direction=a.direction, **r) for r in t.history], files=[p.name for p in parts], tokens=corpus.n_tokens, epochs=a.epochs, bs=a.bs, lr=a.lr, drop_mult=a.drop_mult, seconds=round(t.seconds, 1), seed=0, training={a.direction: t.settings})
    shutil.rmtree(a.folder/'run'/a.direction)

def join(a):
    from en_small import join
    join(a.folder, a.to, a.device or ('cuda' if torch.cuda.is_available() else 'cpu'))

def score(a):
    from en_small import score
    score(a.folder, 'benchmarks/en_base.py', a.device or ('cuda' if torch.cuda.is_available() else 'cpu'), a.results, a.limit)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('step', choices=['prepare', 'train', 'join', 'score']); p.add_argument('folder', type=Path); p.add_argument('to', type=Path, nargs='?')
    p.add_argument('--direction', choices=['forward', 'backward'], default='forward'); p.add_argument('--epochs', type=float, default=2.); p.add_argument('--bs', type=int, default=256)
    p.add_argument('--lr', type=float, default=4e-3); p.add_argument('--drop-mult', type=float, default=.2); p.add_argument('--minutes', type=float); p.add_argument('--device'); p.add_argument('--size', default='base')
    p.add_argument('--vocab-texts', type=int, default=3000, help='articles of a file that the vocabulary is learned from'); p.add_argument('--limit', type=int, help='articles of a file, and texts that are scored, to rehearse'); p.add_argument('--results', default='results')
    a = p.parse_args()
    from ulmfit_nb.corpus import data_dir
    if a.step in ('prepare', 'score') and not (data_dir() and (data_dir()/'enwiki'/'valid.jsonl.xz').exists()): sys.exit('enwiki/valid.jsonl.xz was not found: set ULMFIT_DATA to the folder that holds enwiki')
    if a.step == 'train' and not [*a.folder.glob('ids/train-*')]: sys.exit(f'{a.folder} holds no ids: run the step `prepare` first')
    if a.step == 'join' and not (a.to and [*a.folder.glob('*ward/config.json')]): sys.exit(f'{a.folder} holds no trained direction, or no target was named: run `train` first, and name the directory to write')
    if a.step == 'score' and not (a.folder/'config.json').exists(): sys.exit(f'{a.folder} holds no backbone: name one that `join` wrote')
    dict(prepare=prepare, train=train, join=join, score=score)[a.step](a)
