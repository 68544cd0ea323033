"""Models of this package and of others, each of which gives scores to items.

Votes are ordered by how much the scores contradict them: by the path of a
`PairwiseRanker`, or by ``-y (score_i - score_j)`` of a fit to all votes.
"""

import warnings
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.linalg import lsqr
from sklearn.linear_model import LogisticRegression

from sparselbi import PairwiseRanker

__all__ = ["OWN", "competitors", "quiet", "ranker", "strengths"]

OWN = {
    "logistic, l1": {},
    "linear, l1": {"model": "linear"},
    "linear, iss": {"method": "iss"},
    "linear, lbi": {"method": "lbi"},
    "linear, hard": {"method": "hard"},
    "uniform, l1": {"transform": "uniform"},
    "Bradley-Terry transform, l1": {"transform": "bradley_terry"},
    "Thurstone-Mosteller, l1": {"transform": "thurstone_mosteller"},
    "angular, l1": {"transform": "angular"},
}


def ranker(name, **options):
    """A model of this package by its name."""
    return PairwiseRanker(**OWN[name] | options)


def strengths(fitted):
    """How suspicious every vote is to a fitted ranker."""
    return fitted.votes_frame()["strength"].sort_index().to_numpy()


def competitors(slow=True):
    """Functions of pairs, y, weight and n_items that return scores.

    Parameters
    ----------
    slow : bool
        Whether to have those that take seconds.
    """
    found = {"least squares": least_squares, "Bradley-Terry": bradley_terry}
    if find_spec("choix"):
        found["choix, I-LSR"] = choix_ilsr
    if slow and find_spec("crowdkit"):
        found["crowd-kit, noisy Bradley-Terry"] = noisy_bradley_terry
    return found


def least_squares(pairs, y, weight, n_items):
    """HodgeRank."""
    root = np.sqrt(weight)
    X = _incidence(pairs, n_items).multiply(root[:, None]).tocsr()
    return lsqr(X, root * y, atol=1e-10, btol=1e-10, iter_lim=10_000)[0]


def bradley_terry(pairs, y, weight, n_items):
    """Logistic regression, with a ridge penalty for items that always win."""
    model = LogisticRegression(C=100.0, fit_intercept=False, max_iter=1000)
    return model.fit(_incidence(pairs, n_items), y, sample_weight=weight).coef_[0]


def choix_ilsr(pairs, y, weight, n_items):
    """Iterative Luce spectral ranking."""
    import choix

    won = np.where((y > 0)[:, None], pairs, pairs[:, ::-1])
    won = np.repeat(won, weight.astype(int), axis=0)
    return choix.ilsr_pairwise(n_items, won.tolist(), alpha=0.01)


def noisy_bradley_terry(pairs, y, weight, n_items):
    """Bradley-Terry with a skill and a bias of the worker: of one, if none is known."""
    from crowdkit.aggregation import NoisyBradleyTerry

    winner = np.where(y > 0, pairs[:, 0], pairs[:, 1])
    times = weight.astype(int)
    table = pd.DataFrame(
        {
            "worker": 0,
            "left": np.repeat(pairs[:, 0], times),
            "right": np.repeat(pairs[:, 1], times),
            "label": np.repeat(winner, times),
        }
    )
    found = NoisyBradleyTerry(n_iter=1000, random_state=0).fit_predict(table)
    return found.reindex(range(n_items)).to_numpy()


def _incidence(pairs, n_items):
    n = len(pairs)
    signs, ends = np.tile([1.0, -1.0], n), np.arange(0, 2 * n + 1, 2)
    return sparse.csr_array((signs, pairs.ravel(), ends), shape=(n, n_items))


@contextmanager
def quiet():
    """Without warnings of rules that could not be applied: tables count those."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
