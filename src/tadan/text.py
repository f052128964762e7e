"""Text from outside, such as names of files and curves, made fit for documents."""


def plain(text: str) -> str:
    """Escape control characters and undecodable bytes: no document may hold the one or be saved with the other."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
