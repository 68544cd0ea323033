"""Simulated designs with a known truth, small published tables, and larger data."""

from .bundled import (
    load_diabetes,
    load_hbk,
    load_prostate,
    load_stackloss,
    load_stars_cyg,
    load_wood,
)
from .images import fetch_fashion_mnist, fetch_mnist
from .outliers import breakdown_study, detection_rates, make_outliers
from .recovery import make_compressed_patch, make_noiseless
from .remote import (
    fetch_basketball,
    fetch_colon,
    fetch_haxby_slice,
    fetch_leukemia,
    fetch_test_images,
)
from .simulated import (
    make_sparse_classification,
    make_sparse_regression,
)
from .structured import (
    make_clustered_graph,
    make_piecewise_constant_image,
    make_piecewise_constant_signal,
    make_piecewise_linear_signal,
    make_split_study,
)
from .vote_data import (
    fetch_fgnet_votes,
    fetch_football,
    fetch_pc_iqa,
    fetch_pc_vqa,
    fetch_world_college,
)
from .votes import make_votes

__all__ = [
    "breakdown_study",
    "detection_rates",
    "fetch_basketball",
    "fetch_colon",
    "fetch_fashion_mnist",
    "fetch_fgnet_votes",
    "fetch_football",
    "fetch_haxby_slice",
    "fetch_leukemia",
    "fetch_mnist",
    "fetch_pc_iqa",
    "fetch_pc_vqa",
    "fetch_test_images",
    "fetch_world_college",
    "load_diabetes",
    "load_hbk",
    "load_prostate",
    "load_stackloss",
    "load_stars_cyg",
    "load_wood",
    "make_clustered_graph",
    "make_compressed_patch",
    "make_noiseless",
    "make_outliers",
    "make_piecewise_constant_image",
    "make_piecewise_constant_signal",
    "make_piecewise_linear_signal",
    "make_sparse_classification",
    "make_sparse_regression",
    "make_split_study",
    "make_votes",
]
