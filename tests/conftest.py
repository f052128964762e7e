"""What every test shares: hypothesis without deadlines, and the same examples in every run."""

from hypothesis import settings

# Deadlines measure the machine; derandomised examples make a failure repeat.
settings.register_profile("tadan", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("tadan")
