"""What selection can achieve: true and false variables, error, strong and weak signals.

Run as ``python -m benchmarks.selection_quality [--seeds 40]``; prints a Markdown table.
n = 200, p = 500, ten true coefficients of one size and random sign at random places,
AR(1) design with correlation 0.5, noise of standard deviation 1. Error is the model
error (b - b*)' Sigma (b - b*), the mean squared prediction error beyond the noise.
"""

import argparse
import warnings

import numpy as np
import scipy.linalg
from scipy.special import gammaln
from sklearn.linear_model import LassoCV, lars_path

from sparselbi import LBI
from sparselbi.datasets import make_sparse_regression

N, P, S, RHO = 200, 500, 10, 0.5
STRENGTHS = {"strong": 1.0, "weak": 0.2}


def refit(X, y, support):
    """Least squares with intercept on a support, as coefficients (p,)."""
    coef = np.zeros(X.shape[1])
    centred = X[:, support] - X[:, support].mean(axis=0)
    coef[support] = np.linalg.lstsq(centred, y - y.mean(), rcond=None)[0]
    return coef


def fit_lbi(**options):
    model = LBI(max_features=N // 2, **options)
    return lambda X, y: model.fit(X, y).coef_


def fit_lasso_refit(X, y):
    """Supports of the lasso path, refitted and scored by the same EBIC."""
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    coefs = lars_path(Z, y - y.mean(), method="lasso", max_iter=N // 2)[2]
    gamma = max(0.0, 1 - np.log(N) / (2 * np.log(P)))
    best, chosen = np.inf, None
    for k in range(coefs.shape[1]):
        support = np.flatnonzero(coefs[:, k])
        if len(support) > N // 2:
            break
        coef = refit(X, y, support)
        residual = y - y.mean() - (X - X.mean(axis=0)) @ coef
        m = len(support)
        choose = gammaln(P + 1) - gammaln(m + 1) - gammaln(P - m + 1)
        score = N * np.log(np.mean(residual**2)) + m * np.log(N) + 2 * gamma * choose
        if score < best:
            best, chosen = score, coef
    return chosen


def fit_lasso_cv(X, y):
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence at the far end of the grid
        return LassoCV(cv=5).fit(Z, y).coef_ / X.std(axis=0)


METHODS = {
    "LBI, EBIC (default)": fit_lbi(),
    "LBI, EBIC, refit": fit_lbi(refit=True),
    "LBI, BIC": fit_lbi(selector="bic"),
    "LBI, kappa = 5, EBIC": fit_lbi(kappa=5),
    "ISS, EBIC": fit_lbi(kappa=np.inf),
    "lasso, refit, EBIC": fit_lasso_refit,
    "lasso, cross-validated": fit_lasso_cv,
}


def study(strength, seeds):
    """Means over the seeds: {method: (true, false, error, standard error)}."""
    sigma = scipy.linalg.toeplitz(RHO ** np.arange(P))
    results = {name: [] for name in [*METHODS, "least squares on the truth"]}
    for seed in range(seeds):
        data = make_sparse_regression(
            N,
            P,
            S,
            design="ar1",
            correlation=RHO,
            signal_size=strength,
            snr=np.inf,
            random_state=seed,
        )
        y = data.y + np.random.default_rng(seed).standard_normal(N)
        fits = {name: fit(data.X, y) for name, fit in METHODS.items()}
        fits["least squares on the truth"] = refit(data.X, y, data.support)
        for name, coef in fits.items():
            found = np.flatnonzero(coef)
            true = np.isin(found, data.support).sum()
            difference = coef - data.coef
            error = difference @ sigma @ difference
            results[name].append((true, len(found) - true, error))
    return {
        name: (*np.mean(rows, axis=0), np.std([r[2] for r in rows]) / np.sqrt(seeds))
        for name, rows in results.items()
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    seeds = parser.parse_args(arguments).seeds
    tables = {name: study(size, seeds) for name, size in STRENGTHS.items()}
    head = " | ".join(f"{name}: true | false | error" for name in tables)
    print(f"| method | {head} |")
    print("|---|" + "---|" * (3 * len(tables)))
    for method in next(iter(tables.values())):
        cells = [
            f"{true:.1f} | {false:.1f} | {error:.3f} ± {spread:.3f}"
            for true, false, error, spread in (
                table[method] for table in tables.values()
            )
        ]
        print(f"| {method} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
