"""``integrations/nginx.conf`` with the real nginx in front of a real service."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from PIL import Image

import tadan
from photo_examples import photo

CONF = Path(__file__).parents[2] / "integrations" / "nginx.conf"
MISSING = shutil.which("nginx") is None and "TADAN_TESTS_NO_SKIP" not in os.environ
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING, reason="not installed: nginx")]
PATIENCE = 60  # seconds until a program must answer
FRAME = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/tadan.conf;
}}
"""
CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
FIREFOX = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
SAFARI = "image/webp,image/avif;q=0,image/jxl,video/*;q=0.8,image/png,*/*;q=0.5"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def running(command, address, log):
    """A program that answers at ``address`` within its patience; it is ended afterwards."""
    with log.open("wb") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file)
        try:
            for _ in range(10 * PATIENCE):
                assert process.poll() is None, log.read_text()
                try:
                    if httpx.get(address).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            else:
                pytest.fail(f"no answer from {address}: {log.read_text()}")
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A client of nginx in front of a service that keeps one picture."""
    folder = tmp_path_factory.mktemp("nginx")
    inner, outer = free_port(), free_port()
    text = CONF.read_text(encoding="utf-8")
    places = {
        "127.0.0.1:8000": f"127.0.0.1:{inner}",
        "listen 80;": f"listen 127.0.0.1:{outer};",
        "/var/cache/tadan-nginx": f"{folder}/cache",
    }
    for known, own in places.items():
        assert text.count(known) == 1, known
        text = text.replace(known, own)
    (folder / "tadan.conf").write_text(text)
    user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""  # the folder is ours alone
    (folder / "main.conf").write_text(FRAME.format(user=user, folder=folder))
    serve = [sys.executable, "-m", "tadan", "serve", "--port", inner, "--workers", 1]
    serve += ["--store", folder / "store", "--cache", folder / "renditions"]
    nginx = ["nginx", "-p", folder, "-c", folder / "main.conf", "-e", folder / "error.log"]
    with (
        running(serve, f"http://127.0.0.1:{inner}/readyz", folder / "serve.log"),
        running(nginx, f"http://127.0.0.1:{outer}/healthz", folder / "nginx.log"),
        httpx.Client(base_url=f"http://127.0.0.1:{outer}", timeout=PATIENCE) as client,
    ):
        data = tadan.encode(photo(), quality=40, effort=0)
        assert client.put("/pictures/a/face", content=data).status_code == 201
        yield client


def get(site, address="/pictures/a/face", accept="*/*", **headers):
    return site.get(address, headers={"Accept": accept, **headers})


def test_the_second_request_is_answered_from_the_cache(site):
    first, second = get(site, "/pictures/a/face?w=40"), get(site, "/pictures/a/face?w=40")
    assert [first.headers["x-cache"], second.headers["x-cache"]] == ["MISS", "HIT"]
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    assert second.headers["vary"] == "Accept"


def test_who_takes_other_formats_gets_them_and_browsers_share_one(site):
    wanted = {CHROME: "image/avif", SAFARI: "image/webp", "image/x-tadan": "image/x-tadan", "*/*": "image/jpeg"}
    for accept, kind in wanted.items():
        answer = get(site, "/pictures/a/face?quality=50" if "tadan" not in accept else "/pictures/a/face", accept)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind), accept
    assert get(site, "/pictures/a/face?quality=50", FIREFOX).headers["x-cache"] == "HIT"
    shown = get(site, "/pictures/a/face?quality=50", CHROME)
    assert Image.open(io.BytesIO(shown.content)).size == (96, 80)


def test_who_has_it_is_told_so(site):
    for _ in range(2):  # through the service, and from the cache
        tag = get(site, "/pictures/a/face?w=41").headers["etag"]
        again = get(site, "/pictures/a/face?w=41", **{"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_a_part_is_a_part_of_the_whole(site):
    for address in ("/pictures/a/face?w=42", "/pictures/a/face?w=42", "/pictures/a/face?w=43&format=png"):
        part = get(site, address, Range="bytes=10-29")
        assert part.status_code == 206, address
        assert part.content == get(site, address).content[10:30]
        assert part.headers["content-range"].startswith("bytes 10-29/")


def test_tokens_do_not_fill_the_cache_of_others(site):
    for _ in range(2):
        answer = get(site, "/pictures/a/face?w=44", Authorization="Bearer something")
        assert answer.headers["x-cache"] == "BYPASS"
    assert get(site, "/pictures/a/face?w=44").headers["x-cache"] == "MISS"


def test_stages_are_not_kept(site):
    for _ in range(2):
        answer = get(site, "/pictures/a/face?progressive=true&format=png")
        assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
        assert "x-cache" not in answer.headers


def test_figures_are_not_for_everybody(site):
    assert site.get("/metrics").status_code == 403
    assert site.get("/healthz").status_code == 200


def test_bodies_that_are_too_long_are_refused_before_they_arrive(site):
    connection = HTTPConnection(site.base_url.host, site.base_url.port, timeout=PATIENCE)
    connection.putrequest("POST", "/encode")
    connection.putheader("Content-Length", str(101 * 2**20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_writers_are_slowed_down_and_readers_are_not(site):
    assert {site.post("/encode").status_code for _ in range(20)} >= {400, 429}
    assert get(site).status_code == 200
