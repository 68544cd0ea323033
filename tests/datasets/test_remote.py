"""Larger data: where they are looked for, and what is verified."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

from sparselbi.datasets import fetch_colon, fetch_leukemia, remote
from sparselbi.datasets.remote import (
    fetch_basketball,
    fetch_haxby_slice,
    fetch_test_images,
)
from sparselbi.penalties.transforms import grid_gradient


def test_colon_from_the_named_folder(data_dir):
    bunch = fetch_colon()
    assert bunch.data.shape == (62, 2000)
    assert bunch.data.dtype == np.float64
    assert np.bincount(bunch.target).tolist() == [22, 40]
    assert bunch.target_names == ["normal", "tumour"]
    # the original matrix is in order of descending minimal intensity
    assert (np.diff(bunch.data.min(axis=0)) <= 0).all()
    X, y = fetch_colon(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_leukemia(data_dir):
    bunch = fetch_leukemia()
    assert bunch.data.shape == (72, 7129)
    assert bunch.data.dtype == np.float64
    assert np.bincount(bunch.target).tolist() == [47, 25]
    # the published split: 27 ALL and 11 AML patients to train on
    assert np.bincount(bunch.target[bunch.train]).tolist() == [27, 11]
    assert len(set(bunch.feature_names)) == 7129
    assert bunch.feature_names[0] == "AFFX-BioB-5_at"
    X, y = fetch_leukemia(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_haxby_slice(data_dir):
    bunch = fetch_haxby_slice()
    assert bunch.data.shape == (1452, 530)
    assert bunch.data.dtype == np.float64
    assert bunch.data.flags.c_contiguous
    assert bunch.mask.shape == bunch.shape == (40, 20)
    assert bunch.mask.sum() == 530
    names, counts = np.unique(bunch.target, return_counts=True)
    assert sorted(bunch.target_names) == names.tolist()
    assert dict(zip(names, counts, strict=True))["rest"] == 588
    assert sorted(counts) == [108] * 8 + [588]
    # 12 runs of 121 volumes; in each, every category is shown for 9 consecutive ones
    np.testing.assert_array_equal(bunch.run, np.repeat(np.arange(12), 121))
    shown = bunch.target[bunch.target != "rest"].reshape(96, 9)
    assert (shown == shown[:, :1]).all()
    assert all(len(set(blocks)) == 8 for blocks in shown[:, 0].reshape(12, 8))
    # voxels are in the order of the mask: neighbours in the image are alike
    mean = bunch.data.mean(axis=0)
    jumps = np.abs(grid_gradient(bunch.shape, bunch.mask).dot(mean))
    assert jumps.mean() < 0.5 * np.abs(np.subtract.outer(mean, mean)).mean()
    X, y = fetch_haxby_slice(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_haxby_slice_without_the_run_means(data_dir):
    raw, bunch = fetch_haxby_slice(), fetch_haxby_slice(detrend=True)
    for run in range(12):
        rows = raw.run == run
        assert np.abs(bunch.data[rows].mean(axis=0)).max() < 1e-9
        removed = raw.data[rows] - bunch.data[rows]
        np.testing.assert_allclose(removed, np.tile(removed[:1], (121, 1)), atol=1e-9)
    # what the data are for: a run that was left out can be read
    rows = np.isin(bunch.target, ["face", "house"])
    score = cross_val_score(
        RidgeClassifier(),
        bunch.data[rows],
        bunch.target[rows],
        groups=bunch.run[rows],
        cv=LeaveOneGroupOut(),
    )
    assert score.mean() > 0.9


def test_test_images(data_dir):
    images = fetch_test_images().images
    shapes = {name: image.shape for name, image in images.items()}
    square = dict.fromkeys(("camera", "brick", "grass", "gravel"), (512, 512))
    assert shapes == {**square, "coins": (303, 384), "cell": (660, 550)}
    for image in images.values():
        assert image.dtype == np.float64
        assert image.min() >= 0
        assert 0.4 < image.max() <= 1
        np.testing.assert_allclose(image * 255, np.round(image * 255), atol=1e-12)


def test_basketball(data_dir):
    bunch = fetch_basketball()
    assert bunch.data.shape == (134, 12)
    assert bunch.pairs.shape == (134, 2)
    assert bunch.feature_names == sorted(bunch.feature_names)
    assert (bunch.data.sum(axis=1) == 0).all()
    assert (np.abs(bunch.data).sum(axis=1) == 2).all()
    names = np.array(bunch.feature_names)
    np.testing.assert_array_equal(names[bunch.data.argmax(axis=1)], bunch.pairs[:, 0])
    np.testing.assert_array_equal(names[bunch.data.argmin(axis=1)], bunch.pairs[:, 1])
    assert bunch.target[:3].tolist() == [37, 11, 7]  # America against Spain
    assert bunch.pairs[0].tolist() == ["America", "Spain"]
    # the games join all teams, so that strengths are known up to one constant
    assert np.linalg.matrix_rank(bunch.data) == 11
    strength = np.linalg.lstsq(bunch.data, bunch.target, rcond=None)[0]
    assert names[strength.argmax()] == "America"
    X, y = fetch_basketball(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_colon_from_data_home(data_dir, tmp_path, monkeypatch):
    monkeypatch.delenv("SPARSELBI_DATA")
    file = tmp_path / remote.REGISTRY["colon"].path
    file.parent.mkdir()
    file.write_bytes((data_dir / remote.REGISTRY["colon"].path).read_bytes())
    assert fetch_colon(data_home=tmp_path).data.shape == (62, 2000)


@pytest.mark.parametrize(
    ("fetch", "name", "source"),
    [
        (fetch_colon, "colon", ("alon.RData", "alon.npz")),
        (fetch_leukemia, "leukemia", ("golub.RData", "golub.npz")),
        (fetch_haxby_slice, "haxby_slice", ("bold.nii.gz", "haxby_sub1_slice.npz")),
        (fetch_test_images, "test_images", ("camera.png", "test_images.npz")),
        (fetch_basketball, "basketball", ("Data_bas.mat", "basketball.csv.gz")),
    ],
)
def test_missing_file_says_what_to_do(fetch, name, source, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSELBI_DATA", str(tmp_path / "named"))
    with pytest.raises(FileNotFoundError) as error:
        fetch(data_home=tmp_path / "home")
    message = str(error.value)
    for part in ("named", "home", "SPARSELBI_DATA", *source):
        assert part in message
    assert remote.REGISTRY[name].sha256 in message


def test_damaged_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSELBI_DATA", str(tmp_path))
    file = tmp_path / remote.REGISTRY["colon"].path
    file.parent.mkdir()
    file.write_bytes(b"not the data")
    found = hashlib.sha256(b"not the data").hexdigest()
    expected = remote.REGISTRY["colon"].sha256
    with pytest.raises(ValueError, match=rf"{found}, expected {expected}"):
        fetch_colon()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A registered file with an address on this machine."""
    source = tmp_path / "server"
    source.mkdir()
    (source / "numbers.txt").write_bytes(b"1 2 3")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=source))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    entry = remote._Remote(
        path="folder/numbers.txt",
        sha256=hashlib.sha256(b"1 2 3").hexdigest(),
        url=f"http://127.0.0.1:{server.server_port}/numbers.txt",
        recipe="",
    )
    monkeypatch.setitem(remote.REGISTRY, "numbers", entry)
    monkeypatch.delenv("SPARSELBI_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield entry
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_into_the_cache(served, tmp_path):
    file = remote._locate("numbers", tmp_path / "home")
    assert file == tmp_path / "home" / "folder" / "numbers.txt"
    assert file.read_bytes() == b"1 2 3"


def test_download_with_another_checksum_is_refused(served, tmp_path, monkeypatch):
    monkeypatch.setitem(remote.REGISTRY, "numbers", served._replace(sha256="0" * 64))
    with pytest.raises(ValueError, match="0" * 64):
        remote._locate("numbers", tmp_path / "home")
    assert not (tmp_path / "home" / "folder" / "numbers.txt").exists()
