"""The command ``tadan``: thin, one verb per file; what the verbs share is in ``files`` and ``report``."""
