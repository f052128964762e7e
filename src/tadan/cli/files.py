"""Which files a command reads and writes: folders, standard streams, names of outputs, collisions.

The rules are those of cwebp, avifenc and cjxl, extended to many files:

* ``IN OUT``, ``IN -o OUT`` or any number of files and folders, with ``--out-dir`` or beside their inputs;
* folders are searched recursively, hidden files left out, and their structure is kept below ``--out-dir``;
* outputs appear whole or not at all and replace older ones, unless ``--no-clobber``; inputs are never replaced;
* ``-`` is standard input or output.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tadan.cli.report import Report
from tadan.errors import InvalidInput, TadanError, UnreadableInput, UnwritableOutput
from tadan.files import Writer, read_bytes, write_atomically

if TYPE_CHECKING:
    from tadan.codec.codec import Codec

STANDARD_STREAM = Path("-")
STREAM_SUFFIX = ".tdn"
STREAMS = frozenset({STREAM_SUFFIX})
# What is taken from a folder. HEIC and JPEG XL included, although Pillow alone opens neither: an error is better than
# a picture that is silently left out.
PICTURES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jpeg", ".jpg", ".jxl"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"}
)

# Options that several verbs share.
OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", help="Write here ('-': standard output).", show_default=False)
]
OutDirOption = Annotated[
    Path | None,
    typer.Option("--out-dir", help="Write all outputs below this folder; it is created.", show_default=False),
]
ForceOption = Annotated[
    bool | None,
    typer.Option(
        "--force/--no-clobber",
        help="Replace existing outputs / skip inputs whose output exists.",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Processor threads (default: all).", show_default=False)
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Name or file of a model (default: bundled).", show_default=False)
]
QuietOption = Annotated[bool, typer.Option("-Q", "--quiet", help="Print errors only.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per file and line.")]


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

    ``force``: True replaces what is there, False skips, None replaces it unless ``protect`` is set and the name was
    derived from that of the input, so that ``decode photo.tdn`` cannot destroy the original ``photo.png``.
    """

    suffix: str
    output: Path | None = None
    out_dir: Path | None = None
    force: bool | None = None
    protect: bool = False

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
    paths: Sequence[Path], output: Path | None, out_dir: Path | None, names_output: bool
) -> tuple[list[Path], Path | None]:
    """Tell inputs from the output: of two paths the second is the output if it is ``-`` or ``names_output``.

    Raises:
        InvalidInput: more than one place was given for the output.
    """
    inputs = list(paths)
    if len(inputs) == 2 and output is None and (names_output or inputs[1] == STANDARD_STREAM):
        output = inputs.pop()
    if output is not None and out_dir is not None:
        raise InvalidInput(f"both an output ({output}) and --out-dir are given; leave one of them out.")
    return inputs, output


def expand(paths: Sequence[Path], suffixes: frozenset[str], report: Report) -> list[Source]:
    """Replace folders by the files in them that have one of ``suffixes``; report folders without any."""
    sources: list[Source] = []
    for path in paths:
        if path == STANDARD_STREAM or not path.is_dir():
            sources.append(Source(path, Path(path.name)))
            continue
        found = list(_search(path, suffixes))
        if not found:
            wanted = ", ".join(sorted(suffixes))
            report.failure(path, UnreadableInput(f"the folder {path} holds no file to read ({wanted}); name another."))
        sources += found
    return sources


def _search(folder: Path, suffixes: frozenset[str]) -> Iterator[Source]:
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
            if target != STANDARD_STREAM:
                _check_target(source, target, inputs, taken)
                if target.exists() and destination.force is False:
                    report.line(f"{source.path}: skipped, {target} exists")
                    continue
                _check_protected(target, destination)
        except TadanError as error:
            report.failure(source.path, error)
        else:
            jobs.append(Job(source.path, target))
    return jobs


def _check_target(source: Source, target: Path, inputs: set[Path], taken: dict[Path, Path]) -> None:
    resolved = target.resolve()
    if resolved in inputs:
        raise UnwritableOutput(f"the output {target} is an input too; give it another name with -o or --out-dir.")
    if target.is_dir():
        raise UnwritableOutput(f"the output {target} is a folder; give a file name, or the folder with --out-dir.")
    if resolved in taken:
        raise UnwritableOutput(
            f"{target} is already the output of {taken[resolved]} in this run; run it separately with another -o."
        )
    taken[resolved] = source.path


def _check_protected(target: Path, destination: Destination) -> None:
    derived = destination.output is None and destination.out_dir is None
    if destination.protect and derived and destination.force is None and target.exists():
        raise UnwritableOutput(
            f"{target} exists and may be the original; replace it with --force, or name another output "
            "with -o or --out-dir."
        )


def open_codec(model: str | None, threads: int | None, encodes: bool = False) -> Codec:
    """Make the codec that the options ask for; a wrong ``--model`` is one error here, not one per file later."""
    import tadan

    if model is not None:
        from tadan.models import load_model

        loaded = load_model(model)
        if encodes:
            loaded.check_encoder()
    return tadan.Codec(model=model, threads=threads)


def read_source(path: Path) -> bytes:
    """Read a whole file or standard input; UnreadableInput if that fails."""
    if path != STANDARD_STREAM:
        return read_bytes(path)
    if sys.stdin.isatty():
        raise UnreadableInput("standard input is a terminal; pipe a file into the command or name one.")
    return sys.stdin.buffer.read()


def write_target(path: Path, data: bytes | Writer, out_dir: Path | None = None) -> None:
    """Write bytes, or what a function writes to a file, as a whole file or to standard output.

    Folders below ``out_dir`` are created; UnwritableOutput if any of this fails.
    """
    if path == STANDARD_STREAM:
        if sys.stdout.isatty():
            raise UnwritableOutput("standard output is a terminal; redirect it to a file or give -o FILE.")
        if callable(data):
            whole = io.BytesIO()  # formats that seek cannot go to a pipe, and half a picture should not
            data(whole)
            data = whole.getvalue()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if out_dir is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableOutput(f"cannot create {path.parent}: {error.strerror}; give another --out-dir.") from error
    write_atomically(path, data)
