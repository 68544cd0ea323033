"""Coverage of 95 % intervals of score differences, if some votes are flipped.

``python -m benchmarks.ranking_study.coverage [--runs 500] [--jobs 2]`` prints one line
per setting. Every interval is compared with the difference of the true scores and with
what the same fit finds in infinitely many such votes, the *population value*: the fit
to all possible votes, weighted by their probabilities (for graded votes, by quantiles
of the noise), with the total weight of the sample.

Workers, if there are any, flip their votes at rates of their own, 0 or twice the mean.
"""

import argparse
import itertools

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import special, stats

from sparselbi import PairwiseRanker

from .methods import quiet

__all__ = ["SETTINGS", "coverage"]

N_ITEMS, N_VOTES, N_WORKERS, FLIPS = 10, 2000, 40, 0.2
SCORES = np.linspace(-2.5, 2.5, N_ITEMS)
PAIRS = np.array(list(itertools.combinations(range(N_ITEMS), 2)))
# Thresholds: of probabilities, and in standard deviations of the noise, which is 1.
LOGISTIC, LINEAR = 0.7, 2.0
FITS = {
    ("binary", "threshold 0.7"): {"selector": LOGISTIC},
    ("binary", "auto"): {},
    ("binary", "mixture"): {"estimate": "mixture"},
    ("graded", "threshold 2"): {"selector": LINEAR},
    ("graded", "auto"): {},
}
# Enough for points between knots: their fits move by less than 1 % of an error.
N_KNOTS = 30
SETTINGS = [(votes, fit, workers) for votes, fit in FITS for workers in (False, True)]
# Points in place of the normal noise.
_NOISE = stats.norm.ppf((np.arange(400) + 0.5) / 400)


def draw(rng, kind, workers):
    """Pairs, votes and workers."""
    pairs = PAIRS[rng.integers(len(PAIRS), size=N_VOTES)]
    swap = rng.random(N_VOTES) < 0.5
    pairs = np.where(swap[:, None], pairs[:, ::-1], pairs)
    eta = SCORES[pairs[:, 0]] - SCORES[pairs[:, 1]]
    worker = rng.permutation(np.arange(N_VOTES) % N_WORKERS)
    rate = np.full(N_VOTES, FLIPS)
    if workers:
        rate = (2 * FLIPS * rng.integers(0, 2, N_WORKERS))[worker]
    if kind == "graded":
        y = eta + rng.standard_normal(N_VOTES)
    else:
        y = np.where(rng.random(N_VOTES) < special.expit(eta), 1.0, -1.0)
    y = np.where(rng.random(N_VOTES) < rate, -y, y)
    return pairs, y, worker if workers else None


def population(kind, fit):
    """Score differences of the fit to all votes, by their probabilities."""
    eta = SCORES[PAIRS[:, 0]] - SCORES[PAIRS[:, 1]]
    if kind == "graded":
        y = eta[:, None] + _NOISE
        chance = np.full(y.shape, 1.0 / y.size)
    else:
        y = np.tile([1.0, -1.0], (len(PAIRS), 1))
        chance = special.expit(y * eta[:, None]) / len(PAIRS)
    pairs = np.repeat(PAIRS, y.shape[1], axis=0)
    weight = N_VOTES * np.concatenate([(1 - FLIPS) * chance, FLIPS * chance]).ravel()
    model = PairwiseRanker(n_knots=N_KNOTS, **FITS[kind, fit])
    with quiet():
        model.fit(
            np.vstack([pairs, pairs]),
            np.concatenate([y, -y]).ravel(),
            sample_weight=weight,
        )
    return model.predict(PAIRS)


def one_run(seed, kind, fit, workers, limit):
    """Shares of the differences that are covered."""
    pairs, y, worker = draw(np.random.default_rng(seed), kind, workers)
    with quiet():
        model = PairwiseRanker(n_knots=N_KNOTS, **FITS[kind, fit])
        model.fit(pairs, y, worker=worker)
    try:
        frame = model.score_differences(PAIRS)
    except ValueError:  # the mixture is in doubt, and says so
        return {"no_intervals": True}
    truth = SCORES[PAIRS[:, 0]] - SCORES[PAIRS[:, 1]]
    low, high = frame["low"].to_numpy(), frame["high"].to_numpy()
    return {
        "truth": np.mean((low <= truth) & (truth <= high)),
        "population": np.mean((low <= limit) & (limit <= high)),
        "width": np.mean(high - low),
        "ratio": np.mean(frame["difference"] / truth),
        "limit_ratio": np.mean(limit / truth),
        "distrusted": model.outlier_votes_.mean(),
        "unknown": model.selection_.fallback,
        "no_intervals": False,
    }


def coverage(plan, jobs):
    """Mean coverage of every setting, with its standard error over runs."""
    rows = []
    for kind, fit, workers in SETTINGS:
        limit = population(kind, fit)
        runs = pd.DataFrame(
            Parallel(n_jobs=jobs)(
                delayed(one_run)(seed, kind, fit, workers, limit)
                for seed in range(plan.n_coverage)
            )
        )
        means = runs.astype(float).mean().to_dict()
        row = {"votes": kind, "fit": fit, "workers": workers} | means
        errors = runs[["truth", "population"]].sem().add_suffix("_error")
        rows.append(row | errors.to_dict() | {"runs": len(runs)})
        print(f"coverage {kind}, {fit}, workers: {workers} done", flush=True)
    return pd.DataFrame(rows)


def main():
    from collections import namedtuple

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    plan = namedtuple("Plan", "n_coverage")(args.runs)
    table = coverage(plan, args.jobs)
    print(table.to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
