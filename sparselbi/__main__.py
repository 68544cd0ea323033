"""The command ``python -m sparselbi``: trace a path, choose points of it, draw both."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import pandas as pd

    from .path import RegularizationPath
    from .selection import Selection

RULES = ("ebic", "bic", "aic")
N_FOLDS = 5
_WIDTH = 110  # of the table of points
EPILOG = """
examples:
  python -m sparselbi
  python -m sparselbi --data houses.csv --target price --output results
  python -m sparselbi --kappa inf
"""


class CommandError(Exception):
    """Something that the person at the command line can put right."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (--help lists all options)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all went well, 2 after an error of use."""
    try:
        _run(_parser().parse_args(argv))
    except CommandError as error:
        print(f"sparselbi: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m sparselbi",
        description=(
            "Trace the regularization path of a linear regression, choose points of\n"
            "it by EBIC, BIC, AIC and cross-validation, print both and draw them.\n"
            "Without --data: the diabetes data that come with scikit-learn."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        metavar="FILE.csv",
        help="table with a header line and numbers only; all columns but the target "
        "are features",
    )
    parser.add_argument(
        "--target", metavar="COLUMN", help="column of --data to predict"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="sparselbi-output",
        help="folder for the figure, made if need be (default: ./%(default)s)",
    )
    parser.add_argument(
        "--kappa",
        type=_positive,
        metavar="K",
        default=30.0,
        help="damping: larger means less bias and more steps, inf the exact path "
        "without damping (default: %(default)g)",
    )
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive number or inf")
    return value


def _run(options: argparse.Namespace) -> None:
    name, title, X, y = _read(options.data, options.target)
    output = Path(options.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--output {output}: {error.strerror}.") from error

    print(title)
    print(f"target {y.name}: {y.min():g} to {y.max():g}, mean {y.mean():.4g}")
    print(f"features: {_listed(list(X))}\n")
    print("Tracing the path (the first run compiles: some seconds) ...", end=" ")
    sys.stdout.flush()
    start = time.perf_counter()
    path, points = _fit(X, y, options.kappa)
    print(f"{time.perf_counter() - start:.1f} s\n")

    marks = {_title(rule): point.knot for rule, point in points.items()}
    print(path.summary(mark=marks))
    print(f"\n{_points_table(path, points, X, y)}")
    if path.status == "null":
        print(f"\n{path.message}")
    for rule, point in points.items():
        if point.message:
            print(f"\n{fill(f'{_title(rule)}: {point.message}', 100)}")
    file = output / f"{name}_path.png"
    _draw(path, list(points.values()), X, file)
    print(f"\nFigure: {file}")
    print(_next_steps(options))


def _read(
    data: str | None, target: str | None
) -> tuple[str, str, pd.DataFrame, pd.Series]:
    """Name, title, features and target, all numbers."""
    if data is None:
        if target is not None:
            raise CommandError(f"--target {target} needs --data FILE.csv.")
        from .datasets import load_diabetes

        bunch = load_diabetes(as_frame=True)
        title = bunch.DESCR.splitlines()[0]
        return "diabetes", title, bunch.data, bunch.target
    frame = _read_csv(data)
    if target is None:
        raise CommandError(
            f"--target must name the column to predict; {data} has the columns "
            f"{_listed(list(frame))}."
        )
    if target not in frame:
        raise CommandError(
            f"--target {target}: there is no such column; {data} has the columns "
            f"{_listed(list(frame))}."
        )
    _check_numbers(frame, data)
    if frame.shape[1] == 1:
        raise CommandError(f"{data} has no column but the target {target!r}.")
    X, y = frame.drop(columns=target).astype(float), frame[target].astype(float)
    title = f"{data}: {len(X)} rows, {X.shape[1]} features"
    return Path(data).stem, title, X, y


def _read_csv(data: str) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(data)
    except FileNotFoundError as error:
        raise CommandError(f"--data {data}: there is no such file.") from error
    except OSError as error:
        raise CommandError(f"--data {data}: {error.strerror or error}.") from error
    except ValueError as error:  # pandas' parser errors, and bytes that are no text
        reason = " ".join(str(error).split())
        raise CommandError(f"--data {data} is no CSV table: {reason}.") from error
    if len(frame) == 0:
        raise CommandError(f"--data {data} has a header line but no rows.")
    frame.columns = [str(name) for name in frame.columns]
    return frame


def _check_numbers(frame: pd.DataFrame, data: str) -> None:
    numeric = frame.select_dtypes(["number", "bool"])
    if numeric.shape[1] < frame.shape[1]:
        text = [name for name in frame if name not in numeric]
        raise CommandError(
            f"{data} has columns that are not numbers: {_listed(text)}. Encode or drop "
            f"them; numbers are {_listed(list(numeric)) if len(numeric.T) else 'none'}."
        )
    import numpy as np

    missing = (~np.isfinite(numeric.astype(float))).sum()
    missing = missing[missing > 0]
    if len(missing):
        n = len(frame)
        counts = [f"{name} ({count} of {n} rows)" for name, count in missing.items()]
        raise CommandError(
            f"{data} has missing or infinite values in {_listed(counts)}. "
            "Drop these rows or columns, or fill them in."
        )


def _listed(names: list[str], width: int = 80) -> str:
    """Names on one line, the last ones replaced by their number if need be."""
    text, kept = ", ".join(names), len(names)
    while len(text) > width and kept > 1:
        kept -= 1
        text = f"{', '.join(names[:kept])} and {len(names) - kept} more"
    return text


def _fit(
    X: pd.DataFrame, y: pd.Series, kappa: float
) -> tuple[RegularizationPath, dict[str, Selection]]:
    from . import LBI
    from .selection import CrossValidation

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # messages are printed later
            model = LBI(kappa=kappa).fit(X, y)
            points = {rule: model.select(rule).selection_ for rule in RULES}
            if len(y) >= 2 * N_FOLDS and model.path_.status != "null":
                best = model.select(CrossValidation(cv=N_FOLDS), X, y).selection_
                points |= {"cv": best, "cv_1se": best.with_rule("1se")}
    except ValueError as error:
        print()
        raise CommandError(" ".join(str(error).split())) from error
    return model.path_, points


def _title(rule: str) -> str:
    return {"cv_1se": "CV 1-SE"}.get(rule, rule.upper())


def _points_table(
    path: RegularizationPath,
    points: dict[str, Selection],
    X: pd.DataFrame,
    y: pd.Series,
    max_rows: int = 25,
) -> str:
    """The chosen points side by side: path coefficients and their refits."""
    from .problem import Problem
    from .solvers.refit import refit_coefs

    rules: dict[int, list[str]] = {}
    for rule, point in sorted(points.items(), key=lambda item: item[1].knot):
        rules.setdefault(point.index, []).append(_title(rule))
    problem = Problem(X, y)
    columns: list[dict[Any, str]] = []
    for k in rules:
        coef, support = path.coef(k), path.support(path.knots[k])
        refit, intercept, deviance = refit_coefs(problem, support)
        assert path.deviance is not None
        columns += [
            _column(support, coef[support], path.intercept(k), path.deviance[k], path),
            _column(support, refit, intercept, deviance, path),
        ]
    used = set().union(*columns)
    rows = [j for j in path.entry_order().tolist() if j in used]
    longest = max([9, *(len(path._name(j)) for j in rows)])
    width = min(longest, 28, max(10, _WIDTH - 20 * len(rules)))

    def line(name: str, cells: list[str], size: int = 20) -> str:
        name = name if len(name) <= width else f"{name[: width - 1]}…"
        return (
            name.ljust(width) + "".join(cell.rjust(size) for cell in cells)
        ).rstrip()

    def coefficients(row: Any) -> list[str]:
        return [column.get(row, "") for column in columns]

    lines = [
        line("chosen by", [", ".join(names) for names in rules.values()]),
        line(path.knot_name, [f"{path.knots[k]:.4g}" for k in rules]),
        line("features", [str(len(path.support(path.knots[k]))) for k in rules]),
        line("", ["path", "refit"] * len(rules), 10),
        *(line(path._name(j), coefficients(j), 10) for j in rows[:max_rows]),
    ]
    if len(rows) > max_rows:
        lines.append(f"... and {len(rows) - max_rows} more")
    lines += [line(row, coefficients(row), 10) for row in ("intercept", "explained")]
    return "\n".join(lines)


def _column(
    support: Any, coef: Any, intercept: Any, deviance: float, path: RegularizationPath
) -> dict[Any, str]:
    """Texts of one fit by feature, with its intercept and explained deviance."""
    assert path.deviance is not None
    null = path.deviance[0]
    return {
        **{int(j): f"{value:.4g}" for j, value in zip(support, coef, strict=True)},
        "intercept": f"{intercept:.4g}",
        "explained": f"{1 - deviance / null if null > 0 else 0.0:.1%}",
    }


def _draw(
    path: RegularizationPath, points: list[Selection], X: pd.DataFrame, file: Path
) -> None:
    from matplotlib.figure import Figure  # without pyplot: no display is needed

    from .plotting import CriterionDisplay

    figure = Figure(figsize=(8.0, 6.4), layout="constrained")
    display = CriterionDisplay.from_path(
        path, points, ax=figure.subplots(), scale=X.std(ddof=0)
    )
    display.ax_.set_ylabel("coefficient × standard deviation")
    try:
        figure.savefig(file, dpi=150)
    except OSError as error:
        raise CommandError(f"--output {file}: {error.strerror}.") from error


def _next_steps(options: argparse.Namespace) -> str:
    command, same_data = "python -m sparselbi", ""
    steps = {}
    if options.data is None:
        steps["your own data"] = f"{command} --data FILE.csv --target COLUMN"
    else:
        data, target = shlex.quote(options.data), shlex.quote(options.target)
        same_data = f" --data {data} --target {target}"
    if options.kappa < float("inf"):
        steps["exact, without damping"] = f"{command}{same_data} --kappa inf"
    steps["in Python"] = "sparselbi.LBI().fit(X, y).path_.plot(), see README.md"
    return "\n".join(["Next:", *(f"  {k:<24}{step}" for k, step in steps.items())])


if __name__ == "__main__":
    sys.exit(main())
