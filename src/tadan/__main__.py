"""``python -m tadan``: the same as the command ``tadan``."""

from tadan.cli.main import run

if __name__ == "__main__":
    run()
