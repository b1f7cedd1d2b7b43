"Foreign checkpoints and the hub: a real fastai where there is one, hostile files, and a stand-in server that answers what the hub's client really asks."
import base64, hashlib, io, json, os, pickle, re, socket, subprocess, sys, threading, tracemalloc, zipfile
from collections import Counter, OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from fastcore.foundation import L
from sklearn.base import clone

from ulmfit_nb import InputError, ULMFiT
from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_nb.rules import SPECIALS
from ulmfit_nb.sharing import (ListReader, export_fastai, fetch_model, import_fastai, local_model, match_vocab, our_names, place_rows, push_model, read_itos,
    read_weights, their_names, their_words)
from ulmfit_nb.storage import load_backbone, save_backbone
from ulmfit_nb.tokenization import Tokenizer

pytestmark = pytest.mark.usefixtures('one_thread')
root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'benchmarks'))

def refuses(f, *words):
    "One sentence that holds `words`."
    with pytest.raises(InputError) as e: f()
    assert '\n' not in str(e.value) and all(str(w) in str(e.value) for w in words), e.value

# ---- fastai itself -----------------------------------------------------------------------------------------------

needs_fastai = pytest.mark.skipif(not os.environ.get('ULMFIT_FASTAI_PYTHON'), reason='ULMFIT_FASTAI_PYTHON does not name a Python that has fastai')
THINGS, GOOD = 'plot cast music ending dialogue camera story'.split(), 'great dull superb awful'.split()
REVIEWS = [f"The {t} was {g.upper() if i%3 else g}, and I don't know why !!!\nIt was {g} ... number {i}" for i in range(12) for t in THINGS for g in GOOD]

@needs_fastai
def test_fastai_checkpoints_score_the_same_here(tmp_path):
    from fastai_parity import compare_import
    info, diffs, tok = compare_import(tmp_path, REVIEWS)
    assert diffs['learner']['logp'] < 1e-5 and diffs['weights']['logp'] < 1e-5, (info, diffs)
    assert all(d['states'] < 1e-5 for d in diffs.values()), (info, diffs)             # the bare encoder has no decoder: its states are compared
    assert "'t" in tok.vocab and 'I' in tok.vocab and "n't" not in tok.vocab           # what the English spelling is for
    assert tok.tokens('The plot') == ['xxbos', 'xxmaj', 'the', 'plot']

@needs_fastai
@pytest.mark.skipif(not os.environ.get('ULMFIT_FASTAI1_PATH'), reason='ULMFIT_FASTAI1_PATH does not name a folder with fastai 1')
def test_fastai_1_checkpoints_score_the_same_here(tmp_path):
    from fastai_parity import compare_import
    info, diffs, tok = compare_import(tmp_path, REVIEWS, 'fastai1_peer.py')
    assert info['fastai'].startswith('1.') and diffs['learner']['logp'] < 1e-5 and diffs['weights']['logp'] < 1e-5 and all(d['states'] < 1e-5 for d in diffs.values()), (info, diffs)

@needs_fastai
def test_our_export_scores_the_same_in_fastai(tmp_path):
    from fastai_parity import compare_export
    info, diffs = compare_export(tmp_path, REVIEWS)
    assert set(diffs) == {'load', 'pretrained'} and max(diffs.values()) < 1e-5, (info, diffs)

# ---- hostile and broken files ------------------------------------------------------------------------------------

class Call:
    "Pickled, it calls a function when it is read."
    def __init__(self, f, *args): self.f, self.args = f, args
    def __reduce__(self): return self.f, self.args

def hostile(mark):
    "Ways to create the file `mark` while a pickle is read."
    touch = Call(Path.touch, Path(mark))
    return dict(list_item=['a', touch], alone=touch, dict_value={'a': touch}, system=Call(os.system, f'touch {mark}'), builtin=Call(eval, f'open({str(mark)!r}, "w").close()'),
        partial=Call(__import__('functools').partial(open, str(mark), 'w')), getattr=Call(getattr, Path(mark), 'touch'))

@pytest.mark.parametrize('name', hostile('x'))
@pytest.mark.parametrize('protocol', [0, 2, 5])
def test_hostile_pickles_run_nothing(name, protocol, tmp_path):
    mark, file = tmp_path/'mark', tmp_path/'itos.pkl'
    file.write_bytes(pickle.dumps(hostile(mark)[name], protocol=protocol))
    refuses(lambda: read_itos(file), 'itos.pkl', 'nothing in it was run')
    assert not mark.exists()
    if name in ('list_item', 'system', 'builtin'):                                     # the payloads do work where nobody minds them
        pickle.loads(file.read_bytes())
        assert mark.exists()

@pytest.mark.parametrize('name', hostile('x'))
@pytest.mark.parametrize('zipped', [True, False])
def test_hostile_checkpoints_run_nothing(name, zipped, tmp_path):
    mark, file = tmp_path/'mark', tmp_path/'lm.pth'
    torch.save({'model': {'0.encoder.weight': torch.ones(2, 2)}, 'opt': hostile(mark)[name]}, file, _use_new_zipfile_serialization=zipped)
    refuses(lambda: read_weights(file), 'lm.pth', 'nothing in it was run')
    assert not mark.exists()

def test_allowed_names_do_nothing():
    "What `L` and numpy's names are bound to keeps its state and has no behaviour."
    assert set(ListReader.names) == {'collections.Counter', 'fastcore.foundation.L'}
    assert ListReader(io.BytesIO(pickle.dumps(L('a', 'b')))).load().state == dict(items=['a', 'b'])

@pytest.mark.parametrize('name,raw', dict(empty=b'', text=b'the\nfilm\n', cut=pickle.dumps(['a']*99)[:-20], number=pickle.dumps(3), none=pickle.dumps([]), mixed=pickle.dumps(['a', 1]), nested=pickle.dumps([['a']]),
    counts=pickle.dumps(Counter('aab')), memo=b'\x80\x02]r\xff\xff\xff\x7f.', bytes8=b'\x80\x05\x96' + b'\xff'*7 + b'\x3f.', l_state=pickle.dumps(L('a')).replace(b'items', b'itemz')).items())
def test_broken_word_lists(name, raw, tmp_path):
    (tmp_path/'itos.pkl').write_bytes(raw)
    if name == 'memo': assert ListReader(io.BytesIO(raw)).load() == []                  # a forged index of two thousand million costs nothing
    refuses(lambda: read_itos(tmp_path/'itos.pkl'), 'itos.pkl')

def test_a_forged_length_gets_no_memory(tmp_path):
    (tmp_path/'itos.pkl').write_bytes(pickle.PROTO + b'\x05' + pickle.BYTEARRAY8 + (256<<20).to_bytes(8, 'little') + b'.')
    tracemalloc.start()
    refuses(lambda: read_itos(tmp_path/'itos.pkl'), 'itos.pkl')
    most = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert most < 16<<20

def test_one_long_word_many_times_gets_no_memory(tmp_path):
    "A pickle says a word once, and then which."
    (tmp_path/'itos.pkl').write_bytes(pickle.dumps(['x'*20_000]*20_000))
    assert (tmp_path/'itos.pkl').stat().st_size < 100_000
    refuses(lambda: read_itos(tmp_path/'itos.pkl'), 'itos.pkl')
    (tmp_path/'itos.pkl').write_bytes(pickle.dumps(['xxunk', *['xxfake']*5000])) # fastai fills up with such
    assert len(read_itos(tmp_path/'itos.pkl')) == 5001

def test_a_forged_shape_gets_no_network(tmp_path):
    for s in ({'0.rnns.0.weight_hh_l0_raw': torch.zeros(1, 3_000_000)}, {'0.rnns.0.weight_hh_l0_raw': torch.zeros(0, 3_000_000)}):
        torch.save(state(20) | s, tmp_path/'lm.pth'); (tmp_path/'itos.pkl').write_bytes(pickle.dumps([f'w{i}' for i in range(20)]))
        refuses(lambda: import_fastai(tmp_path/'lm.pth', tmp_path/'itos.pkl'), 'lm.pth')

def test_word_list_as_fastcore_keeps_it(tmp_path):
    (tmp_path/'itos.pkl').write_bytes(pickle.dumps(L('xxunk', 'xxpad', 'the')))
    assert read_itos(tmp_path/'itos.pkl') == ['xxunk', 'xxpad', 'the']
    refuses(lambda: read_itos(tmp_path/'none.pkl'), 'none.pkl', 'check the path')
    refuses(lambda: read_itos(tmp_path), tmp_path)

@pytest.mark.parametrize('what', [dict(a=1), [torch.ones(1)], torch.ones(2), {}, {1: torch.ones(1)}, {'model': None, 'opt': {}}, {'w': torch.ones(1).expand(10**5, 10**5)}, {'w': torch.eye(2).to_sparse()}])
def test_checkpoints_without_sound_tensors(what, tmp_path):
    torch.save(what, tmp_path/'lm.pth')
    refuses(lambda: read_weights(tmp_path/'lm.pth'), 'lm.pth')

def test_cut_and_missing_checkpoints(tmp_path):
    torch.save(state(20), tmp_path/'lm.pth')
    raw = (tmp_path/'lm.pth').read_bytes()
    for n in (0, 10, len(raw)//2, len(raw)-30):
        (tmp_path/'cut.pth').write_bytes(raw[:n])
        refuses(lambda: read_weights(tmp_path/'cut.pth'), 'cut.pth')
    refuses(lambda: read_weights(tmp_path/'none.pth'), 'none.pth', 'check the path')

# ---- names of three generations ----------------------------------------------------------------------------------

def state(n_words, emb=12, hid=20, n=2, seed=0):
    "Weights under fastai 2's names."
    torch.manual_seed(seed)
    lm = LanguageModel(AWDLSTM(n_words, (emb, hid, n)))
    with torch.no_grad():
        for p in lm.parameters(): p.normal_(0, .4)
    return {k: v.clone() for k,v in their_names(lm).items()}

def words(n): return ('xxunk xxpad xxbos xxeos xxfld xxrep xxwrep xxup xxmaj'.split() + [f'w{i}' for i in range(n)])[:n]

def files(path, st, itos):
    torch.save(st, path/'lm.pth'); (path/'itos.pkl').write_bytes(pickle.dumps(itos))
    return path/'lm.pth', path/'itos.pkl'

def reference(st, ids, bias=True):
    "Log-probabilities by torch.nn.LSTM, in fastai's ids."
    x = st['0.encoder.weight'][ids]
    for i in range(sum(k.endswith('_raw') for k in st)):
        p = {k: st[f'0.rnns.{i}.' + (f'{k}_raw' if k == 'weight_hh_l0' else f'module.{k}')] for k in ('weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0')}
        lstm = torch.nn.LSTM(p['weight_ih_l0'].shape[1], p['weight_hh_l0'].shape[1], batch_first=True)
        lstm.load_state_dict(p)
        x = lstm(x)[0]
    return (x@st['0.encoder.weight'].T + (st['1.decoder.bias'] if bias else 0)).log_softmax(-1)

def as_2018(st):
    "The names of the scripts of 2018: no bias in the decoder."
    res = {}
    for k,v in st.items():
        if k == '1.decoder.bias': continue
        k = k.replace('0.encoder_dp.emb.', '0.encoder_with_dropout.embed.')
        res[re.sub(r'(rnns\.\d+)\.weight_hh_l0_raw', r'\1.module.weight_hh_l0_raw', k)] = v
    return res

def as_v1(st):
    "fastai 1: the dropped copy of the recurrent weights beside the raw ones, before or after."
    res = OrderedDict()
    for k,v in st.items():
        if k.endswith('_raw'): res[k.replace('weight_hh_l0_raw', 'module.weight_hh_l0')] = v*0
        res[k] = v
    return res

@pytest.mark.parametrize('rename,bias', [(dict, True), (as_v1, True), (lambda st: dict(reversed(as_v1(st).items())), True), (as_2018, False), (lambda st: {'model': as_2018(st), 'opt': {'lr': .1}}, False)])
@torch.no_grad()
def test_three_generations_score_the_same(rename, bias, tmp_path):
    itos = ['_unk_', '_pad_', 'the', 't_up', '\n', 'i', "n't", 'the', '', 'a b', 'x\ufdd0', 'xxmaj', '…', 'xxfake', 'xxfake', 'caf\u00e9']
    st = state(len(itos), n=3)
    lm, tok = import_fastai(*files(tmp_path, rename(st), itos))
    assert not lm.training
    at = torch.tensor([match_vocab(itos)[1].index(i) for i in range(len(itos))])
    ids = torch.randint(len(itos), (3, 20))
    assert torch.allclose(lm(at[ids])[0].log_softmax(-1)[..., at], reference(st, ids, bias), atol=1e-5)
    assert tok.tokens('THE caf\u00e9 I xxmaj')[1:] == ['xxup', 'the', 'caf\u00e9', 'I', 'xxunk']   # a text cannot spell a special token
    tok.decode(range(tok.vocab_size))                                                          # odd words break nothing
    save_backbone(tmp_path/'b', dict(forward=lm), tok)
    assert load_backbone(tmp_path/'b')[1].vocab == tok.vocab

def test_encoder_alone(tmp_path):
    st = state(30)
    enc = {k.removeprefix('0.'): v for k,v in st.items() if k.startswith('0.')}
    lm, tok = import_fastai(*files(tmp_path, enc, words(30)))
    known = [i for i,r in enumerate(match_vocab(words(30))[1]) if r >= 0]
    assert lm.bias[known].abs().max() == 0

@pytest.mark.parametrize('change,said', [
    (lambda s: s.update({'1.decoder.weight': s['1.decoder.weight']+1}), 'weights of its own'), (lambda s: s.update({'0.rnns.0.module.weight_ih_l0_reverse': s['0.encoder.weight']}), 'reverse'),
    (lambda s: s.update({'1.layers.0.0.weight': s['0.encoder.weight']}), '1.layers.0.0.weight'), (lambda s: s.pop('0.rnns.1.module.bias_ih_l0'), 'sizes of its layers'),
    (lambda s: [s.pop(k) for k in list(s) if 'encoder' in k], 'no embedding'), (lambda s: [s.pop(k) for k in list(s) if 'rnns' in k], 'no LSTM'),
    (lambda s: s.update({'0.rnns.0.weight_hh_l0_raw': torch.ones(3, 5)}), 'sizes of its layers'), (lambda s: s.update({'1.decoder.bias': torch.ones(3)}), 'do not belong together'), (lambda s: s.update({'1.decoder.bias': torch.tensor(1.)}), 'no list of numbers')])
def test_other_architectures_are_refused(change, said, tmp_path):
    st = state(20)
    change(st)
    refuses(lambda: import_fastai(*files(tmp_path, st, words(20))), said)

def test_words_and_rows_must_agree(tmp_path): refuses(lambda: import_fastai(*files(tmp_path, state(20), words(21))), '20 rows', '21 words', 'do not belong together')

@torch.no_grad()
def test_missing_tokens_take_a_millionth(tmp_path):
    st = state(500, seed=3)
    ours = place_rows(our_names(st), [*range(500), -1, -1, -1])
    h = torch.randn(1000, 12)*3
    p = (h@ours['backbone.encoder.weight'].T + ours['bias']).softmax(-1)
    assert p[:, 500:].sum(1).max() <= 1.01e-6

@torch.no_grad()
def test_there_and_back(tmp_path):
    tok = Tokenizer.train(["I don't know ... xxmaj i", 'SOOO good\nxxfld \ufdef film'], min_count=1)
    lm = LanguageModel(AWDLSTM(tok.vocab_size, (12, 20, 2))).eval()
    lm.bias.normal_()
    again, tok2 = import_fastai(*export_fastai(lm, tok, tmp_path/'out'))
    assert tok2.vocab == tok.vocab and all(torch.equal(v, again.state_dict()[k]) for k,v in lm.state_dict().items())
    assert sorted(f.name for f in (tmp_path/'out').iterdir()) == ['lm.pth', 'lm_itos.pkl']
    raw = (tmp_path/'out/lm_itos.pkl').read_bytes()
    assert not {o.name for o,_,_ in __import__('pickletools').genops(raw)} & {'GLOBAL', 'STACK_GLOBAL', 'REDUCE', 'BUILD', 'INST', 'OBJ', 'NEWOBJ'}
    assert torch.load(tmp_path/'out/lm.pth', weights_only=True).keys() == their_names(lm).keys()

def test_an_export_that_breaks_off_leaves_no_mixed_pair(tmp_path, monkeypatch):
    import os
    tok = Tokenizer.train(['a b c'], min_count=1)
    first,second = (LanguageModel(AWDLSTM(tok.vocab_size, (12, 20, 2))) for _ in 'ab')
    export_fastai(first, tok, tmp_path)
    def full(a, b, real=os.replace):
        if str(b).endswith('.pkl'): raise OSError(28, 'No space left on device')
        real(a, b)
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError): export_fastai(second, tok, tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ['lm.pth'] # words of one model beside weights of another would load

def test_what_cannot_be_exported(tmp_path):
    bpe = Tokenizer.train(['some text to learn from']*3, kind='bpe', vocab_size=300)
    refuses(lambda: their_words(bpe), 'bpe', 'word vocabulary')
    tok = Tokenizer.train(['a b c'], min_count=1)
    refuses(lambda: export_fastai(LanguageModel(AWDLSTM(99, 'micro')), tok, tmp_path), '99 rows')
    (tmp_path/'f').write_text('')
    refuses(lambda: export_fastai(LanguageModel(AWDLSTM(tok.vocab_size, 'micro')), tok, tmp_path/'f'), 'is a file')

# ---- the commands ------------------------------------------------------------------------------------------------

def ulmfit(*args):
    from ulmfit_nb.cli import main
    try: main([str(a) for a in args])
    except SystemExit as e: return e.code

@torch.no_grad()
def test_commands(tmp_path, capsys):
    w, i = files(tmp_path, state(20), words(20))
    torch.save(state(20, seed=5), tmp_path/'bwd.pth')
    assert not ulmfit('import-fastai', w, i, '--out', tmp_path/'b', '--backward', tmp_path/'bwd.pth')
    assert load_backbone(tmp_path/'b', 'backward')[0].bias is not None and 'ulmfit train' in capsys.readouterr().out
    assert ulmfit('import-fastai', w, i, '--out', tmp_path/'b') == 2 and 'not empty' in capsys.readouterr().err
    assert ulmfit('import-fastai', i, w, '--out', tmp_path/'c') == 2 and not (tmp_path/'c').exists()
    assert not ulmfit('export-fastai', tmp_path/'b', '--out', tmp_path/'f', '--direction', 'backward')
    again, _ = import_fastai(tmp_path/'f/lm.pth', tmp_path/'f/lm_itos.pkl')
    assert torch.equal(again.bias, load_backbone(tmp_path/'b', 'backward')[0].bias)
    (tmp_path/'bad.pkl').write_bytes(pickle.dumps(Call(Path.touch, tmp_path/'mark')))
    capsys.readouterr()
    assert ulmfit('import-fastai', w, tmp_path/'bad.pkl', '--out', tmp_path/'c') == 2
    err = capsys.readouterr().err
    assert err.startswith('ulmfit: ') and err.count('\n') == 1 and 'nothing in it was run' in err and not (tmp_path/'mark').exists() and not (tmp_path/'c').exists()

# ---- a stand-in for the hub: the routes that huggingface_hub calls ------------------------------------------------

class Hub(BaseHTTPRequestHandler):
    "Repositories in memory: resolve (with the redirect of large files), create, preupload, LFS batch, upload, verify, commit. `server.repos`: name -> list of (commit, files)."
    protocol_version = 'HTTP/1.1'
    def say(self, status, body=b'', **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for k,v in headers.items(): self.send_header(k.replace('_', '-'), v)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body[:len(body)//2] if self.server.cut and self.path.startswith(self.server.cut) else body)
        if self.server.cut: self.close_connection = True
    def no(self, code, status=404): self.say(status, dict(error=code), X_Error_Code=code, X_Error_Message=code)
    def do_HEAD(self):
        s = self.server
        path = self.path.split('?')[0]
        s.asked.append(f'{self.command} {path}')
        if path.startswith('/cdn/'): return self.say(200, s.blobs[path[5:]], ETag=f'"{path[5:]}"')
        m = re.fullmatch(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)', path)
        if not m: return self.no('Unknown', 400)
        repo,rev,file = m.groups()
        if repo not in s.repos: return self.no('RepoNotFound', 401)
        found = [c for c in s.repos[repo] if rev in (c[0], 'main')]
        if not found: return self.no('RevisionNotFound')
        commit,files = found[-1]
        if file not in files: return self.say(404, X_Error_Code='EntryNotFound', X_Repo_Commit=commit)
        sha = hashlib.sha256(files[file]).hexdigest()
        if not file.endswith('.safetensors'): return self.say(200, files[file], X_Repo_Commit=commit, ETag=f'"{sha}"')
        s.blobs[sha] = files[file]
        self.say(302, X_Repo_Commit=commit, X_Linked_ETag=f'"{sha}"', X_Linked_Size=str(len(files[file])), Location=f'{s.url.replace("127.0.0.1", "localhost")}/cdn/{sha}') # another host, as the real one's store is
    do_GET = do_HEAD
    def body(self):
        self.server.asked.append(f'{self.command} {self.path.split("?")[0]}')
        return self.rfile.read(int(self.headers.get('Content-Length') or 0))
    def do_PUT(self):
        body = self.body()
        oid = self.path.removeprefix('/put/')
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.blobs[oid] = body
        self.say(200)
    def do_POST(self):
        s,raw,path = self.server,self.body(),self.path.split('?')[0]
        if path == '/api/validate-yaml': return self.say(200, dict(errors=[], warnings=[]))
        if path == '/verify': return self.say(200, {})
        if self.headers.get('Authorization') != 'Bearer secret': return self.no('Unauthorized', 401)
        if path == '/api/repos/create':
            d = json.loads(raw)
            name = f'{d["organization"]}/{d["name"]}'
            if name in s.repos: return self.say(409, dict(error='exists', url=f'{s.url}/{name}'))
            s.repos[name] = [('0'*40, {})]
            return self.say(200, dict(url=f'{s.url}/{name}', name=name))
        m = re.fullmatch(r'/api/models/([^/]+/[^/]+)/(preupload|commit)/main', path)
        if m and m[2] == 'preupload':
            return self.say(200, dict(files=[dict(path=f['path'], uploadMode='lfs' if f['path'].endswith('.safetensors') else 'regular', shouldIgnore=False) for f in json.loads(raw)['files']]))
        if m:
            files = dict(s.repos[m[1]][-1][1])
            for row in map(json.loads, raw.splitlines()):
                v = row['value']
                if row['key'] == 'file': files[v['path']] = base64.b64decode(v['content'])
                elif row['key'] == 'lfsFile': files[v['path']] = s.blobs[v['oid']]
            commit = hashlib.sha1(raw).hexdigest()
            s.repos[m[1]].append((commit, files))
            return self.say(200, dict(success=True, commitOid=commit, commitUrl=f'{s.url}/{m[1]}/commit/{commit}', hookOutput=''))
        if path.endswith('.git/info/lfs/objects/batch'):
            obs = [o | dict(actions=dict(upload=dict(href=f'{s.url}/put/{o["oid"]}'), verify=dict(href=f'{s.url}/verify'))) for o in json.loads(raw)['objects']]
            return self.say(200, dict(transfer='basic', objects=obs))
        self.no('Unknown', 400)
    def log_message(self, *args): pass

PROXIES = [f(k) for k in ('HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY') for f in (str.upper, str.lower)]

@pytest.fixture
def hub(monkeypatch):
    for k in PROXIES: monkeypatch.delenv(k, raising=False)
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    server.repos, server.blobs, server.asked, server.cut, server.url = {}, {}, [], '', f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown(); server.server_close()

@pytest.fixture(scope='module')
def backbone(tmp_path_factory):
    path = tmp_path_factory.mktemp('sharing')/'backbone'
    torch.manual_seed(0)
    tok = Tokenizer.train(REVIEWS, min_count=1)
    save_backbone(path, dict(forward=LanguageModel(AWDLSTM(tok.vocab_size, 'micro'))), tok)
    return path

def content(path): return {f.name: f.read_bytes() for f in Path(path).iterdir()}
def put(hub, name, *versions):
    "Versions of a repository: the n-th has the commit nnn…"
    hub.repos[name] = [(f'{i+1}'*40, files) for i,files in enumerate(versions)]

def test_fetch(hub, backbone, tmp_path):
    put(hub, 'some/backbone', {}, content(backbone) | {'evil.py': b'x', 'pytorch_model.bin': b'x', 'itos.pkl': b'x'})
    kw = dict(cache_dir=tmp_path, endpoint=hub.url)
    path = fetch_model('some/backbone', **kw)
    assert path.name == '2'*40 and sorted(content(path)) == ['config.json', 'model.safetensors', 'tokenizer.json']
    assert content(path).items() <= content(backbone).items()
    assert not any(re.search(r'evil|\.bin|\.pkl', a) for a in hub.asked)               # nothing but safetensors and JSON is asked for
    hub.asked.clear()
    assert fetch_model('some/backbone', '2'*40, **kw) == path and not hub.asked         # a commit that is there needs no network
    a, b = load_backbone(ULMFiT.from_pretrained('some/backbone', **kw).backbone)[0], load_backbone(backbone)[0]
    assert all(torch.equal(v, b.state_dict()[k]) for k,v in a.state_dict().items())

def test_three_files_of_one_commit(hub, backbone, tmp_path, monkeypatch):
    "The owner pushes while we fetch: all files come from the commit that the first came from."
    put(hub, 'some/backbone', content(backbone))
    import huggingface_hub
    real = huggingface_hub.hf_hub_download
    def pushing(*args, **kw):
        path = real(*args, **kw)
        if len(hub.repos['some/backbone']) == 1: hub.repos['some/backbone'].append(('2'*40, {k: v[:9] for k,v in content(backbone).items()}))
        return path
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', pushing)
    path = fetch_model('some/backbone', cache_dir=tmp_path, endpoint=hub.url)
    assert path.name == '1'*40 and content(path).items() <= content(backbone).items()

def test_fetch_faults(hub, backbone, tmp_path):
    good = content(backbone)
    for name, files in dict(sound=good, unweighted={k: v for k,v in good.items() if k != 'model.safetensors'}, pickled={'pytorch_model.bin': b'x'}, damaged=good | {'model.safetensors': good['model.safetensors'][:999]}).items(): put(hub, f'some/{name}', files)
    def get(name, *args): return lambda: ULMFiT.from_pretrained(name, *args, cache_dir=tmp_path, endpoint=hub.url)
    refuses(get('some/none'), 'some/none', 'no such repository', 'check the name')
    refuses(get('some/sound', 'v9'), "no revision 'v9'")
    refuses(get('some/unweighted'), 'holds no model.safetensors')
    refuses(get('some/pickled'), 'holds no config.json')
    refuses(lambda: get('some/damaged')().check(), 'model.safetensors', 'damaged')      # stored short by its owner
    hub.cut = '/cdn/'                                                                   # broken off on the way
    refuses(get('some/sound'), 'some/sound', 'could not be', 'model.safetensors')
    hub.cut = ''
    assert get('some/sound')().check()                                                  # and nothing broken was kept

def test_no_network(hub, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr('huggingface_hub.utils._http.time.sleep', lambda s: None)        # the client tries five times and waits 23 seconds in between
    put(hub, 'some/backbone', content(backbone))
    kw = dict(cache_dir=tmp_path, endpoint=hub.url)
    path = fetch_model('some/backbone', **kw)
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        kw['endpoint'] = f'http://127.0.0.1:{s.getsockname()[1]}'                       # nobody listens there
    assert fetch_model('some/backbone', **kw) == path                                   # the cache helps out
    refuses(lambda: fetch_model('some/other', **kw), 'some/other', 'cannot be reached', 'check the network')

def test_local_names_never_touch_the_network(backbone, tmp_path, monkeypatch):
    def never(*args): raise AssertionError('the network was used')
    monkeypatch.setattr(socket.socket, 'connect', never)
    monkeypatch.chdir(tmp_path)
    ULMFiT.from_pretrained(backbone).save_pretrained('owner/name')                      # a directory that looks like a name on the hub
    assert content('owner/name') == content(backbone)
    for p in (backbone, str(backbone), 'owner/name', Path('owner/name')): assert ULMFiT.from_pretrained(p).check().backbone == p
    for p in ('nowhere', './owner/none', '/owner/none', '../a/b', 'a/b/c', Path('owner/none')): refuses(lambda: ULMFiT.from_pretrained(p).check(), 'not a directory')
    refuses(lambda: ULMFiT.from_pretrained('owner/name', 'main'), 'revision', 'leave it out')
    assert local_model(None) is None

@pytest.mark.parametrize('part', ['params', 'settings']) # wherever the file says it
def test_a_file_that_names_a_backbone_asks_no_network(part, hub, backbone, tmp_path, monkeypatch):
    put(hub, 'some/backbone', content(backbone))
    monkeypatch.setenv('ULMFIT_CACHE', str(tmp_path/'cache'))
    import huggingface_hub
    real = huggingface_hub.hf_hub_download
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', lambda *args, **kw: real(*args, **kw | dict(endpoint=hub.url)))
    ULMFiT(backbone, device='cpu', bs=8, lm_epochs=0, epochs=1, self_train=0).fit(REVIEWS[:8], ['a', 'b']*4).save(tmp_path/'model')
    f = tmp_path/'model'/'config.json'
    c = json.loads(f.read_text(encoding='utf-8'))
    c['params'].pop('backbone')
    c[part]['backbone'] = 'some/backbone'
    f.write_text(json.dumps(c), encoding='utf-8')
    clf = ULMFiT.load(tmp_path/'model', 'cpu')
    for est in (clf, clone(clf)): refuses(lambda: est.fit(REVIEWS[:8], ['a', 'b']*4), 'some/backbone', 'not in the cache', 'from_pretrained')
    assert clf.predict(REVIEWS).size and not hub.asked                                  # it goes on answering
    path = fetch_model('some/backbone')                                                 # asked for by name
    assert hub.asked
    hub.asked.clear()
    assert clf._from() == clone(clf)._from() == path and not hub.asked

END_TO_END = """
import sys; from ulmfit_nb import ULMFiT, InputError
where, texts = sys.argv[1], ['good film', 'bad film']*20
clf = ULMFiT.from_pretrained(where)
first = clf.push_to_hub('me/backbone', private=True)
clf = ULMFiT.from_pretrained('me/backbone', revision=first, epochs=1, lm_epochs=1, bs=8, random_state=0, progress=False, device='cpu')
p = clf.fit(texts, [0, 1]*20).predict_proba(texts)
second = clf.push_to_hub('me/classifier')
again = ULMFiT.from_pretrained('me/classifier', revision=second, device='cpu')
assert (again.predict_proba(texts) == p).all() and again.push_to_hub('me/classifier') != first
try: ULMFiT.from_pretrained('me/classifier', lr=.1)
except InputError as e: assert 'takes no settings' in str(e)
else: raise AssertionError
try: clf.push_to_hub('me/backbone', token='wrong')
except InputError as e: assert 'me/backbone' in str(e) and '\\n' not in str(e), e
else: raise AssertionError
print(first, second)
"""

def test_push_and_pull_over_http(hub, backbone, tmp_path):
    "The client as users have it: HF_ENDPOINT names the hub, HF_TOKEN the user. Xet, the hub's newer way for large files, is off: the stand-in speaks LFS."
    env = {k: v for k,v in os.environ.items() if k not in PROXIES} | dict(HF_ENDPOINT=hub.url, HF_TOKEN='secret', HF_HOME=str(tmp_path/'hf'), HF_HUB_DISABLE_XET='1', ULMFIT_CACHE=str(tmp_path/'cache'),
        HF_HUB_DISABLE_PROGRESS_BARS='1', OMP_NUM_THREADS='1')
    p = subprocess.run([sys.executable, '-c', END_TO_END, str(backbone)], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert p.returncode == 0, p.stderr[-3000:]
    assert sorted(hub.repos) == ['me/backbone', 'me/classifier']
    assert hub.repos['me/backbone'][1][1] == content(backbone)
    assert {'POST /api/repos/create', 'POST /api/models/me/backbone/commit/main', 'POST /me/backbone.git/info/lfs/objects/batch'} <= {*hub.asked}
    assert not any(f.name.startswith('.') for f in backbone.parent.iterdir())

def test_what_is_not_pushed(hub, tmp_path, backbone):
    refuses(lambda: push_model(tmp_path, 'me/x', endpoint=hub.url, token='secret'), 'config.json')
    refuses(lambda: ULMFiT(None).push_to_hub('me/x', endpoint=hub.url, token='secret'), 'nothing to save')
    assert not hub.asked
    refuses(lambda: push_model(backbone, 'a b', endpoint=hub.url, token='secret'), 'a b')
    refuses(lambda: push_model(backbone, 'me/x', endpoint=hub.url, token='wrong'), 'me/x')
    assert not hub.repos

def test_the_packages_own_backbone_can_be_saved(tmp_path):
    from ulmfit_nb.storage import find_backbone
    ULMFiT().save_pretrained(tmp_path/'copy')
    assert content(tmp_path/'copy') == content(find_backbone('en-small'))

# ---- what a review found

def test_a_pickle_cannot_change_counter(tmp_path):
    from collections import Counter
    update = Counter.update
    (tmp_path/'evil.pkl').write_bytes(b'\x80\x02ccollections\nCounter\nN}X\x06\0\0\0updateX\x05\0\0\0pwneds\x86b0]X\x03\0\0\0thea.')
    refuses(lambda: read_itos(tmp_path/'evil.pkl'), 'pickle')
    assert Counter.update is update

def test_compressed_weights_are_refused(tmp_path):
    import zipfile
    torch.save({'w': torch.zeros(1000)}, tmp_path/'a.pth')
    with zipfile.ZipFile(tmp_path/'a.pth') as a, zipfile.ZipFile(tmp_path/'b.pth', 'w', zipfile.ZIP_DEFLATED) as b:
        for i in a.infolist(): b.writestr(i.filename, a.read(i))
    assert read_weights(tmp_path/'a.pth').keys() == {'w'}
    refuses(lambda: read_weights(tmp_path/'b.pth'), 'compressed')

@pytest.mark.parametrize('kw,words', [(dict(cutoffs=(12,)), 'adaptive softmax'), (dict(skip=True), 'skip connections')])
def test_what_fastai_has_not_is_not_exported(kw, words, tmp_path):
    tok = Tokenizer.train(['a film of the year', 'the year of a film'], kind='word', vocab_size=60, min_count=1, n_workers=1)
    model = LanguageModel(AWDLSTM(tok.vocab_size, (8, 12, 1), skip=kw.get('skip', False)), cutoffs=kw.get('cutoffs', ()))
    refuses(lambda: export_fastai(model, tok, tmp_path/'out'), words)
    assert not (tmp_path/'out').exists()

def test_a_copied_backbone_stands_alone(tmp_path):
    tok = Tokenizer.train(['a film of the year', 'the year of a film'], kind='word', vocab_size=60, min_count=1, n_workers=1)
    for d in 'ab': save_backbone(tmp_path/d, dict(forward=LanguageModel(AWDLSTM(tok.vocab_size, (8, 12, 1)))), tok, [dict(step=1)], about=f'Model {d}.')
    (tmp_path/'a/README.md').unlink(); (tmp_path/'a/history.csv').unlink()
    ULMFiT(tmp_path/'a').save_pretrained(tmp_path/'b')
    assert sorted(p.name for p in (tmp_path/'b').iterdir()) == ['config.json', 'model.safetensors', 'tokenizer.json'] # no card of another model
    load_backbone(tmp_path/'b')

@pytest.mark.parametrize('given, shared', [('backbones/of-a-client', 'of-a-client'), ('owner/name', 'owner/name'), ('en-small', 'en-small'), (None, None)])
def test_a_shared_classifier_does_not_say_where_its_backbone_lies(given, shared, tmp_path, monkeypatch):
    from ulmfit_nb.sharing import _copy_to_share
    monkeypatch.chdir(tmp_path)
    (tmp_path/'backbones'/'of-a-client').mkdir(parents=True); (tmp_path/'m').mkdir(); (tmp_path/'to').mkdir()
    for name in {given, given and str((tmp_path/given).absolute())} if given and 'client' in given else {given}:
        (tmp_path/'m'/'config.json').write_text(json.dumps(dict(kind='classifier', params=dict(backbone=name))), encoding='utf-8')
        _copy_to_share(tmp_path/'m', tmp_path/'to')
        assert json.loads((tmp_path/'to'/'config.json').read_text(encoding='utf-8'))['params']['backbone'] == shared

def test_a_name_is_the_packages_backbone_whatever_lies_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path); (tmp_path/'en-small').mkdir()
    assert ULMFiT.from_pretrained('en-small').backbone == 'en-small'

def test_a_shared_classifier_does_not_say_where_its_training_file_lies(tmp_path):
    from ulmfit_nb.sharing import _copy_to_share
    (tmp_path/'m').mkdir(); (tmp_path/'to').mkdir()
    for f in ('tokenizer.json', 'model.safetensors', 'README.md', 'notes.txt'): (tmp_path/'m'/f).write_text('{}')
    config = dict(kind='classifier', labels=['é'], meta=dict(data=str(tmp_path/'reviews.csv'), seed=0))
    (tmp_path/'m'/'config.json').write_text(json.dumps(config), encoding='utf-8')
    _copy_to_share(tmp_path/'m', tmp_path/'to')
    assert sorted(f.name for f in (tmp_path/'to').iterdir()) == ['README.md', 'config.json', 'model.safetensors', 'tokenizer.json']
    assert json.loads((tmp_path/'to'/'config.json').read_text(encoding='utf-8')) == config | dict(meta=dict(data='reviews.csv', seed=0))
    assert json.loads((tmp_path/'m'/'config.json').read_text(encoding='utf-8')) == config

# ---- files that ask for too much

def zipped(path, entries, compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compress) as z:
        for name,content,extra in entries:
            i = zipfile.ZipInfo(name); i.compress_type,i.extra = compress,extra
            z.writestr(i, content)
    return path

@pytest.mark.parametrize('extra', [b'', b'\x99\x99\xff\x00'])
def test_a_packed_checkpoint_is_refused_however_it_is_hidden(tmp_path, extra):
    torch.save({'w': torch.zeros(2**16)}, tmp_path/'plain.pth')
    with zipfile.ZipFile(tmp_path/'plain.pth') as z: entries = [(i.filename, z.read(i), extra) for i in z.infolist()]
    with pytest.raises(InputError, match='do not use the file'): read_weights(zipped(tmp_path/'x.pth', entries, zipfile.ZIP_DEFLATED))

def test_entries_that_overlap_are_refused(tmp_path, monkeypatch):
    torch.save({'w': torch.zeros(2**10)}, f := tmp_path/'x.pth')
    names = zipfile.ZipFile.infolist
    monkeypatch.setattr(zipfile.ZipFile, 'infolist', lambda z: names(z)*9)
    with pytest.raises(InputError, match='any size'): read_weights(f)

def test_memory_without_content_is_refused(tmp_path):
    content = pickle.dumps({'w': bytearray(3)}, 2)
    zipped(f := tmp_path/'x.pth', [('x/data.pkl', content, b''), ('x/version', b'3', b'')])
    with pytest.raises(InputError, match='bytearray'): read_weights(f)
    (tmp_path/'old.pth').write_bytes(content)
    with pytest.raises(InputError, match='bytearray'): read_weights(tmp_path/'old.pth')

def test_keys_of_tuples_in_tuples_are_refused(tmp_path):
    "Each look at such a key would double the time."
    deep = b')' + b'2\x86'*40
    for name,code in dict(item=b'}' + deep + b'Ns.', items=b'}(' + deep + b'Nu.', add=b'\x8f(' + deep + b'\x90.', frozen=b'(' + deep + b'\x91.', dict=b'(' + deep + b'Nd.').items():
        (f := tmp_path/f'{name}.pkl').write_bytes(b'\x80\x04' + code)
        with pytest.raises(InputError, match='keys that are no words'): read_itos(f)

# ---- small faults that no test above would show ----------------------------------------------------------------

def test_of_equal_words_the_last_counts():
    words,rows = match_vocab(['the', 'xxbos', 'the', 'xxbos'])
    assert rows[SPECIALS.index('xxbos')] == 3 and rows[len(SPECIALS):] == [0, 1, 2] and words[2] == 'the' and len({*words}) == 3

def test_a_token_that_is_missing_gets_the_mean_row():
    w,b = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))[0],torch.arange(4.)
    res = place_rows({'backbone.encoder.weight': w, 'bias': b}, [2, -1, 0])
    assert torch.equal(res['backbone.encoder.weight'], torch.stack([w[2], w.mean(0), w[0]])) and res['bias'][0] == 2 and res['bias'][1] < b.mean()

def test_what_is_pushed_may_be_private_and_on_a_branch(backbone, monkeypatch):
    import huggingface_hub
    from types import SimpleNamespace
    said = []
    class Api:
        def __init__(self, **kw): said.append(kw)
        def create_repo(self, name, **kw): said.append(kw)
        def upload_folder(self, **kw): said.append({k: kw[k] for k in ('repo_id', 'revision')}); return SimpleNamespace(oid='c')
    monkeypatch.setattr(huggingface_hub, 'HfApi', Api)
    assert push_model(backbone, 'me/m', private=True, revision='try', token='t') == 'c'
    assert said == [dict(endpoint=None, token='t'), dict(private=True, exist_ok=True), dict(repo_id='me/m', revision='try')]
