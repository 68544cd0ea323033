"""The LeNet script from its arguments to its files."""

import pytest

pytest.importorskip("torch")

from sparselbi.torch.examples import lenet  # noqa: E402


@pytest.mark.parametrize("net", ["300-100", "5"])
def test_quick_run(net, data_dir, tmp_path, capsys):
    found = lenet.main([net, "--quick", "--output", str(tmp_path / "out")])
    table = found["table"]
    assert table.loc["sparse", "parameters"] < table.loc["dense", "parameters"]
    assert (table[["validation", "test"]].to_numpy() > 20).all()
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"table.csv", "network", "fractions.png", "paths.png"}
    assert "accuracy in percent" in capsys.readouterr().out


def test_settings_that_are_given_win():
    args = lenet._arguments(["5", "--lam", "0.5", "--epochs", "3"])
    assert (args.lam, args.epochs, args.nu) == (0.5, 3, lenet.DEFAULTS["5"]["nu"])
