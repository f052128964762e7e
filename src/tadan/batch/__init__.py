"""Many pictures: units of work that can be repeated, a journal of them, and engines for one machine and for many.

``tadan batch`` is built from these parts. A unit (:mod:`tadan.batch.unit`) reads one picture, encodes it and writes the
file; its name follows from content, model and settings (:mod:`tadan.batch.recipe`), so doing it again changes nothing.
The journal (:mod:`tadan.batch.journal`) says what need not be done again.
"""
