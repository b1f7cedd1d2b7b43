"""What fastai's text module does where this package does otherwise, measured: GUIDE.md, "Coming from fastai". It runs in a Python that holds fastai and knows nothing of ulmfit_nb:

    python benchmarks/fastai_defects.py results/fastai-defects.json

Small random networks; no data is read. Each entry says what was tried and what came out."""
import contextlib, io, json, platform, subprocess, sys, tempfile
from datetime import datetime, timezone
from pathlib import Path

import fastai, fastai.text.all as F
import numpy as np
import pandas as pd
import torch

SMALL = dict(F.awd_lstm_clas_config, emb_sz=16, n_hid=24, n_layers=2)

def classifier(vocab=200):
    torch.manual_seed(0)
    return F.get_text_classifier(F.AWD_LSTM, vocab, 2, seq_len=72, config=SMALL).eval()

@torch.no_grad()
def answers(model, docs):
    "Probabilities for a batch, padded as fastai's loader pads it."
    batch = F.pad_input_chunk([(F.TensorText(d), 0) for d in sorted(docs, key=len, reverse=True)], pad_idx=1, seq_len=72)
    model.reset()
    return model(torch.stack([torch.as_tensor(b[0]) for b in batch]))[0].softmax(-1)

def neighbours():
    "A text of 20 tokens beside longer ones: all of its tokens are replaced, and the answer is compared. Then how many of 320 texts get another probability than alone, by more than 1e-4, in batches of 64 by chance and of texts sorted by length, as fastai's loader has them."
    rng,model = np.random.default_rng(0),classifier()
    def doc(n): return torch.as_tensor(rng.integers(10, 200, n))
    others,a,b = [doc(n) for n in (100, 90, 80, 72, 71)],doc(20),doc(20)
    moved = (answers(model, [*others, a])[-1] - answers(model, [*others, b])[-1]).abs().max().item()
    lens = np.clip(np.exp(rng.normal(5.2, .7, 320)).astype(int), 10, 1400) # film reviews have lengths like these
    def others_in(docs):
        res = 0
        for k in range(0, 320, 64):
            batch = sorted(docs[k:k+64], key=len, reverse=True)
            res += sum((p - answers(model, [d])[0]).abs().max().item() > 1e-4 for d,p in zip(batch, answers(model, batch)))
        return res
    docs = [doc(m) for m in lens]
    return dict(short_text_replaced_changes_its_probability_by=moved, texts=len(docs), other_answers_in_batches_by_chance=others_in(docs), other_answers_in_batches_by_length=others_in(sorted(docs, key=len)))

def spelled():
    "Can a text spell a special token?"
    words = list(F.WordTokenizer()(['xxbos a film xxrep 3 o xxunk']))[0]
    return dict(tokens=[str(w) for w in words], spelled=[w for w in ('xxbos', 'xxrep', 'xxunk') if w in words])

def single():
    "A step of training whose batch holds one text (fastai's loader drops an incomplete last batch unless told otherwise)."
    model = classifier().train()
    try: model(torch.randint(10, 200, (1, 30))); return dict(trains=True)
    except ValueError as e: return dict(trains=False, says=str(e))

def other_vocabulary():
    "Weights that were saved with one vocabulary, loaded beside another of the same size."
    with tempfile.TemporaryDirectory() as d:
        def learner(words):
            df = pd.DataFrame(dict(text=[' '.join(np.random.default_rng(i).choice(words, 40)) for i in range(40)]))
            dls = F.TextDataLoaders.from_df(df, path=d, text_col='text', is_lm=True, valid_pct=.2, seed=0, bs=4, seq_len=20, num_workers=0, text_vocab=['xxunk', 'xxpad', *words])
            return F.language_model_learner(dls, F.AWD_LSTM, config=dict(F.awd_lstm_lm_config, emb_sz=16, n_hid=24, n_layers=2), pretrained=False, path=d)
        a,b = learner(['cat', 'dog', 'owl', 'fox', 'hen', 'elk']),learner(['red', 'tan', 'fir', 'oak', 'elm', 'ash'])
        a.save('weights', with_opt=False)
        try: b.load('weights', with_opt=False); return dict(loads=True)
        except Exception as e: return dict(loads=False, says=type(e).__name__)

def exported():
    "Does reading an exported learner run what stands in the file?"
    class Evil:
        def __reduce__(self): return print, ('run while it was read',)
    with tempfile.TemporaryDirectory() as d:
        torch.save(Evil(), Path(d)/'export.pkl')
        with contextlib.redirect_stdout(io.StringIO()) as said:
            try: F.load_learner(Path(d)/'export.pkl')
            except Exception: pass
    return dict(ran='run while it was read' in said.getvalue())

def machine():
    "The processor's name, where the system tells it."
    info = Path('/proc/cpuinfo')
    return next((l.split(':')[1].strip() for l in info.read_text().splitlines() if l.startswith('model name')), platform.machine()) if info.exists() else platform.processor()

if __name__ == '__main__':
    res = dict(fastai=fastai.__version__, torch=torch.__version__, python=platform.python_version(), hardware=machine(), commit=subprocess.run(['git', 'rev-parse', '--short=12', 'HEAD'], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip(), recorded=datetime.now(timezone.utc).isoformat(timespec='seconds'))
    for f in (neighbours, spelled, single, other_vocabulary, exported): res[f.__name__] = dict(what=f.__doc__) | f(); print(f.__name__, res[f.__name__], flush=True)
    Path(sys.argv[1]).write_text(json.dumps(res, indent=1) + '\n', encoding='utf-8')
