"""Pictures: files and arrays to 8-bit planes with alpha, colour and metadata, and back."""
