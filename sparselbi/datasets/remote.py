"""Larger data that are not part of the package: a local folder, a cache, a download.

A file is looked for in the folder named by the environment variable `SPARSELBI_DATA`,
then in `data_home`, and is downloaded there if the registry knows a public address for
exactly these bytes. Its SHA-256 is verified every time, wherever it was found.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import Bunch

from .._utils.optional import import_optional


class _Remote(NamedTuple):
    path: str  # inside a data folder
    sha256: str
    url: str | None  # None: no public address holds exactly this file
    recipe: str  # how to make the file by hand


REGISTRY = {
    "colon": _Remote(
        path="gene_expression/colon_alon.npz",
        sha256="46e34a9639111a5873e69f70f0c3ea459cd95a1708c3a49a2f9c385f09c053d7",
        url=None,
        recipe=(
            "Take data/alon.RData of github.com/ramhiser/datamicroarray at commit "
            "a95f6f68ed3debf48ee54f198435fa12aa655b16, convert it to X (float32, 62 x "
            "2000) and y (uint8, 1 = tumour, 0 = normal), and write "
            "numpy.savez_compressed('colon_alon.npz', X=X, y=y)."
        ),
    ),
    "leukemia": _Remote(
        path="gene_expression/leukemia_golub.npz",
        sha256="c444b2ed93c58c6cb077e816b55858c5acf81010587044977ac89f8fda9f282b",
        url=None,
        recipe=(
            "Take data/golub.RData of github.com/ramhiser/datamicroarray at commit "
            "a95f6f68ed3debf48ee54f198435fa12aa655b16, bring the rows into the order "
            "of the sample numbers, convert it to X (int32, 72 x 7129), y (uint8, 1 = "
            "AML, 0 = ALL), train (bool, samples 1 to 38) and gene (probe names), and "
            "write numpy.savez_compressed('leukemia_golub.npz', X=X, y=y, train=train, "
            "gene=gene)."
        ),
    ),
    "haxby_slice": _Remote(
        path="haxby_slice/haxby_sub1_slice.npz",
        sha256="385a0a541d616bdeccb32f8a176a2f8a8c611173cad4499951a87b232817df7e",
        url=None,
        recipe=(
            "Take mvpa2/data/bold.nii.gz, mask.nii.gz and attributes.txt of "
            "github.com/PyMVPA/PyMVPA at commit "
            "20f0335f98bbb59a0e11bc0b7a469edf8681a9a1, bring the volumes to bold "
            "(int16, 40 x 20 x 1452, 0 outside of the mask), mask (bool, 40 x 20), "
            "label (uint8, position in label_names), run (uint8, from 0) and "
            "label_names (rest, face, house, shoe, cat, scissors, scrambledpix, "
            "bottle, chair), and write numpy.savez_compressed('haxby_sub1_slice.npz', "
            "bold=bold, mask=mask, label=label, run=run, label_names=label_names)."
        ),
    ),
    "test_images": _Remote(
        path="test_images/test_images.npz",
        sha256="9e71c2c72f1a6dc08b87cf49715a996688bd31a948787255085ae9d469c49018",
        url=None,
        recipe=(
            "Take camera.png, brick.png, grass.png, gravel.png, coins.png and cell.png "
            "of src/_skimage2/data of github.com/scikit-image/scikit-image at commit "
            "cd0a3d22b9f359f05618d75d5c7a29b91b4951ca, read them as uint8 arrays, and "
            "write numpy.savez_compressed('test_images.npz', camera=camera, "
            "brick=brick, grass=grass, gravel=gravel, coins=coins, cell=cell)."
        ),
    ),
    "basketball": _Remote(
        path="sports_pairs/basketball.csv.gz",
        sha256="2cc4b9bc18441fb0a43d4c15bd20e8fab37d397dae91f23b3e769efa20bf32e8",
        url=None,
        recipe=(
            "Take examples/basketball/Data_bas.mat of github.com/yuany-pku/split-lbi "
            "at commit ac6b56b5d1c395c1bc33e7822070f017eb1c631c, bring its games to "
            "text with the header 'team_i,team_j,score_diff' and one line per game, "
            "and write gzip.compress(text, mtime=0) to basketball.csv.gz."
        ),
    ),
}


def fetch_colon(*, return_X_y: bool = False, data_home: Any = None) -> Any:
    """Colon tissue gene expression: 62 samples (40 tumour, 22 normal), 2000 genes.

    Raw intensities, neither log-transformed nor standardized, in the order of the
    original matrix: genes by descending minimal intensity.

    The file cannot be downloaded automatically: no public address holds these exact
    bytes. Where it is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        data : float64 ndarray of shape (62, 2000), values stored in float32
        target : int64 ndarray of shape (62,), 1 = tumour, 0 = normal
        target_names : list of str, names of the classes 0 and 1
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    References
    ----------
    .. [1] U. Alon et al. (1999). Broad patterns of gene expression revealed by
       clustering analysis of tumor and normal colon tissues probed by oligonucleotide
       arrays. Proceedings of the National Academy of Sciences 96, 6745-6750.
    """
    with np.load(_locate("colon", data_home), allow_pickle=False) as arrays:
        data = arrays["X"].astype(np.float64)
        target = arrays["y"].astype(np.int64)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=["normal", "tumour"],
        DESCR=inspect.getdoc(fetch_colon) or "",
    )


def fetch_leukemia(*, return_X_y: bool = False, data_home: Any = None) -> Any:
    """Leukemia gene expression: 72 patients (47 ALL, 25 AML), 7129 probes.

    Raw intensities, neither log-transformed, thresholded nor standardized, in the order
    of the sample numbers. The first 38 samples are the original training set.

    The file cannot be downloaded automatically: no public address holds these exact
    bytes. Where it is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        data : float64 ndarray of shape (72, 7129)
        target : int64 ndarray of shape (72,), 1 = AML, 0 = ALL
        target_names : list of str, names of the classes 0 and 1
        feature_names : list of str, probe names
        train : bool ndarray of shape (72,)
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    References
    ----------
    .. [1] T. R. Golub et al. (1999). Molecular classification of cancer: class
       discovery and class prediction by gene expression monitoring. Science 286,
       531-537.
    """
    with np.load(_locate("leukemia", data_home), allow_pickle=False) as arrays:
        data = arrays["X"].astype(np.float64)
        target = arrays["y"].astype(np.int64)
        names, train = arrays["gene"].tolist(), arrays["train"]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=["ALL", "AML"],
        feature_names=names,
        train=train,
        DESCR=inspect.getdoc(fetch_leukemia) or "",
    )


def fetch_haxby_slice(
    *, detrend: bool = False, return_X_y: bool = False, data_home: Any = None
) -> Any:
    """Brain activity while looking at pictures: 1452 volumes, one slice of 530 voxels.

    Functional magnetic resonance imaging of subject 1 of [1]_: the posterior half of
    one axial slice (voxels of 3.1 x 3.75 x 3.75 mm), a volume every 2.5 s, in 12 runs
    of 121 volumes. In each run every category of pictures was shown for 9 volumes in a
    row, with rest before and after.

    The raw signal drifts between runs: remove the mean of each run before use, which
    ``detrend=True`` does. Leave whole runs out in cross-validation, because volumes of
    one run are not independent.

    The file cannot be downloaded automatically: no public address holds these exact
    bytes. Where it is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    detrend : bool
        Subtract from every voxel its mean over each run.
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        data : float64 ndarray of shape (1452, 530), voxels in the order of
            ``image[mask]``, in the units of the scanner
        target : ndarray of str of shape (1452,), what was shown
        target_names : list of str: "rest" (588 volumes), and "face", "house", "shoe",
            "cat", "scissors", "scrambledpix", "bottle" and "chair" (108 each)
        run : int64 ndarray of shape (1452,), 0 to 11
        mask : bool ndarray of shape (40, 20), the voxels inside of the brain
        shape : tuple, (40, 20)
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    Notes
    -----
    Licence of the data: Creative Commons Attribution-ShareAlike 3.0 (the authors of
    [1]_). Source: the example data of PyMVPA.

    References
    ----------
    .. [1] J. V. Haxby, M. I. Gobbini, M. L. Furey, A. Ishai, J. L. Schouten and P.
       Pietrini (2001). Distributed and overlapping representations of faces and objects
       in ventral temporal cortex. Science 293, 2425-2430.
    """
    with np.load(_locate("haxby_slice", data_home), allow_pickle=False) as arrays:
        mask, names = arrays["mask"], arrays["label_names"]
        data = np.ascontiguousarray(arrays["bold"][mask].T, dtype=np.float64)
        target, run = names[arrays["label"]], arrays["run"].astype(np.int64)
    if detrend:
        for rows in (run == r for r in np.unique(run)):
            data[rows] -= data[rows].mean(axis=0)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=names.tolist(),
        run=run,
        mask=mask,
        shape=mask.shape,
        DESCR=inspect.getdoc(fetch_haxby_slice) or "",
    )


def fetch_test_images(*, data_home: Any = None) -> Bunch:
    """Six grey images for denoising and for recovery from few measurements.

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
        images : dict of float64 ndarrays with values in [0, 1]: "camera", "brick",
            "grass" and "gravel" of shape (512, 512), "coins" (303, 384) and "cell"
            (660, 550). Stored with 8 bits: values are multiples of 1 / 255.
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    Notes
    -----
    Source: the example data of scikit-image. Licences: camera (L. Varshney), brick,
    grass, gravel and cell (Mueller et al. 2018) CC0; coins (Brooklyn Museum) has no
    known copyright restrictions. This camera is not the older "cameraman".
    """
    with np.load(_locate("test_images", data_home), allow_pickle=False) as arrays:
        images = {name: arrays[name] / 255 for name in arrays}
    return Bunch(images=images, DESCR=inspect.getdoc(fetch_test_images) or "")


def fetch_basketball(*, return_X_y: bool = False, data_home: Any = None) -> Any:
    """Basketball games: 134 score differences between 12 national teams.

    A row of `data` holds 1 for the first team and -1 for the second, so that
    coefficients are strengths of the teams in points. They are determined up to a
    constant.

    The file cannot be downloaded automatically: no public address holds these exact
    bytes. Where it is missing, the error says how to make it and where to put it.

    Parameters
    ----------
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        data : float64 ndarray of shape (134, 12), entries -1, 0 and 1
        target : float64 ndarray of shape (134,), points of the first team minus points
            of the second
        feature_names : list of str, names of the teams in alphabetical order
        pairs : ndarray of str of shape (134, 2), names of the first and second team
        DESCR : str

    Raises
    ------
    FileNotFoundError
        If the file is in neither folder.
    ValueError
        If the file does not have the expected checksum.

    Notes
    -----
    Source: the example data of the code of [1]_, a repository under the GNU General
    Public License 2.

    References
    ----------
    .. [1] C. Huang, X. Sun, J. Xiong, Y. Yao (2016). Split LBI: an iterative
       regularization path with structural sparsity. Advances in Neural Information
       Processing Systems 29.
    """
    file = _locate("basketball", data_home)
    table = np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.str_)
    pairs, target = table[:, :2], table[:, 2].astype(np.float64)
    names, codes = np.unique(pairs, return_inverse=True)
    codes = codes.reshape(pairs.shape)
    data = np.zeros((len(pairs), len(names)))
    np.put_along_axis(data, codes, [[1.0, -1.0]], axis=1)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        feature_names=names.tolist(),
        pairs=pairs,
        DESCR=inspect.getdoc(fetch_basketball) or "",
    )


def data_folders(data_home: Any) -> list[Path]:
    """Where to look for a file; what has to be downloaded goes to the last one."""
    folders = [Path(data_home or Path.home() / ".cache" / "sparselbi").expanduser()]
    if os.environ.get("SPARSELBI_DATA"):
        folders.insert(0, Path(os.environ["SPARSELBI_DATA"]).expanduser())
    return folders


def _locate(name: str, data_home: Any) -> Path:
    """Path of a verified copy of a registered file."""
    remote = REGISTRY[name]
    folders = data_folders(data_home)
    for folder in folders:
        file = folder / remote.path
        if file.is_file():
            _verify(file, remote.sha256)
            return file
    if remote.url is None:
        looked = " and ".join(str(folder / remote.path) for folder in folders)
        raise FileNotFoundError(
            f"The {name!r} data are not here: looked for {looked}. They cannot be "
            f"downloaded automatically. {remote.recipe} Put the file at one of these "
            "places, or name the folder that holds "
            f"{remote.path} in the environment variable SPARSELBI_DATA. Its SHA-256 "
            f"must be {remote.sha256}."
        )
    pooch = import_optional("pooch", "data")
    file = folders[-1] / remote.path
    pooch.retrieve(
        remote.url,
        known_hash=f"sha256:{remote.sha256}",
        fname=file.name,
        path=file.parent,
    )
    return file


def _verify(file: Path, sha256: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(
            f"{file} has the SHA-256 {found}, expected {sha256}: it is damaged or "
            "another version. Delete it and get it again."
        )
