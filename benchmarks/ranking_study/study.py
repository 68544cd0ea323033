"""What is run, over seeds in parallel; every part gives one table."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import special
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score

from sparselbi.comparison_problem import ComparisonProblem
from sparselbi.datasets import fetch_fgnet_votes, make_votes
from sparselbi.selection.outliers import OutlierCriterion, ScaleCut
from sparselbi.selection.votes import FlipShare, VoteShare
from sparselbi.solvers.vote_paths import vote_path
from sparselbi.vote_noise import flip_rate

from .coverage import coverage
from .methods import OWN, competitors, quiet, ranker, strengths

__all__ = ["FULL", "PARTS", "QUICK"]

N_ITEMS, N_VOTES = 16, 2000
RATES = (0.05, 0.2, 0.4)
GENERATORS = ("order", "bradley_terry")
BINARY = ("logistic, l1", "linear, l1", "linear, iss", "linear, lbi", "linear, hard")
# Votes of each worker, generator, share of flips of careful workers, one-sided ones.
DESIGNS = (
    (100, "order", 0.0, 1),
    (100, "order", 0.2, 1),
    (100, "order", 0.2, 5),
    (100, "bradley_terry", 0.0, 5),
    (100, "bradley_terry", 0.2, 5),
    (30, "order", 0.2, 5),
    (30, "bradley_terry", 0.0, 5),
    (30, "bradley_terry", 0.2, 5),
    (10, "order", 0.2, 5),
)
N_CAREFUL = 20


class Plan(NamedTuple):
    """What is run."""

    n_seeds: int
    n_gap: int  # seeds of the largest gaps
    n_draws: int  # of votes without flips, for each
    n_workers: int  # seeds of each design
    n_coverage: int  # runs of each setting
    slow: bool  # competitors that take seconds
    models: tuple  # of FG-NET


FULL = Plan(20, 12, 39, 100, 500, True, tuple(OWN))
QUICK = Plan(1, 1, 2, 1, 2, False, ("logistic, l1", "linear, l1"))


def over(seeds, jobs, function, *arguments):
    """Rows of all seeds as a data frame."""
    found = Parallel(n_jobs=jobs)(
        delayed(_quietly)(function, *arguments, seed) for seed in range(seeds)
    )
    return pd.DataFrame([row for rows in found for row in rows])


def _quietly(function, *arguments):
    with quiet():
        return function(*arguments)


def _cast(generator, rate, seed, **options):
    return make_votes(
        N_ITEMS,
        N_VOTES,
        generator=generator,
        flip_rate=rate,
        random_state=seed,
        **options,
    )


# -- which votes are flipped -----------------------------------------------------------


def order(plan, jobs):
    """AUC of the order of the votes, and Kendall's tau of the items."""
    return over(plan.n_seeds, jobs, _order, plan.slow)


def _order(slow, seed):
    rows = []
    for generator in GENERATORS:
        for rate in RATES:
            votes = _cast(generator, rate, seed)
            setting = {"generator": generator, "flips": rate, "seed": seed}

            def add(method, strength, scores, votes=votes, setting=setting):
                auc = roc_auc_score(votes.flipped, strength)
                tau = kendalltau(scores, votes.scores)[0]
                rows.append(setting | {"method": method, "auc": auc, "tau": tau})

            for name in OWN:
                model = ranker(name, selector=_given(name, rate))
                model.fit(votes.pairs, votes.y)
                add(name, strengths(model), model.scores_)
            for name, fit in competitors(slow).items():
                scores = fit(votes.pairs, votes.y, np.ones(N_VOTES), N_ITEMS)
                first, second = scores[votes.pairs.T]
                add(name, -votes.y * (first - second), scores)
            first, second = votes.scores[votes.pairs.T]
            add("true scores", -votes.y * (first - second), votes.scores)
    return rows


def _given(name, rate):
    """The rule of ranker `name`; transformed votes have shifts by pair of items."""
    return "auto" if "transform" in OWN[name] else VoteShare(rate)


def share(plan, jobs):
    """How many votes are distrusted, and how many of them are flipped."""
    return over(plan.n_seeds, jobs, _share)


def _share(seed):
    rows = []
    for generator in GENERATORS:
        for rate in (0.0, *RATES):
            votes = _cast(generator, rate, seed)
            for name in BINARY:
                path_model = ranker(name).fit(votes.pairs, votes.y)
                for rule in ("flips", "share"):
                    model = path_model
                    if rule == "share":
                        model = path_model.select(VoteShare(votes.flipped.mean()))
                    found, distrusted = model.selection_, model.outlier_votes_
                    hits = (distrusted & votes.flipped).sum()
                    rows.append(
                        {
                            "generator": generator,
                            "flips": rate,
                            "method": name,
                            "rule": rule,
                            "seed": seed,
                            "flipped": votes.flipped.mean(),
                            "estimate": found.quantities.get("flip_rate", np.nan),
                            "low": found.quantities.get("interval_low", np.nan),
                            "high": found.quantities.get("interval_high", np.nan),
                            "distrusted": distrusted.mean(),
                            "precision": _ratio(hits, distrusted.sum()),
                            "recall": _ratio(hits, votes.flipped.sum()),
                            "tau": kendalltau(model.scores_, votes.scores)[0],
                            "unknown": found.fallback,
                        }
                    )
    return rows


def _ratio(part, whole):
    return part / whole if whole else np.nan


def scores(plan, jobs):
    """Flip rates of votes without flips, by the fit that the scores come from."""
    return over(2 * plan.n_seeds, jobs, _scores)


def _scores(seed):
    """300 votes with close calls: scores of fits in which a fifth is shifted."""
    votes = make_votes(
        N_ITEMS,
        300,
        generator="bradley_terry",
        spread=1.0,
        flip_rate=0.0,
        random_state=seed,
    )
    problem = ComparisonProblem(votes.pairs, votes.y, N_ITEMS)
    rows = []
    for name in BINARY:
        path = ranker(name).path(votes.pairs, votes.y)
        at = VoteShare(0.2).select(path, problem).knot
        eta = problem.eta(path.at(at).coef)
        found = flip_rate(eta, votes.y, n_scores=problem.rank)
        rule = FlipShare().select(path, problem).quantities
        rows.append(
            {
                "method": name,
                "seed": seed,
                "rate": found.rate,
                "sure": found.identified and found.interval[0] > 0,
                "rule_rate": rule["flip_rate"],
                "rule_sure": rule["interval_low"] > 0,
            }
        )
    return rows


def gap(plan, jobs):
    """Largest gap between entries, beside votes without flips from the fit."""
    return over(plan.n_gap, jobs, _gap, plan.n_draws)


def _gap(n_draws, seed):
    rows = []
    for generator in GENERATORS:
        for rate in (0.0, *RATES):
            votes = _cast(generator, rate, seed)
            problem = ComparisonProblem(votes.pairs, votes.y, N_ITEMS)
            fit = vote_path(problem, model="logistic", ridge=0.01, n_knots=2)
            chance = special.expit(problem.eta(fit.coef(0)))
            rng = np.random.default_rng(seed)
            for name, options in {
                "logistic, l1": {"model": "logistic", "ridge": 0.01, "n_knots": 10},
                "linear, l1": {},
            }.items():
                size, place = _largest_gap(problem, options)
                clean = []
                for _ in range(n_draws):
                    y = np.where(rng.random(N_VOTES) < chance, 1.0, -1.0)
                    drawn = ComparisonProblem(votes.pairs, y, N_ITEMS)
                    clean.append(_largest_gap(drawn, options)[0])
                rows.append(
                    {
                        "generator": generator,
                        "flips": rate,
                        "method": name,
                        "seed": seed,
                        "gap": size,
                        "share_before": place,
                        "reference": np.quantile(clean, 0.95),
                    }
                )
    return rows


def _largest_gap(problem, options):
    """Largest gap of the first half of the entries, in logarithms, and its place."""
    strength = vote_path(problem, **options).entry_strength()
    sorted_ = np.sort(strength)[::-1][: N_VOTES // 2 + 1]
    sorted_ = sorted_[sorted_ > 0]
    gaps = np.log(sorted_[:-1] / sorted_[1:])
    k = int(np.argmax(gaps))
    return gaps[k], (k + 1) / N_VOTES


def graded(plan, jobs):
    """Rules for graded votes, some of which have the wrong sign."""
    return over(plan.n_seeds, jobs, _graded)


def _graded(seed):
    rules = {
        "sigma": "sigma",
        "2.5 proposal2": ScaleCut(2.5, "proposal2"),
        "bic": "bic",
        "bic as it is": OutlierCriterion("bic"),
        "gap": "gap",
    }
    rows = []
    for levels in (None, 2):
        for rate in (0.0, *RATES[:2], 0.3):
            votes = make_votes(
                N_ITEMS, 1000, generator="graded", flip_rate=rate, random_state=seed
            )
            y = votes.y
            if levels:
                y = np.clip(np.round(y), -levels, levels)
            first, second = votes.scores[votes.pairs.T]
            far = votes.flipped & (np.abs(first - second) > 1.5)  # by 3 sd of the noise
            for name in ("linear, l1", "linear, iss", "linear, lbi", "linear, hard"):
                model = ranker(name, selector="sigma", model="linear")
                model.fit(votes.pairs, y)
                for rule, selector in rules.items():
                    chosen = model.select(selector)
                    distrusted = chosen.outlier_votes_
                    rows.append(
                        {
                            "grades": 2 * levels + 1 if levels else np.inf,
                            "flips": rate,
                            "method": name,
                            "rule": rule,
                            "seed": seed,
                            "distrusted": distrusted.mean(),
                            "recall_far": _ratio((distrusted & far).sum(), far.sum()),
                            "wrong": distrusted[~votes.flipped].mean(),
                            "tau": kendalltau(chosen.scores_, votes.scores)[0],
                            "refused": chosen.selection_.fallback,
                        }
                    )
    return rows


# -- who votes -------------------------------------------------------------------------


def workers(plan, jobs):
    """Workers who always click one side: found, and careful ones that are flagged."""
    return over(plan.n_workers, jobs, _workers)


def _workers(seed):
    rows = []
    for each, generator, rate, n_one_sided in DESIGNS:
        for bias in (0.0, 1.0):
            n_workers = N_CAREFUL + n_one_sided
            votes = make_votes(
                N_ITEMS,
                each * n_workers,
                generator=generator,
                flip_rate=rate,
                n_workers=n_workers,
                n_one_sided=n_one_sided,
                position_bias=bias,
                random_state=seed,
            )
            model = ranker("logistic, l1", position_bias=bool(bias))
            model.fit(votes.pairs, votes.y, worker=votes.worker)
            table = model.worker_reliability_.set_index("worker")
            planted = table.index.isin(votes.one_sided)
            flagged = table["one_sided"].to_numpy()
            reliability = table["reliability"].to_numpy()
            rows.append(
                {
                    "votes_each": each,
                    "generator": generator,
                    "flips": rate,
                    "n_one_sided": n_one_sided,
                    "position_bias": bias,
                    "seed": seed,
                    "found": flagged[planted].mean(),
                    "false": flagged[~planted].mean(),
                    "all_right": bool((flagged == planted).all()),
                    "reliability_planted": reliability[planted].mean(),
                    "reliability_careful": reliability[~planted].mean(),
                }
            )
    return rows


# -- real photos, simulated votes ------------------------------------------------------


def fgnet(plan, jobs):
    """Kendall's tau against age, AUC of the flips, for every model and rule."""
    tasks = [(name, None) for name in competitors(plan.slow)]
    for name in plan.models:
        tasks += [(name, rule) for rule in ("no shifts", "auto", "20 %")]
        if "transform" not in OWN[name]:
            tasks.append((name, "20 %, refit"))
        if name == "logistic, l1":
            tasks += [(name, "mixture"), (name, "auto, refit")]
    found = Parallel(n_jobs=jobs)(delayed(_quietly)(_fgnet, *task) for task in tasks)
    return pd.DataFrame(found)


def _fgnet(name, rule):
    votes = fetch_fgnet_votes()
    codes = np.searchsorted(votes.names, votes.pairs)
    if rule is None:
        fit = competitors()[name]
        found = fit(codes, votes.y, votes.weight, len(votes.names))
        first, second = found[codes.T]
        strength, distrusted, estimate = -votes.y * (first - second), None, np.nan
    else:
        estimate = "refit" if "refit" in rule else "path"
        estimate = "mixture" if rule == "mixture" else estimate
        selector = VoteShare(0.0 if rule == "no shifts" else 0.2)
        if rule.startswith("auto") or rule == "mixture":
            selector = "auto"
        model = ranker(name, selector=selector, estimate=estimate)
        model.fit(votes.pairs, votes.y, sample_weight=votes.weight)
        found, strength = model.scores_, strengths(model)
        distrusted = model.outlier_votes_ * votes.weight
        estimate = model.selection_.quantities.get("flip_rate", np.nan)
    row = {
        "method": name,
        "rule": rule or "",
        "tau": kendalltau(found, votes.true_age)[0],
        "auc": roc_auc_score(votes.flipped, strength, sample_weight=votes.weight),
        "flip_rate": estimate,
    }
    if distrusted is not None:
        hits, total = distrusted @ votes.flipped, votes.weight @ votes.flipped
        row["distrusted"] = distrusted.sum() / votes.weight.sum()
        row["precision"] = _ratio(hits, distrusted.sum())
        row["recall"] = hits / total
    return row


PARTS = {
    "order": order,
    "share": share,
    "scores": scores,
    "gap": gap,
    "graded": graded,
    "workers": workers,
    "coverage": coverage,
    "fgnet": fgnet,
}
