"""Placing names so that none is over another."""

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparselbi.plotting._layout import (
    label_points,
    set_log_axis,
    settle,
    spread_out,
    text_box,
)
from tests.plotting.common import assert_apart


@given(st.lists(st.tuples(st.floats(-50, 150), st.floats(2, 8)), min_size=1))
def test_spread_out_keeps_gap_order_and_limits(labels):
    wanted, extents = np.array(labels[:12]).T
    for extent in (8.0, extents):
        places = spread_out(wanted, extent, 0.0, 100.0)
        order = np.argsort(wanted, kind="stable")
        half = np.broadcast_to(extent, wanted.shape)[order] / 2
        assert (np.diff(places[order]) >= half[1:] + half[:-1] - 1e-9).all()
        assert places[order[0]] >= half[0] - 1e-9
        assert places[order[-1]] <= 100.0 - half[-1] + 1e-9


def test_points_at_one_place_and_at_the_edges_are_named_apart():
    _, ax = plt.subplots(layout="constrained")
    ax.set(xlim=(0, 1), ylim=(-1, 1))
    settle(ax)
    points = [(0.5, 0.2)] * 6 + [(0.0, 0.9), (1.0, 1.0), (1.0, -1.0)]
    texts = label_points(ax, [(f"name {i}", p, "k") for i, p in enumerate(points)])
    ax.figure.canvas.draw()
    assert_apart(texts)
    for text in texts:
        box = text_box(text)
        assert ax.bbox.x0 - 1 <= box.x0 < box.x1 <= ax.bbox.x1 + 1
        assert ax.bbox.y0 <= box.y0 < box.y1 <= ax.bbox.y1
    # only what has moved is connected
    assert not texts[0].arrow_patch.get_visible()
    assert texts[2].arrow_patch.get_visible()


def test_ticks_of_logarithmic_axes_are_plain_numbers():
    for high, least in ((5, 4), (200, 5), (1e5, 4)):
        _, ax = plt.subplots()
        ax.set_xlim(1, high)
        set_log_axis(ax)
        ax.figure.canvas.draw()
        labels = [*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)]
        names = [label.get_text() for label in labels if label.get_text()]
        assert len(names) >= least
        assert all("$" not in name for name in names)
