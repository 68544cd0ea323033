"""What is run: real data, two simulations, two breakdown curves."""

import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pandas as pd

from sparselbi import OutlierRegression
from sparselbi.datasets import (
    breakdown_study,
    load_hbk,
    load_stackloss,
    load_stars_cyg,
    load_wood,
    make_outliers,
)
from sparselbi.scales import s_scale

from . import methods

__all__ = ["BREAKDOWN", "FULL", "KNOWN", "QUICK", "SETTINGS", "PARTS"]

# Rows that the literature agrees on, from 1.
KNOWN = {
    "hbk": (load_hbk, tuple(range(1, 11))),
    "wood": (load_wood, (4, 6, 8, 19)),
    "stars_cyg": (load_stars_cyg, (11, 20, 30, 34)),
    "stackloss": (load_stackloss, (1, 3, 4, 21)),
}
# Designs of She and Owen: n = 1000, p = 15, entries of scale U(-15, 15).
SETTINGS = {
    "leverage 20, shift 8, 200 of 1000": {
        "n_outliers": 200,
        "shift": 8,
        "leverage": 20,
    },
    "shift 5, 50 of 1000": {"n_outliers": 50, "shift": 5},
    "leverage 20, shift 8, 200 of 1000, normal X": {
        "n_outliers": 200,
        "shift": 8,
        "leverage": 20,
        "design": "normal",
    },
}
# A normal cluster of rows, standard deviation 0.5, at this Mahalanobis distance.
BREAKDOWN = {
    "n_samples": 200,
    "n_features": 5,
    "leverage": 10,
    "clustered": True,
    "design": "normal",
    "correlation": 0,
}
SHARE, RATIO = 0.4, 5


class Plan(NamedTuple):
    """What is run."""

    n_seeds: int  # of a simulation
    n_slow: int  # of methods that take half a second
    n_curve: int  # of other methods, on each point of a curve
    ratios: tuple
    shares: tuple
    n_coverage: int


FULL = Plan(
    100,
    10,
    20,
    (1, 2, 3, 3.5, 4, 5, 6, 8),
    (0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.43, 0.46),
    4000,
)
QUICK = Plan(2, 1, 1, (3, 5), (0.2, 0.4), 20)


def real_data(plan):
    """Rows that each method flags, from 1."""
    lines = []
    for name, (load, known) in KNOWN.items():
        X, y = load(return_X_y=True)
        lines.append((name, "known", " ".join(map(str, known))))
        for method, model in (methods.own() | methods.external()).items():
            with quiet():
                rows = np.flatnonzero(model.fit(X, y).outliers_) + 1
            lines.append((name, method, " ".join(map(str, rows))))
    return pd.DataFrame(lines, columns=["data", "method", "rows"])


def simulations(plan):
    """Masking, swamping and seconds of every method, setting and seed."""
    slow = methods.external().keys() - methods.quick_external().keys()
    every = methods.own() | methods.external()
    truth = {f"known model, {cut} sigma": methods.KnownModel(cut) for cut in (2.5, 2.4)}
    parts = []
    for name, options in SETTINGS.items():
        for few in (False, True):
            chosen = {k: m for k, m in every.items() if (k in slow) == few}
            seeds = plan.n_slow if few else plan.n_seeds
            with quiet():
                table = breakdown_study(
                    chosen if few else chosen | truth,
                    values=[options["n_outliers"] / 1000],
                    n_seeds=seeds,
                    **{k: v for k, v in options.items() if k != "n_outliers"},
                )
            parts.append(table.assign(setting=name).drop(columns="value"))
        print(f"simulation {name} done", flush=True)
    return pd.concat(parts, ignore_index=True)


def breakdown(plan):
    """Recovered or not, along shift / leverage and along the share of outliers."""
    hard = {"hard, 3 S-scales": OutlierRegression("hard")}
    others = {
        "l1, 2.5 sigma": OutlierRegression("l1"),
        "ISS, 2.5 sigma": OutlierRegression("iss"),
    } | methods.quick_external()
    along = {
        "ratio": (plan.ratios, {"n_outliers": round(SHARE * BREAKDOWN["n_samples"])}),
        "share": (plan.shares, {"shift": RATIO * BREAKDOWN["leverage"]}),
    }
    parts = []
    for vary, (values, options) in along.items():
        for some, n_seeds in ((hard, plan.n_seeds), (others, plan.n_curve)):
            with quiet():
                table = breakdown_study(
                    some,
                    vary=vary,
                    values=values,
                    n_seeds=n_seeds,
                    **BREAKDOWN,
                    **options,
                )
            parts.append(table.assign(vary=vary))
        print(f"breakdown along {vary} done", flush=True)
    return pd.concat(parts, ignore_index=True)


def minima(plan):
    """The S-scale that is found beside that of least squares without the outliers.

    A found scale below says that the data, not the search, decide for another fit.
    """
    lines = []
    places = [("ratio", ratio, SHARE) for ratio in plan.ratios]
    places += [("share", RATIO, share) for share in plan.shares]
    for vary, ratio, share in places:
        n, distance = BREAKDOWN["n_samples"], BREAKDOWN["leverage"]
        for seed in range(plan.n_curve):
            data = make_outliers(
                n_outliers=round(share * n),
                shift=ratio * distance,
                random_state=seed,
                **BREAKDOWN,
            )
            with quiet():
                path = OutlierRegression("hard").path(data.X, data.y)
            A = np.column_stack([np.ones(n), data.X])
            kept = ~data.outliers
            truth = np.linalg.lstsq(A[kept], data.y[kept])[0]
            clean = s_scale(data.y - A @ truth, n - A.shape[1])
            value = ratio if vary == "ratio" else share
            lines.append((vary, value, seed, path.info["scale"], clean))
    columns = ["vary", "value", "seed", "found", "clean"]
    return pd.DataFrame(lines, columns=columns)


def coverage(plan):
    """Coverage of intervals after rejection."""
    from .coverage import coverage_table

    return coverage_table(plan.n_coverage)


PARTS = {
    "real_data": real_data,
    "simulations": simulations,
    "breakdown": breakdown,
    "minima": minima,
    "coverage": coverage,
}


@contextmanager
def quiet():
    """Without warnings of paths that end early: what is flagged is what counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
