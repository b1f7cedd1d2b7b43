"""Import from and export to a real fastai, compared and recorded: ULMFIT_FASTAI_PYTHON=/path/to/python python benchmarks/fastai_parity.py
(and ULMFIT_FASTAI1_PATH=/folder/of/an/unpacked/fastai-1.0.61 for that version, too)

Writes results/fastai-parity/VERSION/parity.json: versions, the largest differences of log-probabilities, and how far the text rules agree. (One folder deeper than the runs
that chapter 13 draws: it holds no accuracy.)"""
import json, os, subprocess, sys, tempfile
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import torch

from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_nb.docs_corpus import docs_task
from ulmfit_nb.rules import SPECIALS
from ulmfit_nb.sharing import ENGLISH, export_fastai, import_fastai, match_vocab, read_itos
from ulmfit_nb.tokenization import Tokenizer

root = Path(__file__).resolve().parent.parent

def peer(command, path, script='fastai_peer.py'):
    "Run fastai's side in its own Python."
    env = {k: v for k,v in os.environ.items() if not k.startswith('PYTHON')} | dict(OMP_NUM_THREADS='1')
    p = subprocess.run([os.environ['ULMFIT_FASTAI_PYTHON'], '-W', 'ignore', str(root/'benchmarks'/script), command, str(path)], capture_output=True, text=True, env=env)
    if p.returncode: raise RuntimeError(p.stderr[-3000:])
    return json.loads(p.stdout.splitlines()[-1])

@torch.no_grad()
def compare_import(path, texts, script='fastai_peer.py'):
    "fastai trains and scores; we import and score the same ids. Largest differences, by file."
    path = Path(path)
    (path/'texts.json').write_text(json.dumps(texts))
    info = peer('write', path, script)
    scores,itos,res = np.load(path/'scores.npz'),read_itos(path/'itos.pkl'),{}
    to_ours = torch.tensor([match_vocab(itos)[1].index(i) for i in range(len(itos))])
    ids = to_ours[torch.from_numpy(scores['ids'])]
    for name in ('learner', 'weights', 'encoder'):
        lm,tok = import_fastai(path/f'models/{name}.pth', path/'itos.pkl')
        logp,states = lm(ids)[0].log_softmax(-1)[..., to_ours].numpy(),lm.backbone(ids)[1].numpy()
        res[name] = dict(logp=float(np.abs(logp-scores['logp']).max()), states=float(np.abs(states-scores['states']).max()), n=logp.size)
    return info, res, tok

@torch.no_grad()
def compare_export(path, texts):
    "We export a model; fastai loads it by name and by order, and scores the same ids. Largest differences."
    path,size = Path(path),(24, 40, 3)
    torch.manual_seed(1)
    tok = Tokenizer.train(texts, min_count=1)
    lm = LanguageModel(AWDLSTM(tok.vocab_size, size)).eval()
    for p in lm.parameters(): p.normal_(0, .3)
    export_fastai(lm, tok, path)
    ids = np.random.default_rng(1).integers(0, tok.vocab_size, (3, 50))
    np.save(path/'ids.npy', ids); (path/'size.json').write_text(json.dumps(size))
    info = peer('score', path)
    want,got = lm(torch.from_numpy(ids))[0].log_softmax(-1).numpy(),np.load(path/'scores.npz')
    return info, {k: float(np.abs(got[k]-want).max()) for k in got.files}

def compare_text(path, texts):
    "How far the two sets of text rules agree."
    path = Path(path)
    (path/'texts.json').write_text(json.dumps(texts))
    peer('tokens', path)
    tok = Tokenizer.train(texts, min_count=1, n_workers=1)
    pairs = [(t[1:], tok.tokens(s)[1:]) for t,s in zip(json.loads((path/'tokens.json').read_text()), texts)]
    def share(names):
        same = total = whole = 0
        odd = Counter()
        for theirs,ours in pairs:
            theirs = [names.get(w, w) for w in theirs]
            for op,a,b,c,d in SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
                if op == 'equal': same += 2*(b-a)
                else: odd[f'{" ".join(theirs[a:b])} | {" ".join(ours[c:d])}'] += 1
            total += len(theirs)+len(ours); whole += theirs == ours
        return same/total, whole/len(pairs), odd
    plain,renamed = share({'\n': 'xxnl'}),share({'\n': 'xxnl'} | ENGLISH)
    return dict(n=len(texts), tokens_fastai=sum(len(a) for a,_ in pairs), tokens_here=sum(len(b) for _,b in pairs), equal_tokens=round(plain[0], 4), equal_renamed=round(renamed[0], 4),
        equal_texts=round(renamed[1], 4), most_frequent_differences=[[k, n] for k,n in renamed[2].most_common(10)])

def record(info, imp, **more):
    "One JSON a version of fastai."
    res = dict(experiment='fastai-parity', fastai=info['fastai'], torch=info['torch'], spacy=info['spacy'], torch_here=torch.__version__, size=info['size'], vocab=info['vocab'], log_probabilities=imp['learner']['n'],
        import_largest_difference=max(imp[k]['logp'] for k in ('learner', 'weights')), encoder_largest_difference=imp['encoder']['states'], **more)
    out = root/'results/fastai-parity'/info['fastai']/'parity.json'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(res, indent=1, ensure_ascii=False)+'\n', encoding='utf-8')
    print(json.dumps(res, indent=1, ensure_ascii=False))

if __name__ == '__main__':
    torch.set_num_threads(1)
    task = docs_task()
    if os.environ.get('ULMFIT_FASTAI1_PATH'):
        with tempfile.TemporaryDirectory() as a: record(*compare_import(a, task.valid_texts[:300], 'fastai1_peer.py')[:2])
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b, tempfile.TemporaryDirectory() as c:
        info,imp,_ = compare_import(a, task.valid_texts[:300])
        _,exp = compare_export(b, task.valid_texts[:50])
        text = compare_text(c, task.valid_texts)
    record(info, imp, export_largest_difference=max(exp.values()), text=text)
