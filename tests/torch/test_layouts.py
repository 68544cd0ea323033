"""Groups, their norms and masks, against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from sparselbi.torch.layouts import group_sets, parse_layout  # noqa: E402
from tests.torch.common import GROUPS, kind_of, tensors  # noqa: E402
from tests.torch.twin import group_norms, group_sizes, labels  # noqa: E402


def one_set(text, params, lam=0.3, **options):
    options = {"lam": lam, "kappa": 1.0, "size_scaling": False, **options}
    (groups,) = group_sets({"params": params, "groups": text, **options})
    return groups


SLICES = [name for name in GROUPS if ":" not in name]


@pytest.mark.parametrize("name", SLICES)
def test_norms_sizes_and_masks(name):
    text = kind_of(name)
    params = tensors(GROUPS[name])
    groups = one_set(text, params)
    kinds = text.split(",")
    norms = group_norms(kinds, [p.detach().numpy() for p in params])
    order = sorted(norms)
    assert groups.n_groups == len(order)
    ours = groups.norms([p.detach() for p in params]).numpy()
    np.testing.assert_allclose(ours, [norms[g] for g in order], rtol=1e-13)
    assert set(group_sizes(kinds, params).values()) == {groups.size}

    inside = torch.arange(groups.n_groups) % 2 == 0
    chosen = set(order[::2])
    for kind, param, mask in zip(kinds, params, groups.masks(inside), strict=True):
        assert mask.shape == param.shape
        assert mask.dtype == torch.bool
        for i, g in labels(kind, param.shape).items():
            assert mask[i].item() == (g in chosen)


@st.composite
def cut_tensors(draw):
    """A tensor, one of its dims, and that dim cut into stacked x groups x length."""
    n_dims = draw(st.integers(1, 4))
    dim = draw(st.integers(0, n_dims - 1))
    stacked, n_groups, length = (draw(st.integers(1, 3)) for _ in range(3))
    shape = [draw(st.integers(1, 4)) for _ in range(n_dims)]
    shape[dim] = stacked * n_groups * length
    seed = draw(st.integers(0, 2**16))
    values = np.random.default_rng(seed).normal(size=shape)
    return values, dim, stacked, n_groups


@given(cut_tensors(), st.booleans())
def test_norms_are_those_of_numpy(cut, permuted):
    values, dim, stacked, n_groups = cut
    tensor = torch.tensor(values)
    if permuted and tensor.ndim > 1:  # another memory layout, the same numbers
        tensor = tensor.transpose(0, -1).contiguous().transpose(0, -1)
    groups = one_set(f"dim{dim}/{stacked}x{n_groups}", [tensor])
    moved = np.moveaxis(values, dim, 0)
    parts = moved.reshape(stacked, n_groups, -1, *moved.shape[1:])
    expected = [np.linalg.norm(parts[:, g]) for g in range(n_groups)]
    np.testing.assert_allclose(groups.norms([tensor]).numpy(), expected, rtol=1e-12)

    # The split weights of a group are a nonnegative multiple of it, and shorter by
    # the threshold.
    (split,) = groups.split([tensor])
    shorter = groups.norms([split]).numpy()
    np.testing.assert_allclose(
        shorter, np.maximum(np.array(expected) - 0.3, 0), atol=1e-12
    )
    np.testing.assert_allclose(groups.split_norms([tensor]), shorter, atol=1e-12)
    (mask,) = groups.masks(groups.selected([tensor]))
    assert torch.equal(mask, split != 0)


@given(st.integers(0, 2**16), st.sampled_from([(1, 2), (2, 4), (3, 4), (1, 4)]))
def test_n_of_m_is_the_proximal_map(seed, pattern):
    # Of lam |x|_1 restricted to vectors with at most `keep` entries: try all supports.
    keep, block = pattern
    v = np.random.default_rng(seed).normal(size=block)
    groups = one_set(f"{keep}:{block}", [torch.tensor(v)[None]])
    (split,) = groups.split([torch.tensor(v)[None]])

    def objective(x):
        return 0.5 * np.sum((x - v) ** 2) + 0.3 * np.sum(np.abs(x))

    best = np.inf
    for bits in range(2**block):
        inside = np.array([bits >> k & 1 for k in range(block)], dtype=bool)
        if inside.sum() <= keep:
            x = np.where(inside, np.sign(v) * np.maximum(np.abs(v) - 0.3, 0), 0)
            best = min(best, objective(x))
    assert (split != 0).sum() <= keep
    assert objective(split.numpy()[0]) == pytest.approx(best, abs=1e-12)
    assert torch.equal(groups.selected([torch.tensor(v)[None]]), split[0] != 0)


def test_size_scaling_multiplies_by_the_root_of_the_joined_size():
    params = tensors([(5, 4), (3, 5)])
    groups = one_set("neuron,channel", params, lam=2.0, size_scaling=True)
    assert groups.threshold == pytest.approx(2.0 * np.sqrt(4 + 3))


def test_dense_param_groups_have_no_sets():
    assert group_sets({"params": tensors([(2, 2)]), "groups": None}) == []


def test_names_come_from_the_param_group():
    params = tensors([(4, 2), (2, 4)])
    group = {"params": params, "groups": "neuron, channel", "param_names": ["a", "b"]}
    (groups,) = group_sets(group)
    assert groups.name == "a + b"
    group["groups"] = "dim5"
    with pytest.raises(ValueError, match="tensor 'a': groups='dim5' needs at least 6"):
        group_sets(group)


@pytest.mark.parametrize(
    "text", ["", "dim", "dim-1", "heads", "dim0/", "dim0/x2", "2:"]
)
def test_unknown_texts(text):
    with pytest.raises(ValueError, match="is unknown; use 'element'"):
        parse_layout(text, (4, 4))


def test_a_number_without_dims_is_a_group_of_its_own():
    for text in ("tensor", "element"):
        assert parse_layout(text, ()).n_groups == 1
