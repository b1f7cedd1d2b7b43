"Extensions: the defaults stay what they were, and each extension keeps the promises of the chapter it extends."
import json, math, subprocess, sys, weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ulmfit_nb.awd_lstm import AWDLSTM, CLAS_DROPOUTS, LM_DROPOUTS, NO_DROPOUT, LanguageModel
from ulmfit_nb.batches import ClasBatches, pad_docs
from ulmfit_nb.bpt3c import POOLS, ConcatPool, TextClassifier, hypercolumns, pool_class
from ulmfit_nb.classifier import finetune_classifier, predict_logits, recipe_phases
from ulmfit_nb.corpus import InputError
from ulmfit_nb.extensions import AttentionPool, Cache, attention_weights, cache_probs, tune_cache
from ulmfit_nb.fine_tuning import transfer_vocab
from ulmfit_nb.ids import Corpus
from ulmfit_nb.language_model import LMBatches, perplexity, pretrain
from ulmfit_nb.optimizers import TrainConfig
from ulmfit_nb.rules import BOS
from ulmfit_nb.storage import load_backbone, save_backbone
from ulmfit_nb.tokenization import Tokenizer
from ulmfit_nb.training import Trainer
from ulmfit_nb.ulmfit import ULMFiT

pytestmark = pytest.mark.usefixtures('one_thread')

CPU = TrainConfig(device='cpu', precision='float32')
SIZE = (12, 20, 3)
LENGTHS = (1, 69, 70, 71, 1400, 5000, 3, 140, 1401, 20)
TEXTS = [f'the {a} {b} sees the {c} and {d}.' for a in ('small', 'large', 'old') for b in ('cat', 'dog', 'hen') for c in ('house', 'tree') for d in ('sleeps', 'runs', 'eats')]
LABELS = ['cat' if 'cat' in t else 'other' for t in TEXTS]

def some_docs(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [np.r_[2, rng.integers(5, 50, n-1)].astype(np.int32) for n in lengths]

def classifier(pool='attention', std=2., skip=False, **kw):
    "A classifier with weights large enough to matter."
    torch.manual_seed(0)
    model = TextClassifier(AWDLSTM(50, SIZE, skip=skip), 3, CLAS_DROPOUTS*.5, pool=pool, **kw).eval()
    model.backbone.encoder.weight.data[2:].normal_()
    if pool == 'attention' and std: nn.init.normal_(model.pooling.query.weight, std=std)
    return model

def language_model(seed=0, vocab=50, skip=False):
    torch.manual_seed(seed)
    m = LanguageModel(AWDLSTM(vocab, SIZE, skip=skip)).eval()
    with torch.no_grad(): m.bias.normal_(std=.5); m.backbone.encoder.weight[2:].normal_()
    return m

def equal(a, b): return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))

# ---- the default is what it was -----------------------------------------------------------------------------------

def pool_of_before(self, ids, lengths):
    "Concat pooling as it stood before there was a choice, line for line."
    order = lengths.argsort(descending=True, stable=True)
    lengths = lengths[order]
    lens,begin,done = lengths.tolist(),(lengths-self.max_len).clamp(min=0),[]
    total,top = 0.,torch.tensor(-torch.inf, device=ids.device)
    for x,a in self.states(ids[order], lengths):
        x,rows,b = x.float(),len(x),a+x.shape[1]
        if lens[rows-1] >= b and lens[0]-self.max_len <= a: s,m = x.sum(1),x.amax(1)
        else:
            t = torch.arange(a, b, device=x.device)
            keep = ((t < lengths[:rows,None]) & (t >= begin[:rows,None])).unsqueeze(-1)
            s,m = (x*keep).sum(1),x.masked_fill(~keep, -torch.inf).amax(1)
        total,top,go = total+s,torch.maximum(top, m),sum(n > b for n in lens)
        if go < rows:
            n = lengths[go:rows]
            last = x[go:][torch.arange(rows-go, device=x.device), n-1-a]
            done.append(torch.cat([last, top[go:], total[go:]/n.clamp(max=self.max_len).unsqueeze(-1)], 1))
            total,top = total[:go],top[:go]
    return torch.cat(done[::-1])[order.argsort()]

@pytest.mark.parametrize('bptt,max_len', [(70, 1400), (30, 100), (7, 5000)])
def test_concat_pooling_is_bit_for_bit_what_it_was(bptt, max_len):
    args = pad_docs(some_docs((1, 69, 70, 71, 200, 3, 140, 20)))
    grads = []
    for pool in (TextClassifier.pool, pool_of_before):
        model = classifier('concat', bptt=bptt, max_len=max_len).train()
        torch.manual_seed(5)
        h = pool(model, *args)
        h.square().sum().backward()
        grads.append((h.detach(), *(p.grad for p in model.backbone.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))

def test_defaults_hold_no_new_weights():
    model = TextClassifier(AWDLSTM(50, SIZE), 3)
    assert type(model.pooling) is ConcatPool
    assert {k.split('.')[0] for k in model.state_dict()} == {'backbone', 'head'} and not [k for k in model.state_dict() if 'skip' in k]
    assert set(LanguageModel(AWDLSTM(50, SIZE)).state_dict()) == {'bias', 'backbone.encoder.weight', *(f'backbone.rnns.{i}.{k}_l0' for i in range(3) for k in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'))}
    assert not AWDLSTM(50, SIZE).config['skip']

# ---- attention pooling --------------------------------------------------------------------------------------------

def by_hand(model, doc):
    "No batch, no chunk, no running sum."
    h = model.backbone(torch.from_numpy(doc[None]).long())[0][-1][0, -model.max_len:]
    alpha = model.pooling.score(h[None])[0].softmax(0)
    return torch.cat([h[-1], h.amax(0), (alpha*h).sum(0)])

def test_attention_prediction_depends_on_the_text_alone():
    docs,model,rng = some_docs((1, 69, 70, 71, 1400, 1500, 3, 140, 1401, 20)),classifier(),np.random.default_rng(0)
    alone = torch.cat([predict_logits(model, [d]) for d in docs])
    for bs in (2, 3, 10):
        for order in (np.arange(10), rng.permutation(10)):
            torch.testing.assert_close(predict_logits(model, [docs[i] for i in order], bs), alone[order], atol=1e-5, rtol=0)
    ids,lengths = pad_docs(docs)
    torch.testing.assert_close(model(torch.cat([ids, torch.ones(10, 500, dtype=torch.long)], 1), lengths), alone, atol=1e-5, rtol=0)

@pytest.mark.parametrize('bptt,max_len', [(70, 1400), (10, 25), (13, 70), (5000, 5000)])
def test_attention_in_chunks_is_attention_at_once(bptt, max_len):
    docs,model = some_docs((1, 9, 10, 11, 25, 26, 200, 71)),classifier(bptt=bptt, max_len=max_len)
    with torch.inference_mode(): torch.testing.assert_close(model.pool(*pad_docs(docs)), torch.stack([by_hand(model, d) for d in docs]), atol=1e-5, rtol=0)

def test_attention_with_extreme_scores():
    docs,model = some_docs((300, 40, 1)),classifier(std=1e4)   # scores far beyond what exp can take
    with torch.inference_mode(): got,want = model.pool(*pad_docs(docs)),torch.stack([by_hand(model, d) for d in docs])
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)

def test_gradients_of_attention_in_chunks():
    docs,grads = some_docs((33, 150, 71, 9)),[]
    for pool in (lambda m: m.pool(*pad_docs(docs)), lambda m: torch.stack([by_hand(m, d) for d in docs])):
        model = classifier(bptt=30, full_bptt=True)
        pool(model).square().sum().backward()
        grads.append([p.grad for p in (*model.backbone.parameters(), *model.pooling.parameters())])
    for a,b in zip(*grads, strict=True): torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)

def test_attention_begins_as_concat_pooling():
    docs,a,b = some_docs((1, 70, 71, 300)),classifier(std=0.),classifier('concat')
    a.backbone.load_state_dict(b.backbone.state_dict())
    with torch.inference_mode(): torch.testing.assert_close(a.pool(*pad_docs(docs)), b.pool(*pad_docs(docs)), atol=1e-5, rtol=0)

def test_padding_gets_zero_gradient_under_attention():
    model = classifier().train()
    ids,lengths = pad_docs(some_docs((4, 150, 71, 9)))
    embedded = []
    hook = model.backbone.encoder.register_forward_hook(lambda m, i, o: (o.retain_grad(), embedded.append((i[0], o))) and None)
    model(ids, lengths, torch.tensor([0, 1, 0, 1])).loss.backward()
    hook.remove()
    assert model.backbone.encoder.weight.grad[1].abs().sum() == 0
    for i,o in embedded: assert o.grad[i == 1].abs().sum() == 0 and o.grad[i != 1].abs().sum() > 0

@pytest.mark.parametrize('full', [False, True])
def test_window_and_graph_under_attention(full):
    model,seen = classifier(bptt=10, max_len=25, full_bptt=full),[]
    hook = model.backbone.encoder.register_forward_hook(lambda m, i, o: seen.append(o.requires_grad))
    model.pool(*pad_docs(some_docs((60, 60))))
    hook.remove()
    assert seen == [False]*3 + [True]*(2 if full else 3)  # chunks before the window are read without a graph

def test_attention_keeps_no_states():
    model = classifier()
    alive,most,states = set(),[],model.states
    def watched(*args):
        for i,(x,a) in enumerate(states(*args)):
            alive.add(i); weakref.finalize(x, alive.discard, i); most.append(len(alive))
            yield x,a
    model.states = watched
    with torch.inference_mode(): model.pool(*pad_docs(some_docs((1400,))), [*range(70, 1401, 70)])
    assert len(most) == 20 and max(most) <= 2

def test_attention_under_bfloat16():
    docs,model = some_docs((1, 69, 71, 300)),classifier(std=.5)
    p = [predict_logits(model, docs, bs, precision='bf16').softmax(1) for bs in (1, 4)]
    assert (p[0]-p[1]).abs().max() < 2e-3 and (p[0]-predict_logits(model, docs).softmax(1)).abs().max() < 1e-2

@pytest.mark.parametrize('recipe', ['freez', 'last'])
def test_attention_trains_with_the_head(recipe):
    docs,model = some_docs([20]*16),classifier(std=0.).train()
    t = Trainer(model, ClasBatches(docs, np.arange(16) % 3, 8), recipe_phases(recipe, len(model.layer_groups()), 5), CPU, progress=False)
    assert {id(p) for p in t.groups[-1]} == {id(p) for m in (model.pooling, model.head) for p in m.parameters()}
    before = [p.detach().clone() for p in model.pooling.parameters()],[p.detach().clone() for p in model.backbone.parameters()]
    while t.phase == 0: t.fit(steps=t.step+1)           # the first phase: head and pooling
    assert not torch.equal(model.pooling.query.weight, before[0][-1])
    assert all(torch.equal(p, q) for p, q in zip(model.backbone.parameters(), before[1]))

def test_attention_weights():
    model,(long,short) = classifier(max_len=100),some_docs((250, 7))
    for doc in (long, short):
        w = attention_weights(model, doc)
        assert w.shape == (min(100, len(doc)),) and w.sum() == pytest.approx(1, abs=1e-5) and w.max() > 1.01/len(w)
    h = model.backbone(torch.from_numpy(long[None]).long())[0][-1][0, -100:].detach().numpy()
    np.testing.assert_allclose(attention_weights(model, long)@h, model.pool(*pad_docs([long])).detach()[0, 24:].numpy(), atol=1e-5)
    with pytest.raises(InputError, match='without attention'): attention_weights(classifier('concat'), short)

def test_unknown_pooling():
    with pytest.raises(InputError, match='unknown pooling .median.: choose one of concat, attention'): pool_class('median')
    with pytest.raises(InputError, match='unknown pooling'): ULMFiT(None, pool='median').check()

# ---- skip connections ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize('size', [(12, 20, 3), (16, 16, 2), (8, 12, 1)])
def test_skip_connections_begin_at_nothing_or_as_the_identity(size):
    torch.manual_seed(0)
    plain = AWDLSTM(50, size, LM_DROPOUTS)
    torch.manual_seed(0)
    added = AWDLSTM(50, size, LM_DROPOUTS).add_skip()
    torch.manual_seed(0)
    fresh = AWDLSTM(50, size, LM_DROPOUTS, skip=True)     # the same random numbers for all else
    ids = torch.randint(5, 50, (3, 40))
    for a,b in ((plain.eval(), added.eval()), (plain.train(), added.train())):
        outs = []
        for m in (a, b): torch.manual_seed(1); outs.append(m(ids)[1])
        assert torch.equal(*outs)
    for m,start in ((added, 0.), (fresh, 1.)):
        for r in m.rnns: assert torch.equal(r.skip, torch.full((r.n_out,), start) if r.n_in == r.n_out else start*torch.eye(r.n_out, r.n_in))
    assert all(torch.equal(v, fresh.state_dict()[k]) for k,v in plain.state_dict().items())
    assert added.config == fresh.config and fresh.config['skip'] is True and plain.config['skip'] is False
    was = [r.skip for r in fresh.rnns]
    assert all(a is r.skip for a, r in zip(was, fresh.add_skip().rnns)) # asked again: nothing new

def test_skip_weights_add_the_input():
    m = language_model(skip=True).backbone
    for r in m.rnns: nn.init.normal_(r.skip)
    x = torch.randn(2, 9, 12)
    for r in m.rnns:
        w,r.skip = r.skip,None
        y = r(x)[0]
        r.skip = w
        torch.testing.assert_close(r(x)[0], y + (x*w if w.dim() == 1 else x@w.T))
        x = y

def test_skip_connections_train_and_carry_state():
    m = language_model(skip=True)
    for r in m.backbone.rnns: nn.init.normal_(r.skip, std=.3)
    ids = torch.randint(5, 50, (2, 50))
    whole,state,parts = m(ids)[0],None,[]
    for c in ids.split(17, 1): y,state = m(c, state); parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)
    m.train()(ids[:, :-1], None, ids[:, 1:]).loss.backward()
    assert all(r.skip.grad.abs().sum() > 0 for r in m.backbone.rnns)
    grouped = {id(p) for g in m.layer_groups() for q in g for p in (q.parameters() if isinstance(q, nn.Module) else [q])}
    assert grouped == {id(p) for p in m.parameters()}

def test_backbones_with_and_without_skip_connections(tmp_path):
    tok = Tokenizer.train(TEXTS, kind='word', vocab_size=300, min_count=1, n_workers=1)
    corpus = Corpus.from_docs([tok.encode(t) for t in TEXTS], tok.vocab_size)
    m = pretrain(corpus, size=(12, 20, 2), skip=True, cfg=CPU, bs=4, bptt=12, progress=False).model
    assert all(r.skip.abs().sum() > 0 for r in m.backbone.rnns)
    save_backbone(tmp_path/'skip', dict(forward=m), tok)
    again,_ = load_backbone(tmp_path/'skip')
    assert equal(m, again) and json.loads((tmp_path/'skip/config.json').read_text())['model']['skip'] is True
    new = Tokenizer.train(TEXTS + ['another word here']*3, kind='word', vocab_size=300, min_count=1, n_workers=1)
    moved,_ = transfer_vocab(m, tok, new)
    assert all(torch.equal(a.skip, b.skip) for a, b in zip(m.backbone.rnns, moved.backbone.rnns))
    plain = LanguageModel(AWDLSTM(tok.vocab_size, (12, 20, 2)))
    save_backbone(tmp_path/'plain', dict(forward=plain), tok)
    config = json.loads((tmp_path/'plain/config.json').read_text())
    del config['model']['skip']                           # as written before there were skip connections
    (tmp_path/'plain/config.json').write_text(json.dumps(config))
    assert equal(plain, load_backbone(tmp_path/'plain')[0])
    clf = ULMFiT(tmp_path/'plain', skip=True, lm_epochs=1, epochs=2, random_state=0, device='cpu', progress=False).fit(TEXTS, LABELS)
    assert all(r.skip.abs().sum() > 0 for r in clf.models_['forward'].backbone.rnns)

# ---- the cache ----------------------------------------------------------------------------------------------------

def corpus(lengths=(20, 2, 1, 30, 11), seed=0): return Corpus.from_docs(some_docs(lengths, seed), 50)

def flat(c, **kw): return LMBatches(c, **dict(bs=1, variable=False, shuffle=False) | kw)

def cache_by_hand(model, ids, theta, window, forget):
    "The distribution of the cache at every position, by loops; nan where it is empty."
    h,res = model.backbone(torch.from_numpy(ids[None, :-1]).long())[0][-1][0],[]
    dots = (h@h.T).tolist()
    for t in range(len(h)):
        p = torch.zeros(50, dtype=torch.float64)
        for i in range(max(0, t-window), t):
            if forget is None or forget not in ids[i+1:t+1]: p[ids[i+1]] += math.exp(theta*dots[t][i])
        res.append(p/p.sum())
    return torch.stack(res)

@pytest.mark.parametrize('theta,window,forget', [(0., 1000, None), (.7, 1000, None), (2., 5, None), (.7, 1, None), (.7, 1000, BOS), (.7, 8, BOS)])
@torch.inference_mode()
def test_cache_is_the_formula(theta, window, forget):
    m,c = language_model(),corpus()
    ids = np.concatenate([c[i] for i in range(len(c))])
    want = cache_by_hand(m, ids, theta, window, forget)
    full = want[~want.isnan().any(1)]
    torch.testing.assert_close(full.sum(1), torch.ones(len(full), dtype=torch.float64))
    want = want[torch.arange(len(ids)-1), torch.from_numpy(ids[1:]).long()].float()
    for bptt in (1, 7, 1000):
        lm,got = cache_probs(m, flat(c, bptt=bptt), (3., theta), window, forget)
        assert got.shape == (2, 1, len(ids)-1) and lm.shape == (1, len(ids)-1)
        torch.testing.assert_close(got[1, 0], want, atol=1e-4, rtol=0, equal_nan=True)
        plain = m(torch.from_numpy(ids[None, :-1]).long())[0].softmax(-1)[0, torch.arange(len(ids)-1), torch.from_numpy(ids[1:]).long()]
        torch.testing.assert_close(lm[0], plain.log(), atol=1e-4, rtol=0)

def test_cache_of_each_row_is_its_own():
    m,c = language_model(),corpus((40, 40, 41))
    lm,cache = cache_probs(m, flat(c, bs=3, bptt=9), (.5,), 100)
    for i in range(3):
        a,b = cache_probs(m, flat(Corpus.from_docs([c[i]], 50), bptt=9), (.5,), 100)
        torch.testing.assert_close(lm[i, :39], a[0, :39], atol=1e-5, rtol=0)
        torch.testing.assert_close(cache[0, i, :39], b[0, 0, :39], atol=1e-4, rtol=0, equal_nan=True)

def test_perplexity_with_a_cache():
    m,c = language_model(),corpus()
    m.train()
    for bs in (1, 3, 16): assert perplexity(m, c, bs, cache=Cache(1., 0.)) == pytest.approx(perplexity(m, c, bs), rel=1e-4)
    assert m.training
    p = perplexity(m, c, 1, cache=Cache(.5, .3, 50))
    lm,cache = cache_probs(m, flat(c), (.5,), 50)
    assert p == pytest.approx(Cache(.5, .3, 50).nll(lm, cache[0]).mean().exp().item(), rel=1e-5)
    assert perplexity(m, c, 1, backward=True, cache=Cache(.5, .3, 50)) != p

def test_a_word_that_the_model_excludes_costs_a_finite_sum():
    m,c = language_model(),corpus()
    with torch.no_grad(): m.bias[8] = -120. # a probability that float32 does not hold
    assert 8 in c.ids
    plain = perplexity(m, c, 1)
    assert perplexity(m, c, 1, cache=Cache(.3, 0.)) == pytest.approx(plain, rel=1e-4)
    assert perplexity(m, c, 1, cache=Cache(.3, .1)) < 2*plain

def test_cache_gains_on_repetition_and_loses_on_noise():
    m,rng = language_model(),np.random.default_rng(0)
    with torch.no_grad(): [p.mul_(5) for p in m.backbone.rnns.parameters()] # states that differ from word to word
    part = rng.integers(5, 50, 25)
    repeated = Corpus.from_docs([np.r_[2, np.tile(part, 8)].astype(np.int32)], 50)
    noise = Corpus.from_docs([np.r_[2, rng.integers(5, 50, 200)].astype(np.int32)], 50)
    best,grid = tune_cache(m, repeated, (0., 1., 5.), (.1, .5, .9), 100)
    assert grid.shape == (3, 3) and best.theta > 0 and perplexity(m, repeated, 1, cache=best) == pytest.approx(grid.min(), rel=1e-3)
    assert perplexity(m, repeated, 1, cache=best) < .5*perplexity(m, repeated, 1)
    assert perplexity(m, noise, 1, cache=Cache(4., .9)) > perplexity(m, noise, 1)

def test_bad_cache():
    for kw in (dict(lam=1.), dict(lam=-.1), dict(lam=math.nan), dict(theta=-1.), dict(theta=math.inf), dict(window=0), dict(window=2.5)):
        with pytest.raises(InputError): Cache(**kw)
    with pytest.raises(InputError, match='window=0'): cache_probs(None, None, window=0)

def test_autocast_of_the_caller_does_not_reach_what_is_read_off():
    m,c,clf = language_model(),corpus(),classifier()
    def read(): return cache_probs(m, flat(c), (.5,), 50), hypercolumns(m.backbone, some_docs((5, 9))), attention_weights(clf, some_docs((80,))[0])
    (lm,cache),columns,weights = read()
    with torch.autocast('cpu', torch.bfloat16): again = read()
    assert torch.equal(lm, again[0][0]) and torch.equal(cache.nan_to_num(), again[0][1].nan_to_num())
    assert (columns == again[1]).all() and (weights == again[2]).all()

def test_a_cache_is_chosen_among_what_comes_one_by_one():
    m,c = language_model(),corpus()
    best,grid = tune_cache(m, c, (0., 1.), (.1, .5), 100)
    again,same = tune_cache(m, c, iter((0., 1.)), iter((.1, .5)), 100)
    assert best == again and (grid == same).all()
    for thetas,lams in (((), (.1,)), ((1.,), ())):
        with pytest.raises(InputError, match='nothing to choose from'): tune_cache(m, c, thetas, lams)
    with pytest.raises(InputError, match='lam=1.5'): tune_cache(None, None, (0.,), (1.5,)) # before anything is read
    with pytest.raises(InputError, match='no theta'): cache_probs(m, flat(c), ())

def test_ids_without_a_row_and_classes_that_are_none_get_their_sentence():
    m = classifier()
    for wrong in ([2, 50], [2, -1]):
        with pytest.raises(InputError, match=f'an id of {wrong[1]}, and the vocabulary holds 50'): hypercolumns(m.backbone, [wrong])
        with pytest.raises(InputError, match=f'an id of {wrong[1]}, and the vocabulary holds 50'): attention_weights(m, wrong)
    for labels in ([.9, 1.7], [float('nan'), 1.], ['0', '1']):
        with pytest.raises(InputError, match='labels are class indices'): ClasBatches([[2, 5], [2, 6]], labels, 2)

# ---- saved models -------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def fitted():
    return ULMFiT(None, size=(12, 20, 2), direction='both', pool='attention', skip=True, vocab_size=100, epochs=3, lm_epochs=1, random_state=0, device='cpu', progress=False).fit(TEXTS, LABELS)

def test_saved_model_loads_where_nobody_imported_extensions(fitted, tmp_path):
    fitted.save(tmp_path/'model')
    config = json.loads((tmp_path/'model/config.json').read_text())
    assert config['settings']['pool'] == 'attention' and config['settings']['skip'] is True and config['model']['skip'] is True
    code = ('import sys, numpy as np\nfrom ulmfit_nb import ULMFiT\nassert "ulmfit_nb.extensions" not in sys.modules\n'
        f'm = ULMFiT.load({str(tmp_path/"model")!r}, device="cpu")\nnp.save({str(tmp_path/"p.npy")!r}, m.predict_proba({TEXTS[:5]!r}))\nprint(m.pool, m.skip, type(m.models_["backward"].pooling).__name__)')
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=Path(__file__).parent.parent, stdin=subprocess.DEVNULL)
    assert r.returncode == 0, r.stderr
    assert r.stdout.split() == ['attention', 'True', 'AttentionPool']
    np.testing.assert_allclose(np.load(tmp_path/'p.npy'), fitted.predict_proba(TEXTS[:5]), atol=1e-6)

def test_loaded_model_trains_as_the_first_did(tmp_path):
    from sklearn.base import clone
    params = dict(backbone=None, size=(12, 20, 2), vocab_size=np.int64(100), min_count=1, epochs=3, lm_epochs=1, lr=.02, pool='attention', random_state=3, device='cpu', progress=False)
    clf = ULMFiT(**params).fit(TEXTS, LABELS)
    clf.save(tmp_path/'m')
    again = clone(ULMFiT.load(tmp_path/'m', device='cpu')).set_params(progress=False).fit(TEXTS, LABELS)
    assert np.array_equal(again.predict_proba(TEXTS), clf.predict_proba(TEXTS))
    clf.set_params(random_state=np.random.RandomState(0)).save(tmp_path/'m') # a generator has no place in a file
    assert ULMFiT.load(tmp_path/'m').random_state is None

def test_saved_model_of_before_loads(tmp_path):
    clf = ULMFiT(None, size=(12, 20, 2), vocab_size=100, epochs=2, lm_epochs=0, random_state=0, device='cpu', progress=False).fit(TEXTS, LABELS)
    clf.save(tmp_path)
    config = json.loads((tmp_path/'config.json').read_text())
    assert config['settings'].pop('pool') == 'concat' and config['settings'].pop('skip') is False and config['model'].pop('skip') is False
    del config['params']
    (tmp_path/'config.json').write_text(json.dumps(config))
    again = ULMFiT.load(tmp_path, device='cpu')
    assert again.pool == 'concat' and np.array_equal(again.predict_proba(TEXTS), clf.predict_proba(TEXTS))

@pytest.mark.parametrize('where,key,value', [('settings', 'pool', 'median'), ('settings', 'pool', 'os.system'), ('settings', 'pool', 7), ('settings', 'pool', ['concat']), ('settings', 'pool', 'concat'), ('model', 'skip', False)])
def test_config_that_does_not_fit_is_refused(where, key, value, fitted, tmp_path):
    fitted.save(tmp_path)
    config = json.loads((tmp_path/'config.json').read_text())
    config[where][key] = value
    (tmp_path/'config.json').write_text(json.dumps(config))
    with pytest.raises(InputError) as e: ULMFiT.load(tmp_path)
    assert '\n' not in str(e.value)

def test_estimator_is_still_a_scikit_learn_citizen(fitted):
    from sklearn.base import clone
    assert clone(fitted).get_params() == fitted.get_params() and fitted.get_params()['pool'] == 'attention'
    probs,alone = fitted.predict_proba(TEXTS),np.concatenate([fitted.predict_proba([t]) for t in TEXTS])
    np.testing.assert_allclose(probs, alone, atol=1e-5)

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_attention_asks_how_a_state_looks_and_not_how_long_it_is():
    p,x = classifier().pooling,torch.randn(2, 5, SIZE[0], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(p.score(30*x + 1), p.score(x), atol=1e-3, rtol=1e-3)

def test_what_is_forgotten_stays_forgotten():
    m,c = language_model(),corpus()
    best,grid = tune_cache(m, c, (.5,), (.3,), 100, BOS)
    assert best == Cache(.5, .3, 100, BOS) and perplexity(m, c, 1, cache=best) == pytest.approx(grid.item(), rel=1e-3)
    assert perplexity(m, c, 1, cache=Cache(.5, .3, 100)) != pytest.approx(grid.item(), rel=1e-3) # words of other documents are remembered

def test_a_cache_refuses_the_ids_of_another_vocabulary():
    with pytest.raises(InputError, match='12'): tune_cache(LanguageModel(AWDLSTM(20, (4, 4, 2))), Corpus.from_docs([[2, 3, 1, 5]*9], 12), thetas=(0.,), lams=(.1,))
