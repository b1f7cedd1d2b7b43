"""Everything here that wants a GPU, several jobs side by side, in the order of their worth: half an hour of one GPU's time, without anybody at hand.

    ULMFIT_DATA=... python benchmarks/gpu.py --out runs/gpu --minutes 28
    the same command goes on with what is missing; a job that fails is begun once more, leaves its log in runs/gpu/log and takes with it only those that need it; the exit status is 1 then
    where the half hour counts the machine's start and the copying, too, give it --minutes 24
    where a command may not last so long: setsid nohup python benchmarks/gpu.py … > runs/gpu.log 2>&1 < /dev/null & (each end costs a minute, and tries begin again)
    Ctrl-C or SIGTERM ends the jobs, too, which save; at once the second time

Needs $ULMFIT_DATA/enwiki, imdb and wikitext-2, which may arrive while it runs; with a backbone in runs/gpu/en-base/en-base it leaves stage 1 out. Rows go to runs/gpu/results: look at them before you copy them to results/.
A classifier leaves most of a large GPU idle: five side by side got three times as much done, while two language models got no more done than one after the other (results/LOG.md, 2026-11-27). --at-once says how many units of work share it; a language model counts three, a classifier one. NVIDIA's MPS, where it is installed and runs, lets their kernels overlap.
Rehearse on a CPU: python benchmarks/gpu.py --out runs/rehearsal --minutes 9 --rehearse"""
import argparse, ctypes, json, os, re, shutil, signal, subprocess, sys, time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
LM_PASSES,LM_DROP,WT2_PASSES = 8.,1.,60. # the recorded run had 7 passes and .4: see results/LOG.md for why to try these
TRIES = 'freez:4:.01', 'freez:4:.01:chunk+ar', 'freez:4:.03', 'scripts:4:.01:chunk+ar' # chunk+ar: what the authors' scripts do besides (chapter 08)
CHANGES = {'LM full + discr + stlr': ('no LM fine-tuning', 'classifier from scratch', 'classifier full', 'classifier full + discr', 'classifier last', 'classifier chain-thaw', 'classifier freez', 'classifier freez + discr', 'classifier freez + stlr', 'classifier freez + cosine')}

@dataclass
class Job:
    name:str
    cmd:list           # a command
    after:tuple=()     # jobs that must be done
    weight:int=1       # units of the GPU
    needs:tuple=()     # files that must be there, whole
    waits:tuple=()     # jobs that must have ended, done or failed
    again:bool=True    # begin it once more where it failed? A neighbour may have had the memory

def whole(f):
    "Is a file there, to its end? One that is still being copied is not."
    if not f.is_file() or f.suffix != '.xz': return f.is_file()
    with open(f, 'rb') as o: return o.seek(0, 2) > 2 and o.seek(-2, 2) > 0 and o.read() == b'YZ'

def jobs(a):
    "All of them, the most valuable first."
    py,out,base = sys.executable,a.out,a.out/'en-base'
    ways = 'forward','backward'
    me,data = [py, __file__, '--out', out] + (['--rehearse'] if a.rehearse else []),Path(os.environ['ULMFIT_DATA'])
    size,few = ('micro', ['--limit', '20', '--vocab-texts', '20']) if a.rehearse else ('base', [])
    def step(*words): return [*me, '--step', *words]
    enwiki = tuple(data/'enwiki'/f'{n}.jsonl.xz' for n in ('train-0', 'train-1', 'train-2', 'train-3', 'valid'))
    imdb = tuple(data/'imdb'/f'{n}.jsonl.xz' for n in ('train', 'test', 'unsup'))
    wt2 = tuple(data/'wikitext-2'/f'wiki.{n}.tokens.xz' for n in ('train', 'valid', 'test'))
    res = [Job('prepare', [py, HERE/'en_base.py', 'prepare', base, *few], needs=enwiki, weight=0),
        *(Job(f'pretrain-{d}', [py, HERE/'en_base.py', 'train', base, '--direction', d, '--size', size, '--epochs', '1' if a.rehearse else passes(a), '--bs', '16' if a.rehearse else '256'], ('prepare',), 3) for d in ways),
        Job('texts', step('texts', 'inductive'), ('prepare',), 0, imdb), Job('texts-ablation', step('texts', 'ablation'), ('prepare',), 0, imdb),
        Job('tests', [py, '-m', 'pytest', '-q', '-n', '0', 'tests/test_awd_lstm.py', 'tests/test_bfloat16.py', 'tests/test_training.py'], weight=0, again=False),
        Job('cells', step('cells'), weight=0, waits=('tests',), again=False),
        Job('join', [py, HERE/'en_base.py', 'join', base, base/'en-base'], ('pretrain-forward',), waits=('pretrain-backward',))]
    ready = 'join','texts'
    def name(t): return t.replace(':', '-')
    res += [Job(f'lm-{d}', step('lm', d), (*ready, f'pretrain-{d}'), 3) for d in ways]
    res += [Job(f'try-{name(t)}', [py, HERE/'choose_stage3.py', out/'imdb', '--backbone', base/'en-base', '--try', t, '--json', out/'tries'/f'{name(t)}.json', *(['--limit', '60', '--bs', '8'] if a.rehearse else [])], ('lm-forward',)) for t in TRIES]
    def final(seed, waits):
        both = tuple(f'imdb-{d}-{seed}' for d in ways)
        return [*(Job(n, step('clas', d, seed), (f'lm-{d}',), waits=waits) for n,d in zip(both, ways)), Job(f'imdb-both-{seed}', step('clas', 'both', seed), both, 0)]
    res += final('0', tuple(f'try-{name(t)}' for t in TRIES))
    rest = ('imdb-both-0',) if any((data/d).is_dir() for d in ('enwiki', 'imdb')) or (out/'done'/'join').exists() else () # where no such text is there or on its way it need not wait for them
    res += [Job('wikitext2', [py, '-m', 'ulmfit_nb', 'reproduce', 'wikitext2', '--size', size, '--bs', '64', '--lm-epochs', '1' if a.rehearse else f'{WT2_PASSES:g}', '--out', out/'wikitext2', '--results', out/'results', *(['--limit', '60'] if a.rehearse else [])], weight=2, needs=wt2, waits=rest)]
    res += [Job(f'ablation-{n}', step('ablation', n), ('join', 'texts-ablation'), 3) for n in ('LM full + discr + stlr', 'no pretraining', 'plain LSTM LM')]
    res += [Job(f'ablation-{n}', step('ablation', n), (f'ablation-{first}',)) for first,ns in CHANGES.items() for n in ns]
    res += [Job(f'lowshot-{n}', step('lowshot', str(n)), ('lm-forward',)) for n in ((20, 40) if a.rehearse else (100, 500, 1000, 20, 5000))]
    res += [Job('score', [py, HERE/'en_base.py', 'score', base/'en-base', '--results', out/'results', *few[:2]], ('join',), 1, (*wt2, enwiki[-1]), ('lm-forward', 'lm-backward', 'ablation-LM full + discr + stlr'))]
    res += [Job(f'ablation-{n}', step('ablation', n), ('join', 'texts-ablation'), 3) for n in ('LM full', 'LM full + discr', 'settings of the package')]
    res += [j for seed in '12' for j in final(seed, ('imdb-both-0',))]
    res += [Job('texts-transductive', step('texts', 'transductive'), ('lm-forward',), 0, imdb), Job('lm-transductive', step('lm', 'transductive'), ('texts-transductive',), 3, waits=('imdb-both-0',)), Job('transductive', step('clas', 'transductive', '0'), ('lm-transductive',))]
    return res

def passes(a):
    "Of stage 1: what the first call took, since a run goes on with its own schedule only."
    f = a.out/'passes'
    if not f.exists(): f.write_text('3' if a.overlap and a.minutes >= 27 else '2') # three leave 24 minutes no time for the headline
    return f.read_text()

def works(env, tool=None): # of MPS
    "Does a small program run on the GPU, and through the server of MPS, where a tool is given? Without its server programs run beside it."
    try: p = subprocess.run([sys.executable, '-c', 'import torch; print(float((torch.ones(9, 9, device="cuda") @ torch.ones(9, 9, device="cuda")).sum()))'], env=env, capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired: p = None
    if p and p.returncode == 0 and '729' in p.stdout:
        if not tool: return True
        with suppress(OSError, subprocess.TimeoutExpired):
            if subprocess.run([tool], env=env, input='get_server_list\n', capture_output=True, text=True, timeout=10).stdout.strip(): return True
    print('MPS does not work here:' if tool else 'no GPU works here:', p and p.stderr[-500:], flush=True)
    return False

@contextmanager
def overlap(out): # gives an environment, and whether kernels overlap
    "NVIDIA's MPS while the block lasts, where it is installed and a small program runs under it."
    tool = shutil.which('nvidia-cuda-mps-control') or next((p for p in ('/usr/local/nvidia/bin/nvidia-cuda-mps-control',) if os.path.exists(p)), None)
    if tool:
        env = os.environ | dict(CUDA_MPS_PIPE_DIRECTORY=str((out/'mps').resolve()), CUDA_MPS_LOG_DIRECTORY=str((out/'mps').resolve()))
        (out/'mps').mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run([tool, '-d'], env=env)
            if works(env, tool): print('MPS runs', flush=True); yield env,True; return
        finally: # the daemon would outlive us
            with suppress(OSError, subprocess.TimeoutExpired): subprocess.run([tool], env=env, input='quit\n', text=True, timeout=5)
    else: print('no MPS here: kernels of different jobs will take turns', flush=True)
    yield dict(os.environ),False

def ends_with_us(): # in a job, before it begins
    "Where the system can (Linux): SIGTERM to the job when we are gone, killed ones included."
    with suppress(AttributeError, OSError): ctypes.CDLL(None).prctl(1, signal.SIGTERM)

def hit(p, sig):
    "A signal to a job and all that it started."
    with suppress(OSError): os.killpg(p.pid, sig)

class Conductor:
    "Starts jobs, and knows which run, which wait and which failed; those that are done stand in `out`/done."
    def __init__(self, todo, out, room, env, begun):
        self.todo,self.out,self.room,self.env,self.begun = [j for j in todo if not (out/'done'/j.name).exists()],out,room,env,begun
        self.running,self.failed,self.tried = {},set(),set() # name → job, process, time; names; names of those that failed once
        self.order = [j.name for j in todo]

    def say(self, *words): print(f'{(time.monotonic()-self.begun)/60:5.1f}', *words, flush=True)
    def free(self): return self.room-sum(j.weight for j,_,_ in self.running.values())
    def done(self, n): return (self.out/'done'/n).exists()
    def ready(self, j): return all(self.done(n) for n in j.after) and all(self.done(n) or n in self.failed for n in j.waits) and all(whole(f) for f in j.needs)

    def begin(self):
        "All that is ready and has room; where one must wait, nothing of less worth goes before it that needs the GPU too."
        full = False
        for j in [j for j in self.todo if self.ready(j)]:
            full = full or j.weight > self.free() < self.room # alone it may run in any case
            if full and j.weight: continue
            self.todo.remove(j)
            with open(self.out/'log'/f'{j.name}.log', 'a') as o: self.running[j.name] = j,subprocess.Popen([*(['nice'] if not j.weight and shutil.which('nice') else []), *(str(c) for c in j.cmd)], env=self.env, stdout=o, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=ends_with_us),time.monotonic()
            self.say('begin', j.name)

    def collect(self, told=None): # processes that were told to stop
        "Those that have ended; one that failed is begun once more, and if it fails again takes with it all that need it."
        for n,(j,p,at) in list(self.running.items()):
            if p.poll() is None: continue
            del self.running[n]
            if p.returncode == 0: (self.out/'done'/n).touch()
            elif told is not None and p in told: self.todo.append(j)
            elif told is None and j.again and n not in self.tried: self.tried.add(n); self.todo.append(j); self.todo.sort(key=lambda j: self.order.index(j.name))
            else: self.failed.add(n)
            self.say(n, f'{time.monotonic()-at:.0f} s', '' if p.returncode == 0 else 'stopped' if p in (told or ()) else f'FAILED: see {self.out/"log"/n}.log')
        while lost := [j for j in self.todo if self.failed & {*j.after}]:
            for j in lost: self.todo.remove(j); self.failed.add(j.name); self.say(j.name, 'cannot start: it needs', ', '.join(sorted(self.failed & {*j.after})))

    def end(self, seconds):
        "SIGTERM to all that run, on which training saves, and SIGKILL to those that are there after so many seconds."
        ps,by = [p for _,p,_ in self.running.values() if p.poll() is None],time.monotonic()+seconds
        try:
            for p in ps: hit(p, signal.SIGTERM)
            for p in ps:
                with suppress(subprocess.TimeoutExpired): p.wait(max(0., by-time.monotonic()))
        finally:
            for p in ps: hit(p, signal.SIGKILL)
            for p in ps:
                with suppress(subprocess.TimeoutExpired): p.wait(2)
        self.collect(ps)

def stage_1_done(out):
    "Mark what a backbone in place, made here or brought, makes needless; one that was joined here from one direction is joined again when there are two."
    base = out/'en-base'
    if not (base/'en-base'/'config.json').exists(): return
    ways = json.loads((base/'en-base'/'config.json').read_text())['directions']
    for n in ('prepare', 'join', *(f'pretrain-{d}' for d in ways)): (out/'done'/n).touch()
    if len(ways) < 2 and (base/ways[0]/'config.json').exists(): (out/'done'/'join').unlink()

def conduct(a, begun): # exit status: 1 where a job failed
    "Start whatever is ready while there is room, until nothing is left or time is up; then nothing runs any more."
    from ulmfit_nb.corpus import InputError
    from ulmfit_nb.processes import asked_to_stop, only_one
    spare = min(75., 6*a.minutes) # seconds at the end, most of them for jobs to save in; of few minutes a tenth
    if not a.rehearse and not works(dict(os.environ)): raise InputError('no GPU works here: try the jobs on a CPU with --rehearse')
    with only_one(a.out), asked_to_stop() as asked, nullcontext((dict(os.environ), False)) if a.rehearse or a.no_mps else overlap(a.out) as (env, a.overlap):
        for d in ('log', 'done'): (a.out/d).mkdir(parents=True, exist_ok=True)
        stage_1_done(a.out)
        c = Conductor(jobs(a), a.out, a.at_once or (7 if a.overlap else 4), env | dict(OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1', PYTHONPATH=os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get('PYTHONPATH')])])), begun)
        try:
            while not asked() and time.monotonic()-begun < 60*a.minutes-spare:
                c.collect(); c.begin()
                if not c.todo and not c.running: break
                time.sleep(min(.5, spare/20))
        finally: c.end(.8*spare)
    lack = sorted({str(f) for j in c.todo for f in j.needs if not whole(f)})
    c.say('the end;', *([f'not there, or not whole: {", ".join(lack)};'] if lack else []), f'not done: {", ".join(j.name for j in c.todo) or "nothing"};', f'failed: {", ".join(sorted(c.failed)) or "nothing"}')
    return 130 if asked() else int(bool(c.failed))

# %% steps, each a job of its own, most of them with the parts of `ulmfit reproduce`

def cuda_notebooks(folder=HERE.parent/'nbs'):
    "Those with a cell that wants a GPU."
    def wants(f): return any(re.search(r'^#\|\s*cuda\b', ''.join(c['source']), re.M) for c in json.loads(f.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code')
    return [f for f in sorted(folder.rglob('*.ipynb')) if '.ipynb_checkpoints' not in f.parts and wants(f)]

def cells(a):
    "The chapters' cells for a GPU; every chapter has its turn."
    test,bad = [sys.executable, '-c', 'import sys; from nbdev.test import nbdev_test; nbdev_test(sys.argv[1], flags="cuda")'],[] # nbdev-test, wherever it is installed
    for f in cuda_notebooks():
        mark = a.out/'done'/f'cells-{f.stem}' # the next call goes on from there
        if mark.exists(): continue
        print(f, flush=True)
        if subprocess.run([*test, f], cwd=HERE.parent, stdin=subprocess.DEVNULL).returncode: bad.append(f.name)
        else: mark.parent.mkdir(parents=True, exist_ok=True); mark.touch()
    if bad: sys.exit(f'did not pass: {", ".join(bad)}')

def make_lab(a, name, **kw):
    from ulmfit_nb.lab import Lab
    small = dict(bs=8, clas_bs=8, lm_epochs=1.) if a.rehearse else dict(bs=256, clas_bs=64, lm_epochs=LM_PASSES)
    return Lab(a.out/name, a.out/'results', backbone=a.out/'en-base'/'en-base', lm_drop_mult=LM_DROP, **small | kw)

def reviews(a):
    from ulmfit_nb.lab import load_task
    return load_task('imdb', 60 if a.rehearse else None)

def texts(a, key):
    "Vocabulary, ids and baseline of a protocol, ahead of the backbone, of which only the tokenizer is needed."
    from ulmfit_nb.lab import without_twins
    from ulmfit_nb.reproduce import ablation_rows
    from ulmfit_nb.tokenization import Tokenizer
    lab,task,extra = make_lab(a, 'imdb-ablation' if key == 'ablation' else 'imdb'),reviews(a),[]
    base = 'imdb',task.train,task.test
    if key == 'ablation':
        held,used,_ = ablation_rows(lab, task)
        base = 'imdb-ablation',used,held
        task = replace(task, train=used, more=without_twins(task.more, held)) # as `ablation` reads them
    elif key == 'transductive': extra = [t for t,_ in task.test]
    f = lab.out/key/'tokenizer.json'
    if not f.exists():
        f.parent.mkdir(parents=True, exist_ok=True)
        Tokenizer.train([t for t,_ in task.train] + task.more + extra, kind='word', vocab_size=60000, also=Tokenizer.load(next(p for p in (a.out/'en-base'/'en-base'/'tokenizer.json', a.out/'en-base'/'tokenizer.json') if p.exists()))).save(f)
    print(lab.texts(task, extra, key)[1].n_tokens, flush=True)
    if key != 'transductive': lab.base(*base, task.classes)

def lm(a, what):
    lab,task = make_lab(a, 'imdb'),reviews(a)
    key,d = ('transductive', 'forward') if what == 'transductive' else ('inductive', what)
    tok,corpus = lab.texts(task, [t for t,_ in task.test] if key == 'transductive' else (), key)
    lab.lm(tok, corpus, d, 0, key=key)

def chosen(a): # recipe, rate, as in the scripts?, how they were chosen
    "The best on held-out reviews, and of equals that with the smaller loss."
    rows = [r for t in TRIES if (f := a.out/'tries'/f'{t.replace(":", "-")}.json').exists() for r in json.loads(f.read_text())['rows']]
    if not rows: return TRIES[0].split(':')[0],float(TRIES[0].split(':')[2]),False,'the first recipe and rate, since no try of the others ended'
    best = max(rows, key=lambda r: (r['accuracy'], -r['history'][-1]['valid_loss']))
    return best['recipe'],best['lr'],'masks' in best,'recipe and rate chosen on held-out training reviews' + ('' if len(rows) == len(TRIES) else f', of the {len(rows)} of {len(TRIES)} tries that ended')

def decided(a): # as of `chosen`
    "The choice, made once: a try that ends in a later call must not change it under the runs that use it."
    from ulmfit_nb.runtime import atomic
    f = a.out/'chosen.json'
    if not f.exists():
        with atomic(f) as tmp: tmp.write_text(json.dumps(chosen(a)))
    return tuple(json.loads(f.read_text()))

def clas(a, what, seed):
    "Test reviews, with the recipe that was chosen; the seeds share one stage 2."
    from ulmfit_nb.reproduce import headline
    recipe,lr,as_scripts,how = decided(a)
    lab,task = make_lab(a, 'imdb-final', recipe=recipe, lr=lr, as_scripts=as_scripts),reviews(a)
    key,ways = ('transductive', ['forward']) if what == 'transductive' else ('inductive', ['forward', 'backward'] if what == 'both' else [what])
    def link(src, to):
        if to.exists(): return
        to.parent.mkdir(parents=True, exist_ok=True)
        tmp = to.with_name(f'{to.name}.{os.getpid()}')
        if src.is_dir(): shutil.copytree(src, tmp, copy_function=os.link)
        else: os.link(src, tmp)
        try: tmp.rename(to)
        except OSError: pass # another job was faster
    link(a.out/'imdb'/'baseline-imdb.npy', lab.out/'baseline-imdb.npy')
    for f in ('tokenizer.json', 'texts.sha256', 'corpus'): link(a.out/'imdb'/key/f, lab.out/key/f)
    for d in ways: link(a.out/'imdb'/key/f'lm-default-{d}-0', lab.out/key/f'lm-default-{d}-{seed}')
    headline(lab, replace(task, note=f'{task.note}; {how}; stage 2 of seed 0'), ways, (int(seed),), key)

def low(a, n):
    from ulmfit_nb.reproduce import lowshot
    lab = make_lab(a, 'imdb', labels=(int(n),), draws=1 if a.rehearse else 3)
    for v in ('ulmfit', 'pretraining only', 'from scratch'): lowshot(lab, reviews(a), (v,))

def ablated(a, name):
    from ulmfit_nb.reproduce import ablation
    ablation(make_lab(a, 'imdb-ablation', **({} if a.rehearse else dict(lm_epochs=2.))), reviews(a), (name,))

STEPS = dict(cells=cells, texts=texts, lm=lm, clas=clas, lowshot=low, ablation=ablated)

def main(words=None):
    begun = time.monotonic() # before the slow imports, which count
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--out', type=Path, default=Path('runs/gpu')); p.add_argument('--minutes', type=float, default=28.); p.add_argument('--at-once', type=int, help='units of work side by side; 7 where kernels overlap, else 4')
    p.add_argument('--no-mps', action='store_true', help='do not try it'); p.add_argument('--rehearse', action='store_true', help='tiny sizes, to see that everything runs'); p.add_argument('--step', nargs='+', help='used by the jobs')
    a = p.parse_args(words)
    if 'ULMFIT_DATA' not in os.environ: sys.exit('set ULMFIT_DATA to the folder that holds enwiki, imdb and wikitext-2')
    sys.path[:0] = str(HERE),str(HERE.parent) # for the parts that benchmarks share, and the package, installed or not
    if a.step: return STEPS[a.step[0]](a, *a.step[1:])
    from ulmfit_nb.corpus import InputError
    try: sys.exit(conduct(a, begun))
    except InputError as e: sys.exit(f'{e}')
    except KeyboardInterrupt: sys.exit(130) # asked a second time

if __name__ == '__main__': main()
