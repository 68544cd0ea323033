"""Small published tables that ship with the package.

They are facts printed in the papers and books that each loader names. All loaders take
the same two arguments and return the same fields, described at `load_stackloss`; the
docstring of a loader is also the `DESCR` of its data. Rows are counted from 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from sklearn import datasets as sklearn_datasets
from sklearn.utils import Bunch


def load_stackloss(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Stack loss of a plant that oxidises ammonia: 21 days, 3 predictors.

    Air flow, water temperature and acid concentration against the ammonia that is
    lost. Rows usually named as outliers: 0, 2, 3 and 20 (`outliers`); methods disagree
    about all but row 20, and row 1 is sometimes added.

    Parameters
    ----------
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool
        Give `data` as a pandas DataFrame and `target` as a Series.

    Returns
    -------
    Bunch
        data : ndarray of shape (n_samples, n_features), or DataFrame
        target : ndarray of shape (n_samples,), or Series
        feature_names : list of str
        target_name : str
        frame : DataFrame of features and target, None unless `as_frame`
        DESCR : str
        outliers : int ndarray, rows known as outliers (where a table has some)

    References
    ----------
    .. [1] K. A. Brownlee (1965). Statistical Theory and Methodology in Science and
       Engineering, 2nd ed. Wiley.
    .. [2] P. J. Rousseeuw, A. M. Leroy (1987). Robust Regression and Outlier
       Detection. Wiley.

    Examples
    --------
    >>> from sparselbi.datasets import load_stackloss
    >>> X, y = load_stackloss(return_X_y=True)
    >>> X.shape
    (21, 3)
    """
    return _load("stackloss", load_stackloss, return_X_y, as_frame, [0, 2, 3, 20])


def load_hbk(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Artificial data of Hawkins, Bradu and Kass: 75 rows, 3 predictors.

    Rows 0 to 9 are bad leverage points (`outliers`) that mask each other; rows 10 to
    13 are good leverage points: far out in X but on the model.

    Arguments and fields: see `load_stackloss`.

    References
    ----------
    .. [1] D. M. Hawkins, D. Bradu, G. V. Kass (1984). Location of several outliers in
       multiple-regression data using elemental sets. Technometrics 26, 197-208.
    """
    return _load("hbk", load_hbk, return_X_y, as_frame, range(10))


def load_stars_cyg(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Hertzsprung-Russell diagram of the star cluster CYG OB1: 47 stars, 1 predictor.

    Logarithm of the surface temperature against logarithm of the light intensity. Rows
    10, 19, 29 and 33 are giants: bad leverage points (`outliers`).

    Arguments and fields: see `load_stackloss`.

    References
    ----------
    .. [1] P. J. Rousseeuw, A. M. Leroy (1987). Robust Regression and Outlier
       Detection. Wiley, p. 27, table 3.
    """
    return _load("stars_cyg", load_stars_cyg, return_X_y, as_frame, [10, 19, 29, 33])


def load_wood(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Wood specific gravity with planted outliers: 20 rows, 5 predictors.

    Data of Draper and Smith (1966) in which Rousseeuw (1984) replaced rows 3, 5, 7 and
    18 by outliers (`outliers`) that are not extreme in any single column.

    Arguments and fields: see `load_stackloss`.

    References
    ----------
    .. [1] P. J. Rousseeuw, A. M. Leroy (1987). Robust Regression and Outlier
       Detection. Wiley, p. 243, table 8.
    """
    return _load("wood", load_wood, return_X_y, as_frame, [3, 5, 7, 18])


def load_prostate(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Prostate cancer: 97 men, 8 clinical predictors of log PSA.

    Log cancer volume, log prostate weight, age, log benign hyperplasia, seminal vesicle
    invasion, log capsular penetration, Gleason score and percentage of Gleason scores 4
    or 5. The field `train` (bool ndarray) is the split of [2]_ into 67 men for training
    and 30 for test. Row 31 has the corrected prostate weight.

    Arguments and fields: see `load_stackloss`.

    References
    ----------
    .. [1] T. A. Stamey et al. (1989). Prostate specific antigen in the diagnosis and
       treatment of adenocarcinoma of the prostate: II. Radical prostatectomy treated
       patients. Journal of Urology 141, 1076-1083.
    .. [2] T. Hastie, R. Tibshirani, J. Friedman (2009). The Elements of Statistical
       Learning, 2nd ed. Springer.
    """
    return _load("prostate", load_prostate, return_X_y, as_frame)


def load_diabetes(*, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Diabetes progression after one year: 442 patients, 10 baseline measurements.

    The table of scikit-learn in its original units (``scaled=False`` there): age, sex,
    body mass index, blood pressure and six blood serum measurements.

    Arguments and fields: see `load_stackloss`.

    References
    ----------
    .. [1] B. Efron, T. Hastie, I. Johnstone, R. Tibshirani (2004). Least angle
       regression. Annals of Statistics 32, 407-499.
    """
    raw = sklearn_datasets.load_diabetes(scaled=False)
    names = [*raw.feature_names, "progression"]
    bunch = _as_bunch(raw.data, raw.target, names, load_diabetes, as_frame)
    return (bunch.data, bunch.target) if return_X_y else bunch


def _load(
    name: str,
    loader: Any,
    return_X_y: bool,
    as_frame: bool,
    outliers: Sequence[int] | None = None,
) -> Any:
    """Read data/<name>.csv: features, target, and perhaps a last column `train`."""
    file = resources.files("sparselbi.datasets") / "data" / f"{name}.csv"
    with file.open(encoding="utf-8") as stream:
        names = next(stream).strip().split(",")
        values = np.loadtxt(stream, delimiter=",")
    extra = {}
    if names[-1] == "train":
        extra["train"] = values[:, -1] == 1
        names, values = names[:-1], values[:, :-1]
    if outliers is not None:
        extra["outliers"] = np.array(outliers)
    # Copies: views would keep the whole table alive and tie the two together.
    data, target = values[:, :-1].copy(), values[:, -1].copy()
    bunch = _as_bunch(data, target, names, loader, as_frame)
    bunch.update(extra)
    return (bunch.data, bunch.target) if return_X_y else bunch


def _as_bunch(
    data: Any, target: Any, names: list[str], loader: Any, as_frame: bool
) -> Bunch:
    frame = None
    if as_frame:
        import pandas as pd

        frame = pd.DataFrame(np.column_stack([data, target]), columns=names)
        data, target = frame[names[:-1]], frame[names[-1]]
    return Bunch(
        data=data,
        target=target,
        feature_names=names[:-1],
        target_name=names[-1],
        frame=frame,
        DESCR=inspect.getdoc(loader) or "",
    )
