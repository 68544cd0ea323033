"""What is measured: each task is a process of its own and prints one line of JSON.

Started by ``python -m benchmarks.ranking_speed``, as a script: importing the package of
benchmarks would pin BLAS to one thread.
"""

import argparse
import json
import sys
import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import special

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

# Of a fit that others are compared with.
EXACT = 1e-13


# -- votes ----------------------------------------------------------------------------


def cast(n_items, n_votes, spread, flips, seed):
    """Bradley-Terry votes about random pairs, and which of them are flipped."""
    rng = np.random.default_rng(seed)
    score = spread * rng.standard_normal(n_items)
    first = rng.integers(n_items, size=n_votes)
    second = (first + rng.integers(1, n_items, size=n_votes)) % n_items
    chance = special.expit(score[first] - score[second])
    y = np.where(rng.random(n_votes) < chance, 1.0, -1.0)
    flipped = rng.random(n_votes) < flips
    y[flipped] *= -1
    return np.column_stack([first, second]), y, flipped, score


def connected_votes(n_items, n_votes, seed):
    """Votes with a maximum-likelihood fit: nobody always wins."""
    from sparselbi.solvers.logistic_shift import separated_groups

    for attempt in range(100):
        pairs, y, _, _ = cast(n_items, n_votes, 1.0, 0.1, 1000 * seed + attempt)
        if not separated_groups(pairs, y, n_items):
            return pairs, y
    raise RuntimeError(f"{n_votes} votes about {n_items} items are always separated.")


# -- measuring ------------------------------------------------------------------------


def timed(work):
    """Seconds, and what was found."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = work()
    return time.perf_counter() - start, found


def auc(score, positive):
    """Chance that a positive row has the larger score."""
    from scipy.stats import rankdata

    rank = rankdata(score)
    n, m = len(score), np.count_nonzero(positive)
    return float((rank[positive].sum() - m * (m + 1) / 2) / (m * (n - m)))


def gradient(score, winner, loser):
    """Largest derivative of the log-likelihood."""
    pull = special.expit(score[loser] - score[winner])
    n = len(score)
    total = np.bincount(winner, pull, n) - np.bincount(loser, pull, n)
    return float(np.abs(total).max())


# -- the tasks ------------------------------------------------------------------------


def path(model, quick):
    """A path of 30 thresholds: time, memory, and whether flips come first."""
    from sparselbi.comparison_problem import ComparisonProblem
    from sparselbi.solvers.vote_paths import vote_path

    # After BLAS is loaded: the package of benchmarks pins it to one thread.
    from benchmarks.large_n import environment, resident  # isort: skip

    ridge = 0.01 if model == "logistic" else 0.0
    n_items, n_votes = (2000, 20_000) if quick else (100_000, 1_000_000)
    pairs, y, _, _ = cast(60, 3000, 1.0, 0.2, 1)
    small = ComparisonProblem(pairs, y, 60, dense=False)
    vote_path(small, model=model, n_knots=3, ridge=ridge)
    interpreter = resident("VmRSS")
    pairs, y, flipped, score = cast(n_items, n_votes, 2.0, 0.2, 0)
    before = resident("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    problem = ComparisonProblem(pairs, y, n_items, dense=False)
    described = time.perf_counter() - wall
    found = vote_path(problem, model=model, n_knots=30, ridge=ridge)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "model": model,
        "n_items": n_items,
        "n_votes": n_votes,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "problem_seconds": described,
        "interpreter_gb": interpreter,
        "start_gb": before,
        "peak_gb": resident("VmHWM"),
        "n_knots": len(found.knots),
        "n_iter": found.n_iter,
        "status": found.status,
        "auc": auc(found.strength(), flipped),
        "correlation": float(
            np.corrcoef(found.scores_at(found.knots[-1]), score)[0, 1]
        ),
        "thresholds": found.knots.tolist(),
        "shifted": (np.asarray(found.size) / n_votes).tolist(),
        "environment": environment(),
    }


def linear(quick, repeats):
    """Least squares of votes and shifts."""
    return path("linear", quick)


def logistic(quick, repeats):
    """Bradley-Terry with shifts."""
    return path("logistic", quick)


def ours(n_items, pairs, y):
    """Work of this package, by name."""
    from sparselbi._graph_design import GraphDesign
    from sparselbi.solvers.logistic_shift import bradley_terry

    def solver():
        design = GraphDesign(pairs, y, None, n_items)
        return design.to_coefs(bradley_terry(design))[0].ravel()

    def ranker():
        from sparselbi import PairwiseRanker

        # At this threshold no vote is shifted; then it goes on to one tenth of them.
        model = PairwiseRanker(
            model="logistic",
            selector=1.0,
            ridge=0.0,
            n_knots=5,
            max_outliers=n_items,
        )
        return model.fit(pairs, y).scores_

    return {"bradley_terry": solver, "PairwiseRanker": ranker}


def theirs(n_items, pairs, y, quick, first_round):
    """Work of other packages, by name: functions that return scores."""
    left, right = pairs.T
    winner, loser = np.where(y > 0, left, right), np.where(y > 0, right, left)
    work = {}
    if find_spec("choix") is not None:
        import choix

        data = list(zip(winner.tolist(), loser.tolist(), strict=True))
        work["choix ilsr_pairwise"] = lambda: choix.ilsr_pairwise(n_items, data)
        work["choix ilsr_pairwise, tol 1e-3"] = lambda: choix.ilsr_pairwise(
            n_items, data, tol=1e-3
        )
        work["choix mm_pairwise"] = lambda: choix.mm_pairwise(n_items, data)
        work["choix opt_pairwise"] = lambda: choix.opt_pairwise(
            n_items, data, alpha=0.0
        )
    if find_spec("crowdkit") is not None:
        import pandas as pd
        from crowdkit.aggregation import BradleyTerry, NoisyBradleyTerry

        frame = pd.DataFrame({"left": left, "right": right, "label": winner})
        frame["worker"] = np.random.default_rng(0).integers(50, size=len(y))

        def scores(model):
            return np.log(model.fit(frame).scores_.sort_index().to_numpy())

        # With a tolerance it ends after two steps: it compares an array with itself.
        work["crowd-kit BradleyTerry"] = lambda: scores(BradleyTerry(n_iter=100))
        work["crowd-kit BradleyTerry, 100 steps"] = lambda: scores(
            BradleyTerry(n_iter=100, tol=0.0)
        )
        if first_round:  # minutes
            steps = 3 if quick else 100
            work[f"crowd-kit NoisyBradleyTerry, {steps} steps"] = lambda: special.logit(
                NoisyBradleyTerry(n_iter=steps)
                .fit(frame)
                .scores_.sort_index()
                .to_numpy()
            )
    return work, winner, loser


def single(quick, repeats):
    """One Bradley-Terry fit."""
    from sparselbi._graph_design import GraphDesign
    from sparselbi.solvers.logistic_shift import bradley_terry

    n_items, n_votes = (60, 1500) if quick else (2000, 40_000)
    pairs, y = connected_votes(50, 1500, 999)
    for work in ours(50, pairs, y).values():
        work()
    rows = {}
    for round_ in range(repeats):
        pairs, y = connected_votes(n_items, n_votes, round_)
        others, winner, loser = theirs(n_items, pairs, y, quick, round_ == 0)
        design = GraphDesign(pairs, y, None, n_items)
        exact = design.to_coefs(bradley_terry(design, tol=EXACT))[0].ravel()
        for name, work in (ours(n_items, pairs, y) | others).items():
            seconds, found = timed(work)
            found = found - found.mean()
            row = rows.setdefault(
                name,
                {"method": name, "n_items": n_items, "n_votes": n_votes}
                | {what: [] for what in ("seconds", "error", "gradient")},
            )
            row["seconds"].append(seconds)
            row["error"].append(float(np.abs(found - exact).max()))
            row["gradient"].append(gradient(found, winner, loser))
    packages = {"choix": "choix", "crowdkit": "crowd-kit"}
    return {
        "rows": list(rows.values()),
        "versions": {
            name: version(name) if find_spec(module) is not None else None
            for module, name in packages.items()
        },
    }


TASKS = {"linear": linear, "logistic": logistic, "single": single}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(json.dumps(TASKS[options.task](options.quick, options.repeats)))


if __name__ == "__main__":
    main()
