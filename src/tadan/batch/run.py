"""One run of a batch: what is left to do goes to an engine, what comes of it into the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice

from tadan.batch.entries import Entry, Source
from tadan.batch.journal import Journal, Row
from tadan.batch.outcome import DONE, FAILED, SKIPPED, WAITING, Outcome, failure
from tadan.batch.recipe import hashed_name
from tadan.batch.tally import Tally
from tadan.batch.unit import MIRRORED, Job, output_name
from tadan.errors import OutputExists, TadanError
from tadan.places import Place

_TOGETHER = 256  # entries that are looked up and claimed together
#: An engine: entries, and a function that says when to stop, to outcomes in any order.
Engine = Callable[[Iterator[Entry], Callable[[], bool]], Iterator[Outcome]]
_MADE = (DONE, SKIPPED)


@dataclass(frozen=True)
class Policy:
    """What is done again, and when to give up.

    Attributes:
        max_failures: the run stops when so many pictures have failed in it; None: never.
        retry_failed: try again what failed before, too.
        recheck: look whether outputs exist and sources have changed, also where that takes a request each.
        bounds: of a picture, as the journal notes them; failures by a bound are tried again under another one.
        restored: the journal is an older copy; outputs that it does not know may be ours.
    """

    max_failures: int | None = None
    retry_failed: bool = False
    recheck: bool = False
    bounds: str = ""
    restored: bool = False


@dataclass
class Run:
    """A run, while and after it goes on.

    Attributes:
        tally: counts.
        stopped: name of the signal or reason that ended it early.
        error: what made all others impossible.
    """

    source: Source
    job: Job
    journal: Journal
    policy: Policy
    tally: Tally = field(default_factory=Tally)
    stopped: str | None = None
    error: str | None = None
    #: Fingerprint, and the output that was ours before.
    _open: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def go(self, engine: Engine, watch: Callable[[Outcome | None], None] = lambda one: None) -> None:
        """Work until all is done or :meth:`stop` is called.

        Args:
            engine: does the work.
            watch: called with every outcome, and with None while entries are only looked at.
        """
        counting = threading.Thread(target=self._count, daemon=True)
        counting.start()
        self._destination = Place(self.job.destination, "write to", self.job.retries)
        self._watch = watch
        self.journal.begin(self.job.recipe.id, self.job.recipe.settings)
        state = "died"
        try:
            for one in engine(self._left(), lambda: self.stopped is not None):
                self._keep(one)
                watch(one)
            state = "stopped" if self.stopped else "finished"
        except TadanError:
            state = "failed"
            raise
        finally:
            self.journal.end(state, self.tally.unchanged)

    def stop(self, reason: str) -> None:
        """Begin no more pictures."""
        self.stopped = self.stopped or reason

    def _count(self) -> None:
        try:
            self.tally.total = self.source.count()
        except Exception:  # whoever reads the entries meets it, too, and says so
            return

    def _keep(self, one: Outcome) -> None:
        fingerprint, own = self._open.pop(one.source, (None, None))
        self.journal.record(one, fingerprint, self.job.recipe.id, self.policy.bounds, own)
        self.tally.add(one)
        most = self.policy.max_failures
        if one.fatal:
            self.error = one.message
            self.stop("the destination cannot be written")
        elif most is not None and self.tally.failures >= most and one.state == FAILED:
            self.stop(f"{self.tally.failures} pictures failed, as many as --max-failures allows")

    def _left(self) -> Iterator[Entry]:
        """Entries that something has to be done about; claimed in the journal before they are handed out."""
        entries = iter(self.source)
        while chunk := list(islice(entries, _TOGETHER)):
            yield from self._chosen(chunk)
            self._watch(None)

    def _chosen(self, chunk: Sequence[Entry]) -> list[Entry]:
        known = self.journal.known([one.source for one in chunk])
        owners = self._owners(chunk)
        chosen: list[Entry] = []
        claims: list[tuple[str, str | None, str, str | None]] = []
        seen: set[str] = set()
        for entry in chunk:
            row = known.get(entry.source)
            if entry.source in self._open or entry.source in seen:
                continue  # named twice
            seen.add(entry.source)
            if self.policy.recheck and entry.fingerprint is None:
                entry = self._looked_at(entry)
            if row is not None and self._settled(entry, row):
                if row.state == FAILED:
                    self.tally.unchanged_failures += 1
                else:
                    self.tally.unchanged += 1
                continue
            output = None
            if self.job.naming == MIRRORED:
                try:
                    output = self._claimed(entry, owners)
                except TadanError as error:
                    self._refused(entry, error)
                    continue
            if row is not None:
                entry = _with_what_is_known(entry, row, output)
            elif self.policy.restored:
                entry = replace(entry, doubtful=output is not None)
            chosen.append(entry)
            claims.append((entry.source, entry.fingerprint, self.job.recipe.id, output))
            self._open[entry.source] = entry.fingerprint, output if entry.claimed else None
        self.journal.claim(claims)
        return chosen

    def _settled(self, entry: Entry, row: Row) -> bool:
        """Whether the journal leaves nothing to do."""
        if row.recipe != self.job.recipe.id or not _same(entry, row) or row.state == WAITING:
            return False
        if row.state == FAILED:
            other_bounds = row.bounds != self.policy.bounds and row.kind in _BY_BOUNDS
            return not (self.policy.retry_failed or row.transient or other_bounds or row.kind in _BY_PLACE)
        if row.state not in _MADE or (self.job.verify and not row.verified) or not self._is_named(entry, row):
            return False
        if not (self._destination.local or self.policy.recheck):
            return True  # a request for each of millions would take longer than it is worth
        return row.output is not None and self._exists(row.output)

    def _is_named(self, entry: Entry, row: Row) -> bool:
        """Whether the output that the journal knows is named as this batch names: an earlier one may have differed."""
        if self.job.naming == MIRRORED:
            with suppress(TadanError):
                return row.output == self._shown(output_name(entry))
            return False
        if row.source_hash is None:
            return False
        return row.output == self._shown(hashed_name(self.job.recipe.key(row.source_hash)))

    def _exists(self, output: str) -> bool:
        place = self._destination
        return place.exists(output if place.local else Place(output, "look at", self.job.retries).root)

    def _looked_at(self, entry: Entry) -> Entry:
        place = Place(entry.source, "read", self.job.retries)
        facts = place.facts(place.root)
        if facts is None:
            return entry
        return replace(entry, size=facts.size, fingerprint=facts.fingerprint)

    def _owners(self, chunk: Sequence[Entry]) -> dict[str, str]:
        """Sources to which the mirrored outputs of a chunk belong already."""
        if self.job.naming != MIRRORED:
            return {}
        outputs = []
        for entry in chunk:
            try:
                outputs.append(self._shown(output_name(entry)))
            except TadanError:
                continue  # told later
        return self.journal.owners(outputs)

    def _shown(self, name: str) -> str:
        return self._destination.shown(self._destination.under(name))

    def _claimed(self, entry: Entry, owners: dict[str, str]) -> str:
        """The mirrored output of an entry, which is its own from now on."""
        output = self._shown(output_name(entry))
        owner = owners.setdefault(output, entry.source)
        if owner != entry.source:
            raise OutputExists(f"{output} is already the output of {owner}; use --naming hash, or rename one of them")
        return output

    def _refused(self, entry: Entry, error: TadanError) -> None:
        one = failure(entry.source, type(error).__name__, str(error))
        self._open[entry.source] = entry.fingerprint, None
        self._keep(one)
        self._watch(one)


_BY_BOUNDS = frozenset({"DeadlineExceeded", "WorkerDied", "OutOfMemory", "LimitExceeded"})
_BY_PLACE = frozenset({"OutputExists", "UnwritableOutput"})  # may have been put right meanwhile


def _with_what_is_known(entry: Entry, row: Row, output: str | None) -> Entry:
    """An entry with what the journal says; ``output``: its mirrored one."""
    same_output = output is not None and row.output == output
    return replace(
        entry,
        source_hash=row.source_hash if _same(entry, row) else None,
        claimed=same_output and bool(row.ours),
        doubtful=same_output and not row.ours and row.state == WAITING,
    )


def _same(entry: Entry, row: Row) -> bool:
    """Whether the source is the one that the journal knows, as far as can be told without reading it."""
    return entry.fingerprint is None or entry.fingerprint == row.fingerprint
