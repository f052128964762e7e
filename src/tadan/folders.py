"""Where a user's own models and schedules are kept, by the custom of the system."""

from __future__ import annotations

import os
from pathlib import Path


def user_folder(kind: str) -> Path:
    """Folder of a kind of files: ``$TADAN_<KIND>`` if it is set, else below the user's data folder of the system.

    Args:
        kind: "models" or "schedules".
    """
    chosen = os.environ.get(f"TADAN_{kind.upper()}")
    if chosen:
        return Path(chosen)
    import platformdirs

    return platformdirs.user_data_path("tadan", appauthor=False) / kind
