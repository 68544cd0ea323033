"""The question: X, y, loss, penalty, weights, intercept. Checked once, here."""

import copy

import numpy as np
from scipy import sparse

from ._kernels import jit
from .losses import get_loss
from .losses.fit import fit_unpenalized, mean_loss, weighted_score
from .penalties import get_penalty

# Rows or columns are upcast in blocks of about this many numbers.
_BLOCK = 1 << 18
# Columns whose results stay in the cache while rows pass by.
_TILE = 2048
# Bytes up to which X may stay in a cache, so that two passes cost no more than one.
_CACHE = 1 << 25
# A centred column below this fraction of its own mean is constant up to rounding.
_CONSTANT = 1e-13
GROUP_WEIGHTS = ("unit", "sqrt")


class Problem:
    """A penalized regression or classification problem, as solvers see it.

    The objective of a path is the mean loss ``sum_i w_i loss(y_i, eta_i) / sum_i w_i``
    with ``eta = X @ coef + intercept``. Solvers work with *standardized* columns: X
    centred (with an intercept) and divided by its root mean square (with
    ``standardize``), both weighted. The standardized matrix never exists: X is neither
    copied nor densified, products are corrected by rank-one terms.

    Parameters
    ----------
    X : array-like or scipy sparse matrix of shape (n_samples, n_features)
        Dense C or Fortran order, float32 or float64, memory-mapped, or sparse
        (held as CSC). float32 data stay float32 and are multiplied in float64.
    y : array-like of shape (n_samples,)
        Numbers for regression losses, labels for classification losses.
    loss : {"squared", "logistic", "multinomial", "huber"} or loss instance
    penalty : {"l1", "group"} or penalty instance
    sample_weight : array-like of shape (n_samples,), default=None
        Weight w means the same as w repeated rows.
    fit_intercept, standardize : bool, default=True
    penalty_factor : array-like of shape (n_features,), default=None
        Threshold of each feature; 0 = never penalized, inf = never in. Not rescaled.
    groups : array-like of shape (n_features,), default=None
        Group label of each feature, for ``penalty="group"``.
    group_weight : {"unit", "sqrt"}, default="unit"
        Threshold of a group: 1, or the square root of its number of coefficients.
    sample_groups : array-like of shape (n_samples,), default=None
        Labels of samples that belong together, such as the visits of one patient:
        resampling (cross-validation, stability selection) never separates them. The
        path itself does not depend on them.

    Attributes
    ----------
    X : ndarray or CSC matrix of shape (n_samples, n_features)
    target : ndarray of shape (n_samples,)
        y as given, labels or numbers; ``y`` is what the loss made of it.
    is_summary : bool
        Whether the rows only stand for the moments of other rows (`as_summary`).

    Raises
    ------
    ValueError
        If an argument has a wrong shape, is not finite, or is unknown.
    """

    def __init__(
        self,
        X,
        y,
        loss="squared",
        penalty="l1",
        *,
        sample_weight=None,
        fit_intercept=True,
        standardize=True,
        penalty_factor=None,
        groups=None,
        group_weight="unit",
        sample_groups=None,
    ):
        self._X = _check_matrix(X)
        self.n_samples, self.n_features = self._X.shape
        self.fit_intercept = bool(fit_intercept)
        self.standardize = bool(standardize)
        self.penalty = get_penalty(penalty)
        loss = get_loss(loss)

        weight = check_weight(sample_weight, self.n_samples)
        self.sample_weight = None if sample_weight is None else weight
        self.total_weight = float(weight.sum())
        self.omega = weight / self.total_weight
        self.sqrt_weight = np.sqrt(self.omega)

        factor = _check_factor(penalty_factor, self.n_features)
        self.penalty_factor = None if penalty_factor is None else factor
        self.groups = None if groups is None else np.asarray(groups)
        if group_weight not in GROUP_WEIGHTS:
            raise ValueError(
                f"group_weight={group_weight!r} is unknown; use one of {GROUP_WEIGHTS}."
            )
        self.group_weight = group_weight
        self.sample_groups = _check_sample_groups(sample_groups, self.n_samples)
        self.is_summary = False

        self._set_columns(factor)
        self._set_response(y, loss, weight)
        self._set_blocks(factor)
        self._fit_null()

    # -- construction ------------------------------------------------------------

    def _set_columns(self, factor):
        mean, variance = _moments(self._X, self.omega)
        bad = ~(np.isfinite(mean) & np.isfinite(variance))
        if bad.any():
            raise ValueError(
                f"X contains NaN or infinity in column {int(np.flatnonzero(bad)[0])}; "
                "impute or drop such values first (sklearn.impute)."
            )
        square = variance if self.fit_intercept else variance + mean**2
        rms = np.sqrt(square)
        self.x_mean = mean if self.fit_intercept else np.zeros_like(mean)
        self.usable = (rms > _CONSTANT * np.abs(mean)) & np.isfinite(factor)
        # An infinite scale makes a column exactly zero: it can never enter.
        self.x_scale = np.where(self.usable, rms if self.standardize else 1.0, np.inf)
        norms = np.divide(rms, self.x_scale, out=np.zeros_like(rms), where=self.usable)
        self.s_X = (
            float(np.sqrt(np.mean(norms[self.usable] ** 2)))
            if (self.usable.any())
            else 1.0
        )
        self._column_norms = norms

    def _set_response(self, y, loss, weight):
        if len(np.shape(y)) == 0 or np.shape(y)[0] != self.n_samples:
            raise ValueError(
                f"X has {self.n_samples} rows but y has shape {np.shape(y)}; they must "
                "have the same number of samples."
            )
        self.y, self.classes = loss.encode(y)
        self.target = np.asarray(y)
        if not np.isfinite(self.y).all():
            row = int(np.flatnonzero(~np.isfinite(self.y).all(axis=0))[0])
            raise ValueError(
                f"y contains NaN or infinity (row {row}); drop or impute those samples."
            )
        self.loss = loss.resolve(self.y, weight)
        self.n_outputs = len(self.y)
        self.s_y = float(self.loss.spread(self.y, weight))
        lead = () if self.classes is None else (self.n_outputs,)
        self.coef_shape = (*lead, self.n_features)
        # Squared loss eliminates the intercept; other losses iterate on it as an
        # unpenalized column of ones, which has index n_features.
        self.has_intercept_column = self.fit_intercept and self.loss.name != "squared"
        extra = int(self.has_intercept_column)
        self.norms = np.append(self._column_norms, np.ones(extra))

    def _set_blocks(self, factor):
        p, extra = self.n_features, int(self.has_intercept_column)
        labels = np.arange(p)
        if self.penalty.grouped and self.groups is not None:
            if self.groups.shape != (p,):
                raise ValueError(
                    f"groups has shape {self.groups.shape}; it needs one label for "
                    f"each of the {p} features."
                )
            # Blocks in order of first appearance, so that they move with the columns.
            _, first, code = np.unique(
                self.groups, return_index=True, return_inverse=True
            )
            labels = np.argsort(np.argsort(first))[code]
        elif self.groups is not None:
            raise ValueError(
                f"groups are given but penalty={self.penalty!r} has no groups; "
                "use penalty='group'."
            )
        labels = np.append(labels, np.full(extra, labels.max(initial=-1) + 1))
        self.block_features = np.argsort(labels, kind="stable")
        counts = np.bincount(labels)
        self.block_ptr = np.append(0, np.cumsum(counts))
        weights = np.append(factor, np.zeros(extra))
        if self.penalty.grouped:
            low = np.minimum.reduceat(weights[self.block_features], self.block_ptr[:-1])
            high = np.maximum.reduceat(
                weights[self.block_features], self.block_ptr[:-1]
            )
            if (low != high).any():
                block = int(np.flatnonzero(low != high)[0])
                members = self.block_features[
                    self.block_ptr[block] : self.block_ptr[block + 1]
                ]
                raise ValueError(
                    "penalty_factor must be constant within a group; the group of "
                    f"features {members[:5].tolist()} has {low[block]} and "
                    f"{high[block]}."
                )
            if self.group_weight == "sqrt":
                weights = weights * np.sqrt(counts[labels] * self.n_outputs)
        # Columns that are exactly zero keep a finite threshold they never reach.
        self.weights = np.where(np.isfinite(weights), weights, 1.0)

    def _fit_null(self):
        free = np.flatnonzero(self.weights[: self.n_features] == 0)
        self.unpenalized = free[self.usable[free]]
        design = self.columns(self.unpenalized, weighted=False).T
        if self.fit_intercept:
            design = np.vstack([design, np.ones(self.n_samples)])
        coef, _, separable = fit_unpenalized(self.loss, self.y, self.omega, design)
        if separable:
            raise ValueError(
                "the columns with penalty_factor=0 separate the classes perfectly, so "
                "the null model does not exist; penalize them."
            )
        if self.fit_intercept and not self.unpenalized.size:
            coef[:, -1] = _null_intercept(self, coef[:, -1])
        self.null_coef = coef[:, : len(self.unpenalized)]
        self.null_intercept = (
            coef[:, -1].copy() if self.fit_intercept else np.zeros(self.n_outputs)
        )
        self.null_eta = coef @ design
        self.null_score = weighted_score(self.loss, self.y, self.null_eta, self.omega)
        self.null_loss = mean_loss(self.loss, self.y, self.null_eta, self.omega)

    def with_response(self, y):
        """Return the same problem with another response; X is shared."""
        other = copy.copy(self)
        other._set_response(
            y,
            self.loss,
            np.ones(self.n_samples)
            if self.sample_weight is None
            else self.sample_weight,
        )
        other._fit_null()
        return other

    def with_sample_groups(self, sample_groups):
        """Return the same problem with other `sample_groups`; X is shared."""
        other = copy.copy(self)
        other.sample_groups = _check_sample_groups(sample_groups, self.n_samples)
        return other

    def as_summary(self):
        """Return the same problem with rows that are no samples but have their moments.

        See `sparselbi.RowMoments`: what needs single samples is then refused.
        """
        if self.loss.name != "squared":
            raise ValueError(
                f"loss={self.loss.name!r} needs every row; moments of blocks of rows "
                "are enough for loss='squared' only. Pass X and y (memory-mapped if "
                "need be)."
            )
        other = copy.copy(self)
        other.is_summary = True
        return other

    def check_samples(self, what):
        """Raise if `what`, which needs single samples, is asked of a summary."""
        if self.is_summary:
            raise ValueError(
                f"{what} needs single samples, but only moments of blocks of rows were "
                "given; pass X and y (memory-mapped if need be)."
            )

    def restrict(self, rows):
        """Return the problem that the given rows alone would have posed.

        Data-dependent parameters of the loss (Huber's threshold) stay as they are. Rows
        of a memory map are not copied: the others get weight 0, which means the same.

        Parameters
        ----------
        rows : ndarray of int or bool
        """
        rows = np.arange(self.n_samples)[rows]
        weight, groups = self.sample_weight, self.sample_groups
        if _is_memory_map(self._X):
            inside = np.zeros(self.n_samples)
            inside[rows] = 1.0 if weight is None else weight[rows]
            X, target, weight = self._X, self.target, inside
        else:
            X, target = self._X[rows], self.target[rows]
            weight = None if weight is None else weight[rows]
            groups = None if groups is None else groups[rows]
        return Problem(
            X,
            target,
            loss=self.loss,
            penalty=self.penalty,
            sample_weight=weight,
            sample_groups=groups,
            **self.settings,
        )

    @property
    def X(self):
        """The data as given, (n_samples, n_features); sparse matrices as CSC."""
        return self._X

    @property
    def settings(self):
        """The keyword arguments that, with X, y and the weights, rebuild a problem."""
        return {
            "fit_intercept": self.fit_intercept,
            "standardize": self.standardize,
            "penalty_factor": self.penalty_factor,
            "groups": self.groups,
            "group_weight": self.group_weight,
        }

    # -- products with the standardized columns ------------------------------------

    def correlate(self, v):
        """Return ``v @ X_standardized``, shape (k, n_features (+ 1)).

        Parameters
        ----------
        v : ndarray of shape (k, n_samples)
            Rows that already carry the sample weights, such as weighted scores.
        """
        v = np.atleast_2d(v)
        total = v.sum(axis=1)
        out = np.empty((len(v), self.n_features + int(self.has_intercept_column)))
        inner = out[:, : self.n_features]
        _left_multiply(v, self._X, inner)
        if self.fit_intercept:
            inner -= np.outer(total, self.x_mean)
        inner /= self.x_scale
        if self.has_intercept_column:
            out[:, -1] = total
        return out

    def apply(self, coef):
        """Return ``X_standardized @ coef`` for one dense coefficient vector."""
        scaled = coef[: self.n_features] / self.x_scale
        eta = _right_multiply(self._X, scaled) - self.x_mean @ scaled
        if self.has_intercept_column:
            eta += coef[-1]
        return eta

    def columns(self, features, weighted=True):
        """Return standardized columns, Fortran ordered, shape (n_samples, k).

        With ``weighted`` each row is multiplied by the square root of its share of the
        weights, so that ``columns.T @ columns`` is the Gram matrix of the mean loss.
        """
        features = np.asarray(features, dtype=np.intp)
        block = np.empty((len(features), self.n_samples))
        real = features < self.n_features
        block[~real] = 1.0
        chosen = features[real]
        block[real] = _take_columns(self._X, chosen)
        if self.fit_intercept:
            block[real] -= self.x_mean[chosen, None]
        if self.standardize or not self.usable[chosen].all():
            block[real] /= self.x_scale[chosen, None]
        if weighted:
            block *= self.sqrt_weight
        return block.T

    # -- the original scale ----------------------------------------------------------

    def to_original(self, features, coefs, intercepts=None):
        """Turn standardized coefficients (..., n_outputs, E) into original ones.

        Returns
        -------
        coefs : ndarray of shape (..., n_outputs, E)
        intercepts : ndarray of shape (..., n_outputs)
        """
        coefs = coefs / self.x_scale[features]
        if intercepts is None:
            intercepts = self.null_intercept if self.fit_intercept else 0.0
            # The null intercept is that of centred columns.
        return coefs, intercepts - coefs @ self.x_mean[features]

    def linear_predictor(self, features, coefs, intercepts, rows=slice(None)):
        """Return eta (K, n_outputs, n_samples) for coefficients on the original scale.

        Parameters
        ----------
        features : ndarray of shape (E,)
        coefs : ndarray of shape (K, n_outputs, E)
        intercepts : ndarray of shape (K, n_outputs)
        rows : slice or ndarray, default=slice(None)
            Samples to evaluate.
        """
        block = _take_columns(self._X, np.asarray(features, dtype=np.intp))[:, rows]
        return coefs @ block + np.asarray(intercepts)[..., None]

    def deviance(self, eta):
        """Return ``2 * sum_i w_i loss(y_i, eta_i)`` for eta (n_outputs, n_samples)."""
        return 2 * self.total_weight * mean_loss(self.loss, self.y, eta, self.omega)


# -- checks ----------------------------------------------------------------------------


def _check_matrix(X):
    if sparse.issparse(X):
        X = X.tocsc()
        if X.dtype not in (np.float32, np.float64):
            X = X.astype(np.float64)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    else:
        X = np.asarray(X)
        if X.dtype not in (np.float32, np.float64):
            try:
                X = X.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"X has dtype {X.dtype}, which is not numeric; encode categories "
                    "first (sklearn.preprocessing.OneHotEncoder)."
                ) from error
        if X.ndim == 2 and not (X.flags.c_contiguous or X.flags.f_contiguous):
            X = np.ascontiguousarray(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"X has shape {X.shape}; it needs two dimensions, (n_samples, n_features), "
            "both at least 1."
        )
    return X


def check_weight(sample_weight, n_samples):
    if sample_weight is None:
        return np.ones(n_samples)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}; it needs one number for each of "
            f"the {n_samples} samples."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        worst = weight[~(np.isfinite(weight) & (weight >= 0))][0]
        raise ValueError(
            f"sample_weight contains {worst}; weights must be finite and at least 0."
        )
    if not weight.any():
        raise ValueError("sample_weight is zero everywhere; no sample is left to fit.")
    return weight


def _check_sample_groups(sample_groups, n_samples):
    if sample_groups is None:
        return None
    groups = np.asarray(sample_groups)
    if groups.shape != (n_samples,):
        raise ValueError(
            f"sample_groups has shape {groups.shape}; it needs one label for each of "
            f"the {n_samples} samples."
        )
    return groups


def _is_memory_map(X):
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return False


def _check_factor(penalty_factor, n_features):
    if penalty_factor is None:
        return np.ones(n_features)
    factor = np.asarray(penalty_factor, dtype=np.float64)
    if factor.shape != (n_features,):
        raise ValueError(
            f"penalty_factor has shape {factor.shape}; it needs one number for each "
            f"of the {n_features} features."
        )
    if np.isnan(factor).any() or (factor < 0).any():
        worst = factor[~(factor >= 0)][0]
        raise ValueError(
            f"penalty_factor contains {worst}; use numbers >= 0 "
            "(0 = unpenalized, inf = never in)."
        )
    return factor


def check_positive(name, value, *, allow_inf=False):
    """Return `value` as a float if it is a positive number, or explain."""
    if (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and (0 < value < np.inf or (allow_inf and value == np.inf))
    ):
        return float(value)
    suffix = " (inf is allowed)" if allow_inf else ""
    raise ValueError(f"{name}={value!r} must be a positive number{suffix}.")


def _null_intercept(problem, newton):
    """Closed forms of the null intercept where they exist: exact to the last digit."""
    mean = problem.y @ problem.omega
    if problem.loss.name == "squared":
        return mean
    if problem.loss.name == "logistic":
        return np.log(mean / (1 - mean))
    if problem.loss.name == "multinomial":
        return np.log(mean) - np.log(mean).mean()
    return newton


# -- products that respect layout and dtype --------------------------------------------


def _row_blocks(X):
    step = max(1, _BLOCK // X.shape[1])
    for start in range(0, len(X), step):
        yield slice(start, start + step)


def _left_multiply(v, X, out):
    """out = v @ X in float64, without a float64 copy of X."""
    if sparse.issparse(X):
        out[:] = (X.T @ v.T).T
    elif len(v) == 2 and not X.flags.c_contiguous:
        _two_rows_by_column(v, X.T, out)
    elif len(v) == 2 and (X.dtype != np.float64 or X.nbytes > _CACHE):
        _two_rows_by_row(v, X, out)
    elif X.dtype == np.float64:
        # Matrix-vector products beat one skinny matrix product in BLAS.
        for row, target in zip(v, out, strict=True):
            target[:] = row @ X
    elif X.flags.c_contiguous:
        out[:] = 0.0
        for rows in _row_blocks(X):
            out += v[:, rows] @ X[rows].astype(np.float64)
    else:
        for columns in _row_blocks(X.T):
            out[:, columns] = v @ X.T[columns].astype(np.float64).T


@jit
def _two_rows_by_row(v, X, out):
    """out = v @ X for two rows v, in one pass over X: half the memory traffic."""
    n, p = X.shape
    for start in range(0, p, _TILE):
        stop = min(start + _TILE, p)
        for j in range(start, stop):
            out[0, j] = 0.0
            out[1, j] = 0.0
        i = 0
        while i + 4 <= n:  # results are loaded and stored once for four rows
            a0, a1, a2, a3 = v[0, i], v[0, i + 1], v[0, i + 2], v[0, i + 3]
            b0, b1, b2, b3 = v[1, i], v[1, i + 1], v[1, i + 2], v[1, i + 3]
            for j in range(start, stop):
                x0 = np.float64(X[i, j])
                x1 = np.float64(X[i + 1, j])
                x2 = np.float64(X[i + 2, j])
                x3 = np.float64(X[i + 3, j])
                out[0, j] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[1, j] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
            i += 4
        while i < n:
            for j in range(start, stop):
                out[0, j] += v[0, i] * X[i, j]
                out[1, j] += v[1, i] * X[i, j]
            i += 1


@jit
def _two_rows_by_column(v, Xt, out):
    for j in range(Xt.shape[0]):
        a = 0.0
        b = 0.0
        for i in range(Xt.shape[1]):
            x = np.float64(Xt[j, i])
            a += v[0, i] * x
            b += v[1, i] * x
        out[0, j] = a
        out[1, j] = b


def _right_multiply(X, u):
    if sparse.issparse(X) or X.dtype == np.float64:
        return X @ u
    out = np.zeros(len(X))
    if X.flags.c_contiguous:
        for rows in _row_blocks(X):
            out[rows] = X[rows].astype(np.float64) @ u
    else:
        for columns in _row_blocks(X.T):
            out += u[columns] @ X.T[columns].astype(np.float64)
    return out


def _take_columns(X, features):
    """Copy columns of X as rows of a dense float64 array."""
    if sparse.issparse(X):
        block = np.zeros((len(features), X.shape[0]))
        for row, j in enumerate(features):
            piece = slice(X.indptr[j], X.indptr[j + 1])
            block[row, X.indices[piece]] = X.data[piece]
        return block
    if X.flags.f_contiguous:
        return X.T[features].astype(np.float64, copy=False)
    return X[:, features].T.astype(np.float64, order="C")


# -- weighted column means and variances -----------------------------------------------


def _moments(X, omega):
    """Weighted mean and variance of every column, in one pass over X."""
    if sparse.issparse(X):
        mean = X.T @ omega
        variance = np.empty(X.shape[1])
        _sparse_variance(X.data, X.indices, X.indptr, omega, mean, variance)
        return mean, variance
    # Deviations from some row avoid the cancellation of E x^2 - (E x)^2.
    first = int(np.argmax(omega > 0))
    shift = X[first].astype(np.float64)
    first_moment = np.zeros(X.shape[1])
    second_moment = np.zeros(X.shape[1])
    X = X.view(np.ndarray)
    if X.flags.c_contiguous:
        _moments_by_row(X, omega, shift, first_moment, second_moment)
    else:
        _moments_by_column(X.T, omega, shift, first_moment, second_moment)
    with np.errstate(invalid="ignore"):
        variance = second_moment - first_moment**2
        poor = variance < 1e-6 * first_moment**2
    mean = shift + first_moment
    for j in np.flatnonzero(poor):
        column = X[:, j].astype(np.float64)
        mean[j] = column @ omega
        variance[j] = ((column - mean[j]) ** 2) @ omega
    return mean, np.maximum(variance, 0.0)


@jit
def _moments_by_row(X, omega, shift, first, second):
    for i in range(X.shape[0]):
        # Rows of weight zero too: an infinite value makes the moments not a number.
        w = omega[i]
        for j in range(X.shape[1]):
            d = X[i, j] - shift[j]
            first[j] += w * d
            second[j] += w * d * d


@jit
def _moments_by_column(Xt, omega, shift, first, second):
    for j in range(Xt.shape[0]):
        a = 0.0
        b = 0.0
        for i in range(Xt.shape[1]):
            d = Xt[j, i] - shift[j]
            a += omega[i] * d
            b += omega[i] * d * d
        first[j] = a
        second[j] = b


@jit
def _sparse_variance(data, indices, indptr, omega, mean, out):
    n_rows = 0
    for i in range(len(omega)):
        n_rows += omega[i] > 0.0
    for j in range(len(mean)):
        total = 0.0
        seen = 0.0
        n_seen = 0
        for k in range(indptr[j], indptr[j + 1]):
            w = omega[indices[k]]
            total += w * (data[k] - mean[j]) ** 2
            seen += w
            n_seen += w > 0.0
        # 1 - seen would leave rounding where every row has an entry.
        if n_seen < n_rows:
            total += max(1.0 - seen, 0.0) * mean[j] ** 2
        out[j] = total
