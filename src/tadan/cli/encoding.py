"""Options of the verbs that encode, each with one name, one type and one help text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tadan.cli import options
from tadan.codec.options import DEFAULT_QUALITY, EFFORT_MAX, EFFORT_MIN, EncodeOptions
from tadan.errors import InvalidInput

if TYPE_CHECKING:
    from tadan.codec.target import Target

Quality = Annotated[
    int | None,
    typer.Option(
        "-q",
        "--quality",
        min=1,
        max=100,
        help="1 (smallest file) to 100 (best picture).",
        show_default=str(DEFAULT_QUALITY),
    ),
]
TargetSize = Annotated[
    str | None,
    typer.Option(metavar="BYTES", help="Find the best quality whose file has at most so many bytes: 200k, 1.5M."),
]
TargetPsnr = Annotated[
    float | None, typer.Option(metavar="DB", help="Find the lowest quality that reaches this PSNR in decibels.")
]
TargetScore = Annotated[
    float | None, typer.Option(metavar="SCORE", help="Find the lowest quality that reaches this SSIMULACRA2 score.")
]
Lossless = Annotated[
    bool, typer.Option("--lossless", help="Keep every sample: store the picture as PNG or lossless WebP.")
]
LosslessJpeg = Annotated[
    bool,
    typer.Option("--lossless-jpeg", help="Keep JPEG files byte for byte, smaller; decode IN OUT.jpg returns them."),
]
Schedule = Annotated[
    str,
    typer.Option("--schedule", help="fast, balanced, best, another name of `tadan schedule list`, or a pattern."),
]
Effort = Annotated[
    int,
    typer.Option(
        "--effort",
        "-e",
        min=EFFORT_MIN,
        max=EFFORT_MAX,
        help=f"{EFFORT_MIN} (fastest) to {EFFORT_MAX}: how long to search for a smaller file.",
    ),
]
Tune = Annotated[
    str | None,
    typer.Option(
        help="What the search lowers: eye (error that is seen) or psnr (squared error).",
        show_default="as the model was trained",
    ),
]
Verify = Annotated[bool, typer.Option("--verify", help="Decode the result and compare its latents.")]
Fallback = Annotated[
    bool,
    typer.Option(
        "--fallback/--no-fallback",
        help="Store screenshots, drawings and the like as WebP, PNG or JPEG where that is better / only warn.",
    ),
]
Strip = Annotated[
    bool,
    typer.Option(
        "--strip",
        help="Leave out EXIF, XMP and ICC profile; colours of another profile are converted to sRGB.",
    ),
]
KeepHidden = Annotated[
    bool,
    typer.Option("--keep-hidden", help="Keep the colours of fully transparent pixels, which nobody can see."),
]
Tile = Annotated[
    int | None,
    typer.Option(help="Pixels a side of the tiles, a multiple of 64; 0: one tile.", show_default="by size"),
]


def chosen_options(
    target: Target | None, quality: int | None, lossless_jpeg: bool, usual: int | None = None, **fields: Any
) -> EncodeOptions:
    """What was typed, as the encoder takes it.

    Args:
        target: that was asked for, if any.
        quality: that was asked for; None: the default.
        lossless_jpeg: whether JPEG files are to be kept byte for byte.
        usual: quality where none was asked for; None: the default.
        **fields: other fields of the options.

    Raises:
        InvalidInput: more than one of them says how good the picture is.
    """
    kinds = (
        ("a target", target is not None),
        ("-q", quality is not None),
        ("--lossless", fields.get("lossless")),
        ("--lossless-jpeg", lossless_jpeg),
    )
    given = [name for name, used in kinds if used]
    if len(given) > 1:
        raise InvalidInput(
            f"{', '.join(given)} exclude each other: each says how good the picture is; give one of them"
        )
    found = next(one for one in (quality, usual, DEFAULT_QUALITY) if one is not None)
    return EncodeOptions(quality=found, **fields)


def one_target(size: str | None, psnr: float | None, score: float | None) -> Target | None:
    """The one target that was given, if any."""
    given = [name for name, value in (("size", size), ("psnr", psnr), ("score", score)) if value is not None]
    if len(given) > 1:
        raise InvalidInput(f"--target-{given[0]} and --target-{given[1]} exclude each other; give one of them")
    if not given:
        return None
    from tadan.codec.target import Target

    if size is not None:
        return Target.size(options.parse_size(size, "--target-size"))
    return Target.psnr(psnr) if psnr is not None else Target.score(score or 0.0)
