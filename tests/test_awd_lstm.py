"The backbone: what must be true of every size, cut, mask and dtype."
from dataclasses import asdict, fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ulmfit_nb.awd_lstm import (AWDLSTM, CLAS_DROPOUTS, LM_DROPOUTS, NO_DROPOUT, SIZES, Dropouts, LanguageModel, Size, WeightDropLSTM,
    compute_dtype, detach, lm_loss)
from ulmfit_nb.corpus import InputError
from ulmfit_nb.lstm import drop_mask

pytestmark = pytest.mark.usefixtures('one_thread')

V = 40
HIGH = Dropouts(.4, .5, .2, .4, .4)

@pytest.fixture(autouse=True)
def seed(): torch.manual_seed(0)

def body(size=(6, 10, 2), drops=NO_DROPOUT, vocab=V): return AWDLSTM(vocab, size, drops)
def some_ids(bs=3, n=12): return torch.randint(2, V, (bs, n))
def close(a, b, **k): torch.testing.assert_close(a, b, **(dict(atol=1e-6, rtol=1e-5) | k))

# ---- parity with torch.nn.LSTM ----------------------------------------------------------------------------------

@pytest.mark.parametrize('grad', [False, True])
def test_a_state_of_other_rows_is_refused(grad):
    "torch's function checks neither: it read beyond the state, and the process died or the answer was of other memory."
    m,ids = body((64, 128, 2)).eval(),some_ids(6)
    state = m(ids[:3])[2]
    with torch.set_grad_enabled(grad):
        for rows in (1, 2, 4, 6):
            with pytest.raises(InputError, match=rf'inputs \({rows}, 12, 64\) and a state \(3, 128\) do not fit'): m(ids[:rows], state)
        assert m(ids[:3], state)[1].shape == (3, 12, 64)
        for n in (63, 65, 128):
            with pytest.raises(InputError, match='do not fit a layer from 64 to 128'): m.rnns[0](torch.randn(3, 5, n))

@pytest.mark.parametrize('n_in,n_out,bs,seq_len', [(1, 1, 1, 1), (3, 7, 2, 5), (8, 8, 4, 1), (17, 5, 1, 33), (64, 48, 9, 20)])
def test_a_layer_is_torchs(n_in, n_out, bs, seq_len):
    ref, ours = nn.LSTM(n_in, n_out, batch_first=True), WeightDropLSTM(n_in, n_out)
    ours.load_state_dict(ref.state_dict())
    x, h, c = torch.randn(bs, seq_len, n_in, requires_grad=True), torch.randn(1, bs, n_out), torch.randn(1, bs, n_out)
    for s in (None, (h, c)):
        a, (ah, ac) = ref(x, s)
        b, (bh, bc) = ours(x, None if s is None else (h[0], c[0]))
        close(b, a); close(bh, ah[0]); close(bc, ac[0])
        ga, gb = (torch.autograd.grad(o.pow(2).sum(), [x, *m.parameters()]) for o, m in ((a, ref), (b, ours)))
        for p, q in zip(gb, ga, strict=True): close(p, q)
    ref.load_state_dict(ours.state_dict())                  # and back
    assert list(ref.state_dict()) == list(ours.state_dict())

@pytest.mark.parametrize('dtype,tol', [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_dtypes(dtype, tol):
    ref, ours = nn.LSTM(5, 7, batch_first=True).to(dtype), WeightDropLSTM(5, 7).to(dtype)
    ours.load_state_dict(ref.state_dict())
    x = torch.randn(2, 6, 5, dtype=dtype)
    if dtype == torch.float32: close(ours(x)[0], ref(x)[0], atol=tol)
    else:
        with torch.autocast('cpu', enabled=False): y = torch.lstm(x, [x.new_zeros(1, 2, 7)]*2, ours.weights(dtype=dtype), True, 1, 0., False, False, True)[0]
        close(y, ref(x)[0], atol=tol); close(ours(x)[0], ref(x)[0], atol=tol)

@pytest.mark.parametrize('size', [(4, 9, 1), (4, 9, 2), (9, 4, 3), (1, 1, 4), 'micro'])
def test_a_stack_is_torchs_and_has_its_shapes(size):
    m, ids = body(size).eval(), some_ids()
    h = F.embedding(ids, m.encoder.weight)
    for r in m.rnns:
        ref = nn.LSTM(r.n_in, r.n_out, batch_first=True)
        ref.load_state_dict(r.state_dict())
        h = ref(h)[0]
    layers, x, state = m(ids)
    close(x, h)
    s = Size.of(size)
    assert [l.shape[-1] for l in layers] == [s.n_hid]*(s.n_layers-1) + [s.emb_sz]
    assert [tuple(t.shape) for st in state for t in st] == [(3, l.shape[-1]) for l in layers for _ in 'hc']
    assert len(m.layer_groups()) == s.n_layers+1

# ---- state carried over chunks ----------------------------------------------------------------------------------

@pytest.mark.parametrize('cuts', [[12], [1]*12, [5, 7], [11, 1], [1, 2, 9]])
@pytest.mark.parametrize('drops', [NO_DROPOUT, HIGH])
def test_chunks_equal_one_pass(cuts, drops):
    m, ids = body((6, 10, 3), drops), some_ids()
    masks, state, parts = m.sample_masks(3), None, []
    whole, last = m(ids, masks=masks)[1:]
    for chunk in ids.split(cuts, 1):
        _, x, state = m(chunk, state, masks)
        parts.append(x)
    close(torch.cat(parts, 1), whole)
    for a, b in zip(state, last): close(a[0], b[0]); close(a[1], b[1])
    g = [torch.autograd.grad(o.pow(2).sum(), m.encoder.weight)[0] for o in (torch.cat(parts, 1), whole)]
    close(*g, atol=1e-5)

def test_detach_cuts_the_graph():
    m = body()
    state = detach(m(some_ids())[2])
    assert detach(None) is None and not any(t.requires_grad for s in state for t in s)

def test_masks_of_fewer_rows():
    m, ids = body((6, 10, 3), HIGH), some_ids(4)
    masks = m.sample_masks(4)
    close(m(ids[:2], masks=masks.rows(2))[1], m(ids, masks=masks)[1][:2])

# ---- masks ------------------------------------------------------------------------------------------------------

def test_no_mask_for_zero():
    like = torch.zeros(1)
    assert drop_mask(like, (3, 4), 0.) is None
    masks = body((6, 10, 3)).sample_masks(2)
    assert masks.embedding is masks.input is masks.output is None and masks.weight == [None]*3 and masks.hidden == [None]*2
    assert masks.rows(1) == masks

@pytest.mark.parametrize('p', [.1, .5, .9])
def test_masks_are_scaled(p):
    m = drop_mask(torch.zeros(1, dtype=torch.float64), (200, 500), p)
    assert m.dtype == torch.float64
    close(m.unique(), torch.tensor([0., 1/(1-p)], dtype=torch.float64))
    assert abs((m == 0).double().mean()-p) < .01

@pytest.mark.parametrize('name', [f.name for f in fields(Dropouts)])
def test_each_dropout_acts_alone_in_training_only(name):
    m, ids = body((6, 10, 3), replace(NO_DROPOUT, **{name: .5})), some_ids()
    base = m.eval()(ids)[1]
    assert m.sample_masks(3) is None and torch.equal(m(ids)[1], base)
    m.train()
    a, b = m(ids)[1], m(ids)[1]
    assert not torch.equal(a, b) and not torch.equal(a, base)
    drawn = [k for k, v in m.sample_masks(3)._asdict().items() if (any(t is not None for t in v) if isinstance(v, list) else v is not None)]
    assert drawn == [name]

def test_locked_masks_last_the_sequence():
    m = body((6, 10, 3), replace(NO_DROPOUT, output=.5))
    zero = m(some_ids())[1] == 0
    assert torch.equal(zero, zero[:, :1].expand_as(zero)) and zero.any() and not zero.all()
    assert not torch.equal(zero[0], zero[1])                # another mask for each sequence

def test_embedding_dropout_takes_every_occurrence():
    m, ids = body(drops=replace(NO_DROPOUT, embedding=.5)), torch.randint(2, 6, (3, 12))
    seen = []
    hook = m.rnns[0].register_forward_pre_hook(lambda mod, args: seen.append(args[0]))
    m(ids)
    hook.remove()
    for i in ids.unique(): assert len((seen[0][ids == i] == 0).all(1).unique()) == 1

# ---- weight-drop ------------------------------------------------------------------------------------------------

def test_weight_mask_acts_and_raw_weights_stay():
    r, x = WeightDropLSTM(5, 7), torch.randn(2, 6, 5)
    raw, mask = r.weight_hh_l0.detach().clone(), drop_mask(x, (28, 7), .5)
    y = r(x, mask=mask)[0]
    close(y[:, 0], r(x)[0][:, 0])
    assert (y[:, 1:] != r(x)[0][:, 1:]).any()
    y.sum().backward()
    assert torch.equal(raw, r.weight_hh_l0)
    assert (r.weight_hh_l0.grad[mask == 0] == 0).all() and (r.weight_hh_l0.grad[mask != 0] != 0).float().mean() > .9
    plain = WeightDropLSTM(5, 7)
    plain.load_state_dict(r.state_dict())
    with torch.no_grad(): plain.weight_hh_l0.mul_(mask)
    close(y, plain(x)[0])

def test_gradients_by_finite_differences():
    r = WeightDropLSTM(2, 3).double()
    x, mask = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True), drop_mask(torch.zeros(1).double(), (12, 3), .5)
    assert torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(r, dict(weight_hh_l0=w), (x,), dict(mask=mask))[0], (x, r.weight_hh_l0))

def test_gradients_in_evaluation():
    m = body(drops=HIGH).eval()
    m(some_ids())[1].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in m.parameters())

@pytest.mark.parametrize('training', [True, False])
def test_frozen_layers_get_no_gradient(training):
    m = body((6, 10, 2), HIGH).train(training)
    m.rnns[0].requires_grad_(False); m.encoder.requires_grad_(False)
    m(some_ids())[1].sum().backward()
    assert m.encoder.weight.grad is None and m.rnns[0].weight_hh_l0.grad is None and m.rnns[1].weight_hh_l0.grad.any()

# ---- autocast ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('training', [True, False])
def test_autocast(training):
    m, ids = LanguageModel(body((16, 24, 2), LM_DROPOUTS)).train(training), some_ids()
    masks = m.backbone.sample_masks(3)
    full = m(ids[:, :-1], None, ids[:, 1:], masks)
    with torch.autocast('cpu', torch.bfloat16):
        assert compute_dtype(torch.zeros(1)) == torch.bfloat16
        half = m(ids[:, :-1], None, ids[:, 1:], masks)
        m(ids[:, :-1], half.state, ids[:, 1:], masks)       # its own state comes back in
    m(ids[:, :-1], half.state)                              # and goes on in float32
    half.loss.backward()
    assert half.loss.dtype == half.nll.dtype == torch.float32 and half.state[0][0].dtype == torch.bfloat16
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in m.parameters())
    close(half.loss, full.loss, atol=2e-2, rtol=0)
    assert compute_dtype(torch.zeros(1)) == torch.float32

# ---- language model ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize('pad_id', [0, 1, V-1])
@pytest.mark.parametrize('bf16', [False, True])
def test_padding_row_stays_zero(pad_id, bf16):
    m = LanguageModel(AWDLSTM(V, (6, 10, 2), LM_DROPOUTS, pad_id))
    opt = torch.optim.AdamW(m.parameters(), 1e-2, weight_decay=.1)
    before = m.backbone.encoder.weight.detach().clone()
    for _ in range(5):
        ids = torch.randint(2, V-1, (4, 9)); ids[0, 5:] = pad_id
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16): loss = m(ids[:, :-1], None, ids[:, 1:].masked_fill(ids[:, 1:] == pad_id, -100)).loss
        opt.zero_grad(); loss.backward(); opt.step()
    w = m.backbone.encoder.weight.detach()
    rest = torch.arange(V) != pad_id
    assert not w[pad_id].any() and (w != before)[rest].all()
    m.decode(torch.randn(2, 6)).sum().backward()
    assert not m.backbone.encoder.weight.grad[pad_id].any()

def test_decoder_is_the_embedding():
    m = LanguageModel(body())
    assert sum(p.numel() for p in m.parameters()) == sum(p.numel() for p in m.backbone.parameters()) + V
    with torch.no_grad(): m.backbone.encoder.weight[5] += 1.
    x = torch.randn(2, 6)
    close(m.decode(x), x@m.backbone.encoder.weight.t() + m.bias)
    grouped = {id(p) for g in m.layer_groups() for q in g for p in (q.parameters() if isinstance(q, nn.Module) else [q])}
    assert grouped == {id(p) for p in m.parameters()}

@pytest.mark.parametrize('n,ignored', [(1, 0), (30, 0), (30, 7), (30, 29), (3, 3)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_loss_fused_and_plain(n, ignored, dtype):
    args = [torch.randn(s, requires_grad=True) for s in ((1, n, 8), (V, 8), (V,))]
    t = torch.randint(V, (1, n)); t[:, :ignored] = -100
    a, b = (lm_loss(args[0].to(dtype), *args[1:], t, fused=f) for f in (True, False))
    assert a.dtype == torch.float32
    if ignored == n: assert a == b == 0
    close(a, b, rtol=1e-5)
    near = {} if dtype == torch.float32 else dict(atol=2e-3, rtol=2e-2) # each rounds its gradients to 8 bits where it suits it
    for p, q in zip(torch.autograd.grad(a, args), torch.autograd.grad(b, args)): close(p, q, **near)
    if dtype == torch.float32: close(a*(n > ignored), F.cross_entropy((args[0]@args[1].t()+args[2])[0], t[0], reduction='sum')/max(1, n-ignored))

def test_loss_without_the_fused_function(monkeypatch):
    args,t = [torch.randn(s) for s in ((3, 5, 8), (20, 8), (20,))],torch.randint(20, (3, 5))
    want = lm_loss(*args, t)
    monkeypatch.delattr(nn, 'LinearCrossEntropyOptions', raising=False)   # as in torch 2.11
    torch.testing.assert_close(lm_loss(*args, t), want)

def test_loss_in_several_chunks():
    "More positions and words than one chunk of scores holds: the same loss and gradients as in one piece."
    torch.manual_seed(0)
    args = [(.2*torch.randn(s)).requires_grad_() for s in ((2, 90, 4), (70000, 4), (70000,))] # small: sums of 70,000 float32 terms round
    t = torch.randint(70000, (2, 90)); t[0, :5] = -100
    x, w, b = (a.detach().double().requires_grad_() for a in args)
    exact = F.cross_entropy((x@w.t()+b).flatten(0, 1), t.flatten())
    for loss in (lm_loss(*args, t, fused=f) for f in (True, False)):
        close(loss.double(), exact, rtol=1e-5)
        for p, q in zip(torch.autograd.grad(loss, args), torch.autograd.grad(exact, (x, w, b), retain_graph=True)):
            close(p.double(), q)

# ---- adaptive softmax -------------------------------------------------------------------------------------------

@pytest.mark.parametrize('cutoffs', [(10,), (5, 20), (1, 2, 39)])
def test_adaptive_softmax_is_a_distribution(cutoffs):
    "The probabilities of all words sum to one, and the loss is what they say; so are its gradients."
    torch.manual_seed(1)
    m = LanguageModel(body(), 0., 0., cutoffs)
    for p in (m.clusters, m.cluster_bias, m.bias): nn.init.normal_(p)
    ids, t = some_ids(), some_ids(); t[0, :3] = -100
    o, scores = m(ids, None, t), m(ids)[0]
    close(scores.exp().sum(-1), torch.ones(ids.shape))
    full = F.cross_entropy(scores.flatten(0, 1), t.flatten())
    close(o.nll, full.detach())
    for p, q in zip(torch.autograd.grad(o.loss, list(m.parameters())), torch.autograd.grad(full, list(m.parameters()))): close(p, q)

def test_adaptive_softmax_without_rare_words_or_targets():
    m = LanguageModel(body(), 0., 0., (10, 30))
    ids = torch.randint(2, 10, (2, 5))
    assert torch.isfinite(m(ids, None, ids).loss)
    m(ids, None, torch.full_like(ids, -100)).loss.backward()
    assert m(ids, None, torch.full_like(ids, -100)).nll == 0

@pytest.mark.parametrize('cutoffs', [(0, 5), (5, 5), (9, 4), (V,), (V+1,)])
def test_cutoffs_out_of_order(cutoffs):
    with pytest.raises(InputError, match='cutoffs must rise'): LanguageModel(body(), cutoffs=cutoffs)

def test_penalties_only_in_training():
    ids = some_ids()
    m = LanguageModel(body(), alpha=3., beta=5.)
    layers, x, _ = m.backbone(ids[:, :-1])
    o = m(ids[:, :-1], None, ids[:, 1:])
    close(o.loss-o.nll, 3*x.pow(2).mean() + 5*layers[-1].diff(dim=1).pow(2).mean())
    one = m(ids[:, :1], None, ids[:, 1:2])                  # a single step has no difference
    assert torch.isfinite(one.loss) and o.n == 33 and not o.nll.requires_grad
    o = m.eval()(ids[:, :-1], None, ids[:, 1:])
    assert o.loss == o.nll
    scores, state = m(ids[:, :-1])
    close(F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten()), o.nll)

# ---- dials ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('size', ['huge', '', (400,), (400, 1152), (400, 1152, 3, 1), (0, 5, 2), (5, 5, 0), (5, -1, 2)])
def test_unknown_size(size):
    with pytest.raises(InputError, match='unknown size .*micro, tiny, small, base'): Size.of(size)
    with pytest.raises(InputError): AWDLSTM(V, size)

def test_sizes():
    for name, dims in SIZES.items():
        s = Size.of(name)
        assert (s.emb_sz, s.n_hid, s.n_layers) == dims and Size.of(s) is s and Size.of(list(dims)) == s and not any(d % 8 for d in dims[:2])
    assert Size() == Size.of('base')

@pytest.mark.parametrize('name', [f.name for f in fields(Dropouts)])
@pytest.mark.parametrize('p', [1., 1.5, -.1, float('nan'), float('inf')])
def test_dropouts_out_of_range(name, p):
    with pytest.raises(InputError, match=f'dropout {name}='): Dropouts(**{name: p})

def test_dropouts_multiply():
    assert asdict(CLAS_DROPOUTS*.5) == asdict(.5*CLAS_DROPOUTS) == {k: v*.5 for k, v in asdict(CLAS_DROPOUTS).items()}
    assert LM_DROPOUTS*0 == NO_DROPOUT and LM_DROPOUTS*1 == LM_DROPOUTS
    for bad in (2, -1):
        with pytest.raises(InputError, match='not a probability'): CLAS_DROPOUTS*bad

def test_config_builds_the_same():
    a = body((6, 10, 3), vocab=9)
    c = a.config
    b = AWDLSTM(c['vocab_size'], Size(c['emb_sz'], c['n_hid'], c['n_layers']), pad_id=c['pad_id'])
    b.load_state_dict(a.state_dict())
    ids = torch.randint(9, (2, 5))
    assert torch.equal(a.eval()(ids)[1], b.eval()(ids)[1]) and b.config == c

# ---- GPU --------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('bf16', [False, True])
@pytest.mark.parametrize('size', [(6, 10, 2), (17, 33, 3), (64, 128, 2)])
def test_gpu(size, bf16):
    m, ids = LanguageModel(body(size, HIGH)), some_ids()
    masks, gpu = m.backbone.sample_masks(3), LanguageModel(body(size, HIGH)).cuda()
    gpu.load_state_dict(m.state_dict())
    def up(v): return v.cuda() if isinstance(v, torch.Tensor) else [up(u) for u in v]
    a = m(ids[:, :-1], None, ids[:, 1:], masks)
    with torch.autocast('cuda', torch.bfloat16, enabled=bf16): b = gpu(ids[:, :-1].cuda(), None, ids[:, 1:].cuda(), type(masks)(*map(up, masks)))
    close(b.loss.cpu(), a.loss, atol=2e-2 if bf16 else 1e-3, rtol=0)
    a.loss.backward(); b.loss.backward()
    for (n, p), q in zip(m.named_parameters(), gpu.parameters()): assert (q.grad.cpu()-p.grad).norm() <= (.05 if bf16 else .01)*p.grad.norm(), n # no more than rounding, however small a gradient is
    for r, k in zip(gpu.backbone.rnns, masks.weight): assert not r.weight_hh_l0.grad[k.cuda() == 0].any()

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_penalties_where_there_is_dropout():
    "AR of what goes to the decoder, TAR of the outputs before dropout (Merity et al. 2017, section 4.6)."
    ids, m = some_ids(), LanguageModel(body((6, 10, 3), HIGH), alpha=3., beta=5.)
    masks = m.backbone.sample_masks(3)
    layers, x, _ = m.backbone(ids[:, :-1], masks=masks)
    o = m(ids[:, :-1], None, ids[:, 1:], masks)
    close(o.loss-o.nll, 3*x.pow(2).mean() + 5*layers[-1].diff(dim=1).pow(2).mean())

def test_each_layer_has_masks_of_its_own():
    masks = body((6, 10, 4), HIGH).sample_masks(3)
    a, b, c = masks.hidden
    assert not torch.equal(a, b) and not torch.equal(b, c) and masks.embedding.shape == (V, 1)
    assert [m.shape for m in masks.weight] == [(40, 10)]*3 + [(24, 6)]

def test_the_range_of_the_first_weights():
    m = body((4, 64, 2))
    for p, most in [(m.encoder.weight, .1), *((p, r.n_out**-.5) for r in m.rnns for p in r.parameters())]: assert .8*most < p.abs().max() <= most

@pytest.mark.parametrize('pad_id', [1, 12, V-1])
def test_no_gradient_for_the_padding_in_an_adaptive_softmax(pad_id):
    m, ids = LanguageModel(AWDLSTM(V, (6, 10, 2), NO_DROPOUT, pad_id), cutoffs=(10, 20)), torch.randint(2, V, (3, 40))
    m(ids[:, :-1], None, ids[:, 1:]).loss.backward()
    g = m.backbone.encoder.weight.grad
    assert not g[pad_id].any() and g.any(1).sum() == V-1

def test_an_adaptive_softmax_is_trained_and_built_again():
    m = LanguageModel(body(), cutoffs=(10, 20))
    assert {id(p) for p in (m.clusters, m.cluster_bias)} <= {id(p) for p in m.layer_groups()[-1][1:]}
    assert m.config['cutoffs'] == [10, 20] and 'cutoffs' not in LanguageModel(body()).config

def test_penalties_of_the_paper():
    m = LanguageModel(body())
    assert (m.alpha, m.beta) == (2., 1.)
