"Confidence and rare classes where a lesson should not go: damaged models, texts that do not do, weights in the loss."
import json, re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.utils.class_weight import compute_sample_weight

from test_cli import TRAIN, refused, table, train_model, ulmfit
from test_estimator import FAST, LABELS, TEXTS
from ulmfit_nb import ULMFiT
from ulmfit_nb.awd_lstm import AWDLSTM, NO_DROPOUT
from ulmfit_nb.calibration import calibration_error, fit_temperature, keep_temperature, reliability
from ulmfit_nb.batches import ClasBatches
from ulmfit_nb.bpt3c import TextClassifier
from ulmfit_nb.classifier import soften
from ulmfit_nb.corpus import InputError

pytestmark = pytest.mark.usefixtures('one_thread')

HELD = [t.replace('the', 'a') for t in TEXTS]

@pytest.fixture
def clf(): return ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS)

def both_ways(clf):
    "Its last bias shifted, so that a half of `HELD` gets each label: the toy itself gives all of them the same."
    raw = clf.predict_proba(HELD)
    with torch.no_grad(): clf.models_['forward'].head[-1].bias[1] -= float(np.median(np.log(raw[:, 1]/raw[:, 0])))
    assert set(clf.predict(HELD)) == {'good', 'bad'}
    return clf

# ---- temperatures
@pytest.mark.parametrize('t', [.05, .5, 1, 3, 20])
def test_soften_keeps_the_order_and_the_sum(t):
    p = np.random.default_rng(0).dirichlet(np.full(5, .2), 200).astype(np.float32)
    p[0] = [1, 0, 0, 0, 0] # what float32 makes of great certainty
    q = soften(p, t)
    assert q.dtype == np.float32 and np.allclose(q.sum(1), 1, atol=1e-5) and np.isfinite(q).all()
    assert np.array_equal(q.argmax(1), p.argmax(1)) and np.array_equal(q[0], p[0])
    assert t == 1 or not np.allclose(p, q)

def test_a_temperature_is_found_again_and_stays_within_bounds():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), 4000)
    y = [rng.choice(4, p=q) for q in p]
    for t in .5, 1., 2.5: assert fit_temperature(soften(p, 1/t), y) == pytest.approx(t, rel=.1)
    sure = np.tile([1., 0.], (40, 1))
    assert .05 <= fit_temperature(sure, [0]*40) <= 20 and 1 < fit_temperature(sure, [1]*40) <= 21 # a true class of probability 0 has a finite loss

def test_bins_hold_every_text_once():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    y = np.zeros(500, int)
    bins = reliability(p, y, 7)
    assert sum(b.n for b in bins) == 500 and [b.sure for b in bins] == sorted(b.sure for b in bins)
    assert sum(b.n*b.right for b in bins)/500 == pytest.approx((p.argmax(1) == 0).mean())
    assert calibration_error(np.array([[1., 0.]]*3), [0]*3) == 0 and calibration_error(np.array([[1., 0.]]*3), [1]*3) == 1

# ---- the estimator
def test_calibration_changes_no_prediction_and_a_new_fit_forgets_it(clf, tmp_path):
    fresh,raw = clf.predict_proba(HELD),both_ways(clf).predict_proba(HELD)
    assert clf.calibrate(HELD, np.array(LABELS)) is clf and clf.temperature_ != 1
    assert np.array_equal(clf.predict(HELD), clf.classes_[raw.argmax(1)])
    assert np.allclose(clf.predict_proba(HELD), soften(raw, clf.temperature_), atol=1e-6)
    first = clf.temperature_
    assert clf.calibrate(HELD, LABELS).temperature_ == first # from the network's own probabilities, not from softened ones
    clf.save(tmp_path/'m')
    assert json.loads((tmp_path/'m/config.json').read_text())['temperature'] == first
    assert f'the temperature {first:.2f}' in (card := (tmp_path/'m/README.md').read_text()) and 'A fresh classifier' not in card
    assert np.array_equal(ULMFiT.load(tmp_path/'m', device='cpu').predict_proba(HELD), clf.predict_proba(HELD))
    assert clf.fit(TEXTS, LABELS).temperature_ == 1 and np.array_equal(clf.predict_proba(HELD), fresh)
    assert not hasattr(clone(clf), 'models_')

def test_calibration_with_two_directions_and_other_types_of_labels():
    two = ULMFiT(**FAST | dict(direction='both'), random_state=0).fit(TEXTS, [int(l == 'good') for l in LABELS])
    raw = two.predict_proba(HELD)
    two.calibrate(HELD, [np.int64(l == 'good') for l in LABELS])
    assert np.allclose(two.predict_proba(HELD), soften(raw, two.temperature_), atol=1e-6)

def test_texts_without_an_error_make_no_model_surer(clf):
    own = both_ways(clf).predict(HELD).tolist()
    assert clf.calibrate(HELD, own).temperature_ == 1. # by likelihood alone it would fall as far as it may
    wrong = ['good' if l == 'bad' else 'bad' for l in own]
    assert clf.calibrate(HELD, wrong).temperature_ > 1

@pytest.mark.parametrize('X,y,words', [(HELD[:10], LABELS[:10], 'too few'), (HELD, LABELS[1:], 'one label a text'), (HELD, ['odd', *LABELS[1:]], r"row 0 \(counted from 0\) has the label 'odd', which was not trained on"), ('one', LABELS, 'one string'), (HELD, None, 'no labels')])
def test_calibration_refuses(clf, X, y, words):
    clf.calibrate(HELD, LABELS)
    was = clf.temperature_
    with pytest.raises(InputError, match=words): clf.calibrate(X, y)
    assert clf.temperature_ == was

def test_texts_of_the_training_choose_no_temperature(clf, tmp_path):
    import pickle, warnings
    both_ways(clf)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        alone = clf.calibrate(HELD, LABELS).temperature_
    with pytest.warns(UserWarning, match=f'{len(TEXTS)} of the {2*len(TEXTS)} texts were trained on'): assert clf.calibrate([f' {t}\n' for t in TEXTS] + HELD, 2*LABELS).temperature_ == alone
    for c in (clf, pickle.loads(pickle.dumps(clf))):
        with pytest.raises(InputError, match='of the training'): c.calibrate(TEXTS, LABELS)
    with pytest.raises(InputError, match='^10 texts are too few'): clf.calibrate(TEXTS + HELD[:10], LABELS + LABELS[:10])
    assert clf.temperature_ == alone
    clf.fit(HELD, LABELS).calibrate(TEXTS, LABELS) # another training, other texts
    clf.save(tmp_path/'m')
    assert ULMFiT.load(tmp_path/'m', device='cpu').calibrate(HELD, LABELS) # what a directory does not keep is not known

def test_a_calibration_that_fails_leaves_the_old_one(clf, monkeypatch):
    clf.calibrate(HELD, LABELS)
    was = clf.temperature_
    def broken(*args, **kw): raise KeyboardInterrupt
    monkeypatch.setattr(clf, 'probs', broken)
    with pytest.raises(KeyboardInterrupt): clf.calibrate(HELD, LABELS)
    assert clf.temperature_ == was

def test_models_of_before_and_damaged_ones(clf, tmp_path):
    clf.save(tmp_path)
    f = tmp_path/'config.json'
    config = json.loads(f.read_text())
    del config['temperature']; f.write_text(json.dumps(config))
    assert ULMFiT.load(tmp_path, device='cpu').temperature_ == 1
    for bad in ('0', '-1', '"2"', 'true', 'null', 'NaN', 'Infinity', '[1]'):
        f.write_text(json.dumps(config)[:-1] + f', "temperature": {bad}}}')
        with pytest.raises(InputError, match='temperature'): ULMFiT.load(tmp_path)

# ---- the command
@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return train_model(tmp_path_factory.mktemp('calibrate'))

def test_the_command_changes_confidence_and_nothing_else(model, tmp_path):
    new = table(tmp_path/'new.csv', 20, seed=3)
    files,weights = {f.name: f.read_bytes() for f in model.iterdir()},(model/'model.safetensors').stat().st_ino
    def rows(): return [l.rsplit(',', 1) for l in ulmfit('predict', model, new).stdout.decode().splitlines()[1:]]
    before = rows()
    kept = table(tmp_path/'kept.csv', 40, seed=9)
    p = ulmfit('calibrate', model, kept)
    if b'100.0%' in p.stdout: assert b'Temperature 1.00' in p.stdout and b'no surer' in p.stdout and rows() == before # without an error nothing speaks for less doubt
    lines = kept.read_text().splitlines(True)
    kept.write_text(''.join(lines[:-4] + [l.replace(',good', ',x').replace(',bad', ',good').replace(',x', ',bad') for l in lines[-4:]]))
    p = ulmfit('calibrate', model, kept)
    assert p.returncode == 0 and p.stdout.startswith(b'Temperature '), p.stderr.decode()
    again = ulmfit('calibrate', model, tmp_path/'kept.csv')
    (_, _, then), (_, now, _) = (re.search(rb'Temperature (.*): .* goes from (.*) to (.*);', o.stdout).groups() for o in (p, again))
    assert now == then # its confidence before is what the first call made of it
    after = rows()
    assert [r[0] for r in before] == [r[0] for r in after] and [r[1] for r in before] != [r[1] for r in after]
    now = {f.name: f.read_bytes() for f in model.iterdir()}
    assert now.keys() == files.keys() and [k for k in now if now[k] != files[k]] == ['config.json']
    assert (model/'model.safetensors').stat().st_ino == weights # not even written anew: a crash cannot lose them
    was,config = (json.loads(x['config.json']) for x in (files, now))
    assert {k for k in config if config[k] != was[k]} == {'temperature'}

def test_the_command_refuses(model, tmp_path):
    files = {f.name: f.read_bytes() for f in model.iterdir()}
    refused(ulmfit('calibrate', model, model.parent/'train.csv'), 'was trained on')
    refused(ulmfit('calibrate', model, table(tmp_path/'few.csv', 6, seed=9)), 'too few')
    (tmp_path/'odd.csv').write_text('text,label\n' + 'so so,middling\n'*30)
    refused(ulmfit('calibrate', model, tmp_path/'odd.csv'), 'middling', 'not trained')
    refused(ulmfit('calibrate', tmp_path/'none', tmp_path/'odd.csv'), 'none')
    assert {f.name: f.read_bytes() for f in model.iterdir()} == files

def test_the_command_asks_back(model, tmp_path):
    import shutil
    shutil.copytree(model, tmp_path/'m'); shutil.copy(model.parent/'train.csv', tmp_path/'copy.csv')
    p = ulmfit('calibrate', tmp_path/'m', tmp_path/'copy.csv')                          # a copy is the training file, too
    assert p.returncode == 2 and b'was trained on' in p.stderr
    rows = (tmp_path/'copy.csv').read_text().splitlines(True)
    (tmp_path/'part.csv').write_text(''.join(rows[:60]))                                # a part of it is not the same file
    p = ulmfit('calibrate', tmp_path/'m', tmp_path/'part.csv')                          # but its texts are known
    assert p.returncode == 2 and b'was trained on' in p.stderr
    new = table(tmp_path/'new.csv', 40, seed=9).read_text().splitlines(True)
    (tmp_path/'both.csv').write_text(''.join(rows[:60] + new[1:]))
    p = ulmfit('calibrate', tmp_path/'m', tmp_path/'both.csv')
    n = re.search(rb'on these (\d+) texts(?s:.*)\n(\d+) of the texts stand in the training file', p.stdout)
    assert p.returncode == 0 and int(n[1]) <= 40 and int(n[1]) + int(n[2]) == 59 + 40, p.stdout
    c = json.loads((tmp_path/'m/config.json').read_text())
    c['meta']['data'] = str(tmp_path/'away.csv')                                         # without the training file they are not
    (tmp_path/'m/config.json').write_text(json.dumps(c))
    p = ulmfit('calibrate', tmp_path/'m', tmp_path/'part.csv')
    assert p.returncode == 0 and (b'among those of the training' in p.stdout) == (b'98.3% of the predictions' in p.stdout) and (b'no surer' in p.stdout) == (b'100.0% of the predictions' in p.stdout), p.stdout
    swapped = table(tmp_path/'swapped.csv', 40, seed=5)
    swapped.write_text(swapped.read_text().replace(',good', ',x').replace(',bad', ',good').replace(',x', ',bad'))
    (tmp_path/'m/config.json').write_text(json.dumps(c | dict(temperature=2.5), indent=1))
    was = (tmp_path/'m/config.json').read_bytes()
    refused(ulmfit('calibrate', tmp_path/'m', swapped), 'hardly go with the labels', 'nothing was changed')
    assert (tmp_path/'m/config.json').read_bytes() == was
    refused(ulmfit('calibrate', tmp_path/'m'), 'name a file')
    refused(ulmfit('calibrate', tmp_path/'m', swapped, '--reset'), 'one of the two')
    assert ulmfit('calibrate', tmp_path/'m', '--reset').returncode == 0                 # the way back
    assert json.loads((tmp_path/'m/config.json').read_text()) == json.loads(was) | dict(temperature=1.)

def test_evaluate_says_when_it_is_too_sure(model, tmp_path):
    lies = table(tmp_path/'lies.csv', 40, seed=5)
    lies.write_text(lies.read_text().replace(',good', ',x').replace(',bad', ',good').replace(',x', ',bad'))
    text = ulmfit('evaluate', model, lies).stdout.decode()
    assert 'confidence' in text and 'surer than it is right' in text
    res = json.loads(ulmfit('evaluate', model, lies, '--json').stdout)
    assert res['mean_confidence'] > .5 and res['calibration_error'] > .3
    true = table(tmp_path/'true.csv', 40, seed=5)
    assert 'surer than' not in ulmfit('evaluate', model, true).stdout.decode()

@pytest.mark.parametrize('n,right,sure,said', [(1, 0., .75, False), (1, 0., .85, True), (100, .8, .84, False), (100, .8, .9, True), (1000, .8, .84, False), (1000, .8, .86, True)])
def test_too_sure_is_said_where_it_is_no_chance(n, right, sure, said, capsys):
    from ulmfit_nb.evaluate import print_scores
    res = dict(n=n, accuracy=right, macro_f1=right, mean_confidence=sure, no_baseline='none', per_label=[dict(n=n, precision=None, recall=None, f1=None)]*2, temperature=1., worst=[])
    print_scores(res, np.zeros((2, 2), int), ['a', 'b'])
    assert ('surer than it is right' in capsys.readouterr().out) == said

def test_train_names_a_rare_label(tmp_path):
    data = tmp_path/'rare.csv'
    data.write_text('text,label\n' + ''.join(f'the {w} film {i},good\n' for i,w in enumerate(['long', 'short', 'old']*11)) + ''.join(f'a dull film {i},bad\n' for i in range(10)))
    small = [*TRAIN[:4], '--epochs', 1, '--lm-epochs', 0, '--bs', 8]
    few = tmp_path/'few.csv'
    few.write_text('text,label\n' + 'the long film,good\n'*9 + 'a dull film,bad\n'*3)
    assert b"'bad' stands in 3 rows only" in ulmfit('train', few, '--out', tmp_path/'c', *small).stdout
    p = ulmfit('train', data, '--out', tmp_path/'a', *small)
    assert b"'bad' is rare" in p.stdout and b'--class-weight balanced' in p.stdout, p.stderr
    p = ulmfit('train', data, '--out', tmp_path/'b', *small, '--class-weight', 'balanced')
    assert p.returncode == 0 and b'is rare' not in p.stdout
    assert json.loads((tmp_path/'b/config.json').read_text())['params']['class_weight'] == 'balanced'

# ---- weights in the loss
DOCS = [np.arange(3, 3+n) for n in (4, 9, 2, 7, 5, 3, 8, 6, 4)]
YS = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1])

def test_the_estimator_weighs_by_the_labels_it_was_given(monkeypatch):
    import ulmfit_nb.ulmfit as u
    seen,real = [],u.finetune_classifier
    def finetune(*args, **kw):
        seen.append(kw['weights'])
        return real(*args, **kw)
    monkeypatch.setattr(u, 'finetune_classifier', finetune)
    y = ['good' if k < 3 else 'bad' for k in range(len(TEXTS))]
    for w in (None, 'balanced'): ULMFiT(**FAST, random_state=0, class_weight=w).fit(TEXTS, y)
    n = len(TEXTS)
    assert seen[0] is None and np.allclose(seen[1], [n/(2*3)]*3 + [n/(2*(n-3))]*(n-3)) and np.mean(seen[1]) == pytest.approx(1)

def test_weights_go_with_their_documents_and_scale_their_losses():
    weights = compute_sample_weight('balanced', YS)
    torch.manual_seed(0)
    model = TextClassifier(AWDLSTM(20, (8, 12, 2), NO_DROPOUT), 2, NO_DROPOUT).eval()
    for b in ClasBatches(DOCS, YS, 4, weights=weights).batches():
        i = b.inputs
        assert np.allclose(i['weights'], weights[[0, 7]][i['labels'].numpy()])
        losses = F.cross_entropy(model(i['ids'], i['lengths']), i['labels'], reduction='none')
        assert torch.allclose(model(**i).loss, (losses*i['weights']).mean())
        even = {k: v for k,v in i.items() if k != 'weights'}
        assert torch.allclose(model(**even).loss, losses.mean())

@pytest.mark.parametrize('n', [2, 3])
def test_weighted_parts_add_up_to_the_joint_loss(n):
    weights = np.linspace(.1, 1.9, 9)
    torch.manual_seed(0)
    model = TextClassifier(AWDLSTM(20, (8, 12, 2), NO_DROPOUT), 2, NO_DROPOUT).eval()
    def losses(rank, n):
        s = ClasBatches(DOCS, YS, 5, weights=weights)
        s.shard(rank, n)
        return [(model(**b.inputs).loss.item(), b.share) for b in s.batches()]
    parts = [losses(r, n) for r in range(n)]
    for k,(whole,_) in enumerate(losses(0, 1)): assert np.mean([p[k][0]*p[k][1] for p in parts]) == pytest.approx(whole, rel=1e-5)

@pytest.mark.parametrize('weights', [[1.]*8, [0.]*9, [-1.] + [1.]*8, [np.nan] + [1.]*8, [np.inf] + [1.]*8])
def test_weights_that_cannot_be(weights):
    with pytest.raises(InputError, match='weights must be 9 finite numbers'): ClasBatches(DOCS, YS, 4, weights=weights)

def test_weights_are_part_of_what_a_run_is(tmp_path):
    assert len({ClasBatches(DOCS, YS, 4, weights=w).key for w in (None, [1.]*9, compute_sample_weight('balanced', YS))}) == 3
    with pytest.raises(InputError, match='choose balanced or None'): ULMFiT(**FAST, class_weight='even').fit(TEXTS, LABELS)
    ULMFiT(**FAST, random_state=1).fit(TEXTS, LABELS, run_dir=tmp_path)
    with pytest.raises(InputError, match='differs in class_weight'): ULMFiT(**FAST, random_state=1, class_weight='balanced').fit(TEXTS, LABELS, run_dir=tmp_path, resume=True)

def test_a_balanced_estimator_is_another_one_and_survives_save(tmp_path):
    y = ['good' if k < 3 else 'bad' for k in range(len(TEXTS))]
    a,b = (ULMFiT(**FAST, random_state=0, class_weight=w).fit(TEXTS, y) for w in (None, 'balanced'))
    assert not np.allclose(a.predict_proba(HELD), b.predict_proba(HELD))
    assert b.predict_proba(HELD)[:, 1].mean() > a.predict_proba(HELD)[:, 1].mean() # more of the rare class
    b.save(tmp_path)
    assert clone(again := ULMFiT.load(tmp_path, device='cpu')).class_weight == 'balanced'
    assert again.settings_ == b.settings_ and {'lr', 'recipe', 'drop_mult'} <= {*b.settings_} # what was in force, not only what was asked for

def test_evaluate_says_where_its_figures_come_from(model, tmp_path):
    import shutil
    assert b'was trained on' in ulmfit('evaluate', model, shutil.copy(model.parent/'train.csv', tmp_path/'copy.csv')).stdout
    lines = ulmfit('evaluate', model, table(tmp_path/'new.csv', 40, seed=5)).stdout.decode()
    assert 'was trained on' not in lines and 'TF-IDF' in lines
    (tmp_path/'d').mkdir()
    other = table(tmp_path/'d'/'train.csv', 80)
    p = ulmfit('train', other, '--out', tmp_path/'d'/'m', '--backbone', 'none', '--size', 'micro', '--epochs', '1', '--lm-epochs', '0', '--bs', '8', '--quiet')
    assert p.returncode == 0, p.stderr
    table(other, 80, seed=9)                                                             # other rows under the same name
    assert b'has changed since the training' in ulmfit('evaluate', tmp_path/'d'/'m', tmp_path/'new.csv').stdout

@pytest.mark.parametrize('y', [['a', 'b'], [0., 1.], [0, 2], [-1, 0], [0], [None, 1]])
def test_labels_that_are_no_indices_are_refused(y):
    p = np.array([[.9, .1], [.2, .8]])
    for f in (reliability, calibration_error, fit_temperature):
        with pytest.raises(InputError): f(p, y)

@pytest.mark.parametrize('p', [np.array([[3., -2.], [-1., 4.]]), np.array([[.9, .3], [.2, .8]]), np.array([[np.nan, .1], [.2, .8]]), np.array([.9, .8])])
def test_logits_and_scores_are_no_probabilities(p):
    for f in (reliability, calibration_error, fit_temperature):
        with pytest.raises(InputError, match='these are no probabilities'): f(p, [0, 1])

def test_lists_and_rounded_probabilities_will_do():
    p = [[.667, .333], [.333, .667], [.334, .667]]
    assert calibration_error(p, [0, 1, 1]) == pytest.approx(1/3, abs=1e-3) and fit_temperature(p, [0, 1, 1]) < 1
    with pytest.raises(InputError, match='n_bins=0'): calibration_error(p, [0, 1, 1], 0)

@pytest.mark.parametrize('y', [np.zeros(0, int), []])
def test_no_texts_have_no_error(y):
    with pytest.raises(InputError, match='there are no texts'): calibration_error(np.zeros((0, 2)), y)

def test_a_training_file_whose_name_is_no_utf8(tmp_path):
    (tmp_path/'config.json').write_text(json.dumps(dict(meta=dict(data='donn\udce9es.csv'))), encoding='utf-8')
    keep_temperature(tmp_path, 1.5)
    assert json.loads((tmp_path/'config.json').read_text(encoding='utf-8')) == dict(meta=dict(data='donn\udce9es.csv'), temperature=1.5)

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_a_bin_counts_by_its_texts():
    p = np.array([[.9, .1]]*8 + [[.6, .4]]*2)
    assert calibration_error(p, [0]*4 + [1]*4 + [0]*2) == pytest.approx((8*.4 + 2*.4)/10)
    assert calibration_error(p, [0]*8 + [1]*2) == pytest.approx((8*.1 + 2*.6)/10)

@pytest.mark.filterwarnings('ignore:24 of the 48 texts')
def test_labels_stay_with_the_texts_that_are_kept(clf):
    both_ways(clf)
    alone = clf.calibrate(HELD, LABELS).temperature_
    assert clf.calibrate(TEXTS + HELD, [l for l in LABELS[::-1]] + LABELS).temperature_ == alone

def test_a_column_of_labels_is_a_list_of_them():
    p = np.random.default_rng(0).dirichlet([1, 1], 60)
    y = (p[:, 1] > .4).astype(int)
    for f in (calibration_error, fit_temperature): assert f(p, y[:, None]) == f(p, y)
    with pytest.raises(InputError, match='one a row'): calibration_error(p, np.stack([y, y], 1))

def test_texts_that_make_a_loaded_model_surer_are_doubted(clf, tmp_path, monkeypatch):
    import warnings, ulmfit_nb.calibration as C
    clf.save(tmp_path/'m')
    loaded = ULMFiT.load(tmp_path/'m', device='cpu')
    monkeypatch.setattr(C, 'fit_temperature', lambda probs, ys: .4)
    with pytest.warns(UserWarning, match='surer, as those of its training would'): loaded.calibrate(HELD, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        clf.calibrate(HELD, LABELS) # which knows that these are none of its own
        monkeypatch.setattr(C, 'fit_temperature', lambda probs, ys: 1.4)
        loaded.calibrate(HELD, LABELS)
