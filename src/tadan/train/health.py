"""What to do about steps that are not finite: skip them, go back when they do not end, give up when that does not help.

All ranks of a training see the same averaged loss and gradient norm, so each comes to the same decision by itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PATIENCE = 20  # steps in a row
RECOVERIES = 3
FACTOR = 0.5  # of the learning rate, at each recovery
DOUBT = 5  # skipped steps in a row after which the weights are not worth a checkpoint


@dataclass
class Health:
    """Counts of one run; they travel in its checkpoints.

    Attributes:
        skipped: steps skipped since the start.
        in_a_row: steps skipped since the last good one.
        recoveries: times that the run went back to a checkpoint.
        lr_factor: what these have left of the learning rate.
    """

    skipped: int = 0
    in_a_row: int = 0
    recoveries: int = 0
    lr_factor: float = 1.0

    def note(self, finite: bool) -> None:
        """Count a step."""
        self.skipped += not finite
        self.in_a_row = 0 if finite else self.in_a_row + 1

    @property
    def doubtful(self) -> bool:
        """Whether the weights may be the cause: they then must not replace a good checkpoint."""
        return self.in_a_row >= DOUBT

    @property
    def lost(self) -> bool:
        """Whether waiting for a finite step is over."""
        return self.in_a_row >= PATIENCE

    @property
    def hopeless(self) -> bool:
        """Whether going back once more is over, too."""
        return self.lost and self.recoveries >= RECOVERIES

    def recovered(self) -> Health:
        """Health after going back to a checkpoint: a lower learning rate, a fresh count."""
        return Health(self.skipped, 0, self.recoveries + 1, self.lr_factor * FACTOR)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)
