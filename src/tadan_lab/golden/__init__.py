"""Makers of golden sets: what `tadan selftest` and other decoders are checked against."""
