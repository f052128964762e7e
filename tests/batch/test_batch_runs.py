"""A batch as a whole: what is done, what is not done again, what must never be replaced."""

import errno
import shutil
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

import tadan
import tadan.places
from batch_examples import Batch, here, picture_bytes, pictures, recipe
from tadan.batch.journal import Journal
from tadan.batch.recipe import Recipe
from tadan.batch.run import Policy
from tadan.batch.setup import journal_path
from tadan.batch.unit import Job
from tadan.codec.options import EncodeOptions
from tadan.codec.target import Target
from tadan.errors import InvalidInput
from tadan.places import Place

BOTH = pytest.mark.parametrize("naming", ["hash", "mirror"])


def outputs(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.tdn")}


@pytest.fixture
def source(tmp_path):
    return pictures(tmp_path / "source")


@BOTH
def test_every_picture_is_encoded_once(source, tmp_path, naming):
    batch = Batch(source, tmp_path / "out", naming=naming)
    assert batch.states() == {"done": 4}
    made = outputs(tmp_path / "out")
    assert len(made) == 4
    assert all(tadan.inspect(data).width == 64 for data in made.values())
    assert batch.states() == {}
    assert batch.run.tally.unchanged == 4
    assert outputs(tmp_path / "out") == made


def test_mirrored_names_are_those_of_the_sources(source, tmp_path):
    Batch(source, tmp_path / "out", naming="mirror")()
    assert set(outputs(tmp_path / "out")) == {"below/0.tdn", "1.tdn", "below/2.tdn", "3.tdn"}


def test_a_hashed_name_follows_from_content_model_and_what_matters_of_the_settings():
    def key(quality=50, target=None, source="ab", **options):
        return Recipe.of(EncodeOptions(quality=quality, **options), target).key(source)

    one = key()
    assert one == key(verify=True) == key(schedule=EncodeOptions().order)
    assert key(effort=0) == key(effort=0, tune="psnr")
    assert key(target=Target.psnr(40)) == key(quality=90, target=Target.psnr(40))
    assert key(lossless=True) == key(lossless=True, effort=9)
    others = [key(source="cd"), key(51), key(effort=2), key(schedule="fast"), key(lossless=True), key(strip=True)]
    others += [key(tune="psnr"), key(target=Target.psnr(40)), key(target=Target.score(40)), key(tile=64)]
    assert len({one, *others}) == 1 + len(others)


@BOTH
def test_only_what_changed_is_encoded_again(source, tmp_path, naming):
    batch = Batch(source, tmp_path / "out", naming=naming)
    batch()
    outdated = set((tmp_path / "out").rglob("*.tdn"))  # in part: that of the picture that changes now
    (source / "1.png").write_bytes(picture_bytes(9))
    (source / "new.png").write_bytes(picture_bytes(10))
    assert batch.states() == {"done": 2}
    min(set((tmp_path / "out").rglob("*.tdn")) - outdated).unlink()
    assert batch.states() == {"done": 1}
    assert batch.states(recipe=recipe(quality=20)) == {"done": 5}
    back = {"skipped": 5} if naming == "hash" else {"done": 5}  # hashed files of other settings stay
    assert batch.states() == back


def test_sources_are_not_read_where_their_hash_is_known(source, tmp_path, monkeypatch):
    batch = Batch(source, tmp_path / "out")
    batch()
    batch(recipe=recipe(quality=20))
    monkeypatch.setattr(Place, "read", lambda self, path: pytest.fail(f"{path} was read"))
    assert batch.states() == {"skipped": 4}


def test_equal_pictures_share_a_file(source, tmp_path):
    shutil.copy(source / "1.png", source / "copy.png")
    assert Batch(source, tmp_path / "out").states() == {"done": 4, "skipped": 1}


def test_without_its_journal_a_hashed_batch_encodes_nothing_again(source, tmp_path):
    batch = Batch(source, tmp_path / "out")
    batch()
    journal_path(batch.source, batch.destination).unlink()
    assert batch.states() == {"skipped": 4}


@pytest.mark.parametrize("marked", [False, True])
def test_files_of_others_are_kept(source, tmp_path, marked):
    foreign = tmp_path / "out" / "1.tdn"
    foreign.parent.mkdir()
    foreign.write_bytes(b"of somebody else")
    batch = Batch(source, tmp_path / "out", naming="mirror", marked=marked)
    assert batch.states() == {"done": 3, "failed": 1}
    assert batch.seen[[one.state for one in batch.seen].index("failed")].kind == "OutputExists"
    assert batch.states(force=False) == {"skipped": 1}
    assert foreign.read_bytes() == b"of somebody else"
    (tmp_path / "out" / ".tadan-batch.sqlite").unlink()
    assert batch.states(force=True)["done"] == (1 if marked else 4), "marks tell what is ours without a journal"
    assert tadan.inspect(foreign.read_bytes()).width == 64


def test_a_run_that_died_owns_no_file_of_others(source, tmp_path):
    """The journal notes what it is going to do; what stands there later may be of others all the same."""
    batch = Batch(source, tmp_path / "out", naming="mirror")

    def dies(entries, stop):
        list(entries)
        return iter(())

    batch(engine=dies)
    foreign = tmp_path / "out" / "1.tdn"
    foreign.write_bytes(b"of somebody else")
    own = tmp_path / "out" / "3.tdn"
    own.write_bytes(tadan.encode(source / "3.png", quality=50, effort=0, fallback=False))
    assert batch.states() == {"done": 3, "failed": 1}
    assert foreign.read_bytes() == b"of somebody else"


def test_with_an_older_journal_files_that_are_ours_are_known_by_their_bytes(source, tmp_path):
    batch = Batch(source, tmp_path / "out", naming="mirror")
    batch()
    (tmp_path / "out" / "1.tdn").write_bytes(b"of somebody else")
    journal_path(batch.source, batch.destination).unlink()  # as old as can be
    assert batch.states(policy=Policy(restored=True)) == {"done": 3, "failed": 1}
    assert (tmp_path / "out" / "1.tdn").read_bytes() == b"of somebody else"


def test_two_sources_of_one_mirrored_name(source, tmp_path):
    (source / "1.jpg").write_bytes(picture_bytes(7, "JPEG"))
    batch = Batch(source, tmp_path / "out", naming="mirror")
    assert batch.states() == {"done": 4, "failed": 1}
    failed = next(one for one in batch.seen if one.state == "failed")
    assert failed.kind == "OutputExists"
    assert "--naming hash" in failed.message


def test_damaged_pictures_and_a_bomb_cost_themselves_alone(source, tmp_path):
    (source / "nonsense.png").write_bytes(b"nonsense")
    (source / "cut.png").write_bytes((source / "1.png").read_bytes()[:1500])
    (source / "empty.png").write_bytes(b"")
    from PIL import Image

    Image.new("1", (20000, 20000)).save(source / "bomb.png")  # some kilobytes
    batch = Batch(source, tmp_path / "out")
    assert batch.states() == {"done": 4, "failed": 4}
    assert dict(batch.run.tally.kinds) == {"UnreadableInput": 3, "LimitExceeded": 1}
    assert batch.states() == {}, "what failed for good is not tried again"
    assert batch.run.tally.unchanged_failures == 4
    assert batch.states(policy=Policy(retry_failed=True)) == {"failed": 4}
    (source / "cut.png").write_bytes(picture_bytes(20))
    assert batch.states() == {"done": 1}


def test_a_run_stops_at_the_failures_that_are_allowed(source, tmp_path):
    for at in range(5):
        (source / f"bad{at}.png").write_bytes(b"nonsense")
    batch = Batch(source, tmp_path / "out")
    assert batch(policy=Policy(max_failures=2)).failures == 2
    assert "--max-failures" in batch.run.stopped
    assert batch(policy=Policy(max_failures=6)).failures <= 3
    assert len(outputs(tmp_path / "out")) == 4


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_the_run_at_once(source, tmp_path, monkeypatch, number):
    def full(self, path, data, replace=True):
        raise OSError(number, "no")

    batch = Batch(source, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", full)
        assert batch.states() == {"failed": 1}
    assert batch.run.error
    assert batch.states() == {"done": 4}, "it was not the fault of the picture"


@pytest.mark.parametrize("what", ["read", "write"])
def test_transient_errors_are_waited_for_and_others_are_not(source, tmp_path, monkeypatch, what):
    tries = {}
    place, name = (LocalFileSystem, "cat_file") if what == "read" else (tadan.places, "write_atomically")
    real = getattr(place, name)

    def flaky(*arguments, **options):
        path = str(next(one for one in arguments if isinstance(one, str)))
        tries[path] = tries.get(path, 0) + 1
        if tries[path] <= 2:
            raise OSError(errno.EBUSY, "slow down")
        return real(*arguments, **options)

    waits = []
    monkeypatch.setattr("tadan.transient.patiently.__defaults__", (waits.append,))
    monkeypatch.setattr(place, name, flaky)
    batch = Batch(source, tmp_path / "out")
    assert batch.states(retries=1) == {"failed": 4}
    assert all(one.transient for one in batch.seen)
    assert len(waits) == 4
    tries.clear()
    waits.clear()
    assert batch.states(retries=2) == {"done": 4}, "transient failures are tried again by the next run"
    assert len(waits) == 8
    assert all(0 < one < 1.1 for one in waits)

    def broken(*arguments, **options):
        path = str(next(one for one in arguments if isinstance(one, str)))
        tries[path] = tries.get(path, 0) + 1
        raise OSError(errno.ENAMETOOLONG, "too long")

    tries.clear()
    monkeypatch.setattr(place, name, broken)
    assert batch.states(retries=5, recipe=recipe(quality=10)) == {"failed": 4}
    assert set(tries.values()) == {1}


def test_verifying_finds_what_was_damaged_since(source, tmp_path):
    batch = Batch(source, tmp_path / "out")
    batch()
    before = outputs(tmp_path / "out")
    name, data = next(iter(before.items()))
    Path(tmp_path / "out" / name).write_bytes(data[:-20] + bytes(20))
    assert batch.states(verify=True) == {"skipped": 3, "done": 1}
    assert outputs(tmp_path / "out") == before
    assert batch.states(verify=True) == {}


def test_a_target_is_met(source, tmp_path):
    batch = Batch(source, tmp_path / "out")
    wanted = Recipe.of(EncodeOptions(effort=0, fallback=False), Target.size(1500))
    assert batch.states(recipe=wanted) == {"done": 4}
    assert all(len(data) <= 1500 for data in outputs(tmp_path / "out").values())


def test_another_naming_writes_outputs_of_other_names(source, tmp_path):
    batch = Batch(source, tmp_path / "out")
    assert batch.states() == {"done": 4}
    assert batch.states(naming="mirror") == {"done": 4}
    assert len(outputs(tmp_path / "out")) == 8
    assert batch.states(naming="mirror") == {}
    assert batch.states() == {"skipped": 4}  # what stands there is found by its name


def test_another_naming_makes_no_file_of_others_ours(source, tmp_path):
    """A run of mirrored names that died after one of hashed names has claimed names, not files."""
    out = tmp_path / "out"
    batch = Batch(source, out)
    assert batch.states() == {"done": 4}
    with pytest.raises(RuntimeError, match="it died"):
        batch(naming="mirror", engine=dies_at_once)
    (out / "1.tdn").write_bytes(b"of somebody else")
    assert batch.states(naming="mirror") == {"done": 3, "failed": 1}
    assert (out / "1.tdn").read_bytes() == b"of somebody else"


def dies_at_once(entries, stop):
    next(iter(entries))
    raise RuntimeError("it died")
    yield


def test_an_output_stays_ours_after_a_failure(source, tmp_path):
    """A source that is damaged for one run gets its own mirrored output again in the next."""
    batch, one = Batch(source, tmp_path / "out", naming="mirror"), source / "1.png"
    assert batch.states() == {"done": 4}
    whole = picture_bytes(9)
    one.write_bytes(whole[:60])
    assert batch.states() == {"failed": 1}
    one.write_bytes(whole)
    assert batch.states() == {"done": 1}


def test_a_file_in_the_place_of_a_folder_is_told(source, tmp_path):
    out = tmp_path / "out"
    batch = Batch(source, out)
    assert batch.states() == {"done": 4}
    folder = next(path for path in out.iterdir() if path.is_dir())
    lost = len(list(folder.iterdir()))
    shutil.rmtree(folder)
    folder.write_bytes(b"in the way")
    assert batch.states() == {"failed": lost}
    assert {one.kind for one in batch.seen} == {"UnwritableOutput"}


def test_jpeg_files_are_kept_byte_for_byte(source, tmp_path):
    pytest.importorskip("lepton_jpeg_python")
    (source / "a.jpg").write_bytes(given := picture_bytes(7, "JPEG"))
    batch = Batch(source, tmp_path / "out", naming="mirror")
    kept = Recipe.of(EncodeOptions(), lossless_jpeg=True)
    assert batch.states(recipe=kept) == {"done": 1, "failed": 4}  # the others are PNG files
    assert {one.kind for one in batch.seen if one.state == "failed"} == {"InvalidInput"}
    assert tadan.Codec().original(tmp_path / "out/a.tdn") == given
    assert kept.id != Recipe.of(EncodeOptions(lossless=True)).id


def test_a_journal_is_for_one_batch_at_a_time(source, tmp_path):
    batch = Batch(source, tmp_path / "out")
    path = journal_path(batch.source, batch.destination)
    first = Journal(path)
    with pytest.raises(InvalidInput, match="another batch"):
        Journal(path)
    first.close()
    Journal(path).close()


def test_a_model_that_changes_meanwhile_is_noticed(source, tmp_path):
    from dataclasses import replace

    other = replace(recipe(), model_id="00" * 16)
    with pytest.raises(InvalidInput, match="model file was changed"):
        list(here(Job(str(tmp_path / "out"), other))(iter([]), lambda: False))
