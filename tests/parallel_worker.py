"What each process of `test_scaling.py` runs: `torchrun --nproc-per-node N parallel_worker.py TASK OUT`."
import json, os, signal, sys
from pathlib import Path

import numpy as np
import torch

from ulmfit_nb.awd_lstm import AWDLSTM, LanguageModel, NO_DROPOUT
from ulmfit_nb.batches import ClasBatches
from ulmfit_nb.bpt3c import TextClassifier
from ulmfit_nb.classifier import clas_metrics
from ulmfit_nb.ids import Corpus
from ulmfit_nb.language_model import train_lm
from ulmfit_nb.optimizers import Phase, TrainConfig
from ulmfit_nb.processes import ProcessLost, connect, world
from ulmfit_nb.training import Trainer

VOCAB = 50
CFG = TrainConfig(device='cpu', precision='float32', clip=.3, save_minutes=1e9)

def docs(n=60, seed=0, most=40):
    rng = np.random.default_rng(seed)
    return [np.concatenate([[2], rng.integers(10, VOCAB, rng.integers(3, most))]) for _ in range(n)]

def language_model():
    torch.manual_seed(0)
    return LanguageModel(AWDLSTM(VOCAB, (12, 16, 2), NO_DROPOUT))

def lm_run(path=None, steps=None, resume=False, seed=3, epochs=2., **kw):
    "A language model without dropout, six rows of ten tokens: history and weights do not depend on the number of processes."
    data,held = Corpus.from_docs(docs(seed=seed), VOCAB),Corpus.from_docs(docs(20, seed=9), VOCAB)
    cfg = TrainConfig(**{**CFG.__dict__, **kw})
    if steps is None: return train_lm(language_model(), data, held, [Phase(epochs, .01)], cfg, bs=6, bptt=10, path=path, resume=resume, progress=False)
    from ulmfit_nb.language_model import LMBatches, lm_metrics
    h = LMBatches(held, 6, 10, variable=False, shuffle=False)
    t = Trainer(language_model(), LMBatches(data, 6, 10, cfg.seed), [Phase(epochs, .01)], cfg, lambda m: lm_metrics(m, h), path, False)
    if t.world > 1: h.shard(t.rank, t.world)
    t.fit(steps=steps)
    return t

def classifier_run(path=None, n=33, bs=8, steps=None, resume=False):
    "A classifier without dropout; the last batch has an odd number of documents."
    torch.manual_seed(1)
    ds = docs(n, seed=5, most=90)
    ys = np.arange(n)%3
    model = TextClassifier(language_model().backbone, 3, NO_DROPOUT, bptt=20, max_len=60)
    model.head[5].p = 0.
    held = docs(11, seed=6),np.arange(11)%3
    t = Trainer(model, ClasBatches(ds, ys, bs), [Phase(1, .01, 2), Phase(2, .01)], CFG, lambda m: clas_metrics(m, *held), path, False, 'texts')
    if resume: assert t.resume()
    t.fit(steps=steps)
    return t

def gradients(make, batch_no=1):
    "Joint gradients of one batch, before any step."
    t = make()
    t._begin()
    batch = list(t.source.batches(0))[batch_no]
    seen = {}
    t.sched.step = lambda: None
    t.opt.step = lambda: seen.update({k: p.grad.clone() for k,p in t.model.named_parameters()})
    cfg,t.cfg = t.cfg,TrainConfig(**{**CFG.__dict__, 'clip': None})
    t.train_batch(batch, True)
    return seen

def lm_trainer():
    from ulmfit_nb.language_model import LMBatches
    return Trainer(language_model(), LMBatches(Corpus.from_docs(docs(), VOCAB), 6, 10), [Phase(1, .01)], CFG, progress=False)

def classifier_trainer():
    torch.manual_seed(1)
    backbone = language_model().backbone
    with torch.no_grad(): backbone.encoder.weight.mul_(10) # batch norm of nearly constant features would magnify rounding
    model = TextClassifier(backbone, 3, NO_DROPOUT, bptt=20, max_len=60)
    model.head[5].p = 0.
    return Trainer(model, ClasBatches(docs(33, seed=5, most=90), np.arange(33)%3, 7), [Phase(1, .01)], CFG, progress=False)

def result(t): return dict(model=t.model.state_dict(), history=[{k: v for k,v in r.items() if 's' != k and '/s' not in k and k != 'seconds'} for r in t.history])

def everything(): # what one process gives as well
    return dict(lm_grads=gradients(lm_trainer), clas_grads=gradients(classifier_trainer), lm=result(lm_run()), clas=result(classifier_run()))

def main(task, out):
    out = Path(out)
    if task == 'all': res = everything()
    elif task == 'stop': res = result(lm_run(out.parent/'run', steps=7))
    elif task == 'resume': res = result(lm_run(out.parent/'run', resume=True))
    elif task == 'stop-clas': res = result(classifier_run(out.parent/'run', steps=7))
    elif task == 'resume-clas': res = result(classifier_run(out.parent/'run', resume=True))
    elif task == 'apart': # a disk for each
        from ulmfit_nb.corpus import InputError
        t = lm_run(out.parent/f'run{os.environ["RANK"]}', steps=3)
        try: t.resume()
        except InputError as e: return out.with_suffix(f'.{world()[0]}').write_text(str(e))
        raise SystemExit('nobody noticed')
    elif task == 'die':
        def kill(model):
            if world()[0] == 1: os.kill(os.getpid(), signal.SIGKILL)
            return dict(valid_loss=1.)
        from ulmfit_nb.language_model import LMBatches
        t = Trainer(language_model(), LMBatches(Corpus.from_docs(docs(seed=3), VOCAB), 6, 10), [Phase(2., .01)], TrainConfig(**{**CFG.__dict__, 'eval_every': 7, 'save_minutes': 0.}), kill, out.parent/'dying', False)
        try: t.fit()
        except ProcessLost as e: return out.with_suffix(f'.{t.rank}').write_text(str(e))
        raise SystemExit('nobody noticed')
    elif task == 'asked':
        step = Trainer.train_batch
        def asked(t, *args):
            if t.step == 5 and t.rank == 1: os.kill(os.getpid(), signal.SIGTERM)
            return step(t, *args)
        Trainer.train_batch = asked
        try: lm_run(out.parent/'run')
        except KeyboardInterrupt:
            from ulmfit_nb.runtime import read_checkpoint
            return out.with_suffix(f'.{world()[0]}').write_text(str(read_checkpoint(out.parent/'run'/'last.pt')['pos']['step']))
        raise SystemExit('nobody was asked')
    elif task == 'seldom': # the CPU, but for what `_epoch` asks
        from types import SimpleNamespace
        epoch = Trainer._epoch
        def as_on_a_gpu(t, stop):
            gpu,cpu = SimpleNamespace(type='cuda'),t.device
            t.__class__ = type('Seldom', (Trainer,), dict(device=property(lambda s: gpu if sys._getframe(1).f_code is epoch.__code__ else cpu)))
            try: return epoch(t, stop)
            finally: t.__class__ = Trainer
        Trainer._epoch = as_on_a_gpu
        return out.with_suffix(f'.{os.environ["RANK"]}').write_text(str(lm_run(steps=7).step))
    elif task == 'own': # process 1 is surest of other texts
        from ulmfit_nb import ulmfit
        rank,_ = connect('cpu')
        ulmfit.pseudo_labels = lambda p: (np.array([2]), np.array([1])) if rank else (np.array([0, 3]), np.array([2, 0]))
        res = ulmfit.ULMFiT()._own_labels(dict(forward=TextClassifier(language_model().backbone, 3)), docs(5), out.parent, False)
        return out.with_suffix(f'.{rank}').write_text(json.dumps([v.tolist() for v in res]))
    if world()[0] == 0: torch.save(res, out)

if __name__ == '__main__':
    torch.set_num_threads(1)
    main(*sys.argv[1:])
