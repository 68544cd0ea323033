"""What a loss is, and how one is looked up.

A loss is an immutable ``NamedTuple`` without any data. It sees encoded targets ``y``
and linear predictors ``eta``, both of shape (n_outputs, n_samples), and knows

=================== ================================================================
``name``            the word users write
``curvature``       upper bound of the second derivative in ``eta`` (spectral norm)
``saturates``       True if the loss has no minimizer on separable data
``encode(y)``       targets as float64 (n_outputs, n_samples), and the classes or None
``resolve(y, w)``   the same loss with data-dependent parameters filled in
``spread(y, w)``    typical size of the target, in units of ``eta``
``value``           per-sample loss, compiled
``score``           minus its derivative in ``eta``, compiled
``hessian(y, eta)`` second derivative, (n_outputs, n_outputs, n_samples)
``majorant(y, eta)`` weights (n_samples,) of a quadratic that lies above the loss and
                    touches it at ``eta``
``inverse_link``    mean response for ``eta``
=================== ================================================================
"""

import numpy as np

from .._kernels import formula, jit


@formula
def value(loss, y, eta, out):
    """Write the loss of each sample into `out` of shape (n_samples,)."""


@formula
def score(loss, y, eta, out):
    """Write minus the derivative in `eta` into `out` (n_outputs, n_samples)."""


@jit
def evaluate_value(loss, y, eta, out):
    """Compiled entry to `value` for callers in plain Python."""
    value(loss, y, eta, out)


@jit
def evaluate_score(loss, y, eta, out):
    """Compiled entry to `score` for callers in plain Python."""
    score(loss, y, eta, out)


def same_fields(self, other):
    """Equality by type and fields: bare tuples compare by fields alone."""
    return type(self) is type(other) and tuple(self) == tuple(other)


def different_fields(self, other):
    return not same_fields(self, other)


def typed_hash(self):
    return hash((type(self).__name__, *self))


def weighted_variance(y, weight):
    mean = np.average(y, weights=weight)
    return float(np.average((y - mean) ** 2, weights=weight))


def as_continuous(y):
    """Return `y` as float64 of shape (1, n_samples)."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(
            f"y must be one-dimensional for this loss, got shape {y.shape}; "
            "use y.ravel() if it has a single column."
        )
    try:
        return np.ascontiguousarray(y, dtype=np.float64)[None, :]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"y must be numeric for this loss, got dtype {y.dtype} "
            f"(first value {y[0]!r}); for class labels use loss='logistic' or "
            "loss='multinomial'."
        ) from error


def class_codes(y, loss_name):
    """Return the sorted classes of `y` and the class index of every sample."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(
            f"y must be one-dimensional class labels, got shape {y.shape}."
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(
            f"y contains NaN or infinity; loss={loss_name!r} needs labels."
        )
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has a single class ({classes[0]!r}); loss={loss_name!r} needs at "
            "least two classes."
        )
    return classes, codes


def get_loss(loss):
    """Return the loss for a name or a loss instance.

    Parameters
    ----------
    loss : {"squared", "logistic", "multinomial", "huber"} or loss instance

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    from . import LOSSES

    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    if isinstance(loss, tuple(LOSSES.values())):
        return loss
    raise ValueError(
        f"loss={loss!r} is unknown; use one of {sorted(LOSSES)} or an instance from "
        "sparselbi.losses, such as Huber(threshold=1.0)."
    )
