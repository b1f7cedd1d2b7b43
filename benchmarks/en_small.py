"""The last step of en_small.sh and of en_base.py: both directions of a backbone into one directory, 8 bits a weight, with a model card that says what they are worth.

    ULMFIT_DATA=... python benchmarks/en_small.py runs/en-small ulmfit_nb/backbones/en-small

Scores are taken from the stored weights, on the 200 held-out articles of enwiki and on the test text of WikiText-2, whose articles are not in enwiki."""
import csv, json, lzma, re, sys
from pathlib import Path

import torch
from ulmfit_nb.corpus import data_dir, read_texts
from ulmfit_nb.language_model import lm_scores
from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic
from ulmfit_nb.storage import backbone_card, load_backbone, load_model, save_backbone

ABOUT = """
**What it read.** Long English Wikipedia articles of 2015, those of WikiText's validation and test sets left out: {tokens:,} tokens a direction, in {passes}.

**What it cost.** {cost}; {hardware}; torch {torch}, commit {commit}. Build it again: `{build}`.

**What it is for.** A start for classifiers of English texts (`ULMFiT(backbone="{name}")`): stage 2 gives it your words. It writes no sensible text, knows nothing after 2015, and has the prejudices of what it read.

**Licence.** Made from the English Wikipedia of 2015 (its authors: the history of each article at en.wikipedia.org), whose text is under CC BY-SA 3.0 (https://creativecommons.org/licenses/by-sa/3.0/). These weights and their vocabulary are under the same licence.

| held-out text | direction | texts | words | unknown tokens | nats a token | perplexity, token | perplexity, word | bits a byte |
|---|---|--:|--:|--:|--:|--:|--:|--:|
{scores}

A word is what stands between spaces. Unknown words are guessed as "unknown", which is easier than the word itself: the last two columns flatter a vocabulary of words.
"""

def wikitext2(folder):
    "The benchmark's test text, an article each."
    with lzma.open(folder/'wikitext-2'/'wiki.test.tokens.xz', 'rt', encoding='utf-8') as f: text = f.read()
    return [t for t in re.split(r'(?m)^(?= = [^=])', text) if t.strip()]

def join(runs, to, device='cpu'):
    "Write the backbone `to` from `runs`/forward and `runs`/backward, as far as they are there."
    models, history, metas = {}, [], {}
    for d in [d for d in ('forward', 'backward') if (runs/d/'config.json').exists()]:
        models[d], tok = load_backbone(runs/d, d)
        metas[d] = load_model(runs/d, 'language model')[0]['meta']
        with open(runs/d/'history.csv', encoding='utf-8') as f: history += list(csv.DictReader(f))
    m = next(iter(metas.values()))
    save_backbone(to, models, tok, history, bits=8, tokens=m['tokens'], files=m['files'], epochs=m['epochs'], **{k: m[k] for k in ('lr', 'bs', 'bptt', 'drop_mult') if k in m}, seed=m['seed'], minutes={d: round(v['seconds']/60, 1) for d,v in metas.items()},
        hardware=hardware(device), torch=torch.__version__, commit=commit(), training={k: s for v in metas.values() for k,s in v.get('training', {}).items()}, **({'init': m['init']} if 'init' in m else {}))

def score(to, build, device='cpu', results='results', limit=None):
    "Scores of a joined backbone on held-out texts, into its card and into `results`; the other files stay untouched, since someone may be reading them. With a limit only so many texts are read."
    config, tok, _ = load_model(to, 'language model')
    m = config['meta']
    texts = {'enwiki': list(read_texts(data_dir()/'enwiki'/'valid.jsonl.xz')), 'WikiText-2 test': wikitext2(data_dir())}
    rows, scores = [], {}
    for name, xs in texts.items():
        for d in config['directions']:
            s = lm_scores(load_backbone(to, d)[0].to(device), tok, xs[:limit], backward=d == 'backward')
            rows.append(f'| {name} | {d} | {s["n"]} | {s["words"]:,} | {s["unknown"]:.1%} | {s["valid_loss"]:.3f} | {s["perplexity"]:.1f} | {s["word_perplexity"]:.1f} | {s["bits_per_byte"]:.3f} |')
            scores[f'{name} {d}'] = {k: round(v, 4) if isinstance(v, float) else v for k, v in s.items()}
    passes = f'{m["epochs"]:g} pass{"es" if m["epochs"] != 1 else ""} over {", ".join(m["files"])}' + (f', going on from {m["init"]}' if 'init' in m else '')
    about = ABOUT.format(**m | dict(passes=passes, name=to.name, build=build, cost=', '.join(f'{n:g} minutes {d}' for d, n in m['minutes'].items())), scores='\n'.join(rows))
    with atomic(to/'README.md') as tmp: tmp.write_text(backbone_card(config, tok, about), encoding='utf-8', errors='backslashreplace')
    with atomic(Path(results)/'backbones'/f'{to.name}.json') as tmp: tmp.write_text(json.dumps(m | scores | dict(model=config['model'], directions=config['directions']), indent=1)+'\n')
    print((to/'README.md').read_text(encoding='utf-8'))

if __name__ == '__main__':
    join(Path(sys.argv[1]), Path(sys.argv[2]))
    score(Path(sys.argv[2]), 'benchmarks/en_small.sh')
