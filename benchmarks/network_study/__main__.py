"""``python -m benchmarks.network_study [--quick] [--part PART ...] [--output DIR]``.

Six parts, each of which writes a table as soon as it is done; a second run with the
same ``--output`` takes up tables that are there (``--fresh``: none):

- *choose_weights*: settings of every method of the comparison, on validation data;
- *weights*: DessiLBI, magnitude pruning, proximal gradients and ADMM with the same
  epochs, on MNIST and Fashion-MNIST, with the settings that were best;
- *choose_neurons*, *neurons*: the same for neurons in the place of single weights;
- *search*: settings of the two LeNets, on validation data;
- *lenets*: LeNet-300-100 and LeNet-5 beside their dense versions.

Test data are used by *weights*, *neurons* and *lenets* only, once for every network.
Seeds run in ``--jobs`` processes of one thread. Writes `network_study.md` and
`network_study.png` too. Exit status 1 if a target is missed (full runs).
"""

import sys

from ..studies import run_study
from . import report, study


def main(arguments=None):
    """Run, print, write."""
    return run_study(
        "network_study",
        study,
        report,
        lambda part, plan, jobs, tables: part(plan, jobs, tables),
        arguments,
        about="Which weights does a network need?",
    )


if __name__ == "__main__":
    sys.exit(main())
