#!/usr/bin/env python3
"""Packs dumps that `collect --keep-dumps` kept into one archive for the tests.

    record.py OUT.tar.xz KEPT_DIR...

Each KEPT_DIR is one attempt's and becomes a folder of the archive, named after its place in the list. The bytes of float tensors are zeroed: no
test reads them, and a KV pool of zeros packs to nothing. Integers, shapes, dtypes and metadata stay as FlashInfer wrote them.
Standard library only.
"""
import io
import json
import lzma
import struct
import sys
import tarfile
from pathlib import Path

FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F4", "C64"}


def without_floats(data):
    """A safetensors file's bytes, its float tensors zeroed: 8 bytes of header size, the JSON header, then the tensors."""
    (size,) = struct.unpack_from("<Q", data)
    begin = 8 + size
    out = bytearray(data)
    for name, tensor in json.loads(data[8:begin]).items():
        if name != "__metadata__" and tensor["dtype"] in FLOATS:
            first, end = tensor["data_offsets"]
            out[begin + first:begin + end] = bytes(end - first)
    return bytes(out)


def main(out, kept):
    with lzma.open(out, "wb", preset=9) as packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for n, folder in enumerate(map(Path, kept), 1):
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                data = path.read_bytes()
                if path.suffix == ".safetensors":
                    data = without_floats(data)
                entry = tarfile.TarInfo(f"attempt{n}/{path.relative_to(folder).as_posix()}")
                entry.size, entry.mode = len(data), 0o644
                tar.addfile(entry, io.BytesIO(data))
    print(f"{out}: {Path(out).stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
