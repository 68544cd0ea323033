"""The command ``python -m sparselbi``, as a person meets it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparselbi import LBI
from sparselbi.__main__ import main
from sparselbi.datasets import load_diabetes

ROOT = Path(__file__).parents[1]


def is_png(file):
    return file.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write a table to ``houses.csv`` in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(frame):
        pd.DataFrame(frame).to_csv("houses.csv", index=False)
        return ["--data", "houses.csv", "--target", "price"]

    return write


def houses(n=40, p=6, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, p)), columns=list("abcdefghijkl"[:p]))
    frame["price"] = 3 * frame["b"] - 2 * frame["e"] + 0.5 * rng.normal(size=n) + 10
    return frame


def test_diabetes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    assert out.startswith("Diabetes progression after one year: 442 patients")
    figure = Path("sparselbi-output/diabetes_path.png")
    assert f"Figure: {figure}" in out
    assert is_png(figure)

    bunch = load_diabetes(as_frame=True)
    model = LBI().fit(bunch.data, bunch.target)
    points = {
        "CV 1-SE": model.select("cv_1se", bunch.data, bunch.target),
        "EBIC, BIC": model,
        "CV": model.select("cv", bunch.data, bunch.target),
        "AIC": model.select("aic"),
    }
    knots = {name: point.selection_.knot for name, point in points.items()}
    assert list(knots.values()) == sorted(knots.values())
    for rules, knot in knots.items():  # marked in the table of the path
        assert re.search(rf"^ *{knot:.4g} .* {rules}$", out, re.MULTILINE)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    for j in np.flatnonzero(model.coef_):
        shown = rows[bunch.feature_names[j]]
        expected = [f"{point.coef_[j]:.4g}" for point in points.values()]
        assert shown[::2] == [text for text in expected if text != "0"]
    assert rows["t"] == [f"{knot:.4g}" for knot in knots.values()]
    refit = model.path_.refit(bunch.data, bunch.target)
    intercept = refit.intercept(model.selection_.index)
    assert rows["intercept"][3] == f"{intercept:.4g}"


def test_own_table_and_exact_path(table, capsys):
    arguments = [*table(houses()), "--kappa", "inf", "--output", "a/b"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("houses.csv: 40 rows, 6 features\ntarget price: ")
    assert "iss path" in out
    assert is_png(Path("a/b/houses_path.png"))
    frame = pd.read_csv("houses.csv")
    exact = LBI(kappa=np.inf).fit(frame.drop(columns="price"), frame["price"])
    # An exact path consists of least-squares fits: path and refit are the same.
    b = f"{exact.coef_[1]:.4g}"
    assert re.search(rf"^b +{b} +{b}", out, re.MULTILINE)
    assert "--kappa inf" not in out[out.index("Next:") :]


def test_wide_table_with_long_names_and_flags(table, capsys):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(60, 90)))
    frame.columns = [f"a rather long name of feature {j}" for j in frame]
    frame["flag"] = rng.random(60) > 0.5
    frame["price"] = frame.iloc[:, :30] @ rng.normal(size=30) + 5 * frame["flag"]
    assert main(table(frame)) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 110
    assert "91 features" in out


def test_constant_target_is_the_null_model(table, capsys):
    frame = houses()
    frame["price"] = 7
    assert main(table(frame)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "EBIC, BIC, AIC" in out
    assert "No feature is correlated with the response" in out
    assert is_png(Path("sparselbi-output/houses_path.png"))


def changed(**columns):
    return houses().assign(**columns)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (houses().drop(columns="price"), r"--target price: .*columns a, b,.* f\."),
        (changed(town="x", e="y"), r"not numbers: e, town\..* numbers are a, b, c, d,"),
        (changed(c=[np.nan, np.nan, *range(38)]), r"missing .* c \(2 of 40 rows\)"),
        (changed(price=[np.inf, *range(39)]), r"infinite .* price \(1 of 40 rows\)"),
        (houses()[["price"]], "no column but the target 'price'"),
        (houses().iloc[:0], "a header line but no rows"),
        (houses().iloc[:1], "minimum of 2 is required"),
    ],
    ids=["no target", "text", "missing", "infinite", "one column", "no row", "one row"],
)
def test_tables_that_cannot_be_used(table, capsys, frame, message):
    assert main(table(frame)) == 2
    err = capsys.readouterr().err
    assert re.search(message, err)
    assert err.startswith("sparselbi: error: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "none.csv", "--target", "y"], "none.csv: there is no such file"),
        (["--data", "folder", "--target", "y"], "--data folder: "),
        (["--data", "empty.csv", "--target", "y"], "empty.csv is no CSV table: No col"),
        (["--data", "bytes.csv", "--target", "y"], "bytes.csv is no CSV table: "),
        (["--data", "ragged.csv", "--target", "y"], "ragged.csv is no CSV table: "),
        (["--data", "good.csv"], r"--target must name .* columns x, y\."),
        (["--target", "y"], "--target y needs --data"),
        (["--kappa", "-1"], "--kappa: '-1' must be a positive number or inf"),
        (["--kappa", "many"], "'many' must be a positive number"),
        (["--output", "good.csv"], "--output good.csv: "),
        (["--colour"], "unrecognized arguments: --colour .*--help"),
    ],
)
def test_arguments_that_cannot_be_used(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("empty.csv").touch()
    Path("bytes.csv").write_bytes(bytes(range(128, 256)))
    Path("ragged.csv").write_text("x,y\n1,2\n1,2,3\n")
    Path("good.csv").write_text("x,y\n1,2\n2,5\n3,4\n")
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert re.search(message, err)
    assert len(err.splitlines()) == 1


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "--target COLUMN" in capsys.readouterr().out


def run(arguments, folder):
    """The real command, where no display and no backend is set."""
    hidden = ("MPLBACKEND", "DISPLAY")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "sparselbi", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_as_a_process(tmp_path):
    done = run([], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_png(tmp_path / "sparselbi-output" / "diabetes_path.png")
    failed = run(["--data", "none.csv"], tmp_path)
    assert failed.returncode == 2
    assert (
        failed.stderr == "sparselbi: error: --data none.csv: there is no such file.\n"
    )
