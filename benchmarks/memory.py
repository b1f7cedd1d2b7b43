"""Memory while a corpus of gigabytes is written and trained on: a record for chapter 12.

    python benchmarks/memory.py --gb 4 [--out runs/memory] [--results results/memory]

The text is synthetic: documents of words that follow Zipf's law. Writing and training run in processes of their own;
the largest resident memory of each is read from the operating system, worker processes included."""
import argparse, json, platform, shutil, subprocess, sys, threading, time
from pathlib import Path

import numpy as np


def texts(gb, seed=0):
    "Documents of about 2,000 characters; a table of 4,000 ready-made sentences keeps the making cheap."
    rng = np.random.default_rng(seed)
    words = np.array([''.join(chr(97+c) for c in rng.integers(0, 26, rng.integers(2, 9))) for _ in range(30000)])
    sents = [' '.join(words[np.minimum(rng.zipf(1.15, 14), 30000)-1]) + ' .' for _ in range(4000)]
    size = 0
    while size < gb*1e9:
        doc = ' '.join(sents[i] for i in rng.integers(0, 4000, 25))
        size += len(doc)
        yield doc

def rss_mb(pid) -> float:
    "Resident memory of a process and its children, mapped files left out (they can be dropped at any time)."
    total, todo = 0, [pid]
    while todo:
        p = todo.pop()
        try:
            total += next(int(l.split()[1]) for l in Path(f'/proc/{p}/status').read_text().splitlines() if l.startswith('RssAnon'))
            for t in Path(f'/proc/{p}/task').iterdir(): todo += [int(c) for c in (t/'children').read_text().split()]
        except (OSError, StopIteration): pass
    return total/1024

def watched(*words):
    "Run a part of this script; its last line of output as JSON, and the peak of its memory."
    p = subprocess.Popen([sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True)
    peak, done = [0.], threading.Event()
    def watch():
        while not done.wait(.2): peak[0] = max(peak[0], rss_mb(p.pid))
    w = threading.Thread(target=watch); w.start()
    out = p.communicate()[0]
    done.set(); w.join()
    if p.returncode: sys.exit(f'part {words} failed')
    return json.loads(out.splitlines()[-1]), peak[0]

def write(a):
    from itertools import islice
    from ulmfit_nb.ids import Corpus
    from ulmfit_nb.tokenization import Tokenizer
    tok = Tokenizer.train(islice(texts(1), 20000), vocab_size=30000)
    begun = time.monotonic()
    c = Corpus.write(a.out/'corpus', tok.encode_iter(texts(a.gb)), tok.vocab_size)
    print(json.dumps(dict(tokens=c.n_tokens, documents=len(c), write_minutes=round((time.monotonic()-begun)/60, 2))))

def train(a):
    import torch
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.ids import Corpus
    from ulmfit_nb.language_model import LMBatches
    from ulmfit_nb.optimizers import Phase, TrainConfig
    from ulmfit_nb.training import Trainer
    import resource
    begun = time.monotonic()
    c = Corpus(a.out/'corpus')
    opened = time.monotonic()-begun
    model = LanguageModel(AWDLSTM(c.vocab_size, 'tiny'))
    t = Trainer(model, LMBatches(c.view(np.arange(1, len(c))), 64, 70), [Phase(1)], TrainConfig(), progress=False)
    before = rss_mb(__import__('os').getpid())
    t.fit(steps=20)
    print(json.dumps(dict(open_ms=round(1000*opened, 1), model_mb=round(sum(p.numel() for p in model.parameters())*16/1e6, 1), mb_before_training=round(before))))

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--gb', type=float, default=4.); p.add_argument('--out', type=Path, default=Path('runs/memory')); p.add_argument('--results', type=Path, default=Path('results/memory'))
    p.add_argument('--part', choices=['write', 'train'])
    a = p.parse_args()
    if a.part: sys.exit(dict(write=write, train=train)[a.part](a))
    import torch
    from ulmfit_nb.results import commit, hardware
    shutil.rmtree(a.out, ignore_errors=True); a.out.mkdir(parents=True)
    args = ('--gb', a.gb, '--out', a.out)
    wrote, peak_w = watched(*args, '--part', 'write')
    trained, peak_t = watched(*args, '--part', 'train')
    row = dict(text_gb=a.gb, **wrote, **trained, peak_mb_writing=round(peak_w), peak_mb_training=round(peak_t), hardware=hardware(), torch=torch.__version__, python=platform.python_version(), commit=commit())
    shutil.rmtree(a.out)
    a.results.mkdir(parents=True, exist_ok=True)
    f = a.results/f'{row["commit"] or "unknown"}-{a.gb:g}gb.json'
    f.write_text(json.dumps(row, indent=1)+'\n')
    print(json.dumps(row, indent=1)); print(f)
