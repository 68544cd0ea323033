"""``python -m benchmarks.outlier_study [--quick] [--output DIR] [--part PART ...]``.

Five parts, each of which writes a table as soon as it is done; a second run with the
same ``--output`` takes up tables that are there (``--fresh``: none):

- *real_data*: rows of hbk, wood, stars_cyg and stackloss that each method flags;
- *simulations*: masking, swamping, joint detection, seconds, in settings of She and
  Owen;
- *breakdown*: 40 % clustered leverage along shift / leverage, and other shares;
- *minima*: whether the S-estimate has a smaller scale than the fit without outliers;
- *coverage*: of intervals after rejection.

Writes `outlier_study.md` and `outlier_study.png` too. Exit status 1 if a target is
missed (full runs).
"""

import sys

from ..studies import run_study
from . import report, study


def main(arguments=None):
    """Run, print, write."""
    return run_study(
        "outlier_study",
        study,
        report,
        lambda part, plan, jobs, tables: part(plan),
        arguments,
        about="Who finds the outliers?",
        with_na=("real_data",),
    )


if __name__ == "__main__":
    sys.exit(main())
