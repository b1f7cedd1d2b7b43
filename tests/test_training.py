"The loop and the three stages: what must stay true whatever is changed."
import json, math, os, warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ulmfit_nb.awd_lstm import AWDLSTM, CLAS_DROPOUTS, LM_DROPOUTS, NO_DROPOUT, LanguageModel
from ulmfit_nb.batches import ClasBatches, pad_docs
from ulmfit_nb.bpt3c import TextClassifier, chunk_ends
from ulmfit_nb.classifier import PRECISIONS, RECIPES, clas_metrics, finetune_classifier, predict_logits, recipe_phases
from ulmfit_nb.corpus import InputError
from ulmfit_nb.fine_tuning import finetune_lm, transfer_vocab
from ulmfit_nb.ids import Corpus
from ulmfit_nb.int8 import Int8Weights, fbgemm, int8_model, largest_int8
from ulmfit_nb.language_model import LMBatches, lm_metrics, perplexity, pretrain, train_lm
from ulmfit_nb.optimizers import NTASGD, Phase, TrainConfig, group_rates
from ulmfit_nb.runtime import Progress, use_bf16
from ulmfit_nb.tokenization import Tokenizer
from ulmfit_nb.training import Batch, NonFiniteLoss, Trainer

pytestmark = pytest.mark.usefixtures('one_thread')
GPU = pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')) # the same check on both: without a GPU the CPU rehearses it

CPU = TrainConfig(device='cpu', precision='float32')
SIZE = (12, 20, 2)

def corpus(n=40, vocab=50, seed=0, longest=60):
    "Documents of random ids: BOS, then words of which each is likely to follow the one before."
    rng = np.random.default_rng(seed)
    docs = [np.r_[2, (np.cumsum(rng.integers(0, 3, rng.integers(1, longest))) + rng.integers(40)) % (vocab-5) + 5] for _ in range(n)]
    return Corpus.from_docs([d.astype(np.int32) for d in docs], vocab)

def lm(vocab=50, drops=LM_DROPOUTS, seed=0):
    torch.manual_seed(seed)
    return LanguageModel(AWDLSTM(vocab, SIZE, drops))

def equal(a, b): return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))

# ---- batches ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('bs,bptt,variable,backward', [(1, 7, False, False), (4, 10, True, False), (7, 70, True, True), (64, 3, False, False), (1000, 70, True, False)])
def test_every_token_is_a_target_once(bs, bptt, variable, backward):
    c = corpus()
    src = LMBatches(c, bs, bptt, variable=variable, backward=backward)
    for epoch in range(2):
        cols = [[] for _ in range(src.bs)]
        for b in src.batches(epoch):
            x, t = b.inputs['ids'].numpy(), b.inputs['targets'].numpy()
            assert b.n == (t >= 0).sum() and x.min() >= 0
            for col, xs, ts in zip(cols, x, t): col += list(zip(xs[ts >= 0], ts[ts >= 0]))
        stream = [cols[0][0][0]]
        for col in cols:
            assert col[0][0] == stream[-1]                  # a stream begins where the one before ends
            for x, t in col: assert x == stream[-1]; stream.append(t)
        perm = src._order(epoch)[0]
        want = np.concatenate([np.r_[c[i][:1], c[i][:0:-1]] if backward else c[i] for i in perm])
        assert np.array_equal(stream, want)
        assert sorted(perm) == list(range(len(c)))

def test_epochs_differ_and_seeds_repeat():
    c = corpus()
    first = lambda seed, epoch: next(iter(LMBatches(c, 4, seed=seed).batches(epoch))).inputs['ids']
    a, b = first(0, 0), first(0, 1)
    assert a.shape != b.shape or not torch.equal(a, b)
    assert torch.equal(first(3, 2), first(3, 2))

def test_rate_is_rescaled_by_the_length():
    for b in LMBatches(corpus(), 2, 20).batches(): assert b.lr_scale == b.inputs['ids'].shape[1]/20

# ---- resume -----------------------------------------------------------------------------------------------------

def lm_trainer(path, opt='adam', accumulate=1):
    c = corpus(120)
    cfg,s = replace(CPU, opt=opt, accumulate=accumulate, eval_every=3),'constant' if opt == 'ntasgd' else 'stlr'
    held = LMBatches(corpus(8, seed=1), 4, variable=False, shuffle=False)
    return Trainer(lm(), LMBatches(c, 8, 12), [Phase(1.5, .01 if opt == 'adam' else 1., schedule=s), Phase(1, .004, train=1, schedule=s)], cfg, lambda m: lm_metrics(m, held), path, progress=False)

def clas_trainer(path, **_):
    c = corpus(60)
    model = TextClassifier(lm(seed=1).backbone, 3, CLAS_DROPOUTS*.5, bptt=15, max_len=40)
    src = ClasBatches([c[i] for i in range(len(c))], np.arange(60) % 3, 8)
    return Trainer(model, src, recipe_phases('freez', 4, 5), replace(CPU, clip=1.), None, path, progress=False)

@pytest.mark.parametrize('make,kw', [(lm_trainer, {}), (lm_trainer, dict(opt='ntasgd')), (lm_trainer, dict(accumulate=3)), (clas_trainer, {})])
def test_interrupted_and_resumed_equals_uninterrupted(make, kw, tmp_path):
    whole = make(tmp_path/'whole', **kw)
    whole.fit()
    part = make(tmp_path/'part', **kw)
    cuts = [2, 5, whole.step//2, whole.step-2]
    for k in cuts:
        spent = part.seconds
        part.fit(steps=k)
        assert part.step == k and not part.done and part.seconds > spent # time adds up over the calls
        torch.manual_seed(99)                               # whatever happens in between
        part = make(tmp_path/'part', **kw)
        assert part.resume()
    part.fit()
    assert part.done and part.step == whole.step
    assert equal(whole.model, part.model)
    strip = lambda h: [{k: v for k, v in r.items() if k != 'seconds' and not k.endswith('/s')} for r in h]
    assert strip(whole.history) == strip(part.history)
    assert (tmp_path/'part'/'history.csv').read_text().count('\n') == len(whole.history)+1

@pytest.mark.parametrize('device', ['cpu', GPU])
def test_an_interruption_costs_no_more_than_the_device_does(device, tmp_path):
    "Kernels of a GPU may add in an order that changes: two whole runs say how much that is; on a CPU nothing."
    def make(path=None):
        t = lm_trainer(path)
        return Trainer(t.model, t.source, t.phases, replace(t.cfg, device=device), t.evaluate, path, progress=False)
    one, two = make(), make()
    one.fit(); two.fit()
    for k in (7, 14, None):
        t = make(tmp_path)
        t.resume(); t.fit(steps=k)
        torch.manual_seed(99) # the GPU's too
    gap = lambda a, b: max((x-y).abs().max().item() for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True))
    assert t.done and gap(one, t) <= 10*gap(one, two) and next(t.model.parameters()).device.type == device

@pytest.mark.parametrize('device', ['cpu', GPU])
def test_bfloat16_trains_as_float32_does(device):
    held = LMBatches(corpus(8, seed=1), 4, variable=False, shuffle=False)
    def loss(precision, on=device):
        t = Trainer(lm(drops=NO_DROPOUT), LMBatches(corpus(120), 8, 12), [Phase(6, .03)], TrainConfig(device=on, precision=precision), progress=False)
        first = lm_metrics(t.model, held)['valid_loss']
        t.fit()
        return first, lm_metrics(t.model, held)['valid_loss']
    (first, f32), (_, b16) = loss('float32'), loss('bf16')
    assert first - f32 > .3 and b16 == pytest.approx(f32, abs=.05) and f32 == pytest.approx(loss('float32', 'cpu')[1], abs=.05)

def test_two_runs_with_one_seed_are_equal(tmp_path):
    a, b = lm_trainer(None), lm_trainer(None)
    a.fit(); b.fit()
    assert equal(a.model, b.model)

def test_a_run_that_goes_on_shows_what_it_had_shown(tmp_path, capsys):
    def run(steps=None):
        t = lm_trainer(tmp_path)
        t.progress = Progress()
        t.resume(); t.fit(steps=steps)
        return t, [l.split() for l in capsys.readouterr().out.splitlines()]
    _, first = run(7)
    t, (told, *rest) = run()
    assert told == 'Goes on after step 7'.split()
    assert first and rest[:len(first)] == first and rest[0][:2] == ['epoch', 'step'] # the names of the columns once
    assert [l[1] for l in rest if l[0] != 'epoch'] == [str(r['step']) for r in t.history]
    assert run()[1] == rest # a run that has ended
    t.fit()
    assert not capsys.readouterr().out # told once

def test_a_log_file_gets_lines_in_place_of_a_bar(tmp_path, capsys):
    t = lm_trainer(tmp_path)
    t.progress = Progress(every=0.)
    t.fit(steps=2)
    out = capsys.readouterr()
    n = t.source.n_batches(0)
    assert [l.split(',')[0] for l in out.out.splitlines()] == [f'epoch 1: {k} of {n} steps' for k in (1, 2)] and not out.err
    t.progress.every = 3600.
    t.fit(steps=4)
    assert 'steps' not in capsys.readouterr().out # now and then

def test_resume_refuses_other_settings(tmp_path):
    lm_trainer(tmp_path).fit(steps=2)
    with pytest.raises(InputError, match='other settings'): lm_trainer(tmp_path, opt='sgd').resume()

def _once(path, texts=0, drops=LM_DROPOUTS, alpha=2.): # same lengths, whatever the texts
    c = corpus(20, seed=3)
    model = LanguageModel(AWDLSTM(50, SIZE, drops), alpha)
    return Trainer(model, LMBatches(Corpus.from_docs([np.r_[d[:1], (d[1:]-5+texts)%45+5] for d in map(c.__getitem__, range(20))], 50), 4, 10), [Phase(1)], CPU, path=path, progress=False)

@pytest.mark.parametrize('other', [dict(texts=1), dict(drops=NO_DROPOUT), dict(alpha=0.)])
def test_resume_refuses_other_texts_and_another_model(other, tmp_path):
    _once(tmp_path).fit(steps=2)
    assert _once(tmp_path).resume()
    with pytest.raises(InputError, match='other settings or other data'): _once(tmp_path, **other).resume()

def test_classifier_resume_refuses_other_texts(tmp_path):
    ds,y = [np.r_[2, np.full(9, k)] for k in range(5, 25)],np.arange(20)%2
    make = lambda docs: Trainer(TextClassifier(lm().backbone, 2), ClasBatches(docs, y, 8), [Phase(2)], CPU, path=tmp_path, progress=False)
    make(ds).fit(steps=2)
    with pytest.raises(InputError, match='other data'): make(ds[::-1]).resume()

def test_an_interrupted_step_leaves_nothing_behind(tmp_path):
    whole,part = (lm_trainer(tmp_path/k) for k in 'ab')
    whole.fit()
    part.fit(steps=4)
    step,part.opt.step = part.opt.step,lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt): part.fit()
    part.resume(); part.fit()
    assert equal(whole.model, part.model)

def test_numbers_of_numpy_go_into_a_checkpoint(tmp_path):
    make = lambda: Trainer(lm(), LMBatches(corpus(), 4, 10), [Phase(1)], replace(CPU, eval_every=2), lambda m: dict(valid_loss=np.float64(1.5), f1=np.float32(.5)), tmp_path, False)
    make().fit(steps=5)
    t = make()
    assert t.resume() and t.history[0]['f1'] == .5
    t.load_best()

@pytest.mark.parametrize('kw', [dict(lr=np.float64(.01)), dict(lr=np.float32(.01)), dict(div=np.float64(2.6)), dict(div=(np.float32(1),)*3), dict(schedule_args=dict(cut_frac=np.float64(.1)))])
def test_rates_of_numpy_go_into_a_checkpoint(tmp_path, kw):
    make = lambda: Trainer(lm(), LMBatches(corpus(), 4, 10), [Phase(**kw)], replace(CPU, eval_every=2, betas=(np.float64(.8), np.float64(.99)), wd=np.float64(.01)), None, tmp_path, False)
    make().fit(steps=5)
    t = make()
    assert t.resume() and t.step == 5 and type(t.history[0]['lr']) is float
    t.fit()

def test_best_weights_that_no_evaluation_found(tmp_path):
    t = Trainer(lm(), LMBatches(corpus(), 4, 10), [Phase(1)], CPU, lambda m: dict(valid_loss=math.nan), tmp_path, False)
    t.fit()
    with pytest.raises(InputError, match='no evaluation has found a finite'): t.load_best()

def test_only_a_gpu_is_given_tensors_without_waiting(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.Tensor, 'to', lambda self, device, non_blocking: seen.append(non_blocking) or self)
    for d in ('cuda', 'cuda:1', torch.device('cuda'), 'mps', 'cpu'): Batch(dict(x=torch.zeros(1)), 1).to(d)
    assert seen == [True, True, True, False, False]

def test_a_gpu_that_is_named_is_the_one_that_is_used(monkeypatch):
    "Accelerate's handle says cuda alone."
    from types import SimpleNamespace
    from ulmfit_nb import training
    monkeypatch.setattr(training, 'get_accelerator', lambda device: SimpleNamespace(device=torch.device('cuda')))
    monkeypatch.setattr(torch.nn.Module, 'to', lambda self, device: self)
    assert str(lm_trainer_on('cuda:1').device) == 'cuda:1' and str(lm_trainer_on(torch.device('cuda', 1)).device) == 'cuda:1'
    assert str(lm_trainer_on('cuda').device) == str(lm_trainer_on(None).device) == 'cuda'

def lm_trainer_on(device): return Trainer(lm(), LMBatches(corpus(), 4, 10), cfg=replace(CPU, device=device, precision='float32'), progress=False)

@pytest.mark.filterwarnings('ignore:Seems like')
def test_a_history_row_holds_the_rate_that_was_used():
    used = []
    t = Trainer(lm(), LMBatches(corpus(), 4, 10, variable=False), [Phase(2, .01, div=1.)], CPU, progress=False)
    t._begin()
    step = t.opt.step
    t.opt.step = lambda: (used.append(t.opt.param_groups[-1]['lr']), step())
    t.fit()
    assert [r['lr'] for r in t.history] == [used[len(used)//2-1], used[-1]] and used[-1] == pytest.approx(.01/32)

def test_steps_are_counted_in_all(tmp_path):
    t = lm_trainer(tmp_path)
    for _ in range(3): t.fit(steps=5)
    assert t.step == 5

@pytest.mark.parametrize('f,words', [(lambda: Phase(train=(4,)).unfrozen(4), 'no layer group 4'), *((lambda t=t: Phase(train=t).unfrozen(4), 'trains nothing') for t in (0, -1, 'all', (), 2.)), (lambda: TrainConfig(clip=-1.), 'no length'), *((lambda v=v: Phase(lr=v), 'no rate') for v in (-1., math.nan, math.inf)), *((lambda v=v: Phase(v), 'passes') for v in (math.nan, math.inf)),
    *((lambda v=v: group_rates(1., 2, v), 'rates that are none') for v in (0, -2.6, math.nan, (1, -1))), *((lambda v=v: TrainConfig(seed=v), 'no seed') for v in (-1, 1.5, 2**64)), *((lambda k=k: TrainConfig(accumulate=k), 'makes no step') for k in (0, 1.5)),
    (lambda: Trainer(lm(), LMBatches(corpus(), 4), cfg=replace(CPU, opt='ntasgd')), 'held-out'), (lambda: train_lm(lm(), corpus(), corpus(seed=1), [Phase(schedule='constant'), Phase()], replace(CPU, opt='ntasgd')), "constant rate, and a phase has the schedule 'stlr'"), (lambda: Trainer(lm(), LMBatches(corpus(), 4), cfg=CPU).resume(), 'give path'),
    (lambda: Trainer(lm(), LMBatches(corpus(), 4), cfg=CPU).load_best(), 'give path')])
def test_what_cannot_be_meant_is_refused(f, words):
    with pytest.raises(InputError, match=words): f()

def test_the_settings_of_a_run_are_what_json_can_hold(): # they are stored beside the weights
    t = Trainer(lm(), LMBatches(corpus(), 4), [Phase(np.float64(2), .01, np.array([0, -1]), (1/3, np.float32(.5), 1., 1.)), Phase(schedule='constant')], replace(CPU, wd=None), progress=False)
    s = t.settings
    assert json.loads(json.dumps(s)) == s and s['cfg'] == dict(opt='adam', betas=[.8, .99], wd=.01, clip=.3, accumulate=1, precision='float32', device='cpu', seed=0, eval_every=0, save_minutes=5.)
    assert s['phases'][0] == dict(epochs=2., lr=.01, train=[0, -1], div=[1/3, .5, 1., 1.], schedule='stlr', schedule_args={}) and s['phases'][1]['schedule'] == 'constant'

def test_groups_weight_decay_and_copies():
    from copy import deepcopy
    assert Phase(train=(3, -1, 2, 2)).unfrozen(4) == [3, 2]
    assert TrainConfig().weight_decay == .01 and TrainConfig(opt='ntasgd').weight_decay == 1.2e-6 and TrainConfig(opt='ntasgd', wd=.1).weight_decay == .1
    assert replace(TrainConfig(), opt='ntasgd').weight_decay == 1.2e-6                   # the default goes with the optimiser
    opt = NTASGD([nn.Parameter(torch.ones(1))], n=1)
    opt.observe(1.); opt.observe(2.)
    assert deepcopy(opt).averaging == opt.averaging and deepcopy(opt).losses == [1., 2.]

@pytest.mark.parametrize('emulated', [True, False])
def test_a_gpu_that_only_emulates_bfloat16_does_not_count(emulated, monkeypatch):
    from contextlib import nullcontext
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: including_emulation or not emulated)
    monkeypatch.setattr(torch.cuda, 'device', lambda d: nullcontext())
    assert use_bf16('auto', torch.device('cuda', 0)) is not emulated

@pytest.mark.parametrize('bptt', [1, 2, 4, 10, 70])
def test_lengths_are_bptt_on_average(bptt):
    n = LMBatches(corpus(4000), 1, bptt).lengths(0)
    assert np.mean(n[:-1]) == pytest.approx(bptt*.975, rel=.12)

def test_damaged_checkpoint(tmp_path):
    lm_trainer(tmp_path).fit(steps=2)
    f = tmp_path/'last.pt'
    f.write_bytes(f.read_bytes()[:1000])
    with pytest.raises(InputError, match='damaged'): lm_trainer(tmp_path).resume()

@pytest.mark.parametrize('sig', ['SIGINT', 'SIGTERM'])
def test_a_request_to_stop_ends_the_step_and_saves(sig, tmp_path):
    import os, signal
    whole = lm_trainer(tmp_path/'whole'); whole.fit()
    t, seen = lm_trainer(tmp_path/'part'), []
    step, handlers = t.train_batch, [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    def asked(*args):
        seen.append(1)
        if len(seen) == 3: os.kill(os.getpid(), getattr(signal, sig))
        return step(*args)
    t.train_batch = asked
    with pytest.raises(KeyboardInterrupt): t.fit()
    assert t.step == 3 and [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    again = lm_trainer(tmp_path/'part')
    assert again.resume() and again.step == 3
    again.fit()
    assert all(torch.equal(a, b) for a, b in zip(whole.model.state_dict().values(), again.model.state_dict().values()))

def test_a_second_ctrl_c_stops_at_once(tmp_path):
    import os, signal
    t, after = lm_trainer(tmp_path), []
    def impatient(*args):
        for _ in range(2): os.kill(os.getpid(), signal.SIGINT)
        after.append(1)
    t.train_batch = impatient
    with pytest.raises(KeyboardInterrupt): t.fit()
    assert not after and not (tmp_path/'last.pt').exists()

@pytest.mark.skipif(os.name != 'posix', reason='whether a process lives is asked on POSIX only')
def test_what_killed_processes_left_goes_when_it_is_old(tmp_path):
    import subprocess, sys, time
    from ulmfit_nb.runtime import atomic
    p = subprocess.Popen([sys.executable, '-c', '']); p.wait()
    old = [tmp_path/f'.last.pt.12345678.{p.pid}.tmp', tmp_path/f'.last.pt.87654321.{p.pid}.tmp']
    stay = [tmp_path/f'.last.pt.12345678.{os.getpid()}.tmp', tmp_path/f'.best.pt.12345678.{p.pid}.tmp', tmp_path/f'.last.pt.{p.pid}.tmp', tmp_path/'.last.pt.mine.tmp', tmp_path/f'.last.pt.aaaaaaaa.{p.pid}.tmp']
    old[1].mkdir()
    for f in (old[0], old[1]/'inside', *stay): f.write_text('x')
    for f in (*old, *stay[:-1]): os.utime(f, (time.time()-3600,)*2)
    with atomic(tmp_path/'last.pt') as tmp: tmp.write_text('whole')
    assert {*tmp_path.iterdir()} == {tmp_path/'last.pt', *stay} and (tmp_path/'last.pt').read_text() == 'whole'

def test_checkpoint_runs_no_code(tmp_path):
    import pickle
    class Evil:
        def __reduce__(self): return (exec, ('raise SystemExit(7)',))
    (tmp_path/'last.pt').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match='damaged'): lm_trainer(tmp_path).resume()

# ---- freezing ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('recipe', RECIPES)
def test_each_phase_trains_exactly_its_groups(recipe):
    c = corpus(30)
    model = TextClassifier(lm().backbone, 2, CLAS_DROPOUTS*.5, 15, 40)
    src = ClasBatches([c[i] for i in range(30)], np.arange(30) % 2, 8)
    phases = recipe_phases(recipe, 4, 6)
    t = Trainer(model, src, phases, CPU, progress=False)
    for i, ph in enumerate(phases):
        before = [[p.detach().clone() for p in g] for g in t.groups]
        while t.phase == i: t.fit(steps=t.step+1)
        moved = [any(not torch.equal(p, q) for p, q in zip(g, old)) for g, old in zip(t.groups, before)]
        assert [j for j, m in enumerate(moved) if m] == ph.unfrozen(4)
    thaw = [[3], [2, 3], [1, 2, 3], [0, 1, 2, 3]]
    want = dict(freez=thaw, full=[[0, 1, 2, 3]], last=[[3]], **{'from-scratch': [[0, 1, 2, 3]], 'freez-fall': thaw, 'scripts': [[3], [2, 3], [0, 1, 2, 3]], 'chain-thaw': [[3], [0], [1], [2], [0, 1, 2, 3]]})
    assert [ph.unfrozen(4) for ph in phases] == want[recipe]
    if recipe == 'freez-fall': assert [ph.lr for ph in phases] == pytest.approx([.02, .01, .005, .001])
    assert all(p.requires_grad for p in model.parameters())

# ---- prediction -------------------------------------------------------------------------------------------------

def test_prediction_depends_on_the_text_alone():
    rng = np.random.default_rng(0)
    docs = [np.r_[2, rng.integers(5, 50, n-1)] for n in (1, 69, 70, 71, 1400, 5000, 3, 140, 1401, 20)]
    torch.manual_seed(0)
    model = TextClassifier(AWDLSTM(50, SIZE), 3).eval()
    model.backbone.encoder.weight.data.normal_()           # make every token matter
    alone = torch.cat([predict_logits(model, [d]) for d in docs])
    for bs in (2, 3, 10):
        for order in (np.arange(10), rng.permutation(10)):
            got = predict_logits(model, [docs[i] for i in order], bs)
            torch.testing.assert_close(got, alone[order], atol=1e-5, rtol=0)
    ids, lengths = pad_docs(docs)
    torch.testing.assert_close(model(ids, lengths), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(model(torch.cat([ids, torch.ones(10, 500, dtype=torch.long)], 1), lengths), alone, atol=1e-5, rtol=0)

def test_every_token_in_the_window_is_read():
    torch.manual_seed(0)
    model = TextClassifier(AWDLSTM(50, SIZE), 2).eval()
    model.backbone.encoder.weight.data.normal_()
    doc = np.r_[2, np.random.default_rng(0).integers(5, 50, 19)]
    base = predict_logits(model, [doc, np.full(100, 7)])[0]
    for i in range(len(doc)):
        other = doc.copy(); other[i] = 5 + (doc[i]-4) % 45
        assert not torch.equal(predict_logits(model, [other, np.full(100, 7)])[0], base)

def test_padding_gets_zero_gradient():
    torch.manual_seed(0)
    model = TextClassifier(AWDLSTM(50, SIZE), 2, CLAS_DROPOUTS*.5)
    rng = np.random.default_rng(0)
    ids, lengths = pad_docs([rng.integers(5, 50, n) for n in (4, 150, 71, 9)])
    embedded = []
    hook = model.backbone.encoder.register_forward_hook(lambda m, i, o: (o.retain_grad(), embedded.append((i[0], o))) and None)
    model(ids, lengths, torch.tensor([0, 1, 0, 1])).loss.backward()
    hook.remove()
    assert model.backbone.encoder.weight.grad[1].abs().sum() == 0
    for i, o in embedded:
        assert o.grad[i == 1].abs().sum() == 0
        assert o.grad[i != 1].abs().sum() > 0

@pytest.mark.parametrize('full', [False, True])
def test_window_limits_what_is_pooled_but_not_what_is_read(full):
    torch.manual_seed(0)
    model = TextClassifier(AWDLSTM(50, SIZE, NO_DROPOUT), 2, NO_DROPOUT, bptt=10, max_len=25, full_bptt=full)
    doc = torch.randint(5, 50, (2, 60))
    seen = []
    hook = model.backbone.encoder.register_forward_hook(lambda m, i, o: seen.append(o.requires_grad))
    pooled = model.pool(doc, torch.tensor([60, 60]))
    hook.remove()
    h = model.backbone(doc)[0][-1][:, -25:]
    want = torch.cat([h[:, -1], h.amax(1), h.mean(1)], 1)
    torch.testing.assert_close(pooled, want)
    assert seen == [False]*3 + [True]*(2 if full else 3)    # no graph before the chunk in which the windows begin; behind it chunks may grow where gradients go on

def test_gradients_stop_at_a_chunk_unless_asked_for():
    doc = torch.randint(5, 50, (1, 40), generator=torch.Generator().manual_seed(0))
    def reached(full):
        torch.manual_seed(0)
        model, seen = TextClassifier(AWDLSTM(50, SIZE, NO_DROPOUT), 2, NO_DROPOUT, bptt=10, full_bptt=full), []
        hook = model.backbone.encoder.register_forward_hook(lambda m, i, o: (o.retain_grad(), seen.append(o))[1])
        last = model.pool(doc, torch.tensor([40]))[:, :model.backbone.emb_sz] # the last state alone
        hook.remove(); last.sum().backward()
        return [bool(o.grad is not None and o.grad.any()) for o in seen]
    assert reached(False) == [False]*3 + [True] and all(reached(True))

@pytest.mark.parametrize('max_len', [1000, 25, 7])
@pytest.mark.parametrize('lengths', [(41, 40, 39, 23, 10, 10, 3, 1), (10, 10, 4), (7, 5, 2), (90, 55, 30, 1)])
def test_chunks_side_by_side_train_the_same(max_len, lengths):
    rng, sided = np.random.default_rng(0), []
    docs = [rng.integers(5, 50, n) for n in rng.permutation(lengths)]
    def gradients(side_by_side):
        torch.manual_seed(0)
        model = TextClassifier(AWDLSTM(50, SIZE, skip=True), 3, CLAS_DROPOUTS*.5, bptt=10, max_len=max_len, side_by_side=side_by_side).train()
        hook = model.backbone.encoder.register_forward_hook(lambda m, i, o: sided.append((side_by_side, o.requires_grad)))
        torch.manual_seed(1) # of the masks
        out = model(*pad_docs(docs), torch.arange(len(docs)) % 3)
        hook.remove(); out.loss.backward()
        return out.logits, [p.grad for p in model.parameters()], model
    logits, grads, _ = gradients(False)
    beside, others, model = gradients(True)
    assert sided.count((True, True)) == 1 # one call with a graph, however many chunks there are
    torch.testing.assert_close(beside, logits, atol=1e-5, rtol=1e-4)
    most = max(g.abs().max().item() for g in grads)
    for a, b in zip(grads, others): torch.testing.assert_close(a, b, atol=1e-5*most, rtol=1e-4)
    torch.testing.assert_close(predict_logits(model, docs, 3), predict_logits(gradients(False)[2], docs, 1), atol=1e-5, rtol=0)

def test_last_batch_of_one_trains():
    c = corpus(33)
    src = ClasBatches([c[i] for i in range(33)], np.arange(33) % 2, 32)
    sizes = [len(b.inputs['labels']) for b in src.batches()]
    assert sum(sizes) == 33 and min(sizes) >= 2 and len(sizes) == src.n_batches(0)
    finetune_classifier(TextClassifier(lm().backbone, 2), src.docs, src.labels, epochs=1, bs=32, cfg=CPU, progress=False)

@pytest.mark.parametrize('stage', [1, 2, 3])
def test_a_seed_that_is_given_is_the_seed_of_everything(stage):
    "The stage's own `seed` goes before that of `cfg`; left out, that of `cfg` holds. Order and dropout both go by it."
    c = corpus(33)
    def weights(cfg_seed, **seed):
        kw = dict(cfg=replace(CPU, seed=cfg_seed), bs=8, progress=False) | seed
        torch.manual_seed(0)
        if stage == 1: t = pretrain(c, size=(8, 12, 2), bptt=10, **kw)
        elif stage == 2: t = finetune_lm(lm(), c, bptt=10, **kw)
        else: t = finetune_classifier(TextClassifier(lm().backbone, 2), [c[i] for i in range(33)], np.arange(33) % 2, epochs=1, **kw)
        return torch.cat([p.detach().flatten() for p in t.model.parameters()])
    assert torch.equal(weights(0, seed=3), weights(3)) and torch.equal(weights(3, seed=0), weights(0)) and not torch.equal(weights(0), weights(3))

def test_no_batch_of_one_and_no_empty_document():
    from ulmfit_nb.batches import split_even
    for n in range(2, 12):
        for bs in range(2, 6):
            parts = split_even(np.arange(n), bs)
            assert min(map(len, parts)) >= 2 and np.array_equal(np.concatenate(parts), np.arange(n))
    with pytest.raises(InputError): pad_docs([np.array([2, 5]), np.array([], np.int32)])

# ---- faults -----------------------------------------------------------------------------------------------------

def test_non_finite_loss_stops_and_keeps_the_last_checkpoint(tmp_path):
    t = lm_trainer(tmp_path)
    t.fit(steps=3)
    t.model.backbone.rnns[0].weight_ih_l0.data[0, 0] = math.nan
    with pytest.raises(NonFiniteLoss, match='not finite at step'): t.fit()
    u = lm_trainer(tmp_path)
    u.resume()
    assert u.step == 3 and all(torch.isfinite(p).all() for p in u.model.parameters())

def test_a_broken_weight_that_no_loss_has_met_reaches_no_checkpoint(tmp_path):
    t = lm_trainer(tmp_path)
    t.fit(steps=3)
    files = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    t.model.backbone.rnns[0].weight_ih_l0.data[0, 0] = math.nan
    with pytest.raises(NonFiniteLoss, match='last checkpoint'): t.save()
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == files

@pytest.mark.parametrize('value', [math.inf, math.nan, 3e38])
@pytest.mark.parametrize('clip', [.3, None])
def test_a_broken_gradient_is_no_gradient(tmp_path, value, clip):
    def run(broken):
        t = lm_trainer(tmp_path/str(broken))
        t.cfg = replace(t.cfg, clip=clip)
        t.model.bias.register_hook(lambda g: g.index_fill(0, torch.arange(2), value) if t.step in broken else g)
        t.fit()
        return t
    t = run([2])
    assert all(torch.isfinite(p).all() for p in t.model.parameters()) and math.isfinite(t.history[-1]['train_loss'])
    assert not torch.equal(t.model.bias, run([]).model.bias)
    with pytest.raises(NonFiniteLoss, match='10 gradients in a row'): run(range(100))

def test_best_and_last_are_kept(tmp_path):
    t = lm_trainer(tmp_path)
    t.fit()
    best = min(r['valid_loss'] for r in t.history)
    t.load_best()
    assert lm_metrics(t.model, LMBatches(corpus(8, seed=1), 4, variable=False, shuffle=False))['valid_loss'] == pytest.approx(best, abs=1e-6)

def test_ntasgd_averages_once_progress_stops():
    p = nn.Parameter(torch.tensor([1.]))
    opt = NTASGD([p], lr=.1, n=2)
    def step(): p.grad = torch.tensor([p.item()*0 + 1.]); opt.step()
    for loss in (5., 4., 3., 2.): opt.observe(loss); step()
    assert not opt.averaging
    for loss in (2.5, 2.6): opt.observe(loss)
    assert not opt.averaging                                # 2.6 is better than 3., the best of those two checks ago and before
    opt.observe(2.7)                                        # worse than 2.
    assert opt.averaging
    start = p.item()
    for _ in range(4): step()
    with opt.averaged(): assert p.item() == pytest.approx(np.mean([start-.1*k for k in range(1, 5)]))
    assert p.item() == pytest.approx(start-.4)

def test_accumulation_equals_the_larger_batch():
    c = corpus(32, longest=30)
    docs, labels = [c[i] for i in range(32)], np.arange(32) % 2
    def run(bs, acc):
        torch.manual_seed(0)
        model = TextClassifier(AWDLSTM(50, SIZE, NO_DROPOUT), 2, NO_DROPOUT)
        model.head = nn.Sequential(nn.Identity(), nn.Identity(), nn.Linear(36, 2))
        src = ClasBatches(docs, labels, bs)
        order = next(iter(ClasBatches(docs, labels, 32).batches())).inputs
        src.batches = lambda epoch, skip=0: iter([type(b)(dict(ids=order['ids'][i:i+bs], lengths=order['lengths'][i:i+bs], labels=order['labels'][i:i+bs]), bs) for i in range(0, 32, bs) for b in [next(iter(ClasBatches(docs, labels, 32).batches()))]])
        Trainer(model, src, [Phase(1, .1, schedule='constant')], replace(CPU, opt='sgd', accumulate=acc, clip=None, wd=0), progress=False).fit()
        return torch.cat([p.detach().ravel() for p in model.parameters()])
    torch.testing.assert_close(run(8, 4), run(32, 1), atol=1e-6, rtol=1e-5)

@pytest.mark.filterwarnings('ignore:Seems like')
def test_the_last_group_of_an_epoch_may_be_smaller():
    src = LMBatches(corpus(30, seed=2), 2, 10)
    t = Trainer(lm(drops=NO_DROPOUT), src, [Phase(1, 1., div=1., schedule='constant')], replace(CPU, opt='sgd', accumulate=4, clip=None, wd=0, betas=(0., .9)), progress=False)
    t._begin()
    rates,scales,grads = [],[b.lr_scale for b in src.batches()],[]
    assert len(scales)%4
    t.opt.step = lambda: (rates.append(t.opt.param_groups[0]['lr']), grads.append(t.model.bias.grad.clone()))
    t.fit()
    assert rates == pytest.approx([np.mean(scales[i:i+4]) for i in range(0, len(scales), 4)])
    state,last = None,[] # the weights never move, so the last group's gradient can be had by hand
    model = lm(drops=NO_DROPOUT).train()
    for i,b in enumerate(src.batches()):
        out = model(**b.inputs, state=state)
        state = [tuple(s.detach() for s in l) for l in out.state]
        if i >= len(scales)//4*4: last.append(torch.autograd.grad(out.loss, model.bias)[0])
    torch.testing.assert_close(grads[-1], sum(last)/len(last), atol=1e-6, rtol=1e-4)

# ---- where chunks end, and int8 -----------------------------------------------------------------------------------

KERNELS = [True, False] if fbgemm() else [False]              # with FBGEMM, and as where it is missing

def random_docs(lens, seed=0):
    rng = np.random.default_rng(seed)
    return [np.r_[2, rng.integers(5, 50, n-1)] for n in lens]

def decided(size=SIZE, skip=False, pool='concat', n_classes=3, **kw):
    "A classifier for which every token matters."
    torch.manual_seed(0)
    model = TextClassifier(AWDLSTM(50, size, skip=skip), n_classes, pool=pool, **kw).eval()
    model.backbone.encoder.weight.data.normal_()
    return model

@pytest.mark.parametrize('slack,room', [(0, 2**14), (1, 50), (128, 1), (128, 2**14), (10**9, 10**9)])
def test_chunks_end_in_order_within_their_bounds(slack, room):
    rng = np.random.default_rng(0)
    for lens in ([1], [5000], [7]*40, *(np.sort(rng.integers(1, 400, n))[::-1] for n in (2, 30, 256))):
        lens = np.asarray(lens)
        ends = chunk_ends(lens, slack, room)
        assert ends[-1] == lens.max() and ends[0] > 0 and all(a < b for a, b in zip(ends, ends[1:]))
        for a, b in zip([0, *ends], ends):
            rows = (lens > a).sum()
            assert rows*(b-a) - (np.minimum(lens, b)-a).clip(0).sum() <= slack and (rows*(b-a) <= room or b == a+1)

@pytest.mark.parametrize('pool', ['concat', 'attention'])
def test_scores_do_not_depend_on_where_chunks_end(pool):
    docs, model = random_docs((300, 141, 140, 71, 70, 69, 2, 1)), decided(pool=pool, max_len=90)
    ids, lengths = pad_docs(docs)
    with torch.inference_mode():
        want = model(ids, lengths)
        for ends in ([300], [1, 2, 300], [90, 210, 300], [*range(1, 301)], chunk_ends([len(d) for d in docs], 0)):
            torch.testing.assert_close(model(ids, lengths, ends=ends), want, atol=1e-5, rtol=0)

@pytest.mark.parametrize('max_len', [5, 33, 90, 1400])
@pytest.mark.parametrize('pool', ['concat', 'attention'])
def test_gradients_do_not_depend_on_how_far_chunks_grow(max_len, pool):
    docs, model = random_docs((300, 141, 140, 71, 70, 69, 2, 1)), decided(pool=pool, max_len=max_len, bptt=30).train()
    model.full_bptt = True
    def grads(ends=None):
        torch.manual_seed(3)                                # masks are drawn once a batch, wherever chunks end
        model.zero_grad()
        model(*pad_docs(docs), torch.arange(8) % 3, ends).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])
    lens = sorted(map(len, docs), reverse=True)
    cuts, every = model.cuts(lens), [*range(30, 330, 30)]
    before = -(-max(0, 300-max_len)//30)                    # chunks until the last window has begun
    assert cuts[:before] == every[:before] and cuts[-1] >= 300 and all(a < b for a, b in zip(cuts, cuts[1:])) and len(cuts) <= len(every)
    assert max_len < 90 or len(cuts) < len(every)
    want = grads(every)
    torch.testing.assert_close(grads(), want, atol=1e-5*want.abs().max().item(), rtol=1e-4)

@pytest.mark.parametrize('bytes_', KERNELS)
@pytest.mark.parametrize('size,skip,pool', [(SIZE, False, 'concat'), ((16, 33, 3), True, 'concat'), ((16, 16, 2), True, 'attention'), ((1, 1, 1), False, 'concat')])
def test_int8_stays_near_and_keeps_neighbours_out(size, skip, pool, bytes_, monkeypatch):
    if not bytes_: monkeypatch.setattr('ulmfit_nb.int8.fbgemm', lambda: False)
    docs, model = random_docs((1, 69, 70, 71, 1500, 3, 140, 20)), decided(size, skip, pool)
    if skip:
        for r in model.backbone.rnns: r.skip.data.uniform_(-1, 1)
    want, rng = predict_logits(model, docs).softmax(1), np.random.default_rng(0)
    alone = torch.cat([predict_logits(model, [d], precision='int8') for d in docs]).softmax(1)
    assert (alone-want).abs().max() < 2e-2
    for bs in (2, 3, 8):
        for order in (np.arange(8), rng.permutation(8)):
            assert (predict_logits(model, [docs[i] for i in order], bs, precision='int8').softmax(1)-alone[order]).abs().max() < 2e-3

def test_an_extreme_neighbour_does_not_change_int8():
    "A range taken from the whole batch would let it."
    model, doc = decided(), random_docs((40,))[0]
    model.backbone.encoder.weight.data[7] = 1000.
    alone = predict_logits(model, [doc[doc != 7]], precision='int8')
    beside = predict_logits(model, [doc[doc != 7], np.full(40, 7)], precision='int8')[:1]
    assert (alone-beside).abs().max() < 2e-3

@pytest.mark.parametrize('n', [12, 16, 400])
@pytest.mark.parametrize('bytes_', KERNELS)
def test_int8_products_do_not_depend_on_how_many_rows_there_are(n, bytes_, monkeypatch):
    if not bytes_: monkeypatch.setattr('ulmfit_nb.int8.fbgemm', lambda: False)
    torch.manual_seed(0)
    w, h = torch.randn(4*n, n), torch.rand(40, n).mul_(2).sub_(1)
    product = Int8Weights(w)
    step = w.abs().amax(1)/largest_int8()
    assert largest_int8() in ((63, 127) if bytes_ else (127,))
    torch.testing.assert_close(product.scale, step)
    whole = torch.ops.quantized.linear_unpack(product.packed)[0].int_repr().float() if bytes_ else product.weight[:, :n].float()
    assert ((whole-w/step[:, None]).abs() < .5001).all()    # rounded to the nearest
    ours = (h*127.5).round().clamp(-128, 127)/127.5 if bytes_ else h.bfloat16().float()
    exact = ours.double() @ (whole*step[:, None]).double().T
    for rows in (1, 3, 16, 17, 40):
        assert ((product(h[:rows])-exact[:rows]).abs() <= (1e-4 if bytes_ else exact[:rows].abs()*2**-7 + 1e-2)).all()
    assert torch.equal(product(h[:16]), torch.cat([product(h[i:i+1]) for i in range(16)]))
    assert not bytes_ or torch.equal(product(h), torch.cat([product(h[i:i+1]) for i in range(40)]))
    long = h*torch.logspace(-3, 3, 40)[:, None]             # each row of another length: all equally near
    if bytes_: assert ((product.any_range(long)-long@(whole*step[:, None]).T).norm(dim=1) < .01*(long@w.T).norm(dim=1)).all() and torch.equal(product.any_range(long), torch.cat([product.any_range(long[i:i+1]) for i in range(40)]))

@pytest.mark.parametrize('n', [2, 4, 64, 1152])
@pytest.mark.skipif(not fbgemm(), reason='this torch has no FBGEMM')
def test_the_largest_products_do_not_overflow(n):
    "Two bytes times two bytes are added in 16 bits on processors that have nothing better."
    product = Int8Weights(torch.tensor([[1.]*n, [-1.]*n]))
    for h in (1., -1.): torch.testing.assert_close(product(torch.full((1, n), h)), torch.tensor([[h*n, -h*n]]), rtol=.01, atol=0)

@pytest.mark.parametrize('opt,accumulate', [('sgd', 1), ('adam', 1), ('adam', 3)])
def test_a_step_that_was_broken_off_without_a_folder_is_taken_again(opt, accumulate):
    part, whole = (lm_trainer(None, opt, accumulate) for _ in range(2))
    for t in (part, whole): t.model.backbone.drops = NO_DROPOUT
    whole.fit(steps=6)
    part.fit(steps=4)
    step, part.opt.step = part.opt.step, lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt): part.fit()
    part.opt.step = step
    part.fit(steps=6)
    assert equal(part.model, whole.model) if accumulate == 1 else part.step == 6 and part.batch == whole.batch

def test_an_evaluation_that_breaks_off_takes_no_step_twice():
    def make():
        t = lm_trainer(None, accumulate=4)
        t.cfg,t.phases = replace(t.cfg, eval_every=None),[Phase(2, .01)]
        t.model.backbone.drops = NO_DROPOUT
        return t
    whole,part = make(),make()
    whole.fit()
    assert whole.source.n_batches(0)%4 # the last group of an epoch is a smaller one
    evaluate,part.evaluate = part.evaluate,lambda m: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt): part.fit()
    part.evaluate = evaluate
    part.fit()
    assert equal(part.model, whole.model) and [r['step'] for r in part.history] == [r['step'] for r in whole.history]
    assert [r['train_loss'] for r in part.history] == [r['train_loss'] for r in whole.history]

def test_a_run_that_begins_is_not_taken_for_the_one_before(tmp_path):
    lm_trainer(tmp_path).fit()
    assert (tmp_path/'last.pt').exists()
    new = lm_trainer(tmp_path)
    new.train_batch = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt) # killed before it has saved anything
    with pytest.raises(KeyboardInterrupt): new.fit()
    assert not lm_trainer(tmp_path).resume() and not (tmp_path/'history.csv').exists() # whose rows would stand beside another run's checkpoint

def test_a_row_of_the_history_counts_passes_and_no_evaluations():
    t = lm_trainer(None)
    t.phases = [Phase(.5, .01)]
    was,clock = t.evaluate,[0.]
    def slow(m): clock[0] += 1000.1; return was(m) # a tenth more than is asked for below: the seconds of a row are rounded to tenths
    t.evaluate = slow
    import ulmfit_nb.training as T
    real = T.time
    class Clock: monotonic = staticmethod(lambda: real.monotonic() + clock[0])
    T.time = Clock
    try: rows = t.fit()
    finally: T.time = real
    n = t.source.n_batches(0)
    assert [r['epoch'] for r in rows] == [round(r['step']/n, 3) for r in rows] and rows[-1]['step'] == math.ceil(n/2)
    assert min(r['tokens/s'] for r in rows) > 1. and rows[-1]['seconds'] > 1000*len(rows)

@pytest.mark.parametrize('stage', ['language model', 'classifier'])
def test_resume_refuses_other_held_out_data(stage, tmp_path):
    c, docs = corpus(60), lambda s: ([c[i] for i in range(s, s+8)], np.arange(8) % 3)
    def run(k):
        if stage == 'language model': return pretrain(c, corpus(8, seed=k), SIZE, epochs=1, cfg=CPU, bs=8, bptt=12, minutes=0., path=tmp_path, resume=True, progress=False)
        model = TextClassifier(lm(seed=1).backbone, 3)
        return finetune_classifier(model, [c[i] for i in range(60)], np.arange(60) % 3, docs(k), epochs=2, bs=8, cfg=CPU, minutes=0., path=tmp_path, resume=True, progress=False)
    first = run(1).step
    assert run(1).step > first
    with pytest.raises(InputError, match='other data'): run(2)

def test_int8_leaves_the_model_as_it_was():
    model, docs = decided(), random_docs((9, 30))
    model.train()
    before, engine = {k: v.clone() for k, v in model.state_dict().items()}, torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter('error')                      # no deprecation reaches the user
        made = int8_model(model)
        predict_logits(model, docs, precision='int8')
    assert all(m.training for m in model.modules()) and before.keys() == model.state_dict().keys() and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert int8_model(made) is made and made.head[0].weight is model.head[0].weight and made.backbone.encoder.weight is model.backbone.encoder.weight
    torch.testing.assert_close(predict_logits(made, docs, precision='int8'), predict_logits(model, docs, precision='int8'))
    assert torch.backends.quantized.engine == engine

@pytest.mark.parametrize('bytes_', KERNELS)
def test_int8_whatever_the_default_device_is_and_without_gradients(bytes_, monkeypatch):
    if not bytes_: monkeypatch.setattr('ulmfit_nb.int8.fbgemm', lambda: False)
    model, ids = lm(), torch.arange(2, 12)[None]
    with torch.device('meta'): made = int8_model(model)
    with torch.no_grad(): torch.testing.assert_close(made(ids)[0], int8_model(model)(ids)[0])
    with pytest.raises(InputError, match='no_grad'): made(ids)

def test_int8_models_are_made_again_for_another_window():
    from ulmfit_nb.classifier import Predictor
    p = Predictor()
    p.models_ = dict(forward=decided(max_len=40))
    first = p._int8()['forward']
    assert p._int8()['forward'] is first
    p.models_['forward'].max_len = 2
    assert p._int8()['forward'].max_len == 2
    p.models_['forward'].head = nn.Sequential(*p.models_['forward'].head)
    assert p._int8()['forward'].head[0] is not first.head[0]

def test_labels_that_are_held_out_may_be_of_any_whole_type():
    c = corpus(12)
    docs = [c[i] for i in range(12)]
    t = finetune_classifier(TextClassifier(lm(seed=1).backbone, 3), docs, np.arange(12) % 3, (docs, (np.arange(12) % 3).astype(np.int32)), epochs=1, bs=4, cfg=CPU, progress=False)
    assert 'accuracy' in t.history[-1]

def test_int8_of_zeros_and_bad_precisions(monkeypatch):
    model, docs = decided(), random_docs((5,))
    for r in model.backbone.rnns: r.weight_hh_l0.data.zero_(); r.weight_ih_l0.data.zero_()
    torch.testing.assert_close(predict_logits(model, docs, precision='int8'), predict_logits(model, docs), atol=1e-5, rtol=0)
    for bad in ('int4', '', None, True):
        with pytest.raises(InputError, match='unknown precision'): predict_logits(model, docs, precision=bad)
    with pytest.raises(InputError, match='on a CPU'): int8_model(decided().to('meta'))
    monkeypatch.setattr('ulmfit_nb.int8.fbgemm', lambda: False)
    monkeypatch.delattr(torch, '_weight_int8pack_mm')
    with pytest.raises(InputError, match='choose float32 or bf16'): predict_logits(model, docs, precision='int8')
    assert {*PRECISIONS} == {'float32', 'bf16', 'int8'}

def test_the_estimator_rounds_weights_once_and_again_when_they_change():
    from ulmfit_nb.ulmfit import ULMFiT
    clf = ULMFiT()
    clf.models_ = dict(forward=decided())
    first = clf._int8()
    assert clf._int8() is first
    with torch.no_grad(): clf.models_['forward'].backbone.rnns[0].weight_ih_l0.mul_(2)
    second = clf._int8()
    assert second is not first and clf._int8() is second
    t = Trainer(clf.models_['forward'], ClasBatches([np.arange(2, 9)]*4, [0, 1, 0, 1], 4), [Phase(1, .01)], CPU, progress=False)
    t.fit() # by a fused optimiser
    third = clf._int8()
    assert third is not second and clf._int8() is third
    clf.models_ = dict(forward=decided())
    assert clf._int8() is not second

@pytest.mark.parametrize('docs,labels,words', [([3]*4, [0, 1, 0, 3], 'no class 3 among 3'), ([3]*4, [0, -100, 0, 1], 'no class -100'), ([3, 99, 3, 3], [0, 1, 0, 1], 'an id of 99'), ([], [], 'no documents'), ([3]*4, [0, 1], '4 documents and 2 labels')])
def test_documents_that_do_not_fit_the_classifier(docs, labels, words):
    "On a GPU such an id, or label, would end the process; held out or not."
    ok,bad = ([np.array([2, 3])]*4, [0, 1, 0, 1]),([np.array([2, i]) for i in docs],labels)
    for train,valid in ((bad, None), (ok, bad)):
        with pytest.raises(InputError, match=words): finetune_classifier(clas(), *train, valid=valid, epochs=1, cfg=CPU, progress=False)

def test_ids_that_the_vocabulary_lacks_are_not_predicted_for():
    with pytest.raises(InputError, match='an id of 99'): predict_logits(clas(), [np.array([2, 99])])

@pytest.mark.parametrize('kw', [dict(max_len=0), dict(bptt=0), dict(max_len=-5)])
def test_windows_and_chunks_hold_a_token(kw):
    with pytest.raises(InputError, match='1 or more each'): TextClassifier(AWDLSTM(20, (4, 6, 1)), 2, **kw)

@pytest.mark.parametrize('width', [2, 36])
def test_what_is_made_of_pooled_states_has_any_width(width):
    m,docs = clas(),[np.array([2, 3, 4])[:n] for n in (1, 3, 2)]
    pooled = predict_logits(m, docs, head=lambda p: p)
    res = predict_logits(m, docs, 2, head=lambda p: torch.cat([p, p], 1)[:, :width])
    assert torch.equal(res, torch.cat([pooled, pooled], 1)[:, :width])
    (res.requires_grad_().sum()*2).backward() # an ordinary tensor

def test_held_out_documents_are_scored_whatever_the_default_device_is():
    m,docs,ys = clas(),[np.array([2, 3, 4])]*3,[0, 1, 2]
    want = clas_metrics(m, docs, ys)
    with torch.device('meta'): assert clas_metrics(m, docs, ys) == want
    with torch.device('meta'): assert predict_logits(m, docs, precision='int8').device.type == 'cpu'

def clas(): return TextClassifier(AWDLSTM(20, (12, 6, 2), drops=NO_DROPOUT), 3)

@pytest.mark.parametrize('kind', ['cuda', 'mps'])
def test_random_numbers_of_a_gpu_are_kept(monkeypatch, kind):
    from ulmfit_nb.runtime import rng_states, set_rng_states
    kept,lib = {},getattr(torch, kind)
    monkeypatch.setattr(lib, 'get_rng_state', lambda *d: torch.tensor([1, 2, 3], dtype=torch.uint8))
    monkeypatch.setattr(lib, 'set_rng_state', lambda s, *d: kept.update(state=s.tolist()))
    states = rng_states(torch.device(kind))
    set_rng_states(states, torch.device(kind))
    assert kept == dict(state=[1, 2, 3])
    set_rng_states(states[:1], torch.device(kind)) # of a run on a CPU
    def wrong(s, *d): raise RuntimeError('RNG state is wrong size')
    monkeypatch.setattr(lib, 'set_rng_state', wrong)
    monkeypatch.setattr(lib, 'manual_seed', lambda seed: kept.update(seed=seed))
    set_rng_states(states, torch.device(kind)) # of another kind of GPU: the CPU's numbers stay where they were
    assert kept['seed'] == torch.initial_seed() and torch.equal(torch.get_rng_state(), states[0])

# ---- precision --------------------------------------------------------------------------------------------------

ASKED = '_is_avx512_bf16_supported', '_is_amx_tile_supported'

@pytest.mark.parametrize('has', [(), ASKED[:1], ASKED[1:], ASKED])
def test_auto_precision_asks_the_cpu(monkeypatch, has):
    cpu = torch.device('cpu')
    for name in ASKED: monkeypatch.setattr(torch.cpu, name, lambda yes=name in has: yes, raising=False)
    assert use_bf16('auto', cpu) is bool(has) and use_bf16('bf16', cpu) is True and use_bf16('float32', cpu) is False
    assert use_bf16('auto', torch.device('meta')) is False

def test_a_torch_that_cannot_tell_means_float32(monkeypatch):
    def broken(): raise RuntimeError('no such capability')
    for name in ASKED: monkeypatch.setattr(torch.cpu, name, broken, raising=False)
    assert use_bf16('auto', torch.device('cpu')) is False
    for name in ASKED: monkeypatch.delattr(torch.cpu, name)
    assert use_bf16('auto', torch.device('cpu')) is False

def test_a_part_of_a_step_waits_for_the_gpu_only_while_somebody_measures(monkeypatch):
    from ulmfit_nb import training
    done = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: done.append(f'waited for {device}'))
    with training.step_part('forward'): pass
    assert done == []
    monkeypatch.setattr(training.step_part, 'wait', 'cuda:1')
    with training.step_part('forward'): done.append('worked')
    assert done == ['worked', 'waited for cuda:1']

@pytest.mark.parametrize('at', [3, 4, 5])
def test_a_group_that_was_broken_off_begins_with_its_own_state_and_losses(at):
    def make():
        c = corpus(120)
        return Trainer(lm(drops=NO_DROPOUT), LMBatches(c, 8, 12), [Phase(1, .01)], replace(CPU, accumulate=3), progress=False)
    part, whole = make(), make()
    forward, calls = part.model.forward, []
    def fails(*a, **k):
        calls.append(1)
        if len(calls) == at+1: raise KeyboardInterrupt
        return forward(*a, **k)
    part.model.forward = fails
    with pytest.raises(KeyboardInterrupt): part.fit()
    part.fit(); whole.fit()
    assert equal(part.model, whole.model) and [r['train_loss'] for r in part.history] == [r['train_loss'] for r in whole.history]

def test_a_checkpoint_of_another_shape_belongs_to_another_run(tmp_path):
    docs, ys = [c for c in corpus(24)], np.arange(24)%2
    def fit(n_classes, resume=False, **kw): return finetune_classifier(TextClassifier(lm().backbone, n_classes, **kw), docs, ys, recipe='full', epochs=1, bs=8, cfg=CPU, path=tmp_path, resume=resume, progress=False)
    fit(2)
    for other in (lambda: fit(3, True), lambda: fit(2, True, n_hidden=7), lambda: fit(2, True, pool='attention')):
        with pytest.raises(InputError, match='other settings'): other()
    assert fit(2, True).done

def test_the_best_weights_are_those_of_this_run(tmp_path):
    held = LMBatches(corpus(8, seed=1), 4, variable=False, shuffle=False)
    def run(evaluate):
        t = Trainer(lm(), LMBatches(corpus(), 8, 12), [Phase(1, .01)], CPU, evaluate, tmp_path, progress=False)
        t.fit()
        return t
    run(lambda m: lm_metrics(m, held)).load_best()
    with pytest.raises(InputError, match='does not exist'): run(None).load_best()

def test_other_lengths_are_another_source():
    "The same numbers of documents and of tokens, and the same documents where the sample is taken."
    a = [np.r_[2, np.full(5, 7)] for _ in range(1000)]
    b = list(a)
    b[1], b[2] = b[1][:-1], np.r_[b[2], 7]
    assert LMBatches(Corpus.from_docs(a, 50), 4).key != LMBatches(Corpus.from_docs(b, 50), 4).key
    assert LMBatches(Corpus.from_docs(a, 50), 4).key == LMBatches(Corpus.from_docs(list(a), 50), 4).key

def test_batches_of_no_document_are_refused():
    model = TextClassifier(lm().backbone, 2)
    for bs in (0, -1):
        with pytest.raises(InputError, match='predicts nothing'): predict_logits(model, [np.r_[2, 5]], bs)

def test_prediction_leaves_the_modes_of_all_modules():
    model = TextClassifier(lm().backbone, 2).train()
    model.backbone.eval() # frozen, its dropout off
    was = [m.training for m in model.modules()]
    predict_logits(model, [np.r_[2, 5]])
    assert [m.training for m in model.modules()] == was

def test_a_file_that_is_replaced_keeps_who_may_read_it(tmp_path):
    from ulmfit_nb.runtime import atomic
    f = tmp_path/'x'; f.write_text('old'); f.chmod(0o600)
    with atomic(f) as tmp: tmp.write_text('new')
    assert f.read_text() == 'new' and f.stat().st_mode & 0o777 == 0o600

# ---- stopping early, and reading from several threads ------------------------------------------------------------------

def labelled(n=40, seed=0):
    docs = list(corpus(n, seed=seed))
    return docs,[i%2 for i in range(n)]

def test_layers_are_free_after_a_run_that_was_stopped(tmp_path):
    (docs,ys),model = labelled(),TextClassifier(AWDLSTM(50, SIZE), 2)
    t = Trainer(model, ClasBatches(docs, ys, 8), recipe_phases('freez', 4, 3), CPU, None, tmp_path/'t', False, unit='texts')
    for steps in (2, 3): # in the phase of the head alone, and again
        t.fit(steps=steps)
        assert not t.done and t.phase == 0 and all(p.requires_grad for p in model.parameters())
    before = {k: v.clone() for k,v in model.backbone.state_dict().items()}
    t.fit(steps=4)
    assert t.phase == 0 and all(torch.equal(v, before[k]) for k,v in model.backbone.state_dict().items()) # frozen while it trains, all the same

def test_one_held_out_document_is_enough(tmp_path):
    docs,ys = labelled(8)
    for path in (None, tmp_path/'t'):
        t = finetune_classifier(TextClassifier(AWDLSTM(50, SIZE), 2), docs, ys, valid=([docs[0]], [0]), epochs=1, bs=4, cfg=CPU, progress=False, path=path)
        assert t.history[-1]['accuracy'] in (0., 1.)
    with pytest.raises(InputError, match='other data'): finetune_classifier(TextClassifier(AWDLSTM(50, SIZE), 2), docs, ys, valid=([docs[0]], [1]), epochs=1, bs=4, cfg=CPU, progress=False, path=path, resume=True)

def test_several_threads_read_a_model_that_was_being_trained():
    from concurrent.futures import ThreadPoolExecutor
    (docs,_),model = labelled(60),TextClassifier(AWDLSTM(50, SIZE), 2).train()
    alone,stats = predict_logits(model, docs, 8),model.head[0].running_mean.clone()
    with ThreadPoolExecutor(4) as ex: got = [*ex.map(lambda i: predict_logits(model, docs[i*5:], 8), range(8))]
    for i,g in enumerate(got): torch.testing.assert_close(g, alone[i*5:], atol=1e-5, rtol=0)
    assert torch.equal(model.head[0].running_mean, stats) and all(m.training for m in model.modules())

@pytest.mark.parametrize('others', [0., 1.])
def test_all_processes_compute_in_the_same_number_format(others, monkeypatch):
    import ulmfit_nb.training as T
    monkeypatch.setattr(T, 'world', lambda: (0, 2)); monkeypatch.setattr(T, 'joint_sum', lambda *xs: [x+others for x in xs])
    t = Trainer(lm(), LMBatches(corpus(), 4, 10), [Phase(1, 1e-3)], replace(CPU, precision='bf16'), None, None, False)
    assert t.bf16 is (others == 1.)

# ---- small faults that no test above would show ----------------------------------------------------------------

@pytest.mark.filterwarnings('ignore:Seems like')
def test_the_whole_gradient_is_clipped():
    def lengths(clip):
        t,res = Trainer(lm(drops=NO_DROPOUT), LMBatches(corpus(30), 4, 10), cfg=replace(CPU, opt='sgd', clip=clip), progress=False),[]
        t._begin()
        t.opt.step = lambda: res.append(torch.cat([p.grad.flatten() for p in t.params]).norm().item())
        t.fit(steps=5)
        return res
    assert min(lengths(None)) > .02 and lengths(.01) == pytest.approx([.01]*5, rel=1e-3)

def test_each_optimiser_gets_its_settings():
    from ulmfit_nb.optimizers import make_optimizer
    def group(opt, **kw): return make_optimizer(TrainConfig(opt=opt, betas=(.7, .95), **kw), [dict(params=[nn.Parameter(torch.ones(2))], lr=.1)]).param_groups[0]
    assert (group('adam', wd=.3)['betas'], group('adam', wd=.3)['weight_decay'], group('adam')['weight_decay']) == ((.7, .95), .3, .01)
    assert (group('sgd', wd=.3)['momentum'], group('sgd', wd=.3)['weight_decay'], group('sgd')['weight_decay']) == (.7, .3, .01)
    assert (group('ntasgd', wd=.3)['weight_decay'], group('ntasgd')['weight_decay']) == (.3, 1.2e-6)

@pytest.mark.filterwarnings('ignore:Seems like')
def test_the_training_loss_is_the_mean_over_tokens():
    "Of the likelihood alone, and each token counts once, however long its batch is."
    src = LMBatches(corpus(30), 3, 10)
    t = Trainer(lm(drops=NO_DROPOUT), src, [Phase(1)], CPU, progress=False)
    t._begin()
    t.opt.step = lambda: None
    assert len(set(src.lengths(0))) > 1 and t.fit()[0]['train_loss'] == pytest.approx(lm_metrics(lm(drops=NO_DROPOUT), src)['valid_loss'], rel=1e-5)

def test_an_epoch_begins_without_a_state_and_an_evaluation_without_dropout():
    src,seen,held = LMBatches(corpus(30), 4, 20),[],[]
    t = Trainer(lm(), src, [Phase(2)], CPU, lambda m: held.append(m.training) or dict(valid_loss=1.), progress=False)
    t.model.register_forward_pre_hook(lambda m, args, kw: seen.append((m.training, kw['state'] is None)), with_kwargs=True)
    t.fit()
    assert held == [False]*2 and all(training for training,_ in seen)
    assert [i for i,(_,fresh) in enumerate(seen) if fresh] == [0, src.n_batches(0)]

def test_ntasgd_evaluates_and_leaves_the_averaged_weights():
    held,losses = [],iter([1., 2., 3., 4., 5., 6., 7., 8., 9.]*9)
    t = Trainer(lm(), LMBatches(corpus(30), 4, 10), [Phase(4, 1., schedule='constant')], replace(CPU, opt='ntasgd', eval_every=2), lambda m: held.append(m.bias.detach().clone()) or dict(valid_loss=next(losses)), progress=False)
    t.fit(steps=25)
    mean = t.opt.state[t.model.bias]['mean'].clone()
    assert t.opt.averaging and not torch.equal(t.model.bias, mean)
    t.record(0.)
    assert torch.equal(held[-1], mean) and not torch.equal(t.model.bias, mean)
    t.fit()
    assert torch.equal(held[-1], t.model.bias)

def test_a_schedule_ends_with_its_run_however_many_batches_make_a_step():
    for k in (1, 3): assert Trainer(lm(), LMBatches(corpus(30), 4, 10), [Phase(2, .01)], replace(CPU, accumulate=k), progress=False).fit()[-1]['lr'] == pytest.approx(.01/32)

def test_evaluations_are_counted_in_steps():
    t = Trainer(lm(), LMBatches(corpus(40), 2, 10), [Phase(1)], replace(CPU, accumulate=4, eval_every=3), lambda m: dict(valid_loss=1.), progress=False)
    assert [r['step'] for r in t.fit()] == [*range(3, t.step, 3), t.step]

def test_the_recipe_of_the_scripts():
    "A rate that rises for a third of an epoch while layers thaw, then for an eighth of the rest, and falls to an eighth."
    assert [(ph.epochs, ph.schedule_args) for ph in recipe_phases('scripts', 4, 6)] == [(1, dict(ratio=8, cut_frac=1/3))]*2 + [(4, dict(ratio=8, cut_frac=1/8))]

def test_settings_of_the_schedule_reach_every_phase():
    for recipe in RECIPES: assert all(ph.schedule_args | dict(cut_frac=.4) == ph.schedule_args for ph in recipe_phases(recipe, 4, 6, schedule_args=dict(cut_frac=.4)))

def test_a_classifier_backward_is_judged_backward(tmp_path):
    docs,ys,model = random_docs((9, 30, 17, 5)),np.array([0, 1, 2, 0]),decided()
    turned = [np.r_[d[:1], d[:0:-1]] for d in docs]
    assert clas_metrics(model, docs, ys, backward=True)['valid_loss'] == pytest.approx(clas_metrics(model, turned, ys)['valid_loss'], rel=1e-4) != clas_metrics(model, docs, ys)['valid_loss']
    torch.testing.assert_close(predict_logits(model, docs, backward=True, head=nn.Identity()), predict_logits(model, turned, head=nn.Identity()), atol=1e-5, rtol=0)
    t,b = (finetune_classifier(decided(), docs, ys, (docs, ys), 'last', 1, bs=2, path=tmp_path/str(way), backward=way, progress=False) for way in (False, True))
    assert t.cfg.clip == 25. and t.evaluate.key != b.evaluate.key

def test_dropouts_of_the_head():
    assert [m.p for m in TextClassifier(AWDLSTM(50, SIZE), 3, CLAS_DROPOUTS*.3).head if isinstance(m, nn.Dropout)] == [CLAS_DROPOUTS.output*.3, .1]

def test_penalties_are_those_of_training():
    "AR of all states in the window, TAR of the steps within a chunk; padding counts in neither, nor does evaluation."
    model,docs = decided(bptt=10, drops=NO_DROPOUT, alpha=2., beta=1.),random_docs((20, 10, 4))
    given = *pad_docs(docs),torch.tensor([0, 1, 2])
    H = [model.backbone(torch.from_numpy(d[None]))[0][-1][0] for d in docs]
    steps = torch.cat([h.diff(dim=0) for h in (H[0][:10], H[0][10:], *H[1:])])
    out = model(*given)
    assert out.loss == out.nll
    model.train().head.eval()
    out = model(*given)
    torch.testing.assert_close(out.loss-out.nll, 2*torch.cat(H).pow(2).mean() + steps.pow(2).mean(), atol=1e-5, rtol=1e-5)

def test_masks_are_drawn_for_a_document_or_for_each_chunk():
    def drawn(masks):
        model,rows = decided(bptt=10, masks=masks).train(),[]
        draw = model.backbone.sample_masks
        model.backbone.sample_masks = lambda n: rows.append(n) or draw(n)
        model(*pad_docs(random_docs((25, 12))))
        return rows
    assert (drawn('document'), drawn('chunk')) == ([2], [2, 2, 1])

def test_another_epoch_has_another_order_and_another_direction_other_rows():
    docs = random_docs(range(1, 61))
    def batches(backward=False, epoch=0): return [b.inputs['ids'] for b in ClasBatches(docs, [0, 1]*30, 4, 0, backward).batches(epoch)]
    assert [len(i[0]) for i in batches(epoch=0)] != [len(i[0]) for i in batches(epoch=1)]
    assert all(torch.equal(a[:, :1], b[:, :1]) and not torch.equal(a, b) for a,b in zip(batches()[:5], batches(True)[:5]))
    assert ClasBatches(docs, [0, 1]*30).key != ClasBatches(docs, [0, 1]*30, backward=True).key

def test_an_int8_model_predicts_and_the_first_goes_on_training():
    model = decided().train()
    assert not any(m.training for m in int8_model(model).modules()) and all(m.training for m in model.modules())

def test_each_precision_is_used():
    model,docs = decided(),random_docs((9, 30))
    plain,half = (predict_logits(model, docs, precision=p) for p in ('float32', 'bf16'))
    assert not torch.equal(plain, half)
    torch.testing.assert_close(half, plain, atol=.05, rtol=0)

def test_the_seed_is_that_of_the_order_too():
    c,seen = corpus(33),[]
    for s in (0, 1): seen.append(pretrain(c, size=(8, 12, 1), epochs=.1, bs=8, bptt=10, cfg=replace(CPU, seed=s), progress=False).source)
    assert [s.seed for s in seen] == [0, 1]

def test_steps_into_padding_are_no_steps():
    from ulmfit_nb.bpt3c import penalty_sums
    x,keep = torch.tensor([[[1.], [3.], [9.]]]),torch.tensor([[[True], [True], [False]]])
    assert penalty_sums(x, keep).tolist() == [10, 2, 4, 1] and penalty_sums(x, keep.flip(1)).tolist() == [90, 2, 36, 1]

def test_the_longest_document_comes_first():
    "Whatever memory an epoch needs, it needs at once."
    from ulmfit_nb.batches import sortish_batches
    for seed in range(5): assert 299 in sortish_batches(np.arange(300), 2, np.random.default_rng(seed))[0]

def test_exact_products_last_as_long_as_somebody_asks(monkeypatch):
    from ulmfit_nb.runtime import full_float32
    rnn = torch.backends.cudnn.rnn
    monkeypatch.setattr(rnn, 'fp32_precision', 'tf32')
    with full_float32():
        with full_float32(): pass
        assert rnn.fp32_precision == 'ieee'
    assert rnn.fp32_precision == 'tf32'

def test_memory_is_that_of_the_container(tmp_path):
    from ulmfit_nb.runtime import total_memory
    for n,s in dict(a='max', b='1048576').items(): (tmp_path/n).write_text(s + '\n')
    assert total_memory([tmp_path/'a', tmp_path/'none', tmp_path/'b']) == 2**20 < total_memory([tmp_path/'a'])

def test_what_a_living_process_writes_is_not_swept(tmp_path):
    import os, subprocess, sys
    from ulmfit_nb.runtime import sweep
    p = subprocess.Popen([sys.executable, '-S', '-c', '']); p.wait()
    for pid in (p.pid, os.getpid()):
        (f := tmp_path/f'.m.pt.0123abcd.{pid}.tmp').write_text(''); os.utime(f, (0, 0))
    sweep(tmp_path/'m.pt')
    assert [f.name for f in tmp_path.iterdir()] == [f'.m.pt.0123abcd.{os.getpid()}.tmp']

def test_a_history_has_all_columns_and_keeps_its_rights(tmp_path):
    from ulmfit_nb.runtime import write_history
    (f := tmp_path/'h.csv').write_text(''); f.chmod(0o600)
    write_history([dict(step=1, train_loss=2.), dict(step=2, accuracy=.5)], f)
    assert f.read_text().split() == ['step,train_loss,accuracy', '1,2.0,', '2,,0.5'] and f.stat().st_mode & 0o777 == 0o600

def test_what_is_left_goes_by_the_steps_of_this_run(capsys):
    import time
    p = Progress()
    p.epoch, p.at, p.begun = (10, 6, 'epoch 1'), 8, time.monotonic()-120 # a minute a step, two to go
    p._log(1.)
    assert capsys.readouterr().out == 'epoch 1: 8 of 10 steps, loss 1.000, about 2 minutes left of it\n'

def test_a_second_signal_ends_at_once_and_handlers_come_back():
    import signal
    from ulmfit_nb.processes import asked_to_stop
    was = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with asked_to_stop() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGTERM)
        assert asked()
        with pytest.raises(KeyboardInterrupt): signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == was

def test_what_is_asked_for_goes_before_what_is_there(monkeypatch):
    from ulmfit_nb.runtime import on_cpu, or_best
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert (or_best('cpu'), or_best(None)) == ('cpu', 'cuda')
    with torch.device('meta'), on_cpu(): assert torch.zeros(1).device.type == 'cpu'

def test_another_process_is_told_its_threads_and_says_what_went_wrong(monkeypatch):
    import io, json
    from ulmfit_nb import processes
    told = {}
    class Pipe(io.BytesIO):
        def close(self): told.update(json.loads(self.getvalue()))
    class Popen:
        returncode,poll,wait = 1,lambda self: 1,lambda self, s: 1
        def __init__(self, cmd, env, stderr, **kw):
            self.stdin = Pipe(); told.update(env=env['OMP_NUM_THREADS'])
            stderr.write(b'Traceback:\nValueError: no\n')
    monkeypatch.setattr(processes.subprocess, 'Popen', Popen)
    with processes.meanwhile('a:b', dict(c=1), 3) as ended: assert ended() == 'ValueError: no'
    assert (told['env'], told['n_threads'], told['function'], told['kwargs']) == ('3', 3, 'a:b', dict(c=1))

def test_losses_are_drawn_over_steps_and_shown_with_their_digits():
    from ulmfit_nb.runtime import _cell, plot_history
    lines = plot_history([dict(step=5, train_loss=2.), dict(step=9, train_loss=1., valid_loss=1.5)]).axes[0].lines
    assert [l.get_xydata().tolist() for l in lines] == [[[5, 2], [9, 1]], [[9, 1.5]]]
    assert [_cell(*c) for c in (('epoch', 1.5), ('seconds', 2.25), ('step', 1200), ('valid_loss', 1.23456), ('tokens/s', 1234.5), ('perplexity', 123.45))] == ['1.50', '2.2', '1,200', '1.2346', '1,234', '123.5']

def test_memory_is_given_back_when_the_last_has_done(monkeypatch):
    from types import SimpleNamespace
    from ulmfit_nb import runtime
    calls = []
    lib = SimpleNamespace(mallopt=lambda *a: calls.append(a) or 1, malloc_trim=lambda n: calls.append('trim'))
    monkeypatch.setattr(runtime.ctypes, 'CDLL', lambda name: lib)
    with runtime.reuse_memory() as ok:
        with runtime.reuse_memory(): pass
        assert ok and 'trim' not in calls
    assert calls[-1] == 'trim' and calls.count('trim') == 1

def test_only_a_broken_connection_is_a_lost_process():
    from ulmfit_nb.processes import as_lost
    assert as_lost(RuntimeError('shapes do not match')) is None and '--resume' in str(as_lost(RuntimeError('[gloo] Connection closed by peer')))

def test_process_0_may_fail_while_the_others_join(monkeypatch):
    from ulmfit_nb import processes
    def joining(device): raise torch.distributed.DistNetworkError(said)
    monkeypatch.setattr(processes, 'connect', joining)
    for said,kind in (('Connection reset by peer', processes.ProcessLost), ('The client socket has failed to connect to [a]:1', torch.distributed.DistNetworkError)):
        with pytest.raises(kind), processes.main_first('cpu'): pass

def test_devices_are_counted_from_zero(monkeypatch):
    from ulmfit_nb.runtime import check_device
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    for device in ('cuda', 'cuda:0', 'cpu', None): check_device(device)
    with pytest.raises(InputError, match="no device 'cuda:1' here, only cuda"): check_device('cuda:1')

# ---- what the caller had set -----------------------------------------------------------------------------------

def test_what_the_caller_has_frozen_stays_as_it_is(tmp_path):
    m = TextClassifier(lm().backbone, 2)
    w = m.backbone.encoder.weight
    w.requires_grad_(False)
    was,head = w.clone(),m.head[-1].weight.clone()
    finetune_classifier(m, *labelled(), epochs=2, recipe='full', cfg=CPU, path=tmp_path, progress=False)
    assert torch.equal(w, was) and not w.requires_grad and not torch.equal(m.head[-1].weight, head)
    assert all(p.requires_grad for p in m.parameters() if p is not w)
    w.requires_grad_(True) # another run
    with pytest.raises(InputError, match='other settings'): finetune_classifier(m, *labelled(), epochs=2, recipe='full', cfg=CPU, path=tmp_path, resume=True, progress=False)
    for p in m.parameters(): p.requires_grad_(False)
    with pytest.raises(InputError, match='frozen'): finetune_classifier(m, *labelled(), epochs=1, recipe='full', cfg=CPU, progress=False)

def test_autocast_of_the_caller_stays_outside():
    def trained():
        m = lm()
        t = train_lm(m, corpus(), corpus(seed=1), [Phase(1, .01)], CPU, 4, 10, progress=False)
        return m, t.history[-1]['valid_loss'], perplexity(m, corpus(seed=1))
    a,*said = trained()
    with torch.autocast('cpu', torch.bfloat16): b,*again = trained()
    assert equal(a, b) and said == again

def test_phases_of_ones_own_leave_nothing_to_other_arguments():
    with pytest.raises(InputError, match='dvi would do nothing'): finetune_classifier(TextClassifier(lm().backbone, 2), *labelled(), recipe=[Phase(1, .001)], dvi=3, cfg=CPU, progress=False)

def test_the_usual_rate_goes_by_the_optimiser():
    def rate(**kw): return pretrain(corpus(), corpus(seed=1), SIZE, .1, bs=4, bptt=10, cfg=replace(CPU, **kw), progress=False).phases[0].lr
    assert rate() == 4e-3 and rate(opt='ntasgd') == 30
    with pytest.raises(InputError, match='give lr'): rate(opt='sgd')
    for opt in 'sgd','ntasgd':
        with pytest.raises(InputError, match='give lr'): finetune_lm(lm(), corpus(), cfg=replace(CPU, opt=opt), progress=False)

def test_an_evaluation_may_say_more_than_numbers(tmp_path, capsys):
    def evaluate(m): return dict(valid_loss=torch.tensor(1.), table=np.eye(2), names=['a'], nothing=None)
    t = Trainer(lm(), LMBatches(corpus(), 4, 10), [Phase(2, .001)], CPU, evaluate, tmp_path, progress=True)
    t.fit(steps=3); t.fit()
    again = Trainer(lm(), LMBatches(corpus(), 4, 10), [Phase(2, .001)], CPU, evaluate, tmp_path, progress=False)
    assert again.resume() and again.done and again.history[-1]['table'] == [[1, 0], [0, 1]] and again.history[-1]['valid_loss'] == 1

def test_averaging_begins_though_the_first_loss_was_no_number():
    def begins(first):
        o = NTASGD([nn.Parameter(torch.zeros(1))], n=2)
        return [o.observe(l) for l in (first, 3., 2., 5., 6., 7.)]
    assert begins(math.nan) == begins(9.) == [False]*4 + [True]*2

@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_classifiers_of_other_number_formats(dtype):
    docs,ys = labelled()
    m = TextClassifier(lm().backbone, 2).to(dtype)
    assert predict_logits(m, docs).shape == (len(docs), 2)
    finetune_classifier(m, docs, ys, epochs=1, recipe='full', cfg=CPU, progress=False)
    assert m.head[-1].weight.dtype == dtype

def test_the_vocabulary_moves_under_another_default_dtype():
    tok,new = (Tokenizer.train([t]*3, kind='word', min_count=1) for t in ('a cat sat', 'a dog sat'))
    m = lm(tok.vocab_size)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        moved,_ = transfer_vocab(m, tok, new)
        finetune_classifier(TextClassifier(moved.backbone, 2), *labelled_below(new.vocab_size), epochs=1, recipe='full', cfg=CPU, progress=False)
    finally: torch.set_default_dtype(before)
    assert moved.bias.dtype == torch.float32

def labelled_below(n): return [np.random.default_rng(i).integers(2, n, 9) for i in range(8)], [i%2 for i in range(8)]

def test_a_run_that_was_only_resumed_freezes_nothing(tmp_path):
    (docs,ys),m = labelled(),TextClassifier(AWDLSTM(50, SIZE), 2)
    def trainer(): return Trainer(m, ClasBatches(docs, ys, 8), recipe_phases('freez', 4, 3), CPU, None, tmp_path, False, unit='texts')
    trainer().fit(steps=2) # in the phase of the head alone
    t = trainer()
    assert t.resume() and all(p.requires_grad for p in m.parameters())
    t.fit(steps=3)
    assert not t.done and not Trainer(m, ClasBatches(docs, ys, 8), recipe_phases('freez', 4, 3), CPU, progress=False).kept
