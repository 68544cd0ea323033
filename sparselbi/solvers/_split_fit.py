"""The dense coefficients that minimize the coupled loss of Split LBI, for every loss.

They are where a path starts (split coefficients zero), and what a refit with some rows
of D uncoupled needs. Hidden here: Newton's method with conjugate gradients, and a
preconditioner that has the coupling exactly and the curvature of the loss roughly.
"""

import numpy as np
from scipy import linalg, sparse

from ..losses.fit import mean_loss, weighted_score

_MAX_ITER = 200
_MAX_CG = 5000
# Features up to which the preconditioner is factored as a dense matrix.
_DENSE = 3000
# Numbers up to which the used columns are written out as a dense block.
MAX_BLOCK = 5 * 10**7
# A ridge this small, relative to the largest diagonal entry, only lets a singular
# matrix be factored.
_RIDGE = 1e-10
# Curvatures below this fraction of the largest one are rounding.
_FLAT = 1e-13
# Steps of conjugate gradients above which the preconditioner is poor.
_MANY = 30
# Gradients relative to the one at the start: reached, and as good as rounding allows.
_TOLERANCE, _ACCEPTED = 1e-13, 1e-9
# As in losses/fit.py: the loss has no minimizer because the classes are separated.
_SEPARABLE, _FAR = 1e-8, 0.1


class Design:
    """Products with the used columns, all outputs at once.

    There are P columns: those of X, centred with an intercept, and one of ones unless
    the loss eliminates the intercept.

    Attributes
    ----------
    n_columns : int
    block : ndarray of shape (P, n_samples) or None
        The columns, where they fit into memory and are not mostly zeros.
    cost : int
        Of one product, in entries of a dense one.
    """

    def __init__(self, problem):
        self.problem = problem
        self.n_columns = problem.n_features + int(problem.has_intercept_column)
        shape = self.n_columns, problem.n_samples
        size = shape[0] * shape[1]
        self.cost, limit = size, MAX_BLOCK
        if sparse.issparse(problem.X):  # an entry of a sparse product takes ten times
            self.cost = min(size, max(10 * problem.X.nnz, 10**5))
            limit = min(limit, self.cost)
        self.block = np.empty(shape) if size <= limit else None
        if self.block is not None:
            for some in _pieces(*shape):
                columns = np.arange(self.n_columns)[some]
                self.block[some] = problem.columns(columns, weighted=False).T
        self.offset = 0.0
        if problem.fit_intercept and not problem.has_intercept_column:
            self.offset = problem.null_intercept[:, None]

    def apply(self, coef, out=None):
        """Products (n_outputs, n_samples) of the columns with coef (n_outputs, P)."""
        if self.block is not None:
            return np.dot(coef, self.block, out=out)
        out = np.empty((len(coef), self.problem.n_samples)) if out is None else out
        for row, target in zip(coef, out, strict=True):
            target[:] = self.problem.apply(row)
        return out

    def predict(self, coef, out=None):
        """Linear predictors (n_outputs, n_samples)."""
        eta = self.apply(coef, out)
        eta += self.offset
        return eta

    def correlate(self, score, out=None):
        """Products (n_outputs, P) of weighted scores with the columns."""
        if self.block is not None:
            return np.dot(score, self.block.T, out=out)
        products = self.problem.correlate(score)
        if out is None:
            return products
        out[:] = products
        return out

    def gram(self, weight):
        """Gram matrix (n_features, n_features) with weights of the samples."""
        problem, X, p = self.problem, self.problem.X, self.problem.n_features
        if self.block is not None:
            half = self.block[:p] * np.sqrt(weight)
            return half @ half.T
        if not sparse.issparse(X):
            total = np.zeros((p, p))
            for some in _pieces(*X.shape):
                half = X[some] - problem.x_mean
                half *= np.sqrt(weight[some])[:, None]
                total += half.T @ half
        else:
            half = sparse.diags_array(np.sqrt(weight)) @ X
            mean, products = problem.x_mean, X.T @ weight
            total = (half.T @ half).toarray() - np.outer(mean, products)
            total -= np.outer(products - weight.sum() * mean, mean)
        return total / np.outer(problem.x_scale, problem.x_scale)


def _pieces(length, width):
    """Slices of `length` rows of about a million numbers each."""
    step = max(1, 2**20 // width)
    return [slice(start, start + step) for start in range(0, length, step)]


def fit_coupled(split, target=None, rows=None):
    """Minimize the loss plus the coupling of ``D @ coef`` to `target`.

    With the mean loss L, in used coordinates, the objective is::

        L(coef, intercept) + sum over rows of (D coef - target)^2 / (2 nu_raw)

    Parameters
    ----------
    split : SplitProblem
        With nu resolved.
    target : array-like of shape (n_outputs, n_rows), default=None
        Split coefficients; None is zero.
    rows : bool array-like of shape (n_rows,), default=None
        Rows that are coupled, all by default. Without the rows of a support it is the
        partial ridge of MSplit LBI.

    Returns
    -------
    coef : ndarray of shape (n_outputs, n_features)
        Of least norm where it is not unique: a column that is constant and in no
        coupled row has coefficient 0, those of a softmax sum to zero over the classes
        if the targets do.
    intercept : ndarray of shape (n_outputs,)
        Of the centred columns.

    Raises
    ------
    ValueError
        If there is no minimizer because the classes are separated in a direction that
        no coupled row of D sees, or if rounding ends the iteration early.
    """
    objective = _Objective(split, target, rows)
    common = 0.0
    if split.n_outputs > 1 and objective.goal.any():
        # The loss does not see what all classes have in common: it fits the target.
        mean = objective.goal.mean(axis=0)
        objective.goal = objective.goal - mean
        common = objective.least_squares(mean)
    point = _newton(objective)
    coef = point[:, : split.n_features] + common
    intercept = split.problem.null_intercept.copy()
    if split.problem.has_intercept_column:
        intercept = point[:, -1].copy()
    return coef, intercept


class _Objective:
    """The coupled loss and its derivatives at points (n_outputs, n_columns).

    The last column is the intercept unless the loss eliminates it.
    """

    def __init__(self, split, target, rows):
        self.split, self.problem = split, split.problem
        self.design = Design(split.problem)
        self.rows = None if rows is None else np.asarray(rows, dtype=bool)
        self.goal = np.zeros((split.n_outputs, split.n_rows))
        if target is not None:
            self.goal += self._coupled(np.array(target, dtype=np.float64, ndmin=2))

    def _coupled(self, values):
        if self.rows is not None:
            values[:, ~self.rows] = 0.0
        return values

    def rest(self, point):
        """D coef, (n_outputs, n_rows), zero where a row is not coupled."""
        return self._coupled(self.split.D.dot(point[:, : self.split.n_features]))

    def add_pull(self, rest, out):
        """Add the gradient of the coupling, D' rest / nu."""
        out[:, : self.split.n_features] += self.split.D.rdot(rest) / self.split.nu_raw
        return out

    def look(self, point):
        """Value, gradient, and the linear predictors at `point`."""
        problem = self.problem
        eta = self.design.predict(point)
        score = weighted_score(problem.loss, problem.y, eta, problem.omega)
        rest = self.rest(point) - self.goal
        value = mean_loss(problem.loss, problem.y, eta, problem.omega)
        value += float(np.vdot(rest, rest)) / (2.0 * self.split.nu_raw)
        gradient = self.add_pull(rest, -self.design.correlate(score))
        if len(gradient) > 1:  # zero but for rounding: the loss is flat along it
            gradient -= gradient.mean(axis=0)
        return value, gradient, eta

    def curvature(self, eta, kind):
        """Product with the second derivative, or that of the loss's majorant."""
        problem, design = self.problem, self.design
        weight = getattr(problem.loss, kind)(problem.y, eta) * problem.omega

        def product(v):
            change = design.apply(v)
            if weight.ndim == 1:
                change *= weight
            else:
                change = np.einsum("kli,li->ki", weight, change)
            return self.add_pull(self.rest(v), design.correlate(change))

        return product

    def least_squares(self, target):
        """The shortest coef whose coupled rows are nearest to `target`, (n_rows,)."""
        D = self.split.D
        right = D.rdot(self._coupled(target[None]))
        step = _conjugate_gradients(
            lambda v: D.rdot(self._coupled(D.dot(v))), _Scaling(D.norm**2), right, 1e-15
        )[0]
        return np.zeros_like(right[0]) if step is None else step[0]


def _newton(objective):
    """Minimize by Newton's method with conjugate gradients."""
    problem = objective.problem
    point = np.zeros((problem.n_outputs, objective.design.n_columns))
    if problem.has_intercept_column:
        point[:, -1] = problem.null_intercept
    value, gradient, eta = objective.look(point)
    # The size of a gradient, also where the one at the start is mere rounding.
    share = np.where(problem.omega > 0, problem.omega, np.inf)
    noise = np.sqrt(np.sum(problem.null_score**2 / share)) * problem.norms.max()
    first = max(float(np.abs(gradient).max()), 1e-5 * float(noise))
    if not gradient.any():
        return point
    matrix = _preconditioner(objective, eta)
    is_quadratic = problem.loss.name == "squared"
    is_pure = False
    for _ in range(_MAX_ITER):
        size = float(np.abs(gradient).max())
        found = None
        if size > _TOLERANCE * first:
            # Quadratic convergence, and no better than what is asked for.
            tolerance = 0.0 if is_quadratic else min(0.1, size / first)
            tolerance = max(tolerance, 0.1 * _TOLERANCE * first / size)
            found = _step(objective, matrix, point, value, gradient, eta, tolerance)
        if found is None:
            if is_pure:
                break
            is_pure = True
            point = point - matrix.idle(point)
            value, gradient, eta = objective.look(point)
            continue
        point, (new, gradient, new_eta) = found
        if problem.loss.saturates and _is_separated(problem, value, new, eta, new_eta):
            raise _no_minimizer()
        value, eta = new, new_eta
    size = float(np.abs(gradient).max())
    if not size <= _ACCEPTED * first:
        if problem.loss.saturates:  # far out, curvatures are lost in rounding
            raise _no_minimizer()
        raise ValueError(
            f"the fit of the coefficients stopped at a gradient of {size:.3g}, "
            f"{size / first:.1e} of the one at the start: X or D may be badly scaled; "
            "divide their columns by their size, or use another nu."
        )
    return point


def _step(objective, matrix, point, value, gradient, eta, tolerance):
    """The next point and what is seen there; None if no step is an improvement."""
    # Where Newton's method fails (no curvature, no decrease) the majorant does not.
    for kind in ("hessian", "majorant"):
        step, is_poor = _conjugate_gradients(
            objective.curvature(eta, kind), matrix, gradient, tolerance
        )
        if is_poor:
            matrix.renew(eta)
        if step is not None:
            if len(step) > 1:
                step -= step.mean(axis=0)
            found = _search(objective, point, value, gradient, step)
            if found is not None:
                return found
    return None


def _search(objective, point, value, gradient, step):
    """Go along `step` as far as it lowers the objective; None if it does not."""
    decrease = float(np.vdot(gradient, step))
    length = 1.0
    while length > 1e-6:
        new = point - length * step
        seen = objective.look(new)
        if decrease <= 1e-11 * abs(value):
            # Rounding hides the change of the objective; gradients still show it.
            better = np.abs(seen[1]).max() < 0.5 * np.abs(gradient).max()
            return (new, seen) if better else None
        if seen[0] <= value * (1 + 1e-15) - 1e-4 * length * decrease:
            return new, seen
        length /= 2
    return None


def _is_separated(problem, value, new_value, eta, new_eta):
    """Whether only samples gain that are separated from those of other classes."""
    change = (new_eta - eta)[:, problem.omega > 0]
    if len(change) > 1:  # a common shift of all classes changes nothing
        change = change - change.mean(axis=0)
    loss = mean_loss(problem.loss, problem.y, new_eta, problem.omega)
    is_stuck = value - new_value < _SEPARABLE * new_value
    return loss < _SEPARABLE * problem.null_loss or (
        is_stuck and np.abs(change).max() > _FAR
    )


def _no_minimizer():
    return ValueError(
        "the coefficients have no minimizer: the classes are separated in a direction "
        "that no coupled row of D sees. Couple more rows (an earlier knot), or add the "
        "identity to D (sparselbi.penalties.with_identity)."
    )


# -- linear systems --------------------------------------------------------------------


def _conjugate_gradients(product, matrix, right, tolerance):
    """Solve ``product(x) = right``, as far as the product is not flat.

    Returns
    -------
    x : ndarray or None
        None if the first direction is flat.
    is_poor : bool
        Whether the preconditioner should be made anew.
    """
    x = np.zeros_like(right)
    rest = right.copy()
    solved = matrix.solve(rest)
    direction = solved
    size = start = float(np.vdot(rest, solved))
    for k in range(1, _MAX_CG + 1):
        image = product(direction)
        curvature = float(np.vdot(direction, image))
        if not curvature > _FLAT * matrix.size * float(np.vdot(direction, direction)):
            return (x if k > 1 else None), True
        share = size / curvature
        x += share * direction
        rest -= share * image
        solved = matrix.solve(rest)
        new = float(np.vdot(rest, solved))
        if not new > tolerance**2 * start:
            break
        direction = solved + (new / size) * direction
        size = new
    return x, k > _MANY


def _preconditioner(objective, eta):
    D = objective.split.D
    if D.n_features <= _DENSE and not (D.is_operator and objective.rows is not None):
        return _Factor(objective, eta)
    split, curvature = objective.split, objective.problem.loss.curvature
    return _Scaling(curvature * split.hessian_norm + D.norm**2 / split.nu_raw)


class _Scaling:
    """A number, an upper bound of the curvature."""

    def __init__(self, size):
        self.size = size

    def solve(self, v):
        return v / self.size

    def renew(self, eta):
        pass

    def idle(self, point):
        return 0.0


class _Factor:
    """Cholesky factor of weighted Gram matrix + D'D / nu, the same for all outputs."""

    def __init__(self, objective, eta):
        self.objective = objective
        D, rows = objective.split.D, objective.rows
        if rows is not None:
            part = D.matrix[rows]
            square = part.T @ part
        elif D.is_operator:
            square = D.rdot(D.to_dense().T)
        else:
            square = D.gram()
        square = square.toarray() if sparse.issparse(square) else square
        self.square = square / objective.split.nu_raw
        self.renew(eta)

    def renew(self, eta):
        """Use the curvature of the samples at `eta`."""
        objective, problem = self.objective, self.objective.problem
        second = problem.loss.hessian(problem.y, eta)
        weight = np.einsum("kki->i", second) / len(second)
        # Samples that are flat here may not be so at the next point.
        least = max(1e-4 * (problem.omega @ weight), 1e-8 * problem.loss.curvature)
        weight = np.maximum(weight, least) * problem.omega
        matrix = objective.design.gram(weight)
        matrix += self.square
        diagonal = np.diag_indices_from(matrix)
        self.size = matrix[diagonal].max()
        self.ridge = _RIDGE * self.size
        matrix[diagonal] += self.ridge
        self.factor = linalg.cho_factor(
            matrix, lower=True, overwrite_a=True, check_finite=False
        )
        self.scale = weight.sum()

    def solve(self, v):
        out = v / self.scale  # the intercept; columns are centred
        p = len(self.square)
        out[:, :p] = linalg.cho_solve(self.factor, v[:, :p].T, check_finite=False).T
        return out

    def idle(self, point):
        """The part of `point` in directions in which the matrix is only its ridge."""
        out = np.zeros_like(point)
        part = point[:, : len(self.square)].T
        for _ in range(3):
            part = self.ridge * linalg.cho_solve(self.factor, part, check_finite=False)
        out[:, : len(self.square)] = part.T
        return out
