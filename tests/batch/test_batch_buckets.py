"""Pictures and outputs in buckets of an S3 server, also of one that refuses many requests."""

from contextlib import closing

import numpy as np
import pytest

import tadan
from batch_examples import Batch, needs_package, picture_bytes, recipe
from cli_examples import fails, run
from s3_examples import KEYS, bucket, filesystem, server
from tadan.batch.checkpoint import Checkpoint
from tadan.batch.crew import Bounds, Crew
from tadan.batch.journal import Journal
from tadan.batch.recipe import Recipe
from tadan.batch.run import Policy
from tadan.batch.setup import journal_path
from tadan.batch.unit import Job
from tadan.codec.options import EncodeOptions
from tadan.places import Place

pytestmark = [needs_package("moto"), needs_package("s3fs"), pytest.mark.slow]


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, server() as (url, faults):
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        patch.setenv("TADAN_JOURNALS", str(tmp_path_factory.mktemp("journals")))
        yield faults


@pytest.fixture(autouse=True)
def no_faults(s3):
    s3.share, s3.broken = 0.0, frozenset()
    s3.seen.clear()


def names(files, root):
    return sorted(files.find(root))


def test_a_bucket_is_encoded_and_not_asked_again(s3):
    files = bucket("plain", 5)
    assert "5 encoded" in run("batch", "s3://plain/source", "s3://plain/out", "-e", "0", "--workers", "1").stdout
    made = names(files, "plain/out")
    assert len([name for name in made if name.endswith(".tdn")]) == 5
    assert all(tadan.inspect(files.cat_file(name)).width == 64 for name in made if name.endswith(".tdn"))
    s3.seen.clear()
    assert "5 unchanged" in run("batch", "s3://plain/source", "s3://plain/out", "-e", "0", "--workers", "1").stdout
    assert s3.seen["PUT", "200"] == 0
    files.pipe_file("plain/source/1/1.png", picture_bytes(40))
    other = Batch("s3://plain/source/**/*.png", "s3://plain/out", recipe=Recipe.of(EncodeOptions(effort=0)))
    assert other.states() == {"done": 1, "skipped": 4}, "another source has another journal; names tell"


@pytest.mark.parametrize("naming", ["hash", "mirror"])
def test_throttling_and_server_errors_are_waited_for(s3, monkeypatch, naming):
    bucket(f"slow-{naming}", 6)
    monkeypatch.setattr("tadan.transient._FIRST_WAIT", 0.01)
    batch = Batch(f"s3://slow-{naming}/source", f"s3://slow-{naming}/out", naming=naming)
    s3.share = 0.5
    assert batch.states(retries=20) == {"done": 6}
    assert s3.seen["GET", "503"] + s3.seen["GET", "500"] > 0
    assert s3.seen["PUT", "503"] + s3.seen["PUT", "500"] > 0


def test_what_stays_broken_is_told_and_tried_by_the_next_run(s3, monkeypatch):
    bucket("broken", 4)
    monkeypatch.setattr("tadan.transient._FIRST_WAIT", 0.01)
    batch = Batch("s3://broken/source", "s3://broken/out")
    s3.broken = frozenset({"/1.png"})
    assert batch.states(retries=1) == {"done": 3, "failed": 1}
    assert next(one for one in batch.seen if one.state == "failed").transient
    s3.broken = frozenset()
    assert batch.states() == {"done": 1}


def test_missing_objects_and_buckets_are_no_transient_errors(s3, tmp_path):
    bucket("here", 1)
    (tmp_path / "list.csv").write_text("source\ns3://here/source/gone.png\ns3://here/source/0/0.png\n")
    batch = Batch(tmp_path / "list.csv", "s3://here/out")
    assert batch.states(retries=3) == {"failed": 1, "done": 1}
    nowhere = Batch("s3://here/source", "s3://no-such-bucket/out")
    assert nowhere.states(retries=3) == {"failed": 1}
    assert nowhere.run.error


def test_large_outputs_go_in_parts_and_appear_whole(s3, monkeypatch):
    monkeypatch.setattr("tadan.transient._FIRST_WAIT", 0.01)
    bucket("parts", 1)
    place, path = Place("s3://parts", retries=8, part_bytes=5 * 2**20), "parts/large.tdn"
    data = np.random.default_rng(0).bytes(11 * 2**20)
    place.write(path, data, replace=False)
    assert s3.seen["PART", "sent"] >= 3
    assert place.read(path) == data
    s3.share = 0.15  # some of the parts are refused at first
    place.write("parts/again.tdn", data)
    s3.share, s3.broken, place = 0.0, frozenset({"never.tdn"}), Place("s3://parts")
    with pytest.raises(OSError, match=r"internal error|request rate"):
        place.write("parts/never.tdn", data)
    s3.broken = frozenset()
    assert place.read("parts/again.tdn") == data
    assert names(filesystem(), "parts") == ["parts/again.tdn", "parts/large.tdn", "parts/source/0/0.png"]


def test_one_of_two_writers_wins(s3):
    bucket("race", 1)
    place = Place("s3://race")
    place.write("race/one", b"first", replace=False)
    with pytest.raises(FileExistsError):
        place.write("race/one", b"second", replace=False)
    assert place.read("race/one") == b"first"


def test_a_lost_journal_comes_back_from_the_bucket(s3, tmp_path):
    bucket("spot", 3)
    batch = Batch("s3://spot/source", "s3://spot/out", naming="mirror")
    path = journal_path(batch.source, batch.destination)
    checkpoint = Checkpoint(batch.destination, path, path.name, 2)
    assert not checkpoint.fetch()
    batch()
    with closing(Journal(path)) as journal:
        checkpoint.save(journal)  # it is not time yet
        assert [name for name in names(filesystem(), "spot/out") if not name.endswith(".tdn")] == []
        checkpoint.save(journal, now=True)
    assert not checkpoint.fetch(), "there is one here"
    path.unlink()
    s3.share = 0.3
    assert checkpoint.fetch()
    s3.share = 0.0
    assert batch.states() == {}
    assert batch.run.tally.unchanged == 3


def test_workers_of_their_own_read_and_write_buckets(s3):
    bucket("crew", 5)
    batch = Batch("s3://crew/source", "s3://crew/out", retries=4)
    s3.share = 0.2
    crew = Crew(Job(batch.destination, recipe(), retries=4), 1, Bounds(120, 2**31))
    assert set(batch.states(engine=crew.outcomes, policy=Policy(recheck=True))) == {"done"}


def test_what_nobody_answers_for_is_no_mistake_of_ours(s3, tmp_path, monkeypatch):
    source = tmp_path / "one.png"
    source.write_bytes(picture_bytes())
    fails("batch", "s3://no-such-bucket/source", tmp_path / "out", message="no folder")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    filesystem()  # none that knows the other server
    fails("batch", "s3://plain/source", tmp_path / "out", "--retries", "0", message="cannot reach s3://plain.*keys")
    fails("batch", source, "s3://plain/out", "--retries", "0", message="cannot reach s3://plain/out.*keys")
    filesystem()
