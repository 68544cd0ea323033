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


def _locate(name: str, data_home: Any) -> Path:
    """Path of a verified copy of a registered file."""
    remote = REGISTRY[name]
    home = Path(data_home or Path.home() / ".cache" / "sparselbi").expanduser()
    folders = [home]
    if os.environ.get("SPARSELBI_DATA"):
        folders.insert(0, Path(os.environ["SPARSELBI_DATA"]).expanduser())
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
    file = home / remote.path
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
