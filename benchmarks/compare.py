"""Side by side with fastai, in one run, on one machine: tokenizing, language-model steps, classifier epochs, prediction.

    ULMFIT_FASTAI_PYTHON=/path/to/a/python/with/fastai python benchmarks/compare.py [--rounds 5] [--gpu] [--rows tokenizing predict ...]

fastai (and spaCy) live in an environment of their own. For each row two processes are started, one a system; both prepare the same work
(same texts, same sizes, same batch shapes), then they take turns, one round each. Reported are the medians, the ratio of the medians, and the
smallest and largest ratio of two neighbouring rounds. Each row also says how far it is from the floor: operations counted, over what a large
matrix product reaches here. Text: IMDb reviews where ULMFIT_DATA names them, else the documentation corpus."""
import argparse, json, os, subprocess, sys, time
from pathlib import Path
from statistics import median

from run import texts

HERE = Path(__file__).parent
ROWS = { # name → (settings, unit)
    'tokenizing': (dict(mb=2), 'MB/s'), 'train-30k': (dict(vocab=30000, bs=32, steps=2), 'tokens/s'), 'train-60k': (dict(vocab=60000, bs=32, steps=2), 'tokens/s'),
    'classifier': (dict(vocab=30000, n=64, bs=16), 'documents/s'), 'predict': (dict(vocab=30000, n=200), 'documents/s'), 'one-text': (dict(vocab=30000, n=5), 'texts/s')}
GPU = {'train-30k': dict(bs=256, steps=50), 'train-60k': dict(bs=256, steps=50), 'classifier': dict(n=2000, bs=64), 'predict': dict(n=2000), 'one-text': dict(n=20)}

class Worker:
    "One system in its own process: `go` runs a round and gives its seconds."
    def __init__(self, python, script, spec):
        self.p = subprocess.Popen([python, HERE/script, json.dumps(spec)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self.read()
    def read(self):
        for line in self.p.stdout:
            if line.startswith('@@'): return json.loads(line[2:])
        raise SystemExit(f'{self.p.args[1]} ended with status {self.p.wait()}: see its message above')
    def go(self):
        self.p.stdin.write('go\n'); self.p.stdin.flush()
        return self.read()['seconds']
    def end(self):
        self.p.stdin.write('end\n'); self.p.stdin.flush()
        res = self.read(); self.p.wait()
        return res

def floor(device):
    "Operations a second of a large float32 matrix product here (and bfloat16 on a GPU)."
    import torch
    res = {}
    for dtype in (torch.float32, torch.bfloat16):
        n = 2048 if device == 'cpu' else 8192
        a = torch.randn(n, n, device=device, dtype=dtype); best = 1e9
        for _ in range(5):
            begun = time.perf_counter(); a@a
            if device != 'cpu': torch.cuda.synchronize()
            best = min(best, time.perf_counter()-begun)
        res[str(dtype).removeprefix('torch.')] = 2*n**3/best
    return res

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5); p.add_argument('--gpu', action='store_true'); p.add_argument('--rows', nargs='+', choices=ROWS, default=list(ROWS))
    p.add_argument('--ours', nargs='+', default=['float32'], help='precisions of ours: float32, bf16, int8 (prediction), adaptive (training)')
    p.add_argument('--threads', type=int, help='of both'); p.add_argument('--results', type=Path, default=Path('results/compare'))
    a = p.parse_args()
    theirs, device = os.environ.get('ULMFIT_FASTAI_PYTHON'), 'cuda' if a.gpu else 'cpu'
    if not theirs: sys.exit('set ULMFIT_FASTAI_PYTHON to a Python that has fastai and spaCy (an environment of their own)')
    import torch
    if a.gpu and not torch.cuda.is_available(): sys.exit('there is no GPU here: leave out --gpu')
    if a.threads: os.environ['OMP_NUM_THREADS'] = str(a.threads); torch.set_num_threads(a.threads)
    from ulmfit_nb.results import commit, hardware
    xs, _, source = texts(4) # the texts of every row, as a JSON file that both systems read
    work = Path('runs/compare'); work.mkdir(parents=True, exist_ok=True)
    (work/'texts.json').write_text(json.dumps(xs))
    rate = floor(device)
    print(f'{hardware(device)}, torch {torch.__version__}, commit {commit()}; text: {source}; matrix products: ' + ', '.join(f'{k} {v/1e9:,.0f} GFLOP/s' for k,v in rate.items()))
    print(f'{"row":12}{"ours":>10}{"fastai":>10}{"":>13}{"ratio":>7}{"range":>15}{"GB ours/theirs":>16}  share of the floor')
    a.results.mkdir(parents=True, exist_ok=True)
    for name in a.rows:
        settings, unit = ROWS[name]
        spec = dict(row=name, texts=str((work/'texts.json').resolve()), device=device, **(settings | (GPU.get(name, {}) if a.gpu else {})))
        for kind in a.ours:
            if kind == 'int8' and name not in ('predict', 'one-text') or kind == 'adaptive' and not name.startswith('train') or kind != 'float32' and name == 'tokenizing': continue
            pair = [Worker(sys.executable, 'compare_ours.py', spec | dict(kind=kind)), Worker(theirs, 'compare_fastai.py', spec)]
            secs = [[w.go() for w in pair] for _ in range(a.rounds+1)][1:] # the first round warms up
            ends = [w.end() for w in pair]
            work_done = [w.facts['work'] for w in pair] # units a round
            speed = [work_done[i]/median(s[i] for s in secs) for i in (0, 1)]
            ratios = sorted((work_done[0]/o)/(work_done[1]/t) for o,t in secs)
            flops = pair[0].facts.get('flops')
            share = flops/median(s[0] for s in secs)/rate['bfloat16' if kind == 'bf16' or a.gpu else 'float32'] if flops else None
            row = dict(row=name, kind=kind, unit=unit, ours=speed[0], fastai=speed[1], ratio=speed[0]/speed[1], ratios=ratios, seconds=secs, rounds=a.rounds, peak_gb=[e['peak_gb'] for e in ends],
                floor_share=share, settings=spec | dict(texts=source), facts=[w.facts for w in pair], device=device, hardware=hardware(device), torch=torch.__version__, commit=commit(), matrix_rate=rate)
            (a.results/f'{device}-{name}-{kind}.json').write_text(json.dumps(row, indent=1)+'\n')
            print(f'{name:12}{speed[0]:>10.2f}{speed[1]:>10.2f} {unit:12}{row["ratio"]:>6.2f}x{ratios[0]:>8.2f}-{ratios[-1]:.2f}{row["peak_gb"][0]:>10.1f}/{row["peak_gb"][1]:.1f}'
                + (f'  {share:.0%}' if share else '') + f'  {kind}', flush=True)
