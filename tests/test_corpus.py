"Chapters 00 and 00b under hostile input: broken files, killed builds, a wrong download, leaking splits."
import gzip, hashlib, itertools, json, lzma, os, re, signal, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np
import pytest
from ulmfit_nb import corpus
from ulmfit_nb.corpus import DATASETS, DataSet, InputError, data_dir, get_data, list_data, read_labelled, read_rows, read_texts
from ulmfit_nb.docs_corpus import STDLIB, Doc, _words, clean_docs, dedup, docs_corpus, docs_task, docstrings, masker, near_duplicates, prose
from ulmfit_nb.ids import Corpus

TEXTS = ['A fine film.\nI would "see" it again, twice.', 'Dull – très long.', 'One\u2028line, 二', '']
LABELS = ['good', 'bad', 'good', 'bad']

def refuses(f, *parts):
    "`f` raises `InputError` with one sentence that holds all of `parts`."
    with pytest.raises(InputError) as e: f()
    msg = str(e.value)
    assert '\n' not in msg and not msg.endswith('.') and not msg[:3].istitle(), msg
    for p in parts: assert str(p) in msg, (p, msg)

# ---------------------------------------------------------------- reading

def csv_text(delimiter=','):
    import csv, io
    f = io.StringIO()
    w = csv.writer(f, delimiter=delimiter)
    w.writerow(['id', 'text', 'label'])
    w.writerows([i, *o] for i, o in enumerate(zip(TEXTS, LABELS)))
    return f.getvalue()

def jsonl_text(): return ''.join(json.dumps(dict(text=t, label=l)) + '\n\n' for t, l in zip(TEXTS, LABELS))

@pytest.mark.parametrize('pack', ['', '.gz', '.xz'])
@pytest.mark.parametrize('kind', ['.csv', '.tsv', '.jsonl'])
@pytest.mark.parametrize('bom', [b'', b'\xef\xbb\xbf'])
def test_tables_round_trip(tmp_path, kind, pack, bom):
    body = bom + {'.csv': csv_text, '.tsv': lambda: csv_text('\t'), '.jsonl': jsonl_text}[kind]().encode()
    path = tmp_path/f't{kind}{pack}'
    path.write_bytes({'': bytes, '.gz': gzip.compress, '.xz': lzma.compress}[pack](body))
    assert read_labelled(path) == (TEXTS, LABELS)
    assert list(read_texts(str(path))) == TEXTS
    assert list(read_texts([path, path])) == TEXTS*2

@pytest.mark.parametrize('delimiter', ',;\t')
def test_a_csv_file_may_have_other_separators(delimiter, tmp_path):
    (tmp_path/'t.csv').write_text(csv_text(delimiter), encoding='utf-8')
    assert read_labelled(tmp_path/'t.csv') == (TEXTS, LABELS)

def test_parquet_and_frames(tmp_path):
    pd, pq = pytest.importorskip('pandas'), pytest.importorskip('pyarrow.parquet')
    df = pd.DataFrame(dict(text=TEXTS, label=[1, 0, 1, 0], more=[.5]*4))
    df.to_parquet(tmp_path/'t.parquet', row_group_size=2)
    for source in (df, tmp_path/'t.parquet', df.to_dict('records')):
        texts, labels = read_labelled(source)
        assert (texts, labels) == (TEXTS, [1, 0, 1, 0]) and not isinstance(labels[0], str)
    assert list(read_texts(df['text'])) == TEXTS
    assert list(read_rows(df))[0]['more'] == .5
    refuses(lambda: list(read_texts(tmp_path/'t.parquet', text='body')), "'body'", "'text', 'label', 'more'")
    refuses(lambda: list(read_texts(df, text='body')), "'body'", "'more'")
    (tmp_path/'short.csv').write_text('label,text\ngood,one\nbad\n')
    refuses(lambda: list(read_texts(tmp_path/'short.csv')), 'has nothing where row 2')
    for gap in (None, float('nan'), pd.NA, pd.NaT, ' '):
        refuses(lambda: read_labelled(pd.DataFrame(dict(text=['a', 'b'], label=pd.Series(['x', gap], dtype=object)))), 'row 2')
    (tmp_path/'cut.parquet').write_bytes((tmp_path/'t.parquet').read_bytes()[:-9])
    refuses(lambda: list(read_rows(tmp_path/'cut.parquet')), 'cut.parquet is cut short')
    (tmp_path/'none.parquet').write_bytes(b'')
    refuses(lambda: list(read_rows(tmp_path/'none.parquet')), 'none.parquet is cut short')

def test_a_line_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr('ulmfit_nb.corpus._longest', 2**20)
    texts = ['a', 'b'*(2**20-2)]
    (tmp_path/'t.txt').write_text('\n'.join(texts)+'\n')
    assert list(read_texts(tmp_path/'t.txt')) == texts                                  # the longest that is allowed
    with gzip.open(tmp_path/'t.txt.gz', 'wb') as f: f.write(b'a\n' + b'0'*10**8)
    assert (tmp_path/'t.txt.gz').stat().st_size < 10**6
    refuses(lambda: list(read_texts(tmp_path/'t.txt.gz')), 'over 1 MB', 'line 2')

def test_parquet_without_pyarrow(tmp_path):
    (tmp_path/'t.parquet').write_bytes(b'PAR1')
    code = f"import sys; sys.modules['pyarrow'] = None\nfrom ulmfit_nb.corpus import *\ntry: list(read_rows({str(tmp_path/'t.parquet')!r}))\nexcept InputError as e: print(e)"
    assert "pip install pyarrow pandas" in subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout

def test_import_is_light():
    code = "import sys, ulmfit_nb.corpus; print([m for m in ('torch', 'pandas', 'pyarrow', 'sklearn', 'huggingface_hub', 'tokenizers') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

def test_plain_text(tmp_path):
    (tmp_path/'t.txt').write_bytes(b'\xef\xbb\xbfone\r\n\n  two \n\x0cthree\x1cstill\xe2\x80\xa8three')
    assert list(read_texts(tmp_path/'t.txt', text='review')) == ['one', 'two', 'three\x1cstill\u2028three']
    assert list(read_texts(iter(['a', 'b']))) == list(read_texts(np.array(['a', 'b']))) == ['a', 'b']

def test_folder(tmp_path):
    for c in ('b', 'a', '.hidden'):
        for i in (10, 9):
            (tmp_path/c/'deep').mkdir(parents=True, exist_ok=True)
            (tmp_path/c/'deep'/f'{i}.txt').write_text(f'{c}\n{i}')
    (tmp_path/'a'/'notes.md').write_text('not a document')
    (tmp_path/'a'/'z.txt.gz').write_bytes(gzip.compress(b'packed'))
    assert read_labelled(tmp_path) == (['packed', 'a\n10', 'a\n9', 'b\n10', 'b\n9'], list('aaabb'))
    (tmp_path/'stray.txt').write_text('no class')
    refuses(lambda: read_labelled(tmp_path), 'stray.txt')
    (tmp_path/'empty').mkdir()
    refuses(lambda: list(read_texts(tmp_path/'empty')), 'empty')

def test_streams(tmp_path):
    "The first row arrives although a later one is broken, and a long field passes."
    long = 'word ' * 100_000
    (tmp_path/'t.csv').write_text(f'text,label\n"{long}",1\nb,2,3\n')
    rows = read_rows(tmp_path/'t.csv')
    assert next(rows)['text'] == long
    refuses(lambda: next(rows), 'line 3', '3 fields', '2 columns')
    assert next(read_texts('x' for _ in itertools.count())) == 'x'

@pytest.mark.parametrize('name, body, parts', [
    ('t.csv', b'', []), ('t.csv', b'text,label\n', []), ('t.txt', b'\n \n', []), ('t.jsonl', b'', []),
    ('t.csv', b'text,label\n"a\nb,1\n', ['line 3']), ('t.csv', b'text,text\na,b\n', ['same name']),
    ('t.csv', b'body,label\na,1\n', ["'text'", "'body', 'label'"]), ('t.csv', b'text\na\xff\n', ['line 2', 'byte 6']),
    ('t.csv', 'text\na\n'.encode('utf-16'), ['UTF-16', 'CSV UTF-8']), ('t.jsonl', b'{"text": "a"}\n{"text": "b"\n', ['line 2']),
    ('t.jsonl', b'["a"]\n', ['line 1', 'object']), ('t.jsonl', b'[' * 100_000, ['line 1']), ('t.jsonl', b'{"text": 5}\n', ['row 1', '5']),
    ('t.jsonl', b'{"text": "a"}\n{"label": "b"}\n', ["'text'", "'label'"]), ('t.txt.xz', lzma.compress(b'a\n'*9999)[:-20], ['t.txt.xz']),
    ('t.txt.gz', gzip.compress(os.urandom(9999))[:-20], ['t.txt.gz']), ('t.txt.gz', b'no gzip', ['t.txt.gz']), ('t.txt.xz', b'', ['t.txt.xz']),
    ('t.docx', b'a', ['.csv']), ('t.parquet.gz', b'a', ['.parquet']), ('t', b'a', ['suffix'])])
def test_broken_files(tmp_path, name, body, parts):
    (tmp_path/name).write_bytes(body)
    refuses(lambda: list(read_texts(tmp_path/name)), tmp_path/name, *parts)

def test_broken_sources(tmp_path):
    for path in (tmp_path/'gone.csv', 'I loved it', 'x'*10_000, 'nul\0'): refuses(lambda: list(read_texts(path)), 'no file')
    for source in (5, None, b'bytes', {'text': 'a'}): refuses(lambda: list(read_texts(source)), type(source).__name__)
    refuses(lambda: list(read_texts([])), 'empty')
    refuses(lambda: list(read_texts(['a', None])), 'row 2')
    refuses(lambda: list(read_texts([b'a'])), 'row 1')

@pytest.mark.parametrize('labels, part', [(['a', 'a'], "'a'"), (['a', 1], 'mix'), ([[1], [2]], 'one class'), (['a', ''], 'row 2'),
                                          ([1, None], 'row 2'), ([1., float('nan')], 'row 2')])
def test_broken_labels(labels, part):
    refuses(lambda: read_labelled([dict(text='t', label=l) for l in labels]), part)

def test_labels_kept():
    assert read_labelled([dict(t='x', l=True), dict(t='y', l=False)], text='t', label='l')[1] == [True, False]
    assert read_labelled([dict(text='x', label='a')], min_classes=1)[1] == ['a']
    refuses(lambda: read_labelled(['a', 'b']), "'label'")

# ---------------------------------------------------------------- Corpus

DOCS = [[2, 5, 7], [2], [], [2, 65_535]]

def test_corpus_round_trip(tmp_path):
    for vocab_size, dtype in ((65_536, 'uint16'), (65_537, 'uint32')):
        c = Corpus.write(tmp_path/f'{vocab_size}', iter(DOCS), vocab_size, meta={'tokenizer': 'ä'})
        for o in (c, Corpus(str(c.path)), Corpus.from_docs(DOCS, vocab_size, {'tokenizer': 'ä'})):
            assert [d.tolist() for d in o] == DOCS and o[-1].tolist() == DOCS[-1]
            assert (len(o), o.n_tokens, o.ids.dtype, o.offsets.dtype, o.vocab_size, o.meta) == (4, 6, dtype, np.int64, vocab_size, {'tokenizer': 'ä'})
            assert o.lengths.tolist() == [3, 1, 0, 2]
            assert [d.tolist() for d in o.select([3, 0])] == [DOCS[3], DOCS[0]] == [d.tolist() for d in o.select(np.array([1, 0, 0, 1], bool))][::-1]
            with pytest.raises(IndexError): o[4]
        with pytest.raises(ValueError): c.ids[0] = 1                 # read-only
    assert len(Corpus.write(tmp_path/'hollow', [[]], 9)) == 1

@pytest.mark.parametrize('doc', [[9], [-1], [[1]], ['a'], [1.5], [2**40], [1, [2, 3]]])
def test_corpus_refuses_ids(tmp_path, doc):
    refuses(lambda: Corpus.write(tmp_path/'c', [[1], doc], 9), 'document 1')
    assert list(tmp_path.iterdir()) == []

def test_corpus_target(tmp_path):
    refuses(lambda: Corpus.write(tmp_path/'c', [], 9), 'no documents')
    Corpus.write(tmp_path/'c', [[1]], 9)
    refuses(lambda: Corpus.write(tmp_path/'c', [[2]], 9), 'overwrite=True')
    with pytest.raises(ZeroDivisionError): Corpus.write(tmp_path/'c', ([1//0] for _ in range(1)), 9, overwrite=True)
    assert Corpus(tmp_path/'c').ids.tolist() == [1]                  # the old one survives a failed build
    assert Corpus.write(tmp_path/'c', [[2]], 9, overwrite=True).ids.tolist() == [2]
    (tmp_path/'c'/'thesis.doc').write_text('precious')
    refuses(lambda: Corpus.write(tmp_path/'c', [[2]], 9, overwrite=True), 'other files')
    (tmp_path/'f').write_text('a file')
    for overwrite in (False, True): refuses(lambda: Corpus.write(tmp_path/'f', [[2]], 9, overwrite=overwrite), tmp_path/'f')
    (tmp_path/'e').mkdir()
    assert len(Corpus.write(tmp_path/'e', [[2]], 9)) == 1            # an empty directory is fine
    assert {o.name for o in tmp_path.iterdir()} == {'c', 'f', 'e'}

@pytest.mark.parametrize('name, damage', [
    ('ids.bin', lambda b: b[:-1]), ('ids.bin', lambda b: b + b'\0'), ('ids.bin', None), ('offsets.npy', lambda b: b[:-8]), ('offsets.npy', None),
    ('offsets.npy', lambda b: b[:-16] + b[-8:] + b[-16:-8]), ('offsets.npy', lambda b: b''), ('corpus.json', lambda b: b[:9]), ('corpus.json', None),
    ('corpus.json', lambda b: b.replace(b'"format": 1', b'"format": 99')), ('corpus.json', lambda b: b'[]'), ('corpus.json', lambda b: b.replace(b'<u2', b'<z9'))])
def test_corpus_damage(tmp_path, name, damage):
    path = Corpus.write(tmp_path/'c', DOCS, 65_536).path/name
    if damage is None: path.unlink()
    else: path.write_bytes(damage(path.read_bytes()))
    refuses(lambda: Corpus(tmp_path/'c'), tmp_path/'c')

@pytest.mark.parametrize('sig', ['SIGKILL', 'SIGINT'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_corpus_killed(tmp_path, sig, overwrite):
    if not hasattr(signal, sig): pytest.skip('no such signal here')
    if overwrite: Corpus.write(tmp_path/'c', [[7]], 9)
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler) # also where a job in the background ignores it\nfrom ulmfit_nb.ids import Corpus\nimport itertools\nCorpus.write({str(tmp_path/'c')!r}, ([1]*99 for _ in itertools.count()), 9, overwrite={overwrite})"
    p = subprocess.Popen([sys.executable, '-c', code], stderr=subprocess.DEVNULL)
    while not any(o.stat().st_size for o in tmp_path.glob('c.partial-*/ids.bin')):
        assert p.poll() is None
        time.sleep(.02)
    p.send_signal(getattr(signal, sig)); p.wait(timeout=60)
    if overwrite: assert Corpus(tmp_path/'c').ids.tolist() == [7]
    else: refuses(lambda: Corpus(tmp_path/'c'), 'no corpus')
    rest = list(tmp_path.glob('c.partial-*'))
    assert len(rest) == (sig == 'SIGKILL')
    for o in rest: refuses(lambda: Corpus(o), o)

# ---------------------------------------------------------------- known data sets

REV = 'a'*40

class Hub(BaseHTTPRequestHandler):
    "Answers `/datasets/<repo>/resolve/<revision>/<path>` as the hub does."
    def answer(self, send):
        self.server.asked.append((self.command, self.path))
        m = re.fullmatch(r'/datasets/(.+?)/resolve/([^/]+)/(.+)', self.path.split('?')[0])
        body = self.server.files.get(m and m.groups())
        self.send_response(200 if body is not None else 404)
        if body is None: self.send_header('X-Error-Code', 'EntryNotFound')
        else:
            self.send_header('X-Repo-Commit', m[2])
            self.send_header('ETag', f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header('Content-Length', str(len(body or b'')))
        self.end_headers()
        if send and body: self.wfile.write(body)
    def do_GET(self): self.answer(True)
    def do_HEAD(self): self.answer(False)
    def log_message(self, *args): pass

@pytest.fixture
def hub(monkeypatch):
    for k in ('HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy'): monkeypatch.delenv(k, raising=False)
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    server.files, server.asked, server.url = {}, [], f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown(); server.server_close()

def add(monkeypatch, hub, name, parts, sha=None, revision=REV):
    "A data set of one split whose files lie on the local hub."
    files = [(f'data/{i}.jsonl', (sha or hashlib.sha256(b).hexdigest())) for i, b in enumerate(parts)]
    for (path, _), body in zip(files, parts): hub.files['some/set', revision or REV, path] = body
    monkeypatch.setitem(DATASETS, name, DataSet('some/set', revision, {'train': files}, 'a test'))

PARTS = [b'{"text": "a", "label": 0}\n', b'{"text": "b", "label": 1}\n']

def test_get_data(hub, monkeypatch, tmp_path):
    add(monkeypatch, hub, 'toy', PARTS)
    files = get_data('toy', cache_dir=tmp_path, endpoint=hub.url)
    assert read_labelled(files) == (['a', 'b'], [0, 1])
    assert {c for c, _ in hub.asked} == {'HEAD', 'GET'} and all(f'/resolve/{REV}/' in p for _, p in hub.asked)
    hub.asked.clear()
    assert get_data('toy', cache_dir=tmp_path, endpoint=hub.url) == files and not hub.asked       # from the cache
    monkeypatch.setenv('ULMFIT_CACHE', str(tmp_path))
    assert get_data('toy', endpoint=hub.url) == files

def test_get_data_wrong_hash(hub, monkeypatch, tmp_path):
    add(monkeypatch, hub, 'toy', PARTS, sha='0'*64)
    refuses(lambda: get_data('toy', cache_dir=tmp_path, endpoint=hub.url), 'SHA-256', 'removed')
    assert not [o for o in tmp_path.rglob('*') if o.is_file() and o.read_bytes() in PARTS]
    hub.asked.clear()
    refuses(lambda: get_data('toy', cache_dir=tmp_path, endpoint=hub.url), 'SHA-256')
    assert any(c == 'GET' for c, _ in hub.asked)                                                 # fetched again, not trusted

def test_get_data_faults(hub, monkeypatch, tmp_path):
    add(monkeypatch, hub, 'toy', PARTS)
    add(monkeypatch, hub, 'loose', PARTS, revision=None)
    def get(*args, **kw): return lambda: get_data(*args, cache_dir=tmp_path, endpoint=hub.url, **kw)
    refuses(get('nope'), "'nope'", 'imdb')
    refuses(get('toy', 'dev'), "'dev'", 'train')
    refuses(get('loose'), 'revision=')
    refuses(get('toy', revision='main'), '40 hex')
    assert not hub.asked
    assert len(get('loose', revision=REV)()) == 2
    refuses(get('toy', revision='b'*40), 'some/set/data/0.jsonl')
    hub.files.clear()
    refuses(lambda: get_data('toy', cache_dir=tmp_path/'new', endpoint=hub.url), 'some/set/data/0.jsonl')

def test_registry():
    assert set(DATASETS) == {'imdb', 'wikitext-2', 'wikitext-103', 'ag-news', 'dbpedia', 'yelp-2', 'yelp-5', 'trec-6'}
    for d in DATASETS.values():
        assert re.fullmatch('[0-9a-f]{40}', d.revision) and not d.fetched and d.repo.count('/') == 1
        for path, sha in itertools.chain(*d.files.values()): assert path.endswith('.parquet') and (sha is None or re.fullmatch('[0-9a-f]{64}', sha))
    assert [len(DATASETS[k].classes) for k in ('imdb', 'ag-news', 'dbpedia', 'yelp-2', 'yelp-5', 'trec-6')] == [2, 4, 14, 2, 5, 6]
    assert [o['name'] for o in list_data()] == list(DATASETS)

def test_data_dir(monkeypatch, tmp_path):
    monkeypatch.delenv('ULMFIT_DATA', raising=False)
    assert data_dir() is None
    monkeypatch.setenv('ULMFIT_DATA', str(tmp_path))
    assert data_dir() == tmp_path

def test_local_data():
    "Real files, where the user has them."
    if not (d := data_dir()) or not (d/'trec6').exists(): pytest.skip('ULMFIT_DATA is not set')
    texts, labels = read_labelled(d/'trec6'/'train.jsonl.xz')
    assert len(texts) == 5452 and len(set(labels)) == 6

# ---------------------------------------------------------------- the documentation corpus

SUBSET = ('networkx', 'numpy')

@pytest.fixture(scope='module')
def small(): return dedup(clean_docs(SUBSET))

def test_docstrings():
    source = '#!/bin/python\n# a comment\n"""Module."""\nx = """no\ndocstring"""\nclass A:\n    r\'\'\'Raw \\d.\'\'\'\n    def f(self,\n          x): # yes\n        """A "quoted"\n\n        line."""\n'
    assert docstrings(source) == ['Module.', 'Raw \\d.', 'A "quoted"\n\nline.']
    assert docstrings('') == docstrings('def f():\n    """open') == []

def test_prose():
    assert prose('Title\n=====\n\nSum of a.\n\nArgs:\n    x (int): the *first* one\n        goes on.\n    y: second\n\n.. math::\n\n    a + b\n\n.. note:: Kept.\n\n>>> f(1)\n1\n\nEnd.') \
        == 'Sum of a.\nthe *first* one goes on.\nsecond\nKept.\nEnd.'

@pytest.mark.parametrize('text, masked', [
    ('Uses np.dot and NumPy.', 'Uses name and name.'), ('the `axis` of :class:`~a.B` and ``x=1``', 'the name of name and name'),
    ('snake_case, CamelCase and x2', 'name and name'), ('See here.\na_b, c_d', 'See here.'), ('A scikit-learn’s pytorch', 'A name'), ('Torchvision or torch', 'name or name'),
    ('i.e. a plain sentence, 3.5 times (e.g. well-known).', 'i.e. a plain sentence, 3.5 times (e.g. well-known).'),
    ('the gadgets of a gadget', 'the name of a name'), ('call foo(x) or run --fast', 'call name or run name'), ('nptest enp symptom', 'nptest enp symptom')])
def test_mask(text, masked): assert masker({'gadget'})(text) == masked

def jaccard(a, b): return len(a & b)/len(a | b)
def triples(text): return frozenset(zip(*(_words(text)[i:] for i in range(3))))

def test_near_duplicates():
    rng = np.random.default_rng(0)
    words = np.array([f'w{chr(97+i)}{chr(97+j)}' for i in range(26) for j in range(26)])
    base = [' '.join(rng.choice(words, 60)) for _ in range(200)]
    near = [re.sub(r'^\w+ \w+', 'other start', t) for t in base]
    cluster, like = near_duplicates(base + near)
    assert (cluster[:200] == np.arange(200)).all() and (cluster[200:] == np.arange(200)).all()
    assert abs(like[200:].mean() - np.mean([jaccard(triples(a), triples(b)) for a, b in zip(base, near)])) < .02
    assert len(near_duplicates(['one', 'two words', 'one'])[0]) == 3

def test_docs_clean(small):
    assert len(small) > 1000 and {d.package for d in small} == set(SUBSET)
    leak = re.compile(r'(?i)\b(np|numpy|nx|networkx|scipy)\b|>>>|\b\w+_\w+\b')
    assert [d.text for d in small if leak.search(d.text)] == []
    assert min(sum(w != 'name' for w in _words(d.text)) for d in small) >= 8
    assert len({' '.join(_words(d.text)) for d in small}) == len(small)

def test_docs_no_leak(small):
    "No text of the test or validation side has an exact near duplicate on another side, by counting every pair."
    t = docs_task(docs=small, n_test=150, n_valid=50)
    from sklearn.feature_extraction.text import CountVectorizer
    vec = CountVectorizer(analyzer=triples, binary=True).fit([d.text for d in small])
    sides = [vec.transform(o) for o in (t.test_texts, t.valid_texts, t.texts + t.unlabelled)]
    def worst(a, b):
        common = (a @ b.T).toarray()
        return (common / np.maximum(1, a.sum(1) + b.sum(1).T - common)).max()
    assert max(worst(sides[i], sides[j]) for i, j in ((0, 1), (0, 2), (1, 2))) < .7
    copies = [Doc(d.text, d.package, i) for i, d in enumerate(small)] + [Doc(d.text, d.package, len(small)+i) for i, d in enumerate(small)]
    t = docs_task(docs=copies, n_test=150, n_valid=50)                  # the same check sees it where the clusters are wrong
    assert worst(vec.transform(t.test_texts), vec.transform(t.texts + t.unlabelled)) == 1

def test_docs_task(small):
    general = [Doc(f'general text {i}', STDLIB, 10**6+i) for i in range(5)]
    kw = dict(docs=small + general, n_test=20, n_valid=10, n_labels=5)
    t = docs_task(**kw)
    assert t.classes == sorted(SUBSET) and len(t.general) == 5
    for labels, n in ((t.test_labels, 20), (t.valid_labels, 10), (t.labels, 5)): assert sorted(labels) == sorted(SUBSET*n)
    assert len(t.unlabelled) == len(small) - 2*35
    assert vars(t) == vars(docs_task(**kw)) != vars(docs_task(**kw, seed=1))
    refuses(lambda: docs_task(docs=small, n_test=10**5), 'too few')
    refuses(lambda: docs_task(docs=[d for d in small if d.package == 'numpy']), 'two')

def test_docs_cached(tmp_path, small):
    "Deterministic, cached in one file, built again where that is damaged."
    code = f"import sys, hashlib\nfrom ulmfit_nb.docs_corpus import *\nd = docs_corpus({str(tmp_path)!r}, ('networkx',))\nprint(hashlib.sha256(repr(d).encode()).hexdigest(), 'networkx' in sys.modules)"
    def run(seed): return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, env=os.environ | {'PYTHONHASHSEED': seed}).stdout
    first = run('1')
    assert first.endswith('False\n')
    file, = tmp_path.iterdir()
    body = gzip.decompress(file.read_bytes())
    assert run('1') == first
    file.write_bytes(file.read_bytes()[:-100])
    assert run('2') == first and gzip.decompress(file.read_bytes()) == body
    assert docs_corpus(tmp_path, ('networkx', 'no_such_package')) == docs_corpus(tmp_path, ('networkx',))


@pytest.mark.parametrize('name', ['c', 'c[1]', 'a?*'])
def test_a_killed_writer_leaves_nothing_for_long(name, tmp_path):
    "What a killed process left beside a corpus goes when the corpus is written again; what a living one writes stays."
    import os, subprocess, sys, time
    code = "import os, signal, sys; from ulmfit_nb.ids import Corpus\ndef docs():\n    yield [2, 3]\n    os.kill(os.getpid(), signal.SIGKILL)\nCorpus.write(sys.argv[1], docs(), 9)"
    assert subprocess.run([sys.executable, '-c', code, str(tmp_path/name)]).returncode < 0
    dead = list(tmp_path.glob('*.partial-*'))
    living = tmp_path/f'{name}.partial-{os.getpid()}-12345678'; living.mkdir()
    assert len(dead) == 1 and not (tmp_path/name).exists()
    Corpus.write(tmp_path/name, [[2, 3]], 9)
    assert dead[0].exists() # of another machine the same number could be a living process: nothing young goes
    for o in (*dead[0].iterdir(), dead[0]): os.utime(o, (time.time()-700,)*2)
    Corpus.write(tmp_path/name, [[2, 3]], 9, overwrite=True)
    assert sorted(o.name for o in tmp_path.iterdir()) == [name, living.name]

def test_a_writer_killed_between_two_renames_loses_no_corpus(tmp_path):
    import subprocess, sys
    code = """import os, signal, sys
from pathlib import Path
from ulmfit_nb.ids import Corpus
was,calls = Path.rename,[]
def rename(self, to):
    calls.append(to)
    if len(calls) == 2: os.kill(os.getpid(), signal.SIGKILL) # the old corpus is away, the new one not there yet
    return was(self, to)
Path.rename = rename
Corpus.write(sys.argv[1], [[5]], 9, overwrite=True)"""
    Corpus.write(tmp_path/'c', [[2, 3]], 9)
    assert subprocess.run([sys.executable, '-c', code, str(tmp_path/'c')]).returncode < 0 and not (tmp_path/'c').exists()
    refuses(lambda: Corpus.write(tmp_path/'c', [[7]], 9), 'not empty') # the old one came back
    assert Corpus(tmp_path/'c').ids.tolist() == [2, 3] and not [o for o in tmp_path.iterdir() if o.name.endswith('-old')]

# ---- what a review found

def test_write_spares_what_came_meanwhile(tmp_path):
    (tmp_path/'a').mkdir()
    def docs(): (tmp_path/'a/thesis.doc').write_text('precious'); yield [1]
    with pytest.raises(InputError, match='not empty'): Corpus.write(tmp_path/'a', docs(), 9)
    assert [p.name for p in tmp_path.rglob('*')] == ['a', 'thesis.doc']
    def others(): Corpus.write(tmp_path/'b', [[7, 7]], 9); yield [1]
    with pytest.raises(InputError, match='not empty'): Corpus.write(tmp_path/'b', others(), 9)
    assert Corpus(tmp_path/'b').ids.tolist() == [7, 7]

def test_write_to_a_link_and_to_here(tmp_path, monkeypatch):
    (tmp_path/'disk').mkdir(); (tmp_path/'link').symlink_to(tmp_path/'disk')
    assert Corpus.write(tmp_path/'link', [[1]], 9).ids.tolist() == [1]
    assert (tmp_path/'link').is_symlink() and (tmp_path/'disk/ids.bin').exists()
    (tmp_path/'here').mkdir(); monkeypatch.chdir(tmp_path/'here')
    Corpus.write('.', [[2]], 9)
    assert (tmp_path/'here/ids.bin').exists()

def test_an_interrupt_between_the_renames_brings_the_old_corpus_back(tmp_path, monkeypatch):
    Corpus.write(tmp_path/'c', [[1]], 9)
    rename = Path.rename
    monkeypatch.setattr(Path, 'rename', lambda a, b: (_ for _ in ()).throw(KeyboardInterrupt) if Path(b) == tmp_path/'c' and not a.name.endswith('-old') else rename(a, b))
    with pytest.raises(KeyboardInterrupt): Corpus.write(tmp_path/'c', [[2]], 9, overwrite=True)
    assert Corpus(tmp_path/'c').ids.tolist() == [1] and [p.name for p in tmp_path.iterdir()] == ['c']

def test_folders_with_links_backups_and_capitals(tmp_path):
    for f in ('d/neg/1.txt', 'd/neg/2.TXT', 'd/neg/1.txt.bak', 'd/neg/3.txt.orig', 'd/mid/1.txt', 'far/1.txt'):
        (tmp_path/f).parent.mkdir(parents=True, exist_ok=True); (tmp_path/f).write_text(f)
    (tmp_path/'d/pos').symlink_to(tmp_path/'far')
    texts,labels = read_labelled(tmp_path/'d')
    assert labels == ['mid', 'neg', 'neg', 'pos'] and texts[1:3] == ['d/neg/1.txt', 'd/neg/2.TXT']
    (tmp_path/'d/neg/again').symlink_to(tmp_path/'d/neg')
    with pytest.raises(InputError, match='met twice'): read_labelled(tmp_path/'d')

def test_two_columns_of_one_name(tmp_path):
    pd = pytest.importorskip('pandas')
    with pytest.raises(InputError, match='same name'): read_labelled(pd.DataFrame([['a', 'b', 'x'], ['c', 'd', 'y']], columns=['text', 'text', 'label']))
    (tmp_path/'t.csv').write_text('text,label,,\na,x,,\nb,y,,\n') # as a spreadsheet writes it
    assert read_labelled(tmp_path/'t.csv') == (['a', 'b'], ['x', 'y'])

def test_choosing_documents():
    c = Corpus.from_docs([[1], [2]], 9)
    assert len(c.view([])) == len(c.select([])) == 0
    for wrong in ([True], [True]*3, [.9, 1.9]):
        with pytest.raises(InputError): c.select(wrong)
        with pytest.raises(InputError): c.view(wrong)

def test_a_large_value_makes_a_short_sentence():
    with pytest.raises(InputError) as e: list(read_texts([b'x'*10**6]))
    assert len(str(e.value)) < 300 and '\n' not in str(e.value)

def test_semicolons_and_missing_labels(tmp_path):
    (tmp_path/'s.csv').write_text('id;text;label\n1;"a; b";x\n2;c, d;y\n', encoding='utf-8')
    assert read_labelled(tmp_path/'s.csv') == (['a; b', 'c, d'], ['x', 'y'])
    (tmp_path/'one.csv').write_text('text\na; b\n', encoding='utf-8')                       # one column, no separator in its name
    assert list(read_texts(tmp_path/'one.csv')) == ['a; b']
    (tmp_path/'gaps.csv').write_text('text,label\n' + ''.join(f't{i},{"" if i%2 else "x"}\n' for i in range(30)), encoding='utf-8')
    refuses(lambda: read_labelled(tmp_path/'gaps.csv'), 'row 2, row 4, row 6', '…', 'these 15', 'as unlabelled')
    (tmp_path/'t.xlsx').write_bytes(b'PK')
    refuses(lambda: list(read_texts(tmp_path/'t.xlsx')), 'spreadsheet', 'CSV UTF-8')

@pytest.mark.parametrize('body', ['\n\ntext,label\na,b\n', 'sep=;\ntext;label\na;b\n', 'sep=|\r\ntext|label\r\na|b\r\n', 'text,label,,\na,b,,\n'])
def test_what_spreadsheets_put_around_a_table(tmp_path, body):
    (tmp_path/'t.csv').write_bytes(body.encode())
    assert read_labelled(tmp_path/'t.csv', min_classes=1) == (['a'], ['b'])

@pytest.mark.parametrize('name,body,words', [('t.csv', 'text,,\na,keep,also\n', 'line 2 fills one'), ('t.csv', '\n\ntext\na,b\n', 'at line 4'), ('t.csv', 'text,label\ra,b\rc,d\r', 'carriage return'), ('t.txt', 'a\rb\rc\r', 'carriage return'),
    ('t.jsonl', '{"text": ' + '1'*5000 + '}\n', 'limit')])
def test_tables_that_would_lose_something(tmp_path, name, body, words):
    (tmp_path/name).write_bytes(body.encode())
    with pytest.raises(InputError, match=words): list(read_rows(tmp_path/name))

def test_doubled_carriage_returns_are_no_old_line_ends(tmp_path):
    (tmp_path/'t.txt').write_bytes(b'first text\r\r\nsecond text\r\r\nthird text\r\r\n')
    assert [t.strip() for t in read_texts(tmp_path/'t.txt')] == ['first text', 'second text', 'third text']
    (tmp_path/'o.txt').write_bytes(b'a\rb\rc\r')
    with pytest.raises(InputError, match='carriage returns alone'): list(read_texts(tmp_path/'o.txt'))

def test_json_with_a_name_twice_is_refused(tmp_path):
    (tmp_path/'x.jsonl').write_text('{"text": "a"}\n{"text": "b", "label": 1, "text": "c"}', encoding='utf-8')
    with pytest.raises(InputError, match="'text' twice at line 2"): list(read_texts(tmp_path/'x.jsonl'))

def test_many_columns_with_one_name_twice(tmp_path, n=20_000):
    "A square of their number would take minutes."
    (f := tmp_path/'t.csv').write_text(','.join(map(str, range(n))) + ',7\n')
    with pytest.raises(InputError, match="same name \\('7'\\)"): list(read_rows(f))
    (f := tmp_path/'t.jsonl').write_text('{' + ', '.join(f'"{i}": 1' for i in range(n)) + ', "7": 2}\n')
    with pytest.raises(InputError, match="'7' twice at line 1"): list(read_rows(f))

def test_a_pipe_in_a_folder_is_no_text(tmp_path):
    if not hasattr(os, 'mkfifo'): pytest.skip('no pipes here')
    (tmp_path/'a.txt').write_text('one'); os.mkfifo(tmp_path/'b.txt')
    assert [t for t in read_texts([tmp_path])] == ['one']

def test_a_cache_without_a_home(monkeypatch):
    from ulmfit_nb.corpus import cache_home
    monkeypatch.delenv('ULMFIT_CACHE', raising=False)
    def nowhere(): raise RuntimeError('Could not determine home directory.')
    monkeypatch.setattr(Path, 'home', nowhere)
    with pytest.raises(InputError, match='ULMFIT_CACHE'): cache_home()

def test_a_cache_that_cannot_be_kept_or_is_empty(monkeypatch, tmp_path):
    from ulmfit_nb import docs_corpus as D
    monkeypatch.setattr(D, 'clean_docs', lambda have: [D.Doc(*['x']*len(D.Doc._fields))])
    monkeypatch.setattr(D, 'dedup', lambda docs: docs)
    made = D.docs_corpus(tmp_path)
    f, = tmp_path.iterdir()
    f.write_bytes(b'')
    assert D.docs_corpus(tmp_path) == made and f.stat().st_size
    (tmp_path/'file').write_text('')
    assert D.docs_corpus(tmp_path/'file'/'below') == made

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_another_revision_is_not_held_to_our_hash(hub, monkeypatch, tmp_path):
    add(monkeypatch, hub, 'toy', PARTS)
    hub.files = {('some/set', 'b'*40, path): body.replace(b'"a"', b'"new"') for (_,_,path),body in hub.files.items()}
    assert read_labelled(get_data('toy', cache_dir=tmp_path, endpoint=hub.url, revision='b'*40)) == (['new', 'b'], [0, 1])

def test_a_cache_that_is_named_goes_before_the_environment(monkeypatch, tmp_path):
    from ulmfit_nb.corpus import cache_home
    monkeypatch.setenv('ULMFIT_CACHE', str(tmp_path/'env'))
    assert (cache_home(tmp_path), cache_home()) == (tmp_path, tmp_path/'env')

def test_what_is_known_of_a_corpus_goes_with_it():
    import pickle
    c = Corpus.from_docs([[1], [2, 3]], 9, dict(tokenizer='x'))
    for o in (c.select([1]), c.view([1]), pickle.loads(pickle.dumps(c))): assert (o.meta, o.vocab_size, o[-1].tolist()) == (dict(tokenizer='x'), 9, [2, 3])

def test_a_view_counts_and_gives_what_it_chose():
    v = Corpus.from_docs([[1], [2, 3], [4, 5, 6]], 9).view([2, 0])
    assert v.lengths.tolist() == [3, 1] and v.n_tokens == 4 and v[-2].tolist() == [4, 5, 6] and v[-1].tolist() == [1]
    with pytest.raises(IndexError): v[2]

def test_lines_are_left_as_they_are(tmp_path):
    (tmp_path/'t.txt').write_bytes(b' a \r\n\n\tb')
    assert list(corpus.read_lines(tmp_path/'t.txt')) == [' a ', '', '\tb']

def test_control_characters_are_named():
    assert corpus.printable('a\x1b[31m\tb\r\n\x9b') == 'a\\x1b[31m\tb\\x0d\n\\x9b'

def test_a_folder_names_its_columns_as_asked(tmp_path):
    (tmp_path/'pos').mkdir(); (tmp_path/'pos/1.txt').write_text('fine')
    assert list(read_rows(tmp_path, 'body', 'mood')) == [dict(body='fine', mood='pos', file=os.path.join('pos', '1.txt'))]

def test_texts_with_their_names(monkeypatch):
    from ulmfit_nb import docs_corpus as D
    monkeypatch.setattr(D, '_read', lambda p: (['Sorts an array along its axis, as numpy does it elsewhere, slowly.'], set()))
    masked,bare = (D.clean_docs(['numpy'], masked=m)[0][0] for m in (True, False))
    assert 'numpy' in bare and masked == bare.replace('numpy', 'name')

def test_near_copies_are_dropped():
    long = ' '.join(f'w{chr(97+i)}{chr(97+j)}' for i in range(10) for j in range(10))
    docs = dedup([(long, 'a'), (long + ' end', 'b'), (' '.join(long.split()[:70]) + ' other', 'c'), ('quite another text', 'a')])
    assert [(d.package, d.cluster) for d in docs] == [('a', 0), ('c', 0), ('a', 3)]

def test_a_cache_is_for_the_versions_that_made_it(monkeypatch, tmp_path):
    from ulmfit_nb import docs_corpus as D
    from importlib.metadata import version
    assert D._version('sklearn') == version('scikit-learn') and D._version('no_such_package') == 'unknown'
    monkeypatch.setattr(D, 'clean_docs', lambda have: [('a text', have[0])])
    for v in '12':
        monkeypatch.setattr(D, '_version', lambda p: v)
        docs_corpus(tmp_path, ('numpy',))
    assert len([*tmp_path.iterdir()]) == 2
    refuses(lambda: docs_corpus(tmp_path, ('no_such_package',)), 'no_such_package')

def test_tests_are_no_documentation(tmp_path):
    from ulmfit_nb.docs_corpus import _sources
    for f in ('b.py', 'a.py', 'test_a.py', 'tests/c.py', 'sub/d.py', '.git/e.py', '_vendor/f.py', 'g.txt'):
        (tmp_path/f).parent.mkdir(exist_ok=True); (tmp_path/f).write_text('')
    assert [f.relative_to(tmp_path).as_posix() for f in _sources(tmp_path)] == ['a.py', 'b.py', 'sub/d.py']

def test_how_near_is_near():
    words = [f'w{chr(97+i)}{chr(97+j)}' for i in range(10) for j in range(10)]
    pair = [' '.join(words), ' '.join(words[:80] + ['other']*20)]          # two thirds of their triples
    assert near_duplicates(pair)[0].tolist() == [0, 0] and near_duplicates(pair, near=.9)[0].tolist() == [0, 1]

def test_which_names_of_modules_give_a_package_away():
    from ulmfit_nb.docs_corpus import _jargon
    texts = {STDLIB: ['a set '*3], 'one': ['gadget set graph '*9], 'two': ['graph text '*9]}
    assert _jargon({'gadget', 'set', 'graph', 'unused', 'x_1'}, texts) == {'gadget'}

def test_how_short_a_text_may_be(monkeypatch):
    from ulmfit_nb import docs_corpus as D
    monkeypatch.setattr(D, '_read', lambda p: (['Gives the sum.', 'Gives the sum of it.'], set()))
    assert [t for t,_ in D.clean_docs(['x'], min_words=4)] == ['Gives the sum of it.'] and D.clean_docs(['x']) == []

def test_the_task_is_read_from_the_cache_that_is_named(monkeypatch, tmp_path):
    from ulmfit_nb import docs_corpus as D
    asked = []
    monkeypatch.setattr(D, 'docs_corpus', lambda cache_dir=None: asked.append(cache_dir) or [])
    with pytest.raises(InputError): docs_task(cache_dir=tmp_path)
    assert asked == [tmp_path]

def test_small_holes_of_corpora(tmp_path, monkeypatch):
    c = Corpus.write(tmp_path/'c', [[2, 3], [2]], 10, meta=dict(file=os.fsdecode(b'caf\xe9.txt'))) # a name that is not UTF-8
    assert Corpus(tmp_path/'c').n_tokens == 3
    with pytest.raises(InputError, match='JSON'): Corpus.write(tmp_path/'d', [[2]], 10, meta=dict(file=tmp_path))
    assert not (tmp_path/'d').exists()
    for wrong in ([[0, 1]], 1):
        with pytest.raises(InputError, match='one dimension'): c.select(wrong)
    (tmp_path/'mine').write_text('mine')
    refuses(lambda: Corpus.write(tmp_path/'mine', [[2]], 10, overwrite=True), 'is a file')
    assert (tmp_path/'mine').read_text() == 'mine'
    monkeypatch.chdir(tmp_path)
    d = Corpus('c')
    monkeypatch.chdir('/')
    import pickle
    assert pickle.loads(pickle.dumps(d)).n_tokens == 3
    info = json.loads((tmp_path/'c'/'corpus.json').read_text())
    for v in ('x', None):
        (tmp_path/'c'/'corpus.json').write_text(json.dumps(info | dict(vocab_size=v)))
        refuses(lambda: Corpus(tmp_path/'c'), 'no complete corpus')

def test_sources_that_are_none(tmp_path):
    for f in (read_texts, read_labelled): refuses(lambda: list(f('')), 'empty string')
    (tmp_path/'a.csv').write_text('"text, all";label\n"one; two";x\nthree;y\n')
    assert read_labelled(tmp_path/'a.csv', text='text, all') == (['one; two', 'three'], ['x', 'y'])
    for opts in (dict(delimiter=';;'), dict(delimeter=';')):
        with pytest.raises(InputError, match='csv.reader'): list(read_texts(tmp_path/'a.csv', **opts))

def test_what_a_package_may_hold(tmp_path, monkeypatch):
    (tmp_path/'fakepkg').mkdir()
    (tmp_path/'fakepkg'/'a.py').write_text('"""A docstring about numbers that is long enough to be kept, word by word."""\n')
    (tmp_path/'fakepkg'/'b.py').symlink_to(tmp_path/'nowhere.py')
    monkeypatch.syspath_prepend(tmp_path)
    assert len(clean_docs(['fakepkg'])) == 1
    with pytest.raises(InputError, match='nosuchpkg'): clean_docs(['nosuchpkg'])

def test_texts_without_latin_letters_are_not_all_alike():
    texts = ['Привет мир как дела сегодня', 'Совсем другой текст о погоде', '今天天气很好', 'numpy', 'Привет мир как дела сегодня']
    assert near_duplicates(texts)[0].tolist() == [0, 1, 2, 3, 0]

def test_a_packed_file_in_a_folder_is_one_text_of_bounded_size(tmp_path, monkeypatch):
    (tmp_path/'f').mkdir()
    with gzip.open(tmp_path/'f/a.txt.gz', 'wt') as f: f.write('a line\n'*1000)
    assert len(next(read_texts(tmp_path/'f'))) == 7000
    monkeypatch.setattr(corpus, '_longest', 5000)
    refuses(lambda: list(read_texts(tmp_path/'f')), 'divide it')

@pytest.mark.parametrize('name,content,words', [('a.csv', gzip.compress(b'text\na\n'), 'add .gz'), ('a.csv.gz', b'text\na\n', 'take .gz away'), ('a.csv.xz', b'text\na\n', 'take .xz away'),
    ('b.csv.gz', gzip.compress(b'text\na\n'*99)[:25], 'cut short'), ('b.csv.xz', lzma.compress(b'text\na\n'*99)[:40], 'cut short')], ids=range(5))
def test_names_that_do_not_fit_what_is_in_the_file(name, content, words, tmp_path):
    (tmp_path/name).write_bytes(content)
    refuses(lambda: list(read_rows(tmp_path/name)), words)

@pytest.mark.parametrize('value', ['date', 'decimal', 'year 30000'])
def test_parquet_columns_beside_the_text(tmp_path, value, capsys):
    pa,pq = pytest.importorskip('pyarrow'),pytest.importorskip('pyarrow.parquet')
    import datetime, decimal
    from ulmfit_nb.commands import CSVLines
    column = dict(date=[[datetime.date(2024, 1, 1)]], decimal=[dict(price=decimal.Decimal('1.5'))]).get(value)
    pq.write_table(pa.table(dict(text=['good film'], x=column or pa.array([10**7], pa.date32()))), tmp_path/'t.parquet')
    if not column: refuses(lambda: list(read_rows(tmp_path/'t.parquet')), 'what pyarrow cannot read here')
    else:
        row, = read_rows(tmp_path/'t.parquet')
        CSVLines().write(list(row.values()))
        assert ('2024-01-01' if value == 'date' else '1.5') in capsys.readouterr().out

@pytest.mark.parametrize('file', [[1, 2, 3], ['a.pdf', '', None]], ids=['numbers', 'names'])
def test_a_column_named_file_takes_no_rows_place(file):
    pd = pytest.importorskip('pandas')
    refuses(lambda: read_labelled(pd.DataFrame(dict(text=['a', 'b', 'c'], label=['x', None, 'y'], file=file))), 'no label', 'row 2')

def test_numbers_by_their_quotes(tmp_path):
    (tmp_path/'a.csv').write_text('"text","year"\n"good",1999\n"bad",new\n')
    rows = read_rows(tmp_path/'a.csv', quoting=2)
    assert next(rows) == dict(text='good', year=1999.)
    refuses(lambda: next(rows), 'line 3', 'new')

def test_a_frame_of_polars_gives_its_rows():
    class Frame: # as polars has it: going through it gives its columns
        columns = ['text', 'label']
        def __iter__(self): return iter([['good', 'bad'], [1, 0]])
        def iter_rows(self): return iter([('good', 1), ('bad', 0)])
    assert list(read_texts(Frame())) == ['good', 'bad'] and read_labelled(Frame()) == (['good', 'bad'], [1, 0])
    refuses(lambda: list(read_texts(Frame(), text='body')), 'no column', 'body', "'text'")

def test_bands_need_not_divide_the_hashes():
    texts = ['one two three four five', 'one two three four five', 'six seven eight nine ten']
    for n,band in ((130, 4), (6, 4), (3, 4)): assert near_duplicates(texts, n_hashes=n, band=band)[0].tolist() == [0, 0, 2]

def test_a_cache_where_nobody_may_look_is_no_hindrance(monkeypatch, tmp_path):
    from ulmfit_nb import docs_corpus as D
    monkeypatch.setattr(D, 'clean_docs', lambda packages: [('some text about numbers', packages[0])])
    assert len(docs_corpus(tmp_path/('x'*500), ['numpy'])) == 1 # a name that the system refuses, as it does a folder of somebody else's

def test_a_table_without_a_head_makes_a_short_sentence(tmp_path):
    (tmp_path/'a.csv').write_text('"'+'A fine film, and long. '*500+'",1\n"Dull.",0\n')
    refuses(lambda: list(read_texts(tmp_path/'a.csv')), 'no column', 'A fine film', "…, '1'")
    (tmp_path/'b.csv').write_text(','.join(f'c{i}' for i in range(3000))+'\n'+','*2999+'\n')
    for f in ('a.csv', 'b.csv'):
        with pytest.raises(InputError) as e: list(read_texts(tmp_path/f))
        assert len(str(e.value)) < 400+len(str(tmp_path))

def test_a_corpus_whose_header_numpy_cannot_take_apart(tmp_path):
    Corpus.write(tmp_path/'c', [[1, 2], [3]], 9)
    f = tmp_path/'c'/'offsets.npy'
    whole = f.read_bytes()
    for old,new in ((b'}', b' '), (b'(3,)', b'(3, '), (b"'<i8'", b"'|O8'")): # an error of the tokenizer of Python, too
        f.write_bytes(whole.replace(old, new, 1))
        refuses(lambda: Corpus(tmp_path/'c'), 'write the corpus again')
