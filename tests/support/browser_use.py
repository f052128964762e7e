"""The Chromium of this machine, and small sites for it."""

import mimetypes
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

mimetypes.add_type("application/wasm", ".wasm")
mimetypes.add_type("image/x-tadan", ".tdn")


@pytest.fixture(scope="module")
def browser():
    """The Chromium of this machine."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        if "TADAN_TESTS_NO_SKIP" in os.environ:
            pytest.fail("there is no Chromium; install it: apt-get install chromium")
        pytest.skip("there is no Chromium; install it: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Site:
    """A static host on a free port; files may be added while it runs.

    Attributes:
        files: path -> bytes, or a function that gives them.
        headers: sent with every answer.
        asked: paths in the order in which they were asked for.
    """

    def __init__(self, files=None, headers=None):
        self.files, self.headers, self.asked = dict(files or {}), dict(headers or {}), []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.partition("?")[0]
                site.asked.append(path)
                found = site.files.get(path)
                data = found() if callable(found) else found
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Type", mimetypes.guess_type(path)[0] or "text/html")
                self.send_header("Content-Length", str(len(data or b"")))
                for name, value in site.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
