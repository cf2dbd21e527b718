"""Reads a file once: its checksum, and whether it is text in the encoding that it is said to have."""

import codecs
import contextlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from recsys.errors import DataError

CHUNK = 1 << 20


@dataclass(frozen=True)
class TextFile:
    """Where the file can be read as UTF-8 without a byte order mark, and its checksums."""

    path: Path
    sha256: tuple[str, ...]
    """Of the bytes; of a text file also with Windows line ends made plain."""


def read_text_file(path: Path, encoding: str | None, copy: Path, *, hashed: bool) -> TextFile:
    """The file itself if it is plain UTF-8 (or binary: no encoding), else `copy`, written in UTF-8.

    Raises DataError naming the first line that is not text in this encoding. The checksums are empty unless `hashed`.
    """
    if encoding is None and not hashed:
        return TextFile(path, ())
    copied = encoding is not None and (codecs.lookup(encoding).name != "utf-8" or _marked(path))
    decoder = codecs.getincrementaldecoder(_unmarked(encoding))() if encoding else None
    sums = _Sums()
    with path.open("rb") as file, contextlib.ExitStack() as stack:
        out = stack.enter_context(copy.open("w", encoding="utf-8", newline="")) if copied else None
        while True:
            chunk = file.read(CHUNK)
            if decoder:
                try:
                    text = decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as error:
                    raise DataError(_not_text(path, encoding or "", error)) from None
                if out:
                    out.write(text)
            if hashed:
                sums.update(chunk)
            if not chunk:
                break
    return TextFile(copy if copied else path, sums.hex(text=encoding is not None) if hashed else ())


class _Sums:
    """SHA-256 of bytes as they are, and with every \\r\\n made \\n."""

    def __init__(self) -> None:
        self._raw, self._plain, self._held = sha256(), sha256(), b""

    def update(self, chunk: bytes) -> None:
        self._raw.update(chunk)
        chunk = self._held + chunk
        self._held = b"\r" if chunk.endswith(b"\r") and chunk != self._held else b""
        self._plain.update(chunk.removesuffix(self._held).replace(b"\r\n", b"\n"))

    def hex(self, *, text: bool) -> tuple[str, ...]:
        return (self._raw.hexdigest(), self._plain.hexdigest()) if text else (self._raw.hexdigest(),)


def _marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == codecs.BOM_UTF8


def _unmarked(encoding: str) -> str:
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _not_text(path: Path, encoding: str, error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    remedy = "state the file's encoding in the catalog, such as `encoding: cp1252` or `encoding: latin-1`"
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as found:
                if found.end < len(line) or not line.endswith(b"\n"):
                    byte = line[found.start]
                    return f"{path}: line {number:,} is not {encoding} text (byte 0x{byte:02x}); {remedy}"
    return f"{path}: not {encoding} text (byte 0x{byte:02x}); {remedy}"
