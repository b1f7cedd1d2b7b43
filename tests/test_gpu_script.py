"The conductor of the GPU's jobs, with stand-ins for them: who starts when, what a failure takes with it, and that nothing is left running."
import json, lzma, os, signal, subprocess, sys, time
from argparse import Namespace
from pathlib import Path

import psutil
import pytest

import ulmfit_nb
from ulmfit_nb.corpus import InputError
from ulmfit_nb.lab import Lab, Task
from ulmfit_nb.processes import only_one

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/'benchmarks'))
import gpu
from gpu import Job

def sh(name, script='', *after, weight=1): return Job(name, ['bash', '-c', script], after, weight)
def args(out, **kw): return Namespace(**dict(out=out, minutes=1., at_once=4, rehearse=True, no_mps=True, overlap=False) | kw)

def conduct(monkeypatch, a, jobs, spent=0.): # exit status, seconds
    "The real conductor; `spent` of its seconds are behind it."
    monkeypatch.setattr(gpu, 'jobs', lambda a: jobs)
    begun = time.monotonic()
    return gpu.conduct(a, begun-spent), time.monotonic()-begun

def gone(file, seconds=1.):
    "Has the process whose number stands in the file ended?"
    by = time.monotonic()+seconds
    while time.monotonic() < by:
        try:
            if psutil.Process(int(file.read_text())).status() == psutil.STATUS_ZOMBIE: return True # nobody has asked for its status yet
        except psutil.NoSuchProcess: return True
        time.sleep(.02)
    return False

def done(out): return sorted(f.name for f in (out/'done').iterdir())
def number(file): return f'echo $$ > {file}.part; mv {file}.part {file}; ' # whole or not at all
def until(file): return f'until [ -e {file} ]; do sleep .02; done; '

@pytest.fixture
def conductor(tmp_path):
    "Room for four units of work; what it has started ends with the test."
    for d in ('log', 'done'): (tmp_path/d).mkdir()
    made = []
    def make(*jobs, room=4): made.append(c := gpu.Conductor(jobs, tmp_path, room, dict(os.environ), time.monotonic())); return c
    yield make
    for c in made: c.end(0)

def test_a_failure_takes_with_it_what_needs_it_and_no_time(tmp_path, monkeypatch, capsys):
    jobs = [sh('first', 'exit 3'), sh('second', '', 'first'), sh('third', '', 'second', 'other'), sh('fourth', '', 'third'), sh('other'), sh('later', '', 'other')]
    status,seconds = conduct(monkeypatch, args(tmp_path), jobs)
    said = capsys.readouterr().out
    assert status == 1 and done(tmp_path) == ['later', 'other'] and seconds < 45 # of sixty: it did not wait for the end
    assert said.count('cannot start') == 3 and 'third cannot start: it needs second' in said and 'first.log' in said
    (tmp_path/'done'/'first').touch()
    assert conduct(monkeypatch, args(tmp_path), jobs)[0] == 0 and len(done(tmp_path)) == 6 # the same command goes on

def test_jobs_save_when_time_is_up(tmp_path, monkeypatch, capsys):
    saves,halves = (sh(n, f'trap "sleep .4; echo saved > {tmp_path/n}; exit {s}" TERM; touch {tmp_path/"go"}-{n}; for i in $(seq 200); do sleep .05; done') for n,s in (('saves', 0), ('halves', 130)))
    status,_ = conduct(monkeypatch, args(tmp_path), [saves, halves, sh('waits', '', 'halves')], spent=53.)
    assert (tmp_path/'saves').read_text() == (tmp_path/'halves').read_text() == 'saved\n'
    assert done(tmp_path) == ['saves'] and status == 0
    assert 'not done: waits, halves;' in capsys.readouterr().out

def test_what_does_not_stop_is_killed_with_all_it_started(tmp_path, conductor):
    c = conductor(sh('deaf', f'trap "" TERM; sleep 60 & echo $! > {tmp_path/"child"}; {number(tmp_path/"pid")}wait'), sh('broken', 'exit 1'))
    c.begin()
    while not (tmp_path/'pid').exists() or c.running['broken'][1].poll() is None: time.sleep(.02)
    c.end(.2)
    assert gone(tmp_path/'pid') and gone(tmp_path/'child') and not c.running
    assert c.failed == {'broken'} and [j.name for j in c.todo] == ['deaf'] # to be stopped is no failure

@pytest.mark.parametrize('how', ['SIGTERM', 'SIGINT', 'error'])
def test_nothing_goes_on_when_the_conductor_is_stopped(tmp_path, monkeypatch, how):
    def unheard(*_): raise AssertionError('the signal met nobody')
    old = {s: signal.signal(s, unheard) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        ask = f'kill -{how} {os.getpid()}' if how != 'error' else 'true'
        jobs = [sh('works', number(tmp_path/'pid') + 'sleep 60'), sh('asks', until(tmp_path/'pid') + ask), sh('never', '', 'works')]
        if how == 'error':
            def sleep(s, real=time.sleep):
                if (tmp_path/'pid').exists(): raise OSError('no space is left')
                real(.05)
            monkeypatch.setattr(gpu.time, 'sleep', sleep)
            with pytest.raises(OSError): conduct(monkeypatch, args(tmp_path), jobs)
            monkeypatch.undo()
        else: assert conduct(monkeypatch, args(tmp_path), jobs)[0] == 130 and signal.getsignal(signal.SIGTERM) is unheard
        assert gone(tmp_path/'pid') and 'works' not in done(tmp_path)
    finally:
        for s,h in old.items(): signal.signal(s, h)

def test_one_conductor_at_a_time(tmp_path, monkeypatch):
    with only_one(tmp_path), pytest.raises(InputError, match='another process'): conduct(monkeypatch, args(tmp_path), [sh('job', f'touch {tmp_path/"ran"}')])
    assert not (tmp_path/'ran').exists() and not (tmp_path/'done').exists()
    seen = []
    def jobs(a):
        with pytest.raises(InputError), only_one(tmp_path): seen.append('not held')
        return []
    monkeypatch.setattr(gpu, 'jobs', jobs)
    assert gpu.conduct(args(tmp_path), time.monotonic()) == 0 and not seen

def test_work_without_the_gpu_goes_past_what_waits_for_room(conductor):
    c = conductor(sh('lm', 'sleep 9', weight=3), sh('lm-2', weight=3), sh('texts', 'sleep 9', weight=0), sh('classifier'), sh('texts-2', 'sleep 9', weight=0))
    c.begin()
    assert [*c.running] == ['lm', 'texts', 'texts-2'] and c.free() == 1

def test_what_is_too_large_runs_alone(conductor):
    c = conductor(sh('texts', 'sleep 9', weight=0), sh('huge', 'sleep 9', weight=9), sh('classifier'), sh('texts-2', 'sleep 9', weight=0))
    c.begin()
    assert [*c.running] == ['texts', 'huge', 'texts-2']

@pytest.mark.parametrize('works', [True, False])
def test_the_daemon_of_mps_ends_with_us(tmp_path, monkeypatch, works):
    tool = tmp_path/'bin'/'nvidia-cuda-mps-control'
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nif [ "$1" = -d ]; then echo begin; else cat; fi >> {tmp_path/"told"}; echo $CUDA_MPS_PIPE_DIRECTORY >> {tmp_path/"told"}\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', str(tool.parent), prepend=os.pathsep)
    monkeypatch.setattr(gpu, 'works', lambda env, tool: works)
    with pytest.raises(KeyboardInterrupt), gpu.overlap(tmp_path) as (env, yes):
        assert yes is works and ('CUDA_MPS_PIPE_DIRECTORY' in env) is works
        assert ('quit' in (tmp_path/'told').read_text()) is not works # where it does not work it has ended already
        raise KeyboardInterrupt
    assert (tmp_path/'told').read_text().split() == ['begin', str(tmp_path/'mps'), 'quit', str(tmp_path/'mps')]

def notebook(f, *cells):
    f.parent.mkdir(parents=True, exist_ok=True)
    f.write_text(json.dumps(dict(cells=[dict(cell_type='code', source=s.splitlines(True)) for s in cells] + [dict(cell_type='markdown', source=['#| cuda'])])))
    return f

def test_no_cell_for_a_gpu_is_forgotten(tmp_path):
    a = notebook(tmp_path/'07b_b.ipynb', 'print(1)', '#| cuda\nprint(2)')
    b = notebook(tmp_path/'more'/'01_c.ipynb', '#| hide\n#|cuda\nprint(2)')
    notebook(tmp_path/'02_d.ipynb', '#| slow', '# about #| cuda'); notebook(tmp_path/'.ipynb_checkpoints'/'07b_b.ipynb', '#| cuda')
    assert gpu.cuda_notebooks(tmp_path) == [a, b]
    names = {f.name for f in gpu.cuda_notebooks()}
    assert {'03_awd_lstm.ipynb', '07b_bpt3c.ipynb', '10_interpretation.ipynb'} <= names and '00_corpus.ipynb' not in names

def test_every_chapter_has_its_turn(tmp_path, monkeypatch):
    tool,books = tmp_path/'venv'/'python',[notebook(tmp_path/f'{n}.ipynb', '#| cuda') for n in 'abc']
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$3" >> {tmp_path/"ran"}\ncase "$3" in *b.ipynb) exit 0;; esac; exit 1\n')
    tool.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(tool)) # not on PATH: a venv that nobody activated
    monkeypatch.setattr(gpu, 'cuda_notebooks', lambda: books)
    with pytest.raises(SystemExit, match='did not pass: a.ipynb, c.ipynb'): gpu.cells(args(tmp_path))
    assert (tmp_path/'ran').read_text().splitlines() == [f'{f}' for f in books]
    with pytest.raises(SystemExit, match='did not pass: a.ipynb, c.ipynb'): gpu.cells(args(tmp_path))
    assert (tmp_path/'ran').read_text().splitlines()[3:] == [f'{f}' for f in books if f.stem != 'b'] # one that passed is not run again

def test_a_smaller_task_does_not_take_the_time_of_the_headline(tmp_path, monkeypatch):
    "WikiText-2 waits where other texts have begun to arrive, and goes ahead where it is alone"
    monkeypatch.setenv('ULMFIT_DATA', str(tmp_path))
    def waits(): return next(j for j in gpu.jobs(args(tmp_path)) if j.name == 'wikitext2').waits
    assert waits() == ()
    (tmp_path/'imdb').mkdir()
    assert waits() == ('imdb-both-0',)

@pytest.mark.parametrize('rehearse', [True, False])
def test_the_jobs_fit_together(tmp_path, monkeypatch, rehearse):
    import ulmfit_nb.cli # registers the commands
    from ulmfit_nb.commands import parse
    monkeypatch.setenv('ULMFIT_DATA', str(tmp_path))
    jobs = gpu.jobs(args(tmp_path, rehearse=rehearse))
    names = [j.name for j in jobs]
    assert len({*names}) == len(names) and {n for j in jobs for n in (*j.after, *j.waits)} <= {*names} # a name of nobody's would be waited for in vain
    steps = [[str(c) for c in j.cmd[j.cmd.index('--step')+1:]] for j in jobs if '--step' in j.cmd]
    assert {s[0] for s in steps} == {*gpu.STEPS}
    for words in [[str(c) for c in j.cmd[3:]] for j in jobs if 'ulmfit_nb' in j.cmd]: assert parse(words).name == 'wikitext2'

def test_the_ablation_reads_what_was_prepared(tmp_path, monkeypatch):
    rows = [(f'{" "*(i%2)}film {i//2}', 'ab'[i//2%2]) for i in range(60)] # each text twice, but for a blank
    task = Task('imdb', rows, [('test', 'a')], [f'film {i}' for i in range(60)])
    (tmp_path/'en-base').mkdir(); (tmp_path/'en-base'/'en-base').symlink_to(Path(ulmfit_nb.__file__).parent/'backbones'/'en-small')
    (tmp_path/'imdb-ablation'/'ablation').mkdir(parents=True); (tmp_path/'imdb-ablation'/'ablation'/'tokenizer.json').touch()
    class Read(Exception): pass
    def texts(self, task, extra=(), key='inductive'): raise Read([t for t,_ in task.train], task.more, list(extra), key)
    monkeypatch.setattr(gpu, 'reviews', lambda a: task); monkeypatch.setattr(Lab, 'texts', texts); monkeypatch.setattr(Lab, 'base', lambda *_: None)
    with pytest.raises(Read) as prepared: gpu.texts(args(tmp_path), 'ablation')
    with pytest.raises(Read) as read: gpu.ablated(args(tmp_path), 'LM full')
    assert prepared.value.args == read.value.args
    held = {t.strip() for t,_ in rows} - {t.strip() for t in read.value.args[0]}
    assert len(held) >= 3 and held.isdisjoint(read.value.args[1])

def test_a_job_that_failed_is_begun_once_more(tmp_path, monkeypatch, capsys):
    once = f'[ -e {tmp_path/"seen"} ] && exit 0; touch {tmp_path/"seen"}; exit 1'
    status,_ = conduct(monkeypatch, args(tmp_path), [sh('first', once), sh('second', '', 'first')])
    assert status == 0 and done(tmp_path) == ['first', 'second'] and capsys.readouterr().out.count('begin first') == 2

def test_what_only_waits_goes_on_after_a_failure(tmp_path, monkeypatch):
    after,never = Job('after', ['true'], waits=('broken', 'lost')),Job('never', ['true'], ('broken',))
    status,_ = conduct(monkeypatch, args(tmp_path), [sh('broken', f'echo x >> {tmp_path/"n"}; exit 1'), sh('lost', '', 'broken'), after, never])
    assert status == 1 and done(tmp_path) == ['after'] and (tmp_path/'n').read_text() == 'x\nx\n'

def test_one_failure_does_not_cost_the_headline(tmp_path, monkeypatch):
    "Whatever job of stage 3's choice or of the other direction fails, forward has its row"
    monkeypatch.setenv('ULMFIT_DATA', str(tmp_path))
    for broken in ('try-freez-4-.03', 'pretrain-backward', 'lm-backward', 'wikitext2', 'tests', 'cells'):
        made,lost = {j.name: j for j in gpu.jobs(args(tmp_path))},{broken}
        while more := {n for n,j in made.items() if {*j.after} & lost} - lost: lost |= more
        assert 'imdb-forward-0' not in lost and 'imdb-forward-2' not in lost, broken

def test_a_file_that_is_being_copied_is_waited_for(tmp_path):
    f = tmp_path/'a.jsonl.xz'
    packed = lzma.compress(b'{}\n'*1000)
    for n,is_whole in ((0, False), (1, False), (len(packed)//2, False), (len(packed)-1, False), (len(packed), True)):
        f.write_bytes(packed[:n])
        assert gpu.whole(f) is is_whole
    assert not gpu.whole(tmp_path/'b.xz') and not gpu.whole(tmp_path)

def test_stage_1_keeps_its_passes(tmp_path):
    assert gpu.passes(args(tmp_path, overlap=True, minutes=28.)) == '3' == gpu.passes(args(tmp_path))
    (tmp_path/'short').mkdir()
    assert gpu.passes(args(tmp_path/'short', overlap=True, minutes=24.)) == '2'

def test_without_a_gpu_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, 'works', lambda env: False)
    with pytest.raises(InputError, match='no GPU works here'): conduct(monkeypatch, args(tmp_path, rehearse=False), [sh('job', f'touch {tmp_path/"ran"}')])
    assert not (tmp_path/'ran').exists()

@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells a job that its parent is gone')
def test_jobs_end_with_a_killed_conductor(tmp_path):
    code = f'import sys, time, os; sys.path.insert(0, {str(Path(gpu.__file__).parent)!r}); import gpu; from pathlib import Path; p = Path({str(tmp_path)!r}); (p/"log").mkdir()\nc = gpu.Conductor([gpu.Job("a", ["bash", "-c", "echo $$ > {tmp_path}/pid.part; mv {tmp_path}/pid.part {tmp_path}/pid; sleep 60"])], p, 4, dict(os.environ), 0.); c.begin(); time.sleep(60)'
    p = subprocess.Popen([sys.executable, '-c', code])
    while not (tmp_path/'pid').exists(): assert p.poll() is None; time.sleep(.02)
    p.kill(); p.wait()
    assert gone(tmp_path/'pid', 5.)

def test_the_choice_does_with_the_tries_that_ended(tmp_path):
    (tmp_path/'tries').mkdir()
    assert gpu.chosen(args(tmp_path))[:3] == ('freez', .01, False) and 'no try' in gpu.chosen(args(tmp_path))[3] # a row must not say that it was chosen
    row = dict(recipe='freez', lr=.03, accuracy=.9, history=[dict(valid_loss=.3)])
    (tmp_path/'tries'/'freez-4-.03.json').write_text(json.dumps(dict(rows=[row])))
    assert gpu.chosen(args(tmp_path)) == ('freez', .03, False, 'recipe and rate chosen on held-out training reviews, of the 1 of 4 tries that ended')
    for i,t in enumerate(gpu.TRIES): (tmp_path/'tries'/f'{t.replace(":", "-")}.json').write_text(json.dumps(dict(rows=[row | dict(lr=i/100, accuracy=i/10)])))
    assert gpu.chosen(args(tmp_path)) == ('freez', .03, False, 'recipe and rate chosen on held-out training reviews')

def test_the_choice_is_made_once(tmp_path):
    (tmp_path/'tries').mkdir()
    was = gpu.decided(args(tmp_path))
    (tmp_path/'tries'/'freez-4-.03.json').write_text(json.dumps(dict(rows=[dict(recipe='freez', lr=.03, accuracy=.9, history=[dict(valid_loss=.3)])])))
    assert gpu.chosen(args(tmp_path)) != was == gpu.decided(args(tmp_path))

@pytest.mark.parametrize('ways,here,done_too', [(['forward', 'backward'], False, {'join', 'pretrain-forward', 'pretrain-backward'}), (['forward', 'backward'], True, {'join', 'pretrain-forward', 'pretrain-backward'}),
    (['forward'], False, {'join', 'pretrain-forward'}), (['forward'], True, {'pretrain-forward'})])
def test_a_backbone_in_place_is_not_made_again(tmp_path, ways, here, done_too):
    (tmp_path/'done').mkdir()
    gpu.stage_1_done(tmp_path)
    assert not done(tmp_path)
    for n in ['en-base', *(ways if here else [])]: (tmp_path/'en-base'/n).mkdir(parents=True); (tmp_path/'en-base'/n/'config.json').write_text(json.dumps(dict(directions=ways)))
    gpu.stage_1_done(tmp_path)
    assert {*done(tmp_path)} == {'prepare'} | done_too
