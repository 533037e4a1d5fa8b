"""The one error of everything that reads capture files."""


class CaptureError(Exception):
    """A capture file cannot be read on; what came before it has been yielded.

    Attributes:
        path: the file as the caller named it; "" until the reader that knows it adds it.
        offset: bytes from the start of the file, after decompression if it is compressed.
        found: what is there.
        expected: what would be right.
    """

    def __init__(self, offset: int, found: str, expected: str, path: str = "") -> None:
        super().__init__(offset, found, expected, path)
        self.path = path
        self.offset = offset
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        """Return the line that a command prints."""
        where = f"{self.path}: " if self.path else ""
        return f"{where}offset {self.offset}: found {self.found}, expected {self.expected}"
