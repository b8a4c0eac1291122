"""Tell functions apart by what they compute: code, defaults, closures, globals and weights.

A store must not give the scores of one head for those of another, and a name does not tell heads
apart: a notebook's cell is edited, a closure is built anew with other weights. What a function
computes depends on its bytecode and on every value that this reaches, so these are hashed. Where a
value is reached whose content cannot be told, no fingerprint is given: better none than one that
two heads share. What a function reads when it is called (files, the clock, random numbers) shows in
none of this.
"""

from __future__ import annotations

import builtins
import dis
import enum
import functools
import hashlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from valuebias.errors import ValueBiasError

__all__ = ["Unknowable", "fingerprint"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_OUTSIDE = frozenset(
    ("open", "eval", "exec", "input", "globals", "locals", "vars", "__import__", "compile")
)
"""Builtins that bring in what cannot be seen beforehand."""
_READERS = frozenset(
    ("from_pretrained", "fromfile", "genfromtxt", "load", "load_file", "loadtxt", "memmap")
) | {"read_bytes", "read_csv", "read_parquet", "read_text", "safe_open", "urlopen"}
"""What functions and methods are called that bring files in."""
_SITES = ("site-packages", "dist-packages")


class Unknowable(ValueBiasError):
    """A function reaches something whose content cannot be told."""


def fingerprint(function: Callable[..., Any]) -> str:
    """Hash a function, or another callable, with all that it reaches.

    Parameters
    ----------
    function : callable
        A function, a method, a class's instance, a ``torch.nn.Module``.

    Returns
    -------
    str
        64 hexadecimal digits: equal ones for callables that compute the same because they are the
        same, under one version of Python and of the packages that they use.

    Raises
    ------
    Unknowable
        If it reaches something whose content cannot be told, such as an open file.

    Examples
    --------
    >>> def head(weight):
    ...     return lambda hidden: hidden @ weight
    >>> fingerprint(head(np.ones(3))) == fingerprint(head(np.ones(3)))
    True
    >>> fingerprint(head(np.ones(3))) == fingerprint(head(np.zeros(3)))
    False
    """
    walk = _Walk()
    try:
        walk.add(function, "it")
    except RecursionError as error:
        raise Unknowable("it reaches further than can be followed") from error
    return walk.digest.hexdigest()


class _Walk:
    """Goes through everything that a value reaches, and hashes it on the way."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._seen: dict[int, int] = {}
        # What is made on the way must not give its address to something else.
        self._kept: list[Any] = []

    def add(self, value: Any, path: str) -> None:
        """Hash a value; `path` says in errors how it is reached."""
        if isinstance(value, _PLAIN):
            self._mark(type(value).__name__, repr(value))
            return
        if id(value) in self._seen:
            self._mark("again", self._seen[id(value)])
            return
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        for kinds, how in _HOW:
            if isinstance(value, kinds):
                how(self, value, path)
                return
        if self._tensor(value, path):
            return
        self._object(value, path)

    def _mark(self, *words: object) -> None:
        for word in words:
            text = str(word).encode("utf-8", "surrogatepass")
            self.digest.update(f"{len(text)}:".encode() + text)

    def _all(self, values: Any, path: str) -> None:
        values = list(values)
        self._mark(len(values))
        for value in values:
            self.add(value, path)

    def _sequence(self, value: Any, path: str) -> None:
        if type(value) not in (list, tuple):
            self._object(value, path)
            return
        self._mark(type(value).__name__)
        self._all(value, path)

    def _mapping(self, value: Any, path: str) -> None:
        if type(value) is not dict:
            self._object(value, path)
            return
        self._mark("dict", len(value))
        for key, entry in value.items():
            self.add(key, path)
            self.add(entry, f"{path}[{_short(key)}]")

    def _set(self, value: Any, path: str) -> None:
        # Their order depends on the process.
        parts = []
        for entry in value:
            part = _Walk()
            part.add(entry, path)
            parts.append(part.digest.hexdigest())
        self._mark(type(value).__name__, *sorted(parts))

    def _array(self, value: Any, path: str) -> None:
        self._mark("array", value.dtype.str, value.shape)
        if value.dtype.hasobject:
            self._all(value.ravel().tolist(), path)
        else:
            self.digest.update(np.ascontiguousarray(value).tobytes())

    def _tensor(self, value: Any, path: str) -> bool:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(value, torch.Tensor):
            return False
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise _unknowable(value, path)
        self._mark("tensor", value.dtype, tuple(value.shape))
        content = value.detach().cpu().contiguous().reshape(-1)
        if content.numel():
            self.digest.update(content.view(torch.uint8).numpy().tobytes())
        return True

    def _enum(self, value: enum.Enum, path: str) -> None:
        self._mark("enum", value.name)
        self.add(type(value), path)

    def _module(self, value: types.ModuleType, path: str) -> None:
        version = _version(value.__name__)
        if version is None:
            raise Unknowable(
                f"{path} is the module {value.__name__!r}, which is not installed, so that its "
                "content may change"
            )
        self._mark("module", value.__name__, version)

    def _partial(self, value: functools.partial[Any], path: str) -> None:
        self._mark("partial")
        self.add(value.func, path)
        self.add(value.args, path)
        self.add(value.keywords, path)

    def _method(self, value: types.MethodType, path: str) -> None:
        self._mark("method")
        self.add(value.__func__, path)
        self.add(value.__self__, f"{path}.__self__")

    def _builtin(self, value: Any, path: str) -> None:
        owner = getattr(value, "__self__", None)
        module = getattr(value, "__module__", None) or getattr(owner, "__name__", "builtins")
        name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
        if module in ("builtins", "io") and name in _OUTSIDE:
            raise Unknowable(f"{path} calls {name}(), which brings in what cannot be seen")
        self._mark("builtin", module, name)
        if owner is not None and not isinstance(owner, types.ModuleType | type):
            self.add(owner, f"{path}.__self__")

    def _function(self, value: types.FunctionType, path: str) -> None:
        named = _installed(value)
        if named is not None:
            self._mark("installed", *named)
        else:
            self._code(value.__code__, path)
        self.add(value.__defaults__, f"the defaults of {path}")
        self.add(value.__kwdefaults__, f"the defaults of {path}")
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        for name, cell in cells:
            self._mark(name)
            try:
                content = cell.cell_contents
            except ValueError:
                self._mark("empty")
                continue
            self.add(content, name)
        if named is not None:
            return
        for name, attributes in sorted(_globals_of(value.__code__)):
            self._mark(name)
            self._global(value.__globals__, name, attributes)

    def _global(self, scope: Mapping[str, Any], name: str, attributes: tuple[str, ...]) -> None:
        if name not in scope:
            found = getattr(builtins, name, None)
            if name in _OUTSIDE:
                raise Unknowable(f"it calls {name}(), which brings in what cannot be seen")
            self._mark("builtin" if found is not None else "nowhere", name)
            return
        value = scope[name]
        # Of a module only what is used counts.
        for attribute in attributes:
            if not isinstance(value, types.ModuleType) or _version(value.__name__) is not None:
                break
            if not hasattr(value, attribute):
                break
            value, name = getattr(value, attribute), f"{name}.{attribute}"
        self.add(value, name)

    def _code(self, code: types.CodeType, path: str) -> None:
        self._mark("code", *sys.version_info[:2], code.co_code.hex(), code.co_flags)
        self._mark(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self._all((*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars), path)
        self.digest.update(getattr(code, "co_exceptiontable", b""))
        for name in sorted(_READERS & set(code.co_names)):
            raise Unknowable(f"{path} calls {name}(), which brings in what cannot be seen")
        for instruction in dis.get_instructions(code):
            imported = instruction.argval if instruction.opname == "IMPORT_NAME" else None
            if imported is not None and _version(str(imported)) is None:
                raise Unknowable(
                    f"{path} imports {imported!r} when it is called, which is not installed, so "
                    "that its content may change"
                )
        self._all(code.co_consts, path)

    def _class(self, value: type, path: str) -> None:
        version = _version(value.__module__)
        self._mark("class", value.__module__, value.__qualname__, version)
        if version is not None:
            return
        self._all(value.__bases__, path)
        for name in sorted(vars(value)):
            if name not in _OF_CLASSES:
                self._mark(name)
                self.add(vars(value)[name], f"{value.__qualname__}.{name}")

    def _descriptor(self, value: Any, path: str) -> None:
        self._mark(type(value).__name__)
        for name in ("__func__", "fget", "fset", "fdel", "func"):
            self.add(getattr(value, name, None), path)

    def _object(self, value: Any, path: str) -> None:
        """Take an object apart as copying it would."""
        self.add(type(value), f"the class of {path}")
        try:
            parts = value.__reduce_ex__(4)
        except Exception as error:  # what an object's own code raises is not known
            raise _unknowable(value, path) from error
        if isinstance(parts, str):
            self._mark("named", parts)
            return
        make, given, state, entries, pairs = (*parts, None, None, None, None)[:5]
        self.add(make, path)
        self.add(given, path)
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
            state = {"": state[0]} | state[1]
        if isinstance(state, dict):
            self._mark("state", len(state))
            for key, entry in state.items():
                self.add(key, path)
                self.add(entry, f"{path}.{key}" if key else path)
        else:
            self.add(state, path)
        self._all(entries or (), path)
        self._all(pairs or (), path)


_OF_CLASSES = frozenset(
    ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__qualname__")
) | {
    "__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__",
    "__annotations_cache__", "__abstractmethods__", "_abc_impl", "__match_args__",
    "__dataclass_fields__", "__dataclass_params__", "__parameters__", "__orig_bases__",
    "__slotnames__",
}  # fmt: skip
"""What a class has that says nothing of what its instances compute, or says it again."""

_HOW: tuple[tuple[Any, Callable[..., None]], ...] = (
    (enum.Enum, _Walk._enum),
    (types.FunctionType, _Walk._function),
    (types.MethodType, _Walk._method),
    (types.ModuleType, _Walk._module),
    (types.CodeType, _Walk._code),
    (functools.partial, _Walk._partial),
    ((staticmethod, classmethod, property, functools.cached_property), _Walk._descriptor),
    (
        (
            types.BuiltinFunctionType,
            types.MethodDescriptorType,
            types.WrapperDescriptorType,
            types.MethodWrapperType,
            types.ClassMethodDescriptorType,
            types.GetSetDescriptorType,
            types.MemberDescriptorType,
        ),
        _Walk._builtin,
    ),
    (type, _Walk._class),
    (np.ndarray, _Walk._array),
    (np.generic, lambda walk, value, path: _Walk._array(walk, np.asarray(value), path)),
    ((list, tuple), _Walk._sequence),
    ((set, frozenset), _Walk._set),
    (dict, _Walk._mapping),
)


def _globals_of(code: types.CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Find the global names that code reads, each with the attributes that are taken of it."""
    found: set[tuple[str, tuple[str, ...]]] = set()
    chain: list[str] = []
    for instruction in (*dis.get_instructions(code), None):
        name = "" if instruction is None else instruction.opname
        if chain and instruction is not None and name in ("LOAD_ATTR", "LOAD_METHOD"):
            chain.append(str(instruction.argval))
            continue
        if chain:
            found.add((chain[0], tuple(chain[1:])))
            chain = []
        if instruction is not None and name in ("LOAD_GLOBAL", "LOAD_NAME"):
            chain = [str(instruction.argval)]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_globals_of(constant))
    yield from found


def _installed(function: types.FunctionType) -> tuple[str, str, str] | None:
    """Name a function of an installed package; None for others, and for those that were made."""
    module = function.__module__ or ""
    version = _version(module)
    if version is None or "<" in function.__qualname__:
        return None
    held: Any = sys.modules.get(module)
    for part in function.__qualname__.split("."):
        held = getattr(held, part, None)
    # A function that was put in its place is another.
    return (module, function.__qualname__, version) if held is function else None


@functools.lru_cache(maxsize=4096)
def _version(module: str) -> str | None:
    """Give the version of the package that a module belongs to; None where it is not installed."""
    top = module.partition(".")[0]
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return f"python {sys.version_info[0]}.{sys.version_info[1]}"
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # such as __main__
        return None
    if spec is None or not any(part in _SITES for part in Path(spec.origin or "").parts):
        return None
    names = metadata.packages_distributions().get(top, [])
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names))) or None


def _unknowable(value: Any, path: str) -> Unknowable:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return Unknowable(f"{path} is a {kind}, whose content cannot be told")


def _short(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 30 else f"{text[:30]}…"
