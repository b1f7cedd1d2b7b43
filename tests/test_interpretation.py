"Interpretation: places in the text, completeness in every direction, hostile text, long text, faults, the widget driven."
import random
from copy import copy
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from ulmfit_nb import interpretation as I
from ulmfit_nb.corpus import InputError
from ulmfit_nb.errors import confusion, neighbours, plot_confusion, pooled_states, worst_losses
from ulmfit_nb.interpretation import METHODS, Attribution, Explorer, Word, attribute, comprehensiveness, deletion_curve, token_scores, without, word_spans
from ulmfit_nb.tokenization import Tokenizer
from ulmfit_nb.ulmfit import ULMFiT

pytestmark = pytest.mark.usefixtures('one_thread')
words = 'the of a function returns value given list number file name each object set new call when used which text line code data type first last'.split()
cues = {0: ['heron', 'ferry'], 1: ['bread', 'flour']}

def plant(n, seed, most=25):
    "Random words with one planted word each: text, label, planted word"
    rng,rows = random.Random(seed),[]
    for _ in range(n):
        ws,y = rng.choices(words, k=rng.randrange(8, most)),rng.randrange(2)
        cue = rng.choice(cues[y])
        ws.insert(rng.randrange(len(ws)+1), cue)
        rows.append((' '.join(ws), y, cue))
    return rows

@pytest.fixture(scope='module')
def both(one_thread):
    "A classifier in two directions, whose deciding words are known"
    rows = plant(240, 0)
    clf = ULMFiT(None, direction='both', size='micro', lm_epochs=0, epochs=5, random_state=0, progress=False, device='cpu')
    return clf.fit([r[0] for r in rows], [r[1] for r in rows])

def only(clf, *directions):
    "The same classifier with some of its directions"
    res = copy(clf)
    res.models_ = {d: clf.models_[d] for d in directions}
    return res

sides = pytest.mark.parametrize('directions', [('forward',), ('backward',), ('forward', 'backward')], ids='-'.join)

# ---- places in the text
hostile = ['', ' ', '\n', 'a', 'film.<br /><br />The end', '&lt;br /&gt; a &amp;lt;br&gt;b', "don't stop!!! very very very VERY Goooood", 'a &nbsp;b&nbsp;c', 'x @-@ y', 'e\u0301te\u0301 a\u200bb \u200b c',
    '<p>hi</p>', 'a\x85b\u2028c\x1cd', '\ufdd0a\ufdd1 b', '\ufdd0', '\ud800x', '&#10;a&#10;&#10;b', 'very very <br> very very', 'no no no no no&nbsp;no', '<script>alert(1)</script>',
    '\U0001f1e9\U0001f1ea\U0001f468\u200d\U0001f469 ok', 'https://x.y/z?a=b;c, www.a.b.', '&amp;'*20+'lt;', 'x &lt;br&gt; y z &lt;br&gt; w', '<br>'*3 + 'x', 'x\0y']
parts = ['a', 'b ', 'very very ', ' ', '\n', '<br>', '&nbsp;', '&amp;', 'lt;', '!', '!!!', 'e\u0301', '\u200b', '\ufdd3', 'A', 'XX', '&#10;', ' @-@ ', '\U0001f600', '1,0', 'ooo', "'t", '<p>', '\u0301', '\xa0']

@pytest.mark.parametrize('kind', ['word', 'bpe', 'unigram'])
@pytest.mark.parametrize('rules', [True, False])
def test_spans(kind, rules):
    tok,rng = Tokenizer.train([r[0] for r in plant(60, 1)], kind=kind, vocab_size=400, min_count=1, rules=rules),random.Random(0)
    for text in hostile + [''.join(rng.choice(parts) for _ in range(rng.randrange(40))) for _ in range(300)]:
        spans = word_spans(tok, text)
        assert sum(n for *_,n in spans) == len(tok.encode(text))-1, text
        assert all(0 <= b < e <= len(text) for b,e,_ in spans), text
        assert all(p[1] <= q[0] for p,q in zip(spans, spans[1:])), text

def test_places_are_exact():
    tok = Tokenizer.train(['a film'], kind='bpe', vocab_size=300, min_count=1)
    def pieces(t): return [t[b:e] for b,e,_ in word_spans(tok, t)]
    assert pieces("It  isn't\tGOOD, very very very bad!!!") == ['It', 'isn', "'t", 'GOOD', ',', 'very very very', 'bad', '!!!']
    assert pieces('one<br />two caf&eacute;s x @-@ y end') == ['one', '<br />', 'two', 'caf&eacute;s', 'x @-@ y', 'end']

# ---- scores
@sides
def test_complete(both, directions):
    clf = only(both, *directions)
    for text,y,_ in plant(3, 2) + [('one', 0, ''), ('A <br> FERRY!!!', 0, '')]:
        a = attribute(clf, text, y)
        p = clf.predict_proba([text])[0].astype(float)[y]
        assert a.confidence == pytest.approx(p) and a.full == pytest.approx(np.log(p/(1-p)), abs=1e-3)
        assert abs(a.gap) <= .01*max(1, abs(a.full-a.base)) and a.left_out == 0
        assert all(text[w.begin:w.end] == w.text for w in a.words)

def test_points_are_doubled_until_the_scores_add_up(both, monkeypatch):
    text,along,counts = plant(1, 2)[0][0],I._along,[]
    monkeypatch.setattr(I, '_along', lambda clf, k, at, w: counts.append(len(at)) or along(clf, k, at, w))
    ids = both.tokenizer_.encode(text)
    for steps,tol in ((32, 1e9), (2, 1e9), (2, 0.)):
        counts.clear()
        scores,full,base = token_scores(both, ids, 1, steps=steps, tol=tol)
        assert counts == ([steps+1] if tol else [3, 2, 4, 8, 16]) # new points only: 33 in all
    def gap(ids, n): return abs((r := token_scores(both, ids, 1, steps=n, tol=1e9))[0].sum() - (r[1]-r[2]))
    others = [both.tokenizer_.encode(r[0]) for r in plant(9, 3)]
    assert np.median([gap(o, 32) for o in others]) < np.median([gap(o, 1) for o in others]) # of one text a point may hit the mean by chance
    assert abs(scores.sum()-(full-base)) == pytest.approx(gap(ids, 32), abs=1e-3)
    want = 1.01*gap(ids, 2)/max(1., abs(full-base))
    counts.clear()
    token_scores(both, ids, 1, steps=2, tol=want)
    assert counts == [3] # they add up well enough at once

@sides
@pytest.mark.parametrize('method', METHODS)
def test_planted_word_is_found(both, directions, method):
    clf,rows = only(both, *directions),plant(20, 3)
    rows = [r for r,p in zip(rows, clf.predict([r[0] for r in rows])) if p == r[1]]
    hits = [attribute(clf, t, None, method).top(1)[0].text == cue for t,_,cue in rows]
    assert len(rows) > 16 and np.mean(hits) > .85

@pytest.mark.parametrize('directions,first,last', [(('forward',), 0, 1), (('backward',), 1, 0), (('forward', 'backward'), 1, 1)], ids=str)
def test_outside_the_window(both, directions, first, last):
    clf,text = only(both, *directions),' '.join(r[0] for r in plant(8, 4))
    assert attribute(clf, text).words[0].score and attribute(clf, text).words[-1].score # 70 tokens and more: in full
    was = [(m.bptt, m.max_len) for m in both.models_.values()]
    try:
        for m in both.models_.values(): m.bptt,m.max_len = 10,30
        a = attribute(clf, text, 0)
    finally:
        for m,(b, n) in zip(both.models_.values(), was): m.bptt,m.max_len = b,n
    assert len(a.words) > 100 and abs(a.gap) <= .01*max(1, abs(a.full-a.base))
    assert bool(a.words[0].score) == first and bool(a.words[-1].score) == last and a.words[len(a.words)//2].score == 0
    assert a.left_out == sum(w.score == 0 for w in a.words) and f'{a.left_out} words' in a.note() and a.note() in a.to_html()

def test_words_before_the_window_set_its_state(both):
    "What the window begins with is what reading the whole text leaves there, and it is read once."
    from ulmfit_nb.classifier import predict_logits
    text,was,seen = ' '.join(r[0] for r in plant(8, 4)),[(m.bptt, m.max_len) for m in both.models_.values()],[]
    ids = both.tokenizer_.encode(text)
    hook = both.models_['forward'].backbone.encoder.register_forward_hook(lambda m, args, out: seen.append(args[0].shape[1]))
    try:
        for m in both.models_.values(): m.bptt,m.max_len = 10,30
        rs = I._read(both, ids)
        before = sum(seen)
        with torch.no_grad(), I._as_predicting([r.model for r in rs]): logits = [I._logits_of(r, r.x) for r in rs]
        assert [r.before for r in rs] == [(len(ids)-30)//10*10]*2 and before == len(ids) and sum(seen) == len(ids) + len(ids)-rs[0].before
        for x,(d,m) in zip(logits, both.models_.items()): assert torch.allclose(x, predict_logits(m, [ids], backward=d=='backward'), atol=1e-5)
    finally:
        hook.remove()
        for m,(b, n) in zip(both.models_.values(), was): m.bptt,m.max_len = b,n

def test_scores_that_do_not_settle_are_replaced(both, monkeypatch):
    "Noise is not shown as integrated gradients; a sum that is off is said."
    real,text = I.token_scores,plant(1, 3)[0][0]
    def noisy(clf, ids, k, method='ig', *args):
        scores,full,base = real(clf, ids, k, method, *args)
        return (scores*(factor if method == 'ig' else 1), full, base)
    due = attribute(both, text)
    plain = attribute(both, text, method='grad_x_input')
    monkeypatch.setattr(I, 'token_scores', noisy)
    for factor in (1e30, float('nan')):
        a = attribute(both, text)
        assert a.words == plain.words and a.unsettled and 'gradient times input' in a.note() and a.note() in a.to_html()
    factor = 1.2
    a = attribute(both, text)
    assert not a.unsettled and 'add up to' in a.note() and f'{due.full-due.base:+.2f} nats' in a.note() and not due.note() and not plain.note()

def test_a_path_is_not_doubled_without_end(both, monkeypatch):
    "However long the text, a path has 65,536 tokens, or its first points."
    seen,real = [],I._along
    def along(rs, k, alphas, weights): seen.append(len(alphas)); return real(rs, k, alphas, weights)
    monkeypatch.setattr(I, '_along', along)
    ids = both.tokenizer_.encode(' '.join(r[0] for r in plant(10, 4)))
    I.token_scores(both, ids, 0, tol=0.)
    assert sum(seen)-1 == max(32, 2**int(np.log2(2**16/len(ids)))) < 512

def test_leaves_the_model_alone(both):
    m = both.models_['forward'].train()
    before = {k: v.clone() for k,v in m.state_dict().items()}
    with torch.no_grad(): a,b = attribute(both, 'a ferry'),attribute(both, 'a ferry')
    assert m.training and not both.models_['backward'].training and a == b
    assert all(torch.equal(v, before[k]) for k,v in m.state_dict().items()) and not m.backbone.encoder._forward_hooks
    assert all(p.requires_grad for p in m.parameters())
    m.eval()

def test_loaded_model_says_the_same(both, tmp_path):
    both.save(tmp_path/'m')
    again = ULMFiT.load(tmp_path/'m', device='cpu')
    assert attribute(again, 'take the heron and the flour').words == attribute(both, 'take the heron and the flour').words

def test_faults(both):
    with pytest.raises(InputError, match='unknown label 7: choose one of 0, 1'): attribute(both, 'a', 7)
    with pytest.raises(InputError, match='unknown method'): attribute(both, 'a', method='guess')
    with pytest.raises(InputError, match='not a text'): attribute(both, None)
    with pytest.raises(InputError, match='unknown label'): confusion(both, ['a'], ['lake'])
    with pytest.raises(InputError, match='1 texts and 2 labels'): worst_losses(both, ['a'], [0, 1])
    with pytest.raises(InputError, match='too few'): comprehensiveness(both, ['', 'a'])
    with pytest.raises(Exception, match='not fitted'): attribute(ULMFiT(), 'a')
    with pytest.raises(InputError, match='unknown label None'): confusion(both, ['a', 'b'], [0, None])   # it counted as class 0
    with pytest.raises(InputError, match='shape'): worst_losses(both, ['a'], [0], probs=np.full((1, 5), .2))
    with pytest.raises(InputError, match='shape'): neighbours(both, 'a', ['b'], states=np.zeros((1, 3)))
    for steps in (-1, 0, 1.5):
        with pytest.raises(InputError, match='steps'): attribute(both, 'the heron', steps=steps)
    for kw in (dict(n_random=0), dict(at=()), dict(at=(0.,)), dict(at=(2,))):
        with pytest.raises(InputError, match='n_random'): comprehensiveness(both, ['the heron', 'the flour'], **kw)

# ---- what is shown
class Seen(HTMLParser):
    def __init__(self, s):
        super().__init__()
        self.tags,self.attrs,self.text = set(),set(),''
        self.feed(s)
    def handle_starttag(self, tag, attrs):
        self.tags.add(tag); self.attrs |= {k for k,_ in attrs}
    def handle_data(self, data): self.text += data
    def handle_comment(self, data): self.tags.add('!--')

evil = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", '</div></span><iframe src=javascript:alert(1)>', '<!-- x', '&lt;script&gt;', '<style>*{display:none}</style> heron', 'a\ud800b \0 c']
@pytest.mark.parametrize('text', evil)
def test_hostile_text_is_only_text(both, text):
    seen = Seen(attribute(both, text).to_html())
    assert seen.tags <= {'div', 'span', 'b'} and seen.attrs <= {'class', 'style', 'title'}
    assert text.encode('utf-8', 'replace').decode() in seen.text
    seen.text.encode()

def test_hostile_label(both):
    clf = copy(both)
    clf.classes_ = np.array(['<script>', '"><b onclick=x>'])
    seen = Seen(attribute(clf, 'a ferry').to_html())
    assert seen.tags <= {'div', 'span', 'b'} and not seen.attrs & {'onclick'}

@pytest.mark.parametrize('text', ['', ' \n', '<br>'])
def test_no_words(both, text):
    for method in METHODS:
        a = attribute(both, text, method=method)
        assert a.words == [] and a.gap == pytest.approx(0, abs=1e-5) and 'div' in a._repr_html_()
    assert deletion_curve(both, text)['by_score'].shape == (1,)

# ---- deletion
def test_without(both):
    a = attribute(both, 'a  heron, and <br> flour')
    assert without(a.text, [w for w in a.words if w.text.strip() in ('heron', '<br>', ',')]).split() == ['a', 'and', 'flour']

def test_deletion(both):
    rows = [t for t,*_ in plant(8, 5)]
    c = deletion_curve(both, rows[0], n_random=4, points=5)
    assert c['random'].shape == (4, len(c['deleted'])) and c['deleted'][[0, -1]].tolist() == [0, 1]
    assert c['by_score'][0] == pytest.approx(attribute(both, rows[0]).confidence, abs=1e-5) and np.ptp(c['random'][:, 0]) < 1e-5
    r = comprehensiveness(both, rows, n_random=3)
    assert r['n'] == 8 and r['gain'] > 3*r['se'] and r['gain'] == pytest.approx(r['mean']-r['random_mean'], abs=1e-6)
    assert comprehensiveness(both, rows, n_random=3) == r

# ---- errors and neighbours
def test_confusion_and_losses(both):
    rows = plant(50, 6)
    texts,y = [r[0] for r in rows],np.array([r[1] for r in rows])
    y[:5] = 1-y[:5] # wrongly labelled: these are to be found
    assert (confusion(both, texts, y) == confusion_matrix(y, both.predict(texts), labels=[0, 1])).all()
    worst = worst_losses(both, texts, y, 5)
    assert len({r['index'] for r in worst} & {*range(5)}) >= 4 and [r['loss'] for r in worst] == sorted((r['loss'] for r in worst), reverse=True)
    assert all(r['text'] == texts[r['index']] and r['label'] == y[r['index']] != r['prediction'] for r in worst)
    assert len(worst_losses(both, texts, y.tolist(), 99)) == 50 and worst_losses(both, [], []) == []

def test_labels_with_dollars_are_drawn_as_they_are():
    labels = ['$', '$$', 'a_$x$']
    ax = plot_confusion(np.eye(3, dtype=int), labels)
    ax.figure.canvas.draw()
    for axis in (ax.xaxis, ax.yaxis): assert [t.get_text() for t in axis.get_ticklabels()] == labels and not any(t.get_parse_math() for t in axis.get_ticklabels())

def test_a_method_that_is_none_is_refused(both):
    with pytest.raises(InputError, match='typo'): token_scores(both, [2], 0, 'typo')

def test_plot_confusion():
    import matplotlib
    matplotlib.use('Agg')
    ax = plot_confusion(np.array([[3, 1], [0, 0]]), ['a', 'b'])
    assert [t.get_text() for t in ax.texts] == ['3', '1', '0', '0'] and [t.get_text() for t in ax.get_yticklabels()] == ['a', 'b']

def test_neighbours(both):
    texts = [r[0] for r in plant(40, 7)] + ['', 'a '*200]
    h = pooled_states(both, texts)
    assert h.shape == (42, 2*3*64) and np.abs(h - np.concatenate([pooled_states(both, [t]) for t in texts])).max() < 1e-4
    assert pooled_states(both, []).shape == (0, 2*3*64) and neighbours(both, 'a', []) == []
    got = neighbours(both, texts[3], texts, 4)
    assert got == neighbours(both, texts[3], texts, 4, states=h) and got[0]['index'] == 3 and got[0]['similarity'] == pytest.approx(1, abs=1e-5)
    said = both.predict(texts[:40])
    same = [said[r['index']] == said[i] for i in range(10) for r in neighbours(both, texts[i], texts[:40], 5, h[:40])[1:]]
    assert np.mean(same) > .7

# ---- the widget, driven
def test_explorer(both):
    e = Explorer(both, 'a ferry')
    assert e.result.label == 0 and 'ferry' in e.out.value and e.box.children == (e.text, e.label, e.out)
    e.text.value = 'the flour <script>alert(1)</script>'
    assert e.result.text == e.text.value and e.result.label == 1 and e.result.top(1)[0].text == 'flour'
    assert '<script' not in e.out.value and '&lt;' in e.out.value
    e.label.value = '0'
    assert e.result.label == 0 and e.result.top(1, against=True)[0].text == 'flour'
    e.label.index = 0
    assert e.result.label == 1
    e.text.value = ''
    assert e.result.words == []
    assert 'application/vnd.jupyter.widget-view+json' in e._repr_mimebundle_()

def test_explorer_through_the_front_end(both):
    "What a browser sends when a field is left"
    e = Explorer(both, 'a ferry')
    e.text.set_state({'value': 'the bread'}); e.label.set_state({'index': 1})
    assert (e.result.text, e.result.label) == ('the bread', 0) and e.out.value == e.result.to_html()

# ---- what runs beside it

def beside(work, n=3):
    "Run `work(i)` in threads at once; what each returned, or the error that it raised."
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(n) as pool: return [f.result() for f in [pool.submit(work, i) for i in range(n)]]

def test_predictions_and_explanations_do_not_meet(both):
    texts = [r[0] for r in plant(12, 5)]
    probs,states = both.predict_proba(texts),pooled_states(both, texts)
    scores = attribute(both, texts[0])
    def work(i):
        for _ in range(4):
            if i == 0: assert np.allclose(both.predict_proba(texts), probs, atol=1e-6)
            elif i == 1: assert np.allclose(pooled_states(both, texts), states, atol=1e-5)
            else: assert np.allclose([w.score for w in attribute(both, texts[0]).words], [w.score for w in scores.words], atol=1e-4)
    beside(work, 4)

def test_states_are_those_of_the_head(both):
    "Normalised ones, through the rest of the head, are the prediction."
    texts = [r[0] for r in plant(70, 6)] # more than a batch
    x = torch.from_numpy(pooled_states(both, texts)).chunk(2, 1)
    with torch.inference_mode(): p = torch.stack([m.head[1:](s).softmax(1) for m,s in zip(both.models_.values(), x)]).mean(0)
    assert np.allclose(p, both.predict_proba(texts), atol=1e-6)

def test_in_inference_mode_too(both, tmp_path):
    text = plant(1, 7)[0][0]
    plain = attribute(both, text)
    both.save(tmp_path/'m')
    with torch.inference_mode():
        assert attribute(both, text).words == plain.words
        loaded = ULMFiT.load(tmp_path/'m', 'cpu')
        assert attribute(loaded, text).words == plain.words
        loaded.predict_proba([text]); loaded.probs([text], 'int8')
    assert attribute(loaded, text).words == plain.words

def test_rows_of_other_texts_are_refused(both):
    texts = [r[0] for r in plant(5, 8)]
    with pytest.raises(InputError, match=r'shape \(4, 2\), and 5 texts'): worst_losses(both, texts, [0]*5, probs=both.predict_proba(texts)[:4])
    with pytest.raises(InputError, match=r'shape \(4, .*5 texts'): neighbours(both, 'the heron', texts, states=pooled_states(both, texts[:4]))

@pytest.mark.parametrize('many', [1, 150])
def test_a_rule_that_joins_words_touches_these_only(many):
    "Also in a long text of few words."
    tok = Tokenizer.train(['the cat sat on a ten year old mat']*20, kind='word', vocab_size=60)
    text = 'the cat sat on '*many + 'ten @-@ year ' + 'old mat the cat '*many
    spans = [text[b:e] for b,e,_ in word_spans(tok, text)]
    assert spans[:4*many] == 'the cat sat on'.split()*many and spans[-4*many:] == 'old mat the cat'.split()*many
    assert ' '.join(spans[4*many:-4*many]) == 'ten @-@ year'

def test_many_lines_take_no_square_of_time(monkeypatch):
    "A list of what is left is not copied for each line."
    seen = []
    class Origin(list):
        def __getitem__(self, k):
            if isinstance(k, slice): seen.append(len(range(*k.indices(len(self)))))
            return super().__getitem__(k)
    origins = I._origins
    monkeypatch.setattr(I, '_origins', lambda *a: Origin(origins(*a)))
    tok = Tokenizer.train(['one two three']*20, kind='word', vocab_size=60)
    assert len(word_spans(tok, 'one two\n'*200)) > 400 and sum(seen) <= 401

def test_a_table_of_one_word_takes_no_minutes():
    tok = Tokenizer.train(['one two three']*20, kind='word', vocab_size=60)
    spans = word_spans(tok, ('| x '*4 + '1 @,@ 000 ')*400)
    assert len(spans) > 400

def test_a_long_text_is_occluded_in_parts(both, monkeypatch):
    "Scores are those of one part; no more than 256 shortened texts are held at a time."
    clf,text = both,' '.join(f'one ferry {i}' for i in range(200))
    seen,encode = [],Tokenizer.encode_iter
    def counted(self, texts, **kw):
        seen.append(len(texts := list(texts)))
        return encode(self, texts, **kw)
    monkeypatch.setattr(Tokenizer, 'encode_iter', counted)
    n = len(attribute(clf, text, method='occlusion').words)
    assert n == len(word_spans(clf.tokenizer_, text)) and max(seen) <= 256 and sum(seen) >= n+2

def test_small_scores_are_not_rounded_away():
    def line(*scores): return Attribution('a b', 'lake', .5, [Word(w, s, 0, 1) for w,s in zip('ab', scores)], 0., 0.).line()
    assert line(.004, -.0512) == 'lake 50.0%: b -0.051, a +0.004'
    assert line(12.3, .004) == 'lake 50.0%: a +12.30, b +0.00' and line(.00034) == 'lake 50.0%: a +0.00034'
    assert line(0.) == 'lake 50.0%: a +0.00' and line() == 'lake 50.0%: no words'

def test_what_steers_a_terminal_is_shown(both):
    a = attribute(both, 'one \x1b[2J@-@\x1b]0;x\x07 ferry')
    assert '\x1b' not in a.line(50) and '\x07' not in a.line(50)

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_the_points_of_the_path_and_what_they_count(both, monkeypatch):
    along,seen = I._along,[]
    monkeypatch.setattr(I, '_along', lambda rs, k, at, w: seen.append((at, w)) or along(rs, k, at, w))
    ids = both.tokenizer_.encode('a ferry')
    token_scores(both, ids, 0, steps=4, tol=1e9)
    (at,w), = seen
    assert at == pytest.approx([0, .25, .5, .75, 1]) and w == [.5, 1, 1, 1, .5]
    seen.clear()
    again,*_ = token_scores(both, ids, 0, steps=4, tol=-1.) # doubled four times
    assert np.concatenate([at for at,_ in seen]).size == 65 and sorted(np.concatenate([at for at,_ in seen])) == pytest.approx(np.arange(65)/64)
    assert again == pytest.approx(token_scores(both, ids, 0, steps=64, tol=1e9)[0], abs=1e-4) # as if all had been taken at once

def test_colours_of_a_confusion_are_shares_of_the_truth():
    import matplotlib
    matplotlib.use('Agg')
    assert plot_confusion(np.array([[3, 1], [2, 2]]), ['a', 'b']).images[0].get_array().tolist() == [[.75, .25], [.5, .5]]

def test_confidence_is_of_the_label_that_was_asked_for(both):
    p = both.predict_proba(['take the heron'])[0]
    assert [attribute(both, 'take the heron', y, 'grad_x_input').confidence for y in (0, 1)] == pytest.approx(p.tolist())

def test_an_explanation_leaves_gradients_cut_between_chunks(both):
    attribute(both, 'a ferry')
    assert not any(m.full_bptt for m in both.models_.values())

def test_explaining_leaves_every_part_in_its_mode(both):
    net = both.models_['forward']
    net.train(); net.head.eval()
    attribute(both, 'the heron of a list')
    assert net.training and net.backbone.training and not net.head.training and not net.full_bptt
    net.eval()

def test_worst_losses_of_texts_that_come_one_by_one(both):
    texts,labels = ['the heron of a list', 'bread and flour'],list(both.classes_[:2])
    assert worst_losses(both, (t for t in texts), labels) == worst_losses(both, texts, labels)

def test_words_that_are_left_out_of_a_long_text():
    text = ' '.join(f'w{i}' for i in range(2000))
    spans = [I.Word(m, 0., b, b+len(m)) for m,b in ((w, text.index(f' {w} ')+1) for w in ('w7', 'w3', 'w1500'))]
    out = text
    for w in ('w3', 'w7', 'w1500'): out = out.replace(f' {w} ', '   ')
    assert without(text, spans) == out and without(text, []) == text

def test_labels_that_no_class_has_are_named(both):
    with pytest.raises(InputError, match='unknown label 7'): confusion(both, ['a', 'b'], [0, 7])
