"""What `/metrics` tells, in the text format of Prometheus; a registry of its own for every service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
PREFIX = "tadan_"


class Metrics:
    """Counters, gauges and histograms of one service."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = own = CollectorRegistry()
        self._phases = Histogram(
            f"{PREFIX}phase_seconds",
            "Seconds by phase and kind of work",
            ["phase", "kind"],
            registry=own,
            buckets=_SECONDS,
        )
        self.requests = Counter(f"{PREFIX}requests", "Answers by route and status", ["route", "status"], registry=own)
        self.request_seconds = Histogram(
            f"{PREFIX}request_seconds",
            "Seconds from the request to the end of the answer",
            registry=own,
            buckets=_SECONDS,
        )
        self.inside = Gauge(f"{PREFIX}queue_jobs", "Requests that work or wait", registry=own)
        self.inside_bytes = Gauge(f"{PREFIX}queue_bytes", "Bytes of their bodies", registry=own)
        self.refused = Counter(f"{PREFIX}refused", "Requests answered 429", registry=own)
        self.expired = Counter(f"{PREFIX}deadlines", "Requests given up after the deadline", registry=own)
        self.died = Counter(f"{PREFIX}workers_died", "Worker processes that ended with a request", registry=own)
        self.damaged = Counter(f"{PREFIX}checksum_failures", "Files that were damaged", registry=own)
        self.encoded = Counter(
            f"{PREFIX}encoded", "Pictures encoded, by what the file holds", ["content"], registry=own
        )
        self.bytes_in = Counter(f"{PREFIX}bytes_in", "Bytes of the pictures that were encoded", registry=own)
        self.bytes_out = Counter(f"{PREFIX}bytes_out", "Bytes of the files that came of them", registry=own)
        self.cache = Counter(f"{PREFIX}cache", "Renditions by whether they were at hand", ["result"], registry=own)

    def phase(self, name: str, kind: str, seconds: float) -> None:
        """Note how long something took."""
        self._phases.labels(name, kind).observe(max(0.0, seconds))

    def text(self) -> bytes:
        """All of it."""
        return bytes(generate_latest(self.registry))
