"""Downloads from a server of our own: whole, resumed, wrong, broken, refused, and two at once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.matbench.data import _BLOCK, download

CONTENT = np.random.default_rng(0).bytes(1_000_000)
HASH = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server sends, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    wrong_range: bool = False
    state: int = 200
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each of the next connections breaks."""
    pause: float = 0.0
    asked: list[str] = field(default_factory=list)
    """The Range of every request, or ''."""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range", "")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        state = self.state if self.state != 200 else 416 if start >= len(self.content) else 206 if start else 200
        handler.send_response(state)
        body = self.content[start:] if state in (200, 206) else b""
        handler.send_header("Content-Length", str(len(body)))
        if state == 206:
            first = start + self.wrong_range
            handler.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        handler.end_headers()
        for at in range(0, len(part := body[: self.cuts.pop(0)] if self.cuts else body), 50_000):
            handler.wfile.write(part[at : at + 50_000])
            time.sleep(self.pause)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    facts = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                facts.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client was killed

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        facts.url = f"http://127.0.0.1:{service.server_port}/data.json.gz"
        thread = threading.Thread(target=service.serve_forever, args=(0.02,))
        thread.start()
        yield facts
        service.shutdown()
        thread.join()


def fetch(server: Server, folder: Path) -> bytes:
    path = download(server.url, HASH, folder / "deep" / "data.json.gz", progress=False)
    assert not path.with_name("data.json.gz.part").exists()
    return path.read_bytes()


def part(folder: Path, content: bytes) -> Path:
    """What an interrupted download leaves behind."""
    path = folder / "deep" / "data.json.gz.part"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_a_file_is_fetched_once(server, tmp_path, capsys):
    assert fetch(server, tmp_path) == fetch(server, tmp_path) == CONTENT
    assert server.asked == [""]
    assert capsys.readouterr().err == ""


def test_a_bar_shows_what_has_arrived(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    part(tmp_path, CONTENT[:600_000])
    download(server.url, HASH, tmp_path / "deep" / "data.json.gz")
    text = capsys.readouterr().err
    assert "data.json.gz:" in text and "100%" in text and "977k/977k" in text


def test_a_damaged_file_in_the_cache_is_fetched_again(server, tmp_path):
    part(tmp_path, b"").with_suffix("").write_bytes(CONTENT[:-1])
    assert fetch(server, tmp_path) == CONTENT


def test_what_an_interrupted_download_left_is_not_fetched_again(server, tmp_path):
    part(tmp_path, CONTENT[:123_456])
    assert fetch(server, tmp_path) == CONTENT
    assert server.asked == ["bytes=123456-"]


def test_a_part_that_is_whole_needs_no_more_bytes(server, tmp_path):
    part(tmp_path, CONTENT)
    assert fetch(server, tmp_path) == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("left", [b"of something else", CONTENT + b"too long"])
def test_a_part_of_something_else_is_thrown_away(server, tmp_path, left):
    part(tmp_path, left)
    assert fetch(server, tmp_path) == CONTENT
    assert server.asked == [f"bytes={len(left)}-", ""]


def test_a_server_that_cannot_resume_sends_all(server, tmp_path):
    server.ranges = False
    part(tmp_path, CONTENT[:123_456])
    assert fetch(server, tmp_path) == CONTENT


def test_a_broken_connection_is_taken_up_again(server, tmp_path):
    server.cuts = [20 * _BLOCK + 5, 10 * _BLOCK]
    assert fetch(server, tmp_path) == CONTENT
    assert server.asked == ["", f"bytes={20 * _BLOCK}-", f"bytes={30 * _BLOCK}-"]


def test_what_arrived_is_kept_when_the_connection_keeps_breaking(server, tmp_path):
    server.cuts = [6 * _BLOCK] * 3
    with pytest.raises(InputError, match=rf"Cannot download http.*{18 * _BLOCK} bytes were kept; the next try goes on"):
        fetch(server, tmp_path)
    assert fetch(server, tmp_path) == CONTENT
    assert server.asked[-1] == f"bytes={18 * _BLOCK}-"


def test_another_file_is_refused_and_not_kept(server, tmp_path):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(InputError, match=rf"sent another file: its 1000000 bytes have the SHA-256 .*expected {HASH}"):
        fetch(server, tmp_path)
    assert [path.name for path in (tmp_path / "deep").iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize(("state", "requests"), [(404, 1), (503, 3)])
def test_a_refusal_is_said_and_a_busy_server_asked_again(server, tmp_path, state, requests):
    server.state = state
    with pytest.raises(InputError, match=rf"Cannot download .*: {state} .*Try again, or give the data with --data-dir"):
        fetch(server, tmp_path)
    assert len(server.asked) == requests


def test_another_range_than_the_one_asked_for_is_refused(server, tmp_path):
    server.wrong_range = True
    part(tmp_path, CONTENT[:100])
    with pytest.raises(InputError, match="the server sent another range than bytes 100-"):
        fetch(server, tmp_path)


def test_no_server_and_no_folder_are_said(server, tmp_path):
    with pytest.raises(InputError, match=r"Cannot download http://127\.0\.0\.1:9/x"):
        download("http://127.0.0.1:9/x", HASH, tmp_path / "x", progress=False)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"Cannot write the download to .*Free some space or choose another folder"):
        download(server.url, HASH, tmp_path / "file" / "x", progress=False)


def test_two_at_once_fetch_it_once(server, tmp_path):
    server.pause = 0.01
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(download, server.url, HASH, tmp_path / "x", progress=False) for _ in range(2)]
    assert [job.result().read_bytes() for job in jobs] == [CONTENT, CONTENT]
    assert server.asked == [""]


def test_a_killed_download_goes_on(server, tmp_path):
    server.pause = 0.2
    path = tmp_path / "data.json.gz"
    call = f"download({server.url!r}, {HASH!r}, Path({str(path)!r}))"
    code = f"from pathlib import Path; from matgl_infomax.tasks.matbench.data import download; {call}"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    left = path.with_name("data.json.gz.part")
    while not (left.exists() and left.stat().st_size):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    server.pause, have = 0.0, left.stat().st_size
    assert not path.exists() and 0 < have < len(CONTENT)
    assert download(server.url, HASH, path, progress=False).read_bytes() == CONTENT
    assert server.asked == ["", f"bytes={have}-"]
