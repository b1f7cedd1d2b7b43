"""Side by side with fastai, in one run, on one machine: tokenizing, language-model steps, classifier epochs, prediction, start.

    ULMFIT_FASTAI_PYTHON=/path/to/a/python/with/fastai python benchmarks/compare.py [--rounds 5] [--threads 2] [--rows tokenizing predict ...]
    python benchmarks/compare.py --alone ...      without fastai: our numbers and their floors
    python benchmarks/compare.py --loss           200 steps on real text: what bf16 and the adaptive softmax do to the validation loss
    python benchmarks/run.py --gpu                all rows on a GPU

fastai (and spaCy) live in an environment of their own. For each row a process is started for each of our kinds and one for fastai; all prepare
the same work (same texts, same sizes, same batch shapes), then they take turns, one round each; a first round warms up and does not count.
Recorded are the medians, the ratio of the medians, the smallest and largest ratio of neighbouring rounds, peak memory, and the share of the
floor: the time that the operations (and, for one text, the bytes of the recurrent weights) need at the rates measured here just before, over the
time taken; for `cold`, the time of `import torch`. Five rounds take about 50 minutes on two idle cores, most of them for `predict` and `classifier` (fewer texts: --n). Each row writes its files when it ends,
so a run that was broken off goes on with --rows. Text: IMDb reviews where ULMFIT_DATA names them, else the documentation corpus."""
import argparse, json, os, subprocess, sys, time
from pathlib import Path
from statistics import median

from compare_ours import recurrent
from run import texts
from ulmfit_nb.bfloat16 import cpu_has_bf16
from ulmfit_nb.int8 import Int8Weights, fbgemm

HERE = Path(__file__).parent
ROWS = { # name → (settings, unit, our kinds)
    'tokenizing': (dict(mb=2), 'MB/s', ['float32']),
    'train-30k': (dict(vocab=30000, bs=32, steps=2), 'tokens/s', ['float32', 'adaptive']),
    'train-60k': (dict(vocab=60000, bs=32, steps=2), 'tokens/s', ['float32', 'adaptive']),
    'classifier': (dict(vocab=30000, n=128, bs=64), 'documents/s', ['float32']),
    'predict': (dict(vocab=30000, n=1000), 'documents/s', ['float32', 'int8']),
    'one-text': (dict(vocab=30000, n=5), 'texts/s', ['float32', 'int8']),
    'cold': (dict(vocab=30000), 's', ['float32']),
    'baseline': (dict(n=1000), 'documents/s', ['float32'])}
GPU = {'train-30k': dict(bs=256, steps=50), 'train-60k': dict(bs=256, steps=50), 'classifier': dict(n=2000, bs=64), 'predict': dict(n=1000), 'one-text': dict(n=20)}
ALLOWED = {'train-30k': ('float32', 'bf16', 'adaptive'), 'train-60k': ('float32', 'bf16', 'adaptive'), 'classifier': ('float32', 'bf16', 'side-by-side'),
    'predict': ('float32', 'bf16', 'int8'), 'one-text': ('float32', 'bf16', 'int8')}

def kinds(row, gpu=False, asked=None):
    "Which of our kinds run in a row: those asked for that make sense there, else the usual ones (on a GPU bfloat16 stands for float32; on a CPU with instructions for it, it stands beside it)."
    usual = [('bf16' if gpu and k == 'float32' and row in ALLOWED else k) for k in ROWS[row][2] if not (gpu and k == 'int8')]
    if not gpu and row in ALLOWED and cpu_has_bf16(): usual.insert(1, 'bf16')
    if gpu and row == 'classifier': usual.append('side-by-side')
    return usual if asked is None else [k for k in asked if k in ALLOWED.get(row, ('float32',)) and not (gpu and k == 'int8')]

class Worker:
    "One system in its own process: `go` runs a round and gives what it says, its seconds above all."
    def __init__(self, python, script, spec):
        self.p = subprocess.Popen([python, HERE/script, json.dumps(spec)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self.read()
    def read(self):
        for line in self.p.stdout:
            if line.startswith('@@'): return json.loads(line[2:])
        raise SystemExit(f'{self.p.args[1]} ended with status {self.p.wait()}: see its message above')
    def tell(self, word):
        self.p.stdin.write(word+'\n'); self.p.stdin.flush()
        return self.read()
    def go(self): return self.tell('go')
    def end(self):
        res = self.tell('end'); self.p.wait()
        return res

def best(f, n=3):
    "Seconds of the quickest of `n` calls after one that does not count."
    f(); secs = []
    for _ in range(n):
        begun = time.perf_counter(); f(); secs.append(time.perf_counter()-begun)
    return min(secs)

def rates(device, half=True, sizes=()):
    "What this machine reaches now: operations a second of a large matrix product in float32 (and bfloat16, int8), bytes a second read; `reads` has them for matrices of so many bytes, which a cache may hold."
    import torch
    res, n = {}, 2048 if device == 'cpu' else 8192
    def done(): device == 'cpu' or torch.cuda.synchronize()
    for dtype in (torch.float32, torch.bfloat16)[:1+half]:
        a = torch.randn(n, n, device=device).to(dtype)
        res[str(dtype).removeprefix('torch.')] = 2*n**3/best(lambda: (a@a, done()))
    def read(rows, n): # a product with a vector, a sum or a maximum: the quickest is nearest to what the memory gives
        a, x = torch.ones(rows, 1024, device=device), torch.ones(1024, device=device)
        return 4*a.numel()/min(best(f, n) for f in (lambda: (a@x, done()), lambda: (a.sum(), done()), lambda: (a.amax(), done())))
    res['bytes'] = read(2**16, 3) # 256 MB: more than caches hold
    if device == 'cpu' and fbgemm():
        q, h = Int8Weights(torch.randn(n, n)), torch.rand(n, n)
        res['int8'] = 2*n**3/best(lambda: q(h))
    if sizes: res['reads'] = {str(s): read(s//4//1024, 20) for s in sizes}
    return res

def floor_share(facts, seconds, rate, kind):
    "The least time that the work could take at those rates, over the time taken; `None` where no floor is known."
    if 'floor_seconds' in facts: return facts['floor_seconds']/seconds
    if not facts.get('flops'): return None
    product = rate.get('int8', rate['float32']) if kind == 'int8' else rate['bfloat16' if kind == 'bf16' or facts.get('bf16') else 'float32']
    read = rate.get('reads', {}).get(str(facts.get('set_bytes')), rate['bytes'])
    return (facts['flops']/product + facts.get('bytes', 0)/read)/seconds

def summed(name, unit, kind, ours, theirs, rate):
    "One recorded row from what two workers said; `theirs` is `None` where there is no other side."
    pair = [o for o in (ours, theirs) if o]
    secs = [[r['seconds'] for r in o['rounds']] for o in pair]
    med, work = [median(s) for s in secs], [o['facts']['work'] for o in pair]
    speed = [m if unit == 's' else w/m for m,w in zip(med, work)]
    ratios = sorted(w0/o/(w1/t) for w0,w1 in [work] for o,t in zip(*secs)) if theirs else []
    more = {k: median(r[k] for r in ours['rounds']) for k in ours['rounds'][0] if k != 'seconds'} # such as the parts of a round
    facts = ours['facts'] | (dict(floor_seconds=more['torch_seconds']) if 'torch_seconds' in more else {})
    return dict(row=name, kind=kind, unit=unit, ours=speed[0], fastai=speed[1] if theirs else None, ratio=work[0]/med[0]/(work[1]/med[1]) if theirs else None, ratios=ratios,
        seconds=[list(o) for o in zip(*secs)], rounds=len(secs[0]), more=more, peak_gb=[o['end']['peak_gb'] for o in pair], floor_share=floor_share(facts, med[0], rate, kind),
        facts=[o['facts'] for o in pair], matrix_rate=rate)

def take_turns(workers, rounds):
    "Everybody's rounds, one after the other, and what they say at the end."
    said = [[w.go() for w in workers] for _ in range(rounds+1)][1:]
    return [dict(facts=w.facts, rounds=list(r), end=w.end()) for w,r in zip(workers, zip(*said))]

def shown(r):
    "A recorded row as a line."
    them = f'{r["fastai"]:>10.2f} {r["unit"]:12}{r["ratio"]:>6.2f}x{r["ratios"][0]:>8.2f}-{r["ratios"][-1]:.2f}' if r['fastai'] else f'{"":>10} {r["unit"]:12}{"":>16}'
    return f'{r["row"]:12}{r["ours"]:>10.2f}{them}{"/".join(f"{g:.1f}" for g in r["peak_gb"]):>10}' + (f'  {r["floor_share"]:.0%}' if r['floor_share'] else '') + f'  {r["kind"]}' + ''.join(f'  {k} {v:.2f}' for k,v in r['more'].items())

def arguments(args=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5); p.add_argument('--gpu', action='store_true'); p.add_argument('--rows', nargs='+', choices=ROWS, default=list(ROWS))
    p.add_argument('--ours', nargs='+', choices=['float32', 'bf16', 'int8', 'adaptive', 'side-by-side'], help='our kinds: bf16 (no tokenizing), int8 (prediction), adaptive (training), side-by-side (classifier: chapter 07b); the usual ones of each row if left out')
    p.add_argument('--n', type=int, help='documents of `predict`'); p.add_argument('--threads', type=int, help='of both'); p.add_argument('--alone', action='store_true', help='without fastai')
    p.add_argument('--loss', action='store_true', help='compare validation losses, nothing else'); p.add_argument('--results', type=Path, default=Path('results/compare'))
    return p.parse_args(args)

if __name__ == '__main__':
    a = arguments()
    theirs, device = os.environ.get('ULMFIT_FASTAI_PYTHON'), 'cuda' if a.gpu else 'cpu'
    if not theirs and not a.alone and not a.loss: sys.exit('set ULMFIT_FASTAI_PYTHON to a Python that has fastai and spaCy (an environment of their own), or give --alone')
    if a.threads: os.environ['OMP_NUM_THREADS'] = str(a.threads)
    import torch
    if a.gpu and not torch.cuda.is_available(): sys.exit('there is no GPU here: leave out --gpu')
    if a.threads: torch.set_num_threads(a.threads)
    from ulmfit_nb.results import commit, hardware
    xs, _, source = texts(4) # the texts of every row, as a JSON file that both systems read
    work = Path('runs/compare'); work.mkdir(parents=True, exist_ok=True)
    (work/'texts.json').write_text(json.dumps(xs))
    a.results.mkdir(parents=True, exist_ok=True)
    about = dict(device=device, hardware=hardware(device), torch=torch.__version__, commit=commit())
    common = dict(texts=str((work/'texts.json').resolve()), device=device, work=str(work.resolve()))
    if a.loss:
        w = Worker(sys.executable, 'compare_ours.py', common | dict(row='loss', vocab=30000, kinds=a.ours or ['float32', 'bf16', 'adaptive']))
        res = w.go(); w.end()
        for k,v in res['losses'].items(): print(f'{k:10}{v:.4f} nats a token on held-out text ({v/res["losses"]["float32"]-1:+.2%})')
        (a.results/f'{device}-loss.json').write_text(json.dumps(dict(check='loss', **res, settings=w.facts, source=source, **about), indent=1)+'\n')
        sys.exit()
    print(', '.join(f'{k} {v}' for k,v in about.items()) + f'; text: {source}')
    print(f'{"row":12}{"ours":>10}{"fastai":>10}{"":>13}{"ratio":>7}{"range":>13}{"GB":>10}  share of the floor')
    for name in a.rows:
        settings, unit, _ = ROWS[name]
        spec = common | dict(row=name, **(settings | (GPU.get(name, {}) if a.gpu else {}) | (dict(n=a.n) if a.n and name == 'predict' else {})))
        ours = kinds(name, a.gpu, a.ours)
        if not ours: continue
        rate = rates(device, a.gpu or cpu_has_bf16(), [recurrent()*b for b in (4, 2, 1)] if name == 'one-text' else ())
        workers = [Worker(sys.executable, 'compare_ours.py', spec | dict(kind=k)) for k in ours]
        if not a.alone and name != 'baseline': workers.append(Worker(theirs, 'compare_fastai.py', spec))
        said = take_turns(workers, a.rounds)
        other = said[len(ours)] if len(said) > len(ours) else None
        for kind,mine in zip(ours, said):
            row = summed(name, unit, kind, mine, other, rate) | dict(settings={k: v for k,v in spec.items() if k not in ('texts', 'work')} | dict(texts=source), **about)
            (a.results/f'{device}-{name}-{kind}.json').write_text(json.dumps(row, indent=1)+'\n')
            print(shown(row), flush=True)
