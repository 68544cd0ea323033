"""The path of Split LBI as an object: views, estimates, files."""

import copy
import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.linalg import null_space
from scipy.sparse.linalg import aslinearoperator

from sparselbi.path import RegularizationPath
from sparselbi.penalties import transforms
from sparselbi.problem import Problem
from sparselbi.solvers import split_iss_path, split_lbi_path
from sparselbi.split_path import SplitPath, SplitPoint
from tests import twins, twins_split
from tests.common import HUBER_THRESHOLD, as_rows, make_data, make_loss

P = 12
DENSE = twins_split.dense_maps(P)
NAMES = [f"n{i}" for i in range(P)]
ADJACENCY = pd.DataFrame(
    twins_split.adjacency(twins_split.EDGES, P), index=NAMES, columns=NAMES
)
MAPS = {
    "identity": transforms.identity(P),
    "differences": transforms.differences(P),
    "order 2": transforms.differences(P, order=2),
    "grid": transforms.grid_gradient((3, P // 3)),
    "graph": transforms.graph_incidence(ADJACENCY),
    "sparse and fused": transforms.with_identity(transforms.differences(P), 0.7),
    "few rows": transforms.as_transform(DENSE["few rows"]),
    "many rows": transforms.as_transform(DENSE["many rows"]),
    "wavelet": transforms.Transform(sp.csr_array(DENSE["wavelet"]), "wavelet"),
}
LOSSES = ("squared", "logistic", "multinomial", "huber")


def make_problem(loss="squared", **options):
    X, y, w = make_data(loss, p=P)
    settings = {"standardize": False, "sample_weight": w} | options
    return Problem(X, y, make_loss(loss), **settings)


def trace(loss="squared", D="grid", *, length=12, problem=None, **settings):
    problem = make_problem(loss) if problem is None else problem
    D = MAPS[D] if isinstance(D, str) else D
    settings = {"n_knots": 12, "kappa": 6.0} | settings
    t0 = split_lbi_path(problem, D, **settings | {"max_rows": 1, "n_knots": 2}).t0
    return split_lbi_path(problem, D, t_max=length * t0, **settings)


def trace_exact(D="grid", problem=None, **settings):
    problem = make_problem() if problem is None else problem
    return split_iss_path(problem, MAPS[D], **settings)


def several(path, n=4):
    """Points before, at and between the knots."""
    knots = path.knots
    inside = np.random.default_rng(0).uniform(knots[0], knots[-1], n)
    return np.concatenate([[0.3 * knots[0]], knots[[0, len(knots) // 2, -1]], inside])


# -------------------------------------------------------------------------------- views


@pytest.mark.parametrize("loss", LOSSES)
def test_split_coefficients(loss):
    path = trace(loss)
    m = MAPS["grid"].n_rows
    outputs = path.split_coefs
    if loss == "multinomial":
        assert isinstance(outputs, tuple)
        assert len(outputs) == 3
    else:
        outputs = (outputs,)
    for k, output in enumerate(outputs):
        assert isinstance(output, sp.csr_array)
        assert output.shape == (len(path), m)
        assert (output.data != 0).all()
        rows = path.split.coefs.reshape(len(path), -1, m)
        np.testing.assert_array_equal(output.toarray(), rows[:, k])
    assert path.split.n_features == m
    np.testing.assert_array_equal(path.split.knots, path.knots)
    assert not np.any(path.split.intercepts)


@pytest.mark.parametrize("loss", LOSSES)
def test_points(loss):
    path = trace(loss)
    dense = {field.name: getattr(path, field.name) for field in fields_of_base()}
    base = RegularizationPath(**dense)
    for t in several(path):
        point = path.at(t)
        assert isinstance(point, SplitPoint)
        expected, rows = base.at(t), path.split.at(t)
        np.testing.assert_array_equal(point.coef, expected.coef)
        np.testing.assert_array_equal(point.intercept, expected.intercept)
        np.testing.assert_array_equal(point.support, expected.support)
        np.testing.assert_array_equal(point.split_coef, rows.coef)
        active = path.active_rows(t)
        assert active.dtype == bool
        np.testing.assert_array_equal(active, as_rows(point.split_coef).any(axis=0))
        assert f"n_active_rows={active.sum()} of 17" in repr(point)
    k = len(path) // 2
    np.testing.assert_array_equal(path.at(path.knots[k]).coef, path.coefs[k])
    with pytest.raises(ValueError, match="t_max"):
        path.at(1.1 * path.knots[-1])


def fields_of_base():
    return dataclasses.fields(RegularizationPath)


def test_the_intercept_follows_the_coefficients():
    """The weighted mean of the predictions is that of y, also between knots."""
    X, y, w = make_data(p=P)
    for path in (trace(), trace_exact()):
        mean = path.predict(X, several(path)) @ w / w.sum()
        np.testing.assert_allclose(mean, w @ y / w.sum(), rtol=1e-10)


def test_rows_have_names():
    path = trace(D="graph")
    first = path.split.entry_order(1)[0]
    i, j, _ = sorted(twins_split.EDGES)[first]
    assert path.split.feature_names[first] == f"n{i} - n{j}"
    assert f"n{i} - n{j}" in path.summary()
    assert path.feature_names is None


def test_the_null_model_comes_first():
    """Dense coefficients are not zero there; split coefficients are."""
    for path in (trace(), trace_exact(), trace("logistic")):
        assert not path.active_rows(0.0).any()
        assert path.at(0.0).coef.all()
        np.testing.assert_array_equal(path.at(0.0).coef, path.coefs[0])
        np.testing.assert_array_equal(path.at(0.99 * path.t0).coef, path.coefs[0])


def test_texts():
    path = trace()
    assert repr(path).startswith("SplitPath(method='split_lbi', loss='squared'")
    assert "17" in repr(path)
    text = path.summary()
    assert "rows of D active" in text
    marked = path.summary(mark={"here": path.knots[3]})
    assert "here" in marked
    assert isinstance(path._repr_html_(), str)


def test_arrays_are_read_only():
    path = trace()
    for array in (path.coef_scale, path.projected_coefs, path.split.active_coefs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


# --------------------------------------------------------------------- sparse estimates


def pieces_by_hand(D, active):
    """Labels by spreading over the inactive rows, -1 for what is tied to zero."""
    p = D.shape[1]
    labels = np.arange(p)
    for _ in range(p):
        for row in D[~active]:
            ends = np.flatnonzero(row)
            labels[ends] = -1 if len(ends) == 1 else labels[ends].min()
    for old in np.unique(labels[labels >= 0]):
        labels[labels == old] = old
    order = list(dict.fromkeys(labels[labels >= 0].tolist()))
    return np.array([order.index(label) if label >= 0 else -1 for label in labels])


@pytest.mark.parametrize("name", ["differences", "grid", "graph", "sparse and fused"])
def test_pieces(name):
    for path in (trace(D=name), trace_exact(name)):
        for t in several(path):
            expected = pieces_by_hand(DENSE[name], path.active_rows(t))
            np.testing.assert_array_equal(path.pieces(t), expected)


@pytest.mark.parametrize("name", ["order 2", "many rows", "wavelet"])
def test_pieces_are_for_graphs(name):
    path = trace(D=name)
    with pytest.raises(ValueError, match=r"kind '.*not differences.*projected"):
        path.pieces(path.knots[-1])


def kernel(D, active):
    """Orthonormal basis of the coefficients on which inactive rows vanish."""
    rest = D[~active]
    return null_space(rest, rcond=1e-10) if len(rest) else np.eye(D.shape[1])


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("name", MAPS)
def test_projection(name, standardize):
    """(I - D_rest^+ D_rest) coef in used coordinates; the mean prediction is kept."""
    X, _, w = make_data(p=P)
    problem = make_problem(standardize=standardize)
    mean = w @ X / w.sum()
    for path in (trace(D=name, problem=problem), trace_exact(name, problem)):
        scale = path.coef_scale
        assert (scale == 1).all() == (not standardize)
        for t in several(path):
            point, dense = path.projected(t), path.at(t)
            N = kernel(DENSE[name], path.active_rows(t))
            used = dense.coef * scale
            expected = N @ (N.T @ used) / scale
            np.testing.assert_allclose(
                point.coef, expected, atol=1e-10 * np.abs(used).max()
            )
            kept = dense.intercept + mean @ (dense.coef - expected)
            assert point.intercept == pytest.approx(kept, rel=1e-9)
            np.testing.assert_array_equal(point.support, np.flatnonzero(point.coef))
        found = [path.projected(t).coef for t in path.knots]
        np.testing.assert_array_equal(path.projected_coefs, found)


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_projection_of_several_outputs(loss):
    path = trace(loss)
    assert path.projected_coefs.shape == path.coefs.shape
    t = path.knots[-2]
    N = kernel(DENSE["grid"], path.active_rows(t))
    expected = path.at(t).coef @ N @ N.T
    np.testing.assert_allclose(path.projected(t).coef, expected, atol=1e-12)


def test_the_sparse_estimate_has_the_structure():
    path = trace(D="sparse and fused")
    for t in several(path):
        coef = path.projected(t).coef
        active = path.active_rows(t)
        np.testing.assert_allclose(
            (DENSE["sparse and fused"] @ coef)[~active], 0.0, atol=1e-13
        )
        pieces = path.pieces(t)
        assert not coef[pieces == -1].any()  # exactly zero, not nearly
        for label in range(pieces.max() + 1):
            assert len(np.unique(coef[pieces == label])) == 1


# -------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("which", ["dense", "sparse"])
@pytest.mark.parametrize("loss", LOSSES)
def test_predictions(loss, which):
    X = make_data(loss, p=P).X
    path = trace(loss)
    knots = several(path)
    points = [path.at(t) if which == "dense" else path.projected(t) for t in knots]
    eta = path.linear_predictor(X, knots, which=which)
    for point, found, t in zip(points, eta, knots, strict=True):
        expected = point.coef @ X.T + np.asarray(point.intercept)[..., None]
        np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-10)
        one = path.predict(X, t, which=which)
        assert one.shape == (len(X),)
        if loss in ("squared", "huber"):
            np.testing.assert_allclose(one, found, rtol=1e-12)
        elif loss == "logistic":
            np.testing.assert_array_equal(one, path.classes[(found[0] > 0).astype(int)])
        else:
            np.testing.assert_array_equal(one, path.classes[found.argmax(axis=0)])
    everywhere = path.predict(X, which=which)
    assert everywhere.shape == (len(path), len(X))
    np.testing.assert_array_equal(everywhere, path.predict(X, path.knots, which=which))
    for other in (sp.csr_array(X), pd.DataFrame(X)):
        assert path.predict(other, knots[-1], which=which).shape == (len(X),)


def test_dense_is_the_default():
    X = make_data(p=P).X
    path = trace()
    np.testing.assert_array_equal(path.predict(X), path.predict(X, which="dense"))
    assert np.abs(path.predict(X) - path.predict(X, which="sparse")).max() > 0.01


@pytest.mark.parametrize("which", ["refit", "split", None])
def test_unknown_estimate(which):
    X = make_data(p=P).X
    path = trace()
    for method in (path.predict, path.linear_predictor):
        with pytest.raises(ValueError, match=r"which=.*'dense', 'sparse'.*refit\("):
            method(X, which=which)


# ----------------------------------------------------------------- parts and other fits


@pytest.mark.parametrize("standardize", [False, True])
def test_parts(standardize):
    path = trace(D="graph", problem=make_problem(standardize=standardize))
    for t in several(path):
        parts = path.decompose(t)
        used = path.at(t).coef * path.coef_scale
        total = parts.strong + parts.weak + parts.null
        np.testing.assert_allclose(total, used, rtol=1e-12, atol=1e-14)
        strong = path.projected(t).coef * path.coef_scale
        np.testing.assert_allclose(parts.strong, strong, atol=1e-12)
        assert abs(parts.strong @ (parts.weak + parts.null)) < 1e-10 * (used @ used)
        assert not (parts.weak * parts.null).any()
        weak, null = np.abs(parts.weak), np.abs(parts.null)
        assert null.max() <= parts.threshold
        assert (weak[weak > 0] > parts.threshold).all()
    exact = path.decompose(path.knots[-1], null_threshold=0.0)
    assert not exact.null.any()


def constrained_fit(loss, X, y, w, N, fit_intercept, standardize):
    """Unpenalized fit over the span of N, by the twin; original coefficients."""
    frame = twins.scaled(X, w, fit_intercept, standardize)
    design = frame.X @ N
    if fit_intercept:
        design = np.column_stack([design, np.ones(len(y))])
    Y = twins.encode(loss, y)
    found = twins.fit_unpenalized(loss, Y, design, frame.weights, HUBER_THRESHOLD)
    coef = found[:, : N.shape[1]] @ N.T / frame.scale
    start = found[:, -1] if fit_intercept else np.zeros(len(found))
    intercept = start - coef @ frame.center
    eta = X @ coef.T + intercept
    value = frame.weights @ twins.loss_value(loss, Y, eta, HUBER_THRESHOLD)
    return coef, intercept, 2 * w.sum() * value


FITS = [
    ("squared", {}),
    ("squared", {"standardize": True}),
    ("squared", {"fit_intercept": False}),
    ("logistic", {}),
    ("logistic", {"standardize": True, "fit_intercept": False}),
    ("multinomial", {}),
    ("huber", {}),
]


@pytest.mark.parametrize("name", ["grid", "graph", "order 2", "few rows"])
@pytest.mark.parametrize(("loss", "options"), FITS)
def test_refit(loss, options, name):
    """The loss is minimized over the coefficients with the structure of each knot."""
    X, y, w = make_data(loss, n=80, p=P)
    settings = {"standardize": False, "fit_intercept": True} | options
    problem = Problem(X, y, make_loss(loss), sample_weight=w, **settings)
    path = trace(loss, name, problem=problem, length=4)
    refit = path.refit(X, y, w)
    assert type(refit) is RegularizationPath
    assert refit.method == f"{path.method}+refit"
    np.testing.assert_array_equal(refit.knots, path.knots)
    for k in (0, len(path) // 2, len(path) - 1):
        N = kernel(DENSE[name], path.active_rows(path.knots[k]))
        expected = constrained_fit(loss, X, y, w, N, **settings)
        top = np.abs(expected[0]).max() + 1.0
        found = as_rows(refit.coefs[k])
        np.testing.assert_allclose(found, expected[0], atol=1e-6 * top)
        assert refit.deviance[k] == pytest.approx(expected[2], rel=1e-9)
        n_classes = 2 if loss == "multinomial" else 1
        assert refit.size[k] == N.shape[1] * n_classes
        middle = refit.at(path.knots[k])  # constant from each knot on
        np.testing.assert_array_equal(as_rows(middle.coef), found)


def test_refit_of_the_whole_space_is_least_squares():
    X, y, w = make_data(p=P)
    path = trace_exact("differences")
    refit = path.refit(X, y, w)
    assert path.active_rows(path.knots[-1]).all()
    A = np.column_stack([X, np.ones(len(y))]) * np.sqrt(w)[:, None]
    expected = np.linalg.lstsq(A, y * np.sqrt(w), rcond=None)[0]
    np.testing.assert_allclose(refit.coefs[-1], expected[:-1], atol=1e-9)
    np.testing.assert_allclose(refit.intercepts[-1], expected[-1], rtol=1e-9)
    np.testing.assert_allclose(path.coefs[-1], expected[:-1], atol=1e-9)
    assert refit.size[0] == 1
    assert refit.size[-1] == P


@pytest.mark.parametrize("name", MAPS)
def test_exact_knots_are_partial_ridges(name):
    """Active rows rest, so that they pull at nothing: free on S, a ridge outside."""
    X, y, w = make_data(p=P)
    path = trace_exact(name)
    for k, t in enumerate(path.knots):
        point = path.partial_ridge(t, X, y, w)
        top = np.abs(path.coefs[k]).max()
        np.testing.assert_allclose(point.coef, path.coefs[k], atol=1e-8 * top)
        assert point.intercept == pytest.approx(path.intercepts[k], abs=1e-7 * top)


@pytest.mark.parametrize(
    "options", [{}, {"standardize": True}, {"fit_intercept": False}]
)
def test_partial_ridge(options):
    X, y, w = make_data(p=P)
    settings = {"standardize": False, "fit_intercept": True} | options
    path = trace(D="graph", problem=Problem(X, y, sample_weight=w, **settings))
    frame = twins.scaled(X, w, **settings)
    for t in several(path):
        D = DENSE["graph"][~path.active_rows(t)]
        M = frame.X.T @ (frame.weights[:, None] * frame.X) + D.T @ D / path.nu_raw
        start = frame.weights @ y if settings["fit_intercept"] else 0.0
        coef = np.linalg.solve(M, frame.X.T @ (frame.weights * (y - start)))
        coef = coef / frame.scale
        point = path.partial_ridge(t, X, y, w)
        np.testing.assert_allclose(point.coef, coef, atol=1e-8 * np.abs(coef).max())
        intercept = start - coef @ frame.center
        assert point.intercept == pytest.approx(intercept, abs=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "multinomial", "huber"])
def test_partial_ridge_of_every_loss(loss):
    """The gradient of the loss plus that of the ridge on inactive rows vanishes."""
    X, y, w = make_data(loss, n=80, p=P)
    problem = Problem(X, y, make_loss(loss), sample_weight=w, standardize=False)
    path = trace(loss, problem=problem, length=4)
    t = path.knots[-1]
    point = path.partial_ridge(t, X, y, w)
    D = DENSE["grid"][~path.active_rows(t)]
    coef = as_rows(point.coef)
    Y, share = twins.encode(loss, y), w / w.sum()
    eta = X @ coef.T + point.intercept
    score = share[:, None] * twins.score(loss, Y, eta, HUBER_THRESHOLD)
    null = share[:, None] * twins.score(loss, Y, 0 * eta, HUBER_THRESHOLD)
    top = np.abs(null.T @ X).max()
    ridge = coef @ D.T @ D / path.nu_raw
    np.testing.assert_allclose(score.T @ X, ridge, atol=1e-7 * top)
    np.testing.assert_allclose(score.sum(axis=0), 0.0, atol=1e-8)


@pytest.mark.parametrize("solver", [trace, trace_exact])
def test_free_rows_are_always_active(solver):
    X, y, w = make_data(p=P)
    free = np.resize([True, False, False], 23)
    D = "sparse and fused"
    path = solver(D=D, row_weight=np.where(free, 0.0, 1.0))
    refit = path.refit(X, y, w)
    for k in (0, len(path) // 2, len(path) - 1):
        t = path.knots[k]
        active = path.active_rows(t)
        assert active[free].all()
        N = kernel(DENSE[D], active)
        np.testing.assert_allclose(
            path.projected(t).coef, N @ (N.T @ path.coefs[k]), atol=1e-12
        )
        expected = constrained_fit("squared", X, y, w, N, True, False)
        np.testing.assert_allclose(refit.coefs[k], expected[0][0], atol=1e-8)
        if path.method == "split_iss":
            ridge = path.partial_ridge(t, X, y, w)
            np.testing.assert_allclose(ridge.coef, path.coefs[k], atol=1e-8)
    constant = Problem(X, np.full(len(y), 2.0), standardize=False)
    null = split_iss_path(constant, MAPS[D], row_weight=np.where(free, 0.0, 1.0))
    np.testing.assert_array_equal(null.active_rows(0.0), free)


# -------------------------------------------------------------------------------- files


def assert_equal_fields(a, b):
    """Bit by bit, whatever the fields hold."""
    assert type(a) is type(b)
    for field in dataclasses.fields(a):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, RegularizationPath):
            assert_equal_fields(one, two)
        elif isinstance(one, transforms.Transform):
            assert one.kind == two.kind
            assert one.shape == two.shape
            assert one.norm == two.norm
            assert one.row_names == two.row_names
            assert one.order == two.order
            np.testing.assert_array_equal(one.groups, two.groups)
            np.testing.assert_array_equal(one.to_dense(), two.to_dense())
            assert str(one.grid) == str(two.grid)
            assert sp.issparse(one.matrix) == sp.issparse(two.matrix)
        elif isinstance(one, dict):
            assert one.keys() == two.keys()
            for key in one:
                np.testing.assert_array_equal(one[key], two[key])
        else:
            np.testing.assert_array_equal(one, two)
            assert getattr(one, "dtype", None) == getattr(two, "dtype", None)


def saved_paths():
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 0, 0]], bool)
    labels = {"row_groups": np.arange(17) // 2, "row_group_weight": "sqrt"}
    rows = {"row_weight": np.resize([1, 0, np.inf, 2], 17), "row_positive": True}
    return {
        **{name: lambda name=name: trace(D=name) for name in MAPS},
        "exact": lambda: trace_exact("graph"),
        "groups": lambda: trace(**labels),
        "rows": lambda: trace(**rows),
        "mask": lambda: trace(D=transforms.grid_gradient((4, 4), mask)),
        "isotropic": lambda: trace(D=transforms.grid_gradient((3, 4), isotropic=True)),
        "joint": lambda: trace(method="joint"),
        "multinomial": lambda: trace("multinomial"),
        "standardized": lambda: trace(problem=make_problem(standardize=True)),
        "null": lambda: split_iss_path(make_problem(), "differences", t_max=1e-9),
    }


@pytest.mark.parametrize("case", saved_paths())
def test_files_and_copies(case, tmp_path):
    path = saved_paths()[case]()
    path.save(tmp_path / "path.npz")
    for loaded in (
        SplitPath.load(tmp_path / "path.npz"),
        RegularizationPath.load(tmp_path / "path.npz"),
        pickle.loads(pickle.dumps(path)),
        copy.deepcopy(path),
    ):
        assert_equal_fields(loaded, path)
        t = path.knots[-1]
        np.testing.assert_array_equal(loaded.projected(t).coef, path.projected(t).coef)
        np.testing.assert_array_equal(loaded.at(t).split_coef, path.at(t).split_coef)
        assert not loaded.coef_scale.flags.writeable


def test_a_loaded_path_can_be_verified_and_traced_again(tmp_path):
    X, y, w = make_data(p=P)
    rows = {"row_weight": np.resize([1, 0, np.inf, 2], 17), "row_positive": True}
    path = trace(**rows)
    path.save(tmp_path / "path.npz")
    loaded = SplitPath.load(tmp_path / "path.npz")
    table = loaded.verify(X, y, w)
    assert table.drop(columns=["knot", "size"]).max().max() < 1e-9


def test_an_operator_cannot_be_saved(tmp_path):
    path = trace(D=transforms.as_transform(aslinearoperator(DENSE["many rows"])))
    with pytest.raises(ValueError, match="LinearOperator.*sparse matrix"):
        path.save(tmp_path / "path.npz")
    assert list(tmp_path.iterdir()) == []  # nothing half-written stays behind
    expected = trace(D="many rows", nu_raw=path.nu_raw, kappa_raw=path.kappa_raw)
    np.testing.assert_allclose(path.coefs, expected.coefs, atol=1e-10)
    np.testing.assert_allclose(
        path.projected_coefs, expected.projected_coefs, atol=1e-8
    )


def test_a_plain_path_stays_plain(tmp_path):
    path = trace()
    path.split.save(tmp_path / "rows.npz")
    rows = RegularizationPath.load(tmp_path / "rows.npz")
    assert type(rows) is RegularizationPath
    assert_equal_fields(rows, path.split)


# --------------------------------------------------------------------------- bad pieces


def test_pieces_of_a_path_must_fit():
    path = trace()
    with pytest.raises(ValueError, match=r"D has shape \(11, 12\).*17 rows"):
        dataclasses.replace(path, D=MAPS["differences"])
    with pytest.raises(ValueError, match=r"D has shape \(12, 13\)"):
        dataclasses.replace(path, D=transforms.differences(13))
    other = dataclasses.replace(
        path.split, knots=2 * path.knots, events=path.split.events[:0]
    )
    with pytest.raises(ValueError, match="same knots"):
        dataclasses.replace(path, split=other)


def test_bad_knots():
    path = trace()
    for method in (path.at, path.active_rows, path.pieces, path.projected):
        with pytest.raises(ValueError, match="beyond the traced range"):
            method(2 * path.knots[-1])
        with pytest.raises(ValueError, match="must be a number >= 0"):
            method(-1.0)
