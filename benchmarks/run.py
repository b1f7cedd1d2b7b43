"""Speed of this machine with this package: tokenizing, training a language model of the paper's size, classifying.

    python benchmarks/run.py [--rounds 5] [--device cpu] [--precision auto] [--json out.json]
    python benchmarks/run.py --gpu [--rounds 5]      fills the GPU rows of results/compare (compare.py, beside fastai where ULMFIT_FASTAI_PYTHON names it)

Text: IMDb reviews where ULMFIT_DATA names a folder that holds them, else the documentation corpus. Each row runs in a process of
its own, so that its peak memory is its own; the median of the rounds is printed, with the smallest and the largest."""
import argparse, json, os, resource, subprocess, sys, time
from pathlib import Path
from statistics import median


def texts(n_mb):
    "About `n_mb` MB of text, and where it is from."
    from ulmfit_nb.corpus import data_dir, read_texts
    if data_dir() and (f := data_dir()/'imdb'/'unsup.jsonl.xz').exists(): source, name = read_texts(f), 'IMDb'
    else:
        from ulmfit_nb.docs_corpus import docs_corpus
        source, name = (d.text for d in docs_corpus()), 'documentation corpus'
    out, size = [], 0
    for t in source:
        out.append(t); size += len(t.encode())
        if size > n_mb*1e6: break
    return out, size/1e6, name

def rounds(n, f):
    "Seconds of `n` calls after one that does not count."
    f(); res = []
    for _ in range(n):
        begun = time.perf_counter(); f(); res.append(time.perf_counter()-begun)
    return res

def tokenizing(a):
    from ulmfit_nb.tokenization import Tokenizer
    xs, mb, name = texts(20)
    tok = Tokenizer.train(xs[:2000])
    secs = rounds(a.rounds, lambda: sum(len(i) for i in tok.encode_iter(xs)))
    return dict(unit='MB/s', values=[mb/s for s in secs], text=name, mb=round(mb, 1), what='rules and words, text to ids, all cores')

def training(a):
    import torch
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.ids import Corpus
    from ulmfit_nb.language_model import LMBatches
    from ulmfit_nb.optimizers import Phase, TrainConfig
    from ulmfit_nb.tokenization import Tokenizer
    from ulmfit_nb.training import Trainer
    xs, _, name = texts(12)
    tok = Tokenizer.train(xs, vocab_size=30000, min_count=1)
    src = LMBatches(Corpus.from_docs(tok.encode_iter(xs), tok.vocab_size), bs=32, bptt=72, variable=False)
    t = Trainer(LanguageModel(AWDLSTM(tok.vocab_size, 'base')), src, [Phase(1)], TrainConfig(device=a.device, precision=a.precision), progress=False)
    steps = 3 if t.device.type == 'cpu' else 50
    def go():
        t.fit(steps=t.step+steps)
        if t.device.type == 'cuda': torch.cuda.synchronize()
    return dict(unit='tokens/s', values=[32*72*steps/s for s in rounds(a.rounds, go)], text=name, vocab=tok.vocab_size, bf16=t.bf16,
        what='AWD-LSTM 400/1152/3, batch 32x72, all dropouts, AR/TAR, clipping, Adam')

def classifying(a):
    import torch
    from ulmfit_nb.awd_lstm import AWDLSTM
    from ulmfit_nb.bpt3c import TextClassifier
    from ulmfit_nb.classifier import predict_logits
    from ulmfit_nb.tokenization import Tokenizer
    xs, mb, name = texts(12)
    tok = Tokenizer.train(xs, vocab_size=30000, min_count=1)
    device = a.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    model, n = TextClassifier(AWDLSTM(tok.vocab_size, 'base'), 2).to(device), 200 if device == 'cpu' else 1000
    secs = rounds(a.rounds, lambda: predict_logits(model, list(tok.encode_iter(xs[:n], n_workers=1)), precision='bf16' if a.precision == 'bf16' else 'float32'))
    return dict(unit='texts/s', values=[n/s for s in secs], text=name, n=n, what='AWD-LSTM 400/1152/3, from text to scores')

def gpu_command(rounds):
    "What fills the GPU rows."
    alone = [] if os.environ.get('ULMFIT_FASTAI_PYTHON') else ['--alone']
    return [sys.executable, str(Path(__file__).with_name('compare.py')), '--gpu', '--rounds', str(rounds), *alone]

ROWS = dict(tokenizing=tokenizing, training=training, classifying=classifying)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5); p.add_argument('--device'); p.add_argument('--precision', default='auto')
    p.add_argument('--json', help='write the rows here too'); p.add_argument('--row', choices=ROWS, help='one row, as JSON')
    p.add_argument('--gpu', action='store_true', help='the GPU rows of compare.py instead')
    a = p.parse_args()
    if a.gpu: sys.exit(subprocess.run(gpu_command(a.rounds)).returncode)
    if a.row:
        row = ROWS[a.row](a)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(2**20 if sys.platform != 'darwin' else 2**30)
        print(json.dumps(dict(row=a.row, peak_gb=round(peak, 2), **row)))
        sys.exit()
    import torch
    from ulmfit_nb.results import commit, hardware
    print(f'{hardware(a.device or ("cuda" if torch.cuda.is_available() else "cpu"))}, torch {torch.__version__}, commit {commit()}, {a.rounds} rounds')
    args = [o for k in ('rounds', 'device', 'precision') if getattr(a, k) is not None for o in (f'--{k}', str(getattr(a, k)))]
    rows = []
    for r in ROWS:
        out = subprocess.run([sys.executable, __file__, '--row', r, *args], capture_output=True, text=True)
        if out.returncode: sys.exit(out.stderr)
        row = json.loads(out.stdout.splitlines()[-1]); rows.append(row)
        v = row['values']
        print(f"{row['row']:12} {median(v):9.1f} {row['unit']:9} ({min(v):.1f} to {max(v):.1f})  peak {row['peak_gb']:.1f} GB  {row['text']}; {row['what']}", flush=True)
    if a.json:
        with open(a.json, 'w') as f: json.dump(dict(hardware=hardware(), torch=torch.__version__, commit=commit(), rows=rows), f, indent=1)
