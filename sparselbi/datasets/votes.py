"""Votes on pairs of items: simulated with a known truth, and from crowds."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from .._path_checks import check_choice
from .outliers import _check_number
from .remote import REGISTRY, _locate, _Remote
from .simulated import _check_count

if TYPE_CHECKING:
    import pandas as pd

GENERATORS = ("order", "bradley_terry", "graded")
GRAPHS = ("complete", "random", "grid")

_XU = "github.com/qianqianxu010/"
_WRITE = "and write gzip.compress(text, mtime=0) to {}."
REGISTRY.update(
    fgnet_votes=_Remote(
        path="pairwise_crowd/fgnet_age_simulated_votes.csv.gz",
        sha256="493cec71c221281f22833cf679f2a1005b424360cda6f2f637af53818e48295c",
        url=None,
        recipe=(
            f"Take age/data/train_unvoted_age.txt of {_XU}"
            "TPAMI21-Not-All-Samples-are-Trustworthy at commit "
            "687f7bc06a299d652d24fb67de271dfac6244685, put the line "
            "'image_1,image_2,label,pair_id,votes' before it, "
            + _WRITE.format("fgnet_age_simulated_votes.csv.gz")
        ),
    ),
    world_college=_Remote(
        path="pairwise_crowd/world_college.csv.gz",
        sha256="747516451317b8f1ad92d53fc29ed5302dff90dc575f3c35fd2fd7aecb2a1d24",
        url=None,
        recipe=(
            f"Take code/universitydata.mat of {_XU}ICML2016 at commit "
            "9c40a4ebcd3881120ee3876da9b53daf71f60d3b, bring the matrix univer_qqxu to "
            "text with the header 'user,left,right,label' and one line per row, "
            + _WRITE.format("world_college.csv.gz")
        ),
    ),
    world_college_names=_Remote(
        path="pairwise_crowd/world_college_names.csv",
        sha256="78f6cf9aef5743b73eae4485f25c35ad3574ad1b5cbc24f9f0f699930f460075",
        url=None,
        recipe=(
            "Take examples/university/UniName.mat of github.com/yuany-pku/split-lbi at "
            "commit ac6b56b5d1c395c1bc33e7822070f017eb1c631c and bring its names, in "
            "their order and spelling, to world_college_names.csv with the header "
            "'item,name' and items from 1."
        ),
    ),
    pc_vqa=_Remote(
        path="pairwise_crowd/pc_vqa.csv.gz",
        sha256="f438195d7646c588354be6b709d344544d645c4e8fc1124611e27e7a1dd9a080",
        url=None,
        recipe=(
            f"Take the files of 'PC-VQA dataset' of {_XU}ACM-MM2013 at commit "
            "52b4c421256846eea8c972d0433884ae7fb8c9b2, bring them to text with the "
            "header 'reference,better,worse' and one line per comparison, references "
            "from 1, " + _WRITE.format("pc_vqa.csv.gz")
        ),
    ),
    pc_iqa=_Remote(
        path="pairwise_crowd/pc_iqa.csv.gz",
        sha256="b647b76084ae26e8995f25d2c9cc943573be5a363e01b9234b12db9077323c2e",
        url=None,
        recipe=(
            f"Take data1.mat to data15.mat of 'PC-IQA dataset' of {_XU}ACM-MM2013 at "
            "commit 52b4c421256846eea8c972d0433884ae7fb8c9b2, bring them to text with "
            "the header 'reference,better,worse' and one line per comparison, "
            "references from 1, " + _WRITE.format("pc_iqa.csv.gz")
        ),
    ),
    football=_Remote(
        path="sports_pairs/football.csv.gz",
        sha256="7939e914392a2dcca8af73f580ccbd68024bd5548e8a726a17b31cb8a6b52fd3",
        url=None,
        recipe=(
            "Take data/football.RData of github.com/cran/BradleyTerry2 at commit "
            "a6ce24eeadb1eafe36c336c27567a47e9d8e2e7a, bring it to text with the "
            "header 'season,home,away,result' and one line per game, "
            + _WRITE.format("football.csv.gz")
        ),
    ),
)


# --------------------------------------------------------------------------- simulated


def make_votes(
    n_items: int = 16,
    n_votes: int = 2000,
    *,
    flip_rate: float = 0.2,
    generator: str = "order",
    graph: str = "complete",
    spread: float = 2.0,
    noise: float = 1.0,
    ties: float = 0.0,
    position_bias: float = 0.0,
    n_workers: int | None = None,
    n_one_sided: int = 0,
    n_random: int = 0,
    n_adversarial: int = 0,
    random_state: Any = None,
) -> Bunch:
    """Draw votes on pairs of items with known scores, of which some are flipped.

    A vote of items i and j is decided by ``s_i - s_j + position_bias + e`` with the
    scores s and an error e that depends on `generator`: it is its sign, or its value.
    Then some signs are changed.

    Parameters
    ----------
    n_items, n_votes : int
    flip_rate : float in [0, 1]
        Probability that the sign of a vote is changed.
    generator : {"order", "bradley_terry", "graded"}, default="order"
        Votes are the sign with e = 0 (they follow the true order), the sign with
        logistic e (Bradley and Terry), or the number with normal e. In the first case
        only flips contradict the order; in the second, close calls do too, and no
        method can tell those from flips.
    graph : {"complete", "random", "grid"}, default="complete"
        Which pairs are compared. "complete": every vote draws one of all pairs.
        "random": n_items votes go round a random cycle through all items, the others
        draw one of all pairs, so that the graph is connected and has no bridges.
        "grid": items that are neighbours on a grid of ``ceil(sqrt(n_items))`` columns,
        filled row by row; every pair of neighbours at least once. In all cases either
        item is the first with probability 1/2, and the order of votes is random.
    spread : float
        Standard deviation of the normal scores, before they are centred.
    noise : float
        Standard deviation of e for "graded", in the units of scores.
    ties : float
        Votes are ties (0) where what decides them is not larger than this in absolute
        value (for "bradley_terry": the model of Rao and Kupper). Not for "graded".
    position_bias : float
        What the first position adds, in the units of scores.
    n_workers : int or None
        Voters, of whom each casts ``n_votes / n_workers`` votes, up to one.
    n_one_sided, n_random, n_adversarial : int
        How many of them always click one side (half of them the first), throw a coin,
        or always vote against what they see. `flip_rate` is not for them, and the
        first two cast no ties. Graded votes keep their absolute values.
    random_state : int, RandomState instance or None
        Draws scores, pairs, errors, flips and workers, in this order: votes with
        another `flip_rate` or other workers are the same except for the flips, and the
        flips at a lower rate are among those at a higher one.

    Returns
    -------
    Bunch
        pairs : int ndarray of shape (n_votes, 2), first and second item
        y : ndarray of shape (n_votes,), positive if the first is preferred
        worker : int ndarray of shape (n_votes,), or None
        scores : ndarray of shape (n_items,), the truth, with mean 0
        flipped : bool ndarray of shape (n_votes,), whether the sign is opposite to that
            before flips, for whatever reason
        one_sided, random, adversarial : int ndarrays, labels of these workers, sorted
        position_bias : float
        DESCR : str

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or there are fewer votes than the graph
        needs; the message says what is allowed.

    Notes
    -----
    The graph of "complete" has about ``n_items exp(-2 n_votes / n_items)`` items
    without a vote. If that is small, all others are very likely connected: it is the
    random graph of Erdos and Renyi, with repetitions.

    References
    ----------
    P. V. Rao, L. L. Kupper (1967). Ties in paired-comparison experiments: a
    generalization of the Bradley-Terry model. Journal of the American Statistical
    Association 62, 194-204.

    Examples
    --------
    >>> from sparselbi.datasets import make_votes
    >>> votes = make_votes(flip_rate=0.2, random_state=0)
    >>> first, second = votes.scores[votes.pairs.T]
    >>> bool(((votes.y * (first - second) < 0) == votes.flipped).all())
    True
    """
    check_choice("generator", generator, GENERATORS)
    check_choice("graph", graph, GRAPHS)
    _check_count("n_items", n_items, 2)
    _check_count("n_votes", n_votes, 1)
    for name, value in {"spread": spread, "noise": noise, "ties": ties}.items():
        _check_number(name, value, low=0.0)
    _check_number("position_bias", position_bias)
    _check_number("flip_rate", flip_rate, low=0.0)
    if flip_rate > 1:
        raise ValueError(f"flip_rate must be a probability, at most 1; got {flip_rate}")
    if ties and generator == "graded":
        raise ValueError(
            f"ties={ties} has no meaning for graded votes; leave it out, or use "
            "generator='order' or 'bradley_terry'."
        )
    kinds = {
        "n_one_sided": n_one_sided,
        "n_random": n_random,
        "n_adversarial": n_adversarial,
    }
    _check_workers(n_workers, kinds)

    rng = check_random_state(random_state)
    scores = spread * rng.standard_normal(n_items)
    scores -= scores.mean()
    pairs = _draw_pairs(rng, graph, n_items, n_votes)
    first, second = scores[pairs.T]
    seen = first - second + position_bias
    if generator == "bradley_terry":
        seen += rng.logistic(size=n_votes)
    elif generator == "graded":
        seen += noise * rng.standard_normal(n_votes)
    clean = seen
    if generator != "graded":
        clean = np.where(np.abs(seen) > ties, np.sign(seen), 0.0)
    y = np.where(rng.uniform(size=n_votes) < flip_rate, -clean, clean)

    worker, labels = None, [np.empty(0, dtype=np.intp)] * 3
    if n_workers is not None:
        worker = rng.permutation(np.arange(n_votes) % n_workers)
        ends = np.cumsum(list(kinds.values()))
        chosen = rng.permutation(n_workers)
        one_sided, random, adversarial, _ = np.split(chosen, ends)
        size = np.ones(n_votes) if generator != "graded" else np.abs(clean)
        side = np.zeros(n_workers)
        side[one_sided[0::2]], side[one_sided[1::2]] = 1.0, -1.0
        coin = rng.choice([-1.0, 1.0], n_votes)
        for group, votes in (
            (one_sided, side[worker] * size),
            (random, coin * size),
            (adversarial, -clean),
        ):
            y = np.where(np.isin(worker, group), votes, y)
        labels = [np.sort(group) for group in (one_sided, random, adversarial)]
    return Bunch(
        pairs=pairs,
        y=y + 0.0,  # no tie is -0
        worker=worker,
        scores=scores,
        flipped=y * clean < 0,
        one_sided=labels[0],
        random=labels[1],
        adversarial=labels[2],
        position_bias=float(position_bias),
        DESCR=inspect.getdoc(make_votes) or "",
    )


def _check_workers(n_workers: Any, kinds: dict[str, int]) -> None:
    for name, value in kinds.items():
        _check_count(name, value, 0)
    total = sum(kinds.values())
    if n_workers is None:
        if total:
            raise ValueError(f"{kinds} need workers: give n_workers.")
        return
    _check_count("n_workers", n_workers, 1)
    if total > n_workers:
        raise ValueError(
            f"n_workers={n_workers} is less than the {total} workers of {kinds}; give "
            "at least so many."
        )


def _draw_pairs(rng: Any, graph: str, n_items: int, n_votes: int) -> Any:
    """Compared items, (n_votes, 2)."""
    fixed = np.empty((0, 2), dtype=np.intp)
    if graph == "random":
        cycle = rng.permutation(n_items)
        fixed = np.column_stack([cycle, np.roll(cycle, -1)])
    elif graph == "grid":
        width = math.isqrt(n_items - 1) + 1
        item = np.arange(n_items)
        right = item[(item % width < width - 1) & (item < n_items - 1)]
        below = item[: max(n_items - width, 0)]
        fixed = np.concatenate(
            [
                np.column_stack([right, right + 1]),
                np.column_stack([below, below + width]),
            ]
        )
    if n_votes < len(fixed):
        raise ValueError(
            f"n_votes={n_votes} is too small for graph={graph!r} with {n_items} items; "
            f"it needs at least {len(fixed)}."
        )
    n_rest = n_votes - len(fixed)
    if graph == "grid":
        rest = fixed[rng.randint(len(fixed), size=n_rest)]
    else:
        first = rng.randint(n_items, size=n_rest)
        second = (first + rng.randint(1, n_items, size=n_rest)) % n_items
        rest = np.column_stack([first, second])
    pairs = np.concatenate([fixed, rest])
    if len(fixed):
        pairs = pairs[rng.permutation(n_votes)]
    swap = rng.uniform(size=n_votes) < 0.5
    pairs[swap] = pairs[swap, ::-1]
    return pairs


# ------------------------------------------------------------------------------- real


def fetch_fgnet_votes(*, data_home: Any = None) -> Bunch:
    """FG-NET ages: 15,000 simulated votes on which of two photos is older, 20 % wrong.

    524 photos of 41 people from birth to 63 years. The photos and their ages are real;
    the votes, which come with the code of [1]_, are simulated: 5 on each of 3,000 pairs
    of photos of different ages, exactly 3,000 of them wrong, whatever the difference of
    the ages. So it is known which ones are wrong. Equal votes on a pair are one row:
    5,013 rows, among them 987 pairs with 5 equal votes. The graph of comparisons is
    connected. The first photo is the older one for 62 % of the votes. There are no ties
    and no workers, and the photos themselves are not part of the data.

    The file cannot be downloaded automatically: no public address holds these exact
    bytes. Where it is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        pairs : ndarray of str of shape (5013, 2), names of the first and second photo
        y : float64 ndarray of shape (5013,): 1 says that the first photo is the older
            one, -1 the second, so that high scores are high ages (the sign is opposite
            to that of the source)
        weight : float64 ndarray of shape (5013,), number of equal votes, 1 to 5
        flipped : bool ndarray of shape (5013,), whether the votes are wrong
        names : ndarray of str of shape (524,), names of the photos, sorted
        true_age : int64 ndarray of shape (524,), years
        subject : int64 ndarray of shape (524,), number of the person
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    Notes
    -----
    Licence of the votes: MIT (the code of [1]_). Age and person are parts of the file
    names of FG-NET.

    References
    ----------
    .. [1] Q. Xu, Z. Yang, Y. Jiang, X. Cao, Q. Huang, Y. Yao (2021). Not all samples
       are trustworthy: towards deep robust SVP prediction. IEEE Transactions on Pattern
       Analysis and Machine Intelligence.
    """
    table = _read("fgnet_votes", data_home)
    pairs = table[["image_1", "image_2"]].to_numpy(dtype=np.str_)
    y = -table["label"].to_numpy(dtype=np.float64)
    items, codes = np.unique(pairs, return_inverse=True)
    age = np.array([int(name[4:6]) for name in items])
    older, younger = age[codes.reshape(pairs.shape).T]
    return Bunch(
        pairs=pairs,
        y=y,
        weight=table["votes"].to_numpy(dtype=np.float64),
        flipped=y * (older - younger) < 0,
        names=items,
        true_age=age,
        subject=np.array([int(name[:3]) for name in items]),
        DESCR=inspect.getdoc(fetch_fgnet_votes) or "",
    )


def fetch_world_college(*, data_home: Any = None) -> Bunch:
    """Which of two universities is better: 8,823 votes of 340 workers, 261 items.

    Votes of a crowd, with no truth to compare with. The graph of comparisons is
    connected (7,257 different pairs). Workers cast 1 to 577 votes, half of them at most
    13. The left university is preferred in 52 % of the votes, but 14 workers with 20
    votes or more always clicked the same side. There are no ties. Nine rows repeat
    another one: the same worker, sides and answer.

    The files cannot be downloaded automatically: no public address holds these exact
    bytes. Where one is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        pairs : ndarray of str of shape (8823, 2), names of the left and right
            university
        y : float64 ndarray of shape (8823,), 1 = left preferred, -1 = right preferred
        worker : int64 ndarray of shape (8823,), 1 to 340
        names : ndarray of str of shape (261,), names in the numbering of the source
        country : ndarray of str of shape (261,), of these
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If a file is in neither folder.
    ValueError
        If a file does not have the expected checksum.

    Notes
    -----
    Names are those of the source, without the country and with damaged accents
    repaired.

    Licences. Votes: the code of [1]_, whose repository contains both the MIT licence
    and an older notice that restricts use to education and research; the cautious
    reading is the second. Names: example data of a repository under the GNU General
    Public License 2.

    References
    ----------
    .. [1] Q. Xu, J. Xiong, X. Cao, Y. Yao (2016). False discovery rate control and
       statistical quality assessment of annotators in crowdsourced ranking.
       International Conference on Machine Learning, 1282-1291.
    """
    table = _read("world_college", data_home)
    lines = _read("world_college_names", data_home)["name"]
    split = [_repaired(line).rsplit(": ", 1) for line in lines]
    items = np.array([parts[0] for parts in split])
    return Bunch(
        pairs=items[table[["left", "right"]].to_numpy() - 1],
        y=table["label"].to_numpy(dtype=np.float64),
        worker=table["user"].to_numpy(dtype=np.int64),
        names=items,
        country=np.array([_country(*parts) for parts in split]),
        DESCR=inspect.getdoc(fetch_world_college) or "",
    )


def fetch_pc_vqa(*, data_home: Any = None) -> Bunch:
    """Which of two videos looks better: 38,400 votes, 16 versions of each of 10 videos.

    Versions of one video (reference) are compared with each other only, each of the 120
    pairs 32 times: the graph of comparisons has 10 components, and scores of different
    references cannot be compared. 209 observers voted, but the data do not say who, nor
    on which side a video was shown: all votes are for the first one. There are no ties.
    Version 1 is presumably the undistorted original.

    The file cannot be downloaded automatically: no public address holds these exact
    bytes. Where it is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        pairs : ndarray of str of shape (38400, 2), the better and the worse video, as
            "reference:version", each with two digits
        y : float64 ndarray of shape (38400,), ones
        reference : int64 ndarray of shape (38400,), 1 to 10
        names : ndarray of str of shape (160,), sorted
        item_reference : int64 ndarray of shape (160,), 1 to 10
        item_version : int64 ndarray of shape (160,), 1 to 16
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    Notes
    -----
    Licence: the repository of [1]_ contains both the MIT licence and an older notice
    that restricts use to education and research; the cautious reading is the second.
    The videos are from the LIVE video quality database and are not part of the data.

    References
    ----------
    .. [1] Q. Xu, J. Xiong, Q. Huang, Y. Yao (2013). Robust evaluation for quality of
       experience in crowdsourcing. ACM International Conference on Multimedia, 43-52.
    """
    return _quality("pc_vqa", data_home, inspect.getdoc(fetch_pc_vqa))


def fetch_pc_iqa(*, data_home: Any = None) -> Bunch:
    """Which of two images looks better: 23,097 votes, 16 versions of each of 15 images.

    Versions of one image (reference) are compared with each other only, each of the 120
    pairs 4 to 23 times: the graph of comparisons has 15 components, and scores of
    different references cannot be compared. The data say neither who voted nor on which
    side an image was shown: all votes are for the first one. There are no ties. Version
    1 is presumably the undistorted original.

    The file cannot be downloaded automatically: no public address holds these exact
    bytes. Where it is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        pairs : ndarray of str of shape (23097, 2), the better and the worse image, as
            "reference:version", each with two digits
        y : float64 ndarray of shape (23097,), ones
        reference : int64 ndarray of shape (23097,), 1 to 15
        names : ndarray of str of shape (240,), sorted
        item_reference : int64 ndarray of shape (240,), 1 to 15
        item_version : int64 ndarray of shape (240,), 1 to 16
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    Notes
    -----
    Licence: the repository of [1]_ contains both the MIT licence and an older notice
    that restricts use to education and research; the cautious reading is the second.
    The images are from the LIVE and IVC databases and are not part of the data.

    References
    ----------
    .. [1] Q. Xu, J. Xiong, Q. Huang, Y. Yao (2013). Robust evaluation for quality of
       experience in crowdsourcing. ACM International Conference on Multimedia, 43-52.
    """
    return _quality("pc_iqa", data_home, inspect.getdoc(fetch_pc_iqa))


def fetch_football(*, data_home: Any = None) -> Bunch:
    """Football: 1,900 games of 29 teams, English Premier League 2008/9 to 2012/13.

    In each of the 5 seasons 20 teams meet twice, once at the place of either. The home
    team is always the first: it wins 882 games and loses 513, and 505 are draws. The
    graph of comparisons is connected.

    The file cannot be downloaded automatically: no public address holds these exact
    bytes. Where it is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        pairs : ndarray of str of shape (1900, 2), home and visiting team, by three
            letters
        y : float64 ndarray of shape (1900,), 1 = home wins, 0 = draw, -1 = home loses
        season : ndarray of str of shape (1900,)
        names : ndarray of str of shape (29,), sorted
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    Notes
    -----
    Source: the example data of the R package BradleyTerry2 [1]_, which is under the GNU
    General Public License, version 2 or later.

    References
    ----------
    .. [1] H. Turner, D. Firth (2012). Bradley-Terry models in R: the BradleyTerry2
       package. Journal of Statistical Software 48 (9).
    """
    table = _read("football", data_home)
    pairs = table[["home", "away"]].to_numpy(dtype=np.str_)
    return Bunch(
        pairs=pairs,
        y=table["result"].to_numpy(dtype=np.float64),
        season=table["season"].to_numpy(dtype=np.str_),
        names=np.unique(pairs),
        DESCR=inspect.getdoc(fetch_football) or "",
    )


def _read(name: str, data_home: Any) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(_locate(name, data_home))


def _quality(name: str, data_home: Any, description: str | None) -> Bunch:
    """Votes on versions of several references."""
    table = _read(name, data_home)
    reference = table["reference"].to_numpy(dtype=np.int64)
    versions = table[["better", "worse"]].to_numpy(dtype=np.int64)
    both = 100 * reference[:, None] + versions
    numbers, codes = np.unique(both, return_inverse=True)
    items = np.array([f"{number // 100:02}:{number % 100:02}" for number in numbers])
    return Bunch(
        pairs=items[codes.reshape(both.shape)],
        y=np.ones(len(both)),
        reference=reference,
        names=items,
        item_reference=numbers // 100,
        item_version=numbers % 100,
        DESCR=description or "",
    )


def _repaired(name: str) -> str:
    """Undo a wrong decoding: text in UTF-8 was read as GBK, and a dash was lost."""
    return name.replace("\u9225?", "- ").encode("gbk").decode("utf-8")


def _country(name: str, country: str = "") -> str:
    """The country, where it is missing from that in the name."""
    if not country:
        return "Hong Kong" if "Hong Kong" in name else "China"
    return "Singapore" if country == "Singpapore" else country
