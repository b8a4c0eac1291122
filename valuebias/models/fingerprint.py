"""Tell functions apart by what they compute: code, defaults, closures, globals and weights.

A store must not give the scores of one head for those of another, and a name does not tell heads
apart: a notebook's cell is edited, a closure is built again with other weights. What a function
computes depends on its bytecode and on every value that this reaches, so these are hashed. Where a
value is reached whose content cannot be told, no fingerprint is given: better none than one that
two heads share. What a function reads when it is called (files, the clock, random numbers) shows in
none of this.
"""

from __future__ import annotations

import builtins
import copyreg
import dis
import enum
import functools
import hashlib
import os
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from valuebias.errors import ValueBiasError, shown
from valuebias.models.outside import (
    BRINGS,
    BY_NAME,
    OUTSIDE,
    READERS,
    STATE,
    WORLD,
    home,
    installed,
    is_held,
    reads,
    version_of,
)

__all__ = ["Unknowable", "fingerprint"]

_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_FREE = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
"""How code reads names of its module, and of the functions that it stands in."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))


class Unknowable(ValueBiasError):
    """A function reaches something whose content cannot be told."""


def fingerprint(function: Callable[..., Any]) -> str:
    """Hash a function, or another callable, with all that it reaches.

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
        # An object made on the way is kept, so that no other one gets its address.
        self._kept: list[Any] = []

    def add(self, value: Any, path: str) -> None:
        """Hash a value; `path` says in errors how it is reached."""
        if isinstance(value, _PLAIN):
            self._mark(type(value).__name__, repr(value))
            return
        if value is os.environ or value is sys.modules:
            raise Unknowable(f"{path} is the process's own state, which changes")
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
            self.add(entry, f"{path}[{shown(key, longest=30)}]")

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
        if _is_world(value):
            raise Unknowable(f"{path} is the module {value.__name__!r}, {BRINGS}")
        version = version_of(value.__name__)
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
        if not isinstance(value, _OF_TYPES) and reads(str(module), value.__name__):
            raise _brings(path, value.__name__)
        self._mark("builtin", module, name)
        if owner is not None and not isinstance(owner, types.ModuleType | type):
            self.add(owner, f"{path}.__self__")

    def _function(self, value: types.FunctionType, path: str) -> None:
        named = installed(value)
        if named is not None:
            if reads(value.__module__, value.__name__):
                raise _brings(path, value.__qualname__)
            self._mark("installed", *named)
        else:
            self._code(value.__code__, path)
            if value.__dict__:
                self.add(value.__dict__, f"the attributes of {path}")
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
            if isinstance(content, types.ModuleType):
                taken = [at for free, at in sorted(_reached(value.__code__, _FREE)) if free == name]
                for attributes in taken or [()]:
                    self._taken(content, name, attributes)
            else:
                self.add(content, name)
        if named is not None:
            return
        for name, attributes in sorted(_reached(value.__code__, _GLOBAL)):
            self._mark(name)
            self._global(value.__globals__, name, attributes)

    def _cached(self, value: Any, path: str) -> None:
        """Hash what functools.cache and lru_cache were put round."""
        if home(value, value.__qualname__) is None:
            self._mark("cached")
            self.add(value.__wrapped__, path)
        else:
            self._mark("installed", value.__module__, value.__qualname__)

    def _global(self, scope: Mapping[str, Any], name: str, attributes: tuple[str, ...]) -> None:
        if name not in scope:
            builtin = getattr(builtins, name, None)
            if name in OUTSIDE:
                raise _brings("it", name)
            self._mark("builtin" if builtin is not None else "nowhere", name)
            return
        self._taken(scope[name], name, attributes)

    def _taken(self, value: Any, name: str, attributes: tuple[str, ...]) -> None:
        """Hash the attributes of a value that code uses; of a module only these count."""
        known: tuple[Any, str] | None = None
        for attribute in attributes:
            if not isinstance(value, types.ModuleType) or not hasattr(value, attribute):
                break
            module = value.__name__
            if attribute not in WORLD.get(module.partition(".")[0], (attribute,)):
                raise Unknowable(f"{name}.{attribute} is of the module {module!r}, {BRINGS}")
            if known is None and version_of(module) is not None:
                known = value, name
            value, name = getattr(value, attribute), f"{name}.{attribute}"
            if reads(getattr(value, "__module__", None) or module, attribute):
                raise _brings("it", name)
        is_own = isinstance(value, types.FunctionType) and version_of(value.__module__) is None
        if known is None or is_own or (isinstance(value, types.ModuleType) and _is_world(value)):
            self.add(value, name)
        elif _is_world(known[0]):
            self._mark("module", known[0].__name__, version_of(known[0].__name__))
        else:
            # A package's module stands for its members, except those put there from outside.
            self.add(*known)

    def _code(self, code: types.CodeType, path: str) -> None:
        self._mark("code", *sys.version_info[:2], code.co_code.hex(), code.co_flags)
        self._mark(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self._all((*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars), path)
        self.digest.update(getattr(code, "co_exceptiontable", b""))
        texts = [entry for entry in code.co_consts if isinstance(entry, str)]
        # Attributes are taken by their names, too.
        names = {*code.co_names, *(texts if BY_NAME & set(code.co_names) else ())}
        for name in sorted(READERS & names):
            raise _brings(path, name)
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME":
                _check_importable(str(instruction.argval), path)
        self._all(code.co_consts, path)

    def _class(self, value: type, path: str) -> None:
        release = version_of(value.__module__) if is_held(value) else None
        self._mark("class", value.__module__, value.__qualname__, release)
        if release is not None:
            if reads(value.__module__, value.__name__):
                raise _brings(path, value.__qualname__)
            return
        if type(value) is not type:
            self.add(type(value), f"the class of {path}")
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
            registered = copyreg.dispatch_table.get(type(value))
            parts = value.__reduce_ex__(4) if registered is None else registered(value)
        except Exception as error:  # what an object's own code raises is not known
            raise _unknowable(value, path) from error
        if isinstance(parts, str):
            # Only a name, which tells nothing but of what is installed.
            module = home(value, parts)
            if module is None:
                raise _unknowable(value, path)
            if reads(module, parts):
                raise _brings(path, parts)
            self._mark("named", parts)
            return
        make, arguments, state, entries, pairs = (*parts, None, None, None, None)[:5]
        self.add(make, path)
        self.add(arguments, path)
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
"""Attributes of classes that do not bear on what instances compute, or repeat it."""

_OF_TYPES = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)

_HOW: tuple[tuple[Any, Callable[..., None]], ...] = (
    (enum.Enum, _Walk._enum),
    (types.FunctionType, _Walk._function),
    (types.MethodType, _Walk._method),
    (types.ModuleType, _Walk._module),
    (types.CodeType, _Walk._code),
    (functools.partial, _Walk._partial),
    ((staticmethod, classmethod, property, functools.cached_property), _Walk._descriptor),
    (
        (types.BuiltinFunctionType, *_OF_TYPES),
        _Walk._builtin,
    ),
    (type(functools.lru_cache(len)), _Walk._cached),
    (type, _Walk._class),
    (np.ndarray, _Walk._array),
    (np.generic, lambda walk, value, path: _Walk._array(walk, np.asarray(value), path)),
    ((list, tuple), _Walk._sequence),
    ((set, frozenset), _Walk._set),
    (dict, _Walk._mapping),
)


def _reached(code: types.CodeType, how: tuple[str, ...]) -> set[tuple[str, tuple[str, ...]]]:
    """Find the names from outside that code reads, each with the attributes taken of it."""
    chains: set[tuple[str, tuple[str, ...]]] = set()
    chain: list[str] = []
    for instruction in (*dis.get_instructions(code), None):
        name = "" if instruction is None else instruction.opname
        if chain and instruction is not None and name in ("LOAD_ATTR", "LOAD_METHOD"):
            chain.append(str(instruction.argval))
            continue
        if chain:
            chains.add((chain[0], tuple(chain[1:])))
            chain = []
        if instruction is not None and name in how:
            chain = [str(instruction.argval)]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            chains |= _reached(constant, how)
    return chains


def _is_world(module: types.ModuleType) -> bool:
    return module.__name__.partition(".")[0] in WORLD


def _check_importable(name: str, path: str) -> None:
    """Refuse what a function imports when it is called, where that is not known beforehand."""
    if WORLD.get(name.partition(".")[0]) is not None:
        raise Unknowable(f"{path} imports {name!r} when it is called, {BRINGS}")
    if version_of(name) is None:
        raise Unknowable(
            f"{path} imports {name!r} when it is called, which is not installed, so that its "
            "content may change"
        )


def _brings(path: str, name: str) -> Unknowable:
    act = f"reads {name}" if name in STATE else f"calls {name}()"
    return Unknowable(f"{path} {act}, {BRINGS}")


def _unknowable(value: Any, path: str) -> Unknowable:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return Unknowable(f"{path} is a {kind}, whose content cannot be told")
