"The `ulmfit` command and the estimator: the whole way on small text, and one sentence for each mistake."
import csv, errno, io, json, os, re, shutil, subprocess, sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures('one_thread')

WORDS = dict(good='great lovely wonderful superb fine charming brilliant moving'.split(), bad='awful dull boring terrible poor clumsy weak tedious'.split())

def review(rng, label):
    "A made-up review of a made-up film."
    things = 'plot cast music ending dialogue camera story'.split()
    return ' '.join(f'The {rng.choice(things)} was {rng.choice(WORDS[label])}.' for _ in range(rng.integers(1, 5)))

def table(path, n=60, seed=0, text='text', label='label'):
    rng = np.random.default_rng(seed)
    with open(path, 'w', newline='', encoding='utf-8') as f:
        w = csv.writer(f)
        w.writerow(['id', text, label])
        for i in range(n):
            l = ('good', 'bad')[i % 2]
            w.writerow([i, review(rng, l), l])
    return path

CODE = 'from ulmfit_nb.cli import main; main()'

def process(*args, stdin=None, code=CODE):
    "Run the command as a process of its own."
    return subprocess.run([sys.executable, '-c', code, *map(str, args)], input=stdin, capture_output=True, env=os.environ | dict(OMP_NUM_THREADS='1'))

def ulmfit(*args, stdin=None):
    "Run the command in this process, which is quicker; what comes back looks like the other's."
    from ulmfit_nb.cli import main
    out, err, code = io.TextIOWrapper(io.BytesIO(), 'utf-8'), io.TextIOWrapper(io.BytesIO(), 'utf-8'), 0
    saved = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(stdin or b'')), out, err
    try: main([str(a) for a in args])
    except SystemExit as e: code = e.code
    finally: sys.stdin, sys.stdout, sys.stderr = saved
    for f in (out, err): f.flush()
    return subprocess.CompletedProcess(args, code, out.buffer.getvalue(), err.buffer.getvalue())

def refused(p, *words):
    "One sentence on standard error, exit status 2, nothing on standard output."
    err = p.stderr.decode()
    assert p.returncode == 2, err
    assert err.startswith('ulmfit: ') and err.count('\n') == 1, err
    for w in words: assert w in err, err
    assert p.stdout == b''

TRAIN = '--backbone none --size micro --epochs 12 --lm-epochs 2 --bs 8 --seed 1'.split()

def train_model(d):
    "A small classifier in `d`/model, of `d`/train.csv."
    p = ulmfit('train', table(d/'train.csv', 80), '--out', d/'model', *TRAIN)
    assert p.returncode == 0, p.stderr.decode()
    return d/'model'

@pytest.fixture(scope='module')
def model(tmp_path_factory): return train_model(tmp_path_factory.mktemp('cli'))

# ---- the whole way ----------------------------------------------------------------------------------------------

def test_train_leaves_a_model_directory(model):
    assert sorted(f.name for f in model.iterdir()) == ['README.md', 'config.json', 'history.csv', 'model.safetensors', 'tokenizer.json']
    cfg = json.loads((model/'config.json').read_text())
    assert cfg['labels'] == ['bad', 'good'] and cfg['rules']['rules'] and cfg['meta']['columns'] == dict(text='text', label='label')
    rows = list(csv.DictReader(open(model/'history.csv')))
    assert {r['stage'] for r in rows} == {'lm forward', 'classifier forward'}

def test_predict_file_and_standard_input(model, tmp_path):
    new = table(tmp_path/'new.csv', 20, seed=5)
    p = ulmfit('predict', model, new)
    rows = list(csv.DictReader(io.StringIO(p.stdout.decode())))
    assert list(rows[0]) == ['id', 'text', 'label', 'prediction', 'confidence'] and len(rows) == 20
    assert sum(r['prediction'] == r['label'] for r in rows) >= 18 # words of either label never meet: a model that learned is right
    assert all(.5 <= float(r['confidence']) <= 1 for r in rows)
    lines = '\n'.join(r['text'] for r in rows) + '\n'
    q = list(csv.DictReader(io.StringIO(process('predict', model, stdin=lines.encode()).stdout.decode())))
    assert [r['prediction'] for r in q] == [r['prediction'] for r in rows]

def test_predict_writes_a_file_whole_or_not_at_all(model, tmp_path):
    new = table(tmp_path/'new.csv', 20, seed=5)
    p = ulmfit('predict', model, new, '--out', tmp_path/'said.csv')
    assert p.returncode == 0 and not p.stdout and (tmp_path/'said.csv').read_bytes() == ulmfit('predict', model, new).stdout
    refused(ulmfit('predict', model, new, '--out', tmp_path/'said.csv'), 'said.csv exists', '--overwrite')
    refused(ulmfit('predict', model, new, '--out', tmp_path/'nowhere'/'said.csv'), 'nowhere')
    bad = tmp_path/'bad.jsonl'
    bad.write_text('{"text": "a plot"}\n'*1500 + '{"words": "a plot"}\n', encoding='utf-8')           # found in the second thousand
    was = (tmp_path/'said.csv').read_bytes()
    refused(ulmfit('predict', model, bad, '--out', tmp_path/'said.csv', '--overwrite'), 'row 1501')
    assert (tmp_path/'said.csv').read_bytes() == was and sorted(f.name for f in tmp_path.iterdir()) == ['bad.jsonl', 'new.csv', 'said.csv']
    assert ulmfit('predict', model, new, '--out', new, '--overwrite').returncode == 0              # in place of what it read
    assert new.read_bytes() == was

@pytest.mark.parametrize('kind', ['csv', 'semicolons', 'jsonl', 'bom'])
def test_a_table_on_standard_input(kind, model, tmp_path):
    rows = [dict(id='1', text='a lovely plot, indeed'), dict(id='2', text='a dull\nplot; really')]
    buf = io.StringIO()
    w = csv.DictWriter(buf, ['id', 'text'], delimiter=';' if kind == 'semicolons' else ',')
    w.writeheader(); w.writerows(rows)
    data = '\n'.join(map(json.dumps, rows)) if kind == 'jsonl' else ('\ufeff' if kind == 'bom' else '') + buf.getvalue()
    p = ulmfit('predict', model, stdin=data.encode())
    got = list(csv.DictReader(io.StringIO(p.stdout.decode())))
    assert [{k: r[k] for k in ('id', 'text')} for r in got] == rows and {r['prediction'] for r in got} <= {'good', 'bad'}, p.stderr
    lines = list(csv.reader(io.StringIO(ulmfit('predict', model, stdin=b'id,body\n1,a lovely plot\n').stdout.decode())))
    assert [r[0] for r in lines] == ['text', 'id,body', '1,a lovely plot']               # no such column: lines of text

def test_a_table_without_the_column_on_standard_input_is_said(model):
    p = ulmfit('predict', model, stdin=b'id,Body\n1,a lovely plot\n')
    said,strange = p.stderr.decode().splitlines()
    assert p.returncode == 0 and "'id,Body', has no column" in said and '--text' in said and 'mostly words that the model does not know' in strange
    assert not ulmfit('predict', model, stdin=b'The plot was lovely, the cast was dull\nthe plot was dull,lovely\n').stderr # texts have commas, too
    refused(ulmfit('predict', model, '--text', 'nope', stdin=b'id,Body\n1,a lovely plot\n'), "no column 'nope'", 'text a line')

@pytest.mark.parametrize('data,words', [(b'{"text": "a"}\n{"text": \n', 'line 2'), (b'{"text": "a"}\n[1]\n', 'line 2'), (b'id,text\n1,a,b\n', '3 fields'), (b'id,text\n1,"a\n', 'not a valid table')])
def test_a_broken_table_on_standard_input_names_its_line(data, words, model): refused(ulmfit('predict', model, stdin=data), 'standard input', words)

def test_probabilities_of_all_labels_and_blank_texts(model):
    p = ulmfit('predict', model, '--proba', stdin=b'a lovely plot\n \n')
    rows = list(csv.DictReader(io.StringIO(p.stdout.decode())))
    assert all(abs(float(r['p(good)'])+float(r['p(bad)'])-1) < 2e-4 and r['confidence'] == max(r['p(good)'], r['p(bad)']) for r in rows)
    assert '1 of the 2 texts is blank' in p.stderr.decode()

def test_evaluate_stands_beside_the_baseline(model, tmp_path):
    p = ulmfit('evaluate', model, table(tmp_path/'test.csv', 40, seed=7), '--json')
    res = json.loads(p.stdout)
    assert res['n'] == 40 and np.sum(res['confusion']) == 40 and res['accuracy'] == np.trace(res['confusion'])/40
    assert res['baseline_accuracy'] > .9
    text = ulmfit('evaluate', model, tmp_path/'test.csv').stdout.decode()
    assert 'TF-IDF + LR' in text and 'confusion' in text and f'mean of both{res["both_accuracy"]:10.3f}' in text

def test_the_mean_of_both_is_that_of_the_probabilities(tmp_path):
    from ulmfit_nb.evaluate import baseline_scores
    from ulmfit_nb.evidence import baseline
    texts,labels = [f'{w} film number {i}' for i in range(10) for w in ('fine', 'dull', 'odd')],['good', 'bad', 'mixed']*10
    (tmp_path/'train.csv').write_text('text,label\n' + ''.join(f'{t},{l}\n' for t,l in zip(texts, labels)), encoding='utf-8')
    probs = np.random.default_rng(0).dirichlet([1, 1], len(texts)) # of a model that knows two labels, in an order of its own
    res,_ = baseline_scores(tmp_path/'train.csv', ('text', 'label'), texts, labels, ['good', 'bad'], probs)
    counting = baseline(texts, labels)
    assert counting.classes_.tolist() == ['bad', 'good', 'mixed']
    both = probs + counting.predict_proba(texts)[:, [1, 0]]
    right = np.mean([['good', 'bad'][i] == l for i,l in zip(both.argmax(1), labels)])
    assert res['both_accuracy'] == pytest.approx(right) and right < 2/3+1e-9 and res['baseline_accuracy'] == 1
    wrong = sum(['good', 'bad'][i] != l for i,l in zip(probs.argmax(1), labels)) # where counting words is right alone
    assert (res['only_ours'], res['only_baseline'], res['p_value']) == (0, wrong, pytest.approx(2/2**wrong))
    mended = sum(['good', 'bad'][i] != l and ['good', 'bad'][j] == l for i,j,l in zip(probs.argmax(1), both.argmax(1), labels))
    spoiled = sum(['good', 'bad'][i] == l and ['good', 'bad'][j] != l for i,j,l in zip(probs.argmax(1), both.argmax(1), labels))
    assert spoiled == 0 and res['both_p_value'] == pytest.approx(min(1, 2/2**mended))

def test_predictions_by_the_mean_of_both(model, tmp_path):
    from ulmfit_nb.evidence import baseline
    new,train = table(tmp_path/'new.csv', 30, seed=5),Path(json.loads((model/'config.json').read_text())['meta']['data'])
    def probs(*args): return np.array([[float(r['p(bad)']), float(r['p(good)'])] for r in csv.DictReader(io.StringIO(ulmfit('predict', model, new, '--proba', *args).stdout.decode()))])
    seen,rows = list(csv.DictReader(open(train))),list(csv.DictReader(open(new)))
    counting = baseline([r['text'] for r in seen], [r['label'] for r in seen]).predict_proba([r['text'] for r in rows])
    assert np.allclose(probs('--mean'), (probs() + counting)/2, atol=2e-4) and not np.allclose(probs('--mean'), probs(), atol=1e-2)
    rng = np.random.default_rng(1)
    (tmp_path/'turned.csv').write_text('text,label\n' + ''.join(f'{review(rng, l)},{dict(good="bad", bad="good")[l]}\n' for l in ('good', 'bad')*200), encoding='utf-8') # teaches counting words the opposite
    turned = list(csv.DictReader(io.StringIO(ulmfit('predict', model, new, '--mean', '--proba', '--train', tmp_path/'turned.csv').stdout.decode())))
    assert all((r['p(good)'] > r['p(bad)']) == (r['prediction'] == 'good') and r['confidence'] == max(r['p(good)'], r['p(bad)']) for r in turned) # the answer is that of the mean
    assert np.mean([float(r['confidence']) for r in turned]) < .75

def test_the_mean_is_refused_where_it_would_be_another(model, tmp_path):
    new,copy = table(tmp_path/'new.csv', 5, seed=5),tmp_path/'model'
    shutil.copytree(model, copy)
    refused(ulmfit('predict', model, new, '--train', new), '--mean')
    refused(ulmfit('predict', model, new, '--mean', '--train', tmp_path/'nosuch.csv'), 'nosuch.csv')
    for name,text,*words in (('more', 'fine,good\ndull,bad\nso so,middling\n', 'middling', 'more.csv'), ('fewer', 'fine,good\n', 'fewer.csv'), ('signs', '!!!,good\n...,bad\n', 'signs.csv', '--mean')):
        (tmp_path/f'{name}.csv').write_text('text,label\n'+text, encoding='utf-8')
        refused(ulmfit('predict', model, new, '--mean', '--train', tmp_path/f'{name}.csv', '--out', tmp_path/'said.csv'), *words)
    config = json.loads((copy/'config.json').read_text())
    moved = table(tmp_path/'moved.csv', 40)
    for meta,word in ((dict(data=str(moved)), 'has changed'), (dict(data=str(tmp_path/'gone.csv')), 'not at hand')):
        (copy/'config.json').write_text(json.dumps(config | dict(meta=config['meta'] | meta)))
        refused(ulmfit('predict', copy, new, '--mean', '--out', tmp_path/'said.csv'), word, '--train')
    assert not (tmp_path/'said.csv').exists()

def test_what_is_ahead_is_said(capsys):
    from ulmfit_nb.evaluate import print_ahead
    def said(**kw): print_ahead(dict(n=100, accuracy=.8) | kw); return capsys.readouterr().out
    assert not said() and not said(baseline_accuracy=.8, both_accuracy=.8)
    assert 'mean of both is ahead by 2.0 points' in (s := said(baseline_accuracy=.7, both_accuracy=.82)) and '--mean' in s
    for p,chance in ((.04, False), (.06, True)): assert ('may be chance (p = 0.06)' in said(baseline_accuracy=.7, both_accuracy=.82, both_p_value=p)) == chance
    assert 'standard error of the lead 3.8' in said(n=200, baseline_accuracy=.85, both_accuracy=.84, only_ours=4, only_baseline=100, p_value=.01) # what the differences, 1, 0 or -1 a text, scatter by
    assert 'standard error of the lead 3.0' in said(baseline_accuracy=.85, both_accuracy=.84, only_ours=2, only_baseline=7, p_value=.01) # the root of 9 texts of 100
    assert 'Counting words is ahead by 5.0 points' in (s := said(baseline_accuracy=.85, both_accuracy=.9)) and 'more unlabelled' in s and s.count('\n') == 1 and '--mean' in s
    assert '--mean' not in said(baseline_accuracy=.85, both_accuracy=.84)
    assert 'may be chance: test on more texts' in (s := said(baseline_accuracy=.85, both_accuracy=.84, p_value=.06)) and '--mean' not in s
    assert 'ahead' not in said(baseline_accuracy=.8, both_accuracy=.8001) and 'alone' not in said(only_ours=0, only_baseline=0, p_value=1.)
    for p,word in ((.04, 'hardly'), (.06, 'may be chance')): assert word in (s := said(only_ours=12, only_baseline=3, p_value=p)) and 'ULMFiT 12 times' in s and f'{p}' in s

def test_pretrain_stops_in_time_resumes_and_generates(tmp_path):
    rng = np.random.default_rng(0)
    f = tmp_path/'docs.txt'
    f.write_text('\n'.join(review(rng, 'good') for _ in range(300)))
    args = ['pretrain', f, '--out', tmp_path/'bb', '--size', 'micro', '--epochs', '2', '--bs', '8', '--min-count', '1']
    p = ulmfit(*args, '--minutes', '0')
    assert p.returncode == 0 and b'--resume' in p.stdout, p.stderr.decode()
    assert not (tmp_path/'bb'/'config.json').exists()
    refused(ulmfit(*args), 'not empty', '--resume')
    refused(ulmfit(*args, '--lr', '.1', '--resume'), 'other settings')
    p = ulmfit(*args, '--resume')
    assert p.returncode == 0, p.stderr.decode()
    whole = ulmfit(*args[:3], tmp_path/'whole', *args[4:])
    assert whole.returncode == 0
    assert (tmp_path/'bb'/'model.safetensors').read_bytes() == (tmp_path/'whole'/'model.safetensors').read_bytes()
    p = ulmfit('generate', tmp_path/'bb', 'The plot', '-n', '8', '--seed', '3')
    assert p.stdout.decode().startswith('The plot') and p.stdout == ulmfit('generate', tmp_path/'bb', 'The plot', '-n', '8', '--seed', '3').stdout
    p = ulmfit('train', table(tmp_path/'t.csv'), '--backbone', tmp_path/'bb', '--unlabelled', f, '--out', tmp_path/'m', '--epochs', '2', '--lm-epochs', '1')
    assert p.returncode == 0 and 'known to the backbone' in p.stdout.decode(), p.stderr.decode()

def test_killed_training_resumes_to_the_same_model(model, tmp_path):
    data = table(tmp_path/'train.csv', 80)
    args = ['train', data, '--out', tmp_path/'m', *TRAIN]
    dying = f"""
import ulmfit_nb.training as t
save, n = t.Trainer.save, [0]
def dying(self):
    save(self); n[0] += 1
    if n[0] == 5: import os; os._exit(9)
t.Trainer.save = dying
{CODE}"""
    assert process(*args, code=dying).returncode == 9
    refused(ulmfit('predict', tmp_path/'m', data), 'holds no config.json')
    p = ulmfit(*args, '--resume')
    assert p.returncode == 0, p.stderr.decode()
    assert (tmp_path/'m'/'model.safetensors').read_bytes() == (model/'model.safetensors').read_bytes()
    assert not (tmp_path/'m'/'run').exists()

HOLD = """
import sys, time
from ulmfit_nb.processes import only_one
with only_one(sys.argv[1]):
    print('held', flush=True)
    time.sleep(600)
"""

@pytest.mark.parametrize('more', [['--resume'], ['--overwrite'], []], ids=['resume', 'overwrite', 'new'])
def test_two_runs_do_not_share_a_folder(model, tmp_path, more):
    "A run that is still going on is neither taken up by another process nor replaced; one that was killed holds nothing."
    data, out = table(tmp_path/'train.csv', 80), tmp_path/'m'
    (out/'run').mkdir(parents=True)
    (out/'run'/'settings.json').write_text('{}')
    other = subprocess.Popen([sys.executable, '-c', HOLD, str(out)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b'held\n'
        for command in (['train', data, *TRAIN], ['pretrain', data, '--size', 'micro', '--min-count', '1']):
            refused(ulmfit(*command, '--out', out, *more), f'another process is at work in {out}', 'choose another')
            assert [f.name for f in out.rglob('*')] == ['run', 'settings.json'] and (out/'run'/'settings.json').read_text() == '{}'
        refused(ulmfit('reproduce', 'trec6', '--out', out, '--results', tmp_path/'results'), f'another process is at work in {out}')
    finally:
        other.kill(); other.wait()
    if more == ['--overwrite']:
        p = ulmfit('train', data, *TRAIN, '--out', out, *more)
        assert p.returncode == 0, p.stderr.decode()
    else: refused(ulmfit('train', data, *TRAIN, '--out', out, *more), 'not empty' if not more else 'other settings')

def test_data_lists_without_network():
    out = ulmfit('data').stdout.decode()
    assert 'imdb' in out and 'not fetched by the authors yet' in out

# ---- mistakes ---------------------------------------------------------------------------------------------------

def bad_table(path, name):
    rows = dict(empty='', header_only='text,label\n', no_column='review,label\na,b\n', nan_label='text,label\ngood,1\nbad,\n', one_class='text,label\ngood,1\nbad,1\n')[name]
    path.write_text(rows)
    return path

@pytest.mark.parametrize('name,words', [('empty', ['empty']), ('header_only', ['no rows']), ('no_column', ["'text'", 'review']), ('nan_label', ['label', '2']), ('one_class', ["'1'"])])
def test_bad_tables(name, words, tmp_path):
    refused(ulmfit('train', bad_table(tmp_path/'bad.csv', name), '--out', tmp_path/'m'), *words)
    assert not (tmp_path/'m').exists()

def test_bytes_that_are_not_utf8(tmp_path, model):
    (tmp_path/'bad.csv').write_bytes('text,label\ncaf\xe9,1\nb,2\n'.encode('latin-1'))
    refused(ulmfit('train', tmp_path/'bad.csv', '--out', tmp_path/'m'), 'UTF-8')
    assert not (tmp_path/'m').exists()
    p = ulmfit('predict', model, stdin=b'caf\xe9\n')
    assert p.returncode == 2 and b'UTF-8' in p.stderr

def test_missing_file_and_missing_model(tmp_path, model):
    refused(ulmfit('train', tmp_path/'none.csv', '--out', tmp_path/'m'), 'none.csv')
    refused(process('predict', tmp_path/'none', stdin=b'a'), 'none', 'not a directory')
    refused(ulmfit('predict', model, tmp_path/'none.csv'), 'none.csv')

def test_out_is_not_overwritten(tmp_path, model):
    data = table(tmp_path/'t.csv')
    (tmp_path/'m').mkdir(); (tmp_path/'m'/'precious').write_text('x')
    refused(ulmfit('train', data, '--out', tmp_path/'m'), 'not empty', '--overwrite')
    refused(ulmfit('train', data, '--out', tmp_path/'m', '--resume'), 'no unfinished run')
    refused(ulmfit('train', data, '--out', data), 'is a file')
    assert (tmp_path/'m'/'precious').read_text() == 'x' and len(list((tmp_path/'m').iterdir())) == 1

def test_label_unseen_in_training(tmp_path, model):
    (tmp_path/'t.csv').write_text('text,label\nfine,good\nso so,middling\n')
    refused(ulmfit('evaluate', model, tmp_path/'t.csv'), 'middling', 'not trained')

def copy_of(model, path):
    shutil.copytree(model, path)
    return path

@pytest.mark.parametrize('name', ['config.json', 'tokenizer.json', 'model.safetensors'])
def test_model_directory_with_a_missing_or_truncated_file(name, model, tmp_path):
    m = copy_of(model, tmp_path/'m')
    raw = (m/name).read_bytes()
    (m/name).write_bytes(raw[:len(raw)//2])
    refused(ulmfit('predict', m, stdin=b'a'), name)
    (m/name).unlink()
    refused(ulmfit('predict', m, stdin=b'a'), name)

def test_tokenizer_of_another_model(model, tmp_path):
    from ulmfit_nb.tokenization import Tokenizer
    m = copy_of(model, tmp_path/'m')
    tok = Tokenizer.load(model)
    Tokenizer.train([' '.join(reversed(tok.vocab))], vocab_size=tok.vocab_size, min_count=1).save(m/'tokenizer.json')
    refused(ulmfit('predict', m, stdin=b'a'), 'tokenizer')
    refused(ulmfit('train', table(tmp_path/'t.csv'), '--backbone', model, '--out', tmp_path/'x'), 'classifier, not a language model')

def test_odd_texts_get_a_prediction(model, tmp_path):
    f = tmp_path/'odd.csv'
    with open(f, 'w', newline='', encoding='utf-8') as h:
        w = csv.writer(h); w.writerow(['text'])
        for t in ('', '   ', 'zzz qqq', '日本語', '🙂', 'xxbos xxmaj', 'a '*5000, 'line\nbreak, "quoted"'): w.writerow([t])
    rows = list(csv.DictReader(io.StringIO(ulmfit('predict', model, f).stdout.decode())))
    assert len(rows) == 8 and {r['prediction'] for r in rows} <= {'good', 'bad'}

# ---- the estimator ----------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def texts():
    rng = np.random.default_rng(3)
    y = [i % 2 for i in range(40)]
    return [review(rng, ('bad', 'good')[l]) for l in y], y

FAST = dict(backbone=None, size='micro', epochs=3, lm_epochs=1, bs=8, random_state=0, progress=False, device='cpu')

def test_both_directions_save_load_predict(texts, tmp_path):
    from ulmfit_nb import ULMFiT
    X, y = texts
    clf = ULMFiT(direction='both', **FAST).fit(X, y)
    p = clf.predict_proba(X)
    assert p.dtype == np.float32 and p.shape == (40, 2) and np.allclose(p.sum(1), 1, atol=1e-6)
    clf.save(tmp_path/'m')
    again = ULMFiT.load(tmp_path/'m')
    assert np.array_equal(again.predict_proba(X), p) and again.predict(X).dtype == clf.predict(X).dtype
    assert np.abs(clf.predict_proba(X, bs=1) - p).max() < 1e-5
    from safetensors import safe_open
    with safe_open(tmp_path/'m'/'model.safetensors', 'pt') as f: assert {k[:4] for k in f.keys()} == {'fwd.', 'bwd.'}

@pytest.mark.parametrize('labels', [[0, 1], ['no', 'yes'], [False, True], [1., 2.]])
def test_labels_come_back_as_they_were_given(labels, texts, tmp_path):
    from ulmfit_nb import ULMFiT
    X, y = texts
    clf = ULMFiT(**FAST | dict(epochs=1)).fit(X, [labels[i] for i in y])
    clf.save(tmp_path/'m')
    for c in (clf, ULMFiT.load(tmp_path/'m')): assert set(c.predict(X).tolist()) <= set(labels) and type(c.predict(X).tolist()[0]) is type(labels[0])

def test_one_seed_two_equal_runs(texts):
    from ulmfit_nb import ULMFiT
    X, y = texts
    a, b = (ULMFiT(**FAST).fit(X, y).predict_proba(X) for _ in range(2))
    assert np.array_equal(a, b)

@pytest.mark.parametrize('direction', ['forward', 'both'])
def test_a_second_round_learns_from_its_own_answers(direction, texts, tmp_path, monkeypatch):
    from ulmfit_nb import ULMFiT, ulmfit as U
    X, y = texts
    rng = np.random.default_rng(5)
    more = [review(rng, ('bad', 'good')[i % 2]) for i in range(90)]
    def fit(n, **kw): return ULMFiT(direction=direction, self_train=n, **FAST | dict(lm_epochs=.3)).fit(X, y, more, **kw)
    taught,kept = [],U.pseudo_labels
    monkeypatch.setattr(U, 'pseudo_labels', lambda p: taught.append(p) or kept(p))
    clf = fit(80, run_dir=tmp_path/'run')
    rounds = {k for k in clf.history_ if k.startswith('self-training')}
    assert rounds == {f'self-training {d}' for d in (['forward', 'backward'] if direction == 'both' else ['forward'])}
    assert all(clf.history_[k][-1]['step'] > clf.history_[k.replace('self-training', 'classifier')][-1]['step'] for k in rounds)
    p = clf.predict_proba(X)
    assert np.array_equal(fit(80, run_dir=tmp_path/'run', resume=True).predict_proba(X), p) # all stages are loaded
    assert np.array_equal(fit(80).predict_proba(X), p)
    first = fit(79) # 40 labels are more than half of 79: the first round stands
    assert not any(k.startswith('self-training') for k in first.history_) and not np.array_equal(first.predict_proba(X), p)
    assert np.allclose(taught[0], first.predict_proba(U.second_round_texts(more, 80, len(X), 0, X)), atol=.02) # the mean of the directions teaches (in bfloat16 where the processor has it)

@pytest.mark.parametrize('bad', [-1, 2.5, 'many'])
def test_self_train_is_a_number_of_texts(bad):
    from ulmfit_nb import InputError, ULMFiT
    with pytest.raises(InputError, match='self_train'): ULMFiT(self_train=bad, **FAST).check()

@pytest.mark.parametrize('has', [('forward',), ('backward',), ('forward', 'backward')])
def test_the_direction_that_is_left_out_goes_by_the_backbone(has, tmp_path):
    from ulmfit_nb import ULMFiT
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.storage import save_backbone
    from ulmfit_nb.tokenization import Tokenizer
    tok = Tokenizer.train(['one two three']*3, min_count=1)
    save_backbone(tmp_path/'b', {d: LanguageModel(AWDLSTM(tok.vocab_size, (8, 12, 1))) for d in has}, tok, [])
    assert ULMFiT(tmp_path/'b').check()._directions() == list(has)
    assert ULMFiT(None)._directions() == ['forward'] and ULMFiT(tmp_path/'b', direction=has[0])._directions() == [has[0]]

def test_scikit_learn_takes_it(texts):
    import pandas as pd
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from ulmfit_nb import ULMFiT
    X, y = texts
    clf = ULMFiT(**FAST)
    assert clone(clf).get_params() == clf.get_params()
    s = cross_val_score(make_pipeline(FunctionTransformer(lambda X: [t.lower() for t in X]), clf), X, y, cv=2, error_score='raise')
    assert s.shape == (2,)
    assert len(clone(clf).fit(pd.Series(X), pd.Series(y)).predict(pd.DataFrame(dict(text=X)))) == 40

@pytest.mark.parametrize('X,y,words', [
    ('one text', [0], 'one string'), (['a', None], [0, 1], 'row 1'), (['a', 'b'], [0], '1 labels'), (['a', 'b'], [0, float('nan')], r'row 1 \(counted from 0\) has no label'),
    (['a', 'b'], [0, 0], 'two at least'), (['a', 'b'], [0, 'x'], 'several types'), ([], [], 'no rows'), (['', ' '], [0, 1], 'empty'),
    (None, [0], 'no list of texts'), (['a', 'b'], None, 'no labels'), (['a', 'b'], [[0], [1]], 'a text or a whole number')])
def test_what_fit_refuses(X, y, words):
    from ulmfit_nb import InputError, ULMFiT
    with pytest.raises(InputError, match=words): ULMFiT(**FAST).fit(X, y)

def test_predict_before_fit():
    from sklearn.exceptions import NotFittedError
    from ulmfit_nb import ULMFiT
    with pytest.raises(NotFittedError): ULMFiT().predict(['a'])
    with pytest.raises(NotFittedError): ULMFiT().score(['a'], ['b'])

# ---- what a stranger tried ---------------------------------------------------------------------------------------

@pytest.mark.parametrize('rows, words', [
    ([dict(text='a lovely plot'), dict(text='dull', id=2)], ("'id'", 'row 2')),                    # a column that the header does not have
    ([dict(id=1, text='a lovely plot'), dict(id=2)], ("no 'text' in row 2",)),
    ([dict(text='a lovely plot'), dict(text=['a', 'b'])], ('row 2', 'should hold text')),
    ([dict(text='a lovely plot', prediction='good')], ("a column 'prediction' already",)),
    ([dict(text='a lovely plot', prediction='good', confidence='.9')], ("columns 'confidence', 'prediction' already",))])
def test_rows_that_would_shift_the_table_are_refused(rows, words, model, tmp_path):
    (tmp_path/'x.jsonl').write_text('\n'.join(map(json.dumps, rows)), encoding='utf-8')
    refused(ulmfit('predict', model, tmp_path/'x.jsonl'), *words)

def test_values_stay_in_their_columns(model, tmp_path):
    (tmp_path/'x.jsonl').write_text('{"id": 1, "text": "a lovely plot", "more": "x"}\n{"text": "a dull plot", "id": 2}', encoding='utf-8')
    rows = list(csv.DictReader(io.StringIO(ulmfit('predict', model, tmp_path/'x.jsonl').stdout.decode())))
    assert [(r['id'], r['text'], r['more']) for r in rows] == [('1', 'a lovely plot', 'x'), ('2', 'a dull plot', '')]

@pytest.mark.parametrize('options', ['--epochs 0', '--bs 1', '--lm-epochs -1', '--lr 0', '--lr x', '--vocab-size 3', '--seed -1', '--seed 99999999999999999999', '--lm-epochs inf', '--lr nan', '--device foo', '--self-train -1'])
def test_numbers_out_of_range_leave_nothing_behind(options, tmp_path, capsys):
    p = ulmfit('train', table(tmp_path/'x.csv', 20), '--out', tmp_path/'out', *TRAIN, *options.split())
    assert p.returncode == 2 and options.split()[0] in p.stderr.decode() and options.split()[1] in p.stderr.decode() and not (tmp_path/'out').exists()

@pytest.mark.parametrize('line', ['generate en-small x -n -5', 'generate en-small x --top-p 5', 'generate en-small x --top-k -1', 'generate en-small x --seed 99999999999999999999', 'pretrain x.txt --out o --minutes -1', 'pretrain x.txt --out o --min-count -5', 'demo --unlabelled -5', 'demo --labels 0', 'reproduce imdb --draws 0'])
def test_numbers_that_no_command_takes(line):
    p = ulmfit(*line.split())
    assert p.returncode == 2 and line.split()[-2] in p.stderr.decode() and line.split()[-1] in p.stderr.decode() and p.stdout == b''

def test_a_demo_without_its_backbone_says_and_leaves_nothing(tmp_path):
    refused(ulmfit('demo', '--backbone', tmp_path/'nosuch', '--out', tmp_path/'d'), 'nosuch')
    assert not (tmp_path/'d').exists()

def test_a_missing_file_leaves_nothing_behind(tmp_path):
    refused(ulmfit('pretrain', tmp_path/'nosuch.txt', '--out', tmp_path/'out'), 'nosuch.txt')
    refused(ulmfit('pretrain', table(tmp_path/'x.csv'), '--init', tmp_path/'nosuch', '--out', tmp_path/'out'), 'nosuch')
    assert not (tmp_path/'out').exists()

def test_a_run_that_is_stopped_early_leaves_no_folder(tmp_path):
    code = 'import sys\nfrom ulmfit_nb import cli\nfrom ulmfit_nb.ulmfit import ULMFiT\ndef stop(*args, **kw): raise KeyboardInterrupt\nULMFiT._stages = stop\ncli.main()'
    p = process('train', table(tmp_path/'t.csv', 40), '--out', tmp_path/'out', '--quiet', code=code)
    assert p.returncode == 130 and b'begins again' in p.stderr and not (tmp_path/'out').exists(), p.stderr

def test_ctrl_c_pressed_again_does_not_disturb_the_end(tmp_path):
    code = """import atexit, os, signal
from ulmfit_nb import cli
from ulmfit_nb.commands import COMMANDS
def again(sig=signal.SIGINT): os.kill(os.getpid(), sig)
atexit.register(again) # while the interpreter ends
signal.signal(signal.SIGINT, signal.default_int_handler) # a shell's background job ignores it
COMMANDS['predict'] = lambda a: again(), COMMANDS['predict'][1]
cli.main()"""
    p = process('predict', 'model', code=code)
    assert p.returncode == 130 and p.stderr.splitlines() == [b'ulmfit: stopped'], p.stderr

def test_a_closed_pipe_is_no_success_for_training(tmp_path):
    code = "import sys\nfrom ulmfit_nb import cli\nfrom ulmfit_nb.commands import COMMANDS\ndef cmd(a): raise BrokenPipeError\nCOMMANDS['train'] = cmd, COMMANDS['train'][1]\nCOMMANDS['predict'] = cmd, COMMANDS['predict'][1]\ncli.main()"
    p = process('train', 'x.csv', '--out', tmp_path/'out', code=code)
    assert p.returncode == 1 and b'begins again' in p.stderr                                # nothing is there to go on from
    (tmp_path/'out/run').mkdir(parents=True); (tmp_path/'out/run/x.pt').touch()
    p = process('train', 'x.csv', '--out', tmp_path/'out', code=code)
    assert p.returncode == 1 and b'--resume' in p.stderr
    assert process('predict', 'model', code=code).returncode == 0 # `ulmfit predict | head` is fine

def test_a_page_that_was_not_written_is_no_success(tmp_path):
    code = "from ulmfit_nb import cli\nfrom ulmfit_nb.commands import COMMANDS\ndef cmd(a): raise BrokenPipeError\nCOMMANDS['explain'] = cmd, COMMANDS['explain'][1]\ncli.main()"
    assert process('explain', 'model', 'x.csv', '--html', tmp_path/'page.html', code=code).returncode == 1
    assert process('explain', 'model', 'x.csv', code=code).returncode == 0

def test_overwrite_removes_no_folder_of_somebody_else(tmp_path):
    (tmp_path/'out'/'run').mkdir(parents=True); (tmp_path/'out'/'run'/'paper.tex').write_text('mine')
    for words in (['train', table(tmp_path/'t.csv', 40), *TRAIN], ['pretrain', table(tmp_path/'t.csv', 40), '--size', 'micro', '--vocab-size', '100']):
        refused(ulmfit(*words, '--out', tmp_path/'out', '--overwrite'), 'out/run', 'move it')
    refused(ulmfit('pretrain', tmp_path/'t.csv', '--out', tmp_path/'out', '--overwrite', '--profile'), '--profile', '--overwrite')
    assert (tmp_path/'out'/'run'/'paper.tex').read_text() == 'mine'

def test_a_file_whose_name_is_not_utf8(tmp_path):
    odd = table(tmp_path/os.fsdecode(b'caf\xe9.csv'), 40)
    assert ulmfit('train', odd, '--out', tmp_path/'m', *TRAIN, '--quiet').returncode == 0
    assert Path(json.loads((tmp_path/'m'/'config.json').read_text(encoding='utf-8'))['meta']['data']) == odd.resolve()
    assert b'TF-IDF' in ulmfit('evaluate', tmp_path/'m', table(tmp_path/'test.csv', 20, seed=5)).stdout # it is found again
    refused(ulmfit('train', odd, '--out', tmp_path/os.fsdecode(b'mod\xe9'), *TRAIN), 'UTF-8', '--out')

def test_a_training_file_that_may_not_be_read_is_one_that_is_not_at_hand(model, tmp_path, monkeypatch):
    import ulmfit_nb.evaluate as C
    test,train = table(tmp_path/'test.csv', 20, seed=5),str(model.parent/'train.csv')
    stamp = C.stamp_of
    def not_yours(path):
        if str(path) == train: raise PermissionError(13, 'Permission denied', train)
        return stamp(path)
    monkeypatch.setattr(C, 'stamp_of', not_yours)
    p = ulmfit('evaluate', model, test)
    assert p.returncode == 0 and b'not at hand' in p.stdout and b'ULMFiT' in p.stdout
    shutil.copytree(model, tmp_path/'m')
    assert ulmfit('calibrate', tmp_path/'m', test).returncode == 0
    monkeypatch.undo()
    assert b'TF-IDF' in ulmfit('evaluate', model, test).stdout

def test_the_training_file_is_the_one_that_was_read(tmp_path, monkeypatch):
    from ulmfit_nb.ulmfit import ULMFiT
    data,fit = table(tmp_path/'live.csv', 40),ULMFiT.fit
    def meanwhile(self, *args, **kw):
        res = fit(self, *args, **kw)
        with open(data, 'a', encoding='utf-8') as f: f.write('99,The plot was late.,good\n')
        return res
    monkeypatch.setattr(ULMFiT, 'fit', meanwhile)
    assert ulmfit('train', data, '--out', tmp_path/'m', *TRAIN, '--quiet').returncode == 0
    p = ulmfit('evaluate', tmp_path/'m', table(tmp_path/'test.csv', 20, seed=5))
    assert b'has changed since the training' in p.stdout, p.stdout

@pytest.mark.parametrize('kind', ['fifo', 'folder'])
def test_what_is_no_ordinary_file_is_not_replaced(kind, model, tmp_path):
    out = tmp_path/'x'
    if kind == 'folder': out.mkdir()
    else: os.mkfifo(out)
    refused(ulmfit('predict', model, table(tmp_path/'t.csv', 4), '--out', out, '--overwrite'), str(out))
    assert not out.is_file()

def test_standard_input_means_what_the_file_means(model):
    refused(ulmfit('predict', model, stdin=b'{"review": "the plot was dull"}\n'), "no column 'text'", '--text')
    p = ulmfit('predict', model, stdin='\ufeff\nsep=;\ntext;id\nthe plot was dull;1\n'.encode())
    assert [(r['text'], r['id']) for r in csv.DictReader(io.StringIO(p.stdout.decode()))] == [('the plot was dull', '1')], p.stderr
    p = ulmfit('predict', model, stdin=b'\nthe plot was dull\n')
    assert [r['text'] for r in csv.DictReader(io.StringIO(p.stdout.decode()))] == ['', 'the plot was dull'] # a text a line, blank ones too

def test_what_is_no_text_is_not_predicted_as_one(model, tmp_path):
    pa,pq = pytest.importorskip('pyarrow'),pytest.importorskip('pyarrow.parquet')
    pq.write_table(pa.table(dict(text=pa.array([b'the plot was dull'], pa.binary()))), tmp_path/'x.parquet')
    refused(ulmfit('predict', model, tmp_path/'x.parquet'), 'row 1', "'text'")
    (tmp_path/'x.jsonl').write_text('{"text": NaN}\n{"text": "the plot was dull"}', encoding='utf-8')
    p = ulmfit('predict', model, tmp_path/'x.jsonl')
    assert [r['text'] for r in csv.DictReader(io.StringIO(p.stdout.decode()))][1] == 'the plot was dull' and b'1 of the 2 texts is blank' in p.stderr

def test_a_closed_standard_output_is_no_fault(): assert process(code='import sys\nsys.stdout = None\nfrom ulmfit_nb.cli import main\nmain(["data", "list"])').returncode == 0

def test_scores_survive_a_baseline_that_fails(model, tmp_path):
    test = table(tmp_path/'test.csv', 20, seed=5)
    refused(ulmfit('evaluate', model, test, '--train', tmp_path/'nosuch.csv'), 'nosuch.csv')
    (tmp_path/'odd.csv').write_text('text,label\n"!!!",good\n"...",bad\n', encoding='utf-8')          # no word to count
    p = ulmfit('evaluate', model, test, '--train', tmp_path/'odd.csv')
    assert p.returncode == 0 and b'ULMFiT' in p.stdout and b'no baseline' in p.stdout and b'odd.csv' in p.stdout
    (tmp_path/'other.csv').write_text('text,label\n' + 'a great plot,positive\nan awful plot,negative\n'*5, encoding='utf-8')
    res = json.loads(ulmfit('evaluate', model, test, '--train', tmp_path/'other.csv', '--json').stdout)
    assert res['baseline_accuracy'] == 0. < res['accuracy']                                           # labels that the model does not know are wrong guesses

def test_settings_that_would_do_nothing_are_refused(tmp_path):
    f = table(tmp_path/'x.csv', 20)
    refused(ulmfit('train', f, '--out', tmp_path/'out', '--self-train', '100'), '--unlabelled')
    refused(ulmfit('train', f, '--out', tmp_path/'out', '--label', 'text'), 'the same column')
    assert not (tmp_path/'out').exists()

def test_a_touched_file_resumes_and_a_changed_one_is_named(tmp_path):
    from ulmfit_nb.commands import file_stamp, start_run
    f = table(tmp_path/'x.csv', 20)
    start_run(tmp_path/'out', dict(data=file_stamp(f), lr=.1))
    os.utime(f, (1, 1))                                                                  # same content, other time
    start_run(tmp_path/'out', dict(data=file_stamp(f), lr=.1), resume=True)
    table(f, 20, seed=3)
    from ulmfit_nb import InputError
    with pytest.raises(InputError, match=r'\(data\)'): start_run(tmp_path/'out', dict(data=file_stamp(f), lr=.1), resume=True)

def test_a_run_that_has_not_ended_is_no_model(tmp_path):
    (tmp_path/'out'/'run').mkdir(parents=True)
    refused(ulmfit('predict', tmp_path/'out', table(tmp_path/'x.csv', 20)), 'not ended', '--resume')
    refused(ulmfit('predict', tmp_path/'nosuch', table(tmp_path/'x.csv', 20)), 'nosuch is not a directory')

def test_odd_labels_are_pointed_at(capsys):
    from ulmfit_nb.cli import print_labels
    print_labels(['Ship']*12 + ['ship ']*12); assert 'capitals or spaces' in capsys.readouterr().out
    print_labels([str(i) for i in range(30)]); assert 'the right column' in capsys.readouterr().out
    print_labels(['a']*12 + ['nan']*12); assert "'nan' looks like a missing one" in capsys.readouterr().out
    print_labels(['a']*12 + ['b']*12); assert '?' not in capsys.readouterr().out

@pytest.mark.parametrize('classes', [[0, 1], ['0', '1'], [0., 1.], ['0.0', '1.0']])
def test_a_number_is_one_label_however_a_file_has_it(classes, tmp_path):
    "A column with a gap becomes one of floats, and keeps that when the gap is gone."
    from types import SimpleNamespace
    from ulmfit_nb.corpus import InputError
    from ulmfit_nb.evaluate import baseline_scores, labelled_for
    clf = SimpleNamespace(classes_=np.array(classes), meta_={})
    texts,said = ['dull', 'fine', 'dull'],np.array([[.9, .1], [.2, .8], [.6, .4]])
    for name,label in dict(text=str, whole=int, fraction=float, fraction_as_text=lambda l: f'{l}.0').items():
        f = tmp_path/f'{name}.jsonl'
        f.write_text(''.join(json.dumps(dict(text=t, label=label(l)))+'\n' for t,l in zip(texts, (0, 1, 0))), encoding='utf-8')
        _,y,known,cols = labelled_for(clf, SimpleNamespace(file=f, text=None, label=None))
        assert y == [classes[0], classes[1], classes[0]] and type(y[0]) is type(classes[0])
        assert baseline_scores(f, (cols['text'], cols['label']), texts, y, known, said)[0]['baseline_accuracy'] == 1.
    from ulmfit_nb.evaluate import known_label
    assert [known_label(l, ['1', '1.0', 'v2']) for l in ('1', '1.0', 'v2.0', 'v2', 1.0)] == ['1', '1.0', 'v2.0', 'v2', '1.0'] # versions, say, are what they are
    f.write_text('{"text": "so so", "label": 0.5}\n', encoding='utf-8')
    with pytest.raises(InputError, match="'0.5'"): labelled_for(clf, SimpleNamespace(file=f, text=None, label=None))

def test_labels_are_counted_before_training(tmp_path):
    t = table(tmp_path/'x.csv', 20)
    with open(t, 'a', encoding='utf-8') as f: f.write('20,The plot was great.,godo\n')
    p = ulmfit('train', t, '--out', tmp_path/'out', *'--backbone none --size micro --lm-epochs 0 --epochs 1 --bs 8'.split())
    assert p.returncode == 0 and "'good' 10" in p.stdout.decode() and "'godo' stands in one row only" in p.stdout.decode()

def test_foreign_files_are_not_replaced(texts, tmp_path):
    from ulmfit_nb import ULMFiT
    from ulmfit_nb.corpus import InputError
    clf = ULMFiT(None, size='micro', lm_epochs=0, epochs=1, progress=False).fit(*texts)
    (tmp_path/'README.md').write_text('mine', encoding='utf-8')
    with pytest.raises(InputError, match='README.md'): clf.save(tmp_path)
    assert (tmp_path/'README.md').read_text(encoding='utf-8') == 'mine' and len([*tmp_path.iterdir()]) == 1
    clf.save(tmp_path, overwrite=True); clf.save(tmp_path) # a model may replace a model
    assert 'mine' not in (tmp_path/'README.md').read_text(encoding='utf-8')

def test_labels_in_a_column_and_random_states(texts):
    from ulmfit_nb import ULMFiT
    X, y = texts
    def fit(y, seed): return ULMFiT(None, size='micro', lm_epochs=0, epochs=1, progress=False, random_state=seed).fit(X, y).predict_proba(X[:4])
    a, b = fit(np.array(y)[:, None], np.random.RandomState(3)), fit(y, np.random.RandomState(3))
    assert np.array_equal(a, b)

def test_a_wrong_data_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv('ULMFIT_DATA', str(tmp_path/'nowhere'))
    refused(ulmfit('reproduce', 'trec6', '--out', tmp_path/'out'), 'ULMFIT_DATA', 'nowhere')
    assert not (tmp_path/'out').exists()
    monkeypatch.setenv('ULMFIT_DATA', str(tmp_path))
    refused(ulmfit('reproduce', 'imdb', '--backbone', tmp_path/'nosuch', '--out', tmp_path/'out'), 'nosuch')
    assert not (tmp_path/'out').exists()

def test_an_experiment_from_a_backbone(monkeypatch, tmp_path):
    import lzma
    from ulmfit_nb.results import read_results
    rng = np.random.default_rng(0)
    (tmp_path/'data'/'trec6').mkdir(parents=True)
    for split, n in dict(train=60, test=20).items():
        rows = ({'text': review(rng, l), 'label': l} for l in ('good', 'bad')*(n//2))
        with lzma.open(tmp_path/'data'/'trec6'/f'{split}.jsonl.xz', 'wt', encoding='utf-8') as f: f.writelines(json.dumps(r) + '\n' for r in rows)
    monkeypatch.setenv('ULMFIT_DATA', str(tmp_path/'data'))
    line = ['reproduce', 'trec6', '--backbone', 'en-small', '--lm-epochs', 1, '--epochs', 1, '--out', tmp_path/'out', '--results', tmp_path/'results', '--quiet']
    assert ulmfit(*line, '--minutes', 0).returncode == 0 and read_results(tmp_path/'results') == [] # no time: nothing is computed, and the next call goes on
    p = ulmfit(*line)
    assert p.returncode == 0, p.stderr.decode()
    rows = read_results(tmp_path/'results', 'trec6')
    assert {(r['direction'], r['seed']) for r in rows} == {(d, s) for d in ('forward', 'backward', 'both') for s in range(3)}
    assert all(r['backbone'] == 'en-small' and r['n'] == 20 and 0 <= r['accuracy'] <= 1 for r in rows)

def test_a_task_whose_texts_lie_in_the_data_folder(monkeypatch, tmp_path):
    import lzma
    from ulmfit_nb.results import read_results
    rng = np.random.default_rng(0)
    (tmp_path/'data'/'ag-news').mkdir(parents=True)
    for split, n in dict(train=60, test=20).items():
        with lzma.open(tmp_path/'data'/'ag-news'/f'{split}.jsonl.xz', 'wt', encoding='utf-8') as f: f.writelines(json.dumps({'text': review(rng, l), 'label': l}) + '\n' for l in ('good', 'bad')*(n//2))
    monkeypatch.setenv('ULMFIT_DATA', str(tmp_path/'data'))
    base = '--size micro --lm-epochs 1 --epochs 1 --bs 4 --clas-bs 10 --device cpu --quiet'.split() # two batches a pass: sixteen rows follow
    for name, more in (('ag-news', ['--direction', 'forward']), ('ag-news-ablation', ['--labels', 20, '--draws', 1]), ('ag-news-lowshot', ['--labels', 20, '--draws', 1, '--variants', 'ulmfit'])):
        p = ulmfit('reproduce', name, *base, *more, '--out', tmp_path/name, '--results', tmp_path/'results')
        assert p.returncode == 0, p.stderr.decode()
        rows = read_results(tmp_path/'results', name)
        assert rows and all(r['dataset'] == 'ag-news' and r['experiment'] == name and {'lr', 'bs', 'recipe', 'drop_mult'} <= r['settings'].keys() and r['confidence'] >= .5 for r in rows), rows
    lm = {r['variant']: r['settings'] for r in read_results(tmp_path/'results', 'ag-news-ablation')}
    assert lm['LM full']['lm_schedule'] == 'constant' and lm['LM full + discr + stlr']['lm_schedule'] == 'stlr' and lm['plain LSTM LM']['lm_drop_mult'] == 0

def test_the_help_names_every_experiment():
    from ulmfit_nb.reproduce import EXPERIMENTS
    said = re.sub(r'-\n\s+', '-', ulmfit('reproduce', '--help').stdout.decode())          # a line may end inside a name
    assert {*EXPERIMENTS} <= {*said.replace(',', ' ').split()}

def test_a_folder_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    from ulmfit_nb.corpus import InputError, read_rows
    for c in ('good', 'bad'): (tmp_path/c).mkdir(); (tmp_path/c/'a.txt').write_text('x', encoding='utf-8')
    real = os.scandir
    def closed(p):
        if str(p).endswith('bad'): raise PermissionError(13, 'Permission denied', str(p))
        return real(p)
    monkeypatch.setattr(os, 'scandir', closed)
    with pytest.raises(InputError, match='bad cannot be read'): list(read_rows(tmp_path))

def test_evaluate_knows_each_label_and_shows_the_worst_errors(model, tmp_path):
    f = table(tmp_path/'test.csv', 20, seed=9)
    with open(f, 'a', encoding='utf-8') as o: o.write('20,The plot was wonderful. The cast was superb.,bad\n')
    p = ulmfit('evaluate', model, f, '--worst', 5)
    said = p.stdout.decode()
    assert re.search(r'row 21: bad \(\d+\.\d%\) taken for good \(\d+\.\d%\): The plot was wonderful\.', said) and 'F1 of TF-IDF' in said, said
    res = json.loads(ulmfit('evaluate', model, f, '--worst', 5, '--json').stdout)
    per = dict(zip(res['labels'], res['per_label']))
    assert [r['label'] for r in res['per_label']] == res['labels'] and per['bad']['n'] == 11 and per['good']['n'] == 10 and all(r['label'] != r['prediction'] for r in res['worst'])
    assert np.isclose(np.mean([r['f1'] for r in per.values()]), res['macro_f1']) and np.isclose(np.mean([r['baseline_f1'] for r in per.values()]), res['baseline_macro_f1'])
    one = tmp_path/'one.csv'
    one.write_text('text,label\nThe plot was superb.,good\n', encoding='utf-8')
    assert re.search(r'bad +0 +\S+ +– ', ulmfit('evaluate', model, one).stdout.decode())            # no text of this label: no recall

def test_many_labels_get_the_largest_confusions(capsys):
    from ulmfit_nb.evaluate import label_scores, print_labels_found, scores
    classes = [f'label {i}' for i in range(20)]
    y = classes + classes[:3]
    p = classes[1:] + classes[:1] + classes[1:4]
    print_labels_found(label_scores(y, p, classes), scores(y, p, classes)[2], classes)
    said = capsys.readouterr().out
    assert 'label 0 taken for label 1' in said and 'rows: true' not in said and '       2  label 0 taken for label 1' in said
    ours = label_scores(['a', 'a', 'b', 'x'], ['a', 'b', 'b', 'b'], ['a', 'b', 'c'])                # x is no label of the model, c does not occur
    assert ours == [dict(label='a', n=2, precision=1., recall=.5, f1=pytest.approx(2/3)), dict(label='b', n=1, precision=pytest.approx(1/3), recall=1., f1=.5), dict(label='c', n=0, precision=None, recall=None, f1=None)]

def test_hints_that_fit_the_case(model, tmp_path):
    def said(name, text, *more):
        (tmp_path/name).write_text(text)
        p = ulmfit('train', tmp_path/name, *more, '--out', tmp_path/'out')
        assert p.returncode == 2 and p.stderr.count(b'\n') == 1 and not (tmp_path/'out').exists(), p.stderr
        return p.stderr.decode()
    assert 'if | stands between them' in said('bars.csv', 'id|text|label\n1|good|a\n')
    good = table(tmp_path/'good.csv', 12)
    p = ulmfit('train', good, '--unlabelled', tmp_path/'bars.csv', '--out', tmp_path/'out')
    assert p.returncode == 2 and b"read by the name that --text gives: rename that column" in p.stderr and b'ame another' not in p.stderr
    (tmp_path/'flat').mkdir(); (tmp_path/'flat'/'a.txt').write_text('a text'); (tmp_path/'flat'/'b.txt').write_text('a text')
    refused(ulmfit('train', tmp_path/'flat', '--out', tmp_path/'out'), 'no sub-folders', 'for each class')
    refused(ulmfit('import-fastai', good, good, '--out', tmp_path/'out'), 'is not a pickle')
    p = ulmfit()
    assert p.returncode == 2 and b'calibrate' in p.stderr # which commands there are

def test_remarks_about_the_data_are_no_progress(tmp_path):
    rows = table(tmp_path/'good.csv', 12).read_text().splitlines(True)
    (tmp_path/'twice.csv').write_text(''.join(rows + rows[1:2]))
    few = ('--backbone', 'none', '--size', '12,20,2', '--lm-epochs', 0, '--epochs', 1, '--quiet', '--device', 'cpu')
    p, q = (ulmfit('train', tmp_path/name, *few, '--out', tmp_path/f'm-{name}') for name in ('good.csv', 'twice.csv'))
    assert p.returncode == q.returncode == 0 and p.stdout == p.stderr == q.stdout == b'' and b'1 row repeats the text of another row' in q.stderr

def test_no_advice_from_figures_that_say_nothing(model):
    p = ulmfit('evaluate', model, model.parent/'train.csv')
    assert b'was trained on' in p.stdout and b'Counting words is ahead' not in p.stdout

def test_explain_names_words_and_writes_a_page(model, tmp_path):
    f = table(tmp_path/'new.csv', 14, seed=5)
    page = tmp_path/'why.html'
    p = ulmfit('explain', model, f, '--html', page, '--words', 3)
    assert p.returncode == 0 and p.stdout.decode().count('\n') == 10, p.stderr.decode()             # ten rows at most, unless asked
    assert page.read_text(encoding='utf-8').count('<hr>') == 9 and b'more than these 10 texts: --rows' in p.stderr
    data = f.read_bytes()
    refused(ulmfit('explain', model, f, '--html', f, '--overwrite'), 'what the texts are read from')
    assert f.read_bytes() == data
    for line, words in ((('explain', model, f, '--html', page), 'exists'), (('explain', model, f, '--html', tmp_path/'no'/'x.html'), 'no directory'),
        (('explain', model, f, '--label', 'middling'), "no label 'middling'"), (('explain', model, tmp_path/'nosuch.csv'), 'nosuch.csv')): refused(ulmfit(*line), words)
    p = ulmfit('explain', model, '--label', 'bad', '--html', page, '--overwrite', stdin=b'<script>alert(1)</script> superb\n')
    assert p.stdout.decode().startswith('row 1: bad ') and p.stdout.decode().count('\n') == 1
    assert '<script>' not in page.read_text(encoding='utf-8') and '&lt;' in page.read_text(encoding='utf-8')
    assert ulmfit('explain', model, stdin=b'\n').returncode == 0                                     # a text without words
    refused(ulmfit('explain', model, stdin=b''), 'no rows')

def test_texts_that_come_twice_are_pointed_at(capsys):
    from ulmfit_nb.cli import print_texts
    print_texts(['a plot', 'b plot', ' a plot'], ['good', 'bad', 'bad']); said = capsys.readouterr().out
    assert '1 rows' not in said and 'several labels' in said and "'a plot'" in said, said
    print_texts(['a', 'b'], [1, 0]); assert capsys.readouterr().out == ''
    print_texts(['17', '4.5', '映画'], [1, 0, 1]); said = capsys.readouterr().out
    assert "2 of 3 different texts hold no letter, such as '17'" in said and 'right column' in said
    print_texts(['17', 'a', '映画'], [1, 0, 1]); assert capsys.readouterr().out == ''
    print_texts(['', ' ', 'b'], [1, 0, 1]); assert '2 of the 3 texts are blank' in (said := capsys.readouterr().out) and 'repeat' not in said

def test_options_that_a_backbone_makes_idle_are_refused(tmp_path):
    f = table(tmp_path/'x.csv', 20)
    for o in (('--size', 'base'), ('--kind', 'bpe')): refused(ulmfit('train', f, '--out', tmp_path/'out', *o), o[0], '--backbone none')
    assert not (tmp_path/'out').exists()

def test_a_table_that_an_option_has_swallowed(tmp_path):
    p = ulmfit('train', '--out', tmp_path/'out', '--unlabelled', tmp_path/'more.txt', tmp_path/'x.csv')
    assert p.returncode == 2 and '--unlabelled: takes all words' in p.stderr.decode().replace('\n', ' '), p.stderr
    p = ulmfit('train', 'f.csv')
    assert p.returncode == 2 and '--out' in p.stderr.decode() and '--unlabelled' not in p.stderr.decode(), p.stderr

# ---- other machines, other people's bytes -----------------------------------------------------------------------

@pytest.mark.parametrize('data', [b'a'*200_000, b'loading 1%\rdone\nsecond\n', b'['*100_000], ids=['long', 'carriage return', 'brackets'])
def test_any_first_line_on_standard_input_is_a_text(data, model):
    p = ulmfit('predict', model, stdin=data)
    assert p.returncode == 0 and p.stdout.startswith(b'text,prediction'), p.stderr[-300:]

def test_predictions_are_utf8_wherever_it_runs(model, tmp_path):
    (tmp_path/'new.csv').write_text('text\n“lovely”\n', encoding='utf-8')
    p = subprocess.run([sys.executable, '-c', CODE, 'predict', model, tmp_path/'new.csv'], capture_output=True, env=os.environ | dict(OMP_NUM_THREADS='1', PYTHONIOENCODING='latin-1'))
    assert p.returncode == 0 and '“lovely”' in p.stdout.decode('utf-8'), p.stderr

def test_half_a_character_is_shown_and_not_fatal(model, tmp_path):
    (tmp_path/'cut.jsonl').write_text(''.join(f'{{"text": "a lovely \\ud83d plot", "label": "{l}"}}\n' for l in ('good', 'bad'))) # one of them is wrong
    for args in (['explain', model, tmp_path/'cut.jsonl'], ['evaluate', model, tmp_path/'cut.jsonl', '--worst', 2]):
        p = ulmfit(*args)
        assert p.returncode == 0 and b'\\ud83d' in p.stdout, p.stderr

def test_a_profile_leaves_nothing(tmp_path):
    files = table(tmp_path/'t.csv', 200)
    args = ['pretrain', files, '--out', tmp_path/'b', '--size', 'micro', '--bptt', 10, '--vocab-size', 100]
    assert ulmfit(*args, '--bs', 2, '--profile').returncode == 0 and not (tmp_path/'b').exists()
    refused(ulmfit(*args, '--bs', 200, '--profile'), 'needs 12')
    assert ulmfit('pretrain', files, '--out', tmp_path/'b', '--init', 'en-small', '--bptt', 10, '--bs', 2, '--profile').returncode == 0
    assert not (tmp_path/'b').exists()

def test_what_a_backbone_would_ignore_is_refused(tmp_path):
    files = table(tmp_path/'t.csv')
    for more in (['--worst', 2], ['--label', 'label'], ['--train', files]): refused(ulmfit('evaluate', 'en-small', files, *more), more[0], 'does nothing')
    for more in (['--size', 'micro'], ['--kind', 'bpe'], ['--vocab-size', 100], ['--min-count', 1], ['--vocab-texts', 5], ['--skip'], ['--cutoffs', 10]): refused(ulmfit('pretrain', files, '--init', 'en-small', *more, '--out', tmp_path/'b'), more[0], 'does nothing')
    refused(ulmfit('evaluate', 'en-small', files, '--device', 'cuda:99'), 'no device')
    assert not (tmp_path/'b').exists()

# ---- folders, cards, several processes --------------------------------------------------------------------------

def class_folder(d, good='good'):
    rng = np.random.default_rng(0)
    for l, name in (('good', good), ('bad', 'bad')):
        (d/name).mkdir(parents=True)
        for i in range(20): (d/name/f'{i}.txt').write_text(review(rng, l), encoding='utf-8')
    return d

def test_a_folder_is_known_by_its_files_and_its_classes(tmp_path):
    from ulmfit_nb.commands import file_stamp, stamp_of
    from ulmfit_nb.corpus import InputError
    a = class_folder(tmp_path/'a')
    was = stamp_of(a)
    a.rename(tmp_path/'b')
    assert stamp_of(tmp_path/'b') == was                    # whatever the folder is called
    (tmp_path/'b'/'good').rename(tmp_path/'b'/'positive')
    assert stamp_of(tmp_path/'b') != was                    # other labels
    links = tmp_path/'links'; links.mkdir()
    for c in ('positive', 'bad'): (links/c).symlink_to(tmp_path/'b'/c, target_is_directory=True)
    assert len(file_stamp(links)) == 40 and stamp_of(links) == stamp_of(tmp_path/'b')
    (links/'bad'/'loop').symlink_to(links, target_is_directory=True)
    with pytest.raises(InputError, match='met twice'): file_stamp(links) # as for whoever reads it

def test_the_settings_of_a_run_are_never_seen_half_written(tmp_path, monkeypatch):
    from ulmfit_nb.commands import start_run
    start_run(tmp_path, dict(a=1))
    write = Path.write_text
    def half(self, text, *args, **kw):
        write(self, text[:3], *args, **kw)
        raise KeyboardInterrupt                             # killed while it wrote
    with monkeypatch.context() as m:
        m.setattr(Path, 'write_text', half)
        with pytest.raises(KeyboardInterrupt): start_run(tmp_path, dict(a=1), resume=True)
    start_run(tmp_path, dict(a=1), resume=True)

def test_a_card_counts_each_second_once_and_blank_documents_are_not_held_out(tmp_path):
    rng = np.random.default_rng(0)
    with open(tmp_path/'t.jsonl', 'w', encoding='utf-8') as f: f.writelines(json.dumps(dict(text='' if i % 3 else review(rng, 'good'))) + '\n' for i in range(60))
    for seed in range(4):
        p = ulmfit('pretrain', tmp_path/'t.jsonl', '--out', tmp_path/f'b{seed}', *'--size micro --min-count 1 --bs 2 --bptt 10 --epochs 3 --quiet --device cpu'.split(), '--seed', seed)
        assert p.returncode == 0, p.stderr.decode()
    rows = list(csv.DictReader(open(tmp_path/'b0'/'history.csv')))
    assert len(rows) == 3 and abs(json.loads((tmp_path/'b0'/'config.json').read_text())['meta']['seconds']-float(rows[-1]['seconds'])) <= .2
    (tmp_path/'one.jsonl').write_text('{"text": "one text of some words"}\n{"text": ""}\n', encoding='utf-8')
    refused(ulmfit('pretrain', tmp_path/'one.jsonl', '--out', tmp_path/'o'), 'one document only that holds text')

def test_macro_f1_is_the_mean_over_the_labels_of_the_file():
    from ulmfit_nb.evaluate import scores
    y, classes = ['a', 'a', 'b'], ['a', 'b', 'c']
    assert scores(y, ['a', 'a', 'b'], classes)[1] == 1 and np.isclose(scores(y, ['a', 'c', 'b'], classes)[1], (2/3+1)/2)

def test_marks_are_quoted_where_words_are_listed(model, tmp_path):
    (tmp_path/'t.txt').write_text('The plot, great , the cast dull ! !\n', encoding='utf-8')
    out = ulmfit('explain', model, tmp_path/'t.txt').stdout.decode()
    assert out.count('\n') == 1 and "',' " in out and 'great ' in out
    from ulmfit_nb.interpretation import _shown
    assert (_shown('\n'), _shown(','), _shown('\ngood'), _shown("don't")) == ("'\\n'", "','", 'good', "don't")

def test_a_second_round_that_cannot_be_is_named(texts, capsys):
    from ulmfit_nb import ULMFiT
    X, y = texts[:2]
    ULMFiT(**FAST | dict(progress=True), self_train=5).fit(X, y, unlabelled=[f'a fine plot {i}' for i in range(2*len(X))])
    assert 'takes 5 at most' in capsys.readouterr().out
    ULMFiT(**FAST | dict(progress=True), self_train=5000).fit(X, y, unlabelled=['a fine plot', X[0]])
    assert 'there are 1, beside 1 that have a label' in capsys.readouterr().out

@pytest.mark.parametrize('error', [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), RuntimeError('DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.'),
    RuntimeError('MPS backend out of memory (MPS allocated: 9 GB)'), RuntimeError('CUDA error: out of memory'), OSError(errno.ENOMEM, 'Cannot allocate memory'), 'gpu'])
def test_a_full_memory_gets_its_sentence(error, model, tmp_path, monkeypatch, capsys):
    import torch
    from ulmfit_nb.classifier import Predictor
    from ulmfit_nb.cli import main
    def full(*a, **k): raise torch.OutOfMemoryError('CUDA out of memory') if error == 'gpu' else error
    monkeypatch.setattr(Predictor, 'probs', full)
    (tmp_path/'t.txt').write_text('a text\n')
    with pytest.raises(SystemExit) as e: main(['predict', str(model), str(tmp_path/'t.txt')])
    err = capsys.readouterr().err
    assert e.value.code == 1 and 'the memory is full' in err and '--device cpu' in err and 'Traceback' not in err

def test_what_wants_less_memory_begins_anew():
    from argparse import Namespace
    import ulmfit_nb.cli # registers them
    from ulmfit_nb.commands import less_memory, parse
    assert not less_memory(Namespace(command='predict'))
    for words,known in (('train x.csv --out m', '--lm-bs'), ('pretrain x.txt --out b', 'a smaller --bs and --overwrite'), ('reproduce trec6', 'in another --out')): assert known in less_memory(parse(words.split()))

def test_a_missing_device_is_named_before_anything_is_read(tmp_path):
    (tmp_path/'t.txt').write_text('a text\n')
    for words in (('pretrain', tmp_path/'t.txt', '--out', tmp_path/'b'), ('reproduce', 'trec6', '--out', tmp_path/'rr')): refused(ulmfit(*words, '--device', 'cuda:99'), 'cuda:99')
    assert [f.name for f in tmp_path.iterdir()] == ['t.txt']

def test_plain_text_has_no_labels_and_a_wrong_option_gets_one_line(tmp_path):
    (tmp_path/'t.txt').write_text('a text\n')
    refused(ulmfit('train', tmp_path/'t.txt', '--out', tmp_path/'m'), 'texts without labels', 'sub-folder')
    p = ulmfit('train', tmp_path/'t.txt', '--device', 'tpu', '--out', tmp_path/'m')
    assert p.returncode == 2 and p.stderr.count(b'\n') == 1 and b'--help' in p.stderr

def test_closed_standard_input_and_control_characters(tmp_path, capsys, monkeypatch):
    from ulmfit_nb.commands import fail, read_stdin
    from ulmfit_nb.corpus import InputError
    monkeypatch.setattr(sys, 'stdin', None)
    with pytest.raises(InputError, match='standard input is closed'): read_stdin()
    fail('a \x1b[2J column', 2)
    assert capsys.readouterr().err == 'ulmfit: a \\x1b[2J column\n'

def test_a_link_is_written_through(tmp_path):
    from ulmfit_nb.runtime import atomic
    (tmp_path/'there').write_text('old'); (tmp_path/'link').symlink_to(tmp_path/'there')
    with atomic(tmp_path/'link') as tmp: tmp.write_text('new')
    assert (tmp_path/'link').is_symlink() and (tmp_path/'there').read_text() == 'new'

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_settings_of_generating_reach_it(monkeypatch):
    import ulmfit_nb.language_model as lm
    import ulmfit_nb.storage as storage
    monkeypatch.setattr(storage, 'load_backbone', lambda name: (name, 'tok'))
    monkeypatch.setattr(lm, 'generate', lambda *args: repr(args))
    p = ulmfit('generate', 'bb', 'The', '-n', 7, '--temperature', .5, '--top-k', 3, '--top-p', .6, '--seed', 9)
    assert p.stdout.decode() == "('bb', 'tok', 'The', 7, 0.5, 3, 0.6, 9)\n"
    assert ulmfit('generate', 'bb', 'The').stdout.decode() == "('bb', 'tok', 'The', 50, 0.8, 0, 0.9, None)\n"

def test_texts_until_so_many_tokens():
    from ulmfit_nb.pretraining import limited
    docs = [[1]*3]*5
    assert [len([*limited(docs, n)]) for n in (None, 1, 3, 4, 6, 99)] == [5, 1, 1, 2, 2, 5]

def test_settings_of_pretraining_reach_it(tmp_path, monkeypatch):
    from types import SimpleNamespace
    import ulmfit_nb.language_model as lm
    (tmp_path/'t.txt').write_text('\n'.join(['the film was good', 'a dull plot']*20))
    asked,kept,clock = [],[],iter(range(0, 10**6, 60))
    def pretrain(train, valid, size, *args, **kw): asked.append((args, kw)); return SimpleNamespace(done=True, model=None, history=[], seconds=1., settings=dict(n=len(asked)))
    monkeypatch.setattr(lm, 'pretrain', pretrain)
    monkeypatch.setattr('ulmfit_nb.storage.save_backbone', lambda *args, **kw: kept.append((*args, kw['training'])))
    monkeypatch.setattr('ulmfit_nb.pretraining.time', SimpleNamespace(monotonic=lambda: next(clock)))
    p = ulmfit('pretrain', tmp_path/'t.txt', '--out', tmp_path/'bb', *'--size micro --direction both --drop-mult .25 --epochs 3 --lr .01 --seed 4 --skip --cutoffs 12 --bs 5 --bptt 9 --bits 8 --minutes 9 --quiet --device cpu'.split())
    assert p.returncode == 0, p.stderr.decode()
    for args,_ in asked: assert args[:4] == (.25, 3., .01, 4) and args[5:] == (True, (12,), None)
    assert [[kw[k] for k in ('bs', 'bptt', 'backward', 'minutes', 'progress')] for _,kw in asked] == [[5, 9, False, 9., False], [5, 9, True, 8., False]]
    assert [args[4:] for args in kept] == [(8, dict(forward=dict(n=1), backward=dict(n=2)))]

def test_a_vocabulary_of_the_first_texts_and_texts_that_are_held_out(tmp_path):
    from types import SimpleNamespace
    from ulmfit_nb.pretraining import prepare
    (tmp_path/'t.txt').write_text('\n'.join(f'{"early"*(i < 50)} text number{chr(97+i//10)}{chr(97+i%10)} late' for i in range(100)))
    a = SimpleNamespace(files=[tmp_path/'t.txt'], text='text', init=None, vocab_texts=50, kind=None, vocab_size=200, min_count=1, cutoffs=[], max_tokens=None, seed=0)
    tok,train,valid = prepare(a, tmp_path)
    assert 'early' in tok.vocab and sum(w in tok.vocab for w in ('numberea', 'numberfa', 'numberjj')) == 1
    assert (len(train), len(valid)) == (98, 2) and not {*train.idxs} & {*valid.idxs}

def test_settings_of_training_reach_it(tmp_path, monkeypatch):
    import ulmfit_nb.sharing as sharing
    asked,real = {},sharing.ULMFiT
    class Spy(real):
        def check(self): asked.update(self.get_params()); return self
        def fit(self, texts, labels, extra, *args): asked.update(extra=extra); raise sharing.InputError('enough')
    monkeypatch.setattr(sharing, 'ULMFiT', Spy)
    (tmp_path/'u.txt').write_text('one more\nand more\n')
    given = dict(lm_epochs=2., lm_lr=.01, lm_bs=5, epochs=3, lr=.02, bs=7, recipe='full', self_train=4, class_weight='balanced', n_jobs=2, precision='float32', direction='both', size='micro', kind='bpe', vocab_size=300)
    p = ulmfit('train', table(tmp_path/'t.csv', 10), '--out', tmp_path/'m', '--backbone', 'none', '--unlabelled', tmp_path/'u.txt', '--seed', 6, *(w for k,v in given.items() for w in ('--'+k.replace('_', '-'), v)))
    assert b'enough' in p.stderr and {k: asked[k] for k in given} == given, p.stderr.decode()
    assert (asked['random_state'], asked['backbone'], asked['extra']) == (6, None, ['one more', 'and more'])

def test_precision_reaches_the_prediction_and_blank_texts_are_told(model, tmp_path, monkeypatch):
    from ulmfit_nb.classifier import Predictor
    seen = []
    def probs(self, texts, precision): seen.append(precision); return np.tile([.25, .75], (len(texts), 1))
    monkeypatch.setattr(Predictor, 'probs', probs)
    (tmp_path/'t.txt').write_text('fine\n\n<br />\n')
    p = ulmfit('predict', model, tmp_path/'t.txt', '--precision', 'bf16')
    assert seen == ['bf16'] and b'2 of the 3 texts are blank' in p.stderr and p.stdout.count(b',good,0.7500\n') == 3

def test_texts_of_unknown_words_are_told(model, tmp_path):
    (tmp_path/'t.txt').write_text('the plot was dull\nqwe rtz uio\nплохой фильм\n', encoding='utf-8')
    p = ulmfit('predict', model, tmp_path/'t.txt', '--out', tmp_path/'o.csv')
    assert b'2 of the 3 texts are mostly words that the model does not know' in p.stderr and p.stderr.decode().endswith(f'{tmp_path/"o.csv"}: 3 rows\n')

def test_a_file_that_was_not_written_is_not_counted(model, tmp_path):
    (tmp_path/'t.csv').write_text('text,prediction\nfine,x\n')
    refused(ulmfit('predict', model, tmp_path/'t.csv', '--out', tmp_path/'o.csv'), 'already')

@pytest.mark.parametrize('first', ['Text', 'TEXT', '"Text"', ' text '])
def test_a_column_but_for_capitals_is_no_text_without_a_word(first, model):
    p = ulmfit('predict', model, stdin=f'{first}\nthe plot was dull\n'.encode())
    assert p.returncode == 0 and b'is read as a text a line' in p.stderr

def test_rows_are_counted_as_in_the_file(tmp_path):
    (tmp_path/'t.jsonl').write_text('{"text": "fine", "label": 1.0}\n{"text": "dull", "label": 2.5}\n')
    p = ulmfit('train', tmp_path/'t.jsonl', '--out', tmp_path/'model', *TRAIN)
    assert p.returncode == 2 and b'row 2 has the label 2.5' in p.stderr and b'counted from' not in p.stderr

def test_an_option_with_a_slip_is_named(tmp_path):
    p = ulmfit('train', table(tmp_path/'t.csv', 4), '--out', tmp_path/'model', '--unlabeled', 'more.csv')
    assert p.returncode == 2 and p.stderr.count(b'\n') == 1 and b'--unlabeled more.csv: did you mean --unlabelled?' in p.stderr

def test_settings_of_explaining_reach_it(model, tmp_path, monkeypatch):
    import ulmfit_nb.interpretation as I
    seen,real = [],I.attribute
    def attribute(clf, text, label, method): seen.append((text, label, method)); return real(clf, text, label, 'grad_x_input')
    monkeypatch.setattr(I, 'attribute', attribute)
    (tmp_path/'t.txt').write_text('fine plot\ndull plot\ngood cast\n')
    p = ulmfit('explain', model, tmp_path/'t.txt', '--rows', 2, '--label', 'bad', '--method', 'occlusion')
    assert seen == [('fine plot', 'bad', 'occlusion'), ('dull plot', 'bad', 'occlusion')] and b'more than these 2' in p.stderr
    assert b'more than' not in ulmfit('explain', model, tmp_path/'t.txt', '--rows', 3).stderr

@pytest.mark.parametrize('more,way', [((), 'forward'), (('--direction', 'backward'), 'backward')])
def test_a_backbone_is_measured_in_its_direction(more, way, tmp_path, monkeypatch):
    import ulmfit_nb.language_model as lm
    import ulmfit_nb.storage as storage
    class Model:
        def to(self, device): return self
    seen = []
    monkeypatch.setattr(storage, 'find_backbone', lambda name: tmp_path)
    monkeypatch.setattr(storage, 'model_kind', lambda path: 'language model')
    monkeypatch.setattr(storage, 'load_backbone', lambda name, direction: seen.append(direction) or (Model(), None))
    monkeypatch.setattr(lm, 'lm_scores', lambda model, tok, texts, backward: seen.append(backward) or dict(perplexity=9.))
    assert json.loads(ulmfit('evaluate', 'bb', tmp_path/'t.txt', '--json', *more).stdout) == dict(perplexity=9.) and seen == [way, way == 'backward']

def test_parts_of_a_data_set_and_its_star(monkeypatch):
    import ulmfit_nb.cli as cli
    monkeypatch.setattr(cli, 'get_data', lambda name, split: [f'{name}/{split}'])
    assert ulmfit('data', 'get', 'imdb', '--split', 'test').stdout == b'imdb/test\n' and ulmfit('data', 'get', 'imdb').stdout == b'imdb/train\nimdb/test\n'
    monkeypatch.setattr(cli, 'list_data', lambda: [dict(name=n, about='x', fetched=n == 'ours') for n in ('ours', 'other')])
    assert [l.split()[:2] for l in ulmfit('data', 'list').stdout.decode().splitlines()[:2]] == [['ours', 'x'], ['other', '*']]

# ---- small things that were not as they should be ---------------------------------------------------------------

@pytest.mark.parametrize('words,what', [(('--lm-epochs', 0, '--lm-bs', 7), '--lm-bs does nothing'), (('--n-jobs', 2, '--direction', 'forward'), 'leave out --n-jobs'),
    (('--backbone', 'en-small', '--lm-epochs', 0, '--self-train', 0, '--unlabelled', 'u.csv'), '--unlabelled does nothing')])
def test_options_of_train_that_would_do_nothing(words, what, tmp_path):
    refused(ulmfit('train', table(tmp_path/'t.csv', 10), '--out', tmp_path/'m', *words), what)
    assert not (tmp_path/'m').exists()

def test_a_backbone_is_not_replaced_by_its_own_classifier(tmp_path):
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.storage import model_kind, save_backbone
    from ulmfit_nb.tokenization import Tokenizer
    tok = Tokenizer.train(['a text of some words']*3, vocab_size=60, min_count=1)
    save_backbone(tmp_path/'bb', dict(forward=LanguageModel(AWDLSTM(tok.vocab_size, (12, 20, 2)))), tok)
    refused(ulmfit('train', table(tmp_path/'t.csv', 10), '--backbone', tmp_path/'bb', '--out', tmp_path/'bb', '--overwrite'), 'is the backbone itself')
    assert model_kind(tmp_path/'bb') == 'language model'

def test_a_backbone_of_the_hub_keeps_its_name(tmp_path, monkeypatch):
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.storage import save_backbone
    from ulmfit_nb.tokenization import Tokenizer
    tok = Tokenizer.train(['a text of some words']*3, vocab_size=60, min_count=1)
    save_backbone(tmp_path/'bb', dict(forward=LanguageModel(AWDLSTM(tok.vocab_size, (12, 20, 2)))), tok)
    monkeypatch.setattr('ulmfit_nb.sharing.fetch_model', lambda name, revision=None, **kw: tmp_path/'bb')
    p = ulmfit('train', table(tmp_path/'t.csv', 20), '--backbone', 'some/backbone', '--out', tmp_path/'m', '--epochs', 1, '--lm-epochs', 1, '--quiet')
    assert p.returncode == 0 and json.loads((tmp_path/'m'/'config.json').read_text())['params']['backbone'] == 'some/backbone', p.stderr.decode()

def test_a_reader_who_leaves_when_all_is_written():
    "The work is done, so nothing is said of work that stopped."
    code = "from ulmfit_nb import cli\nfrom ulmfit_nb.commands import COMMANDS\ndef cmd(a):\n    a.finished = True\n    raise BrokenPipeError\nCOMMANDS['train'] = cmd, COMMANDS['train'][1]\ncli.main()"
    p = process('train', 'x.csv', '--out', 'o', code=code)
    assert (p.returncode, p.stderr) == (0, b'')

def test_a_run_goes_on_from_another_folder(tmp_path, monkeypatch):
    texts = tmp_path/'a.txt'
    texts.write_text('the plot was great and the cast was fine\n'*60)
    (tmp_path/'sub').mkdir()
    monkeypatch.chdir(tmp_path/'sub')
    line = '--size micro --vocab-size 200 --bs 2 --quiet --device cpu'.split()
    assert ulmfit('pretrain', '../a.txt', '--out', '../p', '--minutes', 0, *line).returncode == 0
    monkeypatch.chdir(tmp_path)
    p = ulmfit('pretrain', 'a.txt', '--out', 'p', '--resume', '--minutes', 0, *line)
    assert p.returncode == 0, p.stderr.decode()
    texts.write_text('another text\n'*60)
    refused(ulmfit('pretrain', 'a.txt', '--out', 'p', '--resume', *line), 'other settings or files')

@pytest.mark.parametrize('first', ['commands', 'evaluate', 'pretraining', 'cli'])
def test_commands_stand_in_one_order_whichever_module_is_first(first):
    p = process('--help', code=f'import ulmfit_nb.{first}\nfrom ulmfit_nb.cli import main; main()')
    assert re.findall(r'^    (\S+)', p.stdout.decode(), re.M) == 'train predict evaluate calibrate explain pretrain generate reproduce import-fastai export-fastai data demo'.split()

def test_what_a_killed_cleaning_leaves_is_known_as_ours(tmp_path, monkeypatch):
    from ulmfit_nb import commands
    run = commands.start_run(tmp_path/'o', dict(a=1))
    (run/'corpus').mkdir(); (run/'corpus'/'ids.bin').write_bytes(b'1'); (run/'last.pt').write_bytes(b'1')
    gone = []
    monkeypatch.setattr(commands.shutil, 'rmtree', lambda p, **kw: gone.append(Path(p).name))
    commands.drop(run)
    assert gone == ['corpus', 'run'] and [f.name for f in run.iterdir() if f.is_file()] == ['settings.json'] # what comes last is what tells whose it is
    monkeypatch.undo()
    commands.drop(run)
    assert not (tmp_path/'o').exists()
    (tmp_path/'q'/'run').mkdir(parents=True); (tmp_path/'q'/'run'/'.settings.json.1a.2.tmp').touch() # killed before its first name
    assert commands.start_run(tmp_path/'q', dict(a=1), overwrite=True)

def test_lists_of_jsonl_are_json_again_and_a_dash_is_standard_output(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'a.jsonl').write_text('{"text": "a great plot", "tags": ["ä", null], "more": {"k": 1}}\n', encoding='utf-8')
    p = ulmfit('predict', model, 'a.jsonl', '--out', '-')
    row = next(csv.DictReader(io.StringIO(p.stdout.decode())))
    assert json.loads(row['tags']) == ['ä', None] and json.loads(row['more']) == {'k': 1} and not (tmp_path/'-').exists()

def test_a_data_set_that_an_option_has_taken():
    refused(ulmfit('data', 'get', '--split', 'train', 'imdb'), "--split has taken 'imdb'")
    refused(ulmfit('data', 'list', 'imdb'), 'ulmfit data get imdb')

def test_generated_text_cannot_steer_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr('ulmfit_nb.storage.load_backbone', lambda *a: (None, None))
    monkeypatch.setattr('ulmfit_nb.language_model.generate', lambda *a: 'one\x1b[31m\ntwo')
    out = ulmfit('generate', 'b', 'x').stdout
    assert b'\x1b' not in out and out.count(b'\n') == 2 and b'two' in out

@pytest.mark.parametrize('changed', [dict(params=[]), dict(params='abc'), dict(in_force=[1])])
def test_a_config_with_parts_of_another_kind(changed, model, tmp_path):
    from ulmfit_nb import ULMFiT
    from ulmfit_nb.corpus import InputError
    shutil.copytree(model, tmp_path/'m')
    f = tmp_path/'m'/'config.json'
    config = json.loads(f.read_text())
    f.write_text(json.dumps(config | changed))
    with pytest.raises(InputError, match=min(changed)): ULMFiT.load(tmp_path/'m')
    f.write_text(json.dumps(config | dict(in_force=dict(x=1), params=config['params'] | dict(device='cpu'), meta=config['meta'] | dict(columns=dict(text=['a'])))))
    clf = ULMFiT.load(tmp_path/'m')
    clf.save(tmp_path/'again')
    assert ulmfit('predict', tmp_path/'m', table(tmp_path/'n.csv', 4)).returncode == 0

def test_idle_options_and_places_of_reproduce(tmp_path):
    (tmp_path/'rows').write_text('')
    refused(ulmfit('reproduce', 'trec6', '--size', 'micro', '--results', tmp_path/'rows', '--out', tmp_path/'o'), 'name another folder')
    refused(ulmfit('reproduce', 'trec6', '--size', 'micro', '--backbone', 'en-small', '--out', tmp_path/'o'), '--size does nothing')
    for given in (('--lr', 5), ('--recipe', 'last'), ('--epochs', 3), ('--clas-bs', 4)): refused(ulmfit('reproduce', 'wikitext2', *given, '--out', tmp_path/'o'), f'no use for {given[0]}')
    assert not (tmp_path/'o').exists()

def test_time_that_is_up_is_said_under_quiet_too(tmp_path, monkeypatch):
    monkeypatch.setattr('ulmfit_nb.reproduce.reproduce', lambda *a: False)
    p = ulmfit('reproduce', 'trec6', '--size', 'micro', '--quiet', '--out', tmp_path/'o')
    assert p.returncode == 0 and b'time is up' in p.stderr and p.stdout == b''

# ---- which texts the model was trained on -----------------------------------------------------------------------

def test_texts_of_a_training_file_that_is_named(model, tmp_path):
    "Counting words that is fitted on the tested texts gets no advice to be used."
    test = table(tmp_path/'test.csv', 20, seed=5)
    both = tmp_path/'both.csv'
    both.write_text((model.parent/'train.csv').read_text(encoding='utf-8') + ''.join(test.read_text(encoding='utf-8').splitlines(True)[1:]), encoding='utf-8')
    seen = [json.loads(ulmfit('evaluate', model, test, '--json', *more).stdout)['seen'] for more in ([], ['--train', model.parent/'train.csv'], ['--train', both], ['--train', test])]
    assert seen[0] == seen[1] < 20 and seen[2:] == [20, 20]
    p = ulmfit('evaluate', model, test, '--train', both)
    assert b'These are the texts that the model was trained on' in p.stdout and b'ounting words is ahead' not in p.stdout

def test_where_the_training_file_is_gone_that_is_said(model, tmp_path):
    shutil.copytree(model, tmp_path/'m')
    f = tmp_path/'m'/'config.json'
    config = json.loads(f.read_text())
    config['meta']['data'] = str(tmp_path/'gone.csv'); f.write_text(json.dumps(config))
    test = table(tmp_path/'test.csv', 40, seed=5)
    for command in 'evaluate','calibrate':
        assert b'could not be looked up' in ulmfit(command, tmp_path/'m', test).stdout
        assert b'could not be looked up' not in ulmfit(command, model if command == 'evaluate' else shutil.copytree(model, tmp_path/'again'), test).stdout

@pytest.mark.parametrize('name', ['o.csv.gz', 'o.parquet', 'o.TSV', 'o.xlsx', 'o.jsonl'])
def test_predictions_are_plain_csv(name, model, tmp_path):
    refused(ulmfit('predict', model, table(tmp_path/'new.csv', 4), '--out', tmp_path/name), 'plain CSV', 'name a .csv file')
    assert not (tmp_path/name).exists()

def test_the_module_is_the_command(tmp_path):
    p = subprocess.run([sys.executable, '-m', 'ulmfit_nb.cli', 'train', 'nothing', '--out', 'o'], capture_output=True, cwd=tmp_path)
    refused(p, 'nothing')

@pytest.mark.parametrize('words, says', [(['trian', 'x.csv'], "there is no command 'trian': did you mean train? `ulmfit --help` lists all"), (['xyzzy'], "there is no command 'xyzzy': `ulmfit --help` lists all")], ids=['near', 'far'])
def test_a_mistyped_command_gets_one_sentence(words, says, capsys):
    from ulmfit_nb.cli import main
    with pytest.raises(SystemExit) as e: main(words)
    assert e.value.code == 2 and capsys.readouterr().err == f'ulmfit: {says}\n'

@pytest.mark.parametrize('options, names', [((), '--text'), (('--text', 'a', '--label', 'c'), '--label')], ids=['text', 'label'])
def test_the_option_of_a_missing_column_is_named(options, names, tmp_path, capsys):
    from ulmfit_nb.cli import main
    (tmp_path/'t.csv').write_text('a,b\nx,y\n', encoding='utf-8')
    with pytest.raises(SystemExit) as e: main(['train', str(tmp_path/'t.csv'), '--out', str(tmp_path/'o'), *options])
    assert e.value.code == 2 and capsys.readouterr().err.endswith(f'; name another with {names}\n') and not (tmp_path/'o').exists()

def test_every_command_says_that_a_run_has_not_ended(tmp_path, capsys):
    from ulmfit_nb.cli import main
    (tmp_path/'m'/'run').mkdir(parents=True); (tmp_path/'t.csv').write_text('text,label\nx,y\n', encoding='utf-8')
    for words in (['predict'], ['evaluate'], ['calibrate'], ['explain'], ['generate']):
        with pytest.raises(SystemExit) as e: main([*words, str(tmp_path/'m'), str(tmp_path/'t.csv')])
        assert e.value.code == 2 and 'holds no config.json but a run that has not ended: go on with it by --resume' in capsys.readouterr().err, words
