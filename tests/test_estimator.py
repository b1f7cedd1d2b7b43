"The estimator and the command where a user's day goes wrong: interruptions, other people's files, settings that cannot work."
import csv, io, json, os, shutil, subprocess, sys, threading, time, warnings
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from ulmfit_nb import ULMFiT
from ulmfit_nb.awd_lstm import AWDLSTM, NO_DROPOUT, LanguageModel, Size
from ulmfit_nb.bpt3c import TextClassifier
from ulmfit_nb.cli import main, print_labels
from ulmfit_nb.commands import start_run
from ulmfit_nb.corpus import InputError
from ulmfit_nb.evaluate import trained_on
from ulmfit_nb.evidence import baseline
from ulmfit_nb.ids import Corpus
from ulmfit_nb.inputs import check_labels, check_texts, default_settings, label_list
from ulmfit_nb.lab import Lab, Task, without_twins
from ulmfit_nb.reproduce import ablation, ablation_rows, draw, headline, lowshot, reproduce, wikitext2
from ulmfit_nb.processes import asked_to_stop
from ulmfit_nb.self_training import second_round_texts
from ulmfit_nb.storage import load_backbone, save_backbone
from ulmfit_nb.tokenization import Tokenizer
from ulmfit_nb.training import Trainer

pytestmark = pytest.mark.usefixtures('one_thread')

TEXTS = [f'the {a} {b} was {c}' for a in ('first', 'last') for b in ('plot', 'cast', 'film') for c in ('superb', 'dull', 'lovely', 'awful')]
LABELS = ['good' if t.endswith(('superb', 'lovely')) else 'bad' for t in TEXTS]
FAST = dict(backbone=None, size=(12, 20, 2), min_count=1, vocab_size=100, epochs=2, lm_epochs=1, bs=8, device='cpu', progress=False, precision='float32')

@pytest.fixture
def one_way(tmp_path):
    "A backbone that reads forward only."
    tok = Tokenizer.train(TEXTS, kind='word', vocab_size=100, min_count=1, n_workers=1)
    return save_backbone(tmp_path/'one', dict(forward=LanguageModel(AWDLSTM(tok.vocab_size, (12, 20, 2), NO_DROPOUT))), tok) or tmp_path/'one'

@pytest.fixture(scope='module')
def fitted(tmp_path_factory):
    "The directory of a classifier."
    d = tmp_path_factory.mktemp('fitted')/'m'
    ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS).save(d)
    return d

def interrupted(monkeypatch, at=3):
    "From the third batch of the classifier on, Ctrl-C."
    from ulmfit_nb.training import Trainer
    step,seen = Trainer.train_batch,[]
    def train_batch(self, *args):
        seen.append(1)
        if len(seen) > at: raise KeyboardInterrupt
        return step(self, *args)
    monkeypatch.setattr(Trainer, 'train_batch', train_batch)

# ---- both directions at the same time ----------------------------------------------------------------------------

BOTH = FAST | dict(direction='both', random_state=0, self_train=60)
MORE = [f'a {a} {b} is {c}' for a in ('new', 'long', 'short') for b in ('story', 'scene', 'song', 'book', 'play') for c in ('superb', 'dull', 'lovely', 'awful')]

@pytest.fixture(scope='module')
def in_turn(one_thread):
    return ULMFiT(**BOTH, n_jobs=1).fit(TEXTS, LABELS, MORE)

def same(a, b):
    "Equal to the bit, and with the same history but for its times."
    def losses(clf): return {k: [r['train_loss'] for r in rows] for k,rows in clf.history_.items()}
    return np.array_equal(a.predict_proba(TEXTS), b.predict_proba(TEXTS)) and losses(a) == losses(b) and list(a.history_) == list(b.history_)

def test_directions_at_once_give_what_they_give_in_turn(in_turn, tmp_path):
    "Also in what is left for `resume`, whichever way that goes on."
    a = ULMFiT(**BOTH, n_jobs=2).fit(TEXTS, LABELS, MORE, run_dir=tmp_path)
    assert 'self-training backward' in a.history_ and same(a, in_turn)
    assert sorted(f.name for f in tmp_path.iterdir()) == ['backward', 'fit.json', 'forward', 'own.json'] # the texts do not stay
    for n in (1, 2): assert same(ULMFiT(**BOTH, n_jobs=n).fit(TEXTS, LABELS, MORE, run_dir=tmp_path, resume=True), in_turn)

def test_a_direction_goes_on_here_when_its_process_dies(in_turn, monkeypatch, capsys):
    from ulmfit_nb import runs
    was = runs.meanwhile
    monkeypatch.setattr(runs, 'meanwhile', lambda *_: was('os:_exit', dict(status=3)))
    assert same(ULMFiT(**BOTH | dict(progress=True), n_jobs=2).fit(TEXTS, LABELS, MORE), in_turn)
    assert 'early end (status 3): it goes on here' in capsys.readouterr().out

def test_an_interruption_reaches_the_other_process(in_turn, tmp_path, monkeypatch):
    begun,was = [],subprocess.Popen
    with monkeypatch.context() as m:
        m.setattr(subprocess, 'Popen', lambda *a, **k: begun.append(was(*a, **k)) or begun[-1])
        interrupted(m, 2)
        with pytest.raises(KeyboardInterrupt): ULMFiT(**BOTH, n_jobs=2).fit(TEXTS, LABELS, MORE, run_dir=tmp_path)
    p, = [p for p in begun if '_job' in str(p.args)]
    assert p.returncode is not None # it has ended, however far it was
    assert not [*tmp_path.glob('.*')]
    assert same(ULMFiT(**BOTH, n_jobs=2).fit(TEXTS, LABELS, MORE, run_dir=tmp_path, resume=True), in_turn)

def test_when_directions_are_trained_at_once(tmp_path, monkeypatch):
    class Mine(ULMFiT): pass
    def job(cls=ULMFiT, **kw):
        clf = cls(**FAST | dict(direction='both') | kw)
        clf.n_labels_ = len(TEXTS)
        tok,corpus,known = clf._read(TEXTS*(1 if few else 3000), [], 'forward')
        return clf._job(clf._directions(), tok, corpus, known, np.zeros(3, int), 0, tmp_path) is not None
    few,threads = True,torch.get_num_threads()
    assert [job(n_jobs=n) for n in (None, 1, 2)] == [False, False, True] # few texts
    assert not job(n_jobs=2, direction='forward') and not job(Mine, n_jobs=2)
    with monkeypatch.context() as m:
        m.setenv('WORLD_SIZE', '1')
        assert not job(n_jobs=2)
    few = False
    try:
        torch.set_num_threads(2)
        for size in (8, 16):
            monkeypatch.setattr('psutil.virtual_memory', lambda: SimpleNamespace(total=size*2**30))
            assert job() == (size == 16)
        torch.set_num_threads(1)
        assert not job() and job(n_jobs=2)
    finally: torch.set_num_threads(threads)

def test_the_other_process_runs_this_package_whatever_lies_where_it_starts(tmp_path):
    "Another copy of the package, and a file called as a standard module, in the current folder; a folder of the path with the sign that separates folders."
    import ulmfit_nb
    at = Path(ulmfit_nb.__file__).parent
    other, here = tmp_path/'other', tmp_path/'a:b'
    for f in (other, here): f.mkdir()
    shutil.copytree(at, here/'ulmfit_nb', ignore=shutil.ignore_patterns('__pycache__'))
    (other/'ulmfit_nb').mkdir(); (other/'ulmfit_nb'/'__init__.py').write_text('raise SystemExit("the other copy")')
    (other/'random.py').write_text('raise SystemExit("not the standard module")')
    (tmp_path/'told.py').write_text(f'import ulmfit_nb.training, random; open({str(tmp_path/"told")!r}, "w").write(ulmfit_nb.training.__file__)')
    (tmp_path/'run.py').write_text(f'import sys, pathlib; sys.path[0] = {str(here)!r}; sys.path.append(pathlib.Path("/"))\nfrom ulmfit_nb.processes import meanwhile\n'
        f'with meanwhile("runpy:run_path", dict(path_name={str(tmp_path/"told.py")!r})) as ended: print(ended())')
    p = subprocess.run([sys.executable, str(tmp_path/'run.py')], cwd=other, capture_output=True, text=True)
    assert p.stdout == 'None\n' and (tmp_path/'told').read_text() == str(here/'ulmfit_nb'/'training.py'), p.stderr

@pytest.mark.parametrize('what', ['', '/no/such/python', None])
def test_a_process_that_cannot_be_started(in_turn, monkeypatch, capsys, what):
    monkeypatch.setattr(sys, 'executable', what)
    assert same(ULMFiT(**BOTH | dict(progress=True), n_jobs=2).fit(TEXTS, LABELS, MORE), in_turn)
    assert 'it goes on here' in capsys.readouterr().out

def test_the_other_process_starts_no_other(monkeypatch):
    monkeypatch.setenv('ULMFIT_NB_JOB', '1')
    clf = ULMFiT(**BOTH, n_jobs=2)
    clf.n_labels_ = len(TEXTS)
    assert clf._job(['forward', 'backward'], None, None, None, None, 0, None) is None

def test_numbers_of_any_kind_reach_the_other_process(tmp_path):
    "And a backbone however its folder is named."
    few = dict(self_train=0, lm_drop_mult=np.float32(.3), lr=Fraction(1, 200), lm_lr=np.float32(.004), div=[*np.array([1, 1, 1, 2])], lm_epochs=np.float64(.5), bs=np.int32(8))
    a, b = (ULMFiT(**BOTH | few, n_jobs=n).fit(TEXTS, LABELS, MORE) for n in (1, 2))
    assert same(a, b)
    a.save(tmp_path/'m')
    assert ULMFiT.load(tmp_path/'m', 'cpu').get_params()['lr'] == .005

def test_a_backbone_that_is_no_path_object_reaches_the_other_process(in_turn, tmp_path, capsys):
    lms = {d: LanguageModel(AWDLSTM(in_turn.tokenizer_.vocab_size, (12, 20, 2))) for d in ('forward', 'backward')}
    save_backbone(tmp_path/'mine', lms, in_turn.tokenizer_, [])
    entry, = os.scandir(tmp_path)
    a, b = (ULMFiT(**BOTH | dict(backbone=bb, size='base', self_train=0, progress=True), n_jobs=n).fit(TEXTS, LABELS) for n, bb in ((1, str(tmp_path/'mine')), (2, entry)))
    assert same(a, b) and 'goes on here' not in capsys.readouterr().out

def test_asked_to_stop_while_it_waits_for_the_other_process(tmp_path):
    "Nothing stays but checkpoints; and what a run that was killed has left goes with the next."
    script = f"""from ulmfit_nb import runs
from ulmfit_nb.processes import meanwhile
runs.meanwhile = lambda f, kw, n: meanwhile('subprocess:run', dict(args=['sleep', '100']), n)
from ulmfit_nb import ULMFiT
ULMFiT(**{BOTH!r}, n_jobs=2).fit({TEXTS!r}, {LABELS!r}, run_dir={str(tmp_path/"run")!r})"""
    p = subprocess.Popen([sys.executable, '-c', script], stderr=subprocess.PIPE, text=True, env=os.environ | dict(OMP_NUM_THREADS='1'))
    done = tmp_path/'run'/'forward'/'classifier'/'last.pt'
    while p.poll() is None and not done.exists(): time.sleep(.1)
    time.sleep(1)
    p.terminate()
    assert p.wait(90) and 'KeyboardInterrupt' in p.stderr.read()
    assert done.exists() and not [*(tmp_path/'run').glob('.*')]
    (tmp_path/'run'/'.ulmfit-read-killed').mkdir()
    kept = done.read_bytes()
    with pytest.raises(InputError, match='stopped: go on with resume=True'): ULMFiT(**BOTH, n_jobs=1).fit(TEXTS, LABELS, run_dir=tmp_path/'run') # the same cell again
    assert done.read_bytes() == kept
    again = ULMFiT(**BOTH, n_jobs=1).fit(TEXTS, LABELS, run_dir=tmp_path/'run', resume=True)
    assert same(again, ULMFiT(**BOTH, n_jobs=1).fit(TEXTS, LABELS, run_dir=tmp_path/'run')) # a run that has ended gives way
    assert sorted(f.name for f in (tmp_path/'run').iterdir()) == ['backward', 'fit.json', 'forward']

@pytest.mark.parametrize('n', [0, 3, -1, 1.5, 'two', True])
def test_number_of_jobs(n):
    with pytest.raises(InputError, match='n_jobs'): ULMFiT(**FAST, n_jobs=n).check()

# ---- resume -----------------------------------------------------------------------------------------------------

def test_resume_without_a_seed_goes_on_with_the_first_one(tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        interrupted(m, 5)
        with pytest.raises(KeyboardInterrupt): ULMFiT(**FAST).fit(TEXTS, LABELS, run_dir=tmp_path)
    seed = json.loads((tmp_path/'fit.json').read_text())['seed']
    a = ULMFiT(**FAST).fit(TEXTS, LABELS, run_dir=tmp_path, resume=True)
    b = ULMFiT(**FAST, random_state=seed).fit(TEXTS, LABELS)
    assert np.array_equal(a.predict_proba(TEXTS), b.predict_proba(TEXTS))

@pytest.mark.parametrize('what', ['texts', 'labels', 'unlabelled', 'drop_mult', 'max_len', 'seed'])
def test_resume_refuses_another_run(what, tmp_path):
    more = ['the film was long', 'the cast was short']
    ULMFiT(**FAST, random_state=1).fit(TEXTS, LABELS, more, run_dir=tmp_path)
    X = [t.replace('superb', 'stellar') for t in TEXTS] if what == 'texts' else TEXTS
    y = LABELS[::-1] if what == 'labels' else LABELS
    clf = ULMFiT(**FAST, random_state=2 if what == 'seed' else 1, **{what: dict(drop_mult=.1, max_len=99)[what]} if what in ('drop_mult', 'max_len') else {})
    with pytest.raises(InputError, match='holds a run'): clf.fit(X, y, more[::-1] if what == 'unlabelled' else more, run_dir=tmp_path, resume=True)

def test_an_interrupted_second_fit_leaves_the_first_model_whole(tmp_path, monkeypatch):
    clf = ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS)
    p,history = clf.predict_proba(TEXTS),clf.history_
    clf.set_params(drop_mult=.9)
    with monkeypatch.context() as m:
        interrupted(m)
        with pytest.raises(KeyboardInterrupt): clf.fit(TEXTS, LABELS)
    assert clf.history_ == history and clf.settings_['drop_mult'] == .5 and np.array_equal(clf.predict_proba(TEXTS), p)

def test_resume_and_overwrite_together_lose_nothing(tmp_path):
    run = start_run(tmp_path/'out', dict(a=1), overwrite=True)
    (run/'last.pt').write_text('precious')
    assert start_run(tmp_path/'out', dict(a=1), resume=True, overwrite=True) == run and (run/'last.pt').exists()

# ---- save and load ----------------------------------------------------------------------------------------------

def test_numbers_of_numpy_are_numbers(tmp_path):
    clf = ULMFiT(**FAST | dict(epochs=np.int64(2), bs=np.int64(8)), random_state=np.int64(3), max_len=np.int64(200), self_train=np.int64(0)).fit(TEXTS, LABELS, run_dir=tmp_path/'run')
    clf.save(tmp_path/'m')
    assert np.array_equal(ULMFiT.load(tmp_path/'m', device='cpu').predict_proba(TEXTS), clf.predict_proba(TEXTS))

def test_load_and_save_keep_meta_and_history(tmp_path):
    clf = ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS)
    clf.save(tmp_path/'a', columns=dict(text='review', label='s'))
    a = ULMFiT.load(tmp_path/'a', device='cpu')
    assert a.history_ == clf.history_ and a.meta_['columns']['text'] == 'review'
    a.save(tmp_path/'b')
    assert [(tmp_path/d/f).read_text() for d in 'ab' for f in ('config.json',)][0] == (tmp_path/'b/config.json').read_text()
    assert (tmp_path/'a/history.csv').read_text() == (tmp_path/'b/history.csv').read_text()
    training = json.loads((tmp_path/'b/config.json').read_text())['meta']['training'] # what the loop ran with, a stage
    assert {*training} == {*clf.history_} == {'lm forward', 'classifier forward'}
    assert [training[f'{k} forward']['cfg']['clip'] for k in ('lm', 'classifier')] == [.3, 25.] and sum(p['epochs'] for p in training['classifier forward']['phases']) >= 2 and 'betas' not in (tmp_path/'a/README.md').read_text()
    assert a.fit(TEXTS, LABELS, MORE).meta_ == dict(n_labelled=len(TEXTS), n_unlabelled=len(MORE), training=a._training) # what was said of the first data is not true of others
    card = (tmp_path/'a/README.md').read_text()
    assert '| n_labelled | 24 |' in card and f'torch {torch.__version__}' in card and 'evaluate' in card and 'from the backbone' not in card
    clf.set_params(backbone='some/where/mine').save(tmp_path/'c')
    assert 'from the backbone mine,' in (tmp_path/'c/README.md').read_text()

@pytest.mark.parametrize('mine', ['config.json', 'README.md', 'history.csv'])
def test_save_spares_files_of_others(mine, tmp_path):
    clf = ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS)
    (tmp_path/mine).write_text('{"mine": 1}')
    with pytest.raises(InputError, match='overwrite=True'): clf.save(tmp_path)
    assert (tmp_path/mine).read_text() == '{"mine": 1}'
    clf.save(tmp_path, overwrite=True); clf.save(tmp_path) # and a classifier over a classifier
    assert sorted(p.name for p in tmp_path.iterdir()) == ['README.md', 'config.json', 'history.csv', 'model.safetensors', 'tokenizer.json']

def test_save_spares_a_backbone(one_way):
    with pytest.raises(InputError, match="no classifier's"): ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS).save(one_way)
    load_backbone(one_way)

@pytest.mark.skipif(not Path('/dev/shm').is_dir(), reason='no second file system')
def test_a_model_is_written_where_its_directory_lies(tmp_path, monkeypatch):
    "A directory that exists may be a mount point: nothing may be moved into it from outside."
    clf,moved,move = ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS),[],os.replace
    (tmp_path/'m').mkdir()
    monkeypatch.setattr(os, 'replace', lambda a, b: (moved.append((Path(a), Path(b))), move(a, b)))
    clf.save(tmp_path/'m')
    assert moved and all(tmp_path/'m' in a.parents for a,b in moved if b.parent == tmp_path/'m')

def test_any_way_to_give_a_size_survives_save(tmp_path):
    clf = ULMFiT(**FAST | dict(size=Size(12, 20, 2)), random_state=0).fit(TEXTS, LABELS)
    clf.save(tmp_path/'m')
    again = clone(ULMFiT.load(tmp_path/'m', device='cpu')).fit(TEXTS, LABELS)
    assert np.array_equal(clf.predict_proba(TEXTS), again.predict_proba(TEXTS))

def test_blank_texts_without_a_label_are_left_out(capsys):
    "Nothing is learned from them, and no second round gives them a label."
    kw = FAST | dict(random_state=0, self_train=60)
    a = ULMFiT(**kw).fit(TEXTS, LABELS, MORE)
    b = ULMFiT(**kw | dict(progress=True)).fit(TEXTS, LABELS, ['', *MORE, ' \n'])
    assert np.array_equal(a.predict_proba(TEXTS), b.predict_proba(TEXTS))
    assert f'2 of the {len(MORE)+2} unlabelled texts are blank' in capsys.readouterr().out
    assert ULMFiT(**kw).fit(TEXTS, LABELS, ['', ' ']).history_.keys() == {'lm forward', 'classifier forward'}

def test_why_there_is_no_second_round(capsys):
    ULMFiT(**FAST | dict(random_state=0, self_train=60, progress=True)).fit(TEXTS, LABELS, TEXTS*3 + MORE[:5])
    assert f'two texts without a label for each that has one ({2*len(TEXTS)}), and there are 5, beside {3*len(TEXTS)} that have a label elsewhere' in capsys.readouterr().out

def test_a_second_round_goes_on_with_the_labels_that_it_began_with(tmp_path, monkeypatch):
    "Another machine rounds otherwise, and might have given others."
    from ulmfit_nb import ulmfit as U
    clf,calls = ULMFiT(**FAST, random_state=0, self_train=60),[]
    a = clone(clf).fit(TEXTS, LABELS, MORE, run_dir=tmp_path/'a')
    assert 'self-training forward' in a.history_
    was = U.finetune_classifier
    def stopped(*args, **kw):
        calls.append(1)
        if len(calls) == 2: raise KeyboardInterrupt
        return was(*args, **kw)
    with monkeypatch.context() as m:
        m.setattr(U, 'finetune_classifier', stopped)
        with pytest.raises(KeyboardInterrupt): clone(clf).fit(TEXTS, LABELS, MORE, run_dir=tmp_path/'b')
    monkeypatch.setattr(U, 'pseudo_labels', lambda p: (np.arange(len(p)), np.zeros(len(p), int)))
    assert np.array_equal(clone(clf).fit(TEXTS, LABELS, MORE, run_dir=tmp_path/'b', resume=True).predict_proba(TEXTS), a.predict_proba(TEXTS))
    (tmp_path/'b'/'own.json').write_text('{')
    with pytest.raises(InputError, match='own.json is damaged'): clone(clf).fit(TEXTS, LABELS, MORE, run_dir=tmp_path/'b', resume=True)

def test_what_was_in_force_is_what_was_done(capsys):
    clf = ULMFiT(**FAST | dict(lm_epochs=0, progress=True)).fit(TEXTS, LABELS)
    assert (clf.settings_['recipe'], clf.settings_['div']) == ('from-scratch', 1.) and 'recipe from-scratch' in capsys.readouterr().out
    ULMFiT(**FAST | dict(recipe='chain-thaw', progress=True)).fit(TEXTS, LABELS)
    assert 'passes: 5, recipe chain-thaw' in capsys.readouterr().out # four groups one by one, then all

def test_scores_of_rows_without_a_label(fitted):
    clf = ULMFiT.load(fitted)
    for y in (['good', None], ['good', np.nan]):
        with pytest.raises(InputError, match='row 1 .* has no label'): clf.score(TEXTS[:2], y)
    with pytest.raises(InputError, match='no texts'): clf.score([], [])

@pytest.mark.parametrize('X,y,words', [({*TEXTS}, LABELS, 'in an order that stays'), (TEXTS, ['', *LABELS[1:]], r'row 0 \(counted from 0\) has no label'), (TEXTS, [*LABELS[:-1], ' '], rf'row {len(TEXTS)-1} \(counted from 0\) has no label')])
def test_sets_and_empty_labels_are_refused(X, y, words):
    with pytest.raises(InputError, match=words): ULMFiT(**FAST).fit(X, y)

# ---- refused at once --------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kw,words', [(dict(drop_mult=3.), 'not a probability'), (dict(lm_drop_mult=9.), 'not a probability'), (dict(precision='fp16'), 'unknown precision'), (dict(drop_mult='x'), 'give a number'),
    *((kw, 'give a') for kw in (dict(bptt=1.5), dict(bs=2.5), dict(bs=None), dict(epochs=1.5), dict(epochs=True), dict(lm_bs='a'), dict(lm_bs=0), dict(max_len=0), dict(lm_epochs=np.inf), dict(lm_epochs=-1), dict(lm_lr=None), dict(lr=np.nan),
        dict(lr=0), dict(drop_mult=-1), dict(div='a'), dict(div=0), dict(div=-1), dict(div=()), dict(random_state='x'), dict(random_state=-1), dict(random_state=1.5), dict(random_state=np.random.default_rng(0)))),
    (dict(div=(1, 2)), '4 layer groups'), (dict(skip='no'), 'True or False'), (dict(size=5), 'unknown size'), (dict(size=None), 'unknown size'), (dict(size=(1, 2, .5)), 'unknown size'), (dict(backbone=3), 'backbone=3'), (dict(kind='char'), "'char'"), (dict(kind=None), 'kind must'), (dict(vocab_size=5), 'vocab_size must'), (dict(kind='bpe', vocab_size=100), 'vocab_size must')])
def test_settings_that_cannot_work(kw, words):
    with pytest.raises(InputError, match=words): ULMFiT(**FAST | kw).check()

def test_settings_that_work():
    for kw in (dict(bs=np.int64(8)), dict(div=[1, 2, 3, 4]), dict(div=np.float32(2.)), dict(lm_epochs=.5), dict(random_state=np.random.RandomState(0)), dict(random_state=np.int64(3)), dict(self_train=0)): ULMFiT(**FAST | kw).check()

@pytest.mark.parametrize('labels', [dict(enumerate(LABELS)), 'g'*len(TEXTS)])
def test_labels_that_are_no_list(labels):
    with pytest.raises(InputError, match='give a list'): ULMFiT(**FAST).fit(TEXTS, labels)

def test_the_names_of_columns_are_kept(tmp_path, capsys):
    import pandas as pd
    d = pd.DataFrame(dict(review=TEXTS, mood=LABELS))
    clf = ULMFiT(**FAST).fit(d['review'], d['mood'])
    clf.save(tmp_path/'m')
    d.to_csv(tmp_path/'d.csv', index=False)
    main(['evaluate', str(tmp_path/'m'), str(tmp_path/'d.csv'), '--device', 'cpu'])         # finds them without being told
    assert f'{len(TEXTS)} texts' in capsys.readouterr().out
    assert ULMFiT.load(tmp_path/'m').meta_['columns'] == dict(text='review', label='mood')
    assert clf.fit(d[['review']], LABELS).meta_['columns'] == dict(text='review', label='label') and 'columns' not in clf.fit(TEXTS, LABELS).meta_

def test_a_backbone_on_a_hub_is_fetched_once(one_way, monkeypatch):
    asked = []
    def fetch(name, revision=None, **kw): asked.append(name); return one_way
    monkeypatch.setattr('ulmfit_nb.sharing.fetch_model', fetch)
    clf = ULMFiT(**FAST | dict(backbone='some/backbone')).fit(TEXTS, LABELS)
    assert asked == ['some/backbone'] and clf.get_params()['backbone'] == 'some/backbone' and clone(clf).backbone == 'some/backbone'
    assert ULMFiT('nosuch')._from() == 'nosuch' and len(asked) == 1                         # no owner, no hub

def test_a_direction_that_the_backbone_lacks(one_way, tmp_path):
    with pytest.raises(InputError, match='no backward model'): ULMFiT(one_way, direction='both').check()
    (tmp_path/'t.txt').write_text('\n'.join(TEXTS))
    with pytest.raises(SystemExit) as e: main(['pretrain', str(tmp_path/'t.txt'), '--init', str(one_way), '--direction', 'both', '--out', str(tmp_path/'o'), '--quiet'])
    assert e.value.code == 2 and not (tmp_path/'o').exists()

def test_texts_of_two_columns_and_labels_that_no_file_keeps():
    with pytest.raises(InputError, match='one column'): check_texts(np.array([['a', 'b'], ['c', 'd']], dtype=object))
    assert check_texts(np.array([['a'], ['c']], dtype=object)) == ['a', 'c']
    with pytest.raises(InputError, match=r'row 1 \(counted from 0\) holds nan and not a text, and 1 more row'): check_texts(['a', float('nan'), 'b', None])
    with pytest.raises(InputError, match=r'holds None and not a text: drop'): check_texts([None, 'b'])
    with pytest.raises(InputError, match='half a character'): ULMFiT(**FAST).fit(TEXTS, ['good\ud83d' if l == 'good' else l for l in LABELS])

def test_labelled_texts_get_no_second_label():
    texts = second_round_texts(['a', 'b', 'c', 'd', 'e'], 5, 1, 0, ['b', 'e'])
    assert sorted(texts) == ['a', 'c', 'd']
    assert second_round_texts(['b ', ' e', 'a'], 3, 1, 0, ['b', 'e\n']) == [] # blanks at the ends make no other text
    assert sorted(second_round_texts(['b', 'e']*50 + ['a', 'c', 'd'], 3, 1, 0, ['b', 'e'])) == ['a', 'c', 'd'] # drawn from those that are left

# ---- the command ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('change,words', [(dict(directions=['sideways']), 'no directions'), (dict(directions=[]), 'no directions'), (dict(directions='forward'), 'no directions'), (dict(directions=[[]]), 'no directions'), (dict(labels=5), 'no sound labels'), (dict(labels=['one']), 'no sound labels'), *((dict(labels=l), 'no sound labels') for l in (['a', 'a'], [1, 'a'], [['a'], ['b']], [['a'], ['b', 'c']], [None, None])), (dict(meta=[]), 'no sound meta'), (dict(temperature=10**400), 'has a temperature'), (dict(n_hidden=10**9), 'do not fit'), (dict(model=dict(n_hid=10**7)), 'do not fit'),
    (dict(n_hidden='x'), 'no sound n_hidden'), (dict(model=dict(n_hid='x')), 'no sound n_hid'), (dict(model=dict(vocab_size=-1)), 'no sound vocab_size'), (dict(model=7), 'no sound model'), (dict(model=dict(pad_id=99999)), 'no sound pad_id'), (dict(model=dict(pad_id='1')), 'no sound pad_id'), (dict(settings=dict(bptt=0)), 'no sound bptt'), (dict(settings=dict(max_len=None)), 'no sound max_len'), *((dict(settings=dict(drop_mult=d)), 'no sound drop_mult') for d in (10**400, -1, '1', None)), (dict(settings=3), 'lacks')])
def test_a_damaged_config_gets_its_sentence(change, words, fitted, tmp_path, capsys):
    shutil.copytree(fitted, tmp_path/'m')
    f = tmp_path/'m'/'config.json'
    c = json.loads(f.read_text())
    for k,v in change.items(): c[k] = c[k] | v if isinstance(v, dict) else v
    f.write_text(json.dumps(c))
    (tmp_path/'t.txt').write_text('a text\n')
    with pytest.raises(SystemExit) as e: main(['predict', str(tmp_path/'m'), str(tmp_path/'t.txt')])
    out,err = capsys.readouterr()
    assert e.value.code == 2 and words in err and err.count('\n') == 1 and out == ''

def test_options_may_stand_between_the_files(fitted, tmp_path, capsys):
    (tmp_path/'t.txt').write_text('a superb film\n\n  an awful cast \n')
    main(['predict', str(fitted), '--precision', 'int8', str(tmp_path/'t.txt'), '--device', 'cpu'])
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert [r[0] for r in rows] == ['text', 'a superb film', '', '  an awful cast ']       # every line, as it stands there: as from standard input

def test_a_crash_before_the_first_checkpoint_leaves_nothing(tmp_path, monkeypatch):
    with open(tmp_path/'t.csv', 'w') as f: csv.writer(f).writerows([('text', 'label'), *zip(TEXTS, LABELS)])
    monkeypatch.setattr('ulmfit_nb.ulmfit.ULMFiT._start', lambda *a: 1/0)
    with pytest.raises(ZeroDivisionError): main(['train', str(tmp_path/'t.csv'), '--backbone', 'none', '--out', str(tmp_path/'o'), '--quiet'])
    assert not (tmp_path/'o').exists()

def test_a_refused_command_leaves_nothing(tmp_path, capsys):
    with open(tmp_path/'t.csv', 'w') as f: csv.writer(f).writerows([('text', 'label'), *zip(TEXTS, LABELS)])
    for more in (['--kind', 'bpe', '--vocab-size', '100'], ['--kind', 'bpe', '--vocab-size', '100', '--resume']):
        with pytest.raises(SystemExit) as e: main(['train', str(tmp_path/'t.csv'), '--backbone', 'none', '--out', str(tmp_path/'o'), '--quiet', *more])
        assert e.value.code == 2 and not (tmp_path/'o').exists(), capsys.readouterr()

@pytest.mark.parametrize('more,words', [(['--cutoffs', '10', '5'], 'must rise'), (['--cutoffs', '90'], '21 words, and --cutoffs are [90]: leave them out'), (['--cutoffs', '90', '--resume'], '21 words'), (['--cutoffs', '100'], '--vocab-size')])
def test_cutoffs_that_cannot_be_leave_nothing(more, words, tmp_path, capsys):
    (tmp_path/'t.txt').write_text('\n'.join(TEXTS))
    line = ['pretrain', str(tmp_path/'t.txt'), '--vocab-size', '100', '--min-count', '1', '--size', '12,20,2', '--bs', '4', '--quiet', '--device', 'cpu', '--out', str(tmp_path/'o')]
    with pytest.raises(SystemExit) as e: main([*line, *more])
    assert e.value.code == 2 and words in capsys.readouterr().err and not (tmp_path/'o').exists()
    main([*line, '--cutoffs', '10']) # the corrected command
    assert load_backbone(tmp_path/'o')[0].cutoffs == (10,)

def test_a_refused_resume_keeps_the_run(tmp_path, monkeypatch, capsys):
    (tmp_path/'t.txt').write_text('\n'.join(TEXTS))
    line = ['pretrain', str(tmp_path/'t.txt'), '--vocab-size', '100', '--min-count', '1', '--size', '12,20,2', '--bs', '4', '--quiet', '--device', 'cpu', '--epochs', '5', '--out', str(tmp_path/'o')]
    with monkeypatch.context() as m:
        interrupted(m, 2)
        with pytest.raises(SystemExit): main(line)
    was = sorted(p.name for p in (tmp_path/'o'/'run').iterdir())
    with pytest.raises(SystemExit): main([*line, '--cutoffs', '90', '--resume'])
    assert 'other settings' in capsys.readouterr().err and sorted(p.name for p in (tmp_path/'o'/'run').iterdir()) == was
    main([*line, '--resume'])
    assert (tmp_path/'o'/'config.json').exists()

def test_overwrite_holds_for_resume(tmp_path, monkeypatch):
    with open(tmp_path/'t.csv', 'w') as f: csv.writer(f).writerows([('text', 'label'), *zip(TEXTS, LABELS)])
    out = tmp_path/'o'; out.mkdir(); (out/'README.md').write_text('of somebody')
    line = ['train', str(tmp_path/'t.csv'), '--backbone', 'none', '--size', '12,20,2', '--lm-epochs', '0', '--epochs', '3', '--bs', '8', '--quiet', '--device', 'cpu', '--out', str(out)]
    with monkeypatch.context() as m:
        m.setattr('ulmfit_nb.training.time', SimpleNamespace(monotonic=iter(range(0, 10**6, 100)).__next__)) # so slow that every pass is saved
        interrupted(m, 4)
        with pytest.raises(SystemExit): main([*line, '--overwrite'])
    assert any(out.rglob('last.pt'))
    main([*line, '--resume'])
    assert ULMFiT.load(out, device='cpu').predict(TEXTS[:1]) and 'of somebody' not in (out/'README.md').read_text()

def test_predict_quotes_breaks_and_mends_half_characters(tmp_path, capsys):
    ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS).save(tmp_path/'m')
    texts = ['great plot\rawful cast', 'two\nlines', 'plain, with comma', 'cut off \ud83d']
    (tmp_path/'t.jsonl').write_text(''.join(json.dumps(dict(id=i, text=t)) + '\n' for i,t in enumerate(texts)))
    capsys.readouterr()
    main(['predict', str(tmp_path/'m'), str(tmp_path/'t.jsonl'), '--device', 'cpu'])
    out = capsys.readouterr().out
    rows = list(csv.reader(io.StringIO(out, newline='')))
    assert [r[1] for r in rows[1:]] == [*texts[:3], 'cut off ?'] and {len(r) for r in rows} == {4} and out.count('\r') == 1

# ---- experiments ------------------------------------------------------------------------------------------------

TASK = Task('toy', list(zip(TEXTS, LABELS)), list(zip(TEXTS[:8], LABELS[:8])), TEXTS[8:])
def lab(tmp, **kw): return Lab(tmp/'work', tmp/'results', size=(12, 20, 2), device='cpu', bs=8, lm_epochs=1, epochs=1, progress=False, **kw)

@pytest.mark.parametrize('kw,words', [(dict(recipe='ful'), 'unknown recipe'), (dict(clas_bs=1), 'give 2 or more'), (dict(draws=0), 'give 1 or more')])
def test_a_lab_refuses_at_once(kw, words, tmp_path):
    with pytest.raises(InputError, match=words): lab(tmp_path, **kw)

def test_a_second_round_has_the_rate_of_the_labels_that_people_gave(tmp_path, monkeypatch):
    monkeypatch.setattr(Lab, 'stage', lambda *_: (None, dict(history=[dict(epoch=1.)])))
    lm = LanguageModel(AWDLSTM(100, (192, 384, 2)))
    def rate(**kw): return lab(tmp_path, backbone='en-small').classifier('c', lm, [0]*2500, [0]*2500, 2, **kw)[1]['settings']['lr']
    assert rate() == .003 and rate(n_labels=1000) == .01 == default_settings((192, 384, 2), True, 1000)['lr']

@pytest.mark.parametrize('name,kw', [*((n, k) for n in ['imdb', 'trec6', 'wikitext2', 'vietnamese'] for k in [dict(labels=(20,)), dict(draws=1), dict(unlabelled=10), dict(test=10), dict(variants=('ulmfit',))]),
    *((n, k) for n in ['trec6-ablation', 'imdb-ablation'] for k in [dict(test=10), dict(variants=('ulmfit',))])])
def test_settings_of_few_labels_belong_to_their_experiment(name, kw, tmp_path):
    with pytest.raises(InputError, match=f'no use for --{min(kw)}'): reproduce(name, Lab(tmp_path/'l', tmp_path/'r', device='cpu', progress=False, **kw))
    assert not (tmp_path/'l').exists()

def test_experiments_refuse_what_they_would_ignore(tmp_path):
    with pytest.raises(InputError, match='belongs to stage 3'): reproduce('wikitext2', lab(tmp_path, as_scripts=True))
    with pytest.raises(InputError, match='belongs to wikitext2'): reproduce('trec6', lab(tmp_path, opt='ntasgd'))
    with pytest.raises(InputError, match='unknown optimiser'): wikitext2(lab(tmp_path, opt='ntsgd'))
    with pytest.raises(InputError, match='one direction'): ablation(lab(tmp_path, direction='both'), TASK)
    with pytest.raises(InputError, match='give one'): ablation(lab(tmp_path, labels=(20, 40)), TASK)
    for n in 1,1000:
        with pytest.raises(InputError, match=f'not {n}'): ablation(lab(tmp_path, labels=(n,)), TASK)
    with pytest.raises(InputError, match='of its own'): wikitext2(lab(tmp_path, backbone='en-small'))
    with pytest.raises(InputError, match='ask for fewer'): lowshot(lab(tmp_path, labels=(100,)), TASK)
    with pytest.raises(InputError, match='ask for more'): lowshot(lab(tmp_path, labels=(1, 20)), TASK)
    assert not (tmp_path/'work').exists() and not (tmp_path/'results').exists()

def test_a_lab_knows_its_texts_and_its_settings(tmp_path):
    a = lab(tmp_path)
    a.claim(experiment='x'); a.texts(TASK)
    lab(tmp_path).claim(experiment='x')
    with pytest.raises(InputError, match='precision was auto'): lab(tmp_path, precision='bf16').claim(experiment='x')
    from dataclasses import replace
    with pytest.raises(InputError, match='other texts'): lab(tmp_path).texts(replace(TASK, train=TASK.train[::-1]))

def test_a_baseline_without_a_word():
    with pytest.raises(InputError, match='no word of two letters'): baseline(['a', '!'], ['x', 'y'])
    assert baseline(['aa', 'bb'], ['x', 'y']).predict(['aa']).tolist() == ['x']

@pytest.mark.parametrize('labels,words', [(['x', 'x'], 'two classes'), (['x', 1], 'mix text and numbers'), ([.5, .7], 'between two classes'), ([['x'], ['y']], 'lists or objects'),
    (np.eye(2), 'lists or objects'), (['x', None], 'row 1')], ids=range(6))
def test_labels_that_no_baseline_can_learn(labels, words):
    with pytest.raises(InputError, match=words): baseline(['a good film', 'a bad film'], labels)

def test_a_baseline_of_many_texts_without_a_common_word():
    with pytest.raises(InputError, match='in common'): baseline([f'word{i}' for i in range(5001)], [i%2 for i in range(5001)])

def test_a_baseline_in_the_order_of_the_classes(tmp_path, monkeypatch):
    rows = [('dull and slow', 'c'), ('warm and quick', 'b'), ('slow, dull', 'c'), ('quick, warm', 'b')]
    p = lab(tmp_path).base('x', rows, rows, ['a', 'b', 'c']) # nobody wrote of a
    assert p[:, 0].max() == 0 and np.allclose(p.sum(1), 1) and p.argmax(1).tolist() == [2, 1, 2, 1]
    monkeypatch.setattr('ulmfit_nb.lab.baseline', None) # computed once
    assert np.array_equal(lab(tmp_path).base('x', rows, rows, ['a', 'b', 'c']), p)

def test_a_row_says_what_stands_beside_it(tmp_path):
    task = Task('toy', [(f'{t} {i}', l) for i in range(10) for t,l in TASK.train], TASK.test, TASK.more)
    ablation(a := lab(tmp_path), task, ('classifier last',))
    row, = (json.loads(f.read_text()) for f in (tmp_path/'results').rglob('*.json'))
    held,used,_ = ablation_rows(a, task)
    ours,theirs = np.load(tmp_path/'work/ablation/classifier-last-forward-0/probs.npy'),baseline(*zip(*used)).predict_proba([t for t,_ in held])
    def right(p): return np.mean([task.classes[i] == l for i,(_,l) in zip(p.argmax(1), held)])
    assert right(ours) < right(theirs) # or the next line could not tell one from another
    assert [row[k] for k in ('accuracy', 'baseline_accuracy', 'mean_accuracy')] == [right(ours), right(theirs), right(ours+theirs)]
    assert row['only_ours'] - row['only_baseline'] == round(len(held)*(right(ours)-right(theirs))) and 0 <= row['only_ours'] < row['only_baseline']

def test_an_ablation_learns_from_no_text_that_it_holds_out(tmp_path):
    task = Task('toy', TASK.train + TASK.train[::2], TASK.test, TASK.more) # half of the texts stand twice
    held,used,few = ablation_rows(lab(tmp_path), task)
    assert not {t for t,_ in held} & {t for t,_ in used} and {*held, *used} == {*TASK.train}
    assert len(held) == 3 and few == len(used) < len(task.train)-len(held) # some of the three had a twin

def test_an_ablation_reads_no_text_that_it_holds_out(tmp_path):
    held,*_ = ablation_rows(lab(tmp_path), TASK)
    twins = [f' {t}\n' for t,_ in held]
    ablation(a := lab(tmp_path), Task('toy', TASK.train, TASK.test, TASK.more + twins), ('classifier last',))
    row, = (json.loads(f.read_text()) for f in (tmp_path/'results').rglob('*.json'))
    tok = Tokenizer.load(a.out/'ablation/tokenizer.json')
    read = {tuple(d) for d in Corpus(a.out/'ablation/corpus')}
    assert row['unlabelled'] == len(TASK.more) - len({t for t,_ in held} & {*TASK.more}) and not read & {tuple(tok.encode(t)) for t in twins}

def test_what_stands_on_both_sides_of_a_split():
    assert without_twins(['a', 'b ', 'c'], [('b', 1), ('\nc', 0)]) == ['a']
    assert without_twins([('a', 0), (' b', 1)], ['b']) == [('a', 0)] and without_twins(['a'], []) == ['a']

def test_an_ablation_backward(tmp_path):
    ablation(lab(tmp_path, direction='backward'), TASK, ('classifier last',))
    row, = (json.loads(f.read_text()) for f in (tmp_path/'results').rglob('*.json'))
    assert row['direction'] == 'backward'

@pytest.mark.parametrize('as_scripts', [False, True])
def test_stage_3_as_in_the_scripts(as_scripts, tmp_path, monkeypatch):
    import ulmfit_nb.lab as R
    made = []
    class Spy(R.TextClassifier):
        def __init__(self, *args, **kw): super().__init__(*args, **kw); made.append((self.masks, self.alpha, self.beta))
    monkeypatch.setattr(R, 'TextClassifier', Spy)
    ablation(lab(tmp_path, as_scripts=as_scripts), TASK, ('classifier last',))
    row, = (json.loads(f.read_text()) for f in (tmp_path/'results').rglob('*.json'))
    want = ('chunk', 2., 1.) if as_scripts else ('document', 0., 0.)
    assert set(made) == {want}
    assert [row['settings'].get(k) for k in ('masks', 'alpha', 'beta')] == (list(want) if as_scripts else [None]*3)
    lab(tmp_path, as_scripts=as_scripts).claim()
    with pytest.raises(InputError, match='as_scripts was'): lab(tmp_path, as_scripts=not as_scripts).claim()

def test_a_folder_of_somebody_else_is_no_experiment(tmp_path):
    at = lab(tmp_path).out/'settings.json'
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text('{"editor.fontSize": 14}')
    with pytest.raises(InputError, match='not what an experiment leaves'): lab(tmp_path).claim(experiment='x')
    assert at.read_text() == '{"editor.fontSize": 14}'

def test_an_ablation_with_few_labels(tmp_path):
    from dataclasses import replace
    a = lab(tmp_path, labels=(10,), draws=2, unlabelled=7)
    ablation(a, replace(TASK, more=[f'nothing new, {i}' for i in range(9)]), ('classifier last', 'LM full'))
    rows = [json.loads(f.read_text()) for f in (tmp_path/'results').rglob('*.json')]
    assert sorted((r['variant'], r['seed']) for r in rows) == [(v, s) for v in ('LM full', 'classifier last') for s in (0, 1)]
    assert {(r['labels'], r['unlabelled'], r['n']) for r in rows} == {(10, 7, len(TASK.train)//10)}
    assert len(list((tmp_path/'work').glob('baseline-*.npy'))) == 2 # each draw has its own
    assert len(Corpus(tmp_path/'work'/'ablation'/'corpus')) == 7 # stage 2 read nothing else

def test_rows_that_are_asked_for_one_by_one_are_all_made(tmp_path, monkeypatch):
    from ulmfit_nb import reproduce as R
    ablation(lab(tmp_path, labels=(10,)), TASK, iter(['classifier last', 'LM full']), (0, 1))
    rows = [json.loads(f.read_text()) for f in (tmp_path/'results').rglob('*.json')]
    assert sorted((r['variant'], r['seed']) for r in rows) == [(v, s) for v in ('LM full', 'classifier last') for s in (0, 1)]
    asked = []
    monkeypatch.setattr(R, 'one_draw', lambda *args: asked.append(args[8]))
    lowshot(lab(tmp_path/'b', labels=(20,), draws=1), TASK, iter(['ulmfit', 'from scratch']))
    assert asked == [['from scratch', 'ulmfit']]

# ---- what other tools do with an estimator ----------------------------------------------------------------------

def test_a_pickle_brings_all_methods_to_a_new_process(fitted, tmp_path):
    import joblib
    clf = ULMFiT.load(fitted, device='cpu')
    clf.predict_proba(TEXTS[:2], precision='int8')
    joblib.dump(clf, tmp_path/'clf.joblib')
    assert '_rounded' in vars(clf) and not {'_rounded', '_found'} & {*vars(joblib.load(tmp_path/'clf.joblib'))} # copies that can be made again do not travel
    p = subprocess.run([sys.executable, '-c', f'import joblib; c = joblib.load({str(tmp_path/"clf.joblib")!r}); print(hasattr(c, "calibrate"), c.predict_proba([{TEXTS[0]!r}]).tolist())'], capture_output=True, text=True)
    assert p.stdout.startswith('True '), p.stderr
    assert np.allclose(json.loads(p.stdout.split(" ", 1)[1]), clf.predict_proba(TEXTS[:1]), atol=1e-6)

def test_fit_leaves_the_callers_random_numbers_alone_and_follows_numpys(tmp_path):
    torch.manual_seed(1); want = torch.rand(3)
    torch.manual_seed(1); a = ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS)
    assert torch.equal(torch.rand(3), want)
    a.save(tmp_path/'m')
    torch.manual_seed(1); ULMFiT.load(tmp_path/'m'); ULMFiT('en-small').check() # both build networks, whose first weights are random
    assert torch.equal(torch.rand(3), want)
    seeds = []
    for folder in 'ab':
        np.random.seed(3)
        ULMFiT(**FAST).fit(TEXTS, LABELS, run_dir=tmp_path/folder)
        seeds.append(json.loads((tmp_path/folder/'fit.json').read_text())['seed'])
    assert seeds[0] == seeds[1]

def test_defaults_of_torch_that_the_caller_has_set_do_not_reach_in(tmp_path):
    "Another number type, another device, no gradients: a fit and a prediction are what they were."
    from ulmfit_nb.interpretation import attribute
    def all_of_it(folder):
        a = ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS)
        a.save(folder)
        b = ULMFiT.load(folder, device='cpu')
        return [a.predict_proba(TEXTS), b.predict_proba(TEXTS), b.predict_proba(TEXTS, precision='int8'), [w.score for w in attribute(b, TEXTS[0]).words]]
    want = all_of_it(tmp_path/'plain')
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), torch.device('meta'): found = all_of_it(tmp_path/'other') # meta: whatever is made there by oversight has no numbers
        with torch.inference_mode(): again = all_of_it(tmp_path/'inference')
        assert torch.get_default_dtype() == torch.float64
    finally: torch.set_default_dtype(torch.float32)
    for w,f,a in zip(want, found, again): assert np.array_equal(w, f) and np.array_equal(w, a)

@pytest.mark.parametrize('word', ['nan', 'None', '<NA>', ' NULL'])
def test_a_label_that_looks_like_a_missing_one_is_said(word):
    with pytest.warns(UserWarning, match=f'{word.strip()}.* looks like a missing one'): check_labels(['good', word, 'good'], 3)
def test_labels_that_only_remind_of_it(recwarn):
    check_labels(['NA', 'none of these', 'nancy', 'a'], 4) # Namibia among countries
    assert not len(recwarn)

def test_a_label_as_long_as_a_text_is_refused():
    with pytest.raises(InputError, match=r'row 1 \(counted from 0\) has a label of 1,001 characters'): check_labels(['a', 'b'*1001, 'a'], 3)

@pytest.mark.parametrize('y', [{'a', 'b', 'c'}, frozenset('abc'), 5])
def test_labels_in_no_order_are_refused(y):
    with pytest.raises(InputError, match='in an order that stays'): label_list(y, 3)

def test_masked_texts_and_labels_are_missing_ones():
    hidden = np.ma.array(['a', 'b', 'c'], mask=[0, 1, 0])
    with pytest.raises(InputError, match='row 1 .* holds None'): check_texts(hidden)
    with pytest.raises(InputError, match='row 1 .* has no label'): check_labels(hidden, 3)
    assert check_texts(np.ma.array([['a'], ['b']])) == ['a', 'b']

def test_labels_of_a_type_of_their_own_are_named_by_it():
    from enum import IntEnum
    Mark = IntEnum('Mark', 'GOOD BAD')
    with pytest.raises(InputError, match='of the type Mark: a label is a text or a whole number'): check_labels([*Mark], 2)

def test_tables_of_other_libraries():
    pa = pytest.importorskip('pyarrow')
    assert check_texts(pa.table(dict(text=TEXTS))) == TEXTS
    class Frame: # as polars has it: names as strings, no `iloc`
        columns = ['text']
        def __getitem__(self, k): return TEXTS
    assert check_texts(Frame()) == TEXTS
    with pytest.raises(InputError, match='columns'): check_texts(pa.table(dict(text=TEXTS, label=LABELS)))
    with pytest.raises(InputError, match='dict'): check_texts(dict(text=TEXTS))

def test_confusion_takes_what_fit_takes(fitted):
    pd = pytest.importorskip('pandas')
    from ulmfit_nb.errors import confusion
    clf = ULMFiT.load(fitted, device='cpu')
    assert np.array_equal(confusion(clf, pd.DataFrame(dict(text=TEXTS)), pd.DataFrame(dict(label=LABELS))), confusion(clf, TEXTS, LABELS))

def test_labels_computed_from_the_texts_have_no_name(tmp_path):
    pd = pytest.importorskip('pandas')
    texts = pd.Series(TEXTS, name='text')
    clf = ULMFiT(**FAST, random_state=0).fit(texts, texts.map(lambda t: LABELS[TEXTS.index(t)]))
    assert clf.meta_['columns'] == dict(text='text', label='label')

@pytest.mark.parametrize('labels,words', [([.5, 1.5]*12, 'between two classes'), (['a', 'a\0']*12, 'cannot keep'), ([-1, 2**63]*12, 'cannot keep')])
def test_labels_that_would_not_come_back(labels, words):
    with pytest.raises(InputError, match=words): ULMFiT(**FAST).fit(TEXTS, labels)
def test_whole_floats_are_labels(): assert ULMFiT(**FAST, random_state=0).fit(TEXTS, [1., 2.]*12).score(TEXTS, [1., 2.]*12) >= 0

def test_min_count_is_obeyed():
    sizes = [ULMFiT(**FAST | dict(min_count=m, lm_epochs=0, epochs=1), random_state=0).fit(TEXTS, LABELS).tokenizer_.vocab_size for m in (None, 1, 13)]
    assert sizes[0] == sizes[1] > sizes[2]

def test_few_texts_give_a_backbone_no_word_that_stands_once(one_way):
    "Rows that nobody has trained, for words by which a text is known at once, are learned by heart."
    kw = FAST | dict(backbone=one_way, direction='forward', size='base', epochs=1, random_state=0)
    vocab = {m: ULMFiT(**kw | dict(min_count=m)).fit([f'{TEXTS[0]} nowhere{i}' if i < 2 else f'{TEXTS[1]} thrice' for i in range(5)], LABELS[:5]).tokenizer_.vocab for m in (None, 1)}
    assert 'thrice' in vocab[None] and not {'nowhere0', 'nowhere1'} & {*vocab[None]} and {'nowhere0', 'nowhere1'} <= {*vocab[1]}

def test_a_device_that_is_not_there_is_refused_before_anything(fitted, tmp_path):
    with pytest.raises(InputError, match="no device 'cuda:99' here"): ULMFiT(**FAST | dict(device='cuda:99')).fit(TEXTS, LABELS, run_dir=tmp_path/'run')
    with pytest.raises(InputError, match="no device 'cuda:99' here"): ULMFiT.load(fitted, device='cuda:99')
    assert not (tmp_path/'run').exists()

def test_folders_of_runs_that_cannot_be(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(InputError, match='is a file'): ULMFiT(**FAST).fit(TEXTS, LABELS, run_dir=tmp_path/'file')
    with pytest.raises(InputError, match='run_dir'): ULMFiT(**FAST).fit(TEXTS, LABELS, resume=True)
    for text in ('{}', '[]', '{'):
        (tmp_path/'fit.json').write_text(text)
        with pytest.raises(InputError, match='damaged'): ULMFiT(**FAST).fit(TEXTS, LABELS, run_dir=tmp_path, resume=True)

def test_a_save_that_was_interrupted_can_be_repeated(fitted, tmp_path):
    clf = ULMFiT.load(fitted, device='cpu')
    clf.save(tmp_path/'m'); (tmp_path/'m'/'config.json').unlink()
    clf.save(tmp_path/'m')
    assert ULMFiT.load(tmp_path/'m', device='cpu').classes_.tolist() == clf.classes_.tolist()
    backbone = load_backbone('en-small')
    save_backbone(tmp_path/'b', dict(forward=backbone[0]), backbone[1]); (tmp_path/'b'/'config.json').unlink()
    with pytest.raises(InputError, match='no classifier'): clf.save(tmp_path/'b')

def test_a_rehearsal_may_lack_a_class(monkeypatch):
    from ulmfit_nb import lab as r
    monkeypatch.setattr(r, 'split_rows', lambda name, split: [(f'{split} {i}', 'rare' if split == 'test' and i % 2 else 'often') for i in range(10)])
    task = r.load_task('trec-6', 6)
    assert {l for _,l in task.test} == {'often'} and len(r.load_task('trec-6').test) == 10

# ---- what a second look found -----------------------------------------------------------------------------------

def test_a_table_of_arrow_names_its_columns():
    pa = pytest.importorskip('pyarrow')
    t = pa.table(dict(review=TEXTS, mood=LABELS))
    for X,y in ((t.select(['review']), t.select(['mood'])), (t['review'], t['mood'])):
        clf = ULMFiT(**FAST, random_state=0).fit(X, y)
        assert clf.predict(t['review']).tolist() == clf.predict(TEXTS).tolist()
        assert clf.meta_.get('columns') == (dict(text='review', label='mood') if hasattr(X, 'columns') and hasattr(X, 'column_names') else None)

def test_what_is_saved_is_the_model_and_not_what_was_set_since(tmp_path):
    clf = ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS)
    p = clf.predict_proba(TEXTS)
    clf.set_params(max_len=3, bptt=2, pool='attention').save(tmp_path)
    assert np.array_equal(ULMFiT.load(tmp_path, device='cpu').predict_proba(TEXTS), p)

def test_a_backbone_is_not_written_over_something_else(tmp_path, fitted, one_way):
    shutil.copytree(fitted, tmp_path/'m')
    (tmp_path/'mine').mkdir(); (tmp_path/'mine'/'README.md').write_text('mine')
    for d in ('m', 'mine'):
        with pytest.raises(InputError, match="no backbone's"): ULMFiT(one_way).save_pretrained(tmp_path/d)
    assert (tmp_path/'mine'/'README.md').read_text() == 'mine' and ULMFiT.load(tmp_path/'m').classes_.tolist() == ['bad', 'good']
    for _ in range(2): ULMFiT(one_way).save_pretrained(tmp_path/'b')
    load_backbone(tmp_path/'b')

def test_a_device_of_torch():
    ULMFiT(**FAST | dict(device=torch.device('cpu'))).fit(TEXTS, LABELS).predict(TEXTS[:2])

def test_fits_in_threads_are_those_of_one_after_another():
    from joblib import parallel_config
    from sklearn.model_selection import cross_val_predict
    def run(n):
        with parallel_config('threading'): return cross_val_predict(ULMFiT(**FAST, random_state=0), TEXTS, LABELS, cv=3, n_jobs=n, method='predict_proba')
    assert np.array_equal(run(1), run(3))

def test_rows_go_where_they_are_asked_for(tmp_path):
    from ulmfit_nb.results import read_results
    lowshot(lab(tmp_path, labels=(20,), draws=1, variants=('ulmfit',), direction='forward'), TASK)
    again = lab(tmp_path, labels=(20,), draws=1, variants=('ulmfit',), direction='forward')
    again.results = tmp_path/'elsewhere'
    lowshot(again, TASK)
    assert (rows := read_results(tmp_path/'elsewhere')) and rows == read_results(tmp_path/'results')

def test_the_supervised_variant_reads_its_labelled_texts_and_no_others(tmp_path, one_way):
    from ulmfit_nb.results import read_results
    from ulmfit_nb.tokenization import Tokenizer
    from ulmfit_nb.ids import Corpus
    l = lab(tmp_path, backbone=one_way, labels=(20,), draws=2, variants=('supervised', 'ulmfit'), direction='forward')
    lowshot(l, TASK)
    rows = {(r['variant'], r['seed']): r for r in read_results(tmp_path/'results')}
    assert sorted(rows) == [('supervised', 0), ('supervised', 1), ('ulmfit', 0), ('ulmfit', 1)]
    read = {k: Corpus(l.out/'inductive'/(f'supervised-20-{k[1]}' if k[0] == 'supervised' else '')/'corpus') for k in rows}
    assert {k: len(c) for k,c in read.items()} == {k: 20 if k[0] == 'supervised' else len(TASK.train)+len(TASK.more) for k in rows}
    for (v,s),r in rows.items():
        assert r['unlabelled'] == (0 if v == 'supervised' else len(TASK.more)) and ('no others' in r['note']) == (v == 'supervised') and r['lm_epochs'] > 0
        if v == 'supervised':
            tok,drawn = Tokenizer.load(l.out/'inductive'/f'supervised-20-{s}'/'tokenizer.json'),[TASK.train[i][0] for i in draw(TASK.train, 20, s)]
            assert [*map(list, read[v, s])] == [list(i) for i in tok.encode_iter(drawn)] # the draw's texts, in the draw's order

def test_an_experiment_spares_a_folder_of_somebody(tmp_path):
    (tmp_path/'thesis').mkdir(); (tmp_path/'thesis'/'chapter1.txt').write_text('mine')
    with pytest.raises(InputError, match='thesis is not empty and holds no experiment'): reproduce('trec6', Lab(tmp_path/'thesis', tmp_path/'rows', 0., size='micro', progress=False), 30)
    (tmp_path/'file').write_text('mine')
    with pytest.raises(InputError, match='is a file'): reproduce('trec6', Lab(tmp_path/'file', tmp_path/'rows', 0., size='micro', progress=False), 30)
    assert [f.name for f in (tmp_path/'thesis').iterdir()] == ['chapter1.txt'] and not (tmp_path/'rows').exists()

def test_another_backbone_in_the_same_place_is_another_experiment(tmp_path, one_way):
    lab(tmp_path, backbone=one_way).claim(experiment='x')
    lab(tmp_path, backbone=one_way).claim(experiment='x')
    lm,tok = load_backbone(one_way)
    with torch.no_grad(): lm.backbone.encoder.weight.add_(1)
    save_backbone(one_way, dict(forward=lm), tok)
    with pytest.raises(InputError, match='weights was'): lab(tmp_path, backbone=one_way).claim(experiment='x')

def test_experiments_refuse_what_they_cannot_do(tmp_path):
    from dataclasses import replace
    with pytest.raises(InputError, match='leave out --unlabelled'): lowshot(lab(tmp_path, labels=(20,), unlabelled=5), replace(TASK, more=[]))
    for v in ('pretraining only', 'supervised'):
        with pytest.raises(InputError, match=f"'{v}' needs a backbone"): lowshot(lab(tmp_path, labels=(20,), variants=(v,)), TASK)
    with pytest.raises(InputError, match='test texts are more'): lowshot(lab(tmp_path, labels=(20,), unlabelled=1, variants=('ulmfit',)), TASK, protocol='transductive')
    with pytest.raises(InputError, match='no transductive figure'): lowshot(lab(tmp_path, labels=(20,), variants=('supervised',), backbone='en-small'), TASK, protocol='transductive')
    with pytest.raises(InputError, match='fewer than 5000'): lowshot(lab(tmp_path, labels=(20, 5000)), TASK)
    nothing = lab(tmp_path); nothing.lm_epochs = 0
    with pytest.raises(InputError, match='above 0'): wikitext2(nothing)

def test_so_few_rows_that_none_is_held_out(tmp_path):
    from dataclasses import replace
    from ulmfit_nb.results import read_results
    headline(lab(tmp_path), replace(TASK, train=TASK.train[:8]), ('forward',))
    assert len(read_results(tmp_path/'results')) == 1

def test_the_curve_of_an_experiment_is_of_texts_that_it_does_not_learn_from(tmp_path, monkeypatch):
    import ulmfit_nb.lab as R
    curve,fit = [],R.finetune_classifier
    monkeypatch.setattr(R, 'finetune_classifier', lambda model, docs, ys, valid, **kw: curve.append((docs, valid)) or fit(model, docs, ys, valid, **kw))
    rows = [(f'{t} {w}', l) for w in ('first', 'last', 'plot') for t,l in TASK.train]
    headline(lab(tmp_path), Task('toy', rows + rows[:36], TASK.test, []), ('forward',)) # half of the texts stand twice
    (docs,(held,labels)), = curve
    assert 0 < len(held) == len(labels) < 10 and len(docs) == 98 and not {*map(tuple, docs)} & {*map(tuple, held)}

def test_a_row_says_how_many_passes_there_were(tmp_path, monkeypatch):
    monkeypatch.setattr('ulmfit_nb.lab.clas_passes', lambda *args: 1)
    ablation(lab(tmp_path), TASK, ('classifier chain-thaw', 'classifier last'))
    assert {r['variant']: r['epochs'] for r in (json.loads(f.read_text()) for f in (tmp_path/'results').rglob('*.json'))} == {'classifier chain-thaw': 5, 'classifier last': 1} # four groups one by one, then all

def test_a_folder_that_somebody_works_in_is_refused(tmp_path):
    from ulmfit_nb.processes import only_one
    with only_one(tmp_path/'run'), pytest.raises(InputError, match='another process is at work'): ULMFiT(**FAST).fit(TEXTS, LABELS, run_dir=tmp_path/'run')
    ULMFiT(**FAST).fit(TEXTS, LABELS, run_dir=tmp_path/'run')

@pytest.mark.parametrize('change,words', [('x', 'model'), (dict(n_hid='a'), 'n_hid'), (dict(n_layers=0), 'n_layers'), (dict(cutoffs=5), 'cutoffs'), (dict(cutoffs='ab'), 'cutoffs'), (dict(pad_id=99999), 'pad_id'), (dict(pad_id='1'), 'pad_id')])
def test_a_damaged_backbone_gets_its_sentence(change, words, one_way, tmp_path, capsys):
    f = one_way/'config.json'
    c = json.loads(f.read_text())
    c['model'] = c['model'] | change if isinstance(change, dict) else change
    f.write_text(json.dumps(c))
    for use in (lambda: load_backbone(one_way), lambda: ULMFiT(one_way).check(), lambda: ULMFiT(one_way, direction='forward').fit(TEXTS, LABELS)):
        with pytest.raises(InputError, match=f'no sound {words}'): use()

def test_all_names_come_with_a_star():
    names = {}
    exec('from ulmfit_nb import *', names)
    assert {'ULMFiT', 'Tokenizer', 'attribute'} <= names.keys()

# ---- what is not ours ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('resume', [False, True])
def test_checkpoints_that_no_run_of_ours_left_stay(resume, tmp_path):
    (tmp_path/'forward'/'old').mkdir(parents=True); (tmp_path/'forward'/'old'/'best.pt').write_bytes(b'weights of another project')
    with pytest.raises(InputError, match='choose another'): ULMFiT(**FAST).fit(TEXTS, LABELS, run_dir=tmp_path, resume=resume)
    assert (tmp_path/'forward'/'old'/'best.pt').read_bytes() == b'weights of another project' and not (tmp_path/'fit.json').exists()

def test_a_stopped_run_whose_record_is_damaged_is_not_begun_anew(tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        interrupted(m)
        with pytest.raises(KeyboardInterrupt): ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS, run_dir=tmp_path)
    (tmp_path/'fit.json').write_text((tmp_path/'fit.json').read_text()[:30])
    left = sorted(tmp_path.rglob('*.pt'))
    for resume in (False, True):
        with pytest.raises(InputError, match='stopped|damaged'): ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS, run_dir=tmp_path, resume=resume)
    assert left and sorted(tmp_path.rglob('*.pt')) == left

@pytest.mark.parametrize('columns', ['review', dict(text=1), ['text', 'label']])
def test_columns_that_no_command_could_read_are_not_saved(columns, fitted, tmp_path):
    with pytest.raises(InputError, match='columns'): ULMFiT.load(fitted).save(tmp_path/'m', columns=columns)
    assert not (tmp_path/'m').exists()
    ULMFiT.load(fitted).save(tmp_path/'m', columns=dict(text='review'), data=['a.csv', 'b.csv']) # whatever else may go into config.json
    assert ULMFiT.load(tmp_path/'m').meta_['data'] == ['a.csv', 'b.csv']

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_a_saved_classifier_goes_to_the_device_it_is_asked_for(fitted):
    assert [ULMFiT.from_pretrained(fitted, **kw).device for kw in (dict(device='cpu'), {})] == ['cpu', None]

def test_what_the_estimator_is_told_reaches_its_stages(monkeypatch):
    from ulmfit_nb import ulmfit as U
    from ulmfit_nb.awd_lstm import CLAS_DROPOUTS
    seen = []
    def spy(f): monkeypatch.setattr(U, f.__name__, lambda *args, **kw: seen.append((args, kw, args[0].backbone)) or f(*args, **kw))
    spy(U.finetune_lm); spy(U.finetune_classifier)
    ULMFiT(**FAST | dict(direction='both', lm_lr=.02, lm_drop_mult=.3, drop_mult=.2, lr=.03, skip=True), n_jobs=1, random_state=0).fit(TEXTS, LABELS, MORE)
    assert [(kw['backward'], b.skip) for _,kw,b in seen] == [(False, True)]*2 + [(True, True)]*2 # stage 2, stage 3 of each direction
    for (_,train,valid,*given),kw,_ in seen[::2]:
        assert given == [1, .02, .3] and kw['div'] == 1. and len(valid) == (len(TEXTS)+len(MORE))//10 and len(train)+len(valid) == len(TEXTS)+len(MORE)
    for _,kw,b in seen[1::2]: assert (kw['lr'], kw['cfg'].clip, b.drops) == (.03, 25., CLAS_DROPOUTS*.2)

def test_accuracy_may_weigh_its_texts(fitted):
    clf = ULMFiT.load(fitted, device='cpu')
    y = [*clf.predict(TEXTS[:12]), *({'good': 'bad', 'bad': 'good'}[l] for l in clf.predict(TEXTS[12:]))]
    assert [clf.score(TEXTS, y, w) for w in (None, [3]*12 + [1]*12, [0]*12 + [1]*12)] == [.5, .75, 0.]

def test_a_draw_is_balanced_and_its_own():
    rows = [(str(i), 'abc'[i%3]) for i in range(60)]
    drawn = [draw(rows, 20, s).tolist() for s in range(5)]
    assert drawn == [draw(rows, 20, s).tolist() for s in range(5)] and len({*map(tuple, map(sorted, drawn))}) == 5
    for d in drawn: assert len({*d}) == 20 and [sum(rows[i][1] == c for i in d) for c in 'abc'] == [7, 7, 6]

def test_an_experiment_backward_reads_backward(tmp_path, monkeypatch):
    import ulmfit_nb.lab as R
    seen = []
    def trained(name): return lambda model, *args, **kw: seen.append((name, kw)) or SimpleNamespace(done=True, model=model, seconds=1., history=[dict(epoch=1.)], device=torch.device('cpu'))
    for name in ('finetune_lm', 'finetune_classifier'): monkeypatch.setattr(R, name, trained(name))
    monkeypatch.setattr(R, 'predict_logits', lambda *args, was=R.predict_logits, **kw: seen.append(('predict_logits', kw)) or was(*args, **kw))
    ablation(lab(tmp_path, direction='backward'), TASK, ('classifier last',))
    assert [(f, kw['backward']) for f,kw in seen] == [('finetune_lm', True), ('finetune_classifier', True), ('predict_logits', True)]
    assert seen[1][1]['cfg'].clip == 25.

@pytest.mark.parametrize('kw', [dict(lr_lm=.1), dict(lr=.1), dict(labels=(5,)), dict(draws=2), dict(unlabelled=3), dict(test=4), dict(direction='both'), dict(variants=('ulmfit',)), dict(lm_drop_mult=.2), dict(recipe='last'), dict(clas_bs=9), dict(precision='bf16')], ids=str)
def test_another_setting_is_another_experiment(kw, tmp_path):
    lab(tmp_path).claim(experiment='x')
    with pytest.raises(InputError, match=f'{min(kw)} was'): lab(tmp_path, **kw).claim(experiment='x')

def test_a_transductive_run_reads_the_texts_of_the_test(tmp_path, monkeypatch):
    monkeypatch.setattr('ulmfit_nb.reproduce.one_draw', lambda *_: None) # what stage 2 would read, without stage 2
    task = Task('toy', TASK.train, [(f'quite another {i}', l) for i,(_,l) in enumerate(TASK.test)], MORE)
    for protocol in ('inductive', 'transductive'): lowshot(lab(tmp_path, labels=(20,), draws=1, unlabelled=20, variants=('ulmfit',)), task, protocol=protocol)
    read = {p: {tuple(d) for d in Corpus(tmp_path/'work'/p/'corpus')} for p in ('inductive', 'transductive')}
    def known(p): return sum(tuple(Tokenizer.load(tmp_path/'work'/p/'tokenizer.json').encode(t)) in read[p] for t,_ in task.test)
    assert [known(p) for p in read] == [0, len(task.test)] and len({*map(len, read.values())}) == 1

def test_from_scratch_is_from_scratch(tmp_path, monkeypatch):
    "The head learns on weights that no stage before has trained."
    monkeypatch.setattr('ulmfit_nb.lab.finetune_classifier', lambda model, *args, **kw: SimpleNamespace(done=True, model=model, seconds=1., history=[dict(epoch=1.)], device=torch.device('cpu')))
    lm = LanguageModel(AWDLSTM(100, (12, 20, 2)))
    a,b = (lab(tmp_path).classifier(r, lm, [0]*9, [0]*9, 2, recipe=r)[0].backbone for r in ('from scratch', 'last'))
    assert b is lm.backbone and a is not b and not torch.equal(a.encoder.weight, b.encoder.weight)

def test_a_row_of_wikitext_holds_both_perplexities(tmp_path, monkeypatch):
    import ulmfit_nb.reproduce as R
    from ulmfit_nb.results import read_results
    corpora = [Corpus.from_docs([np.random.default_rng(i).integers(2, 20, 300)], 20) for i in range(3)]
    monkeypatch.setattr(R, 'wikitext2_ids', lambda *_: ([*'abcdefghijklmnopqrst'], *corpora))
    made,metrics = [],R.lm_metrics
    monkeypatch.setattr(R, 'lm_metrics', lambda model, src: made.append((model.backbone.drops.weight, src.corpus)) or dict(perplexity=5. + corpora.index(src.corpus)))
    wikitext2(lab(tmp_path))
    assert sorted((r['variant'], r['valid_perplexity'], r['perplexity']) for r in read_results(tmp_path/'results')) == [('AWD-LSTM', 6., 7.), ('no weight-drop', 6., 7.)]
    assert [d for d,_ in made] == [.5, .5, 0, 0]

@pytest.mark.parametrize('opt,rate,schedule,clip', [('adam', 4e-3, 'one_cycle', .3), ('ntasgd', 30., 'constant', .25)])
def test_wikitext_is_trained_as_its_authors_did_where_that_is_asked_for(opt, rate, schedule, clip, tmp_path, monkeypatch):
    import ulmfit_nb.reproduce as R
    from ulmfit_nb.results import read_results
    corpora,seen = [Corpus.from_docs([np.random.default_rng(i).integers(2, 20, 300)], 20) for i in range(3)],[]
    monkeypatch.setattr(R, 'wikitext2_ids', lambda *_: ([*'abcdefghijklmnopqrst'], *corpora))
    def train(model, train, valid, phases, cfg, *args, was=R.train_lm, **kw):
        seen.append((phases[0].lr, phases[0].schedule, cfg.opt, cfg.clip))
        return was(model, train, valid, phases, cfg, *args, **kw)
    monkeypatch.setattr(R, 'train_lm', train)
    def run(**kw): return reproduce('wikitext2', Lab(tmp_path/'work', tmp_path/'results', size=(12, 20, 2), device='cpu', bs=8, lm_epochs=1, progress=False, **kw))
    assert run(opt=opt)
    assert seen == [(rate, schedule, opt, clip)]*2
    assert [(r['lr_lm'], r['settings']['opt']) for r in read_results(tmp_path/'results')] == [(rate, opt)]*2
    other = {'adam': 'ntasgd', 'ntasgd': 'adam'}[opt]
    with pytest.raises(InputError, match=r'other settings \(opt was'): run(opt=other, lr_lm=rate)

def test_a_new_language_is_read_both_ways_where_it_is_asked_for(tmp_path, monkeypatch):
    import ulmfit_nb.reproduce as R
    from ulmfit_nb.results import read_results
    articles = tmp_path/'articles.csv'
    articles.write_text('text\n' + ''.join(f'{" ".join(t.split()*9)} {i}\n' for i,t in enumerate(TEXTS*2)))
    monkeypatch.setattr(R, 'load_task', lambda name, limit: TASK)
    monkeypatch.setattr(R.Tokenizer, 'train', lambda texts, was=Tokenizer.train, **kw: was(texts, min_count=1))
    made,was = [],R.pretrain
    monkeypatch.setattr(R, 'pretrain', lambda *args, **kw: made.append((kw['backward'], kw['path'])) or was(*args, **kw))
    R.vietnamese(lab(tmp_path, direction='both'), articles)
    assert [b for b,_ in made] == [False, True] and made[0][1] != made[1][1]
    assert sorted((r['direction'], r['backbone']) for r in read_results(tmp_path/'results')) == [(d, 'vi-backbone') for d in ('backward', 'both', 'forward')]
    a,b = (load_backbone(tmp_path/'work'/'vi-backbone', d)[0].backbone.encoder.weight for d in ('forward', 'backward'))
    assert not torch.equal(a, b)
    with pytest.raises(InputError, match='its own backbone'): R.vietnamese(lab(tmp_path, backbone='en-small'), articles)

def test_own_labels_come_from_the_probabilities_that_predict_gives(in_turn, tmp_path, monkeypatch):
    from ulmfit_nb import ulmfit as U
    taught = []
    monkeypatch.setattr(U, 'pseudo_labels', lambda p, was=U.pseudo_labels: taught.append(p) or was(p))
    in_turn._own_labels(in_turn.models_, list(in_turn.tokenizer_.encode_iter(MORE)), tmp_path, False)
    assert np.allclose(taught[0], in_turn.predict_proba(MORE), atol=1e-6)

def test_what_a_backbone_knows_is_counted_in_tokens(one_way):
    tok,corpus,known = ULMFiT(one_way, min_count=1, progress=False)._read(TEXTS + ['walrus']*30, [], 'forward')
    old = load_backbone(one_way)[1].vocab
    assert known == pytest.approx(np.mean([tok.vocab[i] in old for i in corpus.ids])) != np.mean([w in old for w in tok.vocab])

def test_a_loaded_model_is_in_evaluation_mode(fitted):
    assert not any(m.training for m in ULMFiT.load(fitted, device='cpu').models_['forward'].modules())

def test_a_stage_that_is_done_comes_back_as_it_was(tmp_path):
    def made(seed):
        torch.manual_seed(seed)
        return LanguageModel(AWDLSTM(20, (8, 12, 1)))
    done = lambda model, *_: SimpleNamespace(done=True, model=model, seconds=1., history=[], device=torch.device('cpu'))
    a,_ = lab(tmp_path).stage('x', lambda: made(0), done)
    b,_ = lab(tmp_path).stage('x', lambda: made(1), None)
    assert all(torch.equal(p, q) for p,q in zip(a.state_dict().values(), b.state_dict().values()))

def test_nothing_is_learned_from_a_text_of_the_test(monkeypatch):
    import ulmfit_nb.lab as R
    monkeypatch.setattr(R, 'split_rows', lambda name, split: dict(train=[('a', 0), ('b', 1), (' c', 1)], test=[('c', 1), ('d ', 0)], more=[('d', None), ('e', None)])[split])
    task = R.load_task('imdb')
    assert (task.train, task.more, [t for t,_ in task.test]) == ([('a', 0), ('b', 1)], ['e'], ['c', 'd ']) and task.note.startswith('1 training and 1 unlabelled')

def test_random_state_draws_the_head_too(one_way):
    def fit(callers):
        torch.manual_seed(callers)
        return ULMFiT(one_way, lm_epochs=0, epochs=1, random_state=0, device='cpu', progress=False).fit(TEXTS, LABELS).predict_proba(TEXTS)
    assert np.array_equal(fit(1), fit(2))

@pytest.mark.parametrize('labels,words', [([0, .5], 'float64'), ([0, float('nan')], 'float64'), (['a', 'b'], 'shape'), ([0, None], 'object'), ([[0], [1]], 'shape'), ([0, 2], 'no class 2'), ([0, -1], 'no class -1'), ([0], 'give one label')])
def test_labels_that_are_no_classes(labels, words):
    from ulmfit_nb.classifier import clas_metrics, finetune_classifier
    model,docs = TextClassifier(AWDLSTM(30, (12, 20, 2)), 2),[[2, 5], [2, 6, 7]]
    for f in (lambda: clas_metrics(model, docs, labels), lambda: finetune_classifier(model, docs, labels, epochs=1, bs=2, progress=False)):
        with pytest.raises(InputError, match=words): f()

@pytest.mark.parametrize('docs,words', [([[2, -1]], 'an id of -1'), ([[2, 30]], 'an id of 30'), ([[2.7, 3.9]], 'whole numbers')])
def test_ids_without_a_row(docs, words):
    from ulmfit_nb.classifier import predict_logits
    with pytest.raises(InputError, match=words): predict_logits(TextClassifier(AWDLSTM(30, (12, 20, 2)), 2), docs)

def test_few_texts_are_read_beside_a_very_long_one(monkeypatch):
    "All are padded to it: 256 beside a text of a million tokens would take gigabytes."
    from ulmfit_nb import classifier as C
    torch.manual_seed(0)
    model,sizes = TextClassifier(AWDLSTM(30, (12, 20, 1)), 2),[]
    docs = [np.full(70_000, 5), *([2, 3+i%20, 4+i%25] for i in range(299))]
    monkeypatch.setattr(C, 'pad_docs', lambda d, *a, was=C.pad_docs: sizes.append((len(d), max(map(len, d)))) or was(d, *a))
    out = C.predict_logits(model, docs, bs=256)
    assert max(n*longest for n,longest in sizes) <= 2**24 and sum(n for n,_ in sizes) == len(docs) and sizes[0][0] == 2**24//70_000
    assert torch.allclose(out[1:26], C.predict_logits(model, docs[1:26]), atol=1e-5)

def test_a_model_that_knows_no_numbers_says_no_label(fitted, tmp_path):
    clf = ULMFiT.load(fitted, device='cpu')
    with torch.no_grad(): clf.models_['forward'].head[-1].weight[0, 0] = float('nan')
    clf.save(tmp_path/'m')
    for f in (clf.predict, ULMFiT.load(tmp_path/'m', device='cpu').predict_proba):
        with pytest.raises(InputError, match='gives no probabilities'): f(TEXTS[:2])

def test_a_temperature_changes_no_prediction_not_even_of_near_ties(fitted):
    from ulmfit_nb.classifier import soften
    clf = ULMFiT.load(fitted, device='cpu')
    clf.probs = lambda texts, *a, temperature=None, **kw: soften(np.array([[.4999998, .5000002]]*len(texts)), 20. if temperature is None else temperature)
    assert (clf.predict_proba(TEXTS[:2]) == .5).all() and (clf.predict(TEXTS[:2]) == clf.classes_[1]).all()
    for t in (0, -1, float('nan'), float('inf')):
        with pytest.raises(InputError, match='above 0'): soften(np.array([[.4, .6]]), t)

@pytest.mark.parametrize('name', ['freez', 'freez-fall', 'scripts'])
def test_recipes_that_unfreeze_want_whole_passes(name):
    from ulmfit_nb.classifier import recipe_phases
    with pytest.raises(InputError, match='whole number'): recipe_phases(name, epochs=2.5)
    assert recipe_phases(name, epochs=3.) == recipe_phases(name, epochs=3)
    assert recipe_phases('full', epochs=2.5)[0].epochs == 2.5

def test_weights_are_packed_by_one_thread_at_a_time():
    "torch's engine is one for the process, and every thread puts back what it found."
    from concurrent.futures import ThreadPoolExecutor
    from ulmfit_nb.int8 import Int8Weights, fbgemm
    if not fbgemm(): pytest.skip('this torch has no FBGEMM')
    q = torch.backends.quantized
    was,other = q.engine,next(e for e in q.supported_engines if e not in ('fbgemm', 'none'))
    try:
        q.engine = other
        with ThreadPoolExecutor(8) as pool: list(pool.map(lambda i: Int8Weights(torch.randn(400, 100)), range(64)))
        assert q.engine == other
    finally: q.engine = was

def test_a_row_is_recorded_once_whatever_kills_it(tmp_path, monkeypatch):
    import ulmfit_nb.lab as R
    from ulmfit_nb.results import read_results
    fields = dict(experiment='x', dataset='d', split='test', n=1, protocol='inductive', labels=1, seed=0, direction='forward', variant='v', epochs=1, accuracy=.5, baseline_accuracy=.5, minutes=1.)
    l = lab(tmp_path)
    with monkeypatch.context() as m:                        # killed between the record and the mark
        m.setattr(R, 'atomic', lambda f: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt): l.row('k', **fields)
    assert not (tmp_path/'results').exists()
    with monkeypatch.context() as m:                        # killed between the mark and its copy
        m.setattr(R.shutil, 'copyfile', lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt): l.row('k', **fields)
    for _ in range(2): l.row('k', **fields)
    assert len(read_results(tmp_path/'results')) == 1
    monkeypatch.chdir(tmp_path)                             # the same folder under another name
    Lab('work', 'results', progress=False).row('k', **fields)
    (tmp_path/'sub').mkdir(); monkeypatch.chdir(tmp_path/'sub')
    Lab(tmp_path/'work', 'rows', progress=False).row('k', **fields)
    assert [f.name for f in (tmp_path/'results').rglob('*.json')] == [f.name for f in (tmp_path/'sub'/'rows').rglob('*.json')]

def test_missing_labels_of_pandas_get_their_sentence(fitted):
    import pandas as pd
    from ulmfit_nb.errors import confusion
    clf = ULMFiT.load(fitted, device='cpu')
    for y in (pd.Series(['good', pd.NA], dtype='string'), pd.Series(['good', None], dtype=object), pd.Series([1, pd.NA], dtype='Int64')):
        for f in (clf.score, lambda X, y: confusion(clf, X, y), lambda X, y: clf.calibrate(X*15, [*y]*15)):
            with pytest.raises(InputError): f(TEXTS[:2], y)

@pytest.mark.parametrize('texts,labels,words', [('abc', ['x'], 'several texts'), (['a', None], ['x', 'y'], 'row 1 .* and no text'), (['a b'], ['x', 'y'], '1 texts and 2 labels'), (['a b', 'c d'], ['x', None], 'row 1 .* and no label'),
    (['a b', 'c d'], ['x', float('nan')], 'row 1 .* and no label'), (['a b', 'c d'], ['x', pd.NA], 'row 1 .* and no label'), ([',', '.'], ['x', 'y'], 'no word')])
def test_counting_words_refuses_what_fit_refuses(texts, labels, words):
    with pytest.raises(InputError, match=words): baseline(texts, labels)

def test_several_labels_a_text_by_one_classifier_a_label():
    from sklearn.multiclass import OneVsRestClassifier
    y = np.array([[l == 'good', i % 3 == 0] for i,l in enumerate(LABELS)], int)
    said = OneVsRestClassifier(ULMFiT(**FAST, random_state=0)).fit(TEXTS, y).predict_proba(TEXTS[:3])
    assert said.shape == (3, 2) and ((0 < said) & (said < 1)).all()

# ---- what a review found, once more

def test_fit_without_a_folder_writes_no_checkpoints(monkeypatch):
    def refuse(self, *a): raise AssertionError('a checkpoint')
    monkeypatch.setattr(Trainer, '_write', refuse)
    clf = ULMFiT(**BOTH, n_jobs=1).fit(TEXTS, LABELS, unlabelled=MORE)
    assert 'self-training backward' in clf.history_

def test_a_long_word_takes_no_room_from_the_others(tmp_path):
    import tracemalloc
    save_backbone(tmp_path/'b', dict(forward=LanguageModel(AWDLSTM((tok := Tokenizer.train(TEXTS, vocab_size=200)).vocab_size, (8, 8, 1)))), tok)
    clf,numbers = ULMFiT(tmp_path/'b', progress=False),','.join(map(str, range(3000)))
    many = [f'word{i} '*3 for i in range(3000)]
    tracemalloc.start()
    tok,corpus,known = clf._read([numbers]*3 + many, [], 'forward')
    peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert numbers.replace(',', '')[:9] in ''.join(tok.vocab).replace(',', '') and peak < 1e8 and 0 < known < 1 # 14 kB for each of 3,000 words would be 160 MB

def test_autocast_of_the_caller_does_not_reach_gradients():
    kw = FAST | dict(device='cpu', precision='float32')
    alone = ULMFiT(**kw, random_state=0).fit(TEXTS, LABELS).predict_proba(TEXTS)
    with torch.autocast('cpu', torch.bfloat16): inside = ULMFiT(**kw, random_state=0).fit(TEXTS, LABELS)
    assert (inside.predict_proba(TEXTS) == alone).all()

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
def test_a_fork_while_another_thread_fits_can_fit():
    from ulmfit_nb import runs
    held,go = threading.Event(),threading.Event()
    def hold():
        with runs._one_fit: held.set(); go.wait(60)
    t = threading.Thread(target=hold); t.start(); held.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # newer Pythons warn of threads
        pid = os.fork()
    if not pid: os._exit(0 if runs._one_fit.acquire(timeout=5) else 1)
    go.set(); t.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

@pytest.mark.parametrize('y', ['sparse', 'one value'])
def test_labels_of_odd_shapes(y):
    import scipy.sparse as sp
    if y == 'sparse': assert ULMFiT(**FAST).fit(TEXTS, sp.csr_matrix([int(l == LABELS[0]) for l in LABELS]).T).classes_.tolist() == [0, 1]
    else:
        with pytest.raises(InputError, match='one value and no list'): ULMFiT(**FAST).fit(TEXTS, np.array('a'))

def test_a_model_whose_labels_are_too_large_is_refused(tmp_path):
    ULMFiT(**FAST, random_state=0).fit(TEXTS, [int(l == LABELS[0]) for l in LABELS]).save(tmp_path/'m')
    f = tmp_path/'m/config.json'
    f.write_text(json.dumps(json.loads(f.read_text()) | dict(labels=[0, 10**30])))
    with pytest.raises(InputError, match='no sound labels'): ULMFiT.load(tmp_path/'m')

def test_a_card_shows_labels_as_code(tmp_path):
    ULMFiT(**FAST, random_state=0).fit(TEXTS, ['# a\n\n[b](http://c)' if l == LABELS[0] else 'd`e' for l in LABELS]).save(tmp_path/'m')
    assert "Labels: `# a [b](http://c)`, `d'e`." in (tmp_path/'m/README.md').read_text()

def test_save_backbone_spares_a_classifier(tmp_path):
    ULMFiT(**FAST, random_state=0).fit(TEXTS, LABELS).save(tmp_path/'m')
    lm = LanguageModel(AWDLSTM((tok := Tokenizer.train(TEXTS, vocab_size=200)).vocab_size, (8, 8, 1)))
    with pytest.raises(InputError, match="no backbone's"): save_backbone(tmp_path/'m', dict(forward=lm), tok)
    assert ULMFiT.load(tmp_path/'m').predict(TEXTS[:1])
    save_backbone(tmp_path/'m', dict(forward=lm), tok, overwrite=True)
    save_backbone(tmp_path/'m', dict(forward=lm), tok) # a backbone again
    assert load_backbone(tmp_path/'m')[1].vocab == tok.vocab

@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_an_ignored_interrupt_stays_ignored():
    import signal
    was = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with asked_to_stop() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            assert not asked()
    finally: signal.signal(signal.SIGINT, was)

@pytest.mark.parametrize('data', ['/proc/kmsg', '//host/share/t.csv', '\\\\host\\share\\t.csv'])
def test_a_model_does_not_send_us_to_files_of_the_system(data):
    assert trained_on(SimpleNamespace(meta_=dict(data=data, data_stamp='x'))) == (None, 'x')
    assert trained_on(SimpleNamespace(meta_=dict(data='mine/t.csv', data_stamp='x'))) == ('mine/t.csv', 'x')

def test_labels_that_look_the_same_are_told(capsys):
    import unicodedata
    print_labels([a := 'caf\u00e9', unicodedata.normalize('NFD', a), 'bar']*10)
    assert r"'caf\xe9' and 'cafe\u0301' differ in how a letter is coded only" in capsys.readouterr().out

def test_another_backbone_of_the_same_name_ends_a_resume(tmp_path, capsys):
    for name,ws in (('a', 'alpha beta gamma delta'), ('b', 'one two three four')): (tmp_path/f'{name}.txt').write_text('\n'.join(' '.join(np.random.default_rng(i).permutation(ws.split())) for i in range(60)))
    line = ['--quiet', '--bs', '4', '--direction', 'both', '--device', 'cpu']
    for name in 'ab': main(['pretrain', str(tmp_path/f'{name}.txt'), '--out', str(tmp_path/f'of-{name}'), '--size', '16,16,1', '--vocab-size', '20', '--min-count', '1', *line])
    go = ['pretrain', str(tmp_path/'a.txt'), '--out', str(tmp_path/'next'), '--init', str(tmp_path/'of-a'), *line]
    main([*go, '--minutes', '0.0001'])
    shutil.rmtree(tmp_path/'of-a'); (tmp_path/'of-b').rename(tmp_path/'of-a')
    with pytest.raises(SystemExit): main([*go, '--resume'])
    assert 'init_' in capsys.readouterr().err
