"""Writes docs/benchmarks.md and the table of README.md from the JSON files in docs/results.

``python tools/benchmark_page.py`` after a new measurement. No figure of these is typed by hand: tests/docs
compare the committed text with what this script gives. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
TABLE_BEGIN = "<!-- table of tools/benchmark_page.py -->"
TABLE_END = "<!-- end of table -->"

NAMES = {
    "jpeg": "JPEG",
    "webp": "WebP",
    "jxl": "JPEG XL",
    "avif": "AVIF 4:2:0",
    "avif-444": "AVIF 4:4:4",
    "avif-psnr": "AVIF 4:2:0, tune=psnr",
    "avif-444-psnr": "AVIF 4:4:4, tune=psnr",
    "tadan-first": "Tadan's first generation",
}
#: Curves of others, on the same pictures, by the name in the file; from slow codecs and from papers.
GIVEN = {
    "heic-420-slow": "HEIC 4:2:0 (x265, slow)",
    "heic-444-slow": "HEIC 4:4:4 (x265, slow)",
    "vvenc-420-fast": "VVC 4:2:0 (vvenc, fast)",
    "jpeg2000": "JPEG 2000",
    "BPG 8b 444 x265 ycbcr": "BPG 4:4:4",
    "HM": "HM",
    "AV1": "AV1 (libaom)",
    "VTM": "VTM",
    "mbt2018-mean": "mean-scale hyperprior (CompressAI)",
    "mbt2018": "mbt2018, autoregressive (CompressAI)",
    "elic2022": "ELIC",
    "EVC EncS_DecS": "EVC, small",
    "shallow-ntc 2-layer_syn": "shallow NTC",
}
TITLES = {**NAMES, "tadan": "Tadan, `photo`"}
RACERS = {"tadan-effort-1": "**Tadan**, effort 1 (default)", "tadan-effort-0": "**Tadan**, effort 0", **NAMES}
TUNED = {"Kodak": "kodak", "photos_2k": "photos_2k", "screenshots": "screens"}
METRICS = {
    "ssimulacra2": ("SSIMULACRA2", 1),
    "butteraugli-3-norm": ("Butteraugli, 3-norm", 2),
    "psnr-rgb": ("PSNR, dB", 2),
    "ms-ssim-rgb": ("MS-SSIM", 4),
}
Row = Sequence[object]


def load(name: str) -> Any:
    """The parsed JSON file ``docs/results/name``."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float, digits: int = 1) -> str:
    """With its sign: ``+1.2 %``."""
    return f"{value:+.{digits}f} %"


def kodak_curve(name: str) -> str:
    """Tadan's own points of a curve: one column a quality."""
    curve = load(name)
    results = curve["results"]
    rows: list[Row] = [["bits per pixel", *(f"{bpp:.3f}" for bpp in results["bpp"])]]
    for key, (name, digits) in METRICS.items():
        rows.append([name, *(f"{value:.{digits}f}" for value in results[key])])
    return table(["quality", *(str(quality) for quality in curve["meta"]["quality"])], rows)


def rates(name: str, anchors: Sequence[str], metrics: Sequence[str]) -> list[list[str]]:
    """BD-rates of Tadan against each anchor, one row an anchor, one cell a metric."""
    found: Mapping[tuple[str, str], dict[str, Any]] = {
        (entry["anchor"].partition(" (given")[0], entry["metric"]): entry for entry in load(name)["bd_rates"]
    }
    rows = []
    for anchor in anchors:
        cells = [found[anchor, metric] for metric in metrics]
        least = min(cell["coverage"] for cell in cells)
        rows.append([TITLES[anchor], *(percent(cell["percent"]) for cell in cells), f"{100 * least:.0f} %"])
    return rows


def published(name: str, metrics: Sequence[str]) -> dict[str, list[str]]:
    """BD-rates against curves that others made, on Kodak: a cell a metric, and the overlap by the first."""
    cells: dict[str, dict[str, Any]] = {}
    for entry in load(name)["bd_rates"]:
        anchor, given, _ = entry["anchor"].partition(" (given")
        if given:
            cells.setdefault(anchor, {})[entry["metric"]] = entry
    rows = {}
    for anchor, entries in cells.items():
        found = [entries.get(metric, {}) for metric in metrics]
        shown = [percent(one["percent"]) if one.get("percent") is not None else "-" for one in found]
        rows[anchor] = [*shown, f"{100 * found[0]['coverage']:.0f} %"]
    return rows


def others() -> str:
    """The section on curves that others made, empty where none is compared."""
    rows = published("seen/kodak/bd-rates.json", ("psnr-rgb", "ms-ssim-rgb"))
    if not rows:
        return ""
    shown = table(
        ["against", "PSNR", "MS-SSIM", "overlap by PSNR"], ([GIVEN[name], *row] for name, row in rows.items())
    )
    return f"""
### Slow codecs, and codecs of papers

Kodak again, the same curve of Tadan against curves that others made.
Most of these codecs were made for PSNR, which this model is not.

{shown}
"""


def for_squares() -> str:
    """The section on the model for squared error: default effort and the highest, against rivals and given curves."""
    curve, most = load("psnr/tadan-photo-psnr.json"), load("psnr/effort-9/bd-rates.json")
    model = curve["meta"]["measured"]["model"]
    rivals = ("avif-444-psnr", "avif-psnr", "avif-444", "jxl", "webp", "jpeg", "tadan", "tadan-first")
    found = rates("psnr/default/bd-rates.json", rivals, ("psnr-rgb", "ms-ssim-rgb", "ssimulacra2"))
    rows = [[*row[:-1], searched(most, name), row[-1]] for name, row in zip(rivals, found, strict=True)]
    given = published("psnr/default/bd-rates.json", ("psnr-rgb", "ms-ssim-rgb"))
    for name, (*cells, overlap) in given.items():
        rows.append([GIVEN[name], *cells, "-", searched(most, name), overlap])
    head = ["against", "PSNR", "MS-SSIM", "SSIMULACRA2", "PSNR, effort 9", "least overlap"]
    return f"""
## The model for squared error

Model `photo-psnr`, id `{model}`: trained from `photo` for squared error alone, used with `--model photo-psnr`.
Its decoder has more arithmetic than that of `photo`; `tadan model info` tells how much.
Kodak, whole files, schedule `balanced`, default effort; the last column of percents has effort 9.

{kodak_curve("psnr/tadan-photo-psnr.json")}

{table(head, rows)}

![Quality over bits per pixel](results/psnr/default/rate-distortion.png)

{stated()}
"""


def stated() -> str:
    """BD-rates that a paper states, and no curves can be had of."""
    document = load("psnr/stated.json")
    rows = ([row["codec"], row["kmac"] or "-", percent(row["percent"])] for row in document["rows"])
    shown = table(
        ["codec", "kMAC per pixel of the decoder", f"{document['metric']}, against {document['anchor']}"], rows
    )
    return f"As others state it for {document['pictures']} ({document['source']}); not measured here:\n\n{shown}"


def searched(document: Mapping[str, Any], anchor: str) -> str:
    """The BD-rate by PSNR of one anchor, "-" where it is not compared."""
    for entry in document["bd_rates"]:
        if entry["anchor"].partition(" (given")[0] == anchor and entry["metric"] == "psnr-rgb":
            return percent(entry["percent"])
    return "-"


def photographs() -> str:
    """The section on larger photographs, empty where they are not measured."""
    if not (RESULTS / "seen" / "photos_2k" / "bd-rates.json").exists():
        return ""
    names = [name for name in NAMES if (RESULTS / "seen" / "photos_2k" / f"{name}.json").exists()]
    rows = rates("seen/photos_2k/bd-rates.json", names, list(METRICS))
    shown = table(["against", *(name for name, _ in METRICS.values()), "least overlap"], rows)
    return f"""
### Photographs of two megapixels

Twelve, whole files, schedule `balanced`, default effort.

{shown}
"""


def raced(name: str) -> list[Row]:
    """Codecs on one picture at about equal quality: bytes, and seconds by one thread and by two."""
    [found] = (one for one in load("race.json")["pictures"] if one["picture"] == name)
    rows: dict[str, list[Any]] = {}
    for row in found["rows"]:
        known = rows.setdefault(row["codec"], [RACERS[row["codec"]], f"{row['bytes']:,}", f"{row['score']:.1f}"])
        known += [f"{row[key]:.3f}" if row[key] < 0.1 else f"{row[key]:.2f}" for key in ("encode", "decode")]
    return list(rows.values())


def race(name: str) -> str:
    """Table of :func:`raced`."""
    head = ["", "bytes", "SSIMULACRA2", "encode, s", "decode, s", "encode, 2 threads", "decode, 2 threads"]
    return table(head, raced(name))


def limits() -> str:
    """One sentence: how near decoding is to its arithmetic."""
    found = load("race.json")
    words = []
    for one in found["pictures"]:
        megapixels = one["width"] * one["height"] / 1e6
        times = {row["threads"]: row["decode"] for row in one["rows"] if row["codec"] == "tadan-effort-0"}
        ratios = (f"{times[int(n)] / (limit * megapixels):.2f}" for n, limit in found["limits"].items())
        words.append(f"{' and '.join(ratios)} for {one['width']}x{one['height']} pixels")
    rates = found["rates"]
    return (
        f"A thread multiplies {rates['floats']:.0f} billion floats a second, {rates['integers']:.0f} billion"
        " integers.\nDecoding takes this many times what that allows, with one thread and with two: "
        f"{'; '.join(words)}."
    )


def throughput() -> str:
    """Megapixels a second in steady state."""
    rows = load("throughput.json")["rows"]
    cells = (
        [f"{r['megapixels']:.1f}", r["workers"], *(f"{r[k]:.2f}" for k in ("encode", "decode", "latents"))]
        for r in rows
    )
    return table(["megapixels", "workers", "encode, MP/s", "decode, MP/s", "verify, MP/s"], cells)


def starts() -> str:
    """One sentence: seconds of new processes."""
    return ", ".join(f"`{name}` {value:.2f} s" for name, value in load("throughput.json")["starts"].items())


def readme_table() -> str:
    """What a reader of the README needs: size for equal quality."""
    rivals = ("jpeg", "webp", "jxl", "avif", "avif-444")
    found = rates("seen/kodak/bd-rates.json", rivals, ("ssimulacra2", "butteraugli-3-norm", "psnr-rgb"))
    return table(["against", "by SSIMULACRA2", "by Butteraugli", "by PSNR"], (row[:-1] for row in found))


def speed() -> str:
    """Decode time by schedule."""
    rows = load("speed-768x512.json")["rows"]
    base = next(row["decode"] for row in rows if row["schedule"] == "checkerboard")
    return table(
        ["schedule", "stages", "bytes", "encode, s", "decode, s", "against checkerboard", "rANS share of decode"],
        (
            [
                row["schedule"],
                row["stages"],
                f"{row['bytes']:,}",
                f"{row['encode']:.3f}",
                f"{row['decode']:.3f}",
                f"{row['decode'] / base:.2f}",
                f"{100 * row['entropy'] / row['decode']:.1f} %",
            ]
            for row in rows
        ),
    )


def price() -> str:
    """Bits of the integer networks against the float networks."""
    rows = load("price-kodak.json")["rows"]
    return table(
        ["quality", "integers against float"], ([r["quality"], percent(r["integer_percent"], 2)] for r in rows)
    )


def monotone() -> str:
    """One sentence: do bytes and PSNR rise?"""
    found = load("monotone-kodak.json")["summary"]
    return (
        f"{found['pictures']} pictures of Kodak at {found['qualities']} qualities from 1 to 100, effort 0.\n"
        f"Steps at which bytes do not rise: {found['steps_with_bytes_not_rising']}; "
        f"PSNR: {found['steps_with_psnr_not_rising']}."
    )


def exactness() -> str:
    """Decoding the same files in other ways."""
    found = load("exactness-kodak.json")
    rows: list[Row] = [[row["way"], row["pictures"], row["mismatches"]] for row in found["rows"]]
    pixels: list[Row] = [[row["way"], row["pictures"], row["levels"]] for row in found["pixels"]]
    return (
        table(["latents decoded by", "pictures", "differing latents"], rows)
        + "\n\n"
        + table(["pixels painted by", "pictures", "levels of 255 apart, at most"], pixels)
    )


def effort() -> str:
    """BD-rate by PSNR and J against effort 0."""
    rows = load("effort-kodak.json")["rows"]
    return table(
        ["effort", "encode, s", "decode, s", "BD-rate by PSNR", "J"],
        (
            [
                row["effort"],
                f"{row['encode_s']:.2f}",
                f"{row['decode_s']:.2f}",
                percent(row["bd_rate"]["percent"]),
                percent(row["cost_percent"], 2),
            ]
            for row in rows
        ),
    )


def scale() -> str:
    """Seconds and peak memory over sizes."""

    def cells(part: Mapping[str, float], pixels: float) -> list[str]:
        took = part["seconds"]
        return [f"{took:.2f}", f"{took / pixels:.2f}", f"{part['peak_bytes'] / 2**20:.0f}"]

    rows = load("scale.json")["rows"]
    head = [
        "megapixels",
        "tiles",
        "encode, s",
        "s per MP",
        "peak, MB",
        "decode, s",
        "s per MP",
        "peak, MB",
        "region, s",
    ]
    return table(
        head,
        (
            [
                f"{row['megapixels']:.3g}",
                row["tiles"],
                *cells(row["encode"], row["megapixels"]),
                *cells(row["decode"], row["megapixels"]),
                f"{row['region']['seconds']:.2f}",
            ]
            for row in rows
        ),
    )


def tiles() -> str:
    """Cost of tiles in bytes and at their borders."""
    rows = load("tiles.json")["summary"]
    return table(
        ["tile", "quality", "bytes", "PSNR, dB", "seam, dB", "step, tiles", "step, one tile", "step, original"],
        (
            [
                row["tile"],
                row["quality"],
                percent(row["bytes_percent"], 2),
                f"{row['psnr_change_db']:+.3f}",
                f"{row['seam_db']:+.3f}",
                *(f"{row[key]:+.2f}" for key in ("step", "step_one_tile", "step_original")),
            ]
            for row in rows
        ),
    )


def damage() -> str:
    """What damaged files give back."""
    rows = load("damage.json")["summary"]
    return table(
        ["damage", "bytes hit", "tiles intact", "partial", "files with anything", "refused", "wrong tiles"],
        (
            [
                row["harm"],
                f"{row['damaged_percent']:.2g} %",
                f"{row['tiles_intact_percent']:.1f} %",
                f"{row['tiles_partial_percent']:.1f} %",
                f"{row['files_percent']:.0f} %",
                f"{row['refused_percent']:.0f} %",
                row["wrong"],
            ]
            for row in rows
        ),
    )


def tuned() -> str:
    """What tune chooses, and what trying everything would have found: from what ``tadan lab regret`` printed."""
    line = re.compile(r"(.+): (.+); best: (.+); regret ([\d.]+) %, (\d+) of (\d+) files, .*")
    rows: list[Row] = []
    for name, file in TUNED.items():
        printed = RESULTS / "tune" / f"regret-{file}.txt"
        for text in printed.read_text(encoding="utf-8").splitlines() if printed.exists() else []:
            if match := line.fullmatch(text):
                target, chosen, best, regret, tried, everything = match.groups()
                rows.append([name, f"`{target}`", chosen, best, f"{regret} %", f"{tried} of {everything}"])
    return table(["pictures", "target", "chosen", "best of all", "regret", "files made"], rows)


def predicted() -> str:
    """Errors of the cost model against seconds on the wall, as they were and at the pace of the measurement."""
    rows: list[Row] = []
    for name, file in TUNED.items():
        if not (RESULTS / "tune" / f"predict-{file}.json").exists():
            continue
        document = load(f"tune/predict-{file}.json")
        for threads, verbs in document["summary"]["paced"].items():
            for verb, errors in verbs.items():
                runs = sum(not row["stored"] and str(row["threads"]) == threads for row in document["rows"])
                plain = f"{100 * document['summary']['wall'][threads][verb]['median_absolute']:.1f} %"
                words = (f"{100 * errors[key]:.1f} %" for key in ("median_absolute", "largest_absolute"))
                rows.append([name, verb, threads, runs, plain, *words, percent(100 * errors["median"])])
    heads = ["pictures", "", "threads", "settings x pictures", "median error", "median at equal pace", "largest"]
    return table([*heads, "median with sign"], rows)


def decoders() -> str:
    """The full decoder beside the lite one."""
    document = load("decoders-kodak.json")
    by_quality: dict[int, dict[str, Any]] = {}
    for row in document["rows"]:
        by_quality.setdefault(row["quality"], {})[row["decoder"]] = row
    rows: list[Row] = []
    for quality, both in by_quality.items():
        full, lite = both["full"], both["lite"]
        pairs = (f"{full[key]:.2f}, {lite[key]:.2f}" for key in ("psnr", "ssimulacra2"))
        times = f"{1000 * full['seconds']:.0f}, {1000 * lite['seconds']:.0f}"
        rows.append([quality, f"{full['bpp']:.3f}", *pairs, times, f"{full['seconds'] / lite['seconds']:.2f}"])
    sizes = ", ".join(
        f"{name}: {facts['bytes'] / 1e6:.2f} MB and {facts['kmac']:.2f} kMAC per pixel"
        for name, facts in document["weights"].items()
    )
    heads = ["quality", "bits per pixel", "PSNR, dB: full, lite", "SSIMULACRA2", "decode, ms", "times as fast"]
    return f"{table(heads, rows)}\n\ng_s, {sizes}. Threads: {document['threads']}."


def first_generation() -> str:
    """BD-rates of the first generation's model by PSNR and MS-SSIM on both sets of pictures."""
    metrics = ("psnr-rgb", "ms-ssim-rgb")
    rows: list[Row] = []
    rivals: dict[str, tuple[str, ...]] = {"kodak": ("jpeg", "webp", "avif-psnr", "avif-444-psnr")}
    rivals["photos_2k"] = (*rivals["kodak"], "jxl")
    for pictures, anchors in rivals.items():
        rows += [[pictures, *row] for row in rates(f"{pictures}/bd-rates.json", anchors, metrics)]
    return table(["pictures", "against", "PSNR", "MS-SSIM", "least overlap"], rows)


def page() -> str:
    """The whole of docs/benchmarks.md."""
    anchors = [name for name in NAMES if (RESULTS / "seen" / "kodak" / f"{name}.json").exists()]
    measured = load("seen/kodak/tadan.json")
    at = load("speed-768x512.json")
    machine = measured["meta"]["measured"]
    model = measured["description"].partition("bundled (")[2].partition(")")[0]
    shown = table(
        ["against", *(name for name, _ in METRICS.values()), "least overlap"],
        rates("seen/kodak/bd-rates.json", anchors, list(METRICS)),
    )
    harm = load("damage.json")
    sizes = load("scale.json")
    return f"""\
# Benchmarks

<!-- Written by tools/benchmark_page.py from the files in docs/results. Change those, or the script, not this page. -->

Every table here is made from a file in [results](results/README.md), which also names the command.
Seconds are wall clock on {machine["cores"]} cores of one {machine["system"]} machine without a GPU.
Compare seconds within one table only.
A BD-rate says how many more (+) or fewer (-) bytes Tadan takes for equal quality.
"Least overlap" is the share of both curves on which it rests; below one half it says little.

## The bundled model

Model `photo`, id `{model}`: a branch of a long training, trained for what the eye sees.

### Quality and size

Kodak, {measured["meta"]["dataset"].partition("(")[2].rstrip(")")}, whole files, schedule `balanced`, default effort.

{kodak_curve("seen/kodak/tadan.json")}

{shown}

AVIF as Pillow writes it tunes for the eye.
Likenesses of SSIMULACRA2 and of Butteraugli are in the training loss, MS-SSIM is not.
The first generation was trained for squared error.

![Quality over bits per pixel](results/seen/kodak/rate-distortion.png)
{others()}{photographs()}
### Speed beside others

Every codec at the setting that comes nearest to the SSIMULACRA2 of Tadan's quality {load("race.json")["quality"]}.
Medians of {load("race.json")["repeat"]} rounds in turn, pixels in memory to bytes and back, one thread and two.
JPEG, WebP and JPEG XL choose their own threads.

A photograph of 1920x1080 pixels:

{race("casa-mila-1080p.png")}

`kodim19.png`, 512x768 pixels:

{race("kodim19.png")}

{limits()}

### Throughput

Threads of Python that share one codec, default effort, pictures cut or scaled from one photograph.

{throughput()}

A new process, for a picture of 0.4 megapixels: {starts()}.

### Speed by schedule

`{at["picture"]}`, quality {at["quality"]}, effort 0, one thread.
Medians of {at["repeat"]} rounds, file bytes to pixels.

{speed()}

### Price of integers

Bits of the integer networks against the float networks with the same tables.
Kodak, schedule `balanced`.

{price()}

### Does a higher quality always give more?

{monotone()}

### Lite decoder

The same files of Kodak, shown by the full decoder and by the [lite one](lite.md) in turn.

{decoders()}

### Exactness

Kodak, quality {load("exactness-kodak.json")["quality"]}, the same files decoded in different ways on one machine.

{exactness()}

### Effort

First six pictures of Kodak, qualities {", ".join(map(str, load("effort-kodak.json")["qualities"]))}, two threads.

{effort()}

### Large pictures

Mosaics of {len(sizes["photographs"])} photographs, quality {sizes["quality"]}, {sizes["threads"]} threads.
Start-up is included.
MB are 2^20 bytes of the largest resident set.

{scale()}

![Seconds and peak memory over megapixels](results/scale.png)

### Cost of tiles

{load("tiles.json")["summary"][0]["pictures"]} photographs of about two megapixels, effort 0.
All is against the same picture in one tile.
"Seam": change of PSNR within {load("tiles.json")["near_pixels"]} pixels of borders minus the change elsewhere.
"Step": mean absolute step across borders minus that of the columns and rows beside them, in levels of 255.

{tiles()}

### Damaged files

Quality {harm["quality"]}, tiles of {harm["tile"]} pixels, damage anywhere, header included.
"Wrong tiles" are called intact although they are not; there must be none.

{damage()}

### Tuning

What `tadan tune` chooses with a sample of six pictures, and what trying every setting on all of them finds.
"Regret" is what the choice loses: bytes, or pictures a second where the goal is speed.
Measured with an earlier model of the same sizes.

{tuned()}

The seconds of the cost model against real runs. The machine's pace changed meanwhile, by up to a quarter.
So g_s was timed before each run; "at equal pace" is the error when the pace of the profile's measurement is put in.

{predicted()}
{for_squares()}
## Quality and size of the first generation's files

Of commit 7647695; trained for squared error.

{first_generation()}
"""


def readme() -> str:
    """README.md with its table made anew."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(TABLE_BEGIN)
    _, _, after = rest.partition(TABLE_END)
    return f"{before}{TABLE_BEGIN}\n{readme_table()}\n{TABLE_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
