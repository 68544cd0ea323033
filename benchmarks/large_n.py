"""Time and memory of a path from more rows than fit into memory.

Run as ``python -m benchmarks.large_n [--quick] [--rows N] [--features P]``. Writes a
float32 file of X and one of y into a temporary folder (8 GB for the default 10 million
x 200; ``--folder`` says where, the files are deleted at the end), and measures

- reading X once, in blocks into one buffer;
- the plain product of all blocks with themselves, in memory, without reading;
- `RowMoments.from_arrays` on memory maps of the files, and `LBI` on the result.

Each measurement is a process of its own, in turns; "cold" ones after the system has
been asked to drop the files from its cache. Results go to ``--output`` as Markdown and
CSV.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BLOCK_BYTES = 1 << 26
TARGET_RATIO, TARGET_GB = 1.5, 1.2
CACHES = ("warm", "cold")
TASKS = ("read", "product", "product32", "moments")


def write(folder, n, p, seed=0):
    """Files X (float32) and y (float64) of a sparse regression; its support."""
    rng = np.random.default_rng(seed)
    coef = np.zeros(p)
    coef[: min(10, p)] = 0.05
    step = BLOCK_BYTES // (4 * p)
    with open(folder / "X", "wb") as X_file, open(folder / "y", "wb") as y_file:
        for start in range(0, n, step):
            size = min(step, n - start)
            X = rng.standard_normal((size, p), dtype=np.float32)
            X[:, 1:] += X[:, :-1]
            X += 3
            y = X @ coef + rng.standard_normal(size)
            X.tofile(X_file)
            y.tofile(y_file)
        for file in (X_file, y_file):
            file.flush()
            os.fsync(file.fileno())
    return np.flatnonzero(coef)


def drop_from_cache(folder):
    """Ask the system to forget the files; False where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for name in ("X", "y"):
        with open(folder / name, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


# -- what the processes do ------------------------------------------------------------


def start_clock():
    """A function that returns wall and processor seconds since now."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def read(folder, n, p):
    buffer = bytearray(BLOCK_BYTES)
    clock = start_clock()
    with open(folder / "X", "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return clock()


def product(folder, n, p, dtype=np.float64):
    """As many products ``block.T @ block`` as there are blocks, always of the same."""
    step = BLOCK_BYTES // (4 * p)
    rng = np.random.default_rng(0)
    block = rng.standard_normal((step, p + 1), dtype=np.float32).astype(dtype)
    out = np.empty((p + 1, p + 1), dtype)
    total = np.zeros_like(out)
    np.matmul(block.T, block, out=out)
    clock = start_clock()
    for begin in range(0, n, step):
        part = block[: n - begin]
        total += np.matmul(part.T, part, out=out)
    return clock()


def product32(folder, n, p):
    return product(folder, n, p, np.float32)


def moments(folder, n, p):
    from sparselbi import LBI
    from sparselbi.row_moments import RowMoments

    tiny = np.random.default_rng(0).standard_normal((50, 3))
    LBI().fit(tiny, tiny[:, 0])  # imports and compiles
    before = resident("VmRSS")
    X = np.memmap(folder / "X", np.float32, "r", shape=(n, p))
    y = np.memmap(folder / "y", np.float64, "r")
    clock = start_clock()
    summary = RowMoments.from_arrays(X, y)
    times = clock()
    middle = time.perf_counter()
    small = summary.compressed()
    compressed = time.perf_counter()
    model = LBI().fit(*small)
    end = time.perf_counter()
    return {
        **times,
        "compress_seconds": compressed - middle,
        "fit_seconds": end - compressed,
        "peak_gb": resident("VmHWM"),
        "start_gb": before,
        "support": np.flatnonzero(model.coef_).tolist(),
        "environment": environment(),
    }


def environment():
    """Versions, processor and threads of this process, one line each."""
    from importlib.metadata import version

    from threadpoolctl import threadpool_info

    packages = ("numpy", "scipy", "scikit-learn", "numba")
    pools = sorted(
        f"{pool['internal_api']} {pool['version']}: {pool['num_threads']} thread(s)"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    )
    return [
        f"- Python {platform.python_version()}, {processor()}",
        "- " + ", ".join(f"{name} {version(name)}" for name in packages),
        "- " + ", ".join(pools),
    ]


def processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.processor() or platform.machine()


def resident(name):
    """Resident memory in GB (10^9 bytes), now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e9
    return None


# -- the parent -----------------------------------------------------------------------


def run(task, folder, n, p, threads):
    root = Path(__file__).parents[1]
    # As a script: importing the package of benchmarks would pin BLAS to one thread.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment |= dict.fromkeys(names, str(threads))
    done = subprocess.run(
        [sys.executable, __file__, "--task", task]
        + ["--folder", str(folder), "--rows", str(n), "--features", str(p)],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder, n, p, repeats, threads):
    """One row (threads, cache, round, task, results) for each measurement."""
    rows = []
    run("read", folder, n, p, 1)
    cases = [(k, c, m) for k in range(repeats) for c in CACHES for m in threads]
    for k, cache, m in cases:
        for task in TASKS:
            no_read = task.startswith("product")
            if cache == "cold" and (no_read or not drop_from_cache(folder)):
                continue
            result = run(task, folder, n, p, m)
            result["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
            rows.append((m, cache, k, task, result))
            print(m, cache, k, task, f"{result['seconds']:.2f} s", flush=True)
    return rows


def document(rows, n, p, support, options):
    """Markdown report."""

    def median(threads, cache, task, name="seconds"):
        key = (threads, cache, task)
        values = [r[name] for m, c, _, t, r in rows if (m, c, t) == key]
        return statistics.median(values) if values else None

    ours = [r for *_, task, r in rows if task == "moments"]
    loads = [r["load"] for *_, r in rows if r["load"] is not None]
    lines = [
        f"# A path from {n:,} rows of {p} features"
        + (" (quick run: too small to mean much)" if options.quick else ""),
        "",
        f"Made by `python -m benchmarks.large_n --rows {n} --features {p} "
        f"--threads {' '.join(map(str, dict.fromkeys(row[0] for row in rows)))}`; X is "
        f"a float32 file of {4e-9 * n * p:.2f} GB.",
        "",
        *ours[-1]["environment"],
        f"- {os.cpu_count()} processors",
    ]
    if loads:
        lines.append(
            "- load average of the machine (number of busy processors) after each "
            f"measurement: {min(loads):.1f} to {max(loads):.1f}"
        )
    lines += [
        "",
        "Seconds, median of the rounds; in brackets processor seconds. *read*: X once, "
        "in blocks, into one buffer. *product*: `block.T @ block` of float64 blocks "
        "that are in memory, all rows, no conversion. *(float32)*: the same in single "
        "precision, which no result here is computed in. *moments*: "
        "`RowMoments.from_arrays` on memory maps. *ratio*: moments / (read + product). "
        "*cold*: the system was asked to drop the files from its cache before.",
        "",
        "| threads | cache | read | product | product (float32) | moments | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    targets = []
    for threads, cache in dict.fromkeys((m, c) for m, c, *_ in rows):
        cells, total = [], {}
        for task in TASKS:
            where = "warm" if task.startswith("product") else cache
            key = (threads, where, task)
            total[task] = median(*key), median(*key, "cpu_seconds")
            cells.append(f"{total[task][0]:.2f} ({total[task][1]:.2f})")
        ratio, cpu_ratio = (
            ours / (read + product)
            for read, product, ours in zip(
                total["read"], total["product"], total["moments"], strict=True
            )
        )
        cells.append(f"{ratio:.2f} ({cpu_ratio:.2f})")
        lines.append(f"| {threads} | {cache} | {' | '.join(cells)} |")
        targets.append(
            f"| {threads} thread(s), {cache}: moments at most {TARGET_RATIO} x (read + "
            f"product) | {ratio:.2f} | {'yes' if ratio <= TARGET_RATIO else '**no**'} |"
        )
    compress = statistics.median(r["compress_seconds"] for r in ours)
    fit = statistics.median(r["fit_seconds"] for r in ours)
    peaks = [r["peak_gb"] for r in ours if r["peak_gb"] is not None]
    if peaks:
        targets.append(
            "| peak resident memory of the whole process, imports "
            f"({ours[0]['start_gb']:.2f} GB) included, below {TARGET_GB} GB "
            f"| {max(peaks):.2f} GB | {'yes' if max(peaks) < TARGET_GB else '**no**'} |"
        )
    right = all(r["support"] == list(support) for r in ours)
    lines += [
        "",
        f"Afterwards: the small data set {compress:.3f} s, the whole LBI path with "
        f"EBIC on it {fit:.3f} s. The selected features are "
        + ("the true ones in all rounds." if right else "**not** the true ones."),
        "",
        "| target | measured | met |",
        "|---|---|---|",
        *targets,
        "",
    ]
    return "\n".join(lines)


def write_csv(path, rows):
    names = ("seconds", "cpu_seconds", "compress_seconds", "fit_seconds")
    names += ("start_gb", "peak_gb", "load")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["threads", "cache", "round", "task", *names])
        for *key, result in rows:
            cells = [result.get(name) for name in names]
            writer.writerow([*key, *(c if c is None else f"{c:.4f}" for c in cells)])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--features", type=int)
    parser.add_argument("--folder", type=Path, help="for the files of X and y")
    parser.add_argument("--output", type=Path, help="folder of the report")
    parser.add_argument("--repeats", type=int, help="rounds (default 3, quick 1)")
    parser.add_argument("--threads", type=int, nargs="+", help="default 1 and all")
    parser.add_argument("--quick", action="store_true", help="200 000 x 50")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    n = options.rows or (200_000 if options.quick else 10_000_000)
    p = options.features or (50 if options.quick else 200)
    if options.task:
        print(json.dumps(globals()[options.task](options.folder, n, p)))
        return
    repeats = options.repeats or (1 if options.quick else 3)
    threads = options.threads or sorted({1, os.cpu_count() or 1})
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        support = write(folder, n, p)
        rows = measure(folder, n, p, repeats, threads)
    text = document(rows, n, p, support, options)
    print(text)
    output = options.output
    if output is None and not options.quick:
        output = Path(__file__).parent / "large_n_results"
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "large_n.md").write_text(text, encoding="utf-8")
        write_csv(output / "large_n.csv", rows)


if __name__ == "__main__":
    main()
