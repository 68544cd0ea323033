"""Simulated designs with a known truth, small published tables, and larger data."""

from .bundled import (
    load_diabetes,
    load_hbk,
    load_prostate,
    load_stackloss,
    load_stars_cyg,
    load_wood,
)
from .recovery import make_compressed_patch, make_noiseless
from .remote import fetch_colon, fetch_leukemia
from .simulated import (
    make_sparse_classification,
    make_sparse_regression,
)

__all__ = [
    "fetch_colon",
    "fetch_leukemia",
    "load_diabetes",
    "load_hbk",
    "load_prostate",
    "load_stackloss",
    "load_stars_cyg",
    "load_wood",
    "make_compressed_patch",
    "make_noiseless",
    "make_sparse_classification",
    "make_sparse_regression",
]
