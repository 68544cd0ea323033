"""Solvers: how a path is traced. One algorithm per file."""

from .fast_s import FastS, fast_s
from .flip_mixture import FlipMixtureFit, flip_mixture
from .huber import RowCertificate, certify_rows, huber_path
from .iss import iss_path
from .lbi import lbi_path
from .logistic_shift import SeparatedVotes, bradley_terry
from .refit import refit_coefs, refit_path
from .retrace import retrace
from .shift_paths import hard_path, retrace_shift, shift_iss_path, shift_lbi_path
from .shift_verify import verify_shift_path
from .split_lbi import split_iss_path, split_lbi_path
from .split_models import Decomposition, SupportFits, decompose
from .split_verify import verify_split_path
from .verify import verify_path
from .vote_paths import verify_vote_path, vote_path
from .warmup import warmup

__all__ = [
    "Decomposition",
    "FastS",
    "FlipMixtureFit",
    "RowCertificate",
    "SeparatedVotes",
    "SupportFits",
    "bradley_terry",
    "certify_rows",
    "decompose",
    "fast_s",
    "flip_mixture",
    "hard_path",
    "huber_path",
    "iss_path",
    "lbi_path",
    "refit_coefs",
    "refit_path",
    "retrace",
    "retrace_shift",
    "shift_iss_path",
    "shift_lbi_path",
    "split_iss_path",
    "split_lbi_path",
    "verify_path",
    "verify_shift_path",
    "verify_split_path",
    "verify_vote_path",
    "vote_path",
    "warmup",
]
