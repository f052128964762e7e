"""Pictures to bytes and back: the only place where all layers meet. The public names are those of :mod:`tadan`."""
