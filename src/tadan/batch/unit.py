"""The unit of work: read a picture, encode it, write the file. Doing it twice leaves what doing it once leaves."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tadan.batch.entries import Entry, is_safe
from tadan.batch.memory import peak_bytes, reset_peak
from tadan.batch.outcome import DONE, SKIPPED, Outcome, failure
from tadan.batch.recipe import Recipe, hashed_name, mirrored_name, source_hash
from tadan.errors import Corrupt, InvalidInput, NotOurFile, OutOfMemory, OutputExists, TadanError, Truncated
from tadan.places import Place
from tadan.transient import ends_everything, is_transient

if TYPE_CHECKING:
    from tadan.codec.codec import Codec

HASHED, MIRRORED = "hash", "mirror"
_MARKS = ".tadan-batch/done"  # below the destination


@dataclass(frozen=True)
class Job:
    """What every worker of a batch has to know.

    Attributes:
        destination: path or URL.
        recipe: how to encode.
        naming: "hash" or "mirror".
        force: of mirrored names that the journal does not know: True replaces the file there, False skips the picture,
            None is an error.
        verify: decode every output and compare.
        max_pixels: of a picture; None: the usual bound.
        memory: that the codec aims to stay below; None: the usual one.
        retries: after transient errors, of reading and of writing.
        marked: leave a mark of every mirrored output at the destination, for engines that repeat what they did.
        dry: write nothing, and encode whether or not there is an output.
    """

    destination: str
    recipe: Recipe
    naming: str = HASHED
    force: bool | None = None
    verify: bool = False
    max_pixels: int | None = None
    memory: int | None = None
    retries: int = 4
    marked: bool = False
    dry: bool = False


@dataclass(frozen=True)
class Loaded:
    """An entry whose source was read, or what came of that."""

    entry: Entry
    data: bytes = b""
    seconds: float = 0.0
    outcome: Outcome | None = None


class _NotWritten(Exception):
    """Writing an output failed; the cause says why."""


class Unit:
    """Does one entry after the other; each of its two halves may run in a thread of its own.

    Raises:
        InvalidInput: the destination cannot be used, or the model is another than the batch began with.
    """

    def __init__(self, job: Job) -> None:
        from tadan.codec.codec import bounded_codec

        self._job, self._recipe = job, job.recipe
        self._destination = Place(job.destination, "write to", job.retries)
        self._codec: Codec = bounded_codec(job.recipe.model, 1, job.max_pixels, job.memory)
        if job.recipe.model_id is not None:
            if self._codec.model.id_hex != job.recipe.model_id:
                raise InvalidInput("the model file was changed while the batch ran; start the batch again")
            _ = self._codec.model.twin

    def __call__(self, entry: Entry) -> Outcome:
        """Read, encode, write."""
        return self.finish(self.read(entry))

    def read(self, entry: Entry) -> Loaded:
        """The source; nothing is read where its output stands already, or something else at the name of its output."""
        begun = time.perf_counter()
        try:
            outcome = None if self._job.dry else self._foreseen(entry)
            if outcome is not None:
                return Loaded(entry, outcome=outcome)
            place = Place(entry.source, "read", self._job.retries)
            data = place.read(place.root)
        except TadanError as error:
            return Loaded(entry, outcome=failure(entry.source, type(error).__name__, str(error)))
        except MemoryError:
            return Loaded(entry, outcome=failure(entry.source, "OutOfMemory", str(OutOfMemory("this picture"))))
        except Exception as error:
            said = f"cannot read {entry.source}: {str(error) or type(error).__name__}"
            outcome = failure(entry.source, "UnreadableInput", said, transient=is_transient(error))
            return Loaded(entry, outcome=outcome)
        return Loaded(entry, data, time.perf_counter() - begun)

    def _foreseen(self, entry: Entry) -> Outcome | None:
        """What is clear without the source."""
        known, job = entry.source_hash, self._job
        if known is not None and not job.verify and self._is_there(entry, known):
            return self._skipped(entry, known)
        # With marks, what stands at a mirrored name may be ours, which its hash will tell.
        return None if job.naming == HASHED or job.marked else self._in_the_way(entry)

    def _in_the_way(self, entry: Entry) -> Outcome | None:
        """What comes of a mirrored name at which a file of others stands; None if there is none, or it may go."""
        if entry.claimed or entry.doubtful or self._job.force:
            return None
        path = self._path(entry, "")
        if not self._destination.exists(path):
            return None
        shown = self._destination.shown(path)
        if self._job.force is False:
            return Outcome(entry.source, SKIPPED, shown)
        raise OutputExists(f"the output {shown} exists and is not of this batch")

    def finish(self, loaded: Loaded) -> Outcome:
        """Encode what was read and write it."""
        if loaded.outcome is not None:
            return loaded.outcome
        entry, data = loaded.entry, loaded.data
        reset_peak()
        facts: dict[str, Any] = {"bytes_in": len(data), "read_seconds": loaded.seconds}
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("ignore")
                for category in (UserWarning, RuntimeWarning):  # ours, and Pillow's about enormous pictures
                    warnings.simplefilter("always", category)
                facts |= {"source_hash": (hashed := source_hash(data)), "key": self._recipe.key(hashed)}
                outcome = self._coded(entry, data, facts)
            told = tuple(str(one.message) for one in caught)
            return replace(outcome, warnings=told, peak_bytes=peak_bytes())
        except _NotWritten as error:
            cause = error.__cause__ or error
            kind = type(cause).__name__ if isinstance(cause, TadanError) else "UnwritableOutput"
            facts |= {"transient": is_transient(cause), "fatal": ends_everything(cause)}
            return failure(entry.source, kind, f"cannot write: {cause}", **facts)
        except TadanError as error:
            return failure(entry.source, type(error).__name__, str(error), peak_bytes=peak_bytes(), **facts)
        except MemoryError:
            told_of = str(OutOfMemory("this picture"))
            return failure(entry.source, "OutOfMemory", told_of, peak_bytes=peak_bytes(), **facts)
        except Exception as error:
            return failure(entry.source, "Unexpected", f"{type(error).__name__}: {error}", **facts)

    def _coded(self, entry: Entry, data: bytes, facts: dict[str, Any]) -> Outcome:
        from tadan.codec.target import encode_to
        from tadan.pictures.reading import opened

        hashed, job = facts["source_hash"], self._job
        there = not job.dry and self._is_there(entry, hashed)
        if there and (not job.verify or self._is_sound(entry, hashed)):
            return replace(self._skipped(entry, hashed), bytes_in=len(data), verified=job.verify)
        if job.marked and job.naming == MIRRORED and not there:
            in_the_way = self._in_the_way(entry)
            if in_the_way is not None:
                return in_the_way
        begun = time.perf_counter()
        image = opened(data, entry.source)
        facts["pixels"] = image.width * image.height
        if self._recipe.lossless_jpeg:
            coded = self._codec.keep_jpeg(data).data
        elif self._recipe.target is None:
            coded = self._codec.encode_picture(image, self._recipe.options).data
        else:
            coded = encode_to(self._codec, image, self._recipe.target, self._recipe.options).data
        if job.verify:
            self._codec.verify(coded)
        facts["seconds"] = time.perf_counter() - begun
        path = self._path(entry, hashed)
        if not job.dry:
            self._write(entry, path, coded, facts, there or entry.claimed or bool(job.force))
        shown = self._destination.shown(path)
        return Outcome(entry.source, DONE, shown, bytes_out=len(coded), verified=job.verify, **facts)

    def _write(self, entry: Entry, path: str, coded: bytes, facts: dict[str, Any], may_replace: bool) -> None:
        begun, place = time.perf_counter(), self._destination
        try:
            if self._job.naming == HASHED:
                self._put_hashed(path, coded, may_replace)
            else:
                self._put_mirrored(entry, path, coded, may_replace)
            if self._job.marked and self._job.naming == MIRRORED:
                place.write(self._mark(path, facts["key"]), b"tadan\n")
        except MemoryError:
            raise
        except Exception as error:
            raise _NotWritten from error
        facts["write_seconds"] = time.perf_counter() - begun

    def _put_hashed(self, path: str, coded: bytes, may_replace: bool) -> None:
        place = self._destination
        try:
            place.write(path, coded, may_replace)
        except (FileExistsError, OutputExists):
            return  # another worker was faster; what it wrote has the same name because it is the same

    def _put_mirrored(self, entry: Entry, path: str, coded: bytes, may_replace: bool) -> None:
        place = self._destination
        if not may_replace and place.exists(path):
            if entry.doubtful and place.read(path) == coded:
                return
            raise OutputExists(f"the output {place.shown(path)} exists and is not of this batch")
        place.write(path, coded)

    def _skipped(self, entry: Entry, hashed: str) -> Outcome:
        path = self._path(entry, hashed)
        facts = self._destination.facts(path)
        written = 0 if facts is None else facts.size
        key, shown = self._recipe.key(hashed), self._destination.shown(path)
        return Outcome(entry.source, SKIPPED, shown, hashed, key, bytes_in=entry.size or 0, bytes_out=written)

    def _is_there(self, entry: Entry, hashed: str) -> bool:
        """Whether the output of this source by this recipe exists."""
        path, place = self._path(entry, hashed), self._destination
        if self._job.naming == HASHED:
            return place.exists(path)
        if not self._job.marked:
            return False
        mark = self._mark(path, self._recipe.key(hashed))
        return place.exists(mark) and place.exists(path)

    def _is_sound(self, entry: Entry, hashed: str) -> bool:
        path, place = self._path(entry, hashed), self._destination
        try:
            self._codec.verify(place.read(path))
        except (Corrupt, Truncated, NotOurFile):
            return False
        return True

    def _path(self, entry: Entry, hashed: str) -> str:
        if self._job.naming == HASHED:
            return self._destination.under(hashed_name(self._recipe.key(hashed)))
        return self._destination.under(output_name(entry))

    def _mark(self, path: str, key: str) -> str:
        name = source_hash(path[len(self._destination.root) :].encode())[:16]
        return self._destination.under(f"{_MARKS}/{key[:2]}/{key}-{name}")


def output_name(entry: Entry) -> str:
    """Mirrored name of an entry.

    Raises:
        InvalidInput: it would not be below the destination.
    """
    if not is_safe(entry.relative):
        raise InvalidInput(f"the output {entry.relative!r} is not below the destination; name another in the manifest")
    return mirrored_name(entry.relative)
