"""Larger data: where they are looked for, and what is verified."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sparselbi.datasets import fetch_colon, fetch_leukemia, remote


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


def test_colon_from_data_home(data_dir, tmp_path, monkeypatch):
    monkeypatch.delenv("SPARSELBI_DATA")
    file = tmp_path / remote.REGISTRY["colon"].path
    file.parent.mkdir()
    file.write_bytes((data_dir / remote.REGISTRY["colon"].path).read_bytes())
    assert fetch_colon(data_home=tmp_path).data.shape == (62, 2000)


@pytest.mark.parametrize(
    ("fetch", "name", "source"),
    [(fetch_colon, "colon", "alon"), (fetch_leukemia, "leukemia", "golub")],
)
def test_missing_file_says_what_to_do(fetch, name, source, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSELBI_DATA", str(tmp_path / "named"))
    with pytest.raises(FileNotFoundError) as error:
        fetch(data_home=tmp_path / "home")
    message = str(error.value)
    for part in ("named", "home", "SPARSELBI_DATA", f"{source}.RData", f"{source}.npz"):
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
