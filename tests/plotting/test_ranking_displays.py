"""Displays of rankings: what is drawn are the votes, scores and workers, readably."""

from itertools import combinations, pairwise
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

from sparselbi._shift_design import TooWide
from sparselbi.estimators.pairwise_ranker import PairwiseRanker
from sparselbi.plotting import (
    ComparisonGraphDisplay,
    RankingDisplay,
    VotePathDisplay,
    WorkerDisplay,
)
from sparselbi.plotting._layout import text_box
from sparselbi.plotting.ranking_display import _columns, _evenly
from tests.plotting.common import assert_apart, make_path, many_coefs, vertical

RED = "#c0392b"


def simulated(n_items=8, n_votes=600, n_workers=6, seed=0):
    """Votes that follow the true order (0 is best), a tenth of them flipped.

    Worker "w5" always clicks the first item.
    """
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(n_items, 1)
    some = rng.integers(len(first), size=n_votes)
    pairs = np.column_stack([first[some], second[some]])
    pairs = rng.permuted(pairs, axis=1)
    truth = np.where(pairs[:, 0] < pairs[:, 1], 1.0, -1.0)
    y = np.where(rng.random(n_votes) < 0.1, -truth, truth)
    worker = np.array([f"w{k}" for k in rng.integers(n_workers, size=n_votes)])
    y[worker == f"w{n_workers - 1}"] = 1.0
    labels = np.array([f"item {k}" for k in range(n_items)])
    return labels[pairs], y, worker, y != truth


@pytest.fixture(scope="module")
def votes():
    return simulated()


@pytest.fixture(scope="module")
def ranker(votes):
    pairs, y, worker, _ = votes
    return PairwiseRanker().fit(pairs, y, worker=worker)


@pytest.fixture(scope="module")
def parted():
    """A ranker without and one with item features; two components of the graph."""
    pairs, y, *_ = simulated(6, 200)
    pairs = np.vstack([pairs, np.char.add(pairs, " b")])
    y = np.r_[y, y]
    items = np.unique(pairs)
    quality = [-int(name.split()[1]) + 0.5 * name.endswith("b") for name in items]
    table = pd.DataFrame({"quality": quality}, index=items)
    plain = PairwiseRanker(selector=1.0).fit(pairs, y)
    return plain, PairwiseRanker(selector=1.0).fit(pairs, y, item_features=table)


def labels_of(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def written(display):
    """Names beside rows that have no tick."""
    return [t for t in display.ax_.texts if not t.get_text().startswith("component")]


# ---------------------------------------------------------------------------- ranking


def some_scores(sizes, seed=0):
    """Scores of components with these sizes, in a random order of the items."""
    rng = np.random.default_rng(seed)
    component = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    scores = rng.normal(size=len(component))
    width = rng.uniform(0.1, 0.3, size=len(component))
    return scores, scores - width, scores + 2 * width, component


def test_scores_and_intervals_from_the_best_to_the_worst():
    scores, low, high, _ = some_scores([16])
    items = [f"x{k}" for k in range(16)]
    display = RankingDisplay(scores, low, high, items=items, level=0.9).plot()
    order = np.argsort(-scores)
    assert_array_equal(display.groups_[0], order)
    assert labels_of(display.ax_) == [items[k] for k in order]
    assert_array_equal(display.rows_[order], np.arange(16))
    points = display.points_[0].get_offsets()
    assert_allclose(points, np.column_stack([scores[order], np.arange(16)]))
    ends = np.array(display.intervals_[0].get_segments())
    assert_allclose(ends[:, :, 0], np.column_stack([low, high])[order])
    assert_array_equal(ends[:, 0, 1], np.arange(16))
    top, bottom = display.ax_.transData.transform([(0, 0), (0, 15)])[:, 1]
    assert top > bottom
    assert display.ax_.get_xlabel() == "score, 90 % interval"
    assert display.ax_.get_title(loc="left") == ""


@pytest.mark.parametrize("sizes", [[8], [9, 5]])
def test_the_zero_line_is_beside_rows_only(sizes):
    scores, low, high, component = some_scores(sizes)
    display = RankingDisplay(scores, low, high, components=component).plot()
    (lines,) = [c for c in display.ax_.collections if c.get_zorder() == 0.5]
    segments = np.array(lines.get_segments())
    assert not segments[:, :, 0].any()
    first = [display.rows_[group[0]] for group in display.groups_]
    last = [display.rows_[group[-1]] for group in display.groups_]
    assert_array_equal(segments[:, 0, 1], first)
    assert_array_equal(segments[:-1, 1, 1], last[:-1])
    assert segments[-1, 1, 1] == display.ax_.get_ylim()[0]  # down to its tick
    ranks = RankingDisplay(scores, kind="ranks").plot()
    assert not [c for c in ranks.ax_.collections if c.get_zorder() == 0.5]


def test_ranks_within_components_and_ties():
    scores = np.array([1.0, 0.0, 0.0, -1.0, 2.0, -2.0])
    component = np.array([0, 0, 0, 0, 7, 7])
    low, high = [1, 2, 2, 3, 1, 1], [2, 4, 4, 4, 1, 2]
    display = RankingDisplay(scores, low, high, components=component, kind="ranks")
    display.plot()
    assert_array_equal(display.points_[0].get_offsets()[:, 0], [1, 2, 2, 4, 1, 2])
    ends = np.array(display.intervals_[0].get_segments())[:, :, 0]
    assert_array_equal(ends, np.column_stack([low, high]))


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_items_does_not_matter(seed):
    scores, low, high, component = some_scores([9, 5, 1])
    items = np.array([f"x{k}" for k in range(15)])
    order = np.random.default_rng(seed).permutation(15)
    one = RankingDisplay(scores, low, high, items=items, components=component).plot()
    two = RankingDisplay(
        *(scores[order], low[order], high[order]),
        items=items[order],
        components=component[order],
    ).plot()
    assert_array_equal(one.rows_[order], two.rows_)
    assert labels_of(one.ax_) == labels_of(two.ax_)


def test_components_are_apart_and_single_items_are_left_out():
    scores, low, high, component = some_scores([3, 8, 1])
    display = RankingDisplay(scores, low, high, components=component).plot()
    assert [len(group) for group in display.groups_] == [8, 3]
    assert_array_equal(component[display.groups_[0]], 1)
    rows = [display.rows_[group] for group in display.groups_]
    assert rows[1].min() - rows[0].max() == 3  # two rows between them
    breaks = [
        line.get_ydata()[0]
        for line in display.ax_.lines
        if line.get_linewidth() == 1.2 and line.get_xdata()[0] == 0
    ]
    assert len(breaks) == 1
    assert rows[0].max() < breaks[0] < rows[1].min()
    names = [text.get_text() for text in display.ax_.texts]
    assert names == ["component 1: 8 items", "component 0: 3 items"]
    assert display.ax_.get_title(loc="left") == "11 of 12 items"
    assert "within the component" in display.ax_.get_xlabel()


def test_ten_components_of_sixteen_are_in_columns_with_all_names():
    scores, low, high, component = some_scores([16] * 10)
    display = RankingDisplay(scores, low, high, components=component).plot()
    # Two in each of five: no holes.
    assert [len(labels_of(ax)) for ax in display.axes_] == [32] * 5
    assert sorted(display.named_) == list(range(160))
    assert sum(len(labels_of(ax)) for ax in display.axes_) == 160
    assert len({ax.get_xlim() for ax in display.axes_}) == 1
    assert len({ax.get_ylim() for ax in display.axes_}) == 1
    assert np.nanmax(display.rows_) < 60
    display.figure_.canvas.draw()
    for ax in display.axes_:
        assert_apart(ax.get_yticklabels())


@pytest.mark.parametrize("kind", ["scores", "ranks"])
@pytest.mark.parametrize(
    ("n_groups", "size"),
    [(10, None), (10, (6.4, 4.8)), (10, (5.0, 8.0)), (7, (11.0, 4.2))],
)
def test_nothing_overlaps_or_is_cut_off_in_columns(kind, size, n_groups):
    scores, low, high, component = some_scores([16] * n_groups)
    if kind == "ranks":
        low, high = np.full(len(scores), 1), np.full(len(scores), 16)
    display = RankingDisplay(
        *(scores, low, high),
        items=[f"{k:03d}" for k in range(len(scores))],
        components=component,
        kind=kind,
        level=0.95,
        note="no intervals (score_intervals says why)",
    )
    ax = None
    if size is not None:
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    display.plot(ax)
    figure, axes = display.figure_, display.axes_
    figure.canvas.draw()
    assert len(axes) > 3
    page = figure.bbox.padded(1.0)
    widths = [panel.bbox.width for panel in axes]
    assert max(widths) < 1.05 * min(widths)
    (label,) = [panel.xaxis.label for panel in axes if panel.get_xlabel()]
    title = display.ax_._left_title
    assert "".join(title.get_text().split()) == "".join(display.note.split())
    for text in (label, title):
        box = text_box(text)
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
    middle = (axes[0].bbox.x0 + axes[-1].bbox.x1) / 2
    box = text_box(label)
    assert abs((box.x0 + box.x1) / 2 - middle) < 0.6 * widths[0]
    for panel in axes:
        for ticks in (panel.get_xticklabels(), panel.get_yticklabels()):
            assert_apart(ticks)
        heads = [text_box(text) for text in panel.texts]
        assert all(head.x1 <= panel.bbox.x1 + 1 for head in heads)
        assert all(text.get_text() for text in panel.texts)
        for head, name in [(h, n) for h in heads for n in panel.get_yticklabels()]:
            assert not head.padded(-1.0).overlaps(text_box(name))
    for left, right in pairwise(axes):
        names = [text_box(name).x0 for name in right.get_yticklabels()]
        assert left.bbox.x1 < min(names)


@pytest.mark.parametrize("seed", range(8))
def test_columns_are_as_even_as_possible(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 20, size=8)
    for n_runs in range(1, 6):
        runs = _evenly(sizes, n_runs)
        assert sum(runs, []) == list(range(8))
        best = min(
            sum(part.sum() ** 2 for part in np.split(sizes, cuts))
            for cuts in combinations(range(1, 8), n_runs - 1)
        )
        assert sum(sizes[run].sum() ** 2 for run in runs) == best
    assert _evenly(np.full(10, 18), 4) == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([20, 5], [2]),
        ([16] * 7, [2, 2, 2, 1]),
        ([16] * 10, [2] * 5),
        ([28] * 4, [2, 2]),
        ([40, 30, 12, 5, 3], [1, 4]),
        ([58] * 5, [1] * 5),
        ([59, 5], None),  # with a name, one row too many
        ([20] * 15, None),
    ],
)
def test_the_fewest_columns_with_few_holes(sizes, expected):
    found = _columns([np.arange(size) for size in sizes])
    assert (found and [len(stack) for stack in found]) == expected


def test_a_label_of_a_narrow_column_has_several_lines():
    scores, low, high, component = some_scores([6, 5])
    _, ax = plt.subplots(figsize=(2.4, 4.0), layout="constrained")
    display = RankingDisplay(scores, low, high, components=component, kind="ranks")
    display.plot(ax)
    display.figure_.canvas.draw()
    assert " ".join(ax.get_xlabel().split()) == (
        "rank (1: best) within the component, interval"
    )
    box = text_box(ax.xaxis.label)
    assert 0 <= box.x0 < box.x1 <= display.figure_.bbox.x1


def test_axes_below_each_other_have_a_label_each():
    scores, low, high, component = some_scores([16] * 10)
    _, axes = plt.subplots(3, 2, layout="constrained", figsize=(6, 9))
    display = RankingDisplay(scores, low, high, components=component)
    display.plot(axes.ravel()[:5])
    assert all("within the" in ax.get_xlabel() for ax in display.axes_)


def test_very_many_components():
    scores, low, high, component = some_scores([20] * 30)
    display = RankingDisplay(scores, low, high, components=component).plot()
    assert len(display.axes_) == 1
    assert len(display.groups_) == 12
    title = display.ax_.get_title(loc="left")
    assert title == "240 of 600 items; the 12 largest of 30 components"
    named = set(display.named_)
    for group in display.groups_:
        assert group[0] in named


def test_a_long_column_names_the_best_and_the_worst():
    scores, low, high, _ = some_scores([261])
    items = [f"University of somewhere far away, number {k}" for k in range(261)]
    display = RankingDisplay(scores, low, high, items=items).plot()
    order = np.argsort(-scores)
    assert display.named_ == [*order[:20], *order[-10:]]
    assert len(display.points_[0].get_offsets()) == 261
    texts = written(display)
    assert len(texts) == 30
    display.figure_.canvas.draw()
    assert_apart(texts)
    heights = [text.get_window_extent().y0 for text in texts]
    assert heights == sorted(heights, reverse=True)
    display.plot(names=[items[5], items[100]])
    assert sorted(display.named_) == [5, 100]
    display.plot(names=0)
    assert not display.named_
    display.plot(names=9)
    assert display.named_ == [*order[:6], *order[-3:]]


def test_some_items_and_the_best_ones():
    scores, low, high, component = some_scores([40, 30])
    items = [f"x{k}" for k in range(70)]
    display = RankingDisplay(scores, low, high, items=items, components=component)
    display.plot(top=5)
    assert [len(group) for group in display.groups_] == [5, 5]
    title = display.ax_.get_title(loc="left")
    assert title == "10 of 70 items, the best 5 of each component"
    for group in display.groups_:
        same = component == component[group[0]]
        assert scores[group].min() >= np.sort(scores[same])[-5]
    display.plot(items=["x3", "x60", "x9"])
    assert sorted(np.concatenate(display.groups_)) == [3, 9, 60]


def test_without_intervals():
    scores, *_ = some_scores([10])
    display = RankingDisplay(scores, note="too many").plot()
    assert not display.intervals_[0].get_segments()
    assert len(display.points_[0].get_offsets()) == 10
    assert display.ax_.get_title(loc="left") == "too many"
    assert display.ax_.get_xlabel() == "score"
    low = np.where(np.arange(10) < 4, np.nan, scores - 1)
    display = RankingDisplay(scores, low, scores + 1).plot()
    assert len(display.intervals_[0].get_segments()) == 6


@pytest.mark.parametrize("kind", ["scores", "ranks"])
def test_the_ranking_of_an_estimator(ranker, kind):
    display = RankingDisplay.from_estimator(ranker, kind=kind, level=0.8)
    table = getattr(ranker, f"{kind[:-1]}_intervals")(level=0.8)
    assert labels_of(display.ax_) == ranker.ranking_["item"].tolist()
    table = table.set_index("item").loc[labels_of(display.ax_)]
    ends = np.array(display.intervals_[0].get_segments())[:, :, 0]
    assert_allclose(ends, table[["low", "high"]])
    values = display.points_[0].get_offsets()[:, 0]
    assert_allclose(values, table["score" if kind == "scores" else "rank"])


@pytest.mark.parametrize("reason", [ValueError, TooWide])
def test_an_estimator_without_intervals(ranker, reason):
    def score_intervals(level=0.95):
        raise reason("no")

    bare = SimpleNamespace(
        scores_=ranker.scores_,
        ranking_=ranker.ranking_,
        score_intervals=score_intervals,
    )
    display = RankingDisplay.from_estimator(bare)
    assert "no intervals" in display.ax_.get_title(loc="left")
    assert not display.intervals_[0].get_segments()
    search = SimpleNamespace(best_estimator_=bare)
    assert RankingDisplay.from_estimator(search).ax_.get_xlabel() == "score"


def test_votes_that_were_left_out_and_wrong_levels(votes, ranker):
    pairs, y, *_ = votes
    refit = PairwiseRanker(estimate="refit", selector=0.5).fit(pairs, y)
    display = RankingDisplay.from_estimator(refit, kind="ranks")
    assert "no intervals" in display.ax_.get_title(loc="left")
    with pytest.raises(ValueError, match="level=2"):
        RankingDisplay.from_estimator(ranker, level=2.0)


@pytest.mark.parametrize("kind", ["scores", "ranks"])
def test_features_rank_items_of_all_components_together(parted, kind):
    for ranker, sizes in zip(parted, ([6, 6], [12]), strict=True):
        display = RankingDisplay.from_estimator(ranker, kind=kind)
        assert [len(group) for group in display.groups_] == sizes
        table = ranker.ranking_
        assert_array_equal(np.concatenate(display.groups_), np.arange(12))
        values = display.points_[0].get_offsets()[:, 0]
        assert_allclose(values, table["score" if kind == "scores" else "rank"])
        found = getattr(ranker, f"{kind[:-1]}_intervals")().set_index("item")
        assert_allclose(display.low, found.loc[table["item"], "low"])
        graph = ComparisonGraphDisplay.from_estimator(ranker)
        assert [len(group) for group in graph.groups_] == sizes
        shown = ranker.items_[np.concatenate(graph.groups_)]
        assert shown.tolist() == table["item"].tolist()
        drawn = sum(len(lines.get_paths()) for lines in graph.lines_)
        assert drawn == len(graph.edges_)


def test_axes_of_a_ranking():
    scores, low, high, component = some_scores([16] * 10)
    display = RankingDisplay(scores, low, high, components=component)
    figure, ax = plt.subplots(layout="constrained")
    display.plot(ax)
    n_columns = len(display.axes_)
    assert n_columns > 1
    assert display.figure_ is figure
    _, axes = plt.subplots(1, n_columns)
    assert display.plot(axes).axes_.tolist() == axes.tolist()
    with pytest.raises(ValueError, match=f"one matplotlib Axes or {n_columns} of them"):
        display.plot([ax])
    free = figure.add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="ax cannot be divided"):
        display.plot(free)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": [1.0, np.nan]}, "must be finite numbers"),
        ({"scores": [[1.0]]}, r"scores has shape \(1, 1\)"),
        ({"low": [0.0, 0.0]}, "both low and high"),
        ({"low": [0.0, 3.0], "high": [2.0, 2.0]}, r"low\[1\]=3 is above high\[1\]=2"),
        ({"low": [0.0], "high": [2.0]}, r"low has shape \(1,\)"),
        ({"items": ["a"]}, r"items has shape \(1,\)"),
        ({"components": [0, 0, 1]}, r"components has shape \(3,\)"),
        ({"kind": "score"}, "kind='score' is unknown"),
    ],
)
def test_wrong_scores(arguments, message):
    with pytest.raises(ValueError, match=message):
        RankingDisplay(**({"scores": [1.0, 2.0]} | arguments))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top=0 must be at least 1"),
        ({"names": -1}, "names=-1 must be at least 0"),
        ({"items": [0, 9]}, "items has 9, which is none of the 3 items"),
        ({"items": []}, "items is empty; give some of the 3 items"),
    ],
)
def test_wrong_options_of_a_ranking(options, message):
    with pytest.raises(ValueError, match=message):
        RankingDisplay([1.0, 2.0, 0.0]).plot(**options)


def test_what_is_no_ranker():
    for display in (
        RankingDisplay,
        WorkerDisplay,
        VotePathDisplay,
        ComparisonGraphDisplay,
    ):
        with pytest.raises(ValueError, match=r"has no scores_; fit a ranker first"):
            display.from_estimator(PairwiseRanker())


# -------------------------------------------------------------------------- vote path


def bars(ax):
    """Areas of the filled parts of a panel, by colour."""
    areas = {}
    for patch in ax.patches:
        if not patch.get_fill():
            continue
        values, edges, floor = patch.get_data()
        area = ((values - floor) * np.diff(edges)).sum()
        areas[to_hex(patch.get_facecolor())] = area
    return areas


def test_shares_and_strengths():
    rng = np.random.default_rng(0)
    strength = np.abs(rng.normal(size=150))
    flipped = rng.random(150) < 0.3
    display = VotePathDisplay(strength=strength, threshold=1.0, flipped=flipped).plot()
    assert_array_equal(display.distrusted_, strength > 1)
    assert_array_equal(display.order_, np.argsort(-strength))
    for name, mask in (
        ("all votes", flipped | True),
        ("flipped", flipped),
        ("not flipped", ~flipped),
    ):
        share = [(strength[mask] > knot).mean() for knot in display.knots_]
        assert_allclose(display.shares_[name], share)
        assert_allclose(display.lines_[name].get_ydata(), share)
    assert display.axes_[0].xaxis_inverted()
    assert vertical(display.axes_[0]) == {1.0}
    assert vertical(display.axes_[1]) == {float((strength > 1).sum())}
    areas = bars(display.axes_[1])
    assert areas[RED] == pytest.approx(strength[flipped].sum())
    assert sum(areas.values()) == pytest.approx(strength.sum())
    areas = bars(display.plot(kind="order", shade="distrusted").ax_)
    assert areas[RED] == pytest.approx(strength[strength > 1].sum())
    areas = bars(display.plot(kind="order", first=20, shade="distrusted").ax_)
    assert sum(areas.values()) == pytest.approx(np.sort(strength)[-20:].sum())


def test_a_weight_is_so_many_votes():
    rng = np.random.default_rng(1)
    strength, weight = np.abs(rng.normal(size=60)), rng.integers(1, 4, size=60)
    flipped = rng.random(60) < 0.4
    one = VotePathDisplay(
        strength=strength, threshold=0.7, flipped=flipped, sample_weight=weight
    ).plot()
    two = VotePathDisplay(
        strength=np.repeat(strength, weight),
        threshold=0.7,
        flipped=np.repeat(flipped, weight),
    ).plot()
    for name, share in one.shares_.items():
        assert_allclose(share, two.shares_[name])
    assert vertical(one.axes_[1]) == vertical(two.axes_[1])
    first, second = bars(one.axes_[1]), bars(two.axes_[1])
    assert first[RED] == pytest.approx(second[RED])


def test_many_votes_share_bars_and_keep_their_sums():
    rng = np.random.default_rng(2)
    strength = np.abs(rng.normal(size=5000))
    display = VotePathDisplay(strength=strength).plot(kind="order")
    (grey,) = [a for color, a in bars(display.ax_).items() if color != RED]
    assert grey == pytest.approx(strength.sum())
    assert max(len(p.get_data()[0]) for p in display.ax_.patches) <= 200
    assert not display.distrusted_.any()
    assert not vertical(display.ax_)


def test_workers_with_the_most_distrusted_votes():
    worker = np.repeat(["a", "b", "c", "d"], [10, 10, 50, 30])
    strength = np.linspace(0.5, 0.9, 100)
    strength[[0, 1, 2, 10, 20]] = 2.0  # three of a, one of b, one of c
    display = VotePathDisplay(strength=strength, threshold=1.0, workers=worker)
    display.plot(shade="worker", top=2)
    assert list(display.shares_) == ["a", "b", "all votes"]
    at = np.flatnonzero(display.knots_ <= 1.0)[0] - 1
    assert display.shares_["a"][at] == pytest.approx(0.3)
    assert display.shares_["b"][at] == pytest.approx(0.1)


def test_the_path_of_an_estimator(ranker, votes):
    *_, flipped = votes
    display = VotePathDisplay.from_estimator(ranker, flipped=flipped)
    path, knot = ranker.path_, ranker.selection_.knot
    for k in (0, 5, 40, -1):
        mask = path.outliers(display.knots_[k])
        assert display.shares_["all votes"][k] == pytest.approx(mask.mean())
        assert display.shares_["flipped"][k] == pytest.approx(mask[flipped].mean())
    assert display.shares_["all votes"][0] == 0
    assert knot in display.knots_
    assert vertical(display.axes_[0]) == {knot}
    assert_array_equal(display.order_, ranker.vote_order_)
    assert_array_equal(display.distrusted_, ranker.outlier_votes_)
    assert bars(display.axes_[1])[RED] > 0
    workers = VotePathDisplay.from_estimator(ranker, shade="worker", top=1)
    table = ranker.worker_reliability_
    most = table["worker"][(table["distrusted"] * table["votes"]).argmax()]
    assert list(workers.shares_) == [most, "all votes"]
    text = display.ax_.texts[-1].get_text()
    assert f"{int(ranker.outlier_votes_.sum())} (" in text


def test_scores_along_the_path(ranker):
    display = VotePathDisplay.from_estimator(ranker, kind="scores", top=3)
    assert len(display.lines_) == 3
    for item, line in display.lines_.items():
        for k in (0, 7, -1):
            scores = ranker.path_.scores_at(display.knots_[k])
            assert line.get_ydata()[k] == pytest.approx(scores[item])
        assert line.get_label() == ranker.items_[item]
    assert len(display.ax_.collections[0].get_segments()) == 5
    assert vertical(display.ax_) == {ranker.selection_.knot}


def test_times_increase_and_pairs_are_not_votes(votes):
    pairs, y, _, flipped = votes
    timed = PairwiseRanker(model="linear", method="iss").fit(pairs, y)
    display = VotePathDisplay.from_estimator(timed, flipped=flipped)
    assert not display.axes_[0].xaxis_inverted()
    assert display.ax_.get_xlabel() == "t"
    assert (np.diff(display.shares_["all votes"]) > -0.05).all()
    by_pair = PairwiseRanker(transform="uniform", selector=0.5).fit(pairs, y)
    display = VotePathDisplay.from_estimator(by_pair)
    assert len(display.order_) == len(y) > by_pair.path_.n_rows
    assert_array_equal(display.order_, by_pair.vote_order_)
    assert_array_equal(display.distrusted_, by_pair.outlier_votes_)
    strength = by_pair.votes_frame()["strength"].sort_index().to_numpy()
    share = [(strength > knot).mean() for knot in display.knots_]
    assert_allclose(display.shares_["all votes"], share)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"strength": None}, {}, "give the strength of every vote"),
        ({"strength": [[1.0]]}, {}, r"strength has shape \(1, 1\)"),
        ({"strength": [1.0, np.nan]}, {}, "must be numbers of shape"),
        ({"flipped": [0, 1]}, {}, r"must be a bool array of shape \(3,\)"),
        ({"workers": ["a"]}, {}, r"workers has shape \(1,\)"),
        ({"sample_weight": [1, 1, -1]}, {}, "sample_weight contains -1"),
        ({}, {"shade": "flipped"}, "needs the truth"),
        ({}, {"shade": "worker"}, "needs to know who gave each vote"),
        ({}, {"shade": "item"}, "shade='item' is unknown"),
        ({}, {"kind": "knee"}, "kind='knee' is unknown"),
        ({}, {"kind": "scores"}, "needs a path"),
        ({}, {"top": 0}, "top=0 must be at least 1"),
        ({}, {"first": 0}, "first=0 must be at least 1"),
        ({"strength": [0.0, 0.0]}, {}, "no vote has a positive strength"),
    ],
)
def test_wrong_votes(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        VotePathDisplay(**({"strength": [1.0, 2.0, 3.0]} | arguments)).plot(**options)


def test_a_path_that_is_not_about_votes():
    with pytest.raises(TypeError, match="is not about votes"):
        VotePathDisplay.from_path(make_path(many_coefs(5)))


# ---------------------------------------------------------------------------- workers


def worker_table(n=40, seed=0):
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.3, 0.7, size=n)
    share[[1, 2]], share[3] = [1.0, 0.0], np.nan
    return pd.DataFrame(
        {
            "worker": [f"w{k}" for k in range(n)],
            "votes": rng.integers(5, 500, size=n).astype(float),
            "agreement": rng.uniform(0.5, 1.0, size=n),
            "reliability": rng.uniform(size=n),
            "position_share": share,
            "p_position": 0.5,
            "one_sided": np.isin(np.arange(n), [1, 2]),
            "distrusted": rng.uniform(0, 0.3, size=n),
        }
    )


@pytest.mark.parametrize("y", ["reliability", "agreement", "distrusted"])
def test_points_are_columns_of_the_table(y):
    table = worker_table()
    display = WorkerDisplay(table).plot(y=y)
    assert set(display.points_) == {"both", "first", "second"}
    rows = np.concatenate(list(display.drawn_.values()))
    assert_array_equal(np.sort(rows), np.arange(40))
    for name, points in display.points_.items():
        drawn = table.iloc[display.drawn_[name]]
        assert_allclose(points.get_offsets(), drawn[["votes", y]])
        colors = np.ma.masked_invalid(drawn["position_share"])
        assert_array_equal(points.get_array().mask, colors.mask)
        assert_allclose(points.get_array().compressed(), colors.compressed())
        assert points.get_clim() == (0.0, 1.0)  # the middle of the colours is 1/2
    assert display.drawn_["first"].tolist() == [1]
    assert display.drawn_["second"].tolist() == [2]
    assert display.ax_.get_xscale() == "log"


def test_names_of_workers_do_not_overlap():
    table = worker_table(300, seed=3)
    table["votes"] = 100.0 + np.arange(300) / 10
    display = WorkerDisplay(table).plot(annotate=15)
    assert len(display.named_) == 17
    assert display.named_[:2] == ["w1", "w2"] or display.named_[:2] == ["w2", "w1"]
    usual = np.average(table["agreement"], weights=table["votes"])
    excess = table["votes"] * (usual - table["agreement"])
    excess[[1, 2]] = -np.inf
    assert display.named_[2:] == table["worker"][(-excess).argsort()[:15]].tolist()
    texts = display.ax_.texts
    assert [text.get_text() for text in texts] == display.named_
    display.figure_.canvas.draw()
    assert_apart(texts)
    display.plot(annotate=["w9", "w200"])
    assert display.named_ == ["w9", "w200"]
    assert not display.plot(annotate=0).named_


def test_where_workers_click():
    table = worker_table()
    display = WorkerDisplay(table).plot(x="position_share", y="agreement")
    # Workers with ties only have no place.
    assert 3 not in np.concatenate(list(display.drawn_.values()))
    assert display.ax_.get_xscale() == "linear"
    assert len(display.figure_.axes) == 1  # the axis is the colour bar


def test_workers_of_an_estimator(ranker, votes):
    display = WorkerDisplay.from_estimator(ranker, y="distrusted")
    assert display.named_[0] == "w5"  # always the first item
    table = ranker.worker_reliability_
    assert_allclose(
        display.points_["first"].get_offsets(),
        table.loc[table["worker"] == "w5", ["votes", "distrusted"]],
    )
    pairs, y, *_ = votes
    with pytest.raises(ValueError, match="has been fitted without workers"):
        WorkerDisplay.from_estimator(PairwiseRanker().fit(pairs, y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "reliability"}, "x='reliability' is unknown"),
        ({"y": "votes"}, "y='votes' is unknown"),
        ({"y": "distrusted"}, r"y='distrusted' is no column .* one of \['reliability'"),
        ({"annotate": -1}, "annotate=-1 must be at least 0"),
        ({"annotate": ["nobody"]}, "annotate has 'nobody', which is none of"),
    ],
)
def test_wrong_options_for_workers(options, message):
    table = worker_table().drop(columns="distrusted")
    with pytest.raises(ValueError, match=message):
        WorkerDisplay(table).plot(**options)


def test_wrong_tables_of_workers():
    table = worker_table()
    with pytest.raises(ValueError, match=r"but not \['agreement'\]; give a table of"):
        WorkerDisplay(table.drop(columns="agreement"))
    with pytest.raises(ValueError, match="workers has no lines"):
        WorkerDisplay(table[:0])


# -------------------------------------------------------------------- comparison graph


def some_votes(n_items=10, n_votes=200, seed=0):
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(n_items, 2, replace=False) for _ in range(n_votes)])
    return pairs, rng.normal(size=n_items), rng.random(n_votes) < 0.2


def counted(pairs, values):
    """Sums of values by unordered pair, as a dict."""
    sums = {}
    for pair, value in zip(np.sort(pairs, axis=1).tolist(), values, strict=True):
        sums[tuple(pair)] = sums.get(tuple(pair), 0.0) + value
    return sums


@pytest.mark.parametrize("layout", ["arcs", "circle"])
def test_edges_and_widths(layout):
    pairs, scores, mask = some_votes()
    display = ComparisonGraphDisplay(pairs, scores, distrusted=mask).plot(layout=layout)
    edges = display.edges_
    keys = list(zip(edges["first"], edges["second"], strict=True))
    votes, red = counted(pairs, np.ones(200)), counted(pairs, mask)
    assert dict(zip(keys, edges["votes"], strict=True)) == votes
    assert dict(zip(keys, edges["distrusted"], strict=True)) == red
    widths = np.asarray(display.lines_[0].get_linewidths())
    assert_allclose(widths / widths.max(), edges["votes"] / edges["votes"].max())
    some = edges["distrusted"] > 0
    lines = display.distrusted_lines_[0]
    assert len(lines.get_paths()) == some.sum()
    assert to_hex(lines.get_edgecolor()[0]) == RED
    # Of one scale, so that the red part of a line is a share.
    factor = np.asarray(lines.get_linewidths()) / edges["distrusted"][some]
    assert_allclose(factor, (widths / edges["votes"]).iloc[0])


def test_arcs_are_by_score_with_distrusted_votes_on_the_left():
    pairs, scores, mask = some_votes()
    display = ComparisonGraphDisplay(pairs, scores, distrusted=mask).plot()
    x, y = display.positions_.T
    assert len(set(x)) == 1
    assert_array_equal(np.argsort(-y), np.argsort(-scores))
    for path in display.lines_[0].get_paths():
        assert (path.vertices[:, 0] > x[0]).all()
    for path in display.distrusted_lines_[0].get_paths():
        assert (path.vertices[:, 0] < x[0]).all()
    both = [*display.lines_[0].get_paths(), *display.distrusted_lines_[0].get_paths()]
    low, high = display.ax_.get_xlim()
    for path in both:
        across = path.to_polygons(closed_only=False)[0][:, 0]
        assert low <= across.min() < across.max() <= high
    ends = display.lines_[0].get_paths()[0].vertices[[0, -1], 1]
    first = display.edges_[["first", "second"]].iloc[0].tolist()
    assert_allclose(ends, y[[int(label) for label in first]])


def test_heights_are_scores_where_there_is_room():
    pairs = [[0, 1], [1, 2], [2, 3]]
    scores = [3.0, 1.0, 0.0, -4.0]
    display = ComparisonGraphDisplay(pairs, scores, items=list("abcd")).plot()
    y = display.positions_[:, 1]
    assert_allclose(np.diff(y) / (y[3] - y[0]), np.diff(scores) / -7.0)
    texts = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert texts == ["3.00", "1.00", "0.00", "−4.00"]
    assert {k: node.get_text() for k, node in display.nodes_.items()} == dict(
        enumerate("abcd")
    )


def test_boxes_of_many_items_are_apart():
    pairs, scores, mask = some_votes(60, 900)
    items = [f"a rather long name of item {k}" for k in range(60)]
    display = ComparisonGraphDisplay(pairs, scores, distrusted=mask, items=items)
    display.plot()
    display.figure_.canvas.draw()
    places = sorted(
        (n.get_bbox_patch().get_window_extent() for n in display.nodes_.values()),
        key=lambda box: box.y0,
    )
    assert len(places) == 60
    for lower, upper in zip(places[:-1], places[1:], strict=True):
        assert lower.y1 <= upper.y0
    _, ax = plt.subplots(figsize=(4, 3), layout="constrained")
    display.plot(ax)
    assert len(display.nodes_) == 60


def test_a_circle_in_the_order_of_the_scores():
    pairs, scores, mask = some_votes()
    display = ComparisonGraphDisplay(pairs, scores, distrusted=mask)
    display.plot(layout="circle")
    places = display.positions_ - display.positions_.mean(axis=0)
    assert_allclose(np.linalg.norm(places, axis=1), np.linalg.norm(places[0]))
    turn = np.mod(np.pi / 2 - np.arctan2(places[:, 1], places[:, 0]), 2 * np.pi)
    assert_array_equal(np.argsort(turn), np.argsort(-scores))
    assert len(display.nodes_) == 10


@pytest.mark.parametrize("layout", ["arcs", "circle"])
def test_weights_and_swapped_pairs(layout):
    pairs, scores, mask = some_votes()
    weight = np.random.default_rng(1).integers(0, 4, size=len(pairs))
    one = ComparisonGraphDisplay(
        pairs, scores, distrusted=mask, sample_weight=weight
    ).plot(layout=layout)
    swapped = np.repeat(pairs, weight, axis=0)[::-1]
    swapped[::2] = swapped[::2, ::-1]
    two = ComparisonGraphDisplay(
        swapped, scores, distrusted=np.repeat(mask, weight)[::-1]
    ).plot(layout=layout)
    pd.testing.assert_frame_equal(one.edges_, two.edges_)
    assert_array_equal(one.positions_, two.positions_)


def test_components_are_beside_each_other():
    blocks = [
        np.array([[i, j] for i in range(5) for j in range(i)]) + s for s in (0, 5)
    ]
    pairs = np.vstack([*blocks, [[10, 11]]])
    scores = np.arange(12.0)
    display = ComparisonGraphDisplay(pairs, scores).plot()
    assert [set(g) for g in display.groups_] == [
        {0, 1, 2, 3, 4},
        {5, 6, 7, 8, 9},
        {10, 11},
    ]
    assert len(display.axes_) == 3
    assert [len(lines.get_paths()) for lines in display.lines_] == [10, 10, 1]
    assert display.ax_.get_title(loc="left") == "12 items, 21 votes\ncomponent 0"
    display.plot(max_items=10)
    assert len(display.axes_) == 2
    title = display.ax_.get_title(loc="left").splitlines()[0]
    assert title == "10 of 12 items in 2 of 3 components, 20 of 21 votes"
    display.plot(items=[5, 6, 10])
    assert [g.tolist() for g in display.groups_] == [[6, 5], [10]]


def test_a_large_graph_shows_the_items_with_the_most_votes():
    pairs, scores, mask = some_votes(200, 3000)
    display = ComparisonGraphDisplay(pairs, scores, distrusted=mask)
    for layout in ("arcs", "circle"):
        display.plot(layout=layout, max_items=30)
        (group,) = display.groups_
        votes = np.bincount(pairs.ravel())
        assert votes[group].min() >= np.sort(votes)[-30]
        inside = np.isin(pairs, group).all(axis=1)
        assert display.edges_["votes"].sum() == inside.sum()
        title = display.ax_.get_title(loc="left")
        assert title == f"30 of 200 items, {inside.sum()} of 3,000 votes"
        display.plot(layout=layout, max_items=200)  # dots, no names
        assert len(display.groups_[0]) == 200
        assert bool(display.nodes_) is False or layout == "circle"


def test_the_graph_of_an_estimator(ranker):
    display = ComparisonGraphDisplay.from_estimator(ranker)
    assert display.edges_["distrusted"].sum() == ranker.outlier_votes_.sum()
    assert display.edges_["votes"].sum() == 600
    names = [display.nodes_[k].get_text() for k in display.groups_[0]]
    assert names == ranker.ranking_["item"].tolist()
    frame = ranker.votes_frame()
    frame = frame[frame["distrusted"]]
    red = counted(frame[["item_1", "item_2"]].to_numpy(), np.ones(len(frame)))
    edges = display.edges_
    ends = zip(*np.sort(edges[["first", "second"]], axis=1).T.tolist(), strict=True)
    for pair, number in zip(ends, edges["distrusted"], strict=True):
        assert red.get(pair, 0.0) == number


def test_components_that_are_given():
    pairs = [[0, 1], [2, 3], [3, 4]]
    scores = [3.0, 1.0, 0.0, -1.0, -2.0]
    items = list("vwxyz")
    display = ComparisonGraphDisplay(pairs, scores, items=items, components=[7] * 5)
    display.plot()
    assert display.groups_[0].tolist() == [0, 1, 2, 3, 4]
    assert display.edges_[["first", "second"]].to_numpy().tolist() == [
        ["v", "w"],
        ["x", "y"],
        ["y", "z"],
    ]
    assert len(display.axes_) == 1
    parts = ["low", "low", "high", "high", "high"]
    display = ComparisonGraphDisplay(pairs, scores, components=parts).plot()
    assert [group.tolist() for group in display.groups_] == [[2, 3, 4], [0, 1]]
    assert display.axes_[1].get_title(loc="left") == "component low"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"pairs": [[0, 5]]}, {}, "between 0 and n_items - 1"),
        ({"pairs": [[0, 0], [0, 1]]}, {}, "compares item 0 with itself"),
        ({"scores": [0.0, np.inf, 1.0]}, {}, "scores has shape"),
        ({"distrusted": [0, 1]}, {}, r"must be a bool array of shape \(2,\)"),
        ({"sample_weight": [0, 0]}, {}, "sample_weight is zero everywhere"),
        ({"items": ["a"]}, {}, r"items has shape \(1,\)"),
        ({"components": [0]}, {}, r"components has shape \(1,\)"),
        ({"components": [0, 0, 1]}, {}, "item 1 is in 0 and item 2 in 1, but there"),
        ({}, {"layout": "spring"}, "layout='spring' is unknown"),
        ({}, {"max_items": 1}, "max_items=1 must be at least 2"),
        ({}, {"items": [7]}, "items has 7, which is none of the 3 items"),
    ],
)
def test_wrong_graphs(arguments, options, message):
    parts = {"pairs": [[0, 1], [1, 2]], "scores": [0.0, 1.0, 2.0]}
    with pytest.raises(ValueError, match=message):
        ComparisonGraphDisplay(**(parts | arguments)).plot(**options)
