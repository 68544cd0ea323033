"""Labels and codes of votes: what is read, and what is refused."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparselbi.votes import KINDS, VoteTable, read_votes
from sparselbi.win_proportions import win_proportions

NAMES = [("b", "a"), ("a", "c"), ("c", "b"), ("b", "a")]
CYCLE = [(0, 1), (1, 2), (2, 0)]


def cast(n=60, n_items=7, seed=0):
    """Pairs of codes, votes with ties, workers and weights."""
    rng = np.random.default_rng(seed)
    first = rng.integers(n_items, size=n)
    pairs = np.column_stack([first, (first + rng.integers(1, n_items, n)) % n_items])
    return pairs, rng.integers(-1, 2, n), rng.integers(5, size=n), rng.integers(4, 9, n)


def slowly(labels):
    """Twin of the encoding: sorted labels, and codes by a dictionary."""
    labels = [tuple(pair) for pair in labels]
    items = sorted({label for pair in labels for label in pair})
    place = {label: code for code, label in enumerate(items)}
    return items, [[place[a], place[b]] for a, b in labels]


def same(a, b, rows=True):
    np.testing.assert_array_equal(a.pairs, b.pairs)
    np.testing.assert_array_equal(a.y, b.y)
    np.testing.assert_array_equal(a.items, b.items)
    for name in ("weight", "workers", "worker_codes"):
        one, other = getattr(a, name), getattr(b, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    assert a.kind == b.kind
    assert not rows or a.row_names == b.row_names


# ------------------------------------------------------------------------------ labels


LABELS = {
    "integers": lambda k: 10 * k - 30,
    "large": lambda k: 2**62 + k,
    "beyond": lambda k: 2**70 + k,
    "numbers": lambda k: k / 4,
    "strings": lambda k: f"item {(k * k) % 13} {k}",
    "dates": lambda k: datetime.date(2020, 1, 1 + k),
    "bytes": lambda k: bytes([97 + (k * 5) % 7]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_codes_are_those_of_a_dictionary(kind):
    codes, y, _, _ = cast()
    labels = [(LABELS[kind](a), LABELS[kind](b)) for a, b in codes.tolist()]
    items, expected = slowly(labels)
    votes = read_votes(labels, y)
    assert votes.items.tolist() == items
    assert votes.pairs.tolist() == expected
    assert votes.pairs.dtype == np.intp
    assert votes.items[votes.pairs].tolist() == [list(pair) for pair in labels]
    assert votes.encode(labels).tolist() == expected
    assert votes.encode(labels[:1]).shape == (1, 2)
    assert votes.item_codes(items[::-1]).tolist() == list(range(len(items)))[::-1]


def test_integers_stay_integers_and_strings_are_no_objects():
    assert read_votes(CYCLE).items.dtype == np.int64
    assert read_votes(np.array(CYCLE, dtype=np.uint8)).items.dtype == np.uint8
    assert read_votes(NAMES).items.dtype.kind == "U"
    assert read_votes(np.array(NAMES, dtype=object)).items.dtype.kind == "U"
    objects = read_votes(np.array(CYCLE, dtype=object))
    assert objects.items.dtype == np.int64
    assert read_votes([(1, 2), (2, 2.5)]).items.tolist() == [1, 2, 2.5]


def wrap_pandas(pairs, y, worker, weight, **options):
    columns = {"left": pairs[:, 0], "y": y, "who": worker, "right": pairs[:, 1]}
    return pd.DataFrame(columns | {"n": weight}, **options)


def as_polars(frame):
    return pl.DataFrame(frame.to_dict(orient="list"))


@pytest.mark.parametrize("text", [False, True])
def test_containers_say_the_same(text):
    pairs, y, worker, weight = cast()
    if text:
        pairs, worker = np.char.add("i", pairs.astype(str)), worker.astype(str)
    plain = read_votes(pairs, y, worker, weight)
    args = y.tolist(), worker.tolist(), weight.tolist()
    same(read_votes(pairs.astype(object), y, worker.astype(object), weight), plain)
    same(read_votes([tuple(pair) for pair in pairs.tolist()], *args), plain)
    named = {"y": "y", "worker": "who", "sample_weight": "n"}
    whole = wrap_pandas(pairs, y, worker, weight)
    for frame in (whole, as_polars(whole)):
        same(read_votes(frame, **named), plain)
        two = frame[["left", "right"]]
        same(read_votes(two, frame["y"], frame["who"], frame["n"]), plain)
        np.testing.assert_array_equal(plain.encode(two), plain.pairs)
    categories = whole.astype(dict.fromkeys(["left", "right", "who"], "category"))
    same(read_votes(categories, **named), plain)
    if not text:
        same(read_votes(whole.convert_dtypes(), **named), plain)
    else:
        texts = pl.col("left", "right").cast(pl.Categorical)
        same(read_votes(as_polars(whole).with_columns(texts), **named), plain)


def test_tuples_in_a_frame_are_labels():
    frame = pd.DataFrame({"a": [(1, "x"), (2, "y")], "b": [(2, "y"), (1, "y")]})
    votes = read_votes(frame)
    assert votes.items.tolist() == [(1, "x"), (1, "y"), (2, "y")]
    assert votes.pairs.tolist() == [[0, 2], [2, 1]]
    assert votes.encode(frame).tolist() == votes.pairs.tolist()


def test_columns_of_different_types_do_not_become_strings():
    with pytest.raises(ValueError, match=r"types .*int \(3\).* no common order"):
        read_votes(pd.DataFrame({"a": ["x", "y"], "b": [3, 4]}))
    mixed = pd.DataFrame({"a": [2**53 + 1, 3], "b": np.array([1, 2], dtype=np.uint64)})
    assert read_votes(mixed).items.tolist() == [1, 2, 3, 2**53 + 1]


def test_alignment_is_by_position():
    pairs, y, worker, weight = cast()
    index = np.random.default_rng(0).permutation(len(y)) + 5
    frame = wrap_pandas(pairs, y, worker, weight, index=index)
    votes = read_votes(
        frame[["left", "right"]],
        pd.Series(y),
        pd.Series(worker, index=index[::-1]),
        pd.Series(weight, index=[f"r{k}" for k in range(len(y))]),
    )
    same(votes, read_votes(pairs, y, worker, weight), rows=False)
    assert votes.row_names == tuple(map(str, index))


def test_an_index_that_counts_is_no_name():
    frame = pd.DataFrame(NAMES)
    assert read_votes(frame).row_names is None
    assert read_votes(frame.set_axis([0, 1, 2, 3])).row_names is None
    assert read_votes(frame.set_axis(["0", "1", "2", "3"])).row_names == tuple("0123")
    some = read_votes(frame[frame[0] != "c"])
    assert some.row_names == ("0", "1", "3")
    assert read_votes(pl.DataFrame(NAMES, orient="row")).row_names is None
    pairs = [("x", k) for k in range(4)]
    names = read_votes(frame.set_axis(pd.MultiIndex.from_tuples(pairs))).row_names
    assert names[2] == "('x', 2)"


def test_own_items():
    votes = read_votes(NAMES, items=["d", "c", "b", "a"])
    assert votes.items.tolist() == list("abcd")
    assert votes.item_votes.tolist() == [3, 3, 2, 0]
    assert votes.pairs.tolist() == read_votes(NAMES).pairs.tolist()
    # Labels without votes may occur later; without a weight, too.
    votes = read_votes(CYCLE, sample_weight=[1, 1, 1], items=range(-2, 5))
    assert votes.pairs.tolist() == [[2, 3], [3, 4], [4, 2]]
    votes = read_votes([*CYCLE, (0, 3)], sample_weight=[1, 1, 1, 0], items=range(4))
    assert votes.item_votes.tolist() == [2, 2, 2, 0]
    assert read_votes(CYCLE, items=np.arange(3.0)).items.dtype == np.float64


def test_input_is_copied():
    pairs, y, worker, weight = (np.array(a) for a in cast())
    y, weight = y.astype(float), weight.astype(float)
    votes = read_votes(pairs, y, worker, weight)
    for mine, theirs in (
        (votes.pairs, pairs),
        (votes.y, y),
        (votes.weight, weight),
        (votes.worker_codes, worker),
    ):
        assert not np.shares_memory(mine, theirs)
        assert mine.flags.c_contiguous
    with pytest.raises(AttributeError):
        votes.kind = "graded"


# ----------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (None, "binary"),
        ([1, 1, 1], "binary"),
        ([-1, 1.0, -1], "binary"),
        ([1, 0, -1], "ties"),
        ([-1, 0, -1], "ties"),
        ([0, 0, 0], "ties"),
        ([2, -2, 2], "graded"),
        ([1, 0, 3], "graded"),
        ([1, 0.5, -1], "graded"),
        ([2, 2, 2], "graded"),
    ],
)
def test_kinds(y, kind):
    votes = read_votes(CYCLE, y)
    assert votes.kind == kind
    assert votes.kind in KINDS
    assert votes.is_binary == (kind != "graded")
    assert votes.y.tolist() == ([1, 1, 1] if y is None else y)
    assert votes.y.dtype == np.float64


def test_winners_first():
    """Without y, pairs are (winner, loser)."""
    pairs, _, _, _ = cast()
    same(read_votes(pairs), read_votes(pairs, np.ones(len(pairs))))
    same(read_votes(pairs, np.ones(len(pairs), dtype=int)), read_votes(pairs))


def test_what_codings_are_refused_and_how_they_are_said():
    y = np.array([1, 0, 1])
    read_votes(CYCLE, 2 * y - 1)
    turned = read_votes(np.array(CYCLE)[:, ::-1], -y)
    assert turned.kind == "ties"
    # Which are the same votes: the winner of the first pair is item 0.
    assert turned.items[turned.pairs[0, 1]] == 0
    assert turned.y[0] == -1
    sides = np.array([1, 2, 1])
    np.testing.assert_array_equal(read_votes(CYCLE, 3 - 2 * sides).y, 2 * y - 1)
    for bad in (y, y.astype(float), sides, [True, False, True]):
        with pytest.raises(ValueError, match="y "):
            read_votes(CYCLE, bad)


def test_sizes_and_sums():
    pairs, y, worker, weight = cast()
    votes = read_votes(pairs, y, worker, weight)
    assert (votes.n_votes, votes.n_items) == (60, 7)
    expected = np.zeros(7)
    np.add.at(expected, pairs, weight[:, None])
    np.testing.assert_array_equal(votes.item_votes, expected)
    np.testing.assert_array_equal(votes.workers, np.unique(worker))
    np.testing.assert_array_equal(votes.workers[votes.worker_codes], worker)
    np.testing.assert_array_equal(votes.weight, weight)
    assert votes.weight.dtype == np.float64


def test_proportions_are_those_of_the_codes():
    pairs, y, _, weight = cast()
    found = read_votes(2 * pairs + 5, y, sample_weight=weight).win_proportions()
    expected = win_proportions(pairs, y, weight)
    for name in ("pairs", "wins", "count"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    with pytest.raises(ValueError, match=r"y is graded \(-3.0, 0.5, 1.0\)"):
        read_votes(CYCLE, [0.5, 1, -3]).win_proportions()


def test_frame_and_back():
    pairs, y, worker, weight = cast()
    names = np.char.add("i", pairs.astype(str))
    index = [f"r{k}" for k in range(len(y))]
    frame = wrap_pandas(names, y, worker, weight, index=index)
    votes = read_votes(frame, "y", "who", "n")
    table = votes.frame()
    assert list(table.columns) == ["item_1", "item_2", "y", "worker", "weight"]
    np.testing.assert_array_equal(table[["item_1", "item_2"]].to_numpy(), names)
    same(read_votes(table, "y", "worker", "weight"), votes)
    plain = read_votes(pairs, y).frame()
    assert list(plain.columns) == ["item_1", "item_2", "y", "weight"]
    assert (plain["weight"] == 1).all()
    assert plain["item_1"].tolist() == pairs[:, 0].tolist()


# -------------------------------------------------------------------------- invariance


@given(seed=st.integers(0, 30), data=st.data())
def test_labels_and_order_of_votes_do_not_matter(seed, data):
    pairs, y, worker, weight = cast(seed=seed)
    plain = read_votes(pairs, y, worker, weight)
    numbers = st.integers(-(10**9), 10**9)
    new = np.array(data.draw(st.lists(numbers, min_size=7, max_size=7, unique=True)))
    votes = read_votes(new[pairs], y, new[worker], weight)
    # An order-preserving renaming changes labels only, another one permutes codes.
    np.testing.assert_array_equal(votes.items[votes.pairs], new[pairs])
    np.testing.assert_array_equal(votes.workers[votes.worker_codes], new[worker])
    np.testing.assert_array_equal(votes.items, np.unique(new[pairs]))
    kept = read_votes(np.sort(new)[pairs], y, np.sort(new)[worker], weight)
    np.testing.assert_array_equal(kept.pairs, plain.pairs)
    np.testing.assert_array_equal(kept.worker_codes, plain.worker_codes)
    order = np.random.default_rng(seed).permutation(len(y))
    moved = read_votes(pairs[order], y[order], worker[order], weight[order])
    np.testing.assert_array_equal(moved.items, plain.items)
    np.testing.assert_array_equal(moved.pairs, plain.pairs[order])
    np.testing.assert_array_equal(moved.worker_codes, plain.worker_codes[order])
    np.testing.assert_array_equal(moved.weight, plain.weight[order])


@given(seed=st.integers(0, 30))
def test_swapped_pairs_and_repeated_votes(seed):
    pairs, y, _, weight = cast(seed=seed)
    weight = weight - 4
    weight[:7] += 1  # every item keeps a vote
    pairs[:7] = [(k, (k + 1) % 7) for k in range(7)]
    plain = read_votes(pairs, y, sample_weight=weight)
    swapped = read_votes(pairs[:, ::-1], -y, sample_weight=weight)
    np.testing.assert_array_equal(swapped.pairs[:, ::-1], plain.pairs)
    repeated = read_votes(pairs.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_array_equal(repeated.items, plain.items)
    np.testing.assert_array_equal(repeated.item_votes, plain.item_votes)
    for other in (swapped, repeated):
        assert other.kind == plain.kind == "ties"
        a, b = plain.win_proportions(), other.win_proportions()
        for name in ("pairs", "wins", "count"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_one_row_of_weight_two_is_two_votes():
    same_twice = read_votes([(0, 1), (0, 1)])
    once = read_votes([(0, 1)], sample_weight=[2])
    assert once.item_votes.tolist() == same_twice.item_votes.tolist() == [2, 2]


# ------------------------------------------------------------------------------ errors


FRAME = pd.DataFrame({"l": ["a", "b"], "r": ["b", "c"], "y": [1, -1], "z": [1, 2]})


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([0, 1], r"pairs has shape \(2,\); it needs two columns.*one pair: \[\["),
        ([[0, 1, 2], [1, 2, 0]], r"pairs has shape \(2, 3\).*transpose"),
        (
            [[0, 1, 1]] * 3,
            r"pairs has shape \(3, 3\).*give y, worker and sample_weight",
        ),
        ([[[0, 1]]], r"pairs has shape \(1, 1, 2\)"),
        ([(0, 1), (1,)], "pairs is no array: .*inhomogeneous"),
        ({"a": 1}, r"pairs has shape \(\)"),
        ([], r"pairs is empty \(n_votes=0\)"),
        (np.empty((0, 2), int), r"pairs is empty \(n_votes=0\)"),
        ([(0, 1), (7, 7), (3, 3)], r"itself in row 1 \(2 such rows; items 3, 7\)"),
        ([("a", "b"), ("c", "c")], r"itself in row 1 \(1 such row; items 'c'\)"),
        ([(k, k) for k in range(9)], r"\(9 such rows; items 0, 1, 2, 3, 4, ...\)"),
        ([(0, 1), (1, np.nan)], r"pairs has no label in row 1 \(1 of 2 rows\); drop"),
        ([(None, "a"), ("a", None)], r"pairs has no label in row 0 \(2 of 2 rows\)"),
        ([(pd.NaT, "a"), ("a", "b")], r"pairs has no label in row 0 \(1 of 2 rows\)"),
        (np.ma.array(CYCLE, mask=np.eye(3, 2)), "pairs has masked entries; drop"),
        ([("a", "b"), ("a", 1)], r"pairs has labels of the types int \(1\) and str"),
        ([(0, 1)], r"one vote \(1 rows, total weight 1\).*nothing to check it by"),
        (FRAME, r"pairs has the columns \['l', 'r', 'y', 'z'\].*Select them"),
        (FRAME[["l"]], r"pairs has the columns \['l'\]; it needs two"),
        (FRAME[["l", "l"]], r"\['l', 'l'\]; it needs two of different names"),
        (pl.DataFrame({"a": [1]}), r"pairs has the columns \['a'\]"),
        (pl.DataFrame({"a": [1, None], "b": [2, 3]}), "pairs has no label in row 1"),
        (pl.DataFrame({"a": ["x", None], "b": ["y"] * 2}), "no label in row 1"),
        (pd.DataFrame({"a": [["x"], ["y"]], "b": [0, 1]}), "cannot be used: unhash"),
    ],
)
def test_pairs_that_cannot_be_read(pairs, message):
    with pytest.raises(ValueError, match=message):
        read_votes(pairs)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, -1], r"y has shape \(2,\); it needs one number for each of the 3 votes"),
        ([[1], [-1], [1]], r"y has shape \(3, 1\)"),
        ([1, np.nan, -1], r"y\[1\] is nan \(1 of 3 votes are not finite\); drop"),
        ([1, None, None], r"y\[1\] is nan \(2 of 3 votes are not finite\).*tie is 0"),
        ([1, 1, -np.inf], r"y\[2\] is -inf"),
        (pd.Series([1, None, -1], dtype="Int64"), "y.*(nan|NA)"),
        ([True, False, True], r"y is boolean.*give 2 \* y - 1"),
        (np.array([True, False, True], dtype=object), "y is boolean"),
        ([1, 0, 1], r"y contains only 0 and 1.*0 is a tie.*give 2 \* y - 1.*swap"),
        ([1, 2.0, 1], r"y contains only 1 and 2.*give 3 - 2 \* y.*swap"),
        (["left", "right", "left"], "y must be numbers, got 'left' .*give 1 where"),
        (np.array(["1", "-1", "1"]), "y must be numbers, got '1' .type <U2.; give 1"),
        ([1j, 1, 1], "y must be numbers, got .*1j"),
        ([[1], [1, 2], 1], "y is no array"),
        ([{}, 1, 1], "y must be numbers: "),
        ("y", r"y='y' names a column, but pairs is no data frame \(list\)"),
    ],
)
def test_answers_that_cannot_be_read(y, message):
    with pytest.raises(ValueError, match=message):
        read_votes(CYCLE, y)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"y": "w"}, r"y='w' names no column; columns: \['l', 'r', 'y', 'z'\]"),
        ({"worker": "who", "y": "y"}, "worker='who' names no column"),
        ({"y": "y"}, r"\['l', 'r', 'z'\] beside \['y'\]; two of different names"),
        ({"y": "y", "worker": "l", "sample_weight": "z"}, r"columns \['r'\] beside"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda frame: frame, as_polars])
def test_columns_that_are_not_there(wrap, named, message):
    with pytest.raises(ValueError, match=message):
        read_votes(wrap(FRAME), **named)


def test_items_are_called_what_the_caller_calls_them():
    for items, message in (
        ([0, 1], r"unknown item: 2.*Add what is missing to item_features"),
        ([0, 1, 2, 2], "item_features contains 2 more than once"),
        ([0, 1, 2, None], "item_features has no label in row 3"),
        ([[0, 1, 2]], r"item_features has shape \(1, 3\).*each item"),
    ):
        with pytest.raises(ValueError, match=message):
            read_votes(CYCLE, items=items, items_name="item_features")


def test_columns_of_one_name():
    twice = FRAME.set_axis(["l", "r", "y", "y"], axis=1)
    with pytest.raises(ValueError, match="y='y' is ambiguous"):
        read_votes(twice, "y")
    with pytest.raises(ValueError, match=r"\['l', 'l'\] beside \['y', 'z'\]"):
        read_votes(FRAME.set_axis(["l", "l", "y", "z"], axis=1), "y", "z")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"worker": [1, 2]}, "worker has 2 labels, but there are 3 votes"),
        ({"worker": [[1], [2], [3]]}, r"worker has shape \(3, 1\).*each vote"),
        (
            {"worker": ["a", None, "b"]},
            r"worker has no label in row 1.*unknown workers",
        ),
        ({"worker": ["a", 2, "b"]}, "worker has labels of the types str.* and int"),
        ({"sample_weight": [1, 2]}, r"sample_weight has shape \(2,\)"),
        ({"sample_weight": [1, -1, 2]}, "sample_weight contains -1.0"),
        ({"sample_weight": [1, np.nan, 2]}, "sample_weight contains nan"),
        ({"sample_weight": [0, 0, 0]}, "sample_weight is zero everywhere"),
        ({"sample_weight": ["a"] * 3}, "sample_weight must be numbers, got 'a'"),
        ({"sample_weight": [1, 0, 0]}, r"one vote \(3 rows, total weight 1\)"),
        ({"items": [0, 1, 2, 1]}, "items contains 1 more than once"),
        ({"items": [0, 1]}, r"an unknown item: 2; known: 0, 1 \(2 items\)\. Add"),
        ({"items": list("abc")}, "3 unknown items: 0, 1, 2.*Types: int, known str"),
        ({"items": [0, 1, 2, np.nan]}, r"items has no label in row 3 \(1 of 4 rows\)"),
        ({"items": [[0, 1, 2]]}, r"items has shape \(1, 3\).*each item"),
    ],
)
def test_other_arguments_that_cannot_be_read(given, message):
    with pytest.raises(ValueError, match=message):
        read_votes(CYCLE, **given)


def test_items_without_weight():
    pairs = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 0)]
    message = r"sample_weight is 0 for all votes on 3, 4 \(2 of 5 items\).*as items"
    with pytest.raises(ValueError, match=message):
        read_votes(pairs, sample_weight=[1, 1, 1, 0, 0])
    read_votes(pairs, sample_weight=[0, 1, 1, 1, 0])


def test_unknown_items_are_named():
    votes = read_votes(NAMES)
    message = (
        r"pairs contains an unknown item: 'z'; known: 'a', 'b', 'c' \(3 items\)\. "
        "Items that no vote compares have no score unless features give it"
    )
    with pytest.raises(ValueError, match=message):
        votes.encode([("a", "z"), ("z", "b")])
    with pytest.raises(
        ValueError, match="7 unknown items: 'd', 'e', 'f', 'g', 'h', ..."
    ):
        votes.item_codes(list("abcdefghij"))
    with pytest.raises(ValueError, match="items contains 2 unknown.*int, known str"):
        votes.item_codes([0, 1])
    with pytest.raises(ValueError, match="str, known int"):
        read_votes(CYCLE).encode([("0", "1")])
    with pytest.raises(ValueError, match="unknown item: nan"):
        read_votes(CYCLE).item_codes([0, np.nan])
    with pytest.raises(ValueError, match=r"pairs has shape \(2,\)"):
        votes.encode(("a", "b"))
    with pytest.raises(ValueError, match=r"items has shape \(1, 1\)"):
        votes.item_codes([["a"]])
    with pytest.raises(ValueError, match="cannot be used: unhashable"):
        votes.item_codes(pd.Series([["a"], ["b"]]))


def test_an_item_may_be_compared_with_itself_later():
    """Its margin is 0; there just is no vote on it."""
    assert read_votes(NAMES).encode([("b", "b")]).tolist() == [[1, 1]]
    assert read_votes(NAMES).encode([]).shape == (0, 2)


def test_a_table_can_be_made_without_reading():
    table = VoteTable(np.array([[0, 1]]), np.array([0.5]), np.array(["x", "y"]))
    assert table.item_codes(["y"]).tolist() == [1]
    assert table.kind == "graded"
    assert table.frame()["weight"].tolist() == [1.0]
