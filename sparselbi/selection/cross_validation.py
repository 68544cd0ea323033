"""Choose a point of a path by its predictions for rows that were left out."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from inspect import signature
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from ..losses.fit import mean_loss
from ..solvers.refit import refit_supports
from ..solvers.retrace import retrace
from ..split_path import SplitPath
from .base import Selection
from .split_statistics import dense_predictors, split_refits
from .statistics import sparse_part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..path import RegularizationPath
    from ..problem import Problem

# scikit-learn's splitters and scorers take long to import: where they are used.
# Linear predictors of several knots are held together up to this many entries.
_MAX_ENTRIES = 2**22
# Name of the mean loss, and its factor (the squared loss is half the square).
_LABELS = {
    "squared": ("mean squared error", 2.0),
    "logistic": ("log loss", 1.0),
    "multinomial": ("log loss", 1.0),
    "huber": ("mean Huber loss", 1.0),
}
# Rules, and the names under which estimators know them.
_RULES = {"min": "cv", "1se": "cv_1se"}
_MOMENT_SCORES = (None, "neg_mean_squared_error", "neg_root_mean_squared_error", "r2")


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CrossValidated(Selection):
    """A point chosen by cross-validation, with every score behind it.

    Inherits the fields of `Selection`; ``scores`` is the mean over the folds.

    Parameters
    ----------
    fold_scores : ndarray of shape (n_folds, K)
        Smaller is better. NaN where the path of a fold ended before the knot.
    standard_error : ndarray of shape (K,)
        Of the mean: standard deviation over the folds / sqrt(n_folds).
    points : dict
        ``"cv"``: t of the smallest mean; ``"cv_1se"``: the smallest t (most
        regularized point) whose mean is within one standard error of it.
    label : str
        What the scores are.
    fold_paths : tuple of RegularizationPath or None
        With ``keep_paths=True``.
    knots, sizes : ndarray of shape (K,)
        Of the full path: knots, and number of features (rows of D) in the model.
    unit : {"features", "rows"}
        What `sizes` counts: rows for paths of Split LBI.
    """

    fold_scores: NDArray[np.float64] = dataclasses.field(
        default_factory=lambda: np.zeros((0, 0))
    )
    standard_error: NDArray[np.float64] = dataclasses.field(
        default_factory=lambda: np.zeros(0)
    )
    points: dict[str, float] = dataclasses.field(default_factory=dict)
    label: str = ""
    fold_paths: tuple[RegularizationPath, ...] | None = None
    knots: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(0))
    sizes: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int64)
    )
    unit: str = "features"

    def with_rule(self, rule: str) -> CrossValidated:
        """What the other rule, "min" or "1se", chooses from the same scores."""
        _check_rule(rule)
        index = _choose(self.scores, self.standard_error)[rule]
        return dataclasses.replace(
            self,
            rule=_RULES[rule],
            knot=float(self.knots[index]),
            index=index,
            quantities={
                **self.quantities,
                self.unit: int(self.sizes[index]),
                "score": float(self.scores[index]),
                "standard_error": float(self.standard_error[index]),
            },
        )


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """Choose the point of a path that predicts left-out rows best.

    The path of every fold is traced with the raw kappa (and nu) of the full fit, from
    its own exact first entry, to the last t of the full fit, and read at the knots of
    the full fit: all folds and the full fit are compared at one and the same absolute
    t. Before its first entry a fold predicts with its null model.

    Parameters
    ----------
    rule : {"min", "1se"}, default="min"
        "min" takes the smallest mean score; among equal ones the smallest t. "1se" the
        smallest t whose mean score is at most one standard error larger; it is never
        less regularized than "min".
    cv : int, splitter or iterable of (train, test), default=5
        A number means shuffled folds, stratified for classes, and by groups where the
        problem has ``sample_groups``. Any splitter of scikit-learn works.
    scoring : str or callable, default=None
        None is the mean loss of the path: mean squared error, log loss, mean Huber
        loss. Otherwise a scorer of scikit-learn (larger is better; scores are reported
        with the opposite sign).
    refit : bool, default=False
        Score the unpenalized refits on the supports of the folds; for Split LBI the
        refits with the structure of the active rows of D, not the dense coefficients.
    n_jobs : int, default=None
        Workers of joblib, one fold each. ``joblib.parallel_config`` chooses others.
    random_state : int, RandomState or None, default=0
        Shuffles the folds if `cv` is a number.
    keep_paths : bool, default=False
        Keep the paths of the folds in ``selection_.fold_paths``.

    Notes
    -----
    Rows with weight w count as w rows, in the fits and in the scores of a fold; that
    equals repeated rows if the copies share a fold. Every fold counts the same in the
    mean.

    The standard error treats folds as independent, which they are not; it is a scale
    for "no worse than", not for tests.

    References
    ----------
    Breiman, L., Friedman, J., Olshen, R. and Stone, C. (1984). Classification and
    Regression Trees. Section 3.4.3 (one-standard-error rule).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparselbi import LBI
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LBI(selector="cv").fit(X, y)
    >>> simpler = model.select("cv_1se", X, y)
    >>> bool(simpler.selection_.knot <= model.selection_.knot)
    True
    """

    rule: str = "min"
    cv: Any = dataclasses.field(default=5, kw_only=True)
    scoring: Any = dataclasses.field(default=None, kw_only=True)
    refit: bool = dataclasses.field(default=False, kw_only=True)
    n_jobs: int | None = dataclasses.field(default=None, kw_only=True)
    random_state: Any = dataclasses.field(default=0, kw_only=True)
    keep_paths: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_rule(self.rule)
        is_number = isinstance(self.cv, Integral)
        if isinstance(self.cv, bool) or (is_number and self.cv < 2):
            raise ValueError(
                f"cv={self.cv!r} must be at least 2 folds, a splitter of "
                "sklearn.model_selection, or an iterable of (train, test)."
            )
        if not is_number and isinstance(self.cv, Iterable):
            # An iterator could only be read once.
            object.__setattr__(self, "cv", tuple(self.cv))

    def select(
        self, path: RegularizationPath, problem: Problem | None = None
    ) -> CrossValidated:
        """Choose a knot.

        Parameters
        ----------
        path : RegularizationPath
        problem : Problem
            What the path was traced on; the folds are taken from it.

        Returns
        -------
        CrossValidated

        Raises
        ------
        ValueError
            If `problem` is None, if a fold cannot be fitted (no rows, a class or all
            variation of y left out), or if a score is not a number.
        """
        if problem is None:
            raise ValueError(
                "cross-validation fits the folds, so it needs the data: call "
                "select('cv', X, y) with the X, y and sample_weight given to fit."
            )
        if problem.is_summary:
            self._check_summary(problem)
        folds = self._folds(problem)
        scorer, label = self._scorer(path, problem)
        jobs = (
            delayed(_score_fold)(path, problem, k, *fold, scorer, self.refit)
            for k, fold in enumerate(folds)
        )
        rows, paths, notes = zip(*Parallel(n_jobs=self.n_jobs)(jobs), strict=True)
        fold_scores = np.array(rows)
        mean = fold_scores.mean(axis=0)
        error = fold_scores.std(axis=0, ddof=1) / np.sqrt(len(folds))
        chosen = _choose(mean, error)
        last = int(np.flatnonzero(np.isfinite(mean))[-1])
        counted = sparse_part(path)
        is_split = isinstance(path, SplitPath)
        note = _common_note(notes, is_split)
        if last < len(mean) - 1:
            reason = "the path of a fold had ended"
            if self.refit and is_split:
                reason += ", or its refit had as many coefficients as samples"
            note.append(
                f"Knots beyond {path.knots[last]:.6g} have no score: there {reason}."
            )
        if chosen["min"] == last and not path.is_complete:
            note.append(
                "The best score is at the end of what was scored; a longer path "
                "(t_max, max_features) may have a better one."
            )
        unit = "rows" if is_split else "features"
        sizes = counted._nonzero(counted.active_coefs).sum(axis=1)
        scored_fit = "dense coefficients" if is_split else "path"
        if self.refit:
            scored_fit = "refit on the support"
        places = {
            rule: f"t = {path.knots[k]:.6g}, {sizes[k]} {unit}, "
            f"{mean[k]:.6g} +- {error[k]:.3g}"
            for rule, k in chosen.items()
        }
        index = chosen[self.rule]
        return CrossValidated(
            rule=_RULES[self.rule],
            knot=float(path.knots[index]),
            index=index,
            scores=mean,
            quantities={
                unit: int(sizes[index]),
                "score": float(mean[index]),
                "standard_error": float(error[index]),
                "null_score": float(mean[0]),
                "scoring": label,
                "scored_fit": scored_fit,
                **places,
                "n_folds": len(folds),
                "splitter": self._splitter_name(problem),
                "kappa_raw": path.kappa_raw,
                **({"nu_raw": path.nu_raw} if isinstance(path, SplitPath) else {}),
                "knots_scored": last + 1,
            },
            message=" ".join(note),
            fold_scores=fold_scores,
            standard_error=error,
            points={
                name: float(path.knots[chosen[rule]]) for rule, name in _RULES.items()
            },
            label=label,
            fold_paths=paths if self.keep_paths else None,
            knots=path.knots,
            sizes=sizes,
            unit=unit,
        )

    def _check_summary(self, problem: Problem) -> None:
        """Moments have the squared errors of the folds that were kept, no others."""
        if problem.sample_groups is None:
            raise ValueError(
                "cross-validation from blocks of rows needs folds that were kept from "
                "the start: RowMoments.from_blocks(blocks, n_folds=5), or from_arrays."
            )
        if self.scoring not in _MOMENT_SCORES:
            raise ValueError(
                f"scoring={self.scoring!r} needs single samples; from moments of "
                f"blocks of rows only {_MOMENT_SCORES} can be computed."
            )

    def _splitter(self, problem: Problem) -> Any:
        from sklearn.model_selection import (
            GroupKFold,
            KFold,
            StratifiedGroupKFold,
            StratifiedKFold,
            check_cv,
        )

        if not isinstance(self.cv, Integral):
            return check_cv(self.cv)
        n_splits = int(self.cv)
        units = "samples"
        n_units = problem.n_samples
        if problem.sample_groups is not None:
            units, n_units = "groups", len(np.unique(problem.sample_groups))
        if n_splits > n_units:
            raise ValueError(
                f"cv={n_splits} folds need at least as many {units}, but there are "
                f"{n_units}; use cv={n_units} or less."
            )
        table = {
            (False, False): KFold,
            (True, False): StratifiedKFold,
            (False, True): GroupKFold,
            (True, True): StratifiedGroupKFold,
        }
        kind = table[problem.classes is not None, problem.sample_groups is not None]
        return kind(n_splits, shuffle=True, random_state=self.random_state)

    def _splitter_name(self, problem: Problem) -> str:
        return (
            f"{len(self.cv)} given splits"
            if isinstance(self.cv, tuple)
            else " ".join(str(self._splitter(problem)).split())
        )

    def _folds(
        self, problem: Problem
    ) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        splitter = self._splitter(problem)
        data = problem.X, problem.target, problem.sample_groups
        with warnings.catch_warnings():
            # A rare class is refused below where it matters: in a training part.
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            try:
                folds = [
                    (np.asarray(train), np.asarray(test))
                    for train, test in splitter.split(*data)
                ]
            except ValueError as error:
                if problem.sample_groups is None and "groups" in str(error):
                    raise ValueError(
                        f"cv={self.cv!r} needs the group of every sample; give "
                        "fit(X, y, sample_groups=...)."
                    ) from error
                raise ValueError(f"cv={self.cv!r} cannot split: {error}") from error
        if len(folds) < 2:
            raise ValueError(
                f"cv={self.cv!r} gives {len(folds)} fold(s); a standard error needs at "
                "least 2."
            )
        for k, (train, test) in enumerate(folds):
            _check_fold(problem, k, train, test)
        return folds

    def _scorer(self, path: RegularizationPath, problem: Problem) -> tuple[Any, str]:
        if self.scoring is None:
            return None, _LABELS[path.loss.name][0]
        from sklearn.metrics import get_scorer

        scorer = get_scorer(self.scoring)
        name = self.scoring if isinstance(self.scoring, str) else _name(scorer)
        if problem.sample_weight is not None and not _takes_weights(scorer):
            raise ValueError(
                f"scoring={name!r} takes no sample_weight, but the fit is weighted; "
                "use a scorer that does, or fit without weights."
            )
        if name.startswith("neg_"):
            return scorer, name.removeprefix("neg_").replace("_", " ")
        return scorer, f"minus {name}"


def _name(scorer: Any) -> str:
    function = getattr(scorer, "_score_func", scorer)
    return getattr(function, "__name__", type(scorer).__name__)


def _takes_weights(scorer: Any) -> bool:
    parameters = signature(getattr(scorer, "_score_func", scorer)).parameters
    return "sample_weight" in parameters


def _check_rule(rule: str) -> None:
    if rule not in _RULES:
        raise ValueError(f"rule={rule!r} is unknown; use one of {tuple(_RULES)}.")


def _choose(mean: NDArray[np.float64], error: NDArray[np.float64]) -> dict[str, int]:
    """Index of the smallest mean, and of the first within one error of it."""
    best = int(np.nanargmin(mean))
    near = mean[: best + 1] <= mean[best] + error[best]
    return {"min": best, "1se": int(np.argmax(near))}


def _check_fold(
    problem: Problem, k: int, train: NDArray[Any], test: NDArray[Any]
) -> None:
    for name, rows in (("training", train), ("test", test)):
        picked = np.arange(problem.n_samples)[rows]
        if problem.sample_weight is not None:
            picked = picked[problem.sample_weight[picked] > 0]
        if not picked.size:
            raise ValueError(
                f"the {name} part of fold {k} has no sample with a positive weight; "
                "use fewer or other folds (cv=...)."
            )
        if name == "test":
            continue
        target = problem.target[picked]
        if problem.classes is not None:
            missing = np.setdiff1d(problem.classes, target)
            if missing.size:
                raise ValueError(
                    f"the training part of fold {k} has no sample of class "
                    f"{missing.tolist()}; use a stratified splitter (cv=5 is one), "
                    "fewer folds, or merge rare classes."
                )
        elif np.ptp(problem.y[0, picked]) == 0:
            raise ValueError(
                f"y is constant ({target[0]}) in the training part of fold {k}: "
                "there is nothing to fit. Shuffle the folds (cv=5 does), or use fewer."
            )


def _score_fold(
    path: RegularizationPath,
    problem: Problem,
    k: int,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    scorer: Any,
    refit: bool,
) -> tuple[NDArray[np.float64], RegularizationPath, list[int]]:
    """Scores (K,) of one fold, its path, and the features that it could not see."""
    part = problem.restrict(train)
    times = path.representative_knots()
    end = float(times.max()) or np.finfo(float).tiny  # 0 if the path is the null model
    fold = retrace(path, part, t_max=end)
    reached = np.ones(len(times), dtype=bool)
    if not fold.is_complete:
        reached = times <= fold.knots[-1] * (1 + 1e-10)
    coefs, intercepts = fold._active_at(times[reached])
    if refit and isinstance(fold, SplitPath):
        coefs, intercepts = split_refits(fold, part, times[reached])
        found = np.isfinite(intercepts).reshape(len(intercepts), -1).all(axis=1)
        reached[reached] = found
        coefs, intercepts = coefs[found], intercepts[found]
    # The knots of the exact path are refits already, unless signs are constrained.
    elif refit and (path.method != "iss" or path.penalty.positive):
        support = fold._nonzero(coefs)
        coefs, intercepts, _ = refit_supports(
            part, fold.active_features, support, fold.coef_shape
        )
    scores = np.full(len(times), np.nan)
    args = (problem, fold, coefs, intercepts, test)
    scores[reached] = _losses(*args) if scorer is None else _score(*args, scorer, k)
    unseen = np.flatnonzero(problem.usable & ~part.usable)
    return scores, fold, unseen.tolist()


def _losses(problem, fold, coefs, intercepts, test):
    """Mean loss of the test rows at every knot."""
    weight = problem.omega[test] / problem.omega[test].sum()
    rows = (len(coefs), problem.n_outputs)
    coefs, intercepts = coefs.reshape(*rows, -1), intercepts.reshape(rows)
    y = np.ascontiguousarray(problem.y[:, test])
    factor = _LABELS[problem.loss.name][1]
    out = np.empty(len(coefs))
    step = max(1, _MAX_ENTRIES // y.size)
    for start in range(0, len(coefs), step):
        some = slice(start, start + step)
        eta = _predictors(problem, fold, coefs[some], intercepts[some], test)
        out[some] = [factor * mean_loss(problem.loss, y, one, weight) for one in eta]
    return out


def _predictors(problem, fold, coefs, intercepts, rows):
    """Linear predictors (K, n_outputs, n_rows) of coefficients (K, n_outputs, E)."""
    if isinstance(fold, SplitPath):
        return dense_predictors(problem, coefs, intercepts)[..., rows]
    return problem.linear_predictor(fold.active_features, coefs, intercepts, rows)


def _score(problem, fold, coefs, intercepts, test, scorer, k):
    """Minus the score of the test rows at every knot."""
    X, target = problem.X[test], problem.target[test]
    kind = _RegressorAtKnot if problem.classes is None else _ClassifierAtKnot
    options = {}
    if problem.sample_weight is not None:
        options["sample_weight"] = problem.sample_weight[test]
    out = np.empty(len(coefs))
    for i in range(len(coefs)):
        model = kind(fold, coefs[i], intercepts[i], problem.classes)
        value = scorer(model, X, target, **options)
        if not np.ndim(value) == 0 or np.isnan(value):
            raise ValueError(
                f"scoring={_name(scorer)!r} returned {value!r} for fold {k} "
                f"({len(target)} test samples); a score must be a number. Some scores "
                "need several samples or all classes in every test part: use fewer "
                "folds or another score."
            )
        out[i] = -value
    return out


class _AtKnot(BaseEstimator):
    """One fit of a path, as scorers expect an estimator to be."""

    def __init__(self, path, coef, intercept, classes):
        self.path = path
        self.coef = coef
        self.intercept = intercept
        self.classes_ = classes

    def __sklearn_is_fitted__(self):
        return True

    def _eta(self, X):
        """Linear predictor, (n_outputs, n_samples)."""
        features = self.path.active_features
        block = X if len(features) == X.shape[1] else X[:, features]
        eta = np.asarray(block @ np.atleast_2d(self.coef).T).T
        return eta + np.atleast_1d(self.intercept)[:, None]


class _RegressorAtKnot(RegressorMixin, _AtKnot):
    def predict(self, X):
        return self.path.loss.inverse_link(self._eta(X))[0]


class _ClassifierAtKnot(ClassifierMixin, _AtKnot):
    def decision_function(self, X):
        eta = self._eta(X)
        return eta[0] if len(eta) == 1 else eta.T

    def predict_proba(self, X):
        mean = self.path.loss.inverse_link(self._eta(X))
        return np.vstack([1 - mean, mean]).T if len(mean) == 1 else mean.T

    def predict(self, X):
        eta = self._eta(X)
        code = eta.argmax(axis=0) if len(eta) > 1 else (eta[0] > 0).astype(int)
        return self.classes_[code]


def _common_note(notes, is_split):
    unseen = sorted(set().union(*notes))
    if not unseen:
        return []
    shown = ", ".join(map(str, unseen[:5])) + (", ..." if len(unseen) > 5 else "")
    effect = "D alone said what they are" if is_split else "could not enter"
    return [
        f"{len(unseen)} feature(s) (index {shown}) are constant in the training part "
        f"of some fold and {effect} there."
    ]
