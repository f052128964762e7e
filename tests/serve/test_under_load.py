"""Under load and when things die: requests are turned away, given up, or answered by another process; nothing hangs."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import replace

import psutil
import pytest
from skimage import data

import tadan
from serve_examples import client, photograph, picture_bytes
from tadan.serve.metrics import Metrics
from tadan.serve.pool import Gate, Problem
from tadan.serve.settings import Settings
from tadan.serve.work import Task, Wish, pixels_in_work

CODED = tadan.encode(photograph(), quality=50, effort=0, fallback=False)


def large_picture():
    from PIL import Image

    return picture_bytes(Image.fromarray(data.astronaut()).resize((900, 900)), "JPEG", quality=95)


def counter(service, name):
    lines = service.get("/metrics").text.splitlines()
    return next(float(one.split()[1]) for one in lines if one.startswith(f"{name} "))


def gate(**chosen):
    return Gate(Settings(store=None, **chosen), Metrics())


@pytest.mark.parametrize(
    ("bound", "first", "second"),
    [
        ({"queue_jobs": 1}, (1, 1), (1, 1)),
        ({"queue_bytes": 100}, (60, 1), (60, 1)),
        ({"queue_pixels": 100}, (1, 60), (1, 60)),
    ],
)
def test_the_gate_turns_away_what_does_not_fit(bound, first, second):
    async def story():
        one = gate(**bound)
        async with one.room(*first):
            with pytest.raises(Problem) as found:
                async with one.room(*second):
                    pytest.fail("there was no room")
            assert found.value.status == 429
            assert int(found.value.headers["Retry-After"]) >= 1
        async with one.room(*second):
            assert one.load.jobs == 1
        assert (one.load.jobs, one.load.bytes, one.load.pixels) == (0, 0, 0)
        async with one.room(10**9, 10**9):  # alone, anything is tried
            pass
        one.closed = True
        with pytest.raises(Problem) as found:
            async with one.room(1, 1):
                pytest.fail("it was closed")
        assert found.value.status == 503

    asyncio.run(story())


def test_bodies_that_arrive_are_bounded_together():
    one = gate(queue_bytes=100)
    one.receive(0, 500)  # alone, any length is tried
    with pytest.raises(Problem) as found:
        one.receive(0, 1)
    assert found.value.status == 429
    one.receiving = 0
    one.receive(0, 60)
    one.receive(60, 30)
    with pytest.raises(Problem):
        one.receive(0, 20)
    one.receive(0, 10)
    assert one.receiving == 100


def test_a_body_that_was_received_is_no_longer_arriving(tmp_path):
    with client(tmp_path, queue_bytes=len(CODED) + 10, max_body=len(CODED)) as service:
        for _ in range(3):
            assert service.post("/info", content=CODED).status_code == 200
            assert service.post("/info", content=CODED + b"more").status_code == 413
        assert service.app.state.service.gate.receiving == 0


def test_room_is_given_back_after_an_error():
    async def story():
        one = gate(queue_jobs=1)
        for _ in range(3):
            with pytest.raises(ValueError, match="inside"):
                async with one.room(5, 5):
                    raise ValueError("inside")
        assert one.load.jobs == 0

    asyncio.run(story())


def test_too_many_at_once_are_told_to_come_again(tmp_path):
    with client(tmp_path, queue_jobs=2) as service:
        body, statuses = large_picture(), []

        def ask():
            statuses.append(service.post("/encode?effort=3", content=body).status_code)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert sorted(set(statuses)) == [200, 429]
        assert 2 <= statuses.count(200) < 6
        assert service.post("/info", content=CODED).status_code == 200
        assert counter(service, "tadan_queue_jobs") == 0


def test_waiting_counts_too(tmp_path):
    """The second one would have time enough if it did not have to wait for the first."""
    with client(tmp_path, deadline=1.5) as service:
        thread = threading.Thread(target=lambda: service.post("/encode?effort=9", content=large_picture()))
        thread.start()
        assert _soon(lambda: counter(service, "tadan_queue_jobs") == 1)
        answer = service.post("/info", content=CODED)
        thread.join(60)
        assert answer.status_code in (200, 504)
        assert counter(service, "tadan_deadlines_total") >= 1


def test_what_takes_too_long_is_given_up(tmp_path):
    with client(tmp_path, deadline=1.5) as service:
        answer = service.post("/encode?effort=9", content=large_picture())
        assert (answer.status_code, answer.json()["error"]) == (504, "DeadlineExceeded")
        assert counter(service, "tadan_deadlines_total") == 1
        assert _soon(lambda: service.post("/info", content=CODED).status_code == 200)


def test_a_process_that_is_killed_costs_one_request(tmp_path):
    with client(tmp_path) as service:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(service.post("/encode?effort=9", content=large_picture()))
        )
        thread.start()
        assert _soon(lambda: bool(_busy()))
        for process in _busy():
            os.kill(process.pid, signal.SIGKILL)
        thread.join(60)
        assert (answers[0].status_code, answers[0].json()["error"]) == (500, "WorkerDied")
        assert _soon(lambda: service.post("/info", content=CODED).status_code == 200)
        assert counter(service, "tadan_workers_died_total") == 1


def _busy():
    """Processes below this one that compute."""
    own = psutil.Process().children(recursive=True)
    return [one for one in own if one.is_running() and one.cpu_percent(0.1) > 50]


def _soon(done, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.1)
    return False


def test_processes_end_with_the_service(tmp_path):
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    with client(tmp_path, workers=2) as service:
        assert service.post("/info", content=CODED).status_code == 200
        during = {one.pid for one in psutil.Process().children(recursive=True)} - before
        assert len(during) >= 2

    def gone():
        left = {one.pid for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE}
        names = {one.pid for one in psutil.Process().children(recursive=True) if _keeps(one)}
        return not (left & during) - names

    assert _soon(gone)


def _keeps(process):
    """The helpers of multiprocessing itself stay with the process that began them."""
    try:
        return any(word in " ".join(process.cmdline()) for word in ("forkserver", "resource_tracker"))
    except psutil.Error:
        return False


def test_a_body_that_is_broken_off_changes_nothing(tmp_path):
    with client(tmp_path) as service:

        def half():
            yield CODED[:100]
            raise OSError("the client left")

        assert service.put("/pictures/half", content=half()).status_code >= 400
        assert service.get("/pictures/half").status_code == 404
        assert io.BytesIO(service.get("/healthz").content).read()


def test_the_command_says_where_it_listens_and_ends_well(tmp_path):
    """``--port 0`` takes a free port, a taken port is an error, and an orderly end is no failure."""
    command = [sys.executable, "-m", "tadan", "serve", "--store", "none", "--cache", str(tmp_path), "--workers", "1"]
    command += ["--max-pixels", "2M", "--memory", "800M"]
    with subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.readline()
        port = int(said.partition("http://127.0.0.1:")[2].partition("/")[0])
        assert port > 0
        taken = subprocess.run(
            [*command, "--port", str(port)], capture_output=True, text=True, check=False, timeout=120
        )
        assert taken.returncode == 2
        assert "choose another --port" in taken.stderr
        assert _soon(lambda: _answers(port))
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0


def _answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_work_ends_when_the_client_leaves(service_at):
    """Over a real connection: nothing is left inside, and the log has 499."""
    body, address = large_picture(), urllib.parse.urlsplit(service_at)
    head = f"POST /encode?effort=9 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        assert _soon(lambda: "tadan_queue_jobs 1.0" in metrics(service_at))
    assert _soon(lambda: "tadan_queue_jobs 0.0" in metrics(service_at))
    assert 'route="/encode",status="499"' in metrics(service_at)
    assert 'route="/encode",status="200"' not in metrics(service_at)


def metrics(base):
    with urllib.request.urlopen(f"{base}/metrics", timeout=60) as answer:
        return answer.read().decode()


def test_a_region_counts_no_more_than_itself():
    """A viewer asks for many small parts of a large picture at once."""
    coded = tadan.encode(photograph(), effort=0)
    width, height = photograph().size
    whole = Task("show", coded, Wish("png"))
    assert pixels_in_work(whole) == pixels_in_work(Task("verify", coded)) == width * height
    assert pixels_in_work(replace(whole, wish=Wish("png", region=(3, 5, 20, 10)))) == 200
    assert pixels_in_work(replace(whole, wish=Wish("png", region=(0, 0, 9999, 9999)))) == width * height
    assert pixels_in_work(Task("info", coded)) == pixels_in_work(Task("convert", b"no picture", Wish("png"))) == 0
