"""Any sequence of encodes and decodes over existing files, links, folders, pipes and interrupts: nothing is lost.

A state machine keeps what every path must hold. After each command: inputs are as they were, what was not to be
replaced is as it was, what was written is whole, and no temporary file is left.
"""

import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from PIL import Image
from typer.testing import CliRunner

import tadan
from photo_examples import photo
from tadan.cli.main import app

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="links and pipes are those of POSIX systems"),
]

STREAM = tadan.encode(photo("chelsea", 16, 16), quality=20, effort=0)
NAMES = st.sampled_from(["a", "b", "c"])
PLACES = st.sampled_from(["link", "replace", "fsync"])
FORCE = st.sampled_from([(), ("-f",), ("-n",)])


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


class Files(RuleBasedStateMachine):
    """A folder of pictures, streams, and things that stand where outputs should go."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.held = {}  # path -> bytes that must be there
        for name, source in (("a", "chelsea"), ("b", "coffee")):
            Image.fromarray(photo(source, 16, 24)).save(self.folder / f"{name}.png")
            self.held[self.folder / f"{name}.png"] = (self.folder / f"{name}.png").read_bytes()

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(name=NAMES, content=st.sampled_from([b"somebody's", STREAM]))
    def a_file_comes(self, name, content):
        path = self.folder / f"{name}.tdn"
        if not path.exists() and not path.is_symlink():
            path.write_bytes(content)
            self.held[path] = content

    @rule(name=NAMES, where=st.sampled_from(["a.png", "b.tdn", "nowhere.tdn"]))
    def a_link_comes(self, name, where):
        path = self.folder / f"{name}.tdn"
        if path.name != where and not path.exists() and not path.is_symlink():
            path.symlink_to(self.folder / where)

    @rule(name=NAMES)
    def a_folder_comes(self, name):
        path = self.folder / f"{name}.tdn"
        if not path.exists() and not path.is_symlink():
            path.mkdir()

    @rule(name=NAMES)
    def it_goes(self, name):
        path = self.folder / f"{name}.tdn"
        if path.is_symlink() or path.is_file():
            path.unlink()
            self.held.pop(path, None)
        elif path.is_dir():
            path.rmdir()

    @rule(source=st.sampled_from(["a", "b"]), onto=NAMES, force=FORCE)
    def encode(self, source, onto, force):
        self._write(["encode", self.folder / f"{source}.png", self.folder / f"{onto}.tdn", "-e", "0"], onto, force)

    @rule(source=st.sampled_from(["a", "b"]), onto=NAMES, force=FORCE, at=PLACES)
    def encode_and_be_interrupted(self, source, onto, force, at):
        arguments = ["encode", self.folder / f"{source}.png", self.folder / f"{onto}.tdn", "-e", "0", *force]
        before = self._contents()
        with mock.patch.object(os, at, side_effect=KeyboardInterrupt):
            result = command(*arguments)
        assert result.exit_code in (0, 2, 130), result.output
        if result.exit_code != 0:
            assert self._contents() == before
        elif (real := Path(os.path.realpath(arguments[2]))).is_file():  # that call was not needed, or it was skipped
            self.held.setdefault(real, real.read_bytes())

    @rule(source=NAMES, force=FORCE)
    def decode_onto_an_input(self, source, force):
        """The picture that is there was nobody's output."""
        before = self._contents()
        result = command(
            "decode", self.folder / f"{source}.tdn", self.folder / f"{source}.tdn", "--format", "png", *force
        )
        assert result.exit_code == 2, result.output
        assert self._contents() == before

    def _write(self, arguments, onto, force):
        path = self.folder / f"{onto}.tdn"
        real = Path(os.path.realpath(path))
        before, stood = self._contents(), path.exists()
        result = command(*arguments, *force)
        is_input = real.suffix == ".png"
        if path.is_dir() or is_input or (stood and force != ("-f",)):
            skipped = force == ("-n",) and real.is_file() and not is_input
            assert result.exit_code == (0 if skipped else 2), result.output
            assert self._contents() == before
            return
        assert result.exit_code == 0, result.output
        written = real.read_bytes()
        assert tadan.inspect(written).width == 24
        assert before.keys() | {real.name} == self._contents().keys() | {real.name}
        self.held[real] = written

    def _contents(self):
        """Name -> bytes of everything that is a file by itself."""
        return {p.name: p.read_bytes() for p in self.folder.iterdir() if p.is_file() and not p.is_symlink()}

    @invariant()
    def nothing_is_lost_and_nothing_is_left(self):
        if not hasattr(self, "folder"):
            return
        for path, content in self.held.items():
            assert path.read_bytes() == content
        assert not list(self.folder.glob("*.part")) + list(self.folder.glob(".tadan*"))


TestFiles = Files.TestCase
TestFiles.settings = settings(max_examples=8, stateful_step_count=8, deadline=None)


def test_a_pipe_takes_the_output_and_stays_a_pipe(tmp_path):
    import threading

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "out.tdn")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "out.tdn").read_bytes()))
    reader.start()
    assert command("encode", tmp_path / "a.png", tmp_path / "out.tdn", "-e", "0").exit_code == 0
    reader.join(20)
    assert tadan.decode(got[0]).size == (8, 8)
    assert (tmp_path / "out.tdn").is_fifo()
