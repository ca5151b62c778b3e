"""The codecs of compressed record batches, and whether this installation can decode them.

Producers choose a codec, and so does a topic (`compression.type`): every reader must be able to decode all of them.
"""

from __future__ import annotations

from cxstream.kafka.inflate import NAMES, inflate_into, inflated
from cxstream.model.errors import InstallationError

_PLAIN = b"cxstream"
# The same few bytes, compressed with each codec.
_COMPRESSED = {
    "gzip": bytes.fromhex("1f8b08000000000002034bae282e294a4dcc0500c2f9eaa508000000"),
    "snappy": b"\x82SNAPPY\0\0\0\0\1\0\0\0\1\0\0\0\n\x08\x1c" + _PLAIN,
    "lz4": bytes.fromhex("04224d187040ad08000080637873747265616d127a681a00000000"),
    "zstd": bytes.fromhex("28b52ffd2008410000") + _PLAIN,
}
CODECS = tuple(_COMPRESSED)


def undecodable() -> dict[str, str]:
    """The codecs that cannot be decoded here, and why."""
    found = {}
    for number, name in NAMES.items():
        compressed, out = _COMPRESSED[name], bytearray(len(_PLAIN))
        try:
            plain = b"".join(inflated(number, compressed))
            size = inflate_into(number, compressed, memoryview(out))
        except Exception as error:  # noqa: BLE001 - a broken library may raise anything
            found[name] = f"{type(error).__name__}: {error}"
        else:
            if size is None or plain != _PLAIN or bytes(out) != _PLAIN:
                found[name] = "it decodes to other bytes"
    return found


def advice(found: dict[str, str]) -> str:
    """The error message: what is wrong and what to do."""
    said = "; ".join(f"{name} ({why})" for name, why in found.items())
    return (
        f"record batches with these codecs cannot be decoded: {said}: install what requirements.lock says (the "
        "package cramjam has snappy, lz4 and zstd)"
    )


def require_codecs() -> None:
    """Raise if a codec cannot be decoded.

    Raises:
        InstallationError: names each codec that cannot be decoded.
    """
    found = undecodable()
    if found:
        raise InstallationError(advice(found))
