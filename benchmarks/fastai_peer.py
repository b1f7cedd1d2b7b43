"""fastai's side of the comparison in chapter 09b. It runs in a Python that holds fastai and knows nothing of ulmfit_nb:

    python fastai_peer.py write DIR     # trains a small language model on DIR/texts.json and saves it in every way fastai has, with its scores
    python fastai_peer.py score DIR     # loads DIR/lm.pth and DIR/lm_itos.pkl, written by somebody else, and scores DIR/ids.npy
    python fastai_peer.py tokens DIR    # splits DIR/texts.json by fastai's rules
"""
import json, pickle, sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fastai.text.all import (AWD_LSTM, DataBlock, Numericalize, TextBlock, TextDataLoaders, WordTokenizer, awd_lstm_lm_config, defaults,
    language_model_learner, tokenize_texts)
import fastai
import pandas as pd

def versions():
    import spacy
    return dict(fastai=fastai.__version__, torch=torch.__version__, spacy=spacy.__version__, python=sys.version.split()[0])

def learner(texts, path, size, vocab=None, backwards=False):
    "A language model learner with random weights."
    dls = TextDataLoaders.from_df(pd.DataFrame(dict(text=texts)), path=path, text_col='text', is_lm=True, text_vocab=vocab, valid_pct=.1, seed=0, bs=4, seq_len=20, backwards=backwards, num_workers=0)
    emb,hid,layers = size
    return language_model_learner(dls, AWD_LSTM, config=dict(awd_lstm_lm_config, emb_sz=emb, n_hid=hid, n_layers=layers), drop_mult=.3, pretrained=False, path=path)

def score(model, ids):
    "Log-probabilities and the encoder's states; the ids are read in two chunks, the state carried."
    model.eval(); model.reset()
    half = ids.shape[1]//2
    with torch.no_grad(): outs = [model(part) for part in (ids[:, :half], ids[:, half:])]
    return [torch.cat(o, 1).numpy() for o in ([F.log_softmax(o[0], -1) for o in outs], [o[1] for o in outs])]

def write(path, size=(24, 40, 3)):
    torch.manual_seed(0)
    learn = learner(json.loads((path/'texts.json').read_text()), path, size)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 5e-3)
    learn.save('learner'); learn.save('weights', with_opt=False); learn.save_encoder('encoder')
    vocab = list(learn.dls.vocab)
    (path/'itos.pkl').write_bytes(pickle.dumps(vocab))
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, len(vocab), (3, 50)))
    learn.model.cpu()
    logp,states = score(learn.model, ids)
    np.savez(path/'scores.npz', ids=ids.numpy(), logp=logp, states=states)
    sample = 'The movie was GREAT !!! I loved it.'
    tokens = list(tokenize_texts([sample], n_workers=0)[0])
    print(json.dumps(versions() | dict(vocab=len(vocab), size=size, text=sample, tokens=tokens, ids=learn.dls.numericalize(tokens).tolist())))

def read_score(path):
    itos,size = pickle.loads((path/'lm_itos.pkl').read_bytes()),json.loads((path/'size.json').read_text())
    learn = learner(['one two three four five six']*400, path, size, vocab=itos)
    learn.model_dir = '.'
    ids,res = torch.from_numpy(np.load(path/'ids.npy')),{}
    learn.load('lm')                                   # by the names of the tensors
    res['load'],_ = score(learn.model.cpu(), ids)
    torch.manual_seed(1)
    learn = learner(['one two three four five six']*400, path, size, vocab=itos)
    learn.load_pretrained(path/'lm.pth', path/'lm_itos.pkl') # by their order, words matched
    res['pretrained'],_ = score(learn.model.cpu(), ids)
    np.savez(path/'scores.npz', **res)
    print(json.dumps(versions() | dict(vocab=len(itos))))

def tokens(path):
    res = tokenize_texts(json.loads((path/'texts.json').read_text()), n_workers=0)
    (path/'tokens.json').write_text(json.dumps([list(map(str, t)) for t in res]))
    print(json.dumps(versions()))

if __name__ == '__main__':
    torch.set_num_threads(1)
    dict(write=write, score=read_score, tokens=tokens)[sys.argv[1]](Path(sys.argv[2]))
