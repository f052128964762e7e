"""A running service, as users start it: ``tadan serve`` in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest

from browser_use import browser

__all__ = ["browser"]

ENDINGS = (0,)
TRIES = 600  # of a tenth of a second: a guard against waiting for ever, no measure of the service


def free_port():
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(base):
    """Whether ``/readyz`` says so."""
    try:
        with urllib.request.urlopen(f"{base}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@contextmanager
def running(folder, *options, environment=None):
    """A service with its store, cache and log in ``folder``; the base URL. It ends by SIGTERM, and well."""
    base = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "tadan", "serve", "--port", str(port), "--workers", "1"]
    command += ["--store", str(folder / "store"), "--cache", str(folder / "cache"), *options]
    variables = {**os.environ, **(environment or {})}
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=variables, stdout=file, stderr=file)
    try:
        for _ in range(TRIES):
            if process.poll() is not None or is_ready(base):
                break
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        assert is_ready(base), log.read_text()
        yield base
        process.terminate()
        assert process.wait(timeout=60) in ENDINGS, log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def start_service(tmp_path_factory):
    """Starts services with options: ``start_service("--tokens", path)`` is a base URL. They end with the module."""
    with ExitStack() as services:

        def start(*options, environment=None):
            folder = tmp_path_factory.mktemp("service")
            return services.enter_context(running(folder, *options, environment=environment))

        yield start


@pytest.fixture(scope="module")
def service_at(start_service):
    """Base URL of a service that lets everybody in, without a slash at its end."""
    return start_service()
