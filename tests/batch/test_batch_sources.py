"""Where pictures come from: folders, globs, manifests; as a stream, however long."""

import csv
import tracemalloc
from pathlib import Path

import pytest

from batch_examples import Batch, instant, needs_package, picture_bytes, pictures
from tadan.batch.entries import open_source
from tadan.errors import InvalidInput, UnreadableInput


def names(source):
    entries = list(source)
    assert source.count() == len(entries)
    return sorted(one.relative for one in entries)


def test_folders_globs_and_single_files(tmp_path):
    folder = pictures(tmp_path / "source")
    (folder / ".hidden.png").write_bytes(picture_bytes())
    (folder / ".cache").mkdir()
    (folder / ".cache" / "1.png").write_bytes(picture_bytes())
    (folder / "text.txt").write_text("no picture")
    assert names(open_source(str(folder))) == ["1.png", "3.png", "below/0.png", "below/2.png"]
    assert names(open_source(f"{folder}/*.png")) == ["1.png", "3.png"]
    assert names(open_source(f"{folder}/b*/[0-1].png")) == ["below/0.png"]
    assert names(open_source(f"{folder}/**/*.png")) == ["1.png", "3.png", "below/0.png", "below/2.png"]
    assert names(open_source(str(folder / "1.png"))) == ["1.png"]


def test_a_folder_whose_name_looks_like_a_glob(tmp_path):
    folder = pictures(tmp_path / "source [1]")
    assert len(names(open_source(str(folder)))) == 4


def write_csv(path, rows, columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return str(path)


def test_a_manifest_names_sources_and_outputs(tmp_path):
    folder = pictures(tmp_path / "source")
    rows = [("source/1.png", ""), (str(folder / "3.png"), "named/here.png"), ("", "")]
    manifest = open_source(write_csv(tmp_path / "list.csv", rows, ["path", "output"]))
    assert names(manifest) == ["named/here.png", "source/1.png"]
    assert all(Path(one.source).is_file() and one.fingerprint for one in manifest)


@needs_package("pyarrow")
def test_a_manifest_in_parquet(tmp_path):
    import pyarrow.parquet

    pictures(tmp_path / "source")
    table = pyarrow.table({"source": ["source/1.png", "source/3.png"], "other": [1, 2]})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    assert names(open_source(str(tmp_path / "list.parquet"))) == ["source/1.png", "source/3.png"]


def test_a_manifest_leads_nowhere_else(tmp_path):
    pictures(tmp_path / "source")
    rows = [("source/1.png", "../outside.png"), ("source/3.png", "/etc/outside.png"), ("source/gone.png", "gone.png")]
    batch = Batch(write_csv(tmp_path / "list.csv", rows, ["source", "output"]), tmp_path / "out", naming="mirror")
    assert batch.states() == {"failed": 3}
    assert dict(batch.run.tally.kinds) == {"InvalidInput": 2, "UnreadableInput": 1}
    assert list(tmp_path.rglob("*.tdn")) == []


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("gone.csv", None, UnreadableInput, "no manifest"),
        ("empty.csv", b"", InvalidInput, "no rows"),
        ("other.csv", b"name,size\na,1\n", InvalidInput, "no column named source.*name, size"),
        ("latin.csv", b"source\nf\xfcr.png\n", UnreadableInput, "UTF-8"),
        ("nowhere", None, UnreadableInput, "no folder"),
        ("nokind://bucket", None, InvalidInput, "cannot read nokind://bucket"),
    ],
)
def test_what_cannot_be_read_says_so(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        list(open_source(name if "://" in name else str(tmp_path / name)))


def peak_of(tmp_path, count):
    folder = tmp_path / str(count)
    folder.mkdir()
    rows = ((f"https://example.org/{at:08d}.png", 10, f"etag{at}") for at in range(count))
    batch = Batch(write_csv(folder / "list.csv", rows, ["url", "size", "etag"]), folder / "out")
    tracemalloc.start()
    assert batch(engine=instant).states["done"] == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_memory_does_not_grow_with_the_manifest(tmp_path):
    assert peak_of(tmp_path, 6000) < 1.3 * peak_of(tmp_path, 1500) + 2**19
