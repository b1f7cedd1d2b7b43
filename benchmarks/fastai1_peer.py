"""fastai 1's side of the comparison in chapter 09b: `write DIR`, as in fastai_peer.py. It needs the folder of an unpacked fastai 1.0.61 in ULMFIT_FASTAI1_PATH.

That version wants libraries of 2020, so three things are stood in for: modules that its text part imports and never uses (torchvision, pkg_resources, pynvml), names that
numpy has dropped, and a keyword that spaCy has dropped. The model, its vocabulary and the tensors' names are fastai 1's own code."""
import importlib.abc, importlib.machinery, json, os, sys, types
from pathlib import Path

class Anything:
    def __init__(self, *args, **kw): pass
    def __call__(self, *args, **kw): return self

class Empty(types.ModuleType):
    __path__, __all__, __version__ = [], [], '0'
    def __getattr__(self, k):
        if k.startswith('__'): raise AttributeError(k)
        return type(k, (Anything,), {})

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    "Comes last, so that only what is missing is stood in for."
    def find_spec(self, name, path, target=None):
        if name.split('.')[0] in ('pkg_resources', 'torchvision', 'pynvml', 'bottleneck'): return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec): return Empty(spec.name)
    def exec_module(self, module): pass

sys.meta_path.append(Finder())
sys.path.insert(0, os.environ['ULMFIT_FASTAI1_PATH'])
import numpy as np, spacy, torch
import torch.nn.functional as F
for k,v in dict(bool=bool, int=int, float=float, object=object).items():
    if k not in vars(np): setattr(np, k, v)
blank = spacy.blank
spacy.blank = lambda lang, **kw: blank(lang)
import fastai
from fastai.text.learner import get_language_model
from fastai.text.models.awd_lstm import AWD_LSTM, awd_lstm_lm_config
from fastai.text.transform import Tokenizer, Vocab

def write(path, size=(24, 40, 3)):
    torch.manual_seed(0)
    tok = Tokenizer(n_cpus=1)
    docs = [['xxbos', *tok.process_text(t, tok.tok_func(tok.lang))] for t in json.loads((path/'texts.json').read_text())]
    vocab = Vocab.create(docs, 60000, 1)
    vocab.save(path/'itos.pkl')
    model = get_language_model(AWD_LSTM, len(vocab.itos), config=dict(awd_lstm_lm_config, **dict(zip(('emb_sz', 'n_hid', 'n_layers'), size))), drop_mult=.3)
    opt,stream = torch.optim.Adam(model.parameters(), 5e-3),torch.tensor([i for d in docs for i in vocab.numericalize(d)])
    rows = stream[:len(stream)//4*4].view(4, -1)
    model.train(); model.reset()
    for a in range(0, min(rows.shape[1]-21, 1000), 20):
        loss = F.cross_entropy(model(rows[:, a:a+20])[0].flatten(0, 1), rows[:, a+1:a+21].flatten())
        opt.zero_grad(); loss.backward(); opt.step()
    (path/'models').mkdir(exist_ok=True)
    torch.save(dict(model=model.state_dict(), opt=opt.state_dict()), path/'models/learner.pth') # as `Learner.save` does
    torch.save(model.state_dict(), path/'models/weights.pth'); torch.save(model[0].state_dict(), path/'models/encoder.pth')
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, len(vocab.itos), (3, 50)))
    model.eval(); model.reset()
    with torch.no_grad(): outs = [model(part) for part in (ids[:, :25], ids[:, 25:])]
    np.savez(path/'scores.npz', ids=ids.numpy(), logp=torch.cat([F.log_softmax(o[0], -1) for o in outs], 1).numpy(), states=torch.cat([o[1][-1] for o in outs], 1).numpy())
    print(json.dumps(dict(fastai=fastai.__version__, torch=torch.__version__, spacy=spacy.__version__, vocab=len(vocab.itos), size=size)))

if __name__ == '__main__':
    torch.set_num_threads(1)
    write(Path(sys.argv[2]))
