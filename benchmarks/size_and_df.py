"""Number of variables and degrees of freedom on pure noise, at one point of a path.

Run as ``python -m benchmarks.size_and_df [--draws 2000]``; prints a Markdown table.
n = 100, p = 50, independent normal columns, y normal noise of variance 1, all paths
read at t = 1/alpha = 4. Degrees of freedom are sum_i cov(y_i, fitted_i), which is the
mean of y'(fitted) because y has mean 0.
"""

import argparse

import numpy as np
from sklearn.linear_model import Lasso

from sparselbi import Problem, iss_path, lbi_path

N, P, T = 100, 50, 4.0


def lasso(problem, X, y):
    return Lasso(alpha=1 / T, fit_intercept=False).fit(X, y).coef_


def iss(problem, X, y):
    return iss_path(problem, t_max=T).at(T).coef


def lbi(kappa):
    return lambda problem, X, y: lbi_path(problem, kappa_raw=kappa, t_max=T).at(T).coef


METHODS = {
    "lasso": lasso,
    "LBI, kappa = 3": lbi(3.0),
    "LBI, kappa = 10": lbi(10.0),
    "LBI, kappa = 30": lbi(30.0),
    "ISS": iss,
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args(arguments).draws
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, P))
    results = {name: [] for name in METHODS}
    for _ in range(draws):
        y = rng.standard_normal(N)
        problem = Problem(X, y, fit_intercept=False, standardize=False)
        for name, fit in METHODS.items():
            coef = fit(problem, X, y)
            results[name].append((np.count_nonzero(coef), y @ (X @ coef)))
    print("| method | mean size | degrees of freedom |")
    print("|---|---|---|")
    for name, rows in results.items():
        size, df = np.mean(rows, axis=0)
        error = np.std(rows, axis=0) / np.sqrt(draws)
        print(f"| {name} | {size:.2f} ± {error[0]:.2f} | {df:.2f} ± {error[1]:.2f} |")


if __name__ == "__main__":
    main()
