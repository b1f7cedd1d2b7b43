"Two processes do the work of one: the same gradients, the same losses, nothing read twice, and a lost process stops the others."
import csv, itertools, json, os, signal, socket, subprocess, sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import parallel_worker as w
from ulmfit_nb.batches import ClasBatches
from ulmfit_nb.corpus import InputError
from ulmfit_nb.ids import Corpus
from ulmfit_nb.language_model import LMBatches

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason='this torch has no torch.distributed')

ports = itertools.count(20_000 + 1000*int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])) # below those that the system hands out, a range for each worker

def free_port():
    "One that nobody is given in the seconds until the processes listen."
    for port in ports:
        with socket.socket() as s, suppress(OSError):
            s.bind(('127.0.0.1', port))
            return port

def launch(n, *words, wait=True):
    "Start `n` connected processes of the worker."
    env = os.environ | dict(WORLD_SIZE=str(n), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()), OMP_NUM_THREADS='1')
    ps = [subprocess.Popen([sys.executable, HERE/'parallel_worker.py', *map(str, words)], env=env | dict(RANK=str(r), LOCAL_RANK=str(r)),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for r in range(n)]
    outs = [p.communicate(timeout=300)[0] for p in ps]
    if wait: assert all(p.returncode == 0 for p in ps), '\n'.join(outs)
    return [p.returncode for p in ps], outs

@pytest.fixture(scope='module')
def both(tmp_path_factory, ):
    "What one process computes, and what two compute together."
    out = tmp_path_factory.mktemp('both')/'two.pt'
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = w.everything()
    torch.set_num_threads(threads)
    launch(2, 'all', out)
    return one, torch.load(out, weights_only=True)

def far(a, b): return max(float((a[k].float()-b[k].float()).abs().max()/(1e-3 + a[k].float().abs().max())) for k in a)

@pytest.mark.parametrize('what', ['lm_grads', 'clas_grads'])
def test_gradients_of_the_joint_batch(both, what):
    one,two = both[0][what],both[1][what]
    assert one.keys() == two.keys() and max(float(g.abs().max()) for g in one.values()) > 1e-3
    off = sum(float((one[k]-two[k]).square().sum()) for k in one)**.5/sum(float(g.square().sum()) for g in one.values())**.5
    assert off < 1e-5

@pytest.mark.parametrize('what', ['lm', 'clas'])
def test_loss_curves_coincide(both, what):
    one,two = both[0][what],both[1][what]
    assert len(one['history']) == len(two['history']) > 1
    for a,b in zip(one['history'], two['history']):
        for k in ('train_loss', 'valid_loss'): assert a[k] == pytest.approx(b[k], rel=1e-4), k
        assert a['step'] == b['step']
    assert far(one['model'], two['model']) < 1e-3 # Adam lets rounding grow where a gradient is nearly zero

def test_evaluation_is_exact(both):
    "Rows and documents are shared out, and each counts once."
    for what,n in (('lm', 'perplexity'), ('clas', 'accuracy')):
        assert both[0][what]['history'][0][n] == pytest.approx(both[1][what]['history'][0][n], rel=1e-4)

@pytest.mark.parametrize('n', [1, 2, 3, 5])
def test_rows_are_shared_out(n):
    "Over all processes every target is read once, where one process would read it."
    c = Corpus.from_docs(w.docs(), w.VOCAB)
    whole = [b for b in LMBatches(c, 5, 10, seed=4).batches(1)]
    parts = []
    for r in range(n):
        s = LMBatches(c, 5, 10, seed=4)
        s.shard(r, n)
        parts.append(list(s.batches(1)))
    for i,b in enumerate(whole):
        assert torch.equal(b.inputs['targets'], torch.cat([p[i].inputs['targets'] for p in parts]))
        assert torch.equal(b.inputs['ids'], torch.cat([p[i].inputs['ids'] for p in parts]))
        assert sum(p[i].n for p in parts) == b.n and sum(p[i].share for p in parts) == pytest.approx(n)
        assert {p[i].lr_scale for p in parts} == {b.lr_scale}

@pytest.mark.parametrize('n', [2, 3, 4])
def test_documents_are_shared_out(n):
    ds,ys = w.docs(33),np.arange(33)
    def source(r=0, n=1):
        s = ClasBatches(ds, ys, 8, seed=2)
        s.shard(r, n)
        return list(s.batches(1))
    parts = [source(r, n) for r in range(n)]
    for i,b in enumerate(source()):
        seen = [y for p in parts for y in p[i].inputs['labels'].tolist()]
        want = b.inputs['labels'].tolist()
        assert sorted(seen) == sorted(want if len(want) >= n else want*n) # too few to share: every process takes all of them
        assert sum(p[i].n for p in parts) == b.n and sum(p[i].share for p in parts) == pytest.approx(n)

def test_more_processes_than_rows():
    with pytest.raises(InputError, match='3 processes cannot share 2 rows'): LMBatches(Corpus.from_docs(w.docs(), w.VOCAB), 2).shard(0, 3)

@pytest.mark.parametrize('first,then', [(2, 1), (1, 2), (2, 2)])
def test_resume_on_another_number_of_processes(tmp_path, first, then, one_thread):
    whole = w.result(w.lm_run())
    if first == 1: w.lm_run(tmp_path/'run', steps=7)
    else: launch(first, 'stop', tmp_path/'stop.pt')
    if then == 1: res = w.result(w.lm_run(tmp_path/'run', resume=True))
    else:
        launch(then, 'resume', tmp_path/'resume.pt')
        res = torch.load(tmp_path/'resume.pt', weights_only=True)
    assert far(whole['model'], res['model']) < 1e-3
    assert [r['step'] for r in whole['history']] == [r['step'] for r in res['history']]
    for a,b in zip(whole['history'], res['history']): assert a['train_loss'] == pytest.approx(b['train_loss'], rel=1e-4)

def test_a_classifier_resumes_in_two_processes(tmp_path, both):
    launch(2, 'stop-clas', tmp_path/'stop.pt')
    launch(2, 'resume-clas', tmp_path/'resume.pt')
    res,whole = torch.load(tmp_path/'resume.pt', weights_only=True),both[1]['clas']
    assert far(whole['model'], res['model']) < 1e-3 and [r['step'] for r in whole['history']] == [r['step'] for r in res['history']]

def test_processes_that_do_not_share_a_folder_are_told(tmp_path):
    launch(2, 'apart', tmp_path/'out')
    for rank in (0, 1): assert 'processes see' in (tmp_path/f'out.{rank}').read_text()

def test_the_labels_of_a_second_round_are_those_of_process_0(tmp_path):
    launch(2, 'own', tmp_path/'out')
    for rank in (0, 1): assert json.loads((tmp_path/f'out.{rank}').read_text()) == [[0, 3], [2, 0]]

def test_processes_that_are_asked_to_stop_save(tmp_path):
    "SIGTERM in the sixth step of one of them."
    codes,outs = launch(2, 'asked', tmp_path/'out', wait=False)
    assert [(tmp_path/f'out.{r}').read_text() for r in (0, 1)] == ['6', '6'], outs

def test_steps_are_exact_where_processes_seldom_meet(tmp_path):
    "On GPUs the processes agree every twentieth step only."
    launch(2, 'seldom', tmp_path/'out')
    assert (tmp_path/'out.0').read_text() == '7'

@pytest.mark.parametrize('gpus,device,want', [(0, None, 'cpu'), (1, None, 'cpu'), (2, None, 'gpu'), (2, 'cpu', 'cpu')])
def test_what_launch_takes(monkeypatch, gpus, device, want):
    import accelerate
    from ulmfit_nb import scaling
    used = []
    def launcher(name):
        def run(fn, args, num_processes):
            used.append(name)
            for r in range(num_processes): torch.save(r, Path(args[1])/f'{r}.pt')
        return run
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    for n,k in dict(notebook_launcher='gpu', debug_launcher='cpu').items(): monkeypatch.setattr(accelerate, n, launcher(k))
    assert scaling.launch(print, n=2, device=device) == [0, 1] and used == [want]

def test_a_profile_counts_what_the_processor_did(monkeypatch):
    "With a GPU each part has a second row, of the GPU, with no time of the CPU; the layers can learn afterwards."
    from types import SimpleNamespace
    import torch.profiler as tp
    from ulmfit_nb import scaling
    kinds,real = torch.autograd.DeviceType,tp.profile
    class Both(real):
        def key_averages(self): return [*super().key_averages(), *(SimpleNamespace(key=k, device_type=kinds.CUDA, cpu_time_total=0, self_cpu_time_total=0) for k in ('forward', 'backward'))]
    monkeypatch.setattr(tp, 'profile', Both)
    t = w.lm_trainer()
    t.phases = [w.Phase(1, .01, 1)] # the last group only
    assert all(v > 0 for v in scaling.profile_steps(t, 2)['parts'].values())
    assert all(p.requires_grad for p in t.model.parameters())

def test_a_lost_process_stops_the_others(tmp_path):
    "The second process kills itself in the first evaluation; the first says so, and its checkpoint is whole."
    codes,outs = launch(2, 'die', tmp_path/'out', wait=False)
    assert codes[1] == -signal.SIGKILL and codes[0] == 0, outs
    assert '--resume' in (tmp_path/'out.0').read_text()
    t = w.lm_run(tmp_path/'dying', resume=True, save_minutes=0., eval_every=7)
    assert t.done and far(w.lm_run().model.state_dict(), t.model.state_dict()) < 1e-3

def test_pretrain_and_train_from_the_command_line(tmp_path):
    "Two processes of `ulmfit` write one backbone, the one that a single process writes, and one classifier."
    rng = np.random.default_rng(0)
    words = 'good bad film plot actor the a was and very long short dull bright scene'.split()
    (tmp_path/'t.txt').write_text('\n'.join(' '.join(rng.choice(words, 30)) for _ in range(60)), encoding='utf-8')
    with open(tmp_path/'t.csv', 'w', newline='') as f:
        csv.writer(f).writerows([['text', 'label'], *((' '.join(rng.choice(words, 12)), ('yes', 'no')[i%2]) for i in range(24))])
    env = os.environ | dict(OMP_NUM_THREADS='1')
    torchrun = '-m torch.distributed.run --standalone --nproc-per-node 2'.split()
    accelerate = '-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 --mixed_precision no --dynamo_backend no'.split() # on a CPU, too
    def run(start, *cmd):
        p = subprocess.run([sys.executable, *start, '-m', 'ulmfit_nb', *cmd], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert p.returncode == 0, p.stdout + p.stderr
        return p
    args = ['--size', 'micro', '--min-count', '1', '--bs', '4', '--bptt', '10', '--drop-mult', '0', '--quiet', '--device', 'cpu', '--precision', 'float32']
    for n,start in {1: [], 2: torchrun}.items(): run(start, 'pretrain', 't.txt', '--out', f'bb{n}', *args)
    from safetensors.torch import load_file
    assert far(load_file(tmp_path/'bb1'/'model.safetensors'), load_file(tmp_path/'bb2'/'model.safetensors')) < 1e-3
    assert sorted(p.name for p in (tmp_path/'bb2').iterdir()) == sorted(p.name for p in (tmp_path/'bb1').iterdir())
    run(accelerate, 'pretrain', 't.txt', '--out', 'bb3', *args)
    one,two,three = (load_file(tmp_path/f'bb{i}'/'model.safetensors') for i in (1, 2, 3))
    assert far(two, three) < far(one, three) # that there were two processes shows in the rounding
    run(torchrun, 'train', 't.csv', '--backbone', 'bb2', '--out', 'model', '--epochs', '1', '--lm-epochs', '1', '--quiet', '--device', 'cpu')
    assert json.loads((tmp_path/'model'/'config.json').read_text())['labels'] == ['no', 'yes'] and not (tmp_path/'model'/'run').exists()

def test_a_profile_wants_its_steps():
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.optimizers import Phase, TrainConfig
    from ulmfit_nb.scaling import profile_steps
    from ulmfit_nb.training import Trainer
    docs = Corpus.from_docs([np.array([2, 5, 6, 7]*5, np.int32)]*4, 20)
    t = Trainer(LanguageModel(AWDLSTM(20, (8, 12, 1))), LMBatches(docs, 2, 10), [Phase(1, 1e-3)], TrainConfig(device='cpu'), None, None, False)
    with pytest.raises(InputError, match='needs 12'): profile_steps(t)

def refuses(): raise InputError('no text (of row 3): give one')

def test_what_a_process_refuses_stays_a_sentence():
    from ulmfit_nb import scaling
    with pytest.raises(InputError) as e: scaling.launch(refuses, n=2, device='cpu')
    assert str(e.value) == 'no text (of row 3): give one'
    with pytest.raises(InputError, match="n='2'"): scaling.launch(refuses, n='2')

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_the_paper_model_by_hand():
    from ulmfit_nb.scaling import Cluster
    c = Cluster(n_params=1000, tokens=10, rate=1e6, bandwidth=1e5, latency=1e-3)
    assert (c.compute(), c.compute(4), c.sent(4)) == (pytest.approx(.06), pytest.approx(.015), pytest.approx(6000)) # 3/2 of the 4,000 bytes
    assert c.step(4) == pytest.approx(.015 + .06 + 6e-3) and c.step(4, 1.) == pytest.approx(.015 + .06 + 6e-3 - .01) # two thirds are the backward pass
    assert c.efficiency(4) == pytest.approx(.015/.081) and c.efficiency(1) == 1

def test_a_profile_as_a_table(capsys):
    from ulmfit_nb.scaling import print_profile
    print_profile(dict(parts=dict(forward=.001, backward=.003), ops=dict(mm=.002, add=.001, cat=.0005)), 2)
    assert [l.split() for l in capsys.readouterr().out.splitlines()][1:] == [['forward', '1.00', '25.0%'], ['backward', '3.00', '75.0%'], ['operation', 'ms', 'a', 'step', 'share'], ['mm', '2.00', '50.0%'], ['add', '1.00', '25.0%']]

def test_a_profile_is_of_one_step(monkeypatch):
    from types import SimpleNamespace
    import torch.profiler as tp
    from ulmfit_nb import scaling
    row = lambda k: SimpleNamespace(key=k, device_type=torch.autograd.DeviceType.CPU, cpu_time_total=8e6, self_cpu_time_total=4e6)
    class Fixed(tp.profile):
        def key_averages(self): return [row('forward'), row('aten::mm')]
    monkeypatch.setattr(tp, 'profile', Fixed)
    assert scaling.profile_steps(w.lm_trainer(), 2) == dict(parts=dict(forward=4.), ops={'aten::mm': 2.}, steps=2)

def test_threads_come_back_after_a_launch(monkeypatch):
    import accelerate
    from ulmfit_nb import scaling
    def alone(fn, args, num_processes): torch.set_num_threads(1); torch.save(0, Path(args[1])/'0.pt')
    monkeypatch.setattr(accelerate, 'debug_launcher', alone)
    was = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert scaling.launch(print, n=1, device='cpu') == [0] and torch.get_num_threads() == 2
    finally: torch.set_num_threads(was)

def test_memory_is_in_megabytes():
    from ulmfit_nb.scaling import resident_mb
    assert 20 < resident_mb() < 20_000

@pytest.mark.parametrize('status', [None, 'Name:\tpython\nVmRSS:\t 90000 kB\n']) # Windows and macOS; a Linux that does not tell mapped files apart
def test_memory_where_the_system_says_less(status, tmp_path, monkeypatch):
    from ulmfit_nb import scaling
    if status: (tmp_path/'status').write_text(status)
    monkeypatch.setattr(scaling, 'Path', lambda name: tmp_path/'status')
    import psutil # itself it asks for it on Linux
    monkeypatch.setitem(sys.modules, 'resource', None) # as on Windows
    assert 20 < scaling.resident_mb() < 20_000

def test_a_profile_that_is_refused_freezes_nothing():
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.scaling import profile_steps
    from ulmfit_nb.optimizers import Phase, TrainConfig
    from ulmfit_nb.training import Trainer
    m = LanguageModel(AWDLSTM(20, (4, 4, 2)))
    t = Trainer(m, LMBatches(Corpus.from_docs([[2, 3, 4, 5]*5], 20), 1, 5), [Phase(1, 1e-3, 1)], TrainConfig(device='cpu'), progress=False)
    with pytest.raises(InputError, match='a profile of 50 steps'): profile_steps(t, 50)
    assert all(p.requires_grad for p in m.parameters())
