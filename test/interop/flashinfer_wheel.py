"""FlashInfer's own logger, out of a released wheel."""
import importlib
import sys
import types
from pathlib import Path


def find(wheels, release):
    """The wheel of a release in a directory."""
    found = list(Path(wheels).glob(f"flashinfer_python-{release}-*.whl"))
    if len(found) != 1:
        sys.exit(f"{wheels} has {len(found)} wheels of FlashInfer {release}")
    return found[0]


def api_logging(wheel):
    """The module flashinfer.api_logging, without the package around it, which needs a GPU's libraries. It reads FLASHINFER_* when it is
    imported, as in a server."""
    package = types.ModuleType("flashinfer")
    package.__path__ = [str(Path(wheel) / "flashinfer")]
    sys.modules["flashinfer"] = package
    return importlib.import_module("flashinfer.api_logging")
