"""Votes with a known truth, simulated and real."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, special, stats
from scipy.sparse import csgraph

from sparselbi.datasets import (
    fetch_fgnet_votes,
    fetch_football,
    fetch_pc_iqa,
    fetch_pc_vqa,
    fetch_world_college,
    make_votes,
    remote,
)
from sparselbi.datasets.votes import GENERATORS, GRAPHS
from sparselbi.votes import read_votes

COUNTS = {"n_one_sided": 3, "n_random": 2, "n_adversarial": 1}


def difference(votes):
    first, second = votes.scores[votes.pairs.T]
    return first - second


def n_components(codes, n_items):
    matrix = sparse.coo_array((np.ones(len(codes)), tuple(codes.T)), (n_items, n_items))
    return csgraph.connected_components(matrix, directed=False)[0]


def in_bounds(count, n, p):
    """Whether a count is binomial, but for one time in 1e6."""
    low, high = stats.binom.interval(1 - 1e-6, n, p)
    return low <= count <= high


# --------------------------------------------------------------------------- simulated


@pytest.mark.parametrize("bias", [0.0, 0.7, -100.0])
@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_order_votes_follow_the_scores_but_for_flips(bias, rate):
    votes = make_votes(flip_rate=rate, position_bias=bias, random_state=0)
    assert votes.pairs.shape == (2000, 2)
    assert votes.scores.shape == (16,)
    assert votes.scores.sum() == pytest.approx(0, abs=1e-12)
    follow = np.sign(difference(votes) + bias)
    np.testing.assert_array_equal(votes.y, np.where(votes.flipped, -follow, follow))
    assert in_bounds(votes.flipped.sum(), 2000, rate)
    assert votes.position_bias == bias
    assert votes.worker is None


def test_bradley_terry_votes_have_its_probabilities():
    n = 400_000
    votes = make_votes(
        8,
        n,
        generator="bradley_terry",
        flip_rate=0.1,
        position_bias=0.5,
        random_state=1,
    )
    p = special.expit(difference(votes) + 0.5)
    expected = 0.1 + 0.8 * p
    for pair in range(64):
        some = (votes.pairs @ [8, 1]) == pair
        if some.any():
            wins = (votes.y[some] > 0).sum()
            assert in_bounds(wins, some.sum(), expected[some][0])
    assert set(votes.y) == {-1, 1}
    assert in_bounds(votes.flipped.sum(), n, 0.1)


def test_graded_votes_have_normal_errors():
    args = {"generator": "graded", "noise": 0.3, "position_bias": 1.0}
    votes = make_votes(20, 5000, flip_rate=0.2, **args, random_state=2)
    before = np.where(votes.flipped, -votes.y, votes.y)
    error = (before - difference(votes) - 1.0) / 0.3
    assert stats.kstest(error, "norm").pvalue > 1e-4
    assert in_bounds(votes.flipped.sum(), 5000, 0.2)
    plain = make_votes(20, 5000, flip_rate=0, **args, random_state=2)
    np.testing.assert_array_equal(plain.y, before)
    exact = make_votes(20, 50, flip_rate=0, generator="graded", noise=0, random_state=2)
    np.testing.assert_allclose(exact.y, difference(exact), atol=1e-12)


def test_ties_are_close_calls():
    votes = make_votes(ties=0.4, position_bias=0.1, random_state=0)
    seen = difference(votes) + 0.1
    np.testing.assert_array_equal(votes.y == 0, np.abs(seen) <= 0.4)
    assert not votes.flipped[votes.y == 0].any()
    assert not np.signbit(votes.y[votes.y == 0]).any()
    n = 100_000
    votes = make_votes(2, n, generator="bradley_terry", ties=0.5, random_state=0)
    # Rao and Kupper: the odds of winning are divided by exp(0.5).
    gap = difference(votes)
    first = votes.pairs[:, 0] == 0
    p = special.expit(gap[first][0] - 0.5)
    q = special.expit(-gap[first][0] - 0.5)
    expected = 0.8 * p + 0.2 * q
    assert in_bounds((votes.y[first] > 0).sum(), first.sum(), expected)
    assert in_bounds((votes.y == 0).sum(), n, 1 - p - q)


def test_spread():
    scores = make_votes(100_000, 1, spread=3.0, random_state=0).scores
    assert scores.std() == pytest.approx(3.0, abs=5 * 3 / np.sqrt(200_000))
    assert stats.kstest(scores / 3, "norm").pvalue > 1e-4
    assert not make_votes(5, 1, spread=0, random_state=0).scores.any()


# ------------------------------------------------------------------------------ graphs


def test_complete_graph_is_uniform():
    n = 60_000
    pairs = make_votes(5, n, random_state=0).pairs
    count = np.bincount(pairs @ [5, 1], minlength=25).reshape(5, 5)
    assert not np.diag(count).any()
    # ordered pairs: items and sides are equally frequent
    assert stats.chisquare(count[~np.eye(5, dtype=bool)]).pvalue > 1e-4


def test_expected_number_of_items_without_votes():
    """The formula of the notes."""
    votes = make_votes(100_000, 200_000, random_state=0)
    missed = 100_000 - len(np.unique(votes.pairs))
    assert abs(missed - 100_000 * np.exp(-4)) < 5 * np.sqrt(100_000 * np.exp(-4))


@pytest.mark.parametrize("n_items", [2, 3, 10, 57])
def test_random_graph_is_connected_without_bridges(n_items):
    pairs = make_votes(n_items, n_items, graph="random", random_state=0).pairs
    assert n_components(pairs, n_items) == 1
    assert (np.bincount(pairs.ravel()) == 2).all()  # one cycle
    pairs = make_votes(n_items, 10 * n_items, graph="random", random_state=0).pairs
    assert n_components(pairs, n_items) == 1
    assert np.bincount(pairs.ravel()).min() >= 2


@pytest.mark.parametrize("n_items", [2, 3, 4, 5, 9, 11, 12, 13, 100])
def test_grid_compares_neighbours(n_items):
    width = int(np.ceil(np.sqrt(n_items)))
    place = np.column_stack(np.divmod(np.arange(n_items), width))
    apart = np.abs(place[:, None] - place[None]).sum(axis=2)
    edges = np.argwhere(np.triu(apart == 1))
    fewest = make_votes(n_items, len(edges), graph="grid", random_state=0).pairs
    np.testing.assert_array_equal(np.unique(np.sort(fewest, axis=1), axis=0), edges)
    many = make_votes(n_items, 50 * len(edges), graph="grid", random_state=0).pairs
    found, count = np.unique(np.sort(many, axis=1), axis=0, return_counts=True)
    np.testing.assert_array_equal(found, edges)
    assert n_components(many, n_items) == 1
    # 49 votes for each, and one for certain
    if len(edges) > 1:
        assert stats.chisquare(count - 1).pvalue > 1e-4


@pytest.mark.parametrize("graph", GRAPHS)
def test_sides_are_random(graph):
    pairs = make_votes(16, 10_000, graph=graph, random_state=0).pairs
    assert in_bounds((pairs[:, 0] < pairs[:, 1]).sum(), 10_000, 0.5)
    # No part of the votes is special: item 0 is met all along.
    rows = np.flatnonzero((pairs == 0).any(axis=1))
    assert stats.kstest(rows / 10_000, "uniform").pvalue > 1e-4


def test_large():
    votes = make_votes(
        100_000,
        1_000_000,
        graph="random",
        n_workers=1000,
        random_state=0,
    )
    assert n_components(votes.pairs, 100_000) == 1
    assert in_bounds(votes.flipped.sum(), 1_000_000, 0.2)


# ----------------------------------------------------------------------------- workers


@pytest.mark.parametrize("generator", GENERATORS)
def test_workers_do_what_they_are_called(generator):
    votes = make_votes(
        16, 5003, generator=generator, n_workers=10, **COUNTS, random_state=0
    )
    plain = make_votes(16, 5003, generator=generator, flip_rate=0, random_state=0)
    clean = plain.y
    assert np.bincount(votes.worker).tolist().count(500) == 7
    assert np.bincount(votes.worker).tolist().count(501) == 3
    groups = [votes.one_sided, votes.random, votes.adversarial]
    assert [len(group) for group in groups] == [3, 2, 1]
    assert len(set(np.concatenate(groups))) == 6
    assert all((np.diff(group) > 0).all() for group in groups)
    np.testing.assert_array_equal(np.abs(votes.y), np.abs(clean))
    np.testing.assert_array_equal(votes.flipped, np.sign(votes.y) != np.sign(clean))
    sides = []
    for label in votes.one_sided:
        side = np.sign(votes.y[votes.worker == label])
        assert (side == side[0]).all()
        sides.append(side[0])
    assert sorted(sides) == [-1, 1, 1]
    coins = np.isin(votes.worker, votes.random)
    assert in_bounds((votes.y[coins] > 0).sum(), coins.sum(), 0.5)
    assert in_bounds(votes.flipped[coins].sum(), coins.sum(), 0.5)
    against = np.isin(votes.worker, votes.adversarial)
    np.testing.assert_array_equal(votes.y[against], -clean[against])
    careful = ~np.isin(votes.worker, np.concatenate(groups))
    assert in_bounds(votes.flipped[careful].sum(), careful.sum(), 0.2)


def test_careless_workers_do_not_see_ties():
    votes = make_votes(
        ties=1.0,
        n_workers=4,
        n_one_sided=1,
        n_random=1,
        n_adversarial=1,
        random_state=0,
    )
    tied = np.abs(difference(votes)) <= 1
    blind = np.isin(votes.worker, [*votes.one_sided, *votes.random])
    np.testing.assert_array_equal(votes.y == 0, tied & ~blind)
    assert not votes.flipped[tied].any()


def test_other_flips_and_workers_leave_the_rest_as_it_is():
    args = {"generator": "bradley_terry", "random_state": 3}
    low, high = (make_votes(flip_rate=rate, **args) for rate in (0.1, 0.4))
    workers = make_votes(flip_rate=0.1, n_workers=20, **COUNTS, **args)
    for other in (high, workers):
        np.testing.assert_array_equal(other.pairs, low.pairs)
        np.testing.assert_array_equal(other.scores, low.scores)
    assert (high.flipped >= low.flipped).all()
    assert high.flipped.sum() > low.flipped.sum()
    np.testing.assert_array_equal(high.y != low.y, high.flipped != low.flipped)
    groups = [workers.one_sided, workers.random, workers.adversarial]
    careful = ~np.isin(workers.worker, np.concatenate(groups))
    np.testing.assert_array_equal(workers.y[careful], low.y[careful])


@given(
    generator=st.sampled_from(GENERATORS),
    graph=st.sampled_from(GRAPHS),
    n_items=st.integers(2, 12),
    n_votes=st.integers(24, 60),
    n_workers=st.integers(6, 20),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_votes_can_be_read_and_are_reproducible(
    generator, graph, n_items, n_votes, n_workers, seed
):
    args = {"generator": generator, "graph": graph, "n_workers": n_workers, **COUNTS}
    one, two = (make_votes(n_items, n_votes, **args, random_state=seed) for _ in "ab")
    for name in ("pairs", "y", "worker", "scores", "flipped", "one_sided"):
        np.testing.assert_array_equal(one[name], two[name])
    votes = read_votes(one.pairs, one.y, one.worker)
    assert votes.is_binary == (generator != "graded")
    assert set(votes.workers) <= set(range(n_workers))
    np.testing.assert_array_equal(votes.items[votes.pairs], one.pairs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_items": 1}, "n_items must be at least 2, got 1"),
        ({"n_votes": 0}, "n_votes must be at least 1, got 0"),
        ({"generator": "probit"}, r"generator='probit' is unknown.*\['order', "),
        ({"graph": "ring"}, r"graph='ring' is unknown.*\['complete', "),
        ({"flip_rate": 1.5}, "flip_rate must be a probability, at most 1; got 1.5"),
        ({"flip_rate": -0.1}, "flip_rate must be a finite number >= 0, got -0.1"),
        ({"spread": -1}, "spread must be a finite number >= 0, got -1"),
        ({"noise": np.nan}, "noise must be a finite number >= 0, got nan"),
        ({"ties": -1}, "ties must be a finite number >= 0, got -1"),
        ({"position_bias": np.inf}, "position_bias must be a finite number, got inf"),
        ({"ties": 1, "generator": "graded"}, "ties=1 has no meaning for graded votes"),
        ({"n_random": 1}, "'n_random': 1.*need workers: give n_workers"),
        ({"n_workers": 0}, "n_workers must be at least 1, got 0"),
        ({"n_workers": 5} | COUNTS, "n_workers=5 is less than the 6 workers"),
        ({"n_workers": 5, "n_one_sided": -1}, "n_one_sided must be at least 0, got -1"),
        (
            {"graph": "random", "n_votes": 15},
            "n_votes=15 is too small for graph='random' with 16 items.*at least 16",
        ),
        ({"graph": "grid", "n_votes": 23}, "graph='grid' with 16 items.*at least 24"),
    ],
)
def test_arguments_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        make_votes(**{"random_state": 0} | changes)


def test_counts_are_integers():
    with pytest.raises(TypeError, match=r"n_items must be an integer, got 3\.0"):
        make_votes(3.0)


# -------------------------------------------------------------------------------- real


def test_fgnet(data_dir):
    bunch = fetch_fgnet_votes()
    votes = read_votes(bunch.pairs, bunch.y, sample_weight=bunch.weight)
    assert votes.kind == "binary"
    assert (votes.n_votes, votes.n_items, votes.weight.sum()) == (5013, 524, 15_000)
    np.testing.assert_array_equal(votes.items, bunch.names)
    assert n_components(votes.pairs, 524) == 1
    # 20 % are wrong, and no two photos of a pair have one age
    assert bunch.weight[bunch.flipped].sum() == 3000
    older = bunch.true_age[votes.pairs]
    gap = older[:, 0] - older[:, 1]
    assert (gap != 0).all()
    np.testing.assert_array_equal(bunch.flipped, votes.y != np.sign(gap))
    # 3,000 pairs with 5 votes each
    counts = votes.win_proportions()
    assert len(counts.pairs) == 3000
    assert (counts.count == 5).all()
    assert (np.minimum(counts.wins, 5 - counts.wins) == 0).sum() == 987
    assert bunch.weight[gap > 0].sum() == 9370
    # ages and persons of the list that comes with the votes
    file = "pairwise_crowd/fgnet_age_items.csv.gz"
    table = pd.read_csv(data_dir / file)
    np.testing.assert_array_equal(bunch.names, table["image"])
    np.testing.assert_array_equal(bunch.true_age, table["true_age"])
    np.testing.assert_array_equal(bunch.subject, table["subject"])
    assert (bunch.true_age.min(), bunch.true_age.max()) == (0, 63)
    assert len(set(bunch.subject)) == 41


def test_scores_of_photos_grow_with_age(data_dir):
    """Least squares on all votes: high scores are high ages."""
    bunch = fetch_fgnet_votes()
    votes = read_votes(bunch.pairs, bunch.y, sample_weight=bunch.weight)
    scores = least_squares(votes)
    assert stats.kendalltau(scores, bunch.true_age).statistic > 0.6


def least_squares(votes):
    """Scores of votes, dense."""
    design = np.zeros((votes.n_votes, votes.n_items))
    np.put_along_axis(design, votes.pairs, [[1.0, -1.0]], axis=1)
    root = np.sqrt(np.ones(votes.n_votes) if votes.weight is None else votes.weight)
    return np.linalg.lstsq(design * root[:, None], votes.y * root, rcond=None)[0]


def test_world_college(data_dir):
    bunch = fetch_world_college()
    votes = read_votes(bunch.pairs, bunch.y, bunch.worker)
    assert votes.kind == "binary"
    assert (votes.n_votes, votes.n_items, len(votes.workers)) == (8823, 261, 340)
    assert set(votes.items) == set(bunch.names)
    assert n_components(votes.pairs, 261) == 1
    assert len(votes.win_proportions().pairs) == 7257
    assert (votes.y > 0).sum() == 4609
    table = pd.DataFrame({"worker": bunch.worker, "y": bunch.y})
    table[["left", "right"]] = bunch.pairs
    assert table.duplicated().sum() == 9
    by = table.groupby("worker").y.agg(["size", "mean"])
    assert (by["size"].min(), by["size"].median(), by["size"].max()) == (1, 13, 577)
    assert ((by["size"] >= 20) & (by["mean"].abs() == 1)).sum() == 14
    assert bunch.pairs[0].tolist() == [bunch.names[64], bunch.names[162]]


def test_names_of_universities(data_dir):
    bunch = fetch_world_college()
    assert bunch.names[0] == "Harvard University"
    assert bunch.names[3] == "University of California: Berkeley"
    zurich = "ETH Z\u00fcrich - Swiss Federal Institute of Technology Z\u00fcrich"
    assert bunch.names[21] == zurich
    assert bunch.names[62] == "\u00c9cole Polytechnique"
    # accents only: nothing is left of the wrong decoding
    letters = {letter for name in bunch.names for letter in name}
    strange = sorted(letter for letter in letters if ord(letter) > 127)
    assert strange == sorted("\u00c9\u00e3\u00e4\u00e9\u00f6\u00fc")
    country = dict(zip(bunch.names, bunch.country, strict=True))
    assert country["Renmin University of China"] == "China"
    assert country["Hong Kong Baptist University"] == "Hong Kong"
    assert country["Nanyang Technological University"] == "Singapore"
    assert country[
        "ETH Z\u00fcrich - Swiss Federal Institute of Technology Z\u00fcrich"
    ]
    names, counts = np.unique(bunch.country, return_counts=True)
    assert len(names) == 24
    assert dict(zip(names.tolist(), counts.tolist(), strict=True))["USA"] == 76


@pytest.mark.parametrize(
    ("fetch", "n_votes", "n_references", "fewest", "most", "original"),
    [(fetch_pc_vqa, 38_400, 10, 32, 32, 10), (fetch_pc_iqa, 23_097, 15, 4, 23, 14)],
)
def test_quality(fetch, n_votes, n_references, fewest, most, original, data_dir):
    bunch = fetch()
    votes = read_votes(bunch.pairs, bunch.y)
    assert (votes.n_votes, votes.n_items) == (n_votes, 16 * n_references)
    np.testing.assert_array_equal(votes.items, bunch.names)
    assert n_components(votes.pairs, votes.n_items) == n_references
    both = bunch.item_reference[votes.pairs]
    np.testing.assert_array_equal(both, np.column_stack([bunch.reference] * 2))
    labels = zip(bunch.item_reference, bunch.item_version, strict=True)
    assert bunch.names.tolist() == [f"{r:02}:{v:02}" for r, v in labels]
    counts = votes.win_proportions()
    assert len(counts.pairs) == 120 * n_references
    assert (counts.count.min(), counts.count.max()) == (fewest, most)
    # version 1 comes first in most references
    scores = pd.Series(least_squares(votes))
    best = scores.groupby(bunch.item_reference).idxmax()
    assert (bunch.item_version[best] == 1).sum() == original


def test_football(data_dir):
    bunch = fetch_football()
    votes = read_votes(bunch.pairs, bunch.y)
    assert votes.kind == "ties"
    np.testing.assert_array_equal(votes.items, bunch.names)
    assert votes.n_items == 29
    assert [(votes.y == result).sum() for result in (1, 0, -1)] == [882, 505, 513]
    assert n_components(votes.pairs, 29) == 1
    seasons, counts = np.unique(bunch.season, return_counts=True)
    assert seasons.tolist() == ["2008-9", "2009-10", "2010-11", "2011-12", "2012-13"]
    assert (counts == 380).all()
    games = pd.DataFrame(bunch.pairs).assign(season=bunch.season)
    assert not games.duplicated().any()
    assert (games.groupby("season")[0].nunique() == 20).all()


SOURCES = {
    "fgnet_votes": (fetch_fgnet_votes, "train_unvoted_age.txt"),
    "world_college": (fetch_world_college, "universitydata.mat"),
    "world_college_names": (fetch_world_college, "UniName.mat"),
    "pc_vqa": (fetch_pc_vqa, "PC-VQA dataset"),
    "pc_iqa": (fetch_pc_iqa, "data15.mat"),
    "football": (fetch_football, "football.RData"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_missing_file_says_what_to_do(name, tmp_path, monkeypatch):
    fetch, source = SOURCES[name]
    monkeypatch.setenv("SPARSELBI_DATA", str(tmp_path / "named"))
    with pytest.raises(FileNotFoundError, match="SPARSELBI_DATA"):
        fetch(data_home=tmp_path / "home")
    entry = remote.REGISTRY[name]
    with pytest.raises(FileNotFoundError) as error:
        remote._locate(name, tmp_path / "home")
    message = str(error.value)
    for part in ("named", "home", source, entry.path.split("/")[-1], entry.sha256):
        assert part in message
