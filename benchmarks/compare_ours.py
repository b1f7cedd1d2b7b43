"Our side of compare.py: prepares one row, then runs a round for each line `go` on standard input."
import json, resource, sys, time


def say(**kw): print('@@' + json.dumps(kw), flush=True)

def lstm_flops(tokens, vocab=0, train=True, emb=400, hid=1152):
    "Two operations a weight and token forward, twice that backward."
    w = 4*hid*(emb+hid) + 4*hid*2*hid + 4*emb*(hid+emb) + vocab*emb
    return 2*w*tokens*(3 if train else 1)

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
    tok = Tokenizer.train(xs, vocab_size=vocab, min_count=1)
    return tok

def train(s, xs):
    import torch
    from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
    from ulmfit_nb.corpus import Corpus
    from ulmfit_nb.language_model import LMBatches
    from ulmfit_nb.training import Phase, TrainConfig, Trainer
    tok = ids_of(xs, s['vocab'])
    corpus = Corpus.from_docs(tok.encode_iter(xs, n_workers=1), tok.vocab_size)
    model = LanguageModel(AWDLSTM(s['vocab'], 'base')) # rows beyond the text's own words are there to be paid for
    corpus.vocab_size = s['vocab']
    t = Trainer(model, LMBatches(corpus, s['bs'], 72, variable=False), [Phase(50)], TrainConfig(device=s['device'], precision='bf16' if s['kind'] == 'bf16' or s['device'] == 'cuda' else 'float32', clip=.3), progress=False)
    def go():
        t.fit(steps=t.step+s['steps'])
        if s['device'] == 'cuda': torch.cuda.synchronize()
    n = s['bs']*72*s['steps']
    return go, dict(work=n, flops=lstm_flops(n, s['vocab']), what='400/1152/3, all dropouts, AR/TAR, clipping, Adam')

def classifier(s, xs):
    import numpy as np, torch
    from ulmfit_nb.awd_lstm import AWDLSTM
    from ulmfit_nb.classifier import ClasBatches, TextClassifier
    from ulmfit_nb.training import Phase, TrainConfig, Trainer
    tok = ids_of(xs, s['vocab'])
    docs = list(tok.encode_iter(xs[:s['n']], n_workers=1))
    model = TextClassifier(AWDLSTM(s['vocab'], 'base'), 2)
    t = Trainer(model, ClasBatches(docs, np.arange(len(docs))%2, s['bs']), [Phase(50, 1e-3)], TrainConfig(device=s['device'], precision='bf16' if s['kind'] == 'bf16' or s['device'] == 'cuda' else 'float32', clip=25.), progress=False, unit='texts')
    steps = t.source.n_batches(0)
    def go():
        t.fit(steps=t.step+steps)
        if s['device'] == 'cuda': torch.cuda.synchronize()
    return go, dict(work=len(docs), flops=lstm_flops(sum(min(len(d), 1400) for d in docs)), tokens=sum(map(len, docs)))

def predict(s, xs, one=False):
    import torch
    from ulmfit_nb.awd_lstm import AWDLSTM
    from ulmfit_nb.classifier import TextClassifier, predict_logits
    tok = ids_of(xs, s['vocab'])
    model, part = TextClassifier(AWDLSTM(s['vocab'], 'base'), 2).to(s['device']), xs[:s['n']]
    bf16 = s['kind'] == 'bf16'
    if one: go = lambda: [predict_logits(model, list(tok.encode_iter([x], n_workers=1)), bf16=bf16) for x in part]
    else: go = lambda: predict_logits(model, list(tok.encode_iter(part)), bf16=bf16)
    n = sum(map(len, tok.encode_iter(part, n_workers=1)))
    return go, dict(work=len(part), tokens=n, flops=lstm_flops(n, train=False))

if __name__ == '__main__':
    s = json.loads(sys.argv[1])
    xs = json.load(open(s['texts']))
    make = dict(tokenizing=tokenizing, classifier=classifier, predict=predict).get(s['row']) or (train if s['row'].startswith('train') else lambda s, xs: predict(s, xs, True))
    go, facts = make(s, xs)
    say(**facts)
    for line in sys.stdin:
        if line.strip() == 'end': break
        begun = time.perf_counter(); go(); say(seconds=time.perf_counter()-begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20
    if s['device'] == 'cuda':
        import torch
        peak = torch.cuda.max_memory_allocated()/2**30
    say(peak_gb=round(peak, 2))
