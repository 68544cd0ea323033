"""Coverage of the intervals after rejection, and of those of Huber regression.

``coverage_table(n_runs, seed)`` gives one line per setting and kind of interval; run as
``python -m benchmarks.outlier_study.coverage [--runs 4000] [--seed 0]`` to print it.

Correlated columns with unequal variances, drawn anew in every run; normal noise; some
rows shifted by 8 standard deviations of the noise, at no special leverage.
"""

import argparse

import numpy as np
import pandas as pd

from sparselbi import HuberRegression, OutlierRegression
from sparselbi.selection.outliers import ScaleCut

N, P, SHIFT, LEVEL = 100, 5, 8.0, 0.95
CUTS = (3.0, 2.5)
SHARES = (0.1, 0.0)


def draw(rng, share):
    """X, y, the coefficients (intercept last), and which rows are shifted."""
    X = rng.normal(size=(N, P)) + 0.5 * rng.normal(size=(N, 1))
    X *= np.geomspace(0.5, 4, P)
    truth = rng.normal(size=P + 1)
    y = X @ truth[:-1] + truth[-1] + rng.normal(size=N)
    shifted = np.zeros(N, dtype=bool)
    shifted[rng.choice(N, round(share * N), replace=False)] = True
    y[shifted] += SHIFT
    return X, y, truth, shifted


def inside(frame, truth, factor=1.0):
    """Share of the intervals that contain the truth, half-widths times a factor."""
    half = factor * (frame["high"] - frame["low"]) / 2
    return float(np.mean(np.abs(frame["coef"] - truth) <= half))


def one_run(rng, share):
    """Coverage of every kind of interval, and rows missed or wrongly flagged."""
    X, y, truth, shifted = draw(rng, share)
    found = {}
    model = None
    for cut in CUTS:
        if model is None:
            model = OutlierRegression(selector=ScaleCut(cut)).fit(X, y)
        else:
            model = model.select(ScaleCut(cut), X, y)
        frame = model.conf_int(LEVEL)
        used = model._inference.info
        of_error = used["standard_error_factor"]
        of_both = of_error * np.sqrt(used["variance_factor"])
        missed = np.mean(~model.outliers_[shifted]) if shifted.any() else 0.0
        wrong = np.mean(model.outliers_[~shifted])
        kinds = {"none": 1 / of_both, "variance": 1 / of_error, "both": 1.0}
        for correction, factor in kinds.items():
            key = f"hard, cut {cut:g}", correction
            found[key] = inside(frame, truth, factor), missed, wrong
    frame = HuberRegression().fit(X, y).conf_int(LEVEL)
    found["huber", "finite sample"] = inside(frame, truth), np.nan, np.nan
    return found


def coverage_table(n_runs: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Coverage at nominal 95 %, by share of shifted rows, method and correction.

    Parameters
    ----------
    n_runs : int
    seed : int

    Returns
    -------
    DataFrame
        ``coverage`` and its standard error over runs, mean ``masking`` and
        ``swamping`` (shares of rows; a Huber fit decides about none).
    """
    lines = []
    for k, share in enumerate(SHARES):
        rng = np.random.default_rng([seed, k])
        runs = [one_run(rng, share) for _ in range(n_runs)]
        for method, correction in runs[0]:
            values = np.array([run[method, correction] for run in runs])
            lines.append(
                {
                    "shifted": share,
                    "method": method,
                    "correction": correction,
                    "coverage": values[:, 0].mean(),
                    "error": values[:, 0].std(ddof=1) / np.sqrt(n_runs),
                    "masking": values[:, 1].mean(),
                    "swamping": values[:, 2].mean(),
                    "runs": n_runs,
                }
            )
    return pd.DataFrame(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    table = coverage_table(args.runs, args.seed)
    print(table.to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
