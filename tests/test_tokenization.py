"Tokenizer: hostile text, round trips, equal fast paths, workers that fail or are left, files that are damaged."
import json, lzma, multiprocessing, os, pickle, random, subprocess, sys, time
from itertools import count, islice
from pathlib import Path
import numpy as np, pytest
import ulmfit_nb.rules as R
import ulmfit_nb.tokenization as T
from ulmfit_nb.corpus import InputError
from ulmfit_nb.rules import BOS, MAJ, NL, SPECIALS, UNK, mark, normalise, plain, split, undo
from ulmfit_nb.tokenization import Tokenizer

KINDS = 'word', 'bpe', 'unigram'
WORDS = 'the film was good bad very a plot actors and of it story long boring scene music loved hated ending'.split()

def sentences(n, seed=0):
    r = random.Random(seed)
    def word(): return r.choice([str.lower, str.lower, str.lower, str.title, str.upper])(r.choice(WORDS))
    return [' '.join(word() for _ in range(r.randint(1, 30))) + r.choice(['.', '!!!!', ' :)', '<br /><br />Sooooo good', ' 8/10']) for _ in range(n)]

@pytest.fixture(scope='module')
def toks(): return {k: Tokenizer.train(sentences(600), kind=k, vocab_size=400, n_workers=1) for k in KINDS}

ATOMS = ['a','A','b','B','aaa','AAA','oooo','I','III','.','..','...','!!!','!',"'s","'S","'T",'’t','don',"'",' ',' ',' ',' ','\n','1','1.2','12',':',':)','D',';',
    '<3','http://','www.','WWW.','U.S.','a.b.','A.','a.','İ','ß','SS','ς','Σ','\u0301','\u0316','é','🙂','🇻🇳','\u200d','👨','\ufe0f','_','&','amp;','&lt;','br','<br>',
    '/>','#39;','\ufdd4','\ufdd7','\ufdd9','\ud800','\x00','@','-',' @-@ ','very ',' very',' Very',' VERY','x'*100,'X'*99,'Y'*101,'ab'*60,'क्','ि','กำ','中文','\u037e',
    'ǅ','ﬁ','²','٣','3','/','"','(',')','xxmaj','xxrep 3 a','\xa0','\t','\x85','\u2028','▁','\ue000']

def hostile(n, seed=0):
    r = random.Random(seed)
    for _ in range(n): yield ''.join(r.choices(ATOMS, k=r.randint(1, 12)))*r.choice([1, 1, 1, 1, 3])

HUGE = dict(word='a'*10**6, distinct=''.join(chr(97+i*i%26) for i in range(10**6)), words='a '*500_000, shouts='Very '*200_000, spaces=' '*10**6, lines='\n'*10**6,
    marks='!'*10**6, dots='1.'*500_000, initials='A.'*100_000, faces=':-'*50_000, quotes="'"*10**6, suffixes="'s"*50_000, link='http://'+'.'*10**6, links='http://'*50_000,
    tags='<br '*50_000, tag='<br'+' '*10**6, entities='&'+'amp;'*250_000, nested='&'+'#38;'*250_000, open='&'*10**6, wiki=' @-@'*50_000, number='&#'+'9'*10**6+';',
    piled='a'+'\u0301\u0316'*100_000, devanagari='क्'*100_000, emoji='👨\u200d'*100_000, modifiers='👍'+'🏽'*100_000, nul='\x00'*10**5, surrogates='\ud800'*10**5,
    reserved='\ufdd4'*10**5, rtl='مرحبا '*50_000, flags='🇻'*100_000, digits='1'*10**6, mixed='aA'*100_000)

def test_rules_can_be_undone():
    for t in hostile(6000):
        n = normalise(t)
        assert normalise(n) == n, t
        assert undo(''.join(s for p in split(t) for s in mark(p)))[1:] == n, t
        assert ''.join(split(t, False)) == (' '+plain(t) if t else '')

@pytest.mark.parametrize('kind', ['bpe', 'unigram'])
@pytest.mark.parametrize('rules', [True, False])
def test_subwords_round_trip(toks, kind, rules):
    tok = toks[kind] if rules else Tokenizer.train(sentences(100), kind=kind, vocab_size=300, rules=False, n_workers=1)
    for t in hostile(1500, seed=1):
        ids = tok.encode(t)
        assert tok.decode(ids) == (normalise(t) if rules else plain(t))
        assert not np.isin(ids, UNK).any()
        if rules: assert tok.encode(tok.decode(ids)).tolist() == ids.tolist()

@pytest.mark.parametrize('kind', KINDS)
def test_fast_path_equals_tokenizers(toks, kind):
    tok = toks[kind]
    for t in [*hostile(1500, seed=2), *sentences(100, seed=2)]:
        parts = [s for p in split(t) for s in T._parts(p, kind, True)]
        assert tok.hf.encode(parts, is_pretokenized=True).ids == tok.encode(t).tolist(), t

@pytest.mark.parametrize('name', HUGE)
def test_a_megabyte_of_malice(toks, name):
    text = HUGE[name]
    start = time.process_time()
    ids = toks['bpe'].encode(text)
    assert toks['bpe'].decode(ids) == normalise(text)
    toks['word'].decode(toks['word'].encode(text))
    assert time.process_time()-start < 30     # linear takes a second or two, quadratic an hour

def test_special_tokens_cannot_be_typed(toks):
    text = ' '.join(SPECIALS) + ' ' + ' '.join(R._mark) + ''.join(map(chr, range(0xFDD0, 0xFDF0))) + ' &#xFDD4; &#64980;'
    for tok in toks.values(): assert not set(tok.encode(text)[1:].tolist()) & {*range(1, len(SPECIALS))}
    for tok in toks.values(): assert BOS not in tok.encode('xxbos')[1:]
    spoof = Tokenizer.train(['xxmaj xxmaj film']*5, n_workers=1)
    assert len(set(spoof.vocab)) == spoof.vocab_size and r'\xxmaj' in spoof.vocab
    assert MAJ not in spoof.encode('xxmaj film') and spoof.decode(spoof.encode('xxmaj film')) == 'xxmaj film'

def test_fastai_bugs(toks):
    text = 'wow !!! that that that was was was'
    assert toks['bpe'].decode(toks['bpe'].encode(text)) == text
    tok = Tokenizer.train([text]*5 + ['said "it was soooo GOOD" (by far), don\'t you -- well-known 3 4'], min_count=1, n_workers=1)
    assert tok.decode(tok.encode(text)) == 'wow!!! that that that was was was'
    quoted = 'said "it was soooo GOOD" (by far), don\'t you'
    assert tok.decode(tok.encode(quoted)) == quoted

@pytest.mark.parametrize('kind', KINDS)
def test_any_ids_decode(toks, kind):
    tok,r = toks[kind],random.Random(0)
    for _ in range(500):
        s = tok.decode(r.choices([*range(12)]*5 + [*range(tok.vocab_size)], k=20))
        assert not R._reserved.search(s)
    assert tok.decode([]) == '' and tok.decode(np.array([BOS, 1, 1])) == ''
    for bad in ([-1], [tok.vocab_size]): pytest.raises(InputError, tok.decode, bad)

@pytest.mark.parametrize('kind', KINDS)
def test_shapes_and_empty_text(toks, kind):
    tok = toks[kind]
    for t in '', ' ', '\n\t ', '\ufdd0': assert tok.encode(t).tolist() == [BOS]
    ids = tok.encode('The film.\nGood')
    assert ids.dtype == np.int32 and ids[0] == BOS == tok.bos_id and tok.pad_id == 1 and tok.unk_id == 0 and NL in ids
    ids[0] = 5                                            # the caller's own, writable
    assert tok.encode('The film.\nGood')[0] == BOS and len(tok.vocab) == len(set(tok.vocab)) == len(tok)
    for bad in None, 3.5, b'x': pytest.raises(InputError, tok.encode, bad)

def test_words_of_other_languages():
    for s in 'Tiếng Việt', 'हिन्दी', 'مَرْحَبًا', 'Straße naïve', 'Übung', 'ελληνικά', 'עִבְרִית': assert [p.strip() for p in split(normalise(s))] == normalise(s).split()
    tok = Tokenizer.train(['Tiếng Việt rất hay']*3, n_workers=1)
    assert tok.decode(tok.encode('tiếng Việt')) == 'tiếng Việt' and UNK not in tok.encode('Tiê\u0301ng việt')

def test_vocabulary_limits():
    texts = ['common common common rare']*2 + ['twice twice']
    def vocab(**kw): return Tokenizer.train(texts, n_workers=1, **kw).vocab[len(SPECIALS):]
    assert vocab(min_count=3) == [] and sorted(vocab(min_count=2)) == ['3', 'common', 'rare', 'twice']     # three in a row count once
    assert len(vocab(min_count=1, vocab_size=12)) == 2
    pairs = dict(kind='bpe', vocab_size=2000, n_workers=1)
    assert Tokenizer.train(texts, min_count=50, **pairs).vocab_size == len(SPECIALS)+256 < Tokenizer.train(texts, min_count=1, **pairs).vocab_size

@pytest.mark.parametrize('args', [([],), ([' ', '\n'],), ('one str',), ([None],), (['a'], 'char'), (['a'], 'bpe', 100), (['a'], 'word', 5), (None,), (dict(text=['a film']),)])
def test_train_refuses_in_one_sentence(args):
    with pytest.raises(InputError) as e: Tokenizer.train(*args)
    assert '\n' not in str(e.value)

def test_a_table_is_no_column_of_texts(toks):
    table = pytest.importorskip('pandas').DataFrame(dict(text=['a good film', 'a bad film'], label=[1, 0])) # going through it gives the names of its columns
    for f in (Tokenizer.train, toks['word'].encode_iter, lambda x: toks['word'].encode_iter(x, 1)):
        for wrong in (table, table.to_dict('list')):
            with pytest.raises(InputError, match='the column that holds them'): list(f(wrong))
    assert len(list(toks['word'].encode_iter(table.text, 1))) == 2

def fingerprints(seed):
    code = f'''import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_tokenization import *
for k in KINDS: print(Tokenizer.train(sentences(300), kind=k, vocab_size=400, n_workers=1).fingerprint)'''
    return subprocess.run([sys.executable, '-c', code], env=os.environ | {'PYTHONHASHSEED': seed}, capture_output=True, text=True, check=True).stdout.split()

def test_training_is_deterministic():
    here = [Tokenizer.train(reversed(sentences(300)), kind=k, vocab_size=400, n_workers=1).fingerprint for k in KINDS]
    assert fingerprints('1') == here == fingerprints('2')

def test_unigram_on_many_words():
    "Three trainings give one vocabulary, and what is frequent stays whole, also where no longer word holds it"
    r = random.Random(0)
    words = [''.join(r.choices('etaoinshrdlucmfwypvbgkjqxz', range(26, 0, -1), k=r.randint(3, 9))) for _ in range(5000)]
    texts = [' '.join(words[min(int(r.paretovariate(.7)), 5000)-1] for _ in range(50)) for _ in range(1000)]
    toks = [Tokenizer.train(texts, kind='unigram', vocab_size=2000, n_workers=1) for _ in range(3)]
    assert len({t.fingerprint for t in toks}) == 1
    assert sum(len(toks[0].encode(w)) > 2 for w in words[:100]) < 5                      # BOS and the word

# Many texts

@pytest.fixture
def small_batches(monkeypatch): monkeypatch.setattr(T, '_batch_chars', 2000)

@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('kind', KINDS)
def test_parallel_in_order(toks, kind, small_batches):
    texts = sentences(300, seed=3) + ['', ' ']
    for n in 1, 2, 3, None:
        out = list(toks[kind].encode_iter(iter(texts), n_workers=n))
        assert len(out) == len(texts) and all((a==toks[kind].encode(t)).all() for a,t in zip(out, texts))
    assert list(toks[kind].encode_iter([])) == []
    assert Tokenizer.train(texts, vocab_size=400, kind=kind, n_workers=2).fingerprint == Tokenizer.train(texts, vocab_size=400, kind=kind, n_workers=1).fingerprint

def test_streams_and_stops_early(toks, small_batches):
    read = count()
    def endless():
        while True:
            next(read)
            yield 'the film was good '*20
    it = toks['word'].encode_iter(endless(), n_workers=2)
    assert len(list(islice(it, 500))) == 500
    it.close()
    assert next(read) < 1000                               # read only a little ahead
    assert not multiprocessing.active_children()
    for n in 1, 2: next(toks['word'].encode_iter(endless(), n_workers=n))     # dropped without closing

@pytest.mark.parametrize('n', [1, 2])
def test_errors_arrive_after_what_came_before(toks, small_batches, n):
    def faulty():
        yield from sentences(100)
        raise OSError('disk gone')
    got = []
    with pytest.raises(OSError, match='disk gone'): got.extend(toks['bpe'].encode_iter(faulty(), n_workers=n))
    assert len(got) == 100
    with pytest.raises(InputError, match='must be a str'): list(toks['bpe'].encode_iter(sentences(100)+[None]+sentences(100), n_workers=n))
    with pytest.raises(InputError, match='put it in a list'): list(toks['bpe'].encode_iter('one text', n_workers=n))

def die_elsewhere(tok, texts): return os._exit(1) if multiprocessing.parent_process() else len(texts)

@pytest.mark.parametrize('killed', [0, 5])
def test_what_dead_workers_leave_is_done_here(toks, small_batches, killed):
    "All of it or the rest, in order; a script without a guard ends its workers, too, where they are not forked."
    def texts():
        for i,s in enumerate(sentences(300)):
            if i == 40*killed:
                for p in multiprocessing.active_children(): p.kill()
            yield s
    with pytest.warns(UserWarning, match='worker process died.*__main__'):
        assert sum(T._parallel(die_elsewhere, toks['word'], texts(), 2)) == 300

@pytest.mark.parametrize('error', [OSError(30, 'Read-only file system'), NotImplementedError(), ImportError()])
@pytest.mark.parametrize('when', ['made', 'used'])
def test_a_system_without_processes(toks, small_batches, monkeypatch, error, when):
    class Pool:
        def __init__(self, *a, **kw):
            if when == 'made': raise error
        def submit(self, *a): raise OSError(30, 'Read-only file system')
        def shutdown(self, **kw): pass
    monkeypatch.setattr(T, 'ProcessPoolExecutor', Pool)
    assert [list(i) for i in toks['word'].encode_iter(sentences(300), n_workers=2)] == [list(i) for i in toks['word'].encode_iter(sentences(300), n_workers=1)]
    assert list(toks['word'].encode_iter([], n_workers=2)) == []

def test_spawned_workers(toks, small_batches, monkeypatch):
    pool,spawn = T.ProcessPoolExecutor,multiprocessing.get_context('spawn')
    monkeypatch.setattr(T, 'ProcessPoolExecutor', lambda *a, **kw: pool(*a, mp_context=spawn, **kw))
    texts = sentences(100)
    assert all((a==toks['bpe'].encode(t)).all() for a,t in zip(toks['bpe'].encode_iter(texts, n_workers=2), texts))

def test_environment_is_left_alone(toks, small_batches, monkeypatch, capfd):
    monkeypatch.delenv('TOKENIZERS_PARALLELISM', raising=False)
    toks['bpe'].hf.encode_batch(['a film']*100)            # its threads have run: a fork would make it complain
    list(toks['bpe'].encode_iter(sentences(100), n_workers=2))
    assert 'TOKENIZERS_PARALLELISM' not in os.environ and 'fork' not in capfd.readouterr().err
    monkeypatch.setenv('TOKENIZERS_PARALLELISM', 'true')
    list(toks['bpe'].encode_iter(sentences(100), n_workers=2))
    assert os.environ['TOKENIZERS_PARALLELISM'] == 'true'

# Files

@pytest.mark.parametrize('kind', KINDS)
def test_save_and_load_are_exact(toks, kind, tmp_path):
    from tokenizers import Tokenizer as HF
    tok = toks[kind]
    for path in tmp_path, tmp_path/'new'/'dir', tmp_path/'other.json':
        again = Tokenizer.load(tok.save(path))
        assert (again.fingerprint, again.config, again.vocab) == (tok.fingerprint, tok.config, tok.vocab)
        assert again.to_json() == tok.to_json()
    unpickled = pickle.loads(pickle.dumps(tok))
    for t in hostile(300, seed=4): assert again.encode(t).tolist() == unpickled.encode(t).tolist() == tok.encode(t).tolist()
    assert HF.from_file(str(tmp_path/'tokenizer.json')).encode('film').ids[0] == BOS      # readable without this package
    assert sorted(p.name for p in tmp_path.iterdir()) == ['new', 'other.json', 'tokenizer.json']

def test_damaged_files(toks, tmp_path):
    s,path = toks['bpe'].to_json(),tmp_path/'tokenizer.json'
    def broken(**kw): return json.dumps(json.loads(s) | kw)
    post = json.loads(s)['post_processor']
    def settings(**kw): return broken(post_processor=post | {'ulmfit_nb': post['ulmfit_nb'] | kw})
    bad = [s[:len(s)//2], '', '[]', '{}', 'null', broken(post_processor=None), broken(model=None), broken(model={'type': 'WordLevel', 'vocab': {'a': 0}, 'unk_token': 'a'}),
        settings(rules_version=R.RULES_VERSION+1), settings(rules_version='new'), settings(rules_version=float('inf')), settings(kind='char'), settings(kind=[]), settings(rules='yes'), '['*10**5, '\x00'*100]
    for b in bad:
        path.write_text(b)
        with pytest.raises(InputError) as e: Tokenizer.load(path)
        assert '\n' not in str(e.value) and str(path) in str(e.value) or 'special tokens' in str(e.value)
    path.write_bytes(b'\xff\xfe')
    pytest.raises(InputError, Tokenizer.load, path)
    pytest.raises(InputError, Tokenizer.load, tmp_path/'nowhere')
    pytest.raises(InputError, Tokenizer.load, tmp_path/('x'*500)) # a name that the system refuses

def test_a_failed_save_leaves_the_old_file(toks, tmp_path, monkeypatch):
    path = toks['word'].save(tmp_path)
    before = path.read_bytes()
    def full(*a): raise OSError('disk full')
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError): toks['bpe'].save(tmp_path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['tokenizer.json']

def test_importing_is_light():
    code = "import sys, ulmfit_nb.tokenization; print([m for m in ('torch', 'pandas', 'sklearn', 'tokenizers') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'

@pytest.mark.skipif('ULMFIT_DATA' not in os.environ, reason='ULMFIT_DATA is not set')
def test_real_reviews():
    path = Path(os.environ['ULMFIT_DATA'])/'imdb'/'train.jsonl.xz'
    if not path.exists(): pytest.skip('no IMDb there')
    with lzma.open(path, 'rt', encoding='utf-8') as f: texts = [json.loads(line)['text'] for line in islice(f, 0, 25000, 25)]
    tok = Tokenizer.train(texts, kind='bpe', vocab_size=4000)
    for t,ids in zip(texts, tok.encode_iter(texts)): assert tok.decode(ids) == normalise(t)
    word = Tokenizer.train(texts)
    assert np.mean(np.concatenate(list(word.encode_iter(texts))) == UNK) < .05

@pytest.mark.parametrize('raw,want', [('don&amp;#39;t', "don't"), ('&amp;lt;br /&amp;gt;Next', 'Next'), ('&amp;quot;no&amp;quot;', '"no"'), ('it #39;s', "it 's"), ('quot;hi quot;', '"hi "'), ('&#38;lt;3', '<3')])
def test_entities_escaped_twice(raw, want): assert normalise(raw).strip() == want

@pytest.mark.skipif(not Path('/proc').is_dir() or 'fork' not in multiprocessing.get_all_start_methods(), reason='needs /proc and forks')
@pytest.mark.parametrize('sig', ['SIGTERM', 'SIGKILL'])
def test_workers_end_with_a_parent_that_is_killed(sig):
    code = "import itertools, ulmfit_nb.tokenization as T\ntok = T.Tokenizer.train(['a b c']*9, kind='word', vocab_size=60, min_count=1, n_workers=1)\nfor i,_ in enumerate(tok.encode_iter(('word '*2000 for _ in itertools.count()), n_workers=2)):\n    if i == 500: print('ready', flush=True)"
    p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
    assert p.stdout.readline() == b'ready\n'
    kids = Path(f'/proc/{p.pid}/task/{p.pid}/children').read_text().split()
    assert len(kids) >= 2
    p.send_signal(getattr(__import__('signal'), sig)); p.wait()
    def alive(k):
        try: return Path(f'/proc/{k}/stat').read_text().rsplit(')')[1].split()[0] != 'Z'
        except OSError: return False
    for _ in range(100):
        if not any(map(alive, kids)): break
        time.sleep(.1)
    assert not any(map(alive, kids))

def test_a_number_of_workers_that_cannot_be():
    with pytest.raises(InputError, match='n_workers=-1'): Tokenizer.train(['a b'], n_workers=-1)

@pytest.mark.parametrize('text, blank', [('', True), (' \n', True), ('<br />', True), ('&nbsp;&nbsp;', True), ('\u200b', True), ('\ufeff', True), ('<p>', True), ('.', False), ('a', False), ('<br />'*10 + 'a', False)])
def test_blank(text, blank):
    from ulmfit_nb.rules import is_blank
    tok = Tokenizer.train(['a film'], kind='word', vocab_size=60, min_count=1, n_workers=1)
    assert is_blank(text) is blank and (len(tok.encode(text)) == 1) is blank

# ---- small faults that no test above would show ----------------------------------------------------------------

@pytest.mark.parametrize('text,want', [("we're I've don't she'll", "we 're I 've don 't she 'll"), ('the U.S. and e.g. this', 'the xxup u.s. and e.g. this'), ('A FILM', 'xxmaj a xxup film'),
    ('soo Sooo gooood', 'soo xxmaj s xxjoin xxrep 3 o g xxjoin xxrep 4 o xxjoin d'), ('no!! wow!!! ----', 'no !! wow xxrep 3 ! xxrep 4 -'), ('Rocky III', 'xxmaj rocky xxup iii'),
    ('see http://a.b/c?d=1.', 'see http://a.b/c?d=1 .'), ('fine :) bad <3', 'fine :) bad <3'), ('very very so so so', 'very very xxwrep 3 so')])
def test_what_the_model_sees(text, want):
    shown = dict(zip(R._mark, SPECIALS))
    assert ' '.join(shown.get(s, s.strip()) for p in split(text) for s in mark(p)) == want

def test_settings_are_part_of_the_fingerprint():
    marked,plain = (Tokenizer.train(['the film']*3, rules=rules, n_workers=1) for rules in (True, False))
    assert marked.vocab == plain.vocab and marked.fingerprint != plain.fingerprint

def test_a_quotation_ends_with_its_line():
    text = 'said "so it was\nand "then" it'
    tok = Tokenizer.train([text]*3, n_workers=1)
    assert tok.decode(tok.encode(text)) == text

def test_what_normalising_keeps_and_what_it_undoes():
    assert normalise('\ufb01lm x\u00b2 e\u0301') == '\ufb01lm x\u00b2 \u00e9'
    assert normalise('so\u00adft well @-@ known 1 @,@ 000') == 'soft well-known 1,000' and normalise('a<br />b</p>c') == 'a\nb\nc'

def test_a_space_is_shown():
    tok = Tokenizer.train(['this that']*3, kind='bpe', vocab_size=400, n_workers=1)
    assert tok.tokens('this that') == ['xxbos', '\u2581this', '\u2581that']

def test_threads_save_one_tokenizer(toks, tmp_path):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(4) as pool: list(pool.map(lambda _: toks['word'].save(tmp_path/'t'), range(80)))
    assert [p.name for p in (tmp_path/'t').iterdir()] == ['tokenizer.json'] and Tokenizer.load(tmp_path/'t').vocab == toks['word'].vocab

def test_a_file_over_which_the_library_panics():
    s = json.loads(Tokenizer.train(['a small text about texts']*3, kind='bpe', vocab_size=300, min_count=1).to_json())
    s['model']['continuing_subword_prefix'] = '#########'
    with pytest.raises(InputError, match='vocabulary'): Tokenizer.from_json(json.dumps(s))

def test_a_repeat_without_a_number_loses_no_word():
    tok = Tokenizer.train(['the film was good 12']*5, kind='word', min_count=1)
    at = {w.strip(): i for i,w in enumerate(tok.vocab)}
    def said(*ws): return tok.decode([at[w] for w in ws])
    assert said('the', 'xxwrep', 'film', 'was') == 'the film film film was'
    assert said('the', 'xxrep', 'film') == 'the fffilm'
    assert said('the', 'xxwrep', '12', 'film').count('film') == 12 and said('the', 'xxwrep', 'xxunk', 'film').count('film') == 3
