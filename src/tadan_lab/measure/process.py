"""What a command costs in a process of its own; it lives where the product can measure, too."""

from tadan.process import Cost, run_tadan

__all__ = ["Cost", "run_tadan"]
