"""``python -m benchmarks.ranking_study [--quick] [--part PART ...] [--output DIR]``.

Eight parts, each of which writes a table as soon as it is done; a second run with the
same ``--output`` takes up tables that are there (``--fresh``: none):

- *order*: AUC of the order of the votes, 16 items, 2,000 votes, 5, 20 and 40 % flipped;
- *share*: how many votes are distrusted, by the estimated rate of flips and by the
  true one;
- *scores*: flip rates of votes without flips, by the fit that scores come from;
- *gap*: largest gaps between entries, beside those of votes without flips;
- *graded*: rules for graded votes with wrong signs;
- *workers*: workers who always click one side;
- *coverage*: of 95 % intervals of score differences;
- *fgnet*: Kendall's tau against age, and AUC of the flips, on the FG-NET votes.

Seeds run in ``--jobs`` processes. Writes `ranking_study.md` and `ranking_study.png`
too. Exit status 1 if a target is missed (full runs).
"""

import sys

from ..studies import run_study
from . import report, study


def main(arguments=None):
    """Run, print, write."""
    return run_study(
        "ranking_study",
        study,
        report,
        lambda part, plan, jobs, tables: part(plan, jobs),
        arguments,
        about="Who finds the wrong votes?",
        with_na=("fgnet",),
    )


if __name__ == "__main__":
    sys.exit(main())
