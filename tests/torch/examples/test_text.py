"""The GPT on text: what is held out, what a window is, and the script as a whole."""

import math

import pytest
import torch
from torch import nn

from sparselbi.torch import load_pruned
from sparselbi.torch.examples.networks import GPT
from sparselbi.torch.examples.text import bits_per_byte, load_text, main, windows

pytest.importorskip("torch_pruning")


def test_nothing_held_out_is_trained_on(tmp_path):
    text = load_text()
    total = sum(len(part) for part in text)
    assert len(text.validation) == len(text.test) == total // 10
    train, validation, test = (bytes(part.tolist()).decode("latin1") for part in text)
    known = {part for part in train.split("\n\n") if part}
    # The first and the last piece of a part may be cut in the middle.
    for held in (validation, test):
        assert not known & set(held.split("\n\n")[1:-1])
    file = tmp_path / "own.txt"
    file.write_text("a\n\nbé\n\na\n\nc", encoding="utf-8")
    own = load_text(file, share=0.25)
    assert bytes(torch.cat(list(own)).tolist()).decode() == "a\n\nbé\n\nc"
    assert [len(part) for part in own] == [5, 2, 2]


def test_a_text_that_is_too_short(tmp_path):
    file = tmp_path / "own.txt"
    file.write_text("too short")
    with pytest.raises(ValueError, match="9 bytes to train on and 0 to test"):
        main(["--quick", "--device", "cpu", "--text", str(file)])


def test_windows_are_shifted_by_one():
    data = torch.arange(100)
    found = list(windows(data, 8, 4, torch.Generator().manual_seed(0)))
    assert len(found) == 100 // 32
    for x, y in found:
        assert x.shape == (4, 8)
        assert torch.equal(y, x + 1)
        assert (x[:, 1:] == x[:, :-1] + 1).all()


def test_bits_per_byte():
    class Constant(nn.Module):
        """A fixed distribution, the same everywhere."""

        def forward(self, index):
            logits = torch.zeros(*index.shape, 4)
            logits[..., 0] = math.log(5)  # 5/8, 1/8, 1/8, 1/8
            return logits

    data = torch.tensor([0, 0, 1, 0, 2, 3, 0])
    # All but the first are predicted: three of them 0.
    expected = (3 * math.log2(8 / 5) + 3 * 3) / 6
    assert bits_per_byte(Constant(), data, 3) == pytest.approx(expected, rel=1e-6)


def test_the_script(tmp_path, capsys):
    result = main(["--quick", "--device", "cpu", "--output", str(tmp_path)])
    table, pruned = result["table"], result["pruned"]
    parameters = [p.numel() for p in pruned.model.parameters()]
    assert table.loc["sparse", "parameters"] == sum(parameters)
    assert table.loc["sparse", "parameters"] < table.loc["dense", "parameters"]
    assert table.loc["sparse", "macs"] < table.loc["dense", "macs"]
    # Something was learned: better than all bytes alike.
    assert (table[["validation", "test"]] < 8).all(axis=None)
    # The share that was asked for.
    masks = pruned.masks.values()
    kept = sum(int(mask.sum()) for mask in masks) / sum(m.numel() for m in masks)
    assert 0.35 < kept <= 0.4
    again = load_pruned(GPT(256, 32, 32, 2, 4), tmp_path / "network")
    for name, tensor in pruned.model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert [b.attention.n_heads for b in again.blocks] == [
        b.attention.n_heads for b in pruned.model.blocks
    ]
    for name in ("fractions.png", "paths.png", "table.csv"):
        assert (tmp_path / name).stat().st_size > 50
    assert "Bits per byte" in capsys.readouterr().out
