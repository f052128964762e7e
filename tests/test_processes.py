"""Threads, pickles, process pools and forks: the same results everywhere, and no child that waits for ever."""

import copy
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import tadan
from photo_examples import photo
from tadan.codec.codec import Codec
from tadan.errors import LimitExceeded, OutOfMemory
from tadan.fork import ForkLock
from tadan.models import load_model

PICTURE = photo("chelsea", 96, 128)
DATA = Codec(threads=1).encode(PICTURE, quality=30, effort=0, tile=64)
PIXELS = np.asarray(Codec(threads=1).decode(DATA))

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def decode_with(codec, data):
    return np.asarray(codec.decode(data)).tobytes()


def test_codec_and_model_can_be_pickled_and_copied():
    limits = tadan.Limits(max_pixels=20_000)
    codec = Codec(threads=2, limits=limits, memory=2**28)
    codec.decode(DATA)  # sessions and tables are there, and stay behind
    for other in (pickle.loads(pickle.dumps(codec)), copy.deepcopy(codec)):
        assert repr(other) == repr(codec)
        np.testing.assert_array_equal(np.asarray(other.decode(DATA)), PIXELS)
    model = load_model()
    assert model.twin is not None
    sent = pickle.loads(pickle.dumps(model))
    assert sent.id == model.id
    assert not any(value.flags.writeable for value in sent.tensors.values())
    np.testing.assert_array_equal(np.asarray(Codec(sent, threads=1).decode(DATA)), PIXELS)


@pytest.mark.parametrize("error", [LimitExceeded("too large", "max_pixels", 5, 4), OutOfMemory("this")])
def test_errors_come_back_from_other_processes_with_their_facts(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


@pytest.mark.slow
def test_a_pool_of_processes_gets_the_codec_itself():
    codec = Codec(threads=1)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        results = list(pool.map(decode_with, [codec] * 4, [DATA] * 4))
    assert results == [PIXELS.tobytes()] * 4


def test_threads_share_one_codec():
    codec, encoded = Codec(threads=1), {}
    regions = [(0, 0, 60, 40), (30, 20, 70, 76), None, (100, 90, 28, 6)]

    def work(number):
        region = regions[number % 4]
        part = np.asarray(codec.decode(DATA, region=region))
        x, y, w, h = region or (0, 0, 128, 96)
        encoded[number] = codec.encode(PICTURE, quality=30, effort=0, tile=64)
        return np.array_equal(part, PIXELS[y : y + h, x : x + w]) and codec.verify(DATA).sections == 4

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))
    assert set(encoded.values()) == {DATA}


@needs_fork
def test_a_lock_is_free_in_a_forked_child():
    lock, held, done = ForkLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)

    def child():
        with lock:
            return 0

    try:
        assert forked(child) == 0
    finally:
        done.set()
        holder.join()


@needs_fork
@pytest.mark.slow
def test_a_child_decodes_whatever_other_threads_did_while_it_was_forked(tmp_path):
    """Sessions start under a lock; a child forked meanwhile waited for ever. In a process of its own, with an end."""
    (tmp_path / "data.tdn").write_bytes(DATA)
    script = """
        import os, sys, threading, time, tadan
        data = open(sys.argv[1], "rb").read()
        wanted = tadan.Codec(threads=1).decode(data).tobytes()
        for delay in (0.0, 0.002, 0.004, 0.01, 0.02, 0.05):
            codec = tadan.Codec(threads=1)
            other = threading.Thread(target=codec.decode, args=(data,))
            other.start()
            time.sleep(delay)
            child = os.fork()
            if child == 0:
                os._exit(int(codec.decode(data).tobytes() != wanted))
            assert os.waitpid(child, 0)[1] == 0
            other.join()
        print("done")
    """
    line = [sys.executable, "-c", textwrap.dedent(script), tmp_path / "data.tdn"]
    assert subprocess.run(line, capture_output=True, text=True, timeout=120, check=True).stdout == "done\n"


@needs_fork
def test_a_child_decodes_after_its_parent_did():
    codec = Codec(threads=1)
    codec.decode(DATA)
    assert forked(lambda: int(decode_with(codec, DATA) != PIXELS.tobytes())) == 0


def forked(work, patience=60):
    """Exit status of a child that does ``work``; 99 if it does not come to an end."""
    child = os.fork()
    if child == 0:
        code = 98
        try:
            code = work()
        finally:
            os._exit(code)
    for _ in range(patience * 20):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return 99
