"""The key figures of a report: what each is, how it is computed, and which way is better (docs/kpis.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Any]  # sections by name, as they were saved


@dataclass(frozen=True)
class Kpi:
    """A key figure.

    Attributes:
        key: in thresholds and in JSON.
        title: for people.
        unit: "" if it has none.
        more: whether more is better.
        section: that it comes from.
        formula: in words and symbols.
        value: from the results of its section; None: it could not be measured.
        default: threshold that is set unless a file sets others; None: none.
        step: of the ladder (1..4) that depends on it.
    """

    key: str
    title: str
    unit: str
    more: bool
    section: str
    formula: str
    value: Callable[[Any], float | None]
    default: float | None
    step: int

    def measured(self, results: Results) -> float | None:
        """The value, None if the section was not run."""
        found = results.get(self.section)
        return None if found is None else self.value(found)

    def passes(self, value: float, threshold: float) -> bool:
        """Whether a value is good enough."""
        return value >= threshold if self.more else value <= threshold


def _saving(rival: str) -> Callable[[Any], float | None]:
    def value(section: Any) -> float | None:
        for row in section["equal"]:
            if row["rival"] == rival and row["score"] == section["score"] and row["percent"] is not None:
                return -float(row["percent"])
        return None

    return value


def _worst_tenth(section: Any) -> float | None:
    found = [row["p90"] for row in section["equal"] if row["rival"] == "jpeg" and row["score"] == section["score"]]
    return found[0] if found else None


def _path(*names: str) -> Callable[[Any], float | None]:
    def value(section: Any) -> float | None:
        for name in names:
            if section is None:
                return None
            section = section.get(name)
        return None if section is None else float(section)

    return value


def _most(*names: str, key: str) -> Callable[[Any], float | None]:
    """Largest value of ``key`` over rows; None if one of them has none."""

    def value(section: Any) -> float | None:
        for name in names:
            section = section[name]
        values = [row[key] for row in section]
        return None if not values or None in values else float(max(values))

    return value


def _peak(section: Any) -> float | None:
    peak = section["peak_bytes"]
    return None if peak is None else peak / 2**20


def _batch(section: Any) -> float | None:
    found = section["batch"]
    return None if found is None else float(found["torn"] + found["missing"] + found["different"])


def _uploads(section: Any) -> float | None:
    found = section["service"]
    return float(found["lost"] + found["torn"] + found["half_kept"])


def _break_even(section: Any) -> float | None:
    found = [row["pays_from_reads"] for row in section["rows"] if row["rival"] == "jpeg"]
    return None if not found or found[0] is None else float(found[0])


def _saved(section: Any) -> float | None:
    found = [row["clients"] for row in section["rows"] if row["rival"] == "jpeg"]
    return float(found[0]) if found else None


_GEO = "100 (1 - exp(mean over pictures of ln(b / B))), b and B: bytes of Tadan and of {} at equal SSIMULACRA2"
_TYPE7 = "of calls, linear between the two nearest values (numpy's default)"


def _savings() -> list[Kpi]:
    names = (("jpeg", "JPEG", 20.0), ("webp", "WebP", 0.0), ("avif", "AVIF", None), ("jxl", "JPEG XL", None))
    return [
        Kpi(
            f"saving_{name}_percent",
            f"Bytes saved against {title}",
            "%",
            True,
            "bytes",
            _GEO.format(title),
            _saving(name),
            default,
            1,
        )
        for name, title, default in names
    ]


def _table() -> list[Kpi]:
    return [
        Kpi(
            "unreadable_percent",
            "Files that cannot be read",
            "%",
            False,
            "pictures",
            "100 * files that Pillow cannot open, or of the sample not decode / all files with a picture's suffix",
            _path("unreadable_percent"),
            5.0,
            1,
        ),
        *_savings(),
        Kpi(
            "worst_tenth_percent",
            "Bytes against JPEG, worst tenth",
            "%",
            False,
            "bytes",
            "90th percentile over pictures of 100 (b / B - 1) against JPEG at equal SSIMULACRA2; below 0: all smaller",
            _worst_tenth,
            0.0,
            1,
        ),
        Kpi(
            "encode_p90_s",
            "Encode a picture, warm, p90",
            "s",
            False,
            "latency",
            f"90th percentile {_TYPE7}; pixels in memory to bytes of a file",
            _path("warm", "encode", "p90"),
            5.0,
            2,
        ),
        Kpi(
            "decode_p90_s",
            "Decode a picture, warm, p90",
            "s",
            False,
            "latency",
            f"90th percentile {_TYPE7}; bytes of a file to pixels in memory",
            _path("warm", "decode", "p90"),
            2.0,
            2,
        ),
        Kpi(
            "encode_cold_p50_s",
            "Encode a picture in a new process, p50",
            "s",
            False,
            "latency",
            "median of `tadan encode`, start of the process to its end",
            _path("cold", "encode", "p50"),
            None,
            2,
        ),
        Kpi(
            "decode_cold_p50_s",
            "Decode a picture in a new process, p50",
            "s",
            False,
            "latency",
            "median of `tadan decode`, start of the process to its end",
            _path("cold", "decode", "p50"),
            None,
            2,
        ),
        Kpi(
            "encode_megapixels_per_s",
            "Encode, offline throughput",
            "MP/s",
            True,
            "scenarios",
            "samples / seconds * mean megapixels, library, offline scenario",
            _path("library", "encode", "offline", "megapixels_per_s"),
            None,
            2,
        ),
        Kpi(
            "decode_megapixels_per_s",
            "Decode, offline throughput",
            "MP/s",
            True,
            "scenarios",
            "samples / seconds * mean megapixels, library, offline scenario",
            _path("library", "decode", "offline", "megapixels_per_s"),
            None,
            2,
        ),
        Kpi(
            "server_within_percent",
            "Service, requests answered within the bound at the held rate",
            "%",
            True,
            "scenarios",
            "100 * good answers within the bound / requests that arrived; Poisson arrivals at the held rate",
            _path("service", "held", "within_percent"),
            99.0,
            3,
        ),
        Kpi(
            "server_goodput_per_s",
            "Service, goodput at the held rate",
            "1/s",
            True,
            "scenarios",
            "good answers within the bound / seconds from the first arrival to the last answer",
            _path("service", "held", "goodput_per_s"),
            None,
            3,
        ),
        Kpi(
            "server_p99_s",
            "Service, latency at the held rate, p99",
            "s",
            False,
            "scenarios",
            "99th percentile from the time at which a request is due to its answer, good answers",
            _path("service", "held", "latency", "p99"),
            None,
            3,
        ),
        Kpi(
            "peak_memory_mb",
            "Largest memory of a process",
            "MB",
            False,
            "memory",
            "largest resident set of fresh processes that encode and decode, / 2^20 bytes",
            _peak,
            1536.0,
            2,
        ),
        Kpi(
            "wrong_tiles",
            "Damaged files: tiles called intact that are not",
            "",
            False,
            "recovery",
            "count over all damaged files",
            _path("wrong_tiles"),
            0.0,
            2,
        ),
        Kpi(
            "silent_cuts",
            "Cut files that were decoded without an error",
            "",
            False,
            "recovery",
            "count over files cut at random lengths",
            _path("cut", "silent"),
            0.0,
            2,
        ),
        Kpi(
            "failed_per_kill",
            "Requests lost when a worker is killed",
            "",
            False,
            "recovery",
            "largest number of failed requests over the kills",
            _most("workers", "rows", key="failed"),
            1.0,
            3,
        ),
        Kpi(
            "answered_s",
            "Next good answer after a worker is killed",
            "s",
            False,
            "recovery",
            "largest time over the kills until a good answer to a request that was sent after the kill",
            _most("workers", "rows", key="answered_s"),
            10.0,
            3,
        ),
        Kpi(
            "wrong_answers",
            "Answers with other bytes while workers are killed",
            "",
            False,
            "recovery",
            "count of answers with status 200 whose bytes differ from those before",
            _path("workers", "wrong"),
            0.0,
            3,
        ),
        Kpi(
            "lost_uploads",
            "Uploads lost, torn or half kept when the service is killed",
            "",
            False,
            "recovery",
            "acknowledged pictures that are gone or changed + others of which a part is there + half uploads kept",
            _uploads,
            0.0,
            3,
        ),
        Kpi(
            "batch_faults",
            "Files torn, missing or different when a batch is killed",
            "",
            False,
            "recovery",
            "torn files at the kill + missing and different ones after the batch was started again",
            _batch,
            0.0,
            2,
        ),
        Kpi(
            "selftest_failures",
            "Golden streams that decode otherwise here",
            "",
            False,
            "exactness",
            "count of `tadan selftest`",
            _path("failed"),
            0.0,
            2,
        ),
        Kpi(
            "break_even_reads",
            "Reads from which it pays against JPEG, clients decode",
            "",
            False,
            "money",
            "max(0, (C - S) / E): encoding less storage saved, over transfer saved by a read; never: no value",
            _break_even,
            None,
            4,
        ),
        Kpi(
            "saved_against_jpeg",
            "Money saved against JPEG by all pictures, clients decode",
            "",
            True,
            "money",
            "pictures * (S - C + reads * E) over the months of the price file",
            _saved,
            None,
            4,
        ),
    ]


KPIS = {one.key: one for one in _table()}
