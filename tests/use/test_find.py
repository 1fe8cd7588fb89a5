"""From a name, a file or a run to a path: cached, offline, resumed and checked, from a server on this machine."""

import hashlib
import threading
import types
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nfnet import UserError
from nfnet.weights import download as downloads
from nfnet.weights import find
from nfnet.weights.download import cache_folder, download, progress
from nfnet.weights.find import locate
from nfnet.weights.zoo import ENTRIES

CONTENT = bytes(range(256)) * 64
URL = "https://example.org/weights.npz"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server sends, and which ranges it was asked for."""

    address: str = ""
    content: bytes = CONTENT
    cut: int | None = None
    resumes: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)

    def open(self, request: urllib.request.Request) -> object:
        """Sends a request for any address here, as the real opener would there."""
        return urllib.request.urlopen(urllib.request.Request(self.address, headers=dict(request.header_items())))


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and state.resumes else 0
            body, total = state.content[start:], len(state.content)
            if asked and state.resumes and start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if asked and state.resumes else 200)
            if asked and state.resumes:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.send_header("Content-Length", str(len(body)))
            for key, value in state.headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body if state.cut is None else body[: state.cut])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.address = f"http://127.0.0.1:{listening.server_address[1]}/"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def test_a_file_comes_whole(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "weights.npz"
    download(URL, path, sha256=SHA256, size=len(CONTENT), opener=server.open)
    assert path.read_bytes() == CONTENT
    assert [one.name for one in path.parent.iterdir()] == ["weights.npz"]
    assert server.ranges == [None]
    assert "weights.npz" in capsys.readouterr().err


@pytest.mark.parametrize("resumes", [True, False])
def test_a_download_that_was_cut_off_goes_on(server: Server, tmp_path: Path, resumes: bool) -> None:
    path = tmp_path / "weights.npz"
    server.cut = 1000
    with pytest.raises(UserError, match=r"1,000 of 16,384 bytes.*goes on where it stopped"):
        download(URL, path, sha256=SHA256, opener=server.open)
    assert not path.exists()
    server.cut, server.resumes = None, resumes
    download(URL, path, sha256=SHA256, opener=server.open)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_all_had_come_but_was_not_renamed(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.with_name("weights.npz.part").write_bytes(CONTENT)
    download(URL, path, sha256=SHA256, opener=server.open)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"sha256": "0" * 64}, "has the SHA256"),
        ({"md5": "0" * 32}, "has the MD5"),
        ({"size": 5}, "has 16,384 bytes, but needs 5"),
    ],
)
def test_another_file_is_refused(server: Server, tmp_path: Path, known: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        download(URL, tmp_path / "weights.npz", opener=server.open, **known)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_the_server_says_of_its_file_is_compared(server: Server, tmp_path: Path) -> None:
    server.headers["x-goog-hash"] = "crc32c=AAAAAA==, md5=AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(UserError, match="has the MD5"):
        download(URL, tmp_path / "weights.npz", opener=server.open)


def test_no_more_than_the_largest_size_is_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "LARGEST", 100)
    with pytest.raises(UserError, match="may have at most 100"):
        download(URL, tmp_path / "weights.npz", opener=server.open)


def test_only_https(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not https"):
        download("http://127.0.0.1:9/weights.npz", tmp_path / "weights.npz")
    with pytest.raises(UserError, match="is not https"):
        download("file:///etc/hostname", tmp_path / "weights.npz")
    request = urllib.request.Request(URL)
    with pytest.raises(downloads._Wrong, match="is not https"):
        downloads._OnlyHttps().redirect_request(request, None, 302, "Found", {}, "http://example.org/")  # type: ignore[arg-type]


def test_no_network_is_one_sentence(tmp_path: Path) -> None:
    def unreachable(request: urllib.request.Request) -> object:
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    with pytest.raises(UserError, match=r"Name or service not known.*check the network.*put it at .*weights\.npz"):
        download(URL, tmp_path / "weights.npz", opener=unreachable)


def test_progress_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("F0", 100 * 2**20, 50 * 2**20) as advance:
        for _ in range(50):
            advance(2**20)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "F0: 50 of 100 MiB"
    assert lines[-1] == "F0: 100 of 100 MiB"
    assert len(lines) == 6


def test_released_weights_go_to_the_cache_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []

    def fake(url: str, path: Path, **known: object) -> None:
        calls.append((url, known))
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights")

    monkeypatch.setattr(find, "download", fake)
    entry = ENTRIES["F0_haiku"]
    for _ in range(2):
        found = locate("F0_haiku")
        assert (found.path, found.entry) == (cache_folder() / "F0_haiku.npz", entry)
    assert found.path.is_relative_to(tmp_path / "cache" / "nfnet-companion")
    assert calls == [(entry.url, {"sha256": entry.sha256, "md5": entry.md5, "size": entry.bytes})]
    assert locate("F0_haiku", offline=True).path.read_bytes() == b"weights"


@pytest.mark.parametrize("name", ["F1_haiku", "dm_nfnet_f1.dm_in1k"])
def test_offline_says_what_to_put_where(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"offline.*https://"):
        locate(name, offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="offline"):
        locate(name)


def hub_cache(root: Path, name: str) -> Path:
    """Lays a file into a cache as huggingface_hub does: a link to its content, which is named by its SHA-256."""
    repo = root / "hub" / f"models--timm--{name}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    for folder in ("refs", "blobs", f"snapshots/{commit}"):
        (repo / folder).mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "blobs" / SHA256).write_bytes(CONTENT)
    path = repo / "snapshots" / commit / "model.safetensors"
    path.symlink_to(f"../../blobs/{SHA256}")
    return path


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"])
def test_the_hubs_cache_is_used_without_its_package(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "other"
    places = {"HF_HOME": root, "HF_HUB_CACHE": root / "hub", "XDG_CACHE_HOME": root.parent}
    monkeypatch.setenv(variable, str(places[variable]))
    path = hub_cache(root if variable != "XDG_CACHE_HOME" else tmp_path / "huggingface", "dm_nfnet_f0.dm_in1k")
    for name in ("dm_nfnet_f0.dm_in1k", "timm/dm_nfnet_f0.dm_in1k"):
        found = locate(name, offline=True)
        assert found.path == path
        assert found.entry is ENTRIES["dm_nfnet_f0.dm_in1k"]


def test_without_the_hubs_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install huggingface_hub.*https://huggingface.co/timm/dm_nfnet_f0"):
        locate("dm_nfnet_f0.dm_in1k")


def fake_hub(monkeypatch: pytest.MonkeyPatch, call: Callable[..., str]) -> None:
    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = call  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", module)


def test_the_hubs_package_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def call(**what: str) -> str:
        asked.append(what)
        return str(hub_cache(tmp_path, "dm_nfnet_f0.dm_in1k"))

    fake_hub(monkeypatch, call)
    assert locate("dm_nfnet_f0.dm_in1k").path.read_bytes() == CONTENT
    assert asked == [{"repo_id": "timm/dm_nfnet_f0.dm_in1k", "filename": "model.safetensors"}]


def test_a_damaged_file_of_the_hub_is_refused_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_cache(tmp_path, "dm_nfnet_f0.dm_in1k")
    path.resolve().write_bytes(b"damaged")
    fake_hub(monkeypatch, lambda **_: str(path))
    with pytest.raises(UserError, match="has the SHA-256"):
        locate("dm_nfnet_f0.dm_in1k")
    assert not path.exists()


def test_the_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    class ConnectError(Exception):
        pass

    def call(**_: str) -> str:
        raise ConnectError("[Errno -2] Name or service not known")

    fake_hub(monkeypatch, call)
    with pytest.raises(UserError, match=r"Name or service not known.*check the network.*give the path"):
        locate("dm_nfnet_f0.dm_in1k")


def test_files_runs_and_copies_of_repositories(tmp_path: Path) -> None:
    file, run, copy = tmp_path / "a.npz", tmp_path / "run", tmp_path / "dm_nfnet_f0.dm_in1k"
    file.write_bytes(b"")
    run.mkdir()
    copy.mkdir()
    (copy / "model.safetensors").write_bytes(b"")
    assert locate(file).path == file
    assert locate(str(run)).path == run
    assert locate(copy).path == copy / "model.safetensors"
    assert locate(copy).entry is None


@pytest.mark.parametrize("name", ["dm_nfnet_f0", "no such file.npz", "", "\x00", "gs://bucket/file"])
def test_what_is_nowhere_is_told(name: str) -> None:
    with pytest.raises(UserError) as caught:
        locate(name)
    assert str(caught.value).isprintable()
