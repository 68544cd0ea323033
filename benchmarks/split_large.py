"""Time, memory and quality of Split LBI on an image and on a large graph.

Run as ``python -m benchmarks.split_large [--quick] [--threads 2]``. Each measurement is
a process of its own, compiled code warm, and covers everything from data to path:

- *image*: total variation of a 512 x 512 photograph with noise 0.1, X = identity, 524
  thousand rows of D, 60 knots, default coupling (nu = 1, kappa = 10);
- *image, tight*: the same with isotropic total variation and a coupling that denoises
  well (nu = 0.03, kappa = 0.3);
- *graph*: 200 samples of 100 thousand features, which are the nodes of a graph with 500
  thousand edges and 20 planted clusters; the coefficients of four clusters are not
  zero, columns of a cluster are correlated; 50 knots.

If scikit-image is installed, its ``denoise_tv_chambolle`` solves the image at 60
strengths of the penalty, one after the other; no package was found that traces a path
for images of this size, or that solves the graph. Needs the test images of
`sparselbi.datasets.fetch_test_images`. Results go to ``--output`` as Markdown, CSV and
PNG.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TARGETS = {"image": (60.0, 2.0), "graph": (120.0, None)}
TASKS = ("image", "image_tight", "chambolle", "graph")
NOISE = 0.1
PENALTIES = np.geomspace(0.01, 1.0, 60)


# -- what the processes do ------------------------------------------------------------


def picture(quick):
    """The photograph and its noisy version, values in [0, 1] but for the noise."""
    from sparselbi.datasets import fetch_test_images

    image = fetch_test_images().images["camera"]
    image = image[60:188, 150:278] if quick else image
    rng = np.random.default_rng(0)
    return image, image + NOISE * rng.standard_normal(image.shape)


def psnr(images, truth):
    error = ((images.reshape(-1, truth.size) - truth.ravel()) ** 2).mean(axis=1)
    return -10 * np.log10(error)


def image(quick, folder, *, nu=1.0, kappa=10.0, isotropic=False, name="image"):
    from scipy import sparse

    from sparselbi import Problem, split_lbi_path
    from sparselbi.penalties import grid_gradient

    truth, noisy = picture(quick)

    def trace(y, n_knots, route="auto"):
        X = sparse.eye_array(y.size, format="csc")
        problem = Problem(X, y.ravel(), fit_intercept=False, standardize=False)
        return split_lbi_path(
            problem,
            grid_gradient(y.shape, isotropic=isotropic),
            nu=nu,
            kappa=kappa,
            n_knots=n_knots,
            route=route,
        )

    trace(noisy[:16, :16], 3, "dct")  # imports and compiles
    path, result = measured(lambda: trace(noisy, 60))
    start = time.perf_counter()
    sparse_estimates = path.projected_coefs
    result["projection_seconds"] = time.perf_counter() - start
    curves = {
        "t": path.knots / path.t0,
        "dense": psnr(path.active_coefs, truth),
        "sparse": psnr(sparse_estimates, truth),
        "active": (path.split.active_coefs != 0).sum(axis=1) / path.D.n_rows,
    }
    best = [int(np.argmax(curves[which])) for which in ("dense", "sparse")]
    np.savez(
        folder / f"{name}.npz",
        truth=truth,
        noisy=noisy,
        best_dense=path.active_coefs[best[0]].reshape(truth.shape),
        best_sparse=sparse_estimates[best[1]].reshape(truth.shape),
        **curves,
    )
    return result | {
        "quality": f"PSNR: dense {curves['dense'].max():.2f} dB, sparse "
        f"{curves['sparse'].max():.2f} dB (noisy {psnr(noisy, truth)[0]:.2f})",
    }


def image_tight(quick, folder):
    options = {"nu": 0.03, "kappa": 0.3, "isotropic": True}
    return image(quick, folder, name="image_tight", **options)


def chambolle(quick, folder):
    from skimage.restoration import denoise_tv_chambolle

    truth, noisy = picture(quick)
    clock = start_clock()
    found = np.stack([denoise_tv_chambolle(noisy, weight) for weight in PENALTIES])
    result = clock()
    quality = psnr(found, truth)
    np.savez(folder / "chambolle.npz", quality=quality, best=found[quality.argmax()])
    return result | {
        "peak_gb": resident("VmHWM"),
        "steps": len(PENALTIES),
        "route": "none",
        "quality": f"PSNR {quality.max():.2f} dB",
        "environment": environment("scikit-image"),
    }


def clusters(p, n_edges, n_clusters, rng):
    """Labels of nodes and the adjacency matrix; 5 % of the edges between clusters."""
    from scipy import sparse

    label = rng.integers(n_clusters, size=p)
    order = np.argsort(label, kind="stable")
    start = np.searchsorted(label[order], np.arange(n_clusters + 1))
    # At least one edge for every node: X alone determines isolated ones badly.
    head = np.append(np.arange(p), rng.integers(p, size=n_edges - p))
    size = np.diff(start)[label[head]]
    near = order[start[label[head]] + (rng.random(n_edges) * size).astype(int)]
    tail = np.where(rng.random(n_edges) < 0.95, near, rng.integers(p, size=n_edges))
    keep = head != tail
    half = sparse.coo_array((np.ones(keep.sum()), (head[keep], tail[keep])), (p, p))
    half = half.tocsr()
    return label, ((half + half.T) > 0).astype(float)


def graph(quick, folder):
    from sparselbi import Problem, split_lbi_path
    from sparselbi.penalties import graph_incidence

    n, p, n_clusters = (100, 4_000, 10) if quick else (200, 100_000, 20)
    rng = np.random.default_rng(0)
    label, adjacency = clusters(p, 5 * p, n_clusters, rng)
    D = graph_incidence(adjacency)
    X = np.sqrt(0.7) * rng.standard_normal((n, p))
    X += np.sqrt(0.3) * rng.standard_normal((n, n_clusters))[:, label]
    value = np.zeros(n_clusters)
    value[:4] = [1.0, -1.0, 0.5, -0.5]
    coef = value[label]
    signal = X @ coef
    y = signal + 0.2 * signal.std() * rng.standard_normal(n)

    def trace(X, y, D, **options):
        return split_lbi_path(Problem(X, y, standardize=False), D, **options)

    small = graph_incidence(clusters(600, 3000, 3, rng)[1])
    trace(X[:20, :600], y[:20], small, n_knots=3, route="cg")  # imports and compiles
    path, result = measured(lambda: trace(X, y, D, n_knots=50))
    truth = D.dot(coef) != 0
    active = path.split.active_coefs != 0
    hits = (active & truth[path.split.active_features]).sum(axis=1)
    size = active.sum(axis=1)
    estimates = {"dense": path.active_coefs, "sparse": path.projected_coefs}
    curves = {
        "t": path.knots / path.t0,
        "active": size / D.n_rows,
        "precision": hits / np.maximum(size, 1),
        "recall": hits / truth.sum(),
    }
    for which, coefs in estimates.items():
        gap = np.linalg.norm(coefs - coef, axis=1) / np.linalg.norm(coef)
        curves[which] = gap
    f1 = 2 * hits / (size + truth.sum())
    best = int(f1.argmax())
    np.savez(folder / "graph.npz", **curves)
    return result | {
        "quality": f"{truth.sum()} of {D.n_rows} edges join unequal clusters: best F1 "
        f"{f1[best]:.3f} at t = {curves['t'][best]:.1f} t0 (precision "
        f"{curves['precision'][best]:.3f}, recall {curves['recall'][best]:.3f}). The "
        f"coefficients themselves have a relative error of {curves['dense'].min():.2f} "
        "at least (dense; the sparse ones are averages over pieces, and one missed "
        "edge joins two clusters)"
    }


def measured(trace):
    """A path, and what it cost."""
    before = resident("VmRSS")
    clock = start_clock()
    path = trace()
    result = clock()
    return path, result | {
        "start_gb": before,
        "peak_gb": resident("VmHWM"),
        "steps": path.n_iter,
        "route": path.info["route"],
        "reason": path.info["route_reason"],
        "error": path.info["interpolation_error"],
        "info": {k: v for k, v in path.info.items() if k.startswith("n_")},
        "environment": environment(),
    }


def start_clock():
    """A function that returns wall and processor seconds since now."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def environment(*more):
    from importlib.metadata import version

    from benchmarks.large_n import environment as common

    return common() + [f"- {name} {version(name)}" for name in more]


def resident(name):
    from benchmarks.large_n import resident as common

    return common(name)


# -- the parent -----------------------------------------------------------------------


def run(task, folder, quick, threads):
    root = Path(__file__).parents[1]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    settings = {**os.environ, "PYTHONPATH": str(root)}
    settings |= dict.fromkeys(names, str(threads))
    # As a script: importing the package of benchmarks would pin BLAS to one thread.
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder)]
    done = subprocess.run(
        command + ["--quick"] * quick,
        cwd=root,
        env=settings,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    result["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return result


def has_competitor():
    from importlib.util import find_spec

    return find_spec("skimage") is not None


def document(results, options):
    lines = [
        "# Split LBI on an image and on a large graph"
        + (" (quick run: too small to mean much)" if options.quick else ""),
        "",
        "Made by `python -m benchmarks.split_large "
        f"--threads {options.threads}`; what is solved is described there. Seconds "
        "from data to path, compiled code warm; memory of the whole process, imports "
        "included.",
        "",
        *results["image"]["environment"],
        *[line for r in results.values() for line in r["environment"][3:]],
        f"- {os.cpu_count()} processors, {options.threads} thread(s); load average "
        "after each measurement: "
        + ", ".join(f"{r['load']:.1f}" for r in results.values() if r["load"]),
        "",
        "| problem | route | steps | seconds (processor) | peak GB | target | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, result in results.items():
        limit, memory = TARGETS.get(task, (None, None))
        target, met = "", ""
        if limit is not None:
            ok = result["seconds"] < limit
            target = f"< {limit:g} s"
            if memory is not None:
                ok &= result["peak_gb"] is None or result["peak_gb"] < memory
                target += f", < {memory:g} GB"
            met = "yes" if ok else "**no**"
        peak = result["peak_gb"]
        lines.append(
            f"| {task.replace('_', ', ')} | {result['route']} | {result['steps']} | "
            f"{result['seconds']:.1f} ({result['cpu_seconds']:.1f}) | "
            f"{'' if peak is None else f'{peak:.2f}'} | {target} | {met} |"
        )
    lines.append("")
    for task, result in results.items():
        lines.append(f"- *{task.replace('_', ', ')}*: {result['quality']}.")
        if "reason" in result:
            numbers = ", ".join(f"{k} = {v}" for k, v in result["info"].items())
            lines.append(
                f"  Route: {result['reason']} ({numbers}). Between knots, linear "
                f"interpolation of coefficients errs by up to {result['error']:.1%} of "
                "their range."
            )
    per_point = results["image_tight"]["seconds"] / 60
    lines += ["", f"*image, tight*: {per_point:.3f} seconds per knot."]
    if "chambolle" in results:
        each = results["chambolle"]["seconds"] / len(PENALTIES)
        lines[-1] += (
            f" *chambolle* is the same isotropic penalty at {len(PENALTIES)} fixed "
            f"strengths (`denoise_tv_chambolle`, default accuracy): {each:.3f} seconds "
            "per point."
        )
    else:
        lines[-1] += " scikit-image is not installed: no comparison."
    lines += ["", "![curves and images](split_large.png)", ""]
    return "\n".join(lines)


def draw(folder, file):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    loose, tight = (np.load(folder / f"{k}.npz") for k in ("image", "image_tight"))
    figure, axes = plt.subplots(2, 4, figsize=(16, 8), layout="constrained")
    shown = [
        ("noisy", tight["noisy"]),
        ("dense, tight", tight["best_dense"]),
        ("sparse, tight", tight["best_sparse"]),
    ]
    ax = axes[1, 0]
    for k, (data, label) in enumerate(((loose, "nu = 1"), (tight, "tight"))):
        ax.plot(data["t"], data["dense"], color=f"C{k}", label=f"dense, {label}")
        ax.plot(
            data["t"], data["sparse"], "--", color=f"C{k}", label=f"sparse, {label}"
        )
        axes[1, 1].plot(data["t"], data["active"], color=f"C{k}", label=label)
    if (folder / "chambolle.npz").exists():
        other = np.load(folder / "chambolle.npz")
        ax.axhline(other["quality"].max(), color="C2", label="Chambolle, best")
        shown.append(("Chambolle", other["best"]))
    ax.set(title="Image: quality", ylabel="PSNR (dB)")
    axes[1, 1].set(title="Image: share of active rows")
    for place, (title, values) in zip(axes[0], shown, strict=False):
        quality = psnr(values, tight["truth"])[0]
        place.imshow(values, cmap="gray", vmin=0, vmax=1)
        place.set_title(f"{title}: {quality:.2f} dB")
    for place in axes[0]:
        place.set_axis_off()
    data = np.load(folder / "graph.npz")
    for name in ("precision", "recall"):
        axes[1, 2].plot(data["t"][1:], data[name][1:], label=name)
    axes[1, 2].set(title="Graph: edges between clusters", ylim=(0, 1.05))
    for name in ("dense", "sparse"):
        axes[1, 3].plot(data["t"], data[name], label=name)
    axes[1, 3].set(title="Graph: relative error of coefficients", ylim=(0, 1.5))
    for ax in axes[1]:
        ax.set(xscale="log", xlabel="t / t0")
        ax.legend(fontsize=8)
    figure.savefig(file, dpi=100)


def write_csv(path, results):
    names = ("seconds", "cpu_seconds", "peak_gb", "start_gb", "steps", "load")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task", *names])
        for task, result in results.items():
            writer.writerow([task, *(result.get(name) for name in names)])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, to try it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="folder of the report")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        print(json.dumps(globals()[options.task](options.quick, options.folder)))
        return
    output = options.output
    if output is None and not options.quick:
        output = Path(__file__).parent / "split_large_results"
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in TASKS:
            if task == "chambolle" and not has_competitor():
                continue
            results[task] = run(task, folder, options.quick, options.threads)
            print(task, f"{results[task]['seconds']:.1f} s", flush=True)
        text = document(results, options)
        print(text)
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            (output / "split_large.md").write_text(text, encoding="utf-8")
            write_csv(output / "split_large.csv", results)
            draw(folder, output / "split_large.png")


if __name__ == "__main__":
    main()
