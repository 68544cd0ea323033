"""Speed and memory benchmarks, run as modules (`python -m benchmarks.regression_path`).

Importing this package pins every BLAS and OpenMP pool to one thread, because pools
read these variables when NumPy is first imported.
"""

import os

for _name in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
):
    os.environ[_name] = "1"
