"""A machine that nobody measured: round coefficients, so that what is predicted in tests depends on no clock."""

from tadan.tune.machine import KINDS, MachineProfile
from tadan.tune.work import PARTS

_SECONDS = {"each": 1e-3, "step": 1e-4, "gmac": 0.03, "mlatents": 0.01, "mbits": 0.004, "mpixels": 0.02}


def machine(cores=2, factor=1.0, model_id="00" * 16, facts=None, **memory):
    """A profile with 1 to ``cores`` threads, all seconds times ``factor``."""
    counts = sorted({1, cores})
    parts = {
        threads: {
            part: {name: factor * _SECONDS[name] / (threads if name == "gmac" else 1) for name in names}
            for part, names in PARTS.items()
        }
        for threads in counts
    }
    return MachineProfile(
        facts={"processor": "of paper", "date": "2026-01-01", **(facts or {})},
        model={"name": "photo", "id": model_id},
        cores=cores,
        parts=parts,
        side_by_side={kind: {count: 1 + 0.1 * (count - 1) for count in counts} for kind in KINDS},
        start={"encode": 0.8, "search": 0.9, "decode": 0.7},
        memory={"base": 150e6, "encode": 100.0, "search": 200.0, "decode": 50.0, **memory},
        storing=0.5,
    )
