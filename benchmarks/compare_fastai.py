"fastai's side of compare.py; runs in an environment of its own, where this package is absent."
import json, resource, subprocess, sys, time
from functools import partial


def say(**kw): print('@@' + json.dumps(kw), flush=True)

s = json.loads(sys.argv[1])
xs = json.load(open(s['texts']))
from fastai.text.all import *

tokenizer = SpacyTokenizer('en')

def encoded(texts, vocab):
    "Their tokens and ids; made with a simple split where time is not what is measured."
    tok = Tokenizer(BaseTokenizer())
    toks = [tok(t) for t in texts]
    count = Counter(w for t in toks for w in t)
    itos = [w for w in make_vocab(count, min_freq=1, max_vocab=vocab)]
    itos += [f'xxfake{i}' for i in range(vocab-len(itos))]
    num = Numericalize(vocab=itos[:vocab])
    return itos[:vocab], [num(t) for t in toks]

class Stop(Callback):
    "Ends a fit after so many batches."
    order = 90
    def __init__(self, steps): self.steps = steps
    def before_fit(self): self.seen = 0
    def after_batch(self):
        self.seen += 1
        if self.seen >= self.steps: raise CancelFitException

def sync():
    if s['device'] == 'cuda': torch.cuda.synchronize()

def tokenizing():
    part, size = [], 0
    for x in xs:
        part.append(x); size += len(x.encode())
        if size > s['mb']*1e6: break
    def go():
        for i,t in parallel_tokenize(part, tokenizer, defaults.text_proc_rules, n_workers=2): pass
    return go, size/1e6

def train():
    itos, ids = encoded(xs, s['vocab'])
    dev = torch.device(s['device'])
    dl = LMDataLoader(ids, bs=s['bs'], seq_len=72, shuffle=True, device=dev)
    model = get_language_model(AWD_LSTM, len(itos), drop_mult=1.)
    learn = LMLearner(DataLoaders(dl, dl, device=dev), model, loss_func=CrossEntropyLossFlat(), splitter=awd_lstm_lm_split, cbs=[ModelResetter, RNNRegularizer(2., 1.), GradientClip(.3)])
    if s['device'] == 'cuda': learn = learn.to_fp16()
    def go():
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=Stop(s['steps']))
        sync()
    return go, s['bs']*72*s['steps']

def learner(n_train):
    itos, ids = encoded(xs, s['vocab'])
    dev = torch.device(s['device'])
    rows = [(i, torch.tensor(k%2)) for k,i in enumerate(ids[:n_train])]
    ds = [(TensorText(i), TensorCategory(y)) for i,y in rows]
    pad = partial(pad_input_chunk, pad_first=True, seq_len=72)
    lens = [len(i) for i,_ in rows]
    dl = SortedDL(ds, bs=s.get('bs', 64), shuffle=True, before_batch=pad, res=lens, device=dev)
    model = get_text_classifier(AWD_LSTM, len(itos), 2, drop_mult=.5)
    learn = TextLearner(DataLoaders(dl, dl, device=dev), model, splitter=awd_lstm_clas_split, loss_func=CrossEntropyLossFlat(), cbs=[ModelResetter], alpha=0., beta=0.)
    return itos, ids, learn.to_fp16() if s['device'] == 'cuda' else learn, pad, dev

def classifier():
    itos, ids, learn, pad, dev = learner(s['n'])
    def go():
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3, cbs=Stop(-(-s['n']//s['bs'])))
        sync()
    return go, s['n']

def predict(one=False):
    "From text: their tokenizer, their batches, their model."
    itos, ids, learn, pad, dev = learner(64)
    num, tok, part = Numericalize(vocab=itos), Tokenizer(tokenizer), xs[:s['n']]
    model = learn.model.to(dev).eval()
    def batch(texts):
        if len(texts) > 1: toks = [o for _,o in sorted(parallel_tokenize(texts, tokenizer, defaults.text_proc_rules, n_workers=2))]
        else: toks = [tok(texts[0])]
        ds = [(TensorText(num(t)), TensorCategory(0)) for t in toks]
        dl = SortedDL(ds, bs=64, before_batch=pad, res=[len(t) for t,_ in ds], device=dev)
        with torch.no_grad():
            for x,_ in dl:
                model[0].reset() if hasattr(model[0], 'reset') else model.reset()
                model(x)
        sync()
    return (lambda: [batch([t]) for t in part]) if one else (lambda: batch(part)), len(part)

COLD = "import sys; from fastai.text.all import *; learn = load_learner(sys.argv[1]); ctx = learn.no_bar(); ctx.__enter__(); print(learn.predict(sys.stdin.read()))"

def cold():
    "A script that imports fastai, loads an exported learner of the paper's size and predicts one line."
    df = pd.DataFrame(dict(text=xs[:64], label=['neg', 'pos']*32))
    itos, _ = encoded(xs, s['vocab'])
    dls = TextDataLoaders.from_df(df, text_col='text', label_col='label', valid_pct=.2, text_vocab=itos, bs=16, seq_len=72, device=torch.device('cpu'))
    learn, at = text_classifier_learner(dls, AWD_LSTM, pretrained=False, drop_mult=.5), Path(s['work'])/'cold-fastai.pkl'
    learn.export(at)
    line = ' '.join(xs[0].split()[:30])
    def go():
        begun = time.perf_counter()
        subprocess.run([sys.executable, '-W', 'ignore', '-c', COLD, str(at)], check=True, capture_output=True, text=True, input=line)
        return dict(seconds=time.perf_counter()-begun)
    return go, 1

row = s['row']
go, work = dict(tokenizing=tokenizing, classifier=classifier, predict=predict, cold=cold).get(row, train if row.startswith('train') else partial(predict, True))()
import fastai
say(work=work, fastai=fastai.__version__, torch=torch.__version__)
for line in sys.stdin:
    if line.strip() == 'end': break
    begun = time.perf_counter(); res = go(); took = time.perf_counter()-begun
    say(**(dict(seconds=took) | (res if isinstance(res, dict) else {})))
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, *([resource.RUSAGE_CHILDREN] if row == 'cold' else [])))/2**20
say(peak_gb=round(torch.cuda.max_memory_allocated()/2**30 if s['device'] == 'cuda' and row != 'cold' else peak, 2))
