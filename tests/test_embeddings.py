"Word vectors: brute-force twins, faults, edge cases and seeds."
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ulmfit_nb.corpus import InputError
from ulmfit_nb.embeddings import SkipGram, SubwordVectors, WordVectors, cooccurrence, pair_loss, pieces, ppmi, ppmi_vectors, train_skipgram, word_ids, words

pytestmark = pytest.mark.usefixtures('one_thread')

def some_docs(n_docs=30, vocab_size=20, seed=0):
    "Documents of 0 to 14 ids, low ids more often."
    rng = np.random.default_rng(seed)
    return [(vocab_size*rng.random(rng.integers(15))**2).astype(np.int64) for _ in range(n_docs)]

# ---- counting
@pytest.mark.parametrize('window', [1, 3, 40])
def test_cooccurrence_by_brute_force(window):
    docs,want = some_docs(),np.zeros((20, 20))
    for d in docs:
        for i,a in enumerate(d):
            for j,b in enumerate(d):
                if 0 < abs(i-j) <= window: want[a, b] += (window+1-abs(i-j))/window
    np.testing.assert_allclose(cooccurrence(docs, 20, window).toarray(), want, atol=1e-9)

def test_ppmi_by_brute_force():
    m = cooccurrence(some_docs(), 22) # two words that never occur
    a,c = m.toarray(),m.toarray().sum(1)
    with np.errstate(divide='ignore', invalid='ignore'): want = np.log((a/a.sum())/np.outer(c/a.sum(), c**.75/(c**.75).sum()))
    np.testing.assert_allclose(ppmi(m).toarray(), np.nan_to_num(want, nan=0., neginf=0.).clip(0), atol=1e-9)
    v = ppmi_vectors(m, 5)
    assert np.isfinite(v).all() and not v[20:].any()

def test_svd_of_all_components_is_exact():
    m = cooccurrence(some_docs(), 20)
    v = ppmi_vectors(m, 20, power=.5) # u s^.5: its Gram matrix is the square root of P P'
    np.testing.assert_allclose((v@v.T)@(v@v.T), (ppmi(m)@ppmi(m).T).toarray(), atol=1e-2)

@pytest.mark.parametrize('dim', [0, 21])
def test_impossible_dimensions(dim):
    with pytest.raises(InputError, match='between 1 and the 20'): ppmi_vectors(cooccurrence(some_docs(), 20), dim)

# ---- words
def test_words_are_letters_of_any_alphabet():
    assert words('Öl_42 и вода, Đà Nẵng; 東京 x2') == ['öl', 'и', 'вода', 'đà', 'nẵng', '東京', 'x']
    assert words('') == words('12 --') == []
    assert len(words('a'+'\u0301\u0316'*1000)[0]) <= 31 # more marks on one letter would take ever longer to put in order

def test_vocabulary_order_and_ties():
    docs = [['b', 'a', 'c'], [], ['c', 'b', 'a'], ['c']]
    assert word_ids(docs, min_count=2)[0] == ['c', 'a', 'b'] # ties by the alphabet, not by the hash
    v,ids = word_ids(docs, ['b'])
    assert v == ['b'] and [d.tolist() for d in ids] == [[0], [], [0], []]
    assert [d.tolist() for d in word_ids((d for d in docs), min_count=2)[1]] == [[2, 1, 0], [], [0, 2, 1], [0]] # also where they come one by one

def test_documents_may_come_one_by_one_and_are_lists_of_words():
    docs = [['a', 'b']*5, ['b']]
    v,ids = word_ids(d for d in docs)
    assert v == ['b', 'a'] and [d.tolist() for d in ids] == [[1, 0]*5, [0]]
    wv = WordVectors(v, np.eye(2))
    np.testing.assert_array_equal(wv.embed(d for d in docs), wv.embed(docs))
    for f in (word_ids, wv.embed):
        for text in (['a b'], 'a b'):
            with pytest.raises(InputError, match='list of words'): f(text)

def test_no_text_is_said():
    with pytest.raises(InputError, match='5 times'): word_ids([['rare']])
    for f in (cooccurrence, train_skipgram):
        for docs in ([], [np.array([], np.int64)]):
            with pytest.raises(InputError, match='hold no word'): f(docs, 3)

# ---- skip-gram
def bags():
    rng = np.random.default_rng(1)
    return [[i, *(20 + rng.integers(0, 7, rng.integers(0, 5)))] for i in range(20)] # rows shared and repeated

def test_step_is_the_gradient_of_the_whole():
    "One step against autograd through full tables; Adagrad gathers each occurrence of a row apart."
    m = SkipGram(20, 4, bags(), seed=3)
    m.out.normal_(generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(2)
    centre,context,noise = (torch.from_numpy(rng.integers(0, 20, n)) for n in (50, 50, 6))
    inp,out = m.inp.clone().requires_grad_(),m.out.clone().requires_grad_()
    v = torch.stack([inp[p].mean(0) for p in bags()])
    want = (F.softplus(-(v[centre]*out[context]).sum(1)) + 5*F.softplus(v[centre]@out[noise].t()).mean(1)).sum()
    gi,go = torch.autograd.grad(want, (inp, out))
    seen = []
    m.update = lambda i, rows, grad, lr: seen.append(torch.zeros_like((m.inp, m.out)[i]).index_add(0, rows, grad))
    m.step(centre, context, noise)
    torch.testing.assert_close(seen[0], gi, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(seen[1]+seen[2], go, atol=1e-5, rtol=1e-4)
    assert m.losses == [pytest.approx(want.item()/50, rel=1e-5)]

def test_only_touched_rows_change():
    m = SkipGram(20, 4)
    before = m.inp.clone()
    m.out.normal_()
    m.step(torch.tensor([3, 3]), torch.tensor([4, 5]), torch.tensor([6]))
    assert [i for i in range(20) if not torch.equal(before[i], m.inp[i])] == [3]

def test_seeds():
    docs = some_docs(100)
    a,b,c = (train_skipgram(docs, 20, 8, seed=s, bs=16) for s in (0, 0, 1))
    assert torch.equal(a.inp, b.inp) and a.losses == b.losses and not torch.equal(a.inp, c.inp)
    torch.rand(3); assert torch.equal(train_skipgram(docs, 20, 8, seed=0, bs=16).inp, a.inp) # whatever ran before

def test_windows_stay_in_their_document():
    "Words that never share a document never meet, so nothing pulls them together."
    seen = set()
    class Spy(SkipGram):
        def step(self, centre, context, noise, k, lr): seen.update(zip(centre.tolist(), context.tolist()))
    import ulmfit_nb.embeddings as e
    with pytest.MonkeyPatch.context() as mp:
        mp.setattr(e, 'SkipGram', Spy)
        e.train_skipgram([np.array([0, 1, 2]), np.array([3, 4]), np.array([5])]*20, 6, window=2, sample=1., bs=7)
    assert seen == {(a, b) for a in range(3) for b in range(3) if a != b} | {(3, 4), (4, 3)}

def test_texts_of_one_word():
    m = train_skipgram([np.array([0]), np.array([1])], 3, 4, sample=1.)
    assert m.losses == [] and torch.isfinite(m.inp).all()

def test_shared_noise_keeps_the_expectation():
    torch.manual_seed(0)
    v,u,pool = torch.randn(2, 4),torch.randn(3, 4),torch.randn(10, 4)
    which = torch.tensor([0, 0, 1])
    exact = pair_loss(v, which, u, pool).item() # every word once: uniform noise without sampling
    drawn = np.mean([pair_loss(v, which, u, pool[torch.randint(10, (3,))]).item() for _ in range(4000)])
    assert drawn == pytest.approx(exact, rel=.02)

# ---- holding vectors
def test_shapes_are_checked():
    for bad in ([[1., 2.]], [1., 2.], np.zeros((3, 2))):
        with pytest.raises(InputError, match='one row a word'): WordVectors(['a', 'b'], bad)

def test_zero_rows_and_strangers():
    wv = WordVectors(['a', 'b', 'zero'], [[3., 0], [1, 1], [0, 0]])
    assert wv.similarity('a', 'zero') == 0 and wv.neighbours('a', 99)[0][0] == 'b' and len(wv.neighbours('a', 99)) == 2
    assert wv.neighbours('zero', 1)[0][1] == 0
    with pytest.raises(InputError, match="'c' has no vector"): wv.neighbours('c')
    assert wv.embed([]).shape == (0, 2)
    np.testing.assert_allclose(wv.embed([['a', 'c'], [], ['c'], ['a', 'a', 'b']]), [[1, 0], [0, 0], [0, 0], [(2+.5**.5)/3, .5**.5/3]], atol=1e-6)

# ---- pieces
def test_pieces_of_short_words():
    assert pieces('') == [] and pieces('a') == ['<a>'] and pieces('ab') == ['<ab', 'ab>', '<ab>']
    assert len(pieces('ñandú')) == 5+4+3+2

def test_subwords():
    vocab,ids = word_ids([['cat', 'cats', 'dog', 'dogs']*3]*4)
    a,b = (SubwordVectors.train(ids, vocab, dim=8, buckets=50, seed=1) for _ in range(2))
    np.testing.assert_array_equal(a.vectors, b.vectors)
    np.testing.assert_allclose(a.vectors[0], a.table[[0, *a.rows(vocab[0])]].mean(0), atol=1e-6)
    assert 'Đồ' in a and a['Đồ'].shape == (8,) and np.isfinite(a['Đồ']).all() and '' not in a
    assert min(a.rows('dogma')) >= len(vocab) and max(a.rows('dogma')) < len(a.table)
    with pytest.raises(InputError, match='no vector'): a['']
    assert a.embed([['unseen'], []]).any(1).tolist() == [True, False]
    assert len(a.neighbours('doggy', 2)) == 2

@pytest.mark.parametrize('text,want', [('İstanbul güzel', 2), ('हिन्दी भाषा', 2), ('cafe\u0301s', 1), ('it’s A_b 3 x1y', 6)])
def test_words_of_other_alphabets(text, want): assert len(words(text)) == want and words('cafe\u0301') == ['café']

def test_skipgram_without_subsampling():
    docs = [np.array([2, 5, 6, 7, 5, 6]*5, np.int32)]*8
    model = train_skipgram(docs, 20, 8, sample=0, bs=16)
    assert len(model.losses) and model.losses[-1] < model.losses[0]

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_windows_are_drawn_and_settings_reach_every_step(monkeypatch):
    import ulmfit_nb.embeddings as e
    pairs,seen = [],set()
    class Spy(SkipGram):
        def step(self, centre, context, noise, k, lr):
            pairs.extend((centre-context).abs().tolist()); seen.add((k, lr, len(noise)))
    monkeypatch.setattr(e, 'SkipGram', Spy)
    docs = [np.arange(200)]
    def far(**kw): pairs.clear(); e.train_skipgram(docs, 200, window=4, **kw); return np.bincount(pairs, minlength=5)
    n = far(sample=0, k=3., lr=.05, shared=7)
    assert seen == {(3., .05, 7)} and n[0] == 0 and n[1] == 2*199 and n[1] > n[2] > n[3] > n[4] > 0 and n[4] < n[1]/3
    assert far(sample=0, epochs=3).sum() > 2.5*n.sum() and far(sample=1e-4).sum() < .5*n.sum()

def test_frequent_words_are_skipped_by_the_root_and_drawn_by_the_power(monkeypatch):
    import ulmfit_nb.embeddings as e
    centres,noises = [],[]
    class Spy(SkipGram):
        def step(self, centre, context, noise, k, lr): centres.extend(centre.tolist()); noises.extend(noise.tolist())
    monkeypatch.setattr(e, 'SkipGram', Spy)
    docs = [np.random.default_rng(0).permutation(np.repeat([0, 1], [16000, 1000]))]
    e.train_skipgram(docs, 2, window=1, sample=.01, bs=8, shared=64)
    n = np.bincount(centres)
    assert n[0]/n[1] == pytest.approx(4, rel=.2)                # 16 times as frequent, kept a quarter as often
    n = np.bincount(noises)
    assert n[0]/n[1] == pytest.approx(16**.75, rel=.2)

def test_power_and_alpha_act():
    m = cooccurrence(some_docs(), 20)
    np.testing.assert_allclose(np.linalg.norm(ppmi_vectors(m, 3, power=0.), axis=0), 1, atol=1e-4)
    assert np.linalg.norm(ppmi_vectors(m, 3, power=1.), axis=0)[0] > 1.5 and np.abs(ppmi_vectors(m, 3, alpha=1.)-ppmi_vectors(m, 3)).max() > .01

def test_an_unseen_word_has_a_direction_too():
    v = SubwordVectors(['cat'], np.random.default_rng(0).normal(size=(21, 8)))
    assert np.linalg.norm(v['dog']) == pytest.approx(1) and -1 <= v.similarity('cat', 'dog') <= 1

def test_adagrad_divides_by_the_root_of_what_came():
    m = SkipGram(3, 2)
    before,grad = m.inp.clone(),torch.tensor([[3., 4.]])
    for _ in range(2): m.update(0, torch.tensor([1]), grad, .1)
    torch.testing.assert_close(before[1]-m.inp[1], .1*grad[0]/12.5**.5*(1 + 2**-.5))

def test_settings_reach_the_training_of_pieces():
    vocab,ids = word_ids([['cat', 'cats', 'dog', 'dogs']*3]*4)
    a,b = (SubwordVectors.train(ids, vocab, dim=4, buckets=50, **kw) for kw in ({}, dict(epochs=2)))
    assert not np.array_equal(a.table, b.table)

def test_vectors_of_pieces_want_rows_for_them():
    from ulmfit_nb.embeddings import SubwordVectors
    with pytest.raises(InputError, match='buckets'): SubwordVectors(['ab', 'cd'], np.zeros((2, 4)))
    assert np.isfinite(SubwordVectors(['ab'], np.ones((5, 4)))['\ud800']).all()

def test_vectors_are_trained_whatever_the_caller_has_switched_off():
    from ulmfit_nb.embeddings import train_skipgram
    docs = [np.arange(6)]*20
    want = train_skipgram(docs, 6, 8).inp
    for off in (torch.no_grad, torch.inference_mode):
        with off(): assert torch.equal(train_skipgram(docs, 6, 8).inp, want)
