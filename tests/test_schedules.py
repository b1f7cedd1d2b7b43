"Schedules: every length of run, stored and resumed state, torch's own schedulers beside ours, and hostile input."
import json, math, warnings
import numpy as np, pytest, torch
from torch import nn
from torch.optim import SGD, Adam, lr_scheduler as torch_schedules
from ulmfit_nb.corpus import InputError
from ulmfit_nb import schedules as S
from ulmfit_nb.finder import range_test, restored
from ulmfit_nb.schedules import (CLR, Constant, Cosine, OneCycle, SGDR, STLR, clr, constant, cosine, make_schedule, one_cycle, one_cycle_mom,
    schedule_curve, sgdr, stlr)

NAMES = 'stlr', 'clr', 'sgdr', 'one_cycle', 'cosine', 'constant'

@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield

def optimizer(cls=SGD, lrs=(0.1, 0.01), **kwargs):
    return cls([dict(params=[nn.Parameter(torch.zeros(2))], lr=lr) for lr in lrs], **kwargs)

def run(sched, n):
    "Rates and momenta (n, 2*groups) of `n` batches."
    out = []
    for _ in range(n):
        groups = sched.optimizer.param_groups
        assert sched.get_last_lr() == [g['lr'] for g in groups]
        out.append([v for g in groups for v in (g['lr'], g['momentum'] if 'momentum' in g else g['betas'][0])])
        sched.optimizer.step()
        sched.step()
    return np.array(out)

# formulas

@pytest.mark.parametrize('cut_frac,ratio', [(0.1, 32), (1/3, 8), (0.9, 2)])
def test_stlr_for_every_length(cut_frac, ratio):
    for T in range(2, 2001):
        r, cut = stlr(np.arange(T), T, cut_frac=cut_frac, ratio=ratio), max(1, math.floor(T*cut_frac))
        assert np.isfinite(r).all() and r.min() >= 0.01/ratio*(1-1e-12) and r.max() <= 0.01*(1+1e-12)
        assert r[0] == pytest.approx(0.01/ratio, rel=1e-12)
        if T > 1: assert r.argmax() == cut and r[cut] == 0.01
        if cut < T-1: assert r[-1] == pytest.approx(0.01/ratio, rel=1e-12)
        assert (np.diff(r[:cut+1]) > 0).all() and (np.diff(r[cut:]) < 0).all()

def test_stlr_smallest():
    assert stlr(0, 1) == pytest.approx(0.01/32) and one_cycle(0, 1) == pytest.approx(0.01)
    assert schedule_curve('stlr', 1) == schedule_curve('one_cycle', 1) == [1.]   # a run of one step trains
    np.testing.assert_allclose(stlr(np.arange(2), 2), [0.01/32, 0.01])
    assert stlr(10**6, 50) == pytest.approx(0.01/32)          # past the end: stays

@pytest.mark.parametrize('f', [lambda t: stlr(t, 50), lambda t: clr(t, 0.1, 1, 7), lambda t: sgdr(t, 9, 2), lambda t: cosine(t, 50), constant,
    lambda t: one_cycle(t, 50), lambda t: one_cycle_mom(t, 50)])
def test_number_in_number_out(f):
    whole = f(np.arange(60))
    assert isinstance(whole, np.ndarray) and whole.shape == (60,) and whole.dtype == float
    for t in range(60):
        assert type(f(t)) is float and f(t) == pytest.approx(whole[t], rel=1e-12)

@pytest.mark.parametrize('T_mult', [1, 1.5, 2, 3, 10])
def test_sgdr_at_each_restart(T_mult):
    start = 0
    for n in range(9):
        assert sgdr(start, 4, T_mult, 1., 0.1) == pytest.approx(1)
        assert sgdr(start + 4*T_mult**n/2, 4, T_mult, 1., 0.1) == pytest.approx(0.55)
        start += 4*T_mult**n

@pytest.mark.parametrize('name', NAMES)
def test_short_runs_are_finite(name):
    for T in range(1, 60):
        c = schedule_curve(name, T)
        assert c.shape == (T,) and np.isfinite(c).all() and c.min() >= 0 and c.max() <= 1 + 1e-12

# schedulers

@pytest.mark.parametrize('kw', [dict(cls=SGD, momentum=0.9), dict(cls=Adam)], ids=['sgd', 'adam'])
@pytest.mark.parametrize('mode', ['triangular', 'triangular2', 'exp_range'])
def test_clr_is_torch_cyclic(kw, mode):
    ours, theirs = CLR(optimizer(**kw), 7, 10, mode, 0.99, moms=(0.8, 0.9)), torch_schedules.CyclicLR(optimizer(**kw), [0.01, 0.001], [0.1, 0.01], 7, mode=mode, gamma=0.99)
    np.testing.assert_allclose(run(ours, 100), run(theirs, 100), atol=1e-14)

@pytest.mark.parametrize('T_0,T_mult', [(10, 1), (5, 2), (1, 3)])
def test_sgdr_is_torch_warm_restarts(T_0, T_mult):
    ours, theirs = SGDR(optimizer(lrs=[.1], momentum=0), T_0, T_mult, 0.1), torch_schedules.CosineAnnealingWarmRestarts(optimizer(lrs=[.1]), T_0, T_mult, eta_min=0.01)
    np.testing.assert_allclose(run(ours, 400), run(theirs, 400), atol=1e-14)

@pytest.mark.parametrize('T,pct', [(100, 0.25), (37, 0.3), (8, 0.25)])
def test_one_cycle_is_torch_one_cycle(T, pct):
    ours = OneCycle(optimizer(momentum=0.9), T, 25, 25e4, pct, moms=(0.85, 0.95))
    np.testing.assert_allclose(run(ours, T), run(torch_schedules.OneCycleLR(optimizer(momentum=0.9), [0.1, 0.01], T, pct_start=pct), T-1).tolist() + [[0.1/25e4, 0.95, 0.01/25e4, 0.95]], atol=1e-14)

def test_cosine_is_torch_cosine():
    np.testing.assert_allclose(run(Cosine(optimizer(), 50), 51), run(torch_schedules.CosineAnnealingLR(optimizer(), 50), 51), atol=1e-14)

@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('cls', [SGD, Adam])
def test_resume_is_exact(name, cls):
    moms = {} if name == 'constant' else dict(moms=(0.8, 0.95))
    whole, part = (make_schedule(name, optimizer(cls), 60, **moms) for _ in range(2))
    want = run(whole, 60)
    run(part, 23)
    state = part.state_dict()
    assert json.loads(json.dumps(state)) == state
    opt_state, state = json.loads(json.dumps([part.optimizer.state_dict()['param_groups'], state]))
    fresh = make_schedule(name, optimizer(cls, lrs=(7., 7.)), 11)     # another run's settings: all replaced
    fresh.optimizer.load_state_dict(dict(state=part.optimizer.state_dict()['state'], param_groups=opt_state))
    fresh.load_state_dict(state)
    np.testing.assert_array_equal(run(fresh, 37), want[23:])
    assert fresh.last_epoch == 60

@pytest.mark.parametrize('name', NAMES)
def test_groups_keep_their_ratio(name):
    r = run(make_schedule(name, optimizer(lrs=(0.1, 0.1/2.6, 0.1/2.6**2)), 50), 50)[:, ::2]
    np.testing.assert_allclose(r[:, 1], r[:, 0]/2.6, rtol=1e-12)
    np.testing.assert_allclose(r[:, 2], r[:, 0]/2.6**2, rtol=1e-12)
    np.testing.assert_allclose(r[:, 0], schedule_curve(name, 50, 0.1), rtol=1e-12)

def test_second_schedule_on_one_optimizer():
    opt = optimizer()
    run(STLR(opt, 20), 20)
    assert run(STLR(opt, 20), 20)[:, 0].max() == 0.1                  # the groups' own highest rates again
    assert run(STLR(opt, 20, lr_max=0.5), 20)[:, [0, 2]].max(0).tolist() == [0.5, 0.5]
    assert run(STLR(opt, 20, lr_max=[0.5, 0.2]), 20)[:, [0, 2]].max(0).tolist() == [0.5, 0.2]

def test_momentum_is_left_alone_unless_asked():
    assert (run(STLR(optimizer(momentum=0.7), 20), 20)[:, 1] == 0.7).all()
    moved = run(STLR(optimizer(momentum=0.7), 20, moms=(0.85, 0.95)), 20)[:, :2]
    assert moved[:, 0].argmax() == moved[:, 1].argmin() and moved[:, 1].min() == 0.85 and moved[:, 1].max() == 0.95

def test_sequential():
    opt = optimizer(lrs=[0.1])
    both = torch_schedules.SequentialLR(opt, [STLR(opt, 10), SGDR(opt, 5, 2), Constant(opt)], milestones=[10, 25])
    np.testing.assert_allclose(run(both, 30)[:, 0], np.r_[stlr(np.arange(10), 10, 0.1), sgdr(np.arange(15), 5, 2, 0.1), [0.1]*5], atol=1e-14)

def test_state_survives_weights_only_load(tmp_path):
    sched = OneCycle(optimizer(), 30, moms=(0.8, 0.9))
    run(sched, 7)
    torch.save(sched.state_dict(), tmp_path/'s.pt')
    assert torch.load(tmp_path/'s.pt', weights_only=True) == sched.state_dict()

# bad input

@pytest.mark.parametrize('bad', [lambda: make_schedule('warp', optimizer(), 10), lambda: make_schedule('stlr', optimizer(), 0), lambda: stlr(0, 0), lambda: stlr(0, 10, cut_frac=1),
    lambda: clr(0, 0, 1, 0), lambda: clr(0, 0, 1, 5, 'square'), lambda: sgdr(0, 5, 0.5), lambda: one_cycle(0, 5, pct_start=0), lambda: cosine(0, 0), lambda: CLR(optimizer(), 5, mode='square'),
    lambda: STLR(optimizer(), 10, lr_max=[1., 2., 3.]), lambda: STLR(optimizer(torch.optim.Adagrad), 10, moms=(0.8, 0.9)), lambda: range_test(lambda lr: 1., lr_min=1, lr_max=0.1),
    lambda: stlr(1, 10, ratio=0), lambda: stlr(1, 10, ratio=-32), lambda: one_cycle(1, 10, div=0), lambda: one_cycle(1, 10, div_final=math.nan), lambda: STLR(optimizer(), 10, ratio=0), lambda: CLR(optimizer(), 5, ratio=-1),
    lambda: OneCycle(optimizer(), 10, moms=.9), lambda: OneCycle(optimizer(), 10, moms=(.9,))])
def test_bad_settings_are_named(bad):
    with pytest.raises(InputError) as e: bad()
    assert not str(e.value).endswith('.') and '\n' not in str(e.value)

# range test

def bowl(lr, state={}):
    "Loss that falls around 1e-2 and explodes above 1."
    return 2 - 1.5/(1 + (0.01/lr)**2) + (lr/0.5)**4

def test_range_test_finds_the_fall():
    r = range_test(bowl, 1e-5, 10)
    s = r.suggestion
    assert r.note.startswith('diverged') and len(r.lrs) == len(r.losses) == len(r.smoothed) < 100
    assert 0.003 < s.steepest < 0.03 and s.lower < s.steepest < s.upper < r.lrs[r.smoothed.argmin()] == pytest.approx(10*s.min_10)

@pytest.mark.parametrize('step,says', [(lambda lr: 1., 'never fell'), (lambda lr: 1 + lr, 'never fell'), (lambda lr: math.nan, 'not finite'), (lambda lr: math.inf if lr > 3e-7 else 1., 'not finite'),
    (lambda lr, rng=np.random.default_rng(0): rng.normal(5), 'never fell')])
def test_range_test_without_a_suggestion(step, says):
    import matplotlib
    matplotlib.use('Agg')
    r = range_test(step)
    assert r.suggestion is None and says in r.note and 'no suggestion' in r.note
    r.plot()

def test_range_test_still_falling(): assert 'still falling' in range_test(lambda lr: -math.log(lr)).note

def test_restored_also_after_an_error():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model[1].eval()
    opt = Adam(model.parameters(), lr=0.1)
    def step():
        model.train()
        opt.zero_grad()
        model(torch.randn(4, 3)).pow(2).sum().backward()
        opt.step()
    step(); model[1].eval()
    flat = lambda: [v.tolist() for v in model.state_dict().values()] + [v.tolist() for s in opt.state_dict()['state'].values() for v in s.values()]
    before, rng = flat(), torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), restored(model, opt):
        opt.param_groups[0]['lr'] = 1e3
        for _ in range(3): step()
        assert flat() != before
        raise KeyboardInterrupt
    assert flat() == before and opt.param_groups[0]['lr'] == 0.1 and torch.equal(rng, torch.get_rng_state())
    assert model[0].training and not model[1].training and all(p.grad is None for p in model.parameters())

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_a_run_is_three_cycles_or_four():
    "`sgdr` begins no fourth one, which would end where it begins; `clr` reaches its upper bound four times."
    for n in range(1, 100): assert (schedule_curve('sgdr', n) == 1).sum() <= 3, n
    assert (schedule_curve('sgdr', 99) == 1).sum() == 3 and (schedule_curve('clr', 80) == 1).sum() == 4

@pytest.mark.parametrize('last,seen', [(3.9, 40), (4.1, 21)])
def test_range_test_stops_beyond_the_factor(last, seen):
    losses = iter([1.]*20 + [last]*20)
    assert len(range_test(lambda lr: next(losses), n=40, smooth=.01, stop_factor=4).losses) == seen

def test_cycled_momentum_leaves_the_second_beta_alone():
    opt = optimizer(Adam, betas=(0.8, 0.99))
    run(OneCycle(opt, 5, moms=(0.85, 0.95)), 5)
    assert [g['betas'][1] for g in opt.param_groups] == [0.99]*2

def test_range_test_suggests_the_same_however_it_explodes():
    small,large = (range_test(lambda lr: 1 - math.log(lr) if lr < .1 else top, 1e-5, 10) for top in (1e3, 1e9))
    assert small.suggestion and len(small.lrs) == len(large.lrs) < 100 and small.suggestion == large.suggestion

@pytest.mark.parametrize('moms', [(.95, .85), (.9,), (.8, .9, .95), (-.1, .9), (.9, 1.)])
def test_momenta_are_the_lowest_and_the_highest(moms):
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=.1, momentum=.9)
    with pytest.raises(InputError, match='the lowest and the highest momentum'): OneCycle(opt, 10, moms=moms)

def test_a_run_of_no_steps_is_refused():
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=.1)
    for steps in (0, -3):
        with pytest.raises(InputError, match='T >= 1'): STLR(opt, steps)
