"""Building the question, timing the answers, peak memory in a process of its own."""

import ctypes
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse

from . import datasets, objective

__all__ = ["build", "laid_out", "peak_memory", "runnable", "seconds", "why_not"]


def build(case, n_active):
    """Draw the case and fix, outside every timing, how far each solver shall go."""
    from sparselbi import Problem, iss_path, lbi_path

    X, y, _ = datasets.draw(case)
    problem = Problem(X, y, loss=case.loss, fit_intercept=False, standardize=False)
    gradient = objective.gradient(case.loss, X, y, np.zeros(case.p))
    t0 = 1 / np.abs(gradient).max()
    path = lbi_path(
        problem, kappa_raw=objective.KAPPA, t_max=1e4 * t0, max_features=n_active
    )
    if path.status != "max_features":
        raise RuntimeError(
            f"{case.name}: the LBI path ended with status {path.status!r} before "
            f"{n_active} variables were in; choose a smaller number"
        )
    n_knots_iss = 0
    if case.loss == "squared":
        n_knots_iss = len(iss_path(problem, max_features=n_active).knots)
    return objective.Task(
        loss=case.loss,
        X=X,
        y=y,
        n_active=n_active,
        alphas=objective.lasso_alphas(case.loss, X, y, n_active),
        step_size=path.step_size,
        t_max=float(path.knots[-1]),
        n_steps=int(np.ceil((path.knots[-1] - t0) / path.step_size)),
        n_knots_iss=n_knots_iss,
    )


def why_not(solver, task):
    """Reason for which a solver does not run on a task, or None."""
    if task.loss not in solver.losses:
        return f"no {task.loss} loss"
    if scipy.sparse.issparse(task.X) and not solver.sparse:
        return "no sparse X"
    if importlib.util.find_spec(solver.package) is None:
        return "not installed"
    return None


def runnable(solver, task):
    """Answer of an untimed first run, which also compiles, or the reason for none."""
    reason = why_not(solver, task)
    if reason is not None:
        return None, reason
    try:
        return solver.run(task), None
    except Exception as error:  # a competitor's changed interface is a table entry
        if solver.package == "sparselbi":
            raise
        return None, f"{type(error).__name__}: {error}".splitlines()[0]


def laid_out(task, order):
    """The task with X in the memory layout that a solver prefers."""
    if scipy.sparse.issparse(task.X):
        return task
    return task._replace(X=np.asarray(task.X, order=order))


def seconds(solver, task):
    """Processor time of one run, divided by the share of the work that was done.

    With one thread this is the wall time on an idle machine, and on a busy one it
    leaves out the time that others take. X is read once before the clock starts, so
    that no solver pays for what the one before it has pushed out of memory.
    """
    (task.X.data if scipy.sparse.issparse(task.X) else task.X).sum()
    start = time.process_time()
    answer = solver.run(task)
    return (time.process_time() - start) / answer.part


def peak_memory(case, solver, task):
    """Largest resident memory during a run, beyond what X and imports take, in MB.

    A fresh process draws X, runs the solver on a tiny problem (imports, compilation),
    gives freed memory back to the system, resets the high-water mark of the process
    and runs. This sees every allocation, also those made in compiled libraries, which
    an allocation tracer for Python objects would miss. Linux only, else None.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    question = {
        "case": case._asdict(),
        "label": solver.label,
        "alphas": list(task.alphas),
    } | {
        name: getattr(task, name)
        for name in ("n_active", "step_size", "t_max", "n_steps", "n_knots_iss")
    }
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name],
        cwd=Path(__file__).parents[2],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _memory_child():
    from .solvers import SOLVERS

    question = json.load(sys.stdin)
    case = datasets.Case(**question.pop("case"))
    label = question.pop("label")
    solver = next(s for s in SOLVERS if s.label == label)
    tiny = case._replace(n=80, p=60, s=5, density=min(1.0, 20 * case.density))
    solver.run(laid_out(build(tiny, 10), solver.order))
    X, y, _ = datasets.draw(case)
    question["alphas"] = np.array(question["alphas"])
    task = laid_out(objective.Task(case.loss, X, y, **question), solver.order)
    del X
    before = _resident("VmRSS", reset=True)
    solver.run(task)
    print(json.dumps(_resident("VmHWM") - before))


def _resident(name, reset=False):
    """Resident memory of this process in MB, now (VmRSS) or at its peak (VmHWM)."""
    if reset:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


if __name__ == "__main__":
    _memory_child()
