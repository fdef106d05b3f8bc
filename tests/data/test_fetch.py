"""Fetching open datasets, from a server on this machine."""

import errno
import hashlib
import io
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from data_doubles import make_busi, tree

import bench.data.fetch as fetching
from bench.core.errors import BenchError
from bench.data.cards import Card, card_files, load_card
from bench.data.fetch import CHUNK_BYTES, fetch


def archive(seed: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("data.bin", bytes(range(256)) * 800 + bytes([seed]))
    return packed.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `content` with ranges; breaks off after `cut` bytes when that is set."""

    asked: list[str | None]
    content = archive(0)
    etag: str | None = '"one"'
    cut: int | None = None
    status: int | None = None
    ranges = True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.headers.get("Range"))
        if self.server.status:
            self.send_error(self.server.status)
            return
        content, start = self.server.content, 0
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges and self.headers.get("If-Range") == self.server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        self.wfile.write(content[start : self.server.cut])


@pytest.fixture
def server():
    running = Server(("127.0.0.1", 0), Handler)
    running.asked = []
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def card(server: Server, checksum: str | None = None) -> Card:
    url = f"http://127.0.0.1:{server.server_address[1]}/x.zip"
    content = load_card("busi").model_dump(by_alias=True)
    content["access"]["files"] = [{"name": "x.zip", "url": url, "checksum": checksum}]
    return Card.model_validate(content)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_file_is_downloaded_checked_and_reported(tmp_path, server):
    seen = []
    (got,) = fetch(card(server, sha256(server.content)), tmp_path, lambda *a: seen.append(a))
    assert got.path == tmp_path / "busi" / "x.zip"
    assert got.path.read_bytes() == server.content
    assert (got.state, got.checked, got.bytes) == ("downloaded", True, len(server.content))
    assert seen[-1] == ("x.zip", len(server.content), len(server.content))
    assert tree(tmp_path / "busi") == ["x.zip"]


def test_a_file_that_is_there_is_not_asked_for_again(tmp_path, server):
    fetch(card(server, sha256(server.content)), tmp_path)
    (got,) = fetch(card(server, sha256(server.content)), tmp_path)
    assert got.state == "present" and len(server.asked) == 1


def test_without_a_known_checksum_the_sha256_is_reported(tmp_path, server):
    (got,) = fetch(card(server), tmp_path)
    assert not got.checked and f"sha256:{got.sha256}" == sha256(server.content)


def test_an_interrupted_transfer_goes_on_where_it_stopped(tmp_path, server):
    server.cut = 2 * CHUNK_BYTES + 10
    with pytest.raises(BenchError, match="cannot be reached.*same command again to go on"):
        fetch(card(server), tmp_path)
    assert (tmp_path / "busi" / "x.zip.part").stat().st_size == 2 * CHUNK_BYTES
    server.cut = None
    (got,) = fetch(card(server, sha256(server.content)), tmp_path)
    assert got.state == "resumed" and server.asked[-1] == f"bytes={2 * CHUNK_BYTES}-"
    assert got.path.read_bytes() == server.content
    assert tree(tmp_path / "busi") == ["x.zip"]


@pytest.mark.parametrize("change", ["other version", "no ranges", "no version mark"])
def test_halves_of_two_files_are_never_joined(tmp_path, server, change):
    server.cut = 2 * CHUNK_BYTES + 10
    if change == "no version mark":
        server.etag = None
    with pytest.raises(BenchError):
        fetch(card(server), tmp_path)
    server.cut, server.ranges = None, change != "no ranges"
    if change == "other version":
        server.content, server.etag = archive(1), '"two"'
    (got,) = fetch(card(server), tmp_path)
    assert got.state == "downloaded" and got.path.read_bytes() == server.content


def test_a_wrong_checksum_keeps_nothing(tmp_path, server):
    with pytest.raises(BenchError, match=r"not the expected file: its checksum is not sha256:0+"):
        fetch(card(server, "sha256:" + "0" * 64), tmp_path)
    assert tree(tmp_path / "busi") == []


def test_a_login_page_is_not_taken_for_the_archive(tmp_path, server):
    server.content = b"<html>sign in</html>"
    with pytest.raises(BenchError, match=r"web page instead of the archive.*prepare busi --from"):
        fetch(card(server), tmp_path)
    assert tree(tmp_path / "busi") == []


def test_a_refusal_says_how_to_get_the_file_by_hand(tmp_path, server):
    server.status = 403
    with pytest.raises(BenchError, match=r"server refuses .*403.*by hand from https://scholar"):
        fetch(card(server), tmp_path)


def test_without_network_there_is_one_clear_message(tmp_path, server):
    unreachable = card(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(
        BenchError, match=r"cannot be reached \(ConnectionError\)\. Is this machine"
    ):
        fetch(unreachable, tmp_path)


def test_a_dataset_given_out_on_request_says_how_to_ask(tmp_path):
    with pytest.raises(BenchError, match=r"BUS cannot be downloaded.*release agreement.*--from"):
        fetch(load_card("bus"), tmp_path)
    assert tree(tmp_path) == []


def test_a_full_disk_keeps_what_has_come(tmp_path, server, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching.os, "fsync", full)
    with pytest.raises(BenchError, match="Cannot download busi .*disk is full.*again to go on"):
        fetch(card(server), tmp_path)
    assert "x.zip" not in tree(tmp_path / "busi")
    monkeypatch.undo()
    assert fetch(card(server), tmp_path)[0].path.read_bytes() == server.content


def test_the_next_step_that_the_command_prints_works(tmp_path, server, bench):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for file in sorted(make_busi(tmp_path / "made").rglob("*.png")):
            opened.write(file, file.relative_to(tmp_path / "made"))
    server.content = packed.getvalue()
    shipped = card_files()["busi"].read_text()
    url = f"http://127.0.0.1:{server.server_address[1]}/x.zip"
    text = re.sub(r'url = ".*"', f'url = "{url}"', shipped).replace('"busi"', '"toy-busi"', 1)
    (tmp_path / "toy.toml").write_text(text)
    fetched = bench("data", "fetch", "toy-busi", "--card", "toy.toml", NO_PROXY="127.0.0.1")
    assert fetched.returncode == 0, fetched.stderr
    assert "Dataset_BUSI.zip: downloaded, no published checksum" in fetched.stdout
    said = next(line for line in fetched.stdout.splitlines() if line.startswith("Next: bench "))
    words = said.removeprefix("Next: bench ").split()
    prepared = bench(*words, "--card", "toy.toml", "--data", "data")
    assert prepared.returncode == 0, prepared.stderr
    assert "toy-busi: 7 cases" in prepared.stdout
