"""Builds an SGLang release's own argument parser from its unpacked wheel, on a machine that has neither torch nor a GPU.

    parser, fields = load(directory)   # directory holds the package "sglang"

The release's own modules run as they are; every other package that is not installed is replaced by a stand-in whose
attributes are stand-ins again. What the parser is made of (names, actions, choices, types) is SGLang's own source and so is
real: were a list of choices made of a stand-in, check_real below would refuse it. One release a process: modules stay loaded.

Python 3.10 to 3.12, with msgspec, packaging and dill installed (sglang_flags.sh does that).
"""
import abc
import argparse
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import typing
from pathlib import Path

# Packages that are used for real where they are installed. Everything else that is not Python's own or sglang's is stood in
# for even where it is installed, so that the outcome does not hang on what a machine happens to have.
REAL = {"sglang", "msgspec", "packaging", "dill"}

# Packages whose mere presence makes SGLang look for a device of another kind.
ABSENT = {"torch_npu", "torch_musa", "torchada", "mlx", "habana_frameworks", "vllm"}

# Likewise attributes: without triton's driver SGLang takes the machine for a CPU.
NO_ATTRIBUTE = {"torch.npu", "torch.musa", "torch.hpu", "torch.version.hip", "triton.runtime", "triton.runtime.driver"}


class Permissive(abc.ABCMeta):
    """The type of stand-ins: a class that takes whatever is done with it while modules are imported."""

    def __getattr__(cls, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        made = stand_in(f"{cls.__name__}.{name}")
        setattr(cls, name, made)
        return made

    def __getitem__(cls, item):
        return cls

    def __setitem__(cls, item, value):
        pass

    def register(cls, *args, **kwargs):
        return args[0] if args else None

    def __or__(cls, other):
        return cls

    def __ror__(cls, other):
        return cls

    def __iter__(cls):
        return iter(())

    def __len__(cls):
        return 0

    def __bool__(cls):
        return False

    def __int__(cls):
        return 0

    def __lt__(cls, other):
        return False

    __gt__ = __le__ = __ge__ = __lt__

    def __contains__(cls, item):
        return False


def stand_in(name):
    """A class that can be called, subclassed, indexed, used as a decorator or a context, and is false."""

    def new(cls, *args, **kwargs):
        # A decorator gives back what it decorates.
        if cls.__dict__.get("_stand_in") and len(args) == 1 and not kwargs and isinstance(args[0], (types.FunctionType, type)):
            return args[0]
        return object.__new__(cls)

    def anything(self, *args, **kwargs):
        if len(args) == 1 and not kwargs and isinstance(args[0], (types.FunctionType, type)):
            return args[0]
        return self

    def attribute(self, attr):
        if attr.startswith("__") and attr.endswith("__"):
            raise AttributeError(attr)
        return getattr(type(self), attr)

    return Permissive(
        name,
        (),
        {
            "_stand_in": True,
            "__new__": new,
            "__init__": lambda self, *a, **k: None,
            "__init_subclass__": classmethod(lambda cls, **k: None),
            "__call__": anything,
            "__getattr__": attribute,
            "__getitem__": lambda self, item: self,
            "__enter__": lambda self: self,
            "__exit__": lambda self, *a: False,
            "__iter__": lambda self: iter(()),
            "__len__": lambda self: 0,
            "__bool__": lambda self: False,
            "__int__": lambda self: 0,
            "__lt__": lambda self, other: False,
            "__gt__": lambda self, other: False,
            "__le__": lambda self, other: False,
            "__ge__": lambda self, other: False,
            "__add__": lambda self, other: self,
            "__sub__": lambda self, other: self,
            "__mul__": lambda self, other: self,
            "__truediv__": lambda self, other: self,
        },
    )


class StandInModule(types.ModuleType):
    """A module of stand-ins."""

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__") or f"{self.__name__}.{name}" in NO_ATTRIBUTE:
            raise AttributeError(name)
        if name == "is_available":  # torch.cuda and its kin: there is no device here
            made = lambda *a, **k: False  # noqa: E731
        else:
            made = stand_in(name)
        setattr(self, name, made)
        return made


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for every module that is neither Python's own, nor sglang's, nor in REAL."""

    def find_spec(self, fullname, path=None, target=None):
        top = fullname.partition(".")[0]
        if top in REAL or top in ABSENT or top in sys.stdlib_module_names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        module = StandInModule(spec.name)
        module.__path__ = []
        module.__version__ = "99.0"
        return module

    def exec_module(self, module):
        pass


class RealButNative(importlib.abc.MetaPathFinder):
    """Stands in for sglang's own compiled modules, which a wheel unpacked without them does not have."""

    def __init__(self, root, stand_ins):
        self.root, self.stand_ins = root, stand_ins

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith("sglang."):
            return None
        base = self.root.joinpath(*fullname.split("."))
        if base.is_dir() or base.with_suffix(".py").is_file():
            return None
        if fullname.rpartition(".")[2].startswith("_"):
            return importlib.machinery.ModuleSpec(fullname, self.stand_ins, is_package=True)
        return None


def load(directory):
    """Gives the release's argparse parser and its Engine's keyword fields as {name: type in words}."""
    root = Path(directory).resolve()
    if not (root / "sglang" / "srt" / "server_args.py").is_file():
        raise SystemExit(f"{directory}: no sglang/srt/server_args.py: not an unpacked SGLang wheel")
    stand_ins = StandIns()
    sys.meta_path.insert(0, stand_ins)
    sys.meta_path.insert(0, RealButNative(root, stand_ins))
    sys.path.insert(0, str(root))
    # The package's own __init__ loads the frontend language and starts nothing we need.
    package = types.ModuleType("sglang")
    package.__path__ = [str(root / "sglang")]
    package.__spec__ = importlib.machinery.ModuleSpec("sglang", None, is_package=True)
    sys.modules["sglang"] = package

    module = importlib.import_module("sglang.srt.server_args")
    parser = argparse.ArgumentParser(prog="sglang.launch_server")
    module.ServerArgs.add_cli_args(parser)
    check_real(parser)
    return parser, engine_fields(module.ServerArgs)


def engine_fields(record):
    """The constructor's keywords: ServerArgs is a dataclass up to 0.5.18 and a msgspec Struct later."""
    if dataclasses.is_dataclass(record):
        names = [f.name for f in dataclasses.fields(record) if f.init]
    else:
        import msgspec

        names = [f.name for f in msgspec.structs.fields(record)]
    hints = typing.get_type_hints(record)
    return {name: type_name(hints[name]) for name in names}


def type_name(hint):
    """A type in short words: a Literal is the type of its values, a union its members without None."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "|".join(sorted({type(a).__name__ for a in args if a is not None}))
    if origin in (typing.Union, types.UnionType):
        return "|".join(sorted({type_name(a) for a in args if a is not type(None)}))
    if origin is list:
        return f"list[{type_name(args[0])}]"
    return (origin or hint).__name__


def check_real(parser):
    """Refuses a parser with a stand-in in it: its table would not be the release's."""
    for action in parser._actions:
        parts = [action.type, *(action.choices or []), action.default, action.const]
        for part in parts:
            kind = part if isinstance(part, type) else type(part)
            if isinstance(kind, Permissive):
                raise SystemExit(f"{action.option_strings}: {part!r} is a stand-in, not SGLang's own")
