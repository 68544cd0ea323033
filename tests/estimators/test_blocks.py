"""Estimators on moments and blocks of rows, and where their paths end."""

import numpy as np
import pandas as pd
import pytest

from sparselbi import LBI, LBIClassifier, RowMoments
from sparselbi.selection import CrossValidation, Discrepancy, TheoreticalTime
from tests.common import make_data


@pytest.fixture(scope="module")
def data():
    return make_data(n=60)


def blocks_of(X, y, w=None, size=13):
    parts = [slice(start, start + size) for start in range(0, len(y), size)]
    arrays = (X, y) if w is None else (X, y, w)
    return [tuple(array[part] for array in arrays) for part in parts]


@pytest.mark.parametrize("kappa", [30.0, np.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_equal_the_rows(data, kappa, weighted):
    X, y, w = data
    w = w * 60 / w.sum() if weighted else None
    blocks = blocks_of(X, y, w)
    rows = LBI(kappa=kappa).fit(X, y, w)
    for given in (blocks, iter(blocks), RowMoments.from_blocks(blocks)):
        model = LBI(kappa=kappa).fit(given)
        np.testing.assert_allclose(model.coef_, rows.coef_, rtol=1e-8)
        assert model.intercept_ == pytest.approx(rows.intercept_)
        assert model.n_features_in_ == 12
        assert model.selection_.index == rows.selection_.index
    path = LBI(kappa=kappa).path(blocks)
    np.testing.assert_allclose(path.knots, rows.path_.knots, rtol=1e-8)
    refitted = LBI(kappa=kappa, refit=True).fit(blocks)
    expected = LBI(kappa=kappa, refit=True).fit(X, y, w)
    np.testing.assert_allclose(refitted.coef_, expected.coef_, rtol=1e-7)


def test_names_of_frames(data):
    frame = pd.DataFrame(data.X, columns=[f"f{j}" for j in range(12)])
    blocks = [(frame[:30], data.y[:30]), (frame[30:], data.y[30:])]
    model = LBI().fit(blocks)
    assert list(model.feature_names_in_) == list(frame)
    assert model.path_.feature_names == tuple(frame)
    assert model.predict(frame).shape == (60,)


def test_kept_folds_are_cross_validated(data):
    X, y, _ = data
    moments = RowMoments.from_blocks([(X, y)], n_folds=4)
    fold = np.repeat(np.arange(4), 15)
    for scoring in (None, "r2", "neg_mean_squared_error"):
        rule = CrossValidation(cv=4, scoring=scoring)
        model = LBI(selector=rule).fit(moments)
        expected = LBI(selector=rule).fit(X, y, sample_groups=fold)
        np.testing.assert_allclose(
            model.selection_.fold_scores, expected.selection_.fold_scores, rtol=1e-7
        )
    simple = LBI().fit(moments).select(CrossValidation("1se", cv=4), moments)
    assert simple.selection_.rule == "cv_1se"


def test_what_needs_rows_is_refused(data):
    X, y, w = data
    blocks = blocks_of(X, y)
    moments = RowMoments.from_blocks(blocks)
    with pytest.raises(ValueError, match="folds that were kept from the start"):
        LBI(selector="cv").fit(blocks)
    kept = RowMoments.from_blocks(blocks, n_folds=5)
    rule = CrossValidation(scoring="neg_mean_absolute_error")
    with pytest.raises(ValueError, match="scoring='neg_mean_absolute_error' needs"):
        LBI(selector=rule).fit(kept)
    with pytest.raises(ValueError, match="loss='huber' needs every row"):
        LBI("huber").fit(blocks)
    with pytest.raises(ValueError, match="leave sample_weight and sample_groups out"):
        LBI().fit(blocks, sample_weight=w)
    for rule in (TheoreticalTime(), Discrepancy()):
        with pytest.raises(ValueError, match="needs single samples"):
            LBI().fit(moments).select(rule, moments)
    assert LBI().fit(moments).select(Discrepancy(sigma=1.0), moments).coef_.any()
    with pytest.raises(ValueError, match="requires y to be passed"):
        LBI().fit(X)
    used = iter(blocks)
    LBI().fit(used)
    with pytest.raises(ValueError, match="can be read only once"):
        LBI().fit(used)
    with pytest.raises(ValueError, match="were given to fit"):
        LBI().fit(moments).select(TheoreticalTime(sigma=1.0), X[:50], y[:50])


def test_a_path_ends_at_half_as_many_features_as_samples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 60))
    y = X[:, 0] + rng.normal(size=30)
    for kappa in (30.0, np.inf):
        path = LBI(kappa=kappa).fit(X, y).path_
        sizes = (path.coefs != 0).sum(axis=1)
        assert path.status == "max_features"
        assert sizes.max() <= 15
        full = LBI(kappa=kappa, max_features=None).fit(X, y).path_
        assert (full.coefs != 0).sum(axis=1).max() > 15
        shared = slice(0, len(path) - 2)
        np.testing.assert_allclose(path.knots[shared], full.knots[shared])
        # Whoever asks for a time gets it.
        late = full.knots[-1] * 0.9
        np.testing.assert_allclose(
            LBI(kappa=kappa, selector=late).fit(X, y).coef_, full.at(late).coef
        )
        assert LBI(kappa=kappa, t_max=late).fit(X, y).path_.status == "t_max"
    weighted = LBI(kappa=np.inf).fit(X, y, np.full(30, 2.0)).path_
    assert (weighted.coefs != 0).sum(axis=1).max() <= 30
    labels = np.where(y > 0, "yes", "no")
    assert (LBIClassifier().fit(X, labels).path_.coefs != 0).any(1).sum(1).max() <= 15
    with pytest.raises(ValueError, match="max_features='most' is unknown"):
        LBI(max_features="most").fit(X, y)
