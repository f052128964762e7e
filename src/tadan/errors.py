"""Every error that Tadan raises on purpose, in one small hierarchy.

All derive from :class:`TadanError`, itself a ``ValueError``, so that ``except ValueError`` catches bad input as it
does for other codecs. A message says what is wrong *and what to do next*. The command line prints it and exits
with code 2.
"""


class TadanError(ValueError):
    """Base of all errors about input, files, models and limits."""


class NotOurFile(TadanError):
    """The bytes do not begin with the magic number of the expected kind of file."""


class Truncated(TadanError):
    """The file ends before all announced data has arrived."""


class Corrupt(TadanError):
    """A checksum or a structural rule does not hold: the bytes were changed after they were written."""


class UnsupportedVersion(TadanError):
    """The file was written by a newer (or unknown) version of the format."""


class ModelMissing(TadanError):
    """The model that is needed is neither bundled nor in the model store, or its file holds the decoder alone."""


class LimitExceeded(TadanError):
    """A size announced by the file or asked for by the caller is above the limit in force."""


class InvalidInput(TadanError):
    """An argument, an option or a picture is outside what the function accepts."""


class UnreadableInput(TadanError):
    """An input file is missing, is not readable, or is not a picture that Pillow can open."""


class UnwritableOutput(TadanError):
    """An output could not be written; what stood at its place before is unchanged."""


class ToolFailed(TadanError):
    """A program of others that a measurement needs is missing, failed, or printed what is not understood."""
