"""Data: the mirror, checksums, and one sentence for everything that can go wrong."""

import functools
import hashlib
import http.server
import threading

import pytest

from taafs_plugins import data

PATH = "deepmodeling/deepmd-kit/examples/water/data/data_0/type_map.raw"


@pytest.fixture
def no_mirror(monkeypatch, tmp_path):
    monkeypatch.delenv(data.MIRROR, raising=False)
    monkeypatch.setenv(data.CACHE, str(tmp_path / "cache"))


def test_registry_has_a_checksum_and_a_source_for_every_file():
    assert len(data.registry()) > 30
    assert all(len(value) == 64 for value in data.registry().values())
    without = [path for path in data.registry() if data._url(path) is None]
    assert without == ["fe_magnetic/fe.extxyz"]  # converted by hand from its source


def test_mirror_is_checked(monkeypatch, tmp_path):
    monkeypatch.setenv(data.MIRROR, str(tmp_path))
    with pytest.raises(data.DataError, match="unset it to download"):
        data.fetch(PATH)
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).write_text("O\nX\n")
    with pytest.raises(data.DataError, match="does not have the registered SHA-256"):
        data.fetch(PATH)


def test_unknown_files_are_refused():
    with pytest.raises(data.DataError, match="not a registered data file"):
        data.fetch("somewhere/else.npz")
    with pytest.raises(data.DataError, match="lies below"):
        data.fetch_folder("somewhere")


def test_downloads_are_checked_cached_and_refused_when_they_differ(no_mirror, monkeypatch, tmp_path):
    content, other = b"O\nH\n", PATH.replace("data_0", "data_1")
    site = tmp_path / "site"
    for path in (PATH, other):
        (site / path).parent.mkdir(parents=True)
        (site / path).write_bytes(content)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(data, "_url", lambda path: f"http://127.0.0.1:{server.server_port}/{path}")
    monkeypatch.setattr(data, "registry", lambda: {PATH: hashlib.sha256(content).hexdigest(), other: "0" * 64})
    assert data.fetch(PATH).read_bytes() == content
    with pytest.raises(data.DataError):
        data.fetch(other)
    server.shutdown()
    server.server_close()  # else a connection waits for an answer until its time is up
    assert data.fetch(PATH).read_bytes() == content  # from the cache
    monkeypatch.setattr(data, "registry", lambda: {PATH: "0" * 64})
    with pytest.raises(data.DataError):
        data.fetch(PATH)


def test_no_network_and_no_mirror_is_one_sentence(no_mirror, monkeypatch):
    monkeypatch.setattr(data, "_url", lambda path: "http://127.0.0.1:9/nothing")
    with pytest.raises(data.DataError, match="TAAFS_DATA_MIRROR"):
        data.fetch(PATH)
    monkeypatch.setattr(data, "_url", lambda path: None)
    with pytest.raises(data.DataError, match="converted by hand"):
        data.fetch("fe_magnetic/fe.extxyz")
