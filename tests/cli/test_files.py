"""Whole files: what stands on the disk after a success and after every failure."""

import os
import stat
from pathlib import Path

import pytest

from tadan.errors import UnreadableInput, UnwritableOutput
from tadan.files import make_folder, read_bytes, write_atomically


def test_write_atomically_replaces_whole_files(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    write_atomically(target, b"old")
    target.chmod(0o640)
    write_atomically(target, b"newer")
    assert read_bytes(target) == b"newer"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    link = tmp_path / "link.bin"
    link.symlink_to(target)
    write_atomically(link, b"through the link")
    assert link.is_symlink()
    assert target.read_bytes() == b"through the link"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.bin", "out.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(UnwritableOutput, match="no space left on device; the file that was there is unchanged"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UnwritableOutput, match="unchanged"):
            write_atomically(target, b"new")
    finally:
        tmp_path.chmod(0o755)
    assert target.read_bytes() == b"old"


def test_unwritable_and_unreadable_places(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match="nothing was written"):
        write_atomically(tmp_path / "missing" / "out.bin", b"new")
    with pytest.raises(UnwritableOutput, match="folder"):
        write_atomically(tmp_path, b"new")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnwritableOutput, match="--out"):
        make_folder(tmp_path / "file")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UnreadableInput, match="Cannot read"):
            read_bytes(path)
    write_atomically(os.devnull, b"a device is written, not replaced")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
