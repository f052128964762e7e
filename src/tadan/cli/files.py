"""Which files a command reads and writes: folders, standard streams, names of outputs, collisions.

The rules are those of cwebp, avifenc and cjxl, extended to many files:

* ``IN OUT``, ``IN -o OUT``, or ``IN`` alone, whose output goes beside it; many files and folders need ``--out-dir``;
* folders are searched recursively, hidden files left out, and their structure is kept below ``--out-dir``;
* outputs appear whole or not at all; nothing is replaced without ``-f``, and inputs are never replaced;
* ``-`` is standard input or output.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tadan.cli.report import Report
from tadan.errors import InvalidInput, OutputExists, TadanError, UnreadableInput, UnwritableOutput
from tadan.files import Writer, own_stream, read_bytes, reason, write_atomically
from tadan.pictures import PICTURES as PICTURES

STANDARD_STREAM = Path("-")
STREAM_SUFFIX = ".tdn"
STREAMS = frozenset({STREAM_SUFFIX})


@dataclass(frozen=True)
class Source:
    """A file to read; ``relative`` is its path below the folder that was searched (its name if it was named itself)."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Job:
    """One file to read and one to write; either may be the standard stream."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Destination:
    """Where outputs go: one ``output``, below ``out_dir``, or beside each input under the input's name + ``suffix``.

    ``force``: True replaces what is there, False skips the input, None is an error.
    """

    suffix: str
    output: Path | None = None
    out_dir: Path | None = None
    force: bool | None = None

    def target(self, source: Source) -> Path:
        """Path of the output for ``source``; InvalidInput if it has no name to derive one from."""
        if self.output is not None:
            return self.output
        if source.path == STANDARD_STREAM:
            if self.out_dir is not None:
                raise InvalidInput("standard input has no name to use in --out-dir; name the output with -o.")
            return STANDARD_STREAM
        if self.out_dir is not None:
            return (self.out_dir / source.relative).with_suffix(self.suffix)
        return source.path.with_suffix(self.suffix)


def split_output(
    paths: Sequence[Path],
    output: Path | None,
    out_dir: Path | None,
    suffixes: frozenset[str] | None,
    excluded: frozenset[str] = STREAMS,
) -> tuple[list[Path], Path | None]:
    """Tell inputs from the output.

    Args:
        paths: as they were given.
        output: of ``-o``.
        out_dir: of ``--out-dir``; all paths are inputs then.
        suffixes: that a second path must have to be an output; None: any but those of ``excluded``.
        excluded: suffixes that an output cannot have if ``suffixes`` is None.

    Raises:
        InvalidInput: more than one place was given for the output, several inputs have none, or the second path cannot
            be an output and so is most likely an input.
    """
    inputs = list(paths)
    if output is not None and out_dir is not None:
        raise InvalidInput(f"both an output ({output}) and --out-dir are given; leave one of them out.")
    if out_dir is not None:
        return inputs, None
    if len(inputs) == 2 and output is None:
        output = inputs.pop()
        _check_output_name(output, suffixes, excluded)
    if len(inputs) > 1:
        place = "" if output is None else f" for the one output {output}"
        raise InvalidInput(f"{len(inputs)} inputs{place}; name a folder for their outputs with --out-dir.")
    if output is None and inputs[0].is_dir():
        raise InvalidInput(f"{inputs[0]} is a folder; name one for the outputs of its files with --out-dir.")
    return inputs, output


def _check_output_name(output: Path, suffixes: frozenset[str] | None, excluded: frozenset[str]) -> None:
    """Before anything is written: ``encode a.png b.png`` must not take a picture for an output."""
    special = output.exists() and not output.is_file() and not output.is_dir()  # a device, a pipe
    if output == STANDARD_STREAM or special or own_stream(output) is not None:
        return
    if output.is_dir():
        raise InvalidInput(f"the output {output} is a folder; name it with --out-dir.")
    suffix = output.suffix.lower()
    fits = suffix in suffixes if suffixes is not None else suffix not in ("", *excluded)
    if not fits:
        wanted = (
            f"end in {', '.join(sorted(suffixes))}" if suffixes is not None else "end as a picture does, in .png say"
        )
        raise InvalidInput(
            f"the second path is the output, and {output} does not {wanted}; "
            "for several inputs name a folder with --out-dir, for another ending use -o."
        )


def expand(paths: Sequence[Path], suffixes: frozenset[str], report: Report) -> list[Source]:
    """Replace folders by the files in them that have one of ``suffixes``; report folders without any."""
    sources: list[Source] = []
    for path in paths:
        if path == STANDARD_STREAM or not path.is_dir():
            sources.append(Source(path, Path(path.name)))
            continue
        found = list(search(path, suffixes))
        if not found:
            wanted = ", ".join(sorted(suffixes))
            report.failure(path, UnreadableInput(f"the folder {path} holds no file to read ({wanted}); name another."))
        sources += found
    return sources


def search(folder: Path, suffixes: frozenset[str]) -> Iterator[Source]:
    """Files below a folder that have one of ``suffixes``, by name; hidden ones are left out."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            yield Source(path, relative)


def plan(sources: Sequence[Source], destination: Destination, report: Report) -> list[Job]:
    """Pair every source with its output before anything is computed; report and leave out the impossible ones.

    Raises:
        InvalidInput: several sources for one named output.
    """
    if destination.output is not None and len(sources) > 1:
        raise InvalidInput(
            f"{len(sources)} inputs for the one output {destination.output}; name a folder with --out-dir instead."
        )
    inputs = {source.path.resolve() for source in sources}
    taken: dict[Path, Path] = {}
    jobs = []
    for source in sources:
        try:
            target = destination.target(source)
            if target != STANDARD_STREAM and own_stream(target) is None:
                _check_target(source, target, inputs, taken)
                if target.is_file() and destination.force is False:
                    report.line(f"{source.path}: skipped, {target} exists")
                    continue
                if target.is_file() and destination.force is None:
                    raise OutputExists(f"the output {target} exists")
        except TadanError as error:
            report.failure(source.path, error)
        else:
            jobs.append(Job(source.path, target))
    return jobs


def _check_target(source: Source, target: Path, inputs: set[Path], taken: dict[Path, Path]) -> None:
    resolved = target.resolve()
    if resolved in inputs:
        raise UnwritableOutput(f"the output {target} is an input too; give it another name.")
    if target.is_dir():
        raise UnwritableOutput(f"the output {target} is a folder; give a file name, or the folder with --out-dir.")
    if resolved in taken:
        raise UnwritableOutput(
            f"{target} is already the output of {taken[resolved]} in this run; run it separately with another -o."
        )
    taken[resolved] = source.path


def read_source(path: Path) -> bytes:
    """Read a whole file or standard input; UnreadableInput if that fails."""
    if path != STANDARD_STREAM:
        return read_bytes(path)
    if sys.stdin.isatty():
        raise UnreadableInput("standard input is a terminal; pipe a file into the command or name one.")
    return sys.stdin.buffer.read()


def no_standard_output(error: OSError) -> UnwritableOutput:
    """The error for what standard output did not take."""
    return UnwritableOutput(f"cannot write standard output: {reason(error)}; send it elsewhere or give -o FILE")


def write_target(path: Path, data: bytes | Writer, destination: Destination) -> None:
    """Write bytes, or what a function writes to a file, as a whole file or to standard output.

    Folders below ``out_dir`` are created. A file that came meanwhile is replaced only if the destination says so.

    Raises:
        UnwritableOutput: any of this fails; OutputExists among them.
    """
    if path == STANDARD_STREAM:
        if sys.stdout.isatty():
            raise UnwritableOutput("standard output is a terminal; redirect it to a file or give -o FILE.")
        if callable(data):
            whole = io.BytesIO()  # formats that seek cannot go to a pipe, and half a picture should not
            data(whole)
            data = whole.getvalue()
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise no_standard_output(error) from error
        return
    if destination.out_dir is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableOutput(f"cannot create {path.parent}: {error.strerror}; give another --out-dir.") from error
    write_atomically(path, data, replace=bool(destination.force))
