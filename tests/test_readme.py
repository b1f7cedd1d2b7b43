"The commands and the Python of README.md and GUIDE.md, as they stand there, on small files."
import json, lzma, re, shlex
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ulmfit_nb.cli import main
from ulmfit_nb.commands import parse

pytestmark = pytest.mark.usefixtures('one_thread')

ROOT = Path(__file__).resolve().parent.parent
README = '\n'.join((ROOT/f).read_text(encoding='utf-8') for f in ('README.md', 'GUIDE.md'))
def blocks(language): return re.findall(rf'^```{language}\n(.*?)^```$', README, re.M | re.S)
def commands(): return [l for b in blocks('sh') for l in b.splitlines() if l.startswith('ulmfit ')]

def reviews(n, seed=0):
    "Made-up reviews and what they are."
    rng,words = np.random.default_rng(seed),dict(good='great lovely superb fine'.split(), bad='awful dull poor weak'.split())
    return [(f'The {rng.choice(["plot", "cast", "music", "ending"])} was {rng.choice(words[l])}, {"and so" if i%3 else "like"} was number {i}.', l) for i in range(n) for l in (('good', 'bad')[i%2],)]

def written(path, rows, head='review,sentiment'):
    path.write_text(head + '\n' + ''.join(','.join(f'"{c}"' for c in r[:head.count(',')+1])+'\n' for r in rows), encoding='utf-8')

@pytest.fixture
def desk(tmp_path, monkeypatch):
    "A folder with the files that README's commands name."
    for name,n,head in (('reviews', 24, 'review,sentiment'), ('more', 30, 'review'), ('new', 3, 'review'), ('test', 20, 'review,sentiment'), ('kept', 24, 'review,sentiment')): written(tmp_path/f'{name}.csv', reviews(n, seed=len(name)), head)
    (tmp_path/'texts.txt').write_text('\n'.join(t for t,_ in reviews(40, 5)), encoding='utf-8')
    words = [a+b+c for a in 'bdfgklmnprst' for b in 'a e i o u ai ei oo ua ie'.split() for c in map(''.join, product('bdfgklmnpr', 'aeiouy'))]
    with lzma.open(tmp_path/'articles.jsonl.xz', 'wt') as f: f.writelines(json.dumps(dict(text=' '.join(w+e for w in words[i::20] for e in ('', 's'))+'.'))+'\n' for i in range(20) for _ in range(3)) # more words than --cutoffs 8000
    monkeypatch.chdir(tmp_path)
    return tmp_path

def test_there_is_something_to_run():
    assert len(blocks('python')) == 3 and len(commands()) == 11, 'README.md and GUIDE.md have other blocks than this file knows'

def test_every_command_is_one(): # its words and options exist
    for c in commands(): assert parse(shlex.split(c)[1:]).run

def test_commands_that_make_the_recorded_rows(): # in the table of chapter 13b
    from ulmfit_nb.reproduce import EXPERIMENTS
    cells = json.loads((ROOT/'nbs/13b_reproduce.ipynb').read_text(encoding='utf-8'))['cells']
    found = re.findall(r'\| `((?:reproduce|demo)\b[^`]*)`', '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown'))
    assert len(found) > 15
    for c in map(shlex.split, found):
        assert parse(c).run
        assert c[0] == 'demo' or c[1] in EXPERIMENTS, c
    outs = [c[c.index('--out')+1] for c in map(shlex.split, found) if '--out' in c]
    assert len({*outs}) == len(outs) == len(found)-1 # a folder each, as the text says

def test_labelled_texts_on_the_command_line(desk, capsys):
    for c in commands()[:5]: main(shlex.split(c, comments=True)[1:])
    out = capsys.readouterr().out
    assert 'TF-IDF + LR' in out and 'mean of both' in out and 'row 1: ' in out and 'Temperature' in out
    assert (desk/'labelled.csv').read_text().startswith('review,prediction,confidence\n') and '<html' in (desk/'why.html').read_text()

def test_backbones_on_the_command_line(desk, capsys):
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.sharing import export_fastai
    from ulmfit_nb.tokenization import Tokenizer
    train,theirs,write,perplexity,_,listed = commands()[5:11]
    main(shlex.split(train)[1:])
    assert json.loads((desk/'backbone/config.json').read_text())['directions'] == ['forward', 'backward']
    for c in (write, perplexity, listed): main(shlex.split(c)[1:])
    out = capsys.readouterr().out
    assert 'The film' in out and 'perplexity' in out and 'wikitext-2' in out
    tok = Tokenizer.train([t for t,_ in reviews(40)], kind='word', min_count=1, n_workers=1)
    export_fastai(LanguageModel(AWDLSTM(tok.vocab_size, (12, 20, 2))), tok, desk, 'lstm_fwd')
    main(shlex.split(theirs)[1:])
    assert json.loads((desk/'fastai-backbone/config.json').read_text())['directions'] == ['forward']

def test_the_demo_in_small(tmp_path, capsys):
    "With fewer texts: every line that README promises, none of the figures."
    main(['demo', '--labels', '5', '--unlabelled', '100', '--out', str(tmp_path/'d')])
    out = capsys.readouterr().out
    scores = dict(re.findall(r'^    (ULMFiT|LSTM from scratch|TF-IDF \+ logistic regression) +([\d.]+)%$', out, re.M))
    assert len(scores) == 3 and all(0 < float(s) < 100 for s in scores.values())
    assert (tmp_path/'d/model/config.json').exists() and '35 labelled texts' in out

def test_one_file_is_split(desk):
    import pandas as pd
    rows = reviews(60) + [(t, '') for t,_ in reviews(30, 1)]
    written(desk/'all.csv', rows + rows[:5])
    split, = (b for b in blocks('python') if 'all.csv' in b)
    exec(split, {})
    parts = {n: pd.read_csv(desk/f'{n}.csv') for n in ('reviews', 'kept', 'test', 'more')}
    assert [len(parts[n]) for n in ('reviews', 'kept', 'test')] == [48, 6, 6] and parts['more'].sentiment.isna().all() and len(parts['more']) >= 20
    seen = pd.concat(parts.values()).review
    assert seen.is_unique and {*seen} == {t for t,_ in rows} and {*parts['test'].sentiment} == {'good', 'bad'}

def test_python(desk, monkeypatch):
    "With fewer passes than it takes."
    for f,n in dict(lm_passes=.3, clas_passes=1, second_passes=1).items(): monkeypatch.setattr(f'ulmfit_nb.ulmfit.{f}', lambda *_, n=n: n)
    from ulmfit_nb import ULMFiT
    (texts,labels),(kept_texts,kept_labels) = zip(*reviews(24)),zip(*reviews(24, 1))
    names = dict(texts=list(texts), labels=list(labels), more_texts=[t for t,_ in reviews(30, 2)], kept_texts=[t + ' Indeed.' for t in kept_texts], kept_labels=list(kept_labels), new=[t for t,_ in reviews(3, 3)])
    for b in blocks('python'):
        if 'all.csv' not in b: exec(b, names)
    assert isinstance(names['clf'], ULMFiT) and (desk/'my-model/config.json').exists() and (desk/'run/fit.json').exists()
    assert names['both'].shape == (3, 2)
