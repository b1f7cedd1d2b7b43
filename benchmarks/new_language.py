"""What fixed word vectors know of a new language (chapter 02, limit 4), on the task of the experiment `vietnamese`.

    python benchmarks/new_language.py [--articles N] [--results results]

Students' feedback in Vietnamese, from the folder ULMFIT_DATA: all labelled texts, as the experiment's counting words learns from, and the same test texts. A text is the mean of its words' vectors
(skip-gram of chapter 02, 100 components, one pass); above it stands a logistic regression whose C five-fold cross-validation chooses on the labelled texts. The vectors come from English, the documentation of Python's
standard library, or from the Vietnamese articles of which the backbone of that experiment is made. Each row goes to results/vietnamese-vectors."""
import argparse, time
from itertools import islice

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ulmfit_nb.corpus import read_texts
from ulmfit_nb.docs_corpus import docs_task
from ulmfit_nb.embeddings import WordVectors, train_skipgram, word_ids, words
from ulmfit_nb.evidence import baseline
from ulmfit_nb.lab import load_task
from ulmfit_nb.reproduce import vietnamese_articles
from ulmfit_nb.results import record_result

def vectors(texts, dim=100):
    "Skip-gram vectors of the words of `texts`, and how many words there were."
    vocab,ids = word_ids([words(t) for t in texts])
    return WordVectors(vocab, train_skipgram(ids, len(vocab), dim).inp.numpy()),sum(map(len, ids))

def judge(wv, rows, test):
    "Accuracy on the test texts, and the share of their words that have a row."
    x,z = (wv.embed([words(t) for t,_ in part]) for part in (rows, test))
    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-4, 2, 7), cv=5, max_iter=3000, scoring='accuracy')).fit(x, [l for _,l in rows])
    return model.score(z, [l for _,l in test]), np.mean([w in wv for t,_ in test for w in words(t)])

def main(args=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--articles', type=int, help='so many articles, to rehearse with'); p.add_argument('--results', default='results')
    a = p.parse_args(args)
    task = load_task('vsfc')
    base = baseline(*zip(*task.train)).score(*zip(*task.test))
    for name,read in dict(English=lambda: docs_task().general, Vietnamese=lambda: islice(read_texts(vietnamese_articles()), a.articles)).items():
        begun = time.monotonic()
        wv,n = vectors(read())
        acc,known = judge(wv, task.train, task.test)
        print(f'{name:11} {n:,} words read, {len(wv.vocab):,} rows; {known:.1%} of the words of test texts have one; accuracy {acc:.2%}, counting words {base:.2%}', flush=True)
        record_result(a.results, experiment='vietnamese-vectors', dataset='vsfc', split='test', n=len(task.test), protocol='inductive', direction='forward', backbone=None, variant=f'{name} skip-gram vectors, fixed',
            labels=len(task.train), seed=0, accuracy=acc, baseline_accuracy=base, epochs=None, minutes=(time.monotonic()-begun)/60, words_read=n, known=float(known), dim=wv.dim)

if __name__ == '__main__': main()
