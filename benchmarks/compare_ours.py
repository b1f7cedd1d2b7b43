"Our side of compare.py: prepares one row, then runs a round for each line `go` on standard input. A round may say more than its seconds."
import json, resource, subprocess, sys, time
from pathlib import Path


def say(**kw): print('@@' + json.dumps(kw), flush=True)

def recurrent(emb=400, hid=1152): return 4*hid*hid*2 + 4*emb*emb # hidden-to-hidden weights of three layers

def lstm_flops(tokens, vocab=0, train=True, emb=400, hid=1152):
    "Two operations a weight and token forward, twice that backward."
    w = 4*hid*(emb+hid) + 4*hid*2*hid + 4*emb*(hid+emb) + vocab*emb
    return 2*w*tokens*(3 if train else 1)

CUTOFFS = (2000, 10000)
def softmax_rows(corpus, vocab, kind):
    "Rows of the decoder that a token pays for, in the mean."
    if kind != 'adaptive': return vocab
    import numpy as np
    ids = np.concatenate([np.asarray(corpus[i]) for i in range(min(len(corpus), 500))])
    edges = [*CUTOFFS, vocab]
    return CUTOFFS[0] + len(CUTOFFS) + sum((b-a)*((ids >= a) & (ids < b)).mean() for a,b in zip(edges, edges[1:]))

def precision(s):
    "Of a kind; the adaptive softmax and chunks side by side take what `auto` would."
    from ulmfit_nb.bfloat16 import cpu_has_bf16
    return 'bf16' if s['kind'] == 'bf16' or s['kind'] in ('adaptive', 'side-by-side') and (s['device'] == 'cuda' or cpu_has_bf16()) else 'float32'

def sync(s):
    if s['device'] == 'cuda':
        import torch
        torch.cuda.synchronize()

def tokenizing(s, xs):
    from ulmfit_nb.tokenization import Tokenizer
    part, size = [], 0
    for x in xs:
        part.append(x); size += len(x.encode())
        if size > s['mb']*1e6: break
    tok = Tokenizer.train(part[:2000])
    return lambda: sum(len(i) for i in tok.encode_iter(part, n_workers=2)), dict(work=size/1e6)

def ids_of(xs, vocab):
    from ulmfit_nb.tokenization import Tokenizer
    return Tokenizer.train(xs, vocab_size=vocab, min_count=1)

def language_model(s, size='base', **kw):
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    more = dict(cutoffs=CUTOFFS) if s['kind'] == 'adaptive' else {}
    return LanguageModel(AWDLSTM(s['vocab'], size, **kw), **more) # rows beyond the text's own words are there to be paid for

def train(s, xs):
    from ulmfit_nb.ids import Corpus
    from ulmfit_nb.language_model import LMBatches
    from ulmfit_nb.optimizers import Phase, TrainConfig
    from ulmfit_nb.training import Trainer
    tok = ids_of(xs, s['vocab'])
    corpus = Corpus.from_docs(tok.encode_iter(xs, n_workers=1), tok.vocab_size)
    corpus.vocab_size = s['vocab']
    t = Trainer(language_model(s), LMBatches(corpus, s['bs'], 72, variable=False), [Phase(50)], TrainConfig(device=s['device'], precision=precision(s), clip=.3), progress=False)
    def go():
        t.fit(steps=t.step+s['steps'])
        sync(s)
    n, rows = s['bs']*72*s['steps'], softmax_rows(corpus, s['vocab'], s['kind'])
    return go, dict(work=n, flops=lstm_flops(n, rows), softmax_rows=rows, bf16=t.bf16, what='400/1152/3, all dropouts, AR/TAR, clipping, Adam')

def loss(s, xs):
    "200 steps for each kind from the same weights and batches: loss on held-out text."
    import torch
    from ulmfit_nb.awd_lstm import LM_DROPOUTS
    from ulmfit_nb.ids import Corpus
    from ulmfit_nb.language_model import LMBatches, lm_metrics
    from ulmfit_nb.optimizers import Phase, TrainConfig
    from ulmfit_nb.training import Trainer
    tok = ids_of(xs, s['vocab'])
    s, gpu = s | dict(vocab=tok.vocab_size), s['device'] == 'cuda'
    docs = list(tok.encode_iter(xs, n_workers=1))
    cut = len(docs)//10
    train, valid = (Corpus.from_docs(d, tok.vocab_size) for d in (docs[cut:], docs[:cut]))
    size, bs, steps = ('base' if gpu else (64, 128, 2)), 32, 200
    src = LMBatches(train, bs, 72, variable=False)
    def one(kind):
        torch.manual_seed(0)
        model = language_model(s | dict(kind=kind), size, drops=LM_DROPOUTS*.1)
        t = Trainer(model, src, [Phase(steps/src.n_batches(0), 8e-3, div=1.)], TrainConfig(device=s['device'], precision=precision(s | dict(kind=kind)), seed=0), progress=False)
        t.fit(steps=steps)
        return lm_metrics(t.model, LMBatches(valid, bs, 72, variable=False, shuffle=False))['valid_loss']
    return lambda: dict(losses={k: one(k) for k in ['float32', *(k for k in s['kinds'] if k != 'float32')]}), dict(size=size, bs=bs, bptt=72, steps=steps, vocab=tok.vocab_size, work=1)

def classifier(s, xs):
    import numpy as np
    from ulmfit_nb.awd_lstm import AWDLSTM
    from ulmfit_nb.batches import ClasBatches
    from ulmfit_nb.bpt3c import TextClassifier
    from ulmfit_nb.optimizers import Phase, TrainConfig
    from ulmfit_nb.training import Trainer
    tok = ids_of(xs, s['vocab'])
    docs = list(tok.encode_iter(xs[:s['n']], n_workers=1))
    model = TextClassifier(AWDLSTM(s['vocab'], 'base'), 2, side_by_side=s['kind'] == 'side-by-side')
    t = Trainer(model, ClasBatches(docs, np.arange(len(docs))%2, s['bs']), [Phase(50, 1e-3)], TrainConfig(device=s['device'], precision=precision(s), clip=25.), progress=False, unit='texts')
    steps = t.source.n_batches(0)
    def go():
        t.fit(steps=t.step+steps)
        sync(s)
    return go, dict(work=len(docs), flops=lstm_flops(sum(min(len(d), 1400) for d in docs)), tokens=sum(map(len, docs)), bf16=t.bf16)

def predict(s, xs, one=False):
    from ulmfit_nb.awd_lstm import AWDLSTM
    from ulmfit_nb.bpt3c import TextClassifier
    from ulmfit_nb.classifier import predict_logits
    from ulmfit_nb.int8 import int8_model
    tok = ids_of(xs, s['vocab'])
    model, part, kind = TextClassifier(AWDLSTM(s['vocab'], 'base'), 2).to(s['device']), xs[:s['n']], s['kind']
    if kind == 'int8': model = int8_model(model)
    def run(texts, **kw): return predict_logits(model, list(tok.encode_iter(texts, **kw)), precision=kind).softmax(1)
    n = sum(map(len, tok.encode_iter(part, n_workers=1)))
    if not one: return lambda: run(part), dict(work=len(part), tokens=n, flops=lstm_flops(n, train=False))
    wide,size = lstm_flops(n, train=False) - 2*recurrent()*n,recurrent()*dict(float32=4, bf16=2, int8=1)[kind] # the products with the inputs run over a whole text at once
    return lambda: [run([x], n_workers=1) for x in part], dict(work=len(part), tokens=n, flops=wide, bytes=n*size, set_bytes=size)

def cold(s, xs):
    "A whole `ulmfit predict` on one line, and `import torch` beside it."
    import numpy as np
    from ulmfit_nb.awd_lstm import AWDLSTM
    from ulmfit_nb.bpt3c import TextClassifier
    from ulmfit_nb.ulmfit import ULMFiT
    folder, tok, clf = Path(s['work'])/'cold-ours', ids_of(xs, s['vocab']), ULMFiT()
    clf.tokenizer_, clf.classes_, clf.history_ = tok, np.array(['neg', 'pos']), {}
    clf.models_ = dict(forward=TextClassifier(AWDLSTM(tok.vocab_size, 'base'), 2).eval())
    clf.save(folder)
    line = ' '.join(xs[0].split()[:30])
    def timed(*args, **kw):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *args], check=True, capture_output=True, text=True, **kw)
        return time.perf_counter()-begun
    def go():
        secs = timed('-m', 'ulmfit_nb', 'predict', str(folder), '--device', s['device'], input=line+'\n')
        return dict(seconds=secs, torch_seconds=timed('-c', 'import torch'))
    return go, dict(work=1, what='ulmfit predict, one line of 30 words, 400/1152/3')

def baseline(s, xs):
    "TF-IDF and logistic regression: reported, not compared."
    import numpy as np
    from ulmfit_nb.corpus import data_dir, read_rows
    from ulmfit_nb.evidence import baseline as fitted
    if data_dir() and (data_dir()/'imdb'/'train.jsonl.xz').exists():
        rows = list(read_rows(data_dir()/'imdb'/'train.jsonl.xz'))
        rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:2*s['n']]]
        texts, labels = [r['text'] for r in rows], [r['label'] for r in rows]
    else:
        from ulmfit_nb.docs_corpus import docs_task
        task = docs_task()
        texts, labels = [*task.texts, *task.test_texts], [*task.labels, *task.test_labels]
    n = min(s['n'], len(texts)//2)
    def go():
        begun = time.perf_counter(); model = fitted(texts[:n], labels[:n]); mid = time.perf_counter()
        model.predict_proba(texts[n:2*n]); end = time.perf_counter()
        return dict(seconds=end-begun, fit_per_s=n/(mid-begun), predict_per_s=n/(end-mid))
    return go, dict(work=n, what='fit on n documents and predict n others')

MAKE = dict(tokenizing=tokenizing, classifier=classifier, predict=predict, cold=cold, baseline=baseline, loss=loss,
    **{'train-30k': train, 'train-60k': train, 'one-text': lambda s, xs: predict(s, xs, True)})

if __name__ == '__main__':
    s = json.loads(sys.argv[1])
    go, facts = MAKE[s['row']](s, json.load(open(s['texts'])))
    say(**facts)
    for line in sys.stdin:
        if line.strip() == 'end': break
        begun = time.perf_counter(); res = go(); took = time.perf_counter()-begun
        say(**(dict(seconds=took) | (res if isinstance(res, dict) else {})))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, *([resource.RUSAGE_CHILDREN] if s['row'] == 'cold' else [])))/2**20
    if s['device'] == 'cuda' and s['row'] != 'cold':
        import torch
        peak = torch.cuda.max_memory_allocated()/2**30
    say(peak_gb=round(peak, 2))
