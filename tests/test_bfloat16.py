"The two backward passes written by hand: equal to torch's for every shape, and used exactly where they pay."
import pytest
import torch
import torch.nn.functional as F

from ulmfit_nb import awd_lstm
from ulmfit_nb.awd_lstm import AWDLSTM, NO_DROPOUT, Dropouts, LanguageModel, lm_loss
from ulmfit_nb.bfloat16 import LSTMFunction, compiled_loss, fused_lstm_pays, nll_sum, softmax_loss

pytestmark = pytest.mark.usefixtures('one_thread')
f64 = torch.float64

@pytest.fixture(autouse=True)
def seed(): torch.manual_seed(0)

def layer(B, T, m, n): return [torch.randn(s, dtype=f64) for s in ((B, T, m), (B, n), (B, n), (4*n, m), (4*n, n), (4*n,))]
def theirs(x, h, c, w, u, b):
    out, h, c = torch.lstm(x, [h[None].contiguous(), c[None].contiguous()], [w, u, b, torch.zeros_like(b)], True, 1, 0., True, False, True)
    return out, h[0], c[0]

def grads(f, args, on=None, use=(0, 1, 2)):
    "Gradients of the outputs `use` by the arguments `on`."
    on = range(len(args)) if on is None else on
    args = [a.clone().requires_grad_(k in on) for k, a in enumerate(args)]
    outs = f(*args)
    sum((outs[k]*torch.randn(outs[k].shape, dtype=outs[k].dtype, generator=torch.Generator().manual_seed(k))).sum() for k in use).backward()
    return [args[k].grad for k in on]

@pytest.mark.parametrize('B,T,m,n', [(1, 1, 1, 1), (1, 7, 3, 2), (5, 1, 2, 4), (3, 9, 8, 5), (17, 4, 6, 6)])
@pytest.mark.parametrize('use', [(0,), (1,), (2,), (0, 1, 2)])
def test_lstm_is_torchs(B, T, m, n, use):
    args = layer(B, T, m, n)
    for a, b in zip(LSTMFunction.apply(*args), theirs(*args)): torch.testing.assert_close(a, b)
    for a, b in zip(grads(LSTMFunction.apply, args, use=use), grads(theirs, args, use=use), strict=True): torch.testing.assert_close(a, b)

@pytest.mark.parametrize('on', [(0,), (3,), (4, 5), (0, 1, 2), (1, 3)])
def test_frozen_parts_get_none(on):
    args = layer(3, 6, 4, 5)
    for a, b in zip(grads(LSTMFunction.apply, args, on), grads(theirs, args, on), strict=True): torch.testing.assert_close(a, b)

def test_the_inputs_are_left_alone():
    args = layer(2, 5, 3, 4)
    was = [a.clone() for a in args]
    grads(LSTMFunction.apply, args)
    assert all(map(torch.equal, args, was))

def test_a_second_backward_gives_the_same():
    args = [a.requires_grad_() for a in layer(2, 5, 3, 4)]
    out = LSTMFunction.apply(*args)[0].square().sum()
    first, second = (torch.autograd.grad(out, args, retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, first, second))
    x, w, b = (torch.randn(s, dtype=f64, requires_grad=True) for s in ((4, 3), (6, 3), (6,)))
    loss = softmax_loss(x, w, b, torch.tensor([0, 5, -100, 2]))
    first, second = (torch.autograd.grad(loss*3, [x, w, b], retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, first, second))

# ---- softmax ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('n,V,rows', [(1, 2, 1), (5, 3, 2), (40, 7, 16), (40, 7, 17), (40, 7, None)])
@pytest.mark.parametrize('on', [(0,), (1,), (2,), (0, 1, 2)])
def test_softmax_is_torchs(n, V, rows, on):
    args = [torch.randn(s, dtype=f64) for s in ((n, 4), (V, 4), (V,))]
    y = torch.randint(0, V, (n,)); y[1::3] = -100
    def ours(x, w, b): return softmax_loss(x, w, b, y, rows),
    def plain(x, w, b): return F.cross_entropy(F.linear(x, w, b), y, reduction='sum'),
    torch.testing.assert_close(ours(*args)[0], plain(*args)[0])
    for a, b in zip(grads(ours, args, on, (0,)), grads(plain, args, on, (0,)), strict=True): torch.testing.assert_close(a, b)

def test_nothing_counts():
    x, w, b = (torch.randn(s, requires_grad=True) for s in ((3, 4), (5, 4), (5,)))
    loss = softmax_loss(x, w, b, torch.full((3,), -100))
    loss.backward()
    assert loss.item() == 0 and not any(p.grad.any() for p in (x, w, b))

def test_scores_beyond_the_range_of_exp():
    x, w, y = torch.full((2, 1), 1e4), torch.tensor([[1.], [-1.], [.5]]).requires_grad_(), torch.tensor([0, 1])
    loss = softmax_loss(x, w, torch.zeros(3), y)
    loss.backward()
    assert loss.item() == pytest.approx(2e4) and w.grad.isfinite().all()

def test_without_a_gradient_nothing_is_kept():
    x, w, b, y = torch.randn(3, 4), torch.randn(5, 4), torch.zeros(5), torch.tensor([1, 2, 4])
    assert softmax_loss(x, w, b, y).grad_fn is None
    torch.testing.assert_close(softmax_loss(x, w, b, y), F.cross_entropy(F.linear(x, w, b), y, reduction='sum'))

# ---- in the model -----------------------------------------------------------------------------------------------

@pytest.fixture
def calls(monkeypatch):
    "How often each quick way was taken."
    n = dict(lstm=0, loss=0)
    def counted(k, f):
        def g(*a):
            n[k] += 1
            return f(*a)
        return g
    for k, (pays, f) in awd_lstm.FAST.items(): monkeypatch.setitem(awd_lstm.FAST, k, (pays, counted(k, f)))
    return n

def model(drops=Dropouts(.1, .3, .1, .1, .1)): return LanguageModel(AWDLSTM(30, (16, 24, 2), drops))

@pytest.mark.parametrize('skip', [False, True])
def test_a_model_trains_the_same_by_hand(monkeypatch, calls, skip):
    "Loss, gradients and state of the whole model, with torch's LSTM and with ours."
    m = model()
    if skip: m.backbone.add_skip(.5)
    ids, masks = torch.randint(2, 30, (4, 9)), m.backbone.sample_masks(4)
    def go():
        m.zero_grad()
        state = None
        for k in (0, 4): # the second chunk takes the state of the first
            with torch.autocast('cpu', torch.bfloat16): out = m(ids[:, k:k+4], awd_lstm.detach(state), ids[:, k+1:k+5], masks)
            out.loss.backward(); state = out.state
        return out.loss.item(), [p.grad.clone() for p in m.parameters()], state
    def when(yes): monkeypatch.setitem(awd_lstm.FAST, 'lstm', (lambda x, ws: yes, awd_lstm.FAST['lstm'][1]))
    when(False)
    loss, gs, state = go()
    assert calls['lstm'] == 0
    when(True)
    loss2, gs2, state2 = go()
    assert calls['lstm'] == 4 and loss2 == pytest.approx(loss, abs=5e-3)
    for a, b in zip(gs2, gs, strict=True): assert (a-b).norm() <= .02*b.norm() + 1e-6
    for s, s2 in zip(state, state2):
        for a, b in zip(s2, s): assert a.dtype == b.dtype == torch.bfloat16; torch.testing.assert_close(a, b, atol=2e-2, rtol=0)

def test_the_loss_takes_the_quick_way_in_bfloat16_only(calls):
    x, w, b, y = torch.randn(2, 3, 4), torch.randn(7, 4), torch.zeros(7), torch.tensor([[1, 2, -100], [0, 6, 3]])
    full = lm_loss(x, w, b, y)
    assert calls['loss'] == 0
    assert lm_loss(x.bfloat16(), w, b, y).item() == pytest.approx(full.item(), abs=.05) and calls['loss'] == 1
    lm_loss(x.bfloat16(), w, b, y, fused=False)
    assert calls['loss'] == 1

def test_large_layers_take_the_quick_way():
    ws = [torch.empty(4608, n, dtype=torch.bfloat16, requires_grad=True) for n in (1152, 1152)]
    x = torch.empty(7, 1, 1152, dtype=torch.bfloat16)
    assert fused_lstm_pays(x, ws) and not fused_lstm_pays(x[:6], ws) and not fused_lstm_pays(x.float(), ws) and not fused_lstm_pays(x, [w.detach() for w in ws])
    assert fused_lstm_pays(x.requires_grad_(), [w.detach() for w in ws]) # a frozen layer hands a gradient on
    with torch.no_grad(): assert not fused_lstm_pays(x, ws)

def test_prediction_calls_torch_and_training_does_not(calls):
    m, ids = AWDLSTM(30, (1152, 1152, 1), NO_DROPOUT), torch.randint(2, 30, (7, 2))
    with torch.autocast('cpu', torch.bfloat16):
        with torch.inference_mode(): m.eval()(ids)
        assert calls['lstm'] == 0
        m.train()(ids)
    assert calls['lstm'] == 1
    with torch.autocast('cpu', torch.bfloat16, enabled=False): m(ids)
    assert calls['lstm'] == 1

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_compiled_loss_is_torchs_on_a_gpu(monkeypatch):
    from ulmfit_nb import bfloat16
    monkeypatch.setattr(bfloat16, '_refused', [])
    args, y = [torch.randn(512, 200), torch.randn(20_000, 200)*.1, torch.zeros(20_000)], torch.randint(0, 20_000, (512,)).cuda()
    y[::7] = -100
    def run(f):
        xs = [a.cuda().bfloat16().requires_grad_() for a in args]
        loss = f(*xs)
        loss.backward()
        return [loss, *(x.grad for x in xs)]
    for a, b in zip(run(lambda *a: compiled_loss(*a, y)), run(lambda *a: nll_sum(F.linear(*a), y))):
        assert (a.float()-b.float()).norm() <= .01*b.float().norm()
    assert not bfloat16._refused # or torch's loss was compared with itself

def test_a_full_memory_is_no_missing_compiler(monkeypatch):
    from ulmfit_nb import bfloat16
    def full(*a): raise torch.OutOfMemoryError('full')
    monkeypatch.setattr(bfloat16, '_compiled', lambda: full)
    monkeypatch.setattr(bfloat16, '_refused', [])
    with pytest.raises(torch.OutOfMemoryError): compiled_loss(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4), torch.zeros(2, dtype=torch.long))
    assert not bfloat16._refused

@pytest.mark.parametrize('target', [-1, 7])
def test_a_target_that_is_no_word_is_refused(target):
    x,w,b = torch.randn(4, 3),torch.randn(7, 3),torch.zeros(7)
    with pytest.raises((IndexError, RuntimeError)): softmax_loss(x, w, b, torch.tensor([0, 5, target, 2]))

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_cells_are_added_up_in_float32():
    "Steps of less than half a rounding of bfloat16, which would be lost one by one."
    n, T = 4, 300
    bias = torch.tensor([-4.]*n + [20.]*n + [3.]*n + [0.]*n).bfloat16() # i = .018, f = 1, g = .995
    c = LSTMFunction.apply(torch.zeros(1, T, 2).bfloat16(), *torch.full((2, 1, n), 8.).bfloat16(), torch.zeros(4*n, 2).bfloat16(), torch.zeros(4*n, n).bfloat16(), bias)[2]
    assert c.min() > 12

def test_where_compiling_the_loss_pays():
    from types import SimpleNamespace
    from ulmfit_nb.bfloat16 import fused_loss_pays
    class X(SimpleNamespace):
        def __len__(self): return self.n
    def pays(n=2**13, dtype=torch.bfloat16, learns=True): return fused_loss_pays(X(n=n, dtype=dtype, device=torch.device('cuda'), is_cuda=True, requires_grad=learns))
    assert pays() and not pays(2**13-1) and not pays(dtype=torch.float32) and not pays(learns=False)

def test_without_a_compiler_the_loss_is_torchs_and_is_asked_for_once(monkeypatch):
    from ulmfit_nb import bfloat16
    asked = []
    def missing(*a): asked.append(1); raise ImportError('no Triton')
    monkeypatch.setattr(bfloat16, '_compiled', lambda: missing)
    monkeypatch.setattr(bfloat16, '_refused', [])
    args = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5), torch.tensor([0, -100, 4])
    with pytest.warns(UserWarning, match='not compiled here'): losses = [compiled_loss(*args) for _ in range(2)]
    assert len(asked) == 1 and losses[0] == losses[1] == nll_sum(F.linear(*args[:3]), args[3])

def test_gradients_of_the_decoder_are_added_up_in_float32():
    "Many small parts: added up in bfloat16, those after the first few would be lost."
    x, b, y = torch.ones(1024, 1).bfloat16(), torch.zeros(2).bfloat16(), torch.zeros(1024, dtype=torch.long)
    w = torch.zeros(2, 1).bfloat16().requires_grad_()
    softmax_loss(x, w, b, y, rows=1).backward()
    assert w.grad[1].item() == pytest.approx(512, rel=.01)

@pytest.mark.parametrize('gpu', [True, False])
def test_which_quick_loss_is_taken(monkeypatch, gpu):
    from types import SimpleNamespace
    from ulmfit_nb import bfloat16
    for name in ('compiled_loss', 'softmax_loss'): monkeypatch.setattr(bfloat16, name, lambda x, name=name: name)
    assert bfloat16.fused_loss(SimpleNamespace(is_cuda=gpu)) == ('compiled_loss' if gpu else 'softmax_loss')
