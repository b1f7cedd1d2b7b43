"The benchmarks: the side-by-side one (who runs where, what a row holds, what the table says), the scripts' commands, the splits that others learn from. No timings."
import json, lzma, os, re, runpy, subprocess, sys
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

import ulmfit_nb
from ulmfit_nb import cli, pretraining
from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_nb.commands import parse
from ulmfit_nb.corpus import InputError
from ulmfit_nb.lab import Lab, Task
from ulmfit_nb.results import full_table, lowshot_table, ran_on, read_results, short_rows, short_table, summary
from ulmfit_nb.scaling import brief_table, compare_rows, compare_table
from ulmfit_nb.storage import save_backbone
from ulmfit_nb.tokenization import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/'benchmarks'))
import choose_stage3, compare, compare_ours, confidence, en_small, en_small_choice, hypercolumns, run

def side(seconds, work=10, **facts):
    return dict(facts=dict(work=work, **facts), rounds=[dict(seconds=s) for s in seconds], end=dict(peak_gb=1.))

RATE = dict(float32=100., bfloat16=200., bytes=50.)

@pytest.mark.parametrize('has', [False, True])
def test_kinds_of_a_row(has, monkeypatch):
    monkeypatch.setattr(compare, 'cpu_has_bf16', lambda: has)
    assert compare.kinds('train-60k') == ['float32', *['bf16']*has, 'adaptive'] and compare.kinds('train-60k', gpu=True) == ['bf16', 'adaptive']
    assert compare.kinds('classifier') == ['float32', *['bf16']*has] and compare.kinds('classifier', gpu=True) == ['bf16', 'side-by-side']
    assert compare.kinds('predict') == ['float32', *['bf16']*has, 'int8']
    assert compare.kinds('tokenizing', True) == ['float32'] and compare.kinds('cold', True) == ['float32']
    assert compare.kinds('tokenizing', asked=['bf16', 'int8']) == [] and compare.kinds('predict', asked=['bf16', 'adaptive', 'int8']) == ['bf16', 'int8']
    assert compare.kinds('one-text', True, ['int8']) == []
    assert all(set(compare.kinds(r)) <= set(compare.ALLOWED.get(r, ('float32',))) for r in compare.ROWS)

def test_a_row_is_summed_up():
    r = compare.summed('train-30k', 'tokens/s', 'float32', side([2., 1., 4.], flops=100.), side([4., 4., 2.], work=5), RATE)
    assert (r['ours'], r['fastai'], r['ratio']) == (5., 1.25, 4.) and r['ratios'] == [1., 4., 8.] and r['rounds'] == 3 and r['peak_gb'] == [1., 1.]
    assert r['floor_share'] == .5 and r['seconds'][0] == [2., 4.]
    alone = compare.summed('train-30k', 'tokens/s', 'float32', side([2.]), None, RATE)
    assert alone['fastai'] is None and alone['ratio'] is None and alone['ratios'] == [] and alone['floor_share'] is None
    assert '2.00' in compare.shown(r | dict(ours=2.)) and compare.shown(alone)

def test_the_floor():
    assert compare.floor_share(dict(flops=100.), 2., RATE, 'float32') == .5
    assert compare.floor_share(dict(flops=100.), 2., RATE, 'bf16') == .25 and compare.floor_share(dict(flops=100., bf16=True), 2., RATE, 'adaptive') == .25
    assert compare.floor_share(dict(flops=100., bytes=50.), 4., RATE, 'int8') == .5
    assert compare.floor_share({}, 1., RATE, 'float32') is None

def test_a_cold_start_is_measured_by_the_import_of_torch():
    ours = side([4., 4.], work=1)
    for r in ours['rounds']: r['torch_seconds'] = 3.
    r = compare.summed('cold', 's', 'float32', ours, side([8., 8.], work=1), RATE)
    assert (r['ours'], r['fastai'], r['ratio'], r['floor_share'], r['more']) == (4., 8., 2., .75, dict(torch_seconds=3.))

def test_one_command_fills_the_gpu_rows(monkeypatch):
    monkeypatch.delenv('ULMFIT_FASTAI_PYTHON', raising=False)
    assert run.gpu_command(3)[1:] == [str(Path(run.__file__).with_name('compare.py')), '--gpu', '--rounds', '3', '--alone']
    monkeypatch.setenv('ULMFIT_FASTAI_PYTHON', 'python')
    assert '--alone' not in run.gpu_command(3)
    a = compare.arguments(run.gpu_command(3)[2:])
    assert a.gpu and a.rounds == 3 and a.rows == list(compare.ROWS)
    for bad in (['--rows', 'nothing'], ['--ours', 'int4']):
        with pytest.raises(SystemExit): compare.arguments(bad)

def test_an_adaptive_token_pays_for_fewer_rows():
    docs = [np.array([5, 1999, 2000, 9999, 10000])]
    assert compare_ours.softmax_rows(docs, 30000, 'float32') == 30000
    assert compare_ours.softmax_rows(docs, 30000, 'adaptive') == pytest.approx(2002 + 8000*2/5 + 20000/5)
    assert compare_ours.recurrent() == 4*(1152*1152*2 + 400*400)

def record(folder, name, **row):
    (folder/'compare').mkdir(exist_ok=True)
    (folder/'compare'/f'{name}.json').write_text(json.dumps(row))

def test_the_table_comes_from_the_files(tmp_path):
    assert compare_rows(tmp_path) == [] and compare_rows(tmp_path/'absent') == []
    common = dict(kind='float32', unit='texts/s', hardware='a CPU', rounds=5, device='cpu', torch='2', commit='c')
    record(tmp_path, 'a', row='one-text', ours=2., fastai=1., ratio=2., ratios=[1.5, 2.5], peak_gb=[.5, 1.], floor_share=.25, **common)
    record(tmp_path, 'b', row='tokenizing', ours=2000., fastai=250., ratio=8., ratios=[7., 9.], peak_gb=[.5, 1.], floor_share=None, **common | dict(unit='MB/s'))
    record(tmp_path, 'c', row='baseline', ours=3., fastai=None, ratio=None, ratios=[], peak_gb=[.5], floor_share=None, **common)
    record(tmp_path, 'd', row='predict', ours=3., fastai=None, ratio=None, ratios=[], peak_gb=[.5], floor_share=.1, **common | dict(device='cuda', hardware='a GPU'))
    record(tmp_path, 'cpu-loss', check='loss', losses={})
    rows = compare_rows(tmp_path)
    assert [r['row'] for r in rows] == ['tokenizing', 'one-text', 'baseline', 'predict']
    text = compare_table(rows, dict(tokenizing=8, **{'one-text': 3}))
    lines = text.splitlines()
    assert 'yes' in next(l for l in lines if l.startswith('| tokenizing')) and '8.0 (7.0–9.0)' in text and '2,000' in text
    assert 'no' in next(l for l in lines if l.startswith('| one text')) and '25 %' in text
    assert lines[0].startswith('| work') and 'a CPU' in text and 'a GPU' in text
    assert all(l.count('|') == lines[0].count('|') for l in lines if l.startswith('|'))

def test_recorded_rows_make_a_table():
    rows = compare_rows(Path(__file__).resolve().parent.parent/'results')
    assert len(rows) >= 5 and all(r['device'] in ('cpu', 'cuda') for r in rows)
    assert compare_table(rows).count('\n') > len(rows)

def test_the_readme_shows_the_recorded_comparison():
    root = Path(__file__).resolve().parent.parent
    table = brief_table(rows := compare_rows(root/'results'))
    shown = [''.join(o['data']['text/markdown']) for c in json.loads((root/'nbs'/'12_scaling.ipynb').read_text(encoding='utf-8'))['cells'] for o in c.get('outputs', ()) if 'text/markdown' in o.get('data', {})]
    assert table in shown and compare_table(rows) in shown # by chapter 12, as stored
    said = [l.split('|')[1:4] for l in table.splitlines() if re.search(r'\| \d+\.\d \(', l)]
    def work(w): return re.sub(r' \[\d\]', '', w).strip().replace('step, ', 'step with ').replace(', new', ' in a new').removesuffix(', warm')
    at = {(work(w), '[3]' in w): t.split()[0] for w,_,t in said}
    def ratios(gpu, *works): return ' to '.join(sorted(at[w, gpu] for w in works))
    steps = 'LM step with 30,000 words', 'LM step with 60,000 words'
    asked = {work(l.split('|')[1]): m[1] for l in table.splitlines() if '[1]' in l and (m := re.search(r'float32 (\d+\.\d)', l))}
    assert asked[steps[0]] == asked[steps[1]] # so one number says both
    said = f"""a CPU tokenizes {ratios(False, 'tokenizing')} times as fast, trains the language model {ratios(False, *steps)} times, trains the classifier {ratios(False, 'classifier epoch')} times and predicts {ratios(False, 'prediction from text')} times as fast; an H200 trains the two {ratios(True, *steps)} and {ratios(True, 'classifier epoch')} times as fast. Training is in bfloat16 here and in float32 there; in float32 a CPU trains the two {asked[steps[0]]} and {asked['classifier epoch']} times as fast ([chapter 12](nbs/12_scaling.ipynb))."""
    assert said in (root/'README.md').read_text(encoding='utf-8')
    assert f"a single text is answered {ratios(False, 'one text')} times as fast on a CPU, in a new process {ratios(False, 'one text in a new process')} times." in (root/'GUIDE.md').read_text(encoding='utf-8')

def shot(variant, direction, labels, seed, accuracy): return dict(variant=variant, direction=direction, labels=labels, seed=seed, n=50, accuracy=accuracy, baseline_accuracy=.5+seed/10)

def test_the_table_of_few_labels():
    rows = [shot('ulmfit', 'both', 10, 0, .6), shot('ulmfit', 'both', 10, 1, .8), shot('ulmfit', 'forward', 10, 0, .9), shot('ulmfit', 'both', 20, 0, .7)]
    lines = lowshot_table(rows).splitlines()
    assert [l.count('|') for l in lines] == [4]*5 and '10 labels' in lines[0] and '20 labels' in lines[0]
    assert lines[2] == '| TF-IDF + logistic regression | 55.0 % ± 7.1 (2) | 50.0 % (1) |' # a draw counts once, however many roads started from it
    assert lines[3] == '| ulmfit, forward | 90.0 % (1) | – |' and lines[4] == '| ulmfit, both | 70.0 % ± 14.1 (2) | 70.0 % (1) |'

def test_the_readme_shows_the_recorded_runs():
    root = Path(__file__).resolve().parent.parent
    rows = read_results(root/'results')
    assert {r['backbone'] for r in rows if r['experiment'] == 'imdb-lowshot'} == {'en-small', 'en-base'}
    assert short_table(rows) + '\n\n' in (root/'README.md').read_text(encoding='utf-8')
    guide = (root/'GUIDE.md').read_text(encoding='utf-8')
    assert full_table(rows) + '\n\n' in guide and f'These rows: {ran_on([r for *_,rs in short_rows(rows) for r in rs])}\n' in guide

def test_the_readme_shows_the_figure_of_chapter_13():
    root = Path(__file__).resolve().parent.parent
    figure = runpy.run_path(str(root/'benchmarks'/'readme_figure.py'))
    assert figure['FILE'].relative_to(root).as_posix() in (root/'README.md').read_text(encoding='utf-8')
    assert figure['FILE'].read_bytes() == figure['stored'](), 'chapter 13 has another figure now: run python benchmarks/readme_figure.py'

def test_chapter_13_stores_the_tables_of_these_results():
    root = Path(__file__).resolve().parent.parent
    cells = [(''.join(c['source']), [''.join(o['data']['text/markdown']) for o in c.get('outputs', ()) if 'text/markdown' in o.get('data', {})]) for c in json.loads((root/'nbs'/'13_results.ipynb').read_text(encoding='utf-8'))['cells']]
    shown,names = [o for _,os in cells for o in os],dict(np=np, read_results=read_results, summary=summary, results=root/'results')
    exec(next(s for s,_ in cells if 'def tables(' in s), names)
    for table in (short_table(read_results(root/'results')), full_table(read_results(root/'results')), '\n\n'.join(names['tables'](names['recorded']))): assert table in shown, 'chapter 13 stores a table of other results: run it again'

def test_the_short_table():
    row = dict(experiment='trec6', protocol='inductive', variant='ulmfit', direction='both', backbone='en-small', labels=5000, unlabelled=0, baseline_accuracy=.5, minutes=3., hardware='a CPU')
    other = row | dict(experiment='imdb', backbone='en-base', hardware='NVIDIA H', accuracy=.9)
    rows = [row | dict(accuracy=.8), row | dict(accuracy=.9), other, row | dict(direction='forward', accuracy=.1), row | dict(experiment='else', accuracy=.2), row | dict(protocol='transductive', accuracy=1.)]
    lines = full_table(rows).splitlines()
    assert len(lines) == 4 and len({l.count('|') for l in lines}) == 1
    assert lines[2].startswith('| film') and lines[2].endswith('| 50.0 % | – | – | **90.0 %** (+40.0) | 95.4 % |')
    assert lines[3].endswith('| 5,000 | 50.0 % | **85.0 %** (+30.0, +40.0) | – | – | 96.4 % |')
    brief = short_table(rows).splitlines()
    assert len(brief) == 4 and len({l.count('|') for l in brief}) == 1
    assert brief[2] == '| film reviews (IMDb) | 5,000 | 50.0 % | – | 90.0 % | 95.4 % |' and brief[3].endswith('| 5,000 | 50.0 % | 85.0 % | – | 96.4 % |')
    rows = [row | dict(accuracy=a) for a in (.4, .5, .45)] + [row | dict(accuracy=.9, unlabelled=7), row | dict(accuracy=.7, unlabelled=40000, baseline_accuracy=.4)]
    behind = full_table(rows).splitlines()
    assert len(behind) == 3 and '| **45.0 %** (−10.0 to +0.0); **90.0 %** (+40.0) | **70.0 %** (+30.0) |' in behind[2] # rows of another stage 2 are not averaged
    assert short_table(rows).splitlines()[2].endswith('| 5,000 | 40.0 % | 70.0 % | – | 96.4 % |') # what read most, beside its own baseline

def test_few_labels_in_the_short_table():
    row = dict(experiment='imdb-lowshot', protocol='inductive', variant='ulmfit', direction='both', backbone='en-small', unlabelled=0, baseline_accuracy=.5, accuracy=.6, minutes=3., hardware='a CPU')
    rows = [row | dict(labels=n) for n in (20, 100, 1000)] + [row | dict(labels=100, variant='self-training', accuracy=.7), row | dict(labels=1000, backbone='en-base', direction='forward', accuracy=.9, baseline_accuracy=.4)]
    assert [l.split(' | ', 1)[1] for l in short_table(rows).splitlines()[2:]] == ['100 | 50.0 % | 70.0 % | – | – |', '1,000 | 50.0 % | 60.0 % | 90.0 % | – |']
    assert full_table(rows).count('\n') == 4

def test_the_brief_table():
    def r(kind, ratio, row='train-30k', device='cpu'): return dict(row=row, kind=kind, unit='tokens/s', ours=9., fastai=3., ratio=ratio, ratios=[1., 9.], device=device, hardware='a CPU')
    lines = brief_table([r('float32', 1.), r('bf16', 2.), r('adaptive', 3.), r('float32', 4., 'predict'), r('int8', 5., 'predict'), r('bf16', 6., 'predict', 'cuda'), r('float32', None, 'baseline') | dict(fastai=None, ratios=None)]).splitlines()
    assert [l.split('|')[3:5] for l in lines[2:5]] == [[' 2.0 (1.0–9.0) ', ' float32 1.0, adaptive 3.0 '], [' 4.0 (1.0–9.0) ', ' int8 5.0 '], [' – ', ' bf16 6.0 ']]
    assert not any('TF-IDF' in l for l in lines) # nothing to compare it with

def test_the_readme_says_how_long_the_chapters_run():
    root = Path(__file__).resolve().parent.parent
    record = json.loads((root/'results'/'course'/'cpu.json').read_text(encoding='utf-8'))
    rows = dict(re.findall(r'^\| \[[^\]]+\]\(nbs/(\w+)\.ipynb\) \|.*\| (\d+) s \|$', (root/'README.md').read_text(encoding='utf-8'), re.M))
    assert {*rows} == {*record['seconds']} == {f.stem for f in (root/'nbs').glob('[0-9]*.ipynb')}
    assert all(int(rows[k]) == round(s) for k, s in record['seconds'].items())
    assert record['hardware'].split(' (')[0] in (root/'README.md').read_text(encoding='utf-8')

# ---- the commands of the scripts

def shell(script, tmp_path, ulmfit='', **env): # result, commands of `ulmfit` as lists of words
    "Runs a script with stand-ins for `ulmfit`, which notes its words, and for `python`."
    for name,text in dict(ulmfit=f'printf "%s\\n" "$(printf "%s\\t" "$@")" >> {tmp_path/"calls"}\n{ulmfit}', python='').items():
        (tmp_path/'bin').mkdir(exist_ok=True); (tmp_path/'bin'/name).write_text(f'#!/usr/bin/env bash\n{text}\n'); (tmp_path/'bin'/name).chmod(0o755)
    for f in ('enwiki/train-0.jsonl.xz', 'enwiki/train-1.jsonl.xz', 'enwiki/train-2.jsonl.xz', 'enwiki/train-3.jsonl.xz', 'out/data/train.csv', 'out/data/unlabelled.csv'):
        (tmp_path/f).parent.mkdir(parents=True, exist_ok=True); (tmp_path/f).write_text('text,label\ngood,a\nbad,b\n' if f.endswith('csv') else '')
    env = os.environ | dict(PATH=f'{tmp_path/"bin"}{os.pathsep}{os.environ["PATH"]}', ULMFIT_DATA=str(tmp_path), OUT=str(tmp_path/'out')) | env
    p = subprocess.run(['bash', Path(run.__file__).with_name(script)], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return p,[l.split('\t')[:-1] for l in (tmp_path/'calls').read_text().splitlines()]

class Begun(Exception): "Nothing was refused, and now something would be written."

def goes(words, monkeypatch):
    "Is a command accepted, as far as can be told before it writes anything?"
    def begin(*_): raise Begun
    for module in (cli, pretraining): monkeypatch.setattr(module, 'start_run', begin)
    a = parse(words)
    if a.command not in ('train', 'pretrain'): return True
    with ExitStack() as a.held, pytest.raises(Begun): a.run(a)
    return True

def test_the_commands_of_the_imdb_run_are_accepted(tmp_path, monkeypatch):
    p,calls = shell('imdb_run.sh', tmp_path)
    assert p.returncode == 0, p.stderr
    assert [c[0] for c in calls] == ['pretrain', 'train', 'train', 'train', 'evaluate', 'evaluate', 'evaluate']
    (tmp_path/'out'/'backbone').symlink_to(Path(ulmfit_nb.__file__).parent/'backbones'/'en-small') # that of the first step
    assert all(goes(c, monkeypatch) for c in calls)
    assert [parse(c).backbone for c in calls[1:4]] == ['none', str(tmp_path/'out'/'backbone'), 'none']

@pytest.mark.parametrize('init', ['', 'en-small'])
def test_the_commands_that_build_the_backbone_are_accepted(tmp_path, monkeypatch, init):
    (tmp_path/'out'/'forward'/'run').mkdir(parents=True) # was interrupted
    p,calls = shell('en_small.sh', tmp_path, INIT=init, MINUTES='9')
    assert p.returncode == 0 and 'time is up' in p.stdout, p.stderr
    asked = {a.direction: a for a in map(parse, calls)}
    assert {*asked} == {'forward', 'backward'} and asked['forward'].resume and not asked['backward'].resume and all(goes(c, monkeypatch) for c in calls)
    assert all((a.init or '', a.skip, len(a.files), a.minutes) == (init, not init, 4, 9) for a in asked.values())

@pytest.mark.parametrize('fails,other', [('forward', 'backward'), ('backward', 'forward')])
def test_where_a_direction_fails_the_other_is_stopped(tmp_path, fails, other):
    ulmfit = f'echo "$PPID of $*"; case "$*" in *"--direction {fails}"*) until [ -e {tmp_path/"runs"} ]; do sleep .02; done; exit 3;; esac; trap "touch {tmp_path/"stopped"}; exit" TERM; touch {tmp_path/"runs"}; for i in $(seq 500); do sleep .02; done'
    p,_ = shell('en_small.sh', tmp_path, ulmfit)
    assert p.returncode == 1 and (tmp_path/'stopped').exists()
    assert f'--direction {fails}' in p.stdout and f'--direction {other}' in p.stdout # the ends of both logs

def test_scoring_leaves_the_weights_alone(tmp_path, monkeypatch):
    tok = Tokenizer.train(['An article . It is good .'], min_count=1)
    data,to = tmp_path/'data',tmp_path/'bb'
    save_backbone(to, {d: LanguageModel(AWDLSTM(tok.vocab_size, 'micro')) for d in ('forward', 'backward')}, tok, [], 8, tokens=9, files=['a'], epochs=1., minutes=dict(forward=1., backward=2.), hardware='h', torch='t', commit='c')
    for name,text in {'enwiki/valid.jsonl.xz': json.dumps(dict(text='An article .'))+'\n', 'wikitext-2/wiki.test.tokens.xz': ' = A film = \n It is good . \n'}.items():
        (data/name).parent.mkdir(parents=True); (data/name).write_bytes(lzma.compress(text.encode()))
    monkeypatch.setenv('ULMFIT_DATA', str(data))
    def files(): return {f.name: (f.stat().st_ino, f.stat().st_mtime_ns, f.read_bytes()) for f in to.iterdir()}
    was = files()
    en_small.score(to, 'make', results=tmp_path/'results')
    now = files()
    assert {k for k in {*was, *now} if was.get(k) != now.get(k)} == {'README.md'} # other jobs are reading the rest
    assert now['README.md'][2].count(b'| forward |') == 2 and b'ULMFiT backbone' in now['README.md'][2] and b'1 minutes forward, 2 minutes backward' in now['README.md'][2]
    assert json.loads((tmp_path/'results'/'backbones'/'bb.json').read_text())['enwiki backward']['n'] == 1

# ---- what is held out is not learned from

def twins(n=4000): # every text three times: labelled with blanks around it, labelled, and without a label
    return Task('imdb', [(f'{" "*(i%2)}film {i//2}\n', 'ab'[i//2%2]) for i in range(n)], [('test', 'a')], [f'film {i}' for i in range(n)])

def apart(held, *learned):
    "Is there something held out, and something to learn from in which none of it stands?"
    def bare(rows): return {(r if isinstance(r, str) else r[0]).strip() for r in rows}
    return len(held) > 0 and all(len(rows) > 0 and not bare(held) & bare(rows) for rows in learned)

def test_the_recipes_are_judged_by_reviews_without_a_twin():
    rows = twins(100).train
    held,used = choose_stage3.split(rows, 30, seed=3)
    assert len(held) == 20 and 40 <= len(used) < 80 and apart([rows[i] for i in held], [rows[i] for i in used])
    assert choose_stage3.split(rows, 10, 7)[1].shape == (7,)

def test_hypercolumns_are_judged_by_reviews_without_a_twin(monkeypatch):
    monkeypatch.setattr(hypercolumns, 'load_task', lambda name: twins())
    draw_of,held,more,n = hypercolumns.imdb_texts(Namespace(labels=500, unlabelled=900))
    assert len(held[0]) == 2000 and n == len(more) == 900 and apart(held[0], draw_of(0)[0], more)

def test_small_backbones_are_judged_by_reviews_without_a_twin():
    held,rest,more = en_small_choice.split(twins(100), 30, 40)
    assert len(held) == 30 and len(more) == 40 and apart(held, rest, more)

def test_confidence_is_judged_by_reviews_without_a_twin(tmp_path, monkeypatch):
    monkeypatch.setattr(confidence, 'load_task', lambda name, limit: twins(100))
    monkeypatch.setattr(Lab, 'texts', lambda lab, task: (None, task.more))
    task,read,_,corpus,common = confidence.held_out_reviews(Lab(tmp_path, unlabelled=60), 'confidence', None)
    assert len(task.test) == common['n'] == 10 and len(corpus) == common['unlabelled'] == 60 and apart(task.test, task.train, task.more, read.more)

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_a_changed_checkout_is_marked(tmp_path, monkeypatch):
    from ulmfit_nb import results as R
    def git(*args): subprocess.run(['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b.c', *args], check=True, capture_output=True)
    f = tmp_path/'results.py'
    f.write_text('one')
    monkeypatch.setattr(R, '__file__', str(f))
    git('init')
    assert R.commit() is None
    git('add', '.'); git('commit', '-m', 'one')
    sha = R.commit()
    assert re.fullmatch('[0-9a-f]{12}', sha)
    f.write_text('two')
    assert R.commit() == sha + '+'

def test_an_aim_for_a_device_goes_before_that_for_the_work():
    r = dict(row='predict', kind='bf16', unit='texts/s', hardware='x', ours=3., fastai=1., ratio=3., ratios=[3., 3.], floor_share=None, peak_gb=[1.])
    lines = compare_table([r | dict(device=d) for d in ('cpu', 'cuda')], {'predict': 4, ('cuda', 'predict'): 2}).splitlines()
    assert [[c.strip() for c in l.split('|')[7:9]] for l in lines[2:4]] == [['4', 'no'], ['2', 'yes']]

def test_weight_drop_goes_on_where_it_stopped(tmp_path, monkeypatch):
    import weight_drop as W
    lines = [' the cat sat on the mat \n', ' a dog ran \n']*40
    monkeypatch.setattr(W, 'wikitext2_lines', lambda split, folder: lines)
    few = ['--json', str(tmp_path/'w.json'), '--tokens', '200', '--valid-tokens', '80', '--passes', '2', '--size', '8', '12', '1', '--bs', '2', '--threads', str(torch.get_num_threads())]
    vocab,train,valid = W.corpora(200, 80)
    assert {'the', '<eos>', 'dog'} < {*vocab} and train.n_tokens == 200 and valid.n_tokens == 80
    W.main([*few, '--drops', '0', '--seeds', '1'])
    first = json.loads((tmp_path/'w.json').read_text())['rows']
    W.main([*few, '--drops', '0', '.5', '--seeds', '1'])
    rows = json.loads((tmp_path/'w.json').read_text())['rows']
    assert rows[:1] == first and [r['weight_drop'] for r in rows] == [0, .5] and all(len(r['valid']) == len(r['train']) == 2 for r in rows)
    with pytest.raises(InputError, match='other settings'): W.main([*few, '--lr', '.1'])
    with pytest.raises(InputError, match='ask for no more'): W.first('valid', 10**6)
