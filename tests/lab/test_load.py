"""`tadan lab load` against a service that answers as it is told: what is counted is what happened."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from tadan.cli.main import app


class Handler(BaseHTTPRequestHandler):
    """Answers every third request 429, counted from the first; before that the capacity is found."""

    free = 10**9
    seen = 0
    lock = threading.Lock()

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        with self.lock:
            type(self).seen += 1
            number = self.seen
        busy = number > self.free and number % 3 == 0
        status = 401 if self.headers.get("authorization") == "Bearer bad" else 429 if busy else 200
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_every_request_is_counted(url, tmp_path, monkeypatch):
    body, out = tmp_path / "body", tmp_path / "out.json"
    body.write_bytes(b"a body")
    line = ["lab", "load", url, str(body), "--multiples", "0.5,1", "--seconds", "1", "--out", str(out)]
    monkeypatch.setattr(Handler, "seen", 0)
    shown = CliRunner().invoke(app, line)
    assert shown.exit_code == 0, shown.output
    found = json.loads(out.read_text())
    assert found["capacity"] > 0
    assert [row["multiple"] for row in found["rows"]] == [0.5, 1]
    for row in found["rows"]:
        assert set(row["statuses"]) == {"200"}
        assert 0 < row["p50"] <= row["p99"]


def test_a_service_that_refuses_is_an_error(url, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"a body")
    shown = CliRunner().invoke(app, ["lab", "load", url, str(body), "--seconds", "1", "--token", "bad"])
    assert shown.exit_code == 2
    assert CliRunner().invoke(app, ["lab", "load", "ftp://x", str(body)]).exit_code == 2
    assert CliRunner().invoke(app, ["lab", "load", url, str(body), "--multiples", "0"]).exit_code == 2
