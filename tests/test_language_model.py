"Language models where lessons do not go: tiny corpora, odd prompts, broken directories, saves that fail half-way."
import json, math, os, shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import ulmfit_nb.storage as storage
from ulmfit_nb.awd_lstm import AWDLSTM, NO_DROPOUT, LanguageModel
from ulmfit_nb.corpus import InputError
from ulmfit_nb.fine_tuning import finetune_lm, transfer_vocab
from ulmfit_nb.ids import Corpus
from ulmfit_nb.language_model import LMBatches, evaluating, filter_scores, generate, lm_metrics, lm_scores, perplexity, pretrain, reverse_doc, train_lm
from ulmfit_nb.optimizers import TrainConfig
from ulmfit_nb.rules import BOS, PAD, UNK
from ulmfit_nb.storage import find_backbone, from_8bit, load_backbone, load_model, save_backbone, save_model, to_8bit
from ulmfit_nb.tokenization import Tokenizer

pytestmark = pytest.mark.usefixtures('one_thread')

CPU = TrainConfig(device='cpu', precision='float32')
TEXTS = [f'the {a} {b} sees the {c} and {d}.' for a in ('small', 'large', 'old') for b in ('cat', 'dog', 'hen') for c in ('house', 'tree') for d in ('sleeps', 'runs', 'eats')]
OTHER = [f'a {a} {b} near the {c}, it {d}.' for a in ('blue', 'old', 'red') for b in ('fish', 'dog', 'owl') for c in ('river', 'tree') for d in ('swims', 'runs', 'sleeps')]

def tokenizer(texts=TEXTS, kind='word', **kw): return Tokenizer.train(texts, kind=kind, **dict(vocab_size=300, min_count=1, n_workers=1) | kw)
def encoded(tok, texts): return Corpus.from_docs([tok.encode(t) for t in texts], tok.vocab_size)
def fresh(tok, seed=0, size=(16, 24, 2)):
    torch.manual_seed(seed)
    m = LanguageModel(AWDLSTM(tok.vocab_size, size, NO_DROPOUT))
    with torch.no_grad(): m.bias.normal_(std=.5)            # as if trained: no two scores alike
    return m
def equal(a, b): return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
def one_sentence(e):
    s = str(e.value)
    assert s and '\n' not in s and len(s) < 400 and 'Traceback' not in s

@pytest.fixture(scope='module')
def tok(): return tokenizer()

@pytest.fixture(scope='module')
def trained(tok): return pretrain(encoded(tok, TEXTS), size=(16, 24, 2), drop_mult=0., epochs=6, lr=2e-2, cfg=CPU, bs=4, bptt=12, progress=False).model

@pytest.fixture
def home(tok, tmp_path):
    save_backbone(tmp_path/'bb', dict(forward=fresh(tok), backward=fresh(tok, 1)), tok, [dict(step=1, valid_loss=2.)], data='sentences')
    return tmp_path/'bb'

# ---- batches

def test_two_tokens():
    for docs in ([[BOS, 7]], [[BOS], [7]]):
        src = LMBatches(Corpus.from_docs(docs, 10), bs=64, shuffle=False)
        [b] = list(src.batches())
        assert src.bs == 1 and b.n == 1 and b.inputs['ids'].tolist() == [[BOS]] and b.inputs['targets'].tolist() == [[7]]
    m = fresh(tokenizer())
    assert math.isfinite(lm_metrics(m, LMBatches(Corpus.from_docs([[BOS, 7]], m.backbone.vocab_size)))['valid_loss'])

@pytest.mark.parametrize('docs', [[], [[]], [[BOS]]])
def test_too_few_tokens(docs):
    with pytest.raises(InputError, match='two at least') as e: LMBatches(Corpus.from_docs(docs, 10))
    one_sentence(e)

@pytest.mark.parametrize('kw', [dict(bs=0), dict(bs=-3), dict(bptt=0)])
def test_impossible_shapes(kw):
    with pytest.raises(InputError, match='1 or more'): LMBatches(Corpus.from_docs([[BOS, 5, 6]], 10), **kw)

@pytest.mark.parametrize('n', [2, 3, 5, 17])
@pytest.mark.parametrize('bs', [1, 2, 16, 1000])
@pytest.mark.parametrize('backward', [False, True])
def test_more_rows_than_tokens(n, bs, backward):
    c = Corpus.from_docs([np.r_[BOS, 5+np.arange(n-1)]], 100)
    src = LMBatches(c, bs, 3, backward=backward)
    seen = [t for b in src.batches() for t in b.inputs['targets'].ravel().tolist() if t >= 0]
    assert sorted(seen) == list(range(5, n+4)) and src.bs <= n-1
    assert all((b.inputs['ids'] >= 0).all() for b in src.batches())

def test_empty_documents_are_passed_over():
    c = Corpus.from_docs([[], [BOS, 5], [], [], [BOS, 6, 7], []], 10)
    for e in range(5):
        seen = [t for b in LMBatches(c, 2, 2, variable=False).batches(e) for t in b.inputs['targets'].ravel().tolist() if t >= 0]
        assert sorted(seen) == [BOS, 5, 6, 7]

@pytest.mark.parametrize('variable', [False, True])
def test_skip_equals_dropping(tok, variable):
    src = LMBatches(encoded(tok, TEXTS), 5, 9, variable=variable)
    whole = list(src.batches(2))
    for k in (0, 1, 4, len(whole)-1, len(whole), len(whole)+3):
        part = list(src.batches(2, skip=k))
        assert len(part) == max(0, len(whole)-k)
        for a, b in zip(whole[k:], part): assert torch.equal(a.inputs['ids'], b.inputs['ids']) and torch.equal(a.inputs['targets'], b.inputs['targets']) and (a.n, a.lr_scale) == (b.n, b.lr_scale)

def test_an_epoch_needs_no_other_epoch(tok):
    c = encoded(tok, TEXTS)
    src = LMBatches(c, 4, 9)
    for e in range(3): list(src.batches(e))
    assert torch.equal(next(src.batches(7)).inputs['ids'], next(LMBatches(c, 4, 9).batches(7)).inputs['ids'])

def test_lengths_fill_an_epoch(tok):
    for bptt in (1, 2, 5, 70, 10_000):
        for e in range(20):
            src = LMBatches(encoded(tok, TEXTS), 3, bptt)
            assert sum(src.lengths(e)) == src.rows and min(src.lengths(e)) > 0

def test_corpus_on_disk_gives_the_same_batches(tok, tmp_path):
    a, docs = encoded(tok, TEXTS), [tok.encode(t) for t in TEXTS]
    b = Corpus.write(tmp_path/'c', docs, tok.vocab_size)
    for x, y in zip(LMBatches(a, 4, 9).batches(), LMBatches(b, 4, 9).batches(), strict=True): assert torch.equal(x.inputs['ids'], y.inputs['ids'])

def test_reverse_doc():
    for ids in ([2], [2, 5, 7]): assert reverse_doc(ids).tolist() == [*ids[:1], *ids[:0:-1]] and reverse_doc(ids).dtype.kind == 'i'
    for d in ([], [BOS], [BOS, 5], [BOS, 5, 6, 7]):
        d = np.array(d, np.int32)
        assert np.array_equal(reverse_doc(reverse_doc(d)), d) and (len(d) < 2 or reverse_doc(d)[0] == BOS)

# ---- perplexity

def test_perplexity_of_one_row_is_one_long_pass(tok):
    m, c = fresh(tok), encoded(tok, TEXTS[:9])
    ids = torch.from_numpy(c.ids.astype(np.int64))[None]
    with torch.inference_mode(): want = m.eval()(ids[:, :-1], None, ids[:, 1:]).nll.exp().item()
    assert perplexity(m, c, bs=1) == pytest.approx(want, rel=1e-5)

def test_evaluating_puts_back_even_after_an_error(tok):
    m = fresh(tok)
    for mode in (True, False):
        m.train(mode)
        with pytest.raises(KeyError), evaluating(m): raise KeyError
        assert m.training == mode
    m.train()
    generate(m, tok, 'the', 3); perplexity(m, encoded(tok, TEXTS[:2]))
    assert m.training

def test_other_vocabulary_is_refused(tok):
    c, other = encoded(tok, TEXTS), encoded(tokenizer(OTHER), OTHER)
    for a, b in ((other, None), (c, other)):
        with pytest.raises(InputError, match='own tokenizer') as e: train_lm(fresh(tok), a, b, cfg=CPU, progress=False)
        one_sentence(e)

# ---- filter_scores

S = torch.tensor([1., 3., -2., 3.5, 0.])
def kept(*a, **kw): return torch.isfinite(filter_scores(*a, **kw)).nonzero().ravel().tolist()

def test_filter_keeps_the_best():
    assert kept(S, 0) == kept(S, 5) == kept(S, 99) == kept(S, 0, 1.) == [0, 1, 2, 3, 4]
    assert kept(S, 1) == [3] and kept(S, 2) == [1, 3]
    for p in (1e-9, 0., -1.): assert kept(S, 0, p) == [3]
    assert kept(S, 0, .9) == [1, 3]
    assert torch.equal(filter_scores(S, 2)[[1, 3]], S[[1, 3]])
    assert torch.equal(S, torch.tensor([1., 3., -2., 3.5, 0.]))     # the argument is left alone

def test_filter_counts_exactly_where_scores_tie(): assert len(kept(torch.zeros(10), 3)) == 3 and len(kept(torch.zeros(10), 1)) == 1

def test_top_p_is_of_what_top_k_left():
    s = torch.tensor([.4, .3, .2, .1]).log()
    assert kept(s, 0, .65) == [0, 1] and kept(s, 2, .55) == [0] and kept(s, 2, .65) == [0, 1]

def test_filter_is_the_smallest_set():
    g = torch.Generator().manual_seed(0)
    for _ in range(30):
        s = torch.randn(40, generator=g)*2
        p = s.softmax(-1)[kept(s, 0, .8)]
        assert p.sum() >= .8-1e-6 and p.sum()-p.min() < .8

# ---- generation

def test_empty_prompt_and_no_tokens(trained, tok):
    assert generate(trained, tok, '', 0) == ''
    assert generate(trained, tok, 'the cat', 0) == generate(trained, tok, 'the cat', -1) == tok.decode(tok.encode('the cat'))
    assert generate(trained, tok, '', 6, temperature=0)

def test_no_temperature_is_greedy(trained, tok):
    want = generate(trained, tok, 'the old', 12, temperature=0)
    assert want == generate(trained, tok, 'the old', 12, top_k=1) == generate(trained, tok, 'the old', 12, top_p=1e-9) == generate(trained, tok, 'the old', 12, temperature=1e-6)

def test_seeds_repeat(trained, tok):
    m = fresh(tok)
    a, b = (generate(m, tok, 'the', 20, seed=s) for s in (1, 2))
    assert a == generate(m, tok, 'the', 20, seed=1) and a != b
    state = torch.get_rng_state()
    generate(m, tok, 'the', 5, seed=1)
    assert torch.equal(state, torch.get_rng_state())                # a seed leaves torch's own draws alone

def test_stops_where_the_document_ends(tok):
    m = fresh(tok)
    with torch.no_grad(): m.bias[BOS] = 1e4
    assert generate(m, tok, 'the cat', 50) == 'the cat'

def test_never_writes_unknown_or_padding(tok):
    m = fresh(tok)
    with torch.no_grad(): m.bias[[UNK, PAD]] = 1e4
    for kw in (dict(temperature=0), dict(top_k=2), dict(top_p=.5), {}): assert 'xxunk' not in generate(m, tok, 'the cat', 20, seed=0, **kw)

def test_each_token_is_read_once(tok):
    m, n = fresh(tok), []
    with torch.no_grad(): m.bias[BOS] = -1e4
    hook = m.backbone.encoder.register_forward_hook(lambda mod, i, o: n.append(i[0].numel()))
    generate(m, tok, 'the cat sees', 10, seed=0)
    hook.remove()
    assert n == [len(tok.encode('the cat sees'))] + [1]*9

def test_words_nobody_knows(trained, tok): assert generate(trained, tok, 'Ünknöwn 日本 \ud800', 3, temperature=0)

@pytest.mark.parametrize('t', [-1., math.nan, math.inf])
def test_impossible_temperature(trained, tok, t):
    with pytest.raises(InputError, match='temperature') as e: generate(trained, tok, 'the', 3, temperature=t)
    one_sentence(e)

def test_generate_with_a_foreign_tokenizer(trained):
    with pytest.raises(InputError, match='belong together'): generate(trained, tokenizer(OTHER), 'the')

# ---- files

@pytest.mark.parametrize('direction', ['forward', 'backward'])
def test_saved_is_loaded(home, tok, direction):
    m, t = load_backbone(home, direction)
    assert equal(m, fresh(tok, ['forward', 'backward'].index(direction)))
    assert t.fingerprint == tok.fingerprint and m.backbone.config == fresh(tok).backbone.config
    assert sorted(f.name for f in home.iterdir()) == ['README.md', 'config.json', 'history.csv', 'model.safetensors', 'tokenizer.json']
    assert [f.name for f in home.parent.iterdir()] == ['bb']        # nothing is left beside it

def test_one_direction_only(tok, tmp_path):
    save_backbone(tmp_path/'b', dict(backward=fresh(tok)), tok)
    assert equal(load_backbone(tmp_path/'b', 'backward')[0], fresh(tok))
    with pytest.raises(InputError, match='holds no forward model, only backward') as e: load_backbone(tmp_path/'b')
    one_sentence(e)

def test_half_precision_is_read(home, tok):
    from safetensors.torch import load_file, save_file
    f = home/'model.safetensors'
    save_file({k: v.half() for k, v in load_file(f).items()}, f)
    m, _ = load_backbone(home)
    assert m.bias.dtype == torch.float32 and torch.allclose(m.bias, fresh(tok).bias, atol=1e-2)

def edit(f, **kw):
    d = json.loads(f.read_text()); d.update(kw)
    f.write_text(json.dumps(d))

def resize(d, **kw):
    c = json.loads((d/'config.json').read_text())
    edit(d/'config.json', model=c['model'] | kw)

def drop(d, *keys):
    c = json.loads((d/'config.json').read_text())
    (d/'config.json').write_text(json.dumps({k: v for k, v in c.items() if k not in keys}))

def forget_tensor(d):
    from safetensors.torch import load_file, save_file
    t = load_file(d/'model.safetensors'); t.pop('fwd.bias')
    save_file(t, d/'model.safetensors')

def cut(f, n): f.write_bytes(f.read_bytes()[:n])
def scales(d, n):
    from safetensors.torch import load_file, save_file
    t = to_8bit(load_file(d/'model.safetensors')); k = 'fwd.backbone.encoder.weight.scale'; t[k] = t[k][:n].clone()
    save_file(t, d/'model.safetensors')

FAULTS = dict(
    no_config=(lambda d: (d/'config.json').unlink(), 'holds no config.json'), no_weights=(lambda d: (d/'model.safetensors').unlink(), 'holds no model.safetensors'),
    no_tokenizer=(lambda d: (d/'tokenizer.json').unlink(), 'holds no tokenizer.json'), cut_weights=(lambda d: cut(d/'model.safetensors', 500), 'damaged'),
    weights_short_by_one=(lambda d: cut(d/'model.safetensors', -1), 'damaged'), empty_weights=(lambda d: cut(d/'model.safetensors', 0), 'damaged'),
    garbage=(lambda d: (d/'model.safetensors').write_bytes(b'\xff'*999), 'damaged'), pickle=(lambda d: torch.save(dict(a=torch.ones(3)), d/'model.safetensors'), 'damaged'),
    cut_config=(lambda d: cut(d/'config.json', 40), 'damaged'), binary_config=(lambda d: (d/'config.json').write_bytes(b'\xff\xfe\x00'), 'damaged'),
    deep_config=(lambda d: (d/'config.json').write_text('['*200_000), 'damaged'), list_config=(lambda d: (d/'config.json').write_text('[]'), 'does not describe'),
    foreign_config=(lambda d: (d/'config.json').write_text('{"model_type": "bert"}'), 'does not describe'), no_fingerprint=(lambda d: drop(d, 'tokenizer'), 'does not describe'),
    text_format=(lambda d: edit(d/'config.json', format='new'), 'does not describe'), newer=(lambda d: edit(d/'config.json', format=99), 'newer version'),
    classifier=(lambda d: edit(d/'config.json', kind='classifier'), 'holds a classifier'), cut_tokenizer=(lambda d: cut(d/'tokenizer.json', 300), 'cut short'),
    other_tokenizer=(lambda d: tokenizer(OTHER).save(d/'tokenizer.json'), 'is not the tokenizer'), other_sizes=(lambda d: resize(d, n_hid=20), 'do not fit'),
    more_layers=(lambda d: resize(d, n_layers=3), 'do not fit'), rows=(lambda d: resize(d, vocab_size=7), 'do not belong together'),
    no_sizes=(lambda d: edit(d/'config.json', model={}), 'no sound vocab_size'), sizes_in_words=(lambda d: resize(d, emb_sz='large'), 'no sound emb_sz'),
    forgotten_tensor=(forget_tensor, 'do not fit'), a_network_for_no_memory=(lambda d: resize(d, n_hid=3_000_000), 'do not fit'), no_end_of_layers=(lambda d: resize(d, n_layers=10**12), 'do not fit'),
    scale_cut=(lambda d: scales(d, 3), 'damaged'), scale_of_everything=(lambda d: scales(d, 1), 'damaged'))

@pytest.mark.parametrize('name', FAULTS)
def test_broken_directory(home, name):
    fault, says = FAULTS[name]
    fault(home)
    with pytest.raises(InputError, match=says) as e: load_backbone(home)
    one_sentence(e)
    assert str(home) in str(e.value)

def test_no_directory(tmp_path):
    (tmp_path/'f').write_text('x')
    for p in (tmp_path/'f', tmp_path/'nowhere'):
        with pytest.raises(InputError, match='not a directory') as e: load_backbone(p)
        one_sentence(e)

def test_a_backbone_of_the_package_by_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_backbone(Path('en-small')) == find_backbone('en-small') and (find_backbone(Path('en-small'))/'config.json').exists()

def test_what_cannot_be_saved(tok, tmp_path):
    (tmp_path/'f').write_text('mine')
    for path, models, t, says in [('a', {}, tok, 'forward, backward or both'), ('a', dict(sideways=fresh(tok)), tok, 'forward, backward or both'), ('a', dict(forward=fresh(tok)), tokenizer(OTHER), 'own tokenizer'),
            ('a', dict(forward=fresh(tok), backward=fresh(tok, size=(8, 8, 1))), tok, 'different sizes'), ('f', dict(forward=fresh(tok)), tok, 'is a file')]:
        with pytest.raises(InputError, match=says) as e: save_backbone(tmp_path/path, models, t)
        one_sentence(e)
    assert [f.name for f in tmp_path.iterdir()] == ['f'] and (tmp_path/'f').read_text() == 'mine'

@pytest.mark.parametrize('where', ['tokenizer', 'history'])
@pytest.mark.parametrize('there', [False, True])
def test_a_save_that_fails_leaves_nothing_half_written(tok, tmp_path, monkeypatch, where, there):
    if there: save_backbone(tmp_path/'b', dict(forward=fresh(tok, 5)), tok)
    def full(*a, **kw): raise OSError(28, 'No space left on device')
    if where == 'tokenizer': monkeypatch.setattr(Tokenizer, 'save', full)
    else: monkeypatch.setattr(storage, 'write_history', full)
    with pytest.raises(OSError): save_backbone(tmp_path/'b', dict(forward=fresh(tok)), tok)
    assert [f.name for f in tmp_path.iterdir()] == ['b']*there
    if there: assert equal(load_backbone(tmp_path/'b')[0], fresh(tok, 5))

@pytest.mark.parametrize('k', [1, 2, 3, 4])
def test_broken_off_while_replacing_never_loads_a_mixture(tok, tmp_path, monkeypatch, k):
    save_backbone(tmp_path/'b', dict(forward=fresh(tok, 5)), tok)
    real, calls = os.replace, []
    def stops(a, b):
        if Path(b).parent == tmp_path/'b':
            calls.append(b)
            if len(calls) > k: raise KeyboardInterrupt
        real(a, b)
    monkeypatch.setattr(os, 'replace', stops)
    with pytest.raises(KeyboardInterrupt): save_backbone(tmp_path/'b', dict(forward=fresh(tok)), tok)
    monkeypatch.setattr(os, 'replace', real)
    with pytest.raises(InputError, match='holds no config.json'): load_backbone(tmp_path/'b')
    assert [f.name for f in tmp_path.iterdir()] == ['b']
    save_backbone(tmp_path/'b', dict(forward=fresh(tok)), tok)
    assert equal(load_backbone(tmp_path/'b')[0], fresh(tok))

def test_other_files_in_the_directory_stay(tok, tmp_path):
    (tmp_path/'b'/'run').mkdir(parents=True)
    (tmp_path/'b'/'run'/'last.pt').write_text('x')
    save_backbone(tmp_path/'b', dict(forward=fresh(tok)), tok)
    assert (tmp_path/'b'/'run'/'last.pt').read_text() == 'x' and load_backbone(tmp_path/'b')

def test_directory_can_be_moved_and_named_relatively(home, tok, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_backbone('new', dict(forward=fresh(tok)), tok)
    shutil.move('new', 'elsewhere')
    assert equal(load_backbone('elsewhere')[0], fresh(tok))

def test_save_model_takes_shared_and_transposed_tensors(tok, tmp_path):
    w = torch.randn(3, 4)
    save_model(tmp_path/'m', {'fwd.a': w.t(), 'fwd.b': w[:, 1]}, tok, dict(kind='thing', model=dict(vocab_size=tok.vocab_size, pad_id=1, emb_sz=3, n_hid=4, n_layers=1), directions=['forward']))
    t = load_model(tmp_path/'m', 'thing')[2]
    assert torch.equal(t['fwd.a'], w.t()) and torch.equal(t['fwd.b'], w[:, 1])

# ---- a new vocabulary

@pytest.mark.parametrize('kind,kw', [('word', {}), ('bpe', dict(vocab_size=330)), ('unigram', dict(vocab_size=330))])
def test_transfer_there_and_back(kind, kw):
    a, b = tokenizer(TEXTS, kind, **kw), tokenizer(OTHER, kind, **kw)
    m = fresh(a)
    there, share = transfer_vocab(m, a, b)
    both = set(a.vocab) & set(b.vocab)
    assert share == pytest.approx(len(both)/b.vocab_size) and there.backbone.vocab_size == b.vocab_size
    back, share2 = transfer_vocab(there, b, a)
    assert share2 == pytest.approx(len(both)/a.vocab_size)
    i = torch.tensor([k for k, w in enumerate(a.vocab) if w in both])
    assert torch.equal(back.backbone.encoder.weight[i], m.backbone.encoder.weight[i]) and torch.equal(back.bias[i], m.bias[i])
    new = [k for k, w in enumerate(b.vocab) if w not in both]
    torch.testing.assert_close(there.bias[new], m.bias.mean().expand(len(new)), atol=1e-6, rtol=0)
    for x in (there, back):
        assert (x.backbone.encoder.weight[PAD] == 0).all() and x.alpha == m.alpha and equal(x.backbone.rnns, m.backbone.rnns)

def test_transfer_to_the_same_vocabulary_changes_nothing(tok):
    m = fresh(tok).eval()
    same, share = transfer_vocab(m, tok, tok)
    assert share == 1. and equal(same, m) and not same.training and same is not m
    with torch.no_grad(): same.bias += 1                           # and it shares no memory
    assert equal(m, fresh(tok))

def test_transfer_with_clusters_of_other_words(tok):
    "Nothing moved, nothing changed; where words change their cluster, stage 2 sets it right again."
    cutoffs = tok.vocab_size-8,
    m = pretrain(encoded(tok, TEXTS), size=(16, 24, 2), drop_mult=0., epochs=6, lr=2e-2, cfg=CPU, bs=4, bptt=12, cutoffs=cutoffs, progress=False).model.eval()
    same,_ = transfer_vocab(m, tok, tok)
    assert equal(same, m) and same.cutoffs == m.cutoffs
    new = tokenizer(TEXTS + ['hen tree eats old large']*200, also=tok) # the same words in another order: rare ones become frequent
    assert {*new.vocab[-8:]} != {*tok.vocab[-8:]} and {*new.vocab} == {*tok.vocab}
    moved,share = transfer_vocab(m, tok, new)
    before,start = perplexity(m, encoded(tok, TEXTS), 4),perplexity(moved, encoded(new, TEXTS), 4)
    assert share == 1. and start > before
    finetune_lm(moved, encoded(new, TEXTS), None, 6, 2e-2, 0., cfg=CPU, bs=4, bptt=12, progress=False)
    assert perplexity(moved, encoded(new, TEXTS), 4) < before

def test_kinds_that_do_not_match(tok):
    for old, new in ((tok, tokenizer(OTHER, 'bpe', vocab_size=330)), (tokenizer(OTHER, 'unigram', vocab_size=330), tok)):
        with pytest.raises(InputError, match='does not carry over') as e: transfer_vocab(fresh(old), old, new)
        one_sentence(e)

def test_transfer_with_a_foreign_tokenizer(tok):
    with pytest.raises(InputError, match='belong together') as e: transfer_vocab(fresh(tok), tokenizer(OTHER), tok)
    one_sentence(e)

@pytest.mark.parametrize('n_layers', [1, 2, 3, 4])
def test_finetune_uses_a_rate_for_each_group(tok, n_layers):
    m = fresh(tok, size=(8, 12, n_layers))
    t = finetune_lm(m, encoded(tok, TEXTS), epochs=.1, lr=1e-2, drop_mult=.3, cfg=CPU, bs=4, bptt=12, progress=False)
    assert t.model is m and m.backbone.drops.input == pytest.approx(.25*.3)
    t.phase, t.phase_epoch = 0, 0
    t._begin()
    want = {2: [.01/3, .01, .005], 3: [.01/6, .01/3, .01, .005]}.get(n_layers) or [.01/2.6**k for k in range(n_layers, -1, -1)]
    assert t.sched.base_lrs == pytest.approx(want)

def test_finetune_leaves_no_group_untouched(tok):
    m, was = fresh(tok), fresh(tok)
    finetune_lm(m, encoded(tok, TEXTS), epochs=1, cfg=CPU, bs=4, bptt=12, progress=False)
    for a, b in zip(m.layer_groups(), was.layer_groups()):
        pairs = [(p, q) for x, y in zip(a, b) for p, q in zip([x] if isinstance(x, torch.nn.Parameter) else x.parameters(), [y] if isinstance(y, torch.nn.Parameter) else y.parameters())]
        assert any(not torch.equal(p, q) for p, q in pairs)

def test_perplexities_are_of_exact_products(trained, tok, monkeypatch):
    "Where nothing else is said cuDNN rounds an LSTM's factors to ten bits"
    rnn,seen = torch.backends.cudnn.rnn,[]
    monkeypatch.setattr(rnn, 'fp32_precision', 'tf32')
    hook = trained.register_forward_pre_hook(lambda *_: seen.append(rnn.fp32_precision))
    try: lm_scores(trained, tok, TEXTS[:2]), perplexity(trained, encoded(tok, TEXTS[:2]))
    finally: hook.remove()
    assert {*seen} == {'ieee'} and len(seen) > 1 and rnn.fp32_precision == 'tf32'

def test_scores_want_several_texts():
    model, tok = load_backbone('en-small')
    with pytest.raises(InputError, match='put it in a list'): lm_scores(model, tok, 'The film was good.')
    with pytest.raises(InputError, match='the column'): lm_scores(model, tok, dict(text=['The film was good.']))

def test_a_temperature_next_to_zero_takes_the_likeliest(trained, tok):
    assert generate(trained, tok, 'the small', 5, temperature=1e-45, seed=0) == generate(trained, tok, 'the small', 5, temperature=0)

# ---- a model that is being written

def test_parts_of_two_models_are_noticed(tmp_path, tok):
    a,b = fresh(tok),fresh(tok)
    with torch.no_grad(): b.bias.add_(1)
    for n,m in dict(a=a, b=b).items(): save_backbone(tmp_path/n, dict(forward=m), tok)
    load_backbone(tmp_path/'a')
    (tmp_path/'b'/'model.safetensors').replace(tmp_path/'a'/'model.safetensors')
    with pytest.raises(InputError, match='weights of one model'): load_backbone(tmp_path/'a')

def test_the_same_model_is_saved_to_the_same_bytes(tmp_path, tok):
    m = fresh(tok)
    for n in 'ab': save_backbone(tmp_path/n, dict(forward=m), tok)
    for f in ('config.json', 'model.safetensors', 'tokenizer.json'): assert (tmp_path/'a'/f).read_bytes() == (tmp_path/'b'/f).read_bytes()

def test_weights_are_the_first_to_come_and_the_description_the_last(tmp_path, tok, monkeypatch):
    "So that whatever a killed process leaves is known as its own, or is complete."
    moved,replace = [],storage.os.replace
    monkeypatch.setattr(storage.os, 'replace', lambda a, b: moved.append(Path(b).name) or replace(a, b))
    (tmp_path/'m').mkdir()
    save_backbone(tmp_path/'m', dict(forward=fresh(tok)), tok)
    moved = moved[-5:] # the others are made where nobody looks
    assert moved.index('model.safetensors') < moved.index('tokenizer.json') < moved.index('config.json') == len(moved)-1

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_transfer_carries_what_is_no_weight_and_empties_the_padding(tok):
    m = LanguageModel(AWDLSTM(tok.vocab_size, (16, 24, 2), NO_DROPOUT), alpha=.5, beta=.25)
    with torch.no_grad(): m.backbone.encoder.weight[PAD] = 1.       # as a file of fastai may have it
    moved,_ = transfer_vocab(m, tok, tokenizer(OTHER))
    assert (moved.alpha, moved.beta, moved.backbone.drops) == (.5, .25, NO_DROPOUT)
    assert (moved.backbone.encoder.weight[PAD] == 0).all()

def test_finetune_takes_the_schedule_and_the_shape_it_is_given(tok):
    def phase(**kw): return finetune_lm(fresh(tok), encoded(tok, TEXTS), epochs=.1, cfg=CPU, bs=4, bptt=12, progress=False, **kw).phases[0]
    assert phase(cut_frac=.4, ratio=7.).schedule_args == dict(cut_frac=.4, ratio=7.)
    assert (phase(schedule='cosine').schedule, phase().schedule) == ('cosine', 'stlr')

def test_scores_in_units_that_every_vocabulary_shares(trained, tok):
    texts = ['the small cat söes the tree.', 'an owl']
    docs = [tok.encode(t) for t in texts]
    for backward in (False, True):
        s,want = lm_scores(trained, tok, texts, backward=backward),lm_metrics(trained, LMBatches(Corpus.from_docs([reverse_doc(d) if backward else d for d in docs], tok.vocab_size), 16, variable=False, shuffle=False))
        nats,n = want['valid_loss']*(sum(map(len, docs))-1),sum(map(len, docs))
        assert (s['n'], s['tokens'], s['words'], s['bytes']) == (2, n, 8, 35) and s['valid_loss'] == pytest.approx(want['valid_loss'])
        assert s['unknown'] == sum((np.asarray(d) == tok.unk_id).sum() for d in docs)/n > 0
        assert (s['word_perplexity'], s['bits_per_byte']) == pytest.approx((math.exp(nats/8), nats/math.log(2)/35), rel=1e-4)

def test_backward_is_trained_and_judged_backward(tok):
    turned = [reverse_doc(tok.encode(t)) for t in TEXTS[:20]]
    kw = dict(size=(16, 24, 2), drop_mult=0., epochs=3, lr=2e-2, cfg=CPU, bs=4, bptt=12, progress=False)
    a = pretrain(encoded(tok, TEXTS), encoded(tok, TEXTS[:20]), backward=True, **kw)
    assert a.history[-1]['valid_loss'] == pytest.approx(lm_metrics(a.model, LMBatches(Corpus.from_docs(turned, tok.vocab_size), 4, 12, variable=False, shuffle=False))['valid_loss'], rel=1e-5)

def test_what_pretraining_is_told(tok, tmp_path):
    from ulmfit_nb.awd_lstm import LM_DROPOUTS
    def begun(**kw): return pretrain(encoded(tok, TEXTS), epochs=.1, size=(8, 12, 1), bs=4, bptt=12, progress=False, **kw)
    assert begun(drop_mult=.3, cfg=CPU).model.backbone.drops == LM_DROPOUTS*.3 and begun(cfg=CPU).phases[0].schedule == 'one_cycle'
    m = fresh(tok)
    assert begun(init=m, cfg=CPU).model is m
    t = pretrain(encoded(tok, TEXTS), encoded(tok, OTHER), size=(8, 12, 1), epochs=.1, cfg=TrainConfig(opt='ntasgd', device='cpu', precision='float32'), bs=4, bptt=12, progress=False)
    assert (t.phases[0].schedule, t.phases[0].div) == ('constant', 1.)
    save_backbone(tmp_path/'b', dict(forward=m), tok, training=dict(forward=t.settings))
    said = json.loads((tmp_path/'b'/'config.json').read_text())['meta']['training']['forward'] # how the loop ran stands beside the weights, and in no card
    assert (said['cfg']['opt'], said['cfg']['wd'], said['phases'][0]['schedule']) == ('ntasgd', 1.2e-6, 'constant') and 'training' not in (tmp_path/'b'/'README.md').read_text()
    assert load_backbone(tmp_path/'b', drops=LM_DROPOUTS*.2)[0].backbone.drops == LM_DROPOUTS*.2

def test_models_that_share_layers_are_put_back_when_the_last_reader_is_done(tok):
    a = fresh(tok).train()
    b = torch.nn.Sequential(a.backbone, torch.nn.Dropout()).train()
    b[1].eval()                                             # a part may have a mode of its own
    second = evaluating(b)
    with ThreadPoolExecutor(1) as other:                    # another thread, which begins later and ends later
        with evaluating(a): other.submit(second.__enter__).result()
        assert not a.backbone.training and not b.training
        other.submit(second.__exit__, None, None, None).result()
    assert a.training and a.backbone.training and b.training and not b[1].training

def test_backward_streams_of_long_documents_are_read_as_they_stand():
    rng = np.random.default_rng(0)
    docs = [np.r_[BOS, rng.integers(3, 50, n)] for n in (0, 1, 40, 333, 5)]
    src = LMBatches(Corpus.from_docs(docs, 50), bs=3, bptt=7, shuffle=False, backward=True)
    whole,out = np.concatenate([reverse_doc(d) for d in docs]),np.empty(100, np.int64)
    order = src._order(0)
    for start in range(len(whole)):
        n = min(100, len(whole)-start)
        src.read(order, start, n, out)
        assert np.array_equal(out[:n], whole[start:start+n]), start

def test_scores_want_the_models_own_words(tok):
    other = tokenizer(OTHER + TEXTS)
    m = fresh(tok)
    for f in (lambda: lm_scores(m, other, TEXTS), lambda: perplexity(m, encoded(other, TEXTS))):
        with pytest.raises(InputError, match='own tokenizer') as e: f()
        one_sentence(e)

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_bytes_keep_the_sign_of_every_weight(dtype):
    w = torch.randn(400, 60, generator=torch.Generator().manual_seed(0)).to(dtype)
    back = from_8bit(to_8bit(dict(w=w)))['w']
    assert (back*w.float() >= 0).all() and (back-w.float()).abs().max() < w.abs().max()/200
    with pytest.raises(ValueError, match='w'): from_8bit(dict(w=torch.zeros(2, 2, dtype=torch.int8)))

def test_a_temperature_that_float32_takes_for_none(trained, tok):
    assert generate(trained, tok, 'the', 5, temperature=1e-320) == generate(trained, tok, 'the', 5, temperature=0)
