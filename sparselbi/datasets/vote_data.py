"""Votes of crowds on pairs of items, and results of games."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import Bunch

from .remote import REGISTRY, _locate, _Remote

if TYPE_CHECKING:
    import pandas as pd

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
