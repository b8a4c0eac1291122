"""Find backends: the built-in ones, and those of other packages through their entry points.

A package offers a backend with an entry point of the group ``valuebias.backends``, whose name is
the backend's name and whose value is its class.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from itertools import groupby
from typing import TypeVar

import pandas as pd

from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean

__all__ = [
    "GROUP",
    "backend_class",
    "backend_names",
    "every_backend",
    "get_backend",
    "install_command",
    "list_backends",
    "named_backend",
]

_T = TypeVar("_T")

GROUP = "valuebias.backends"
"""The group of entry points in which packages offer backends."""

# Named here and not by entry points, so that the usual request searches no installed package.
_BUILT_IN = {
    "torch": "valuebias.backends.torch_backend:TorchBackend",
    "onnx": "valuebias.backends.onnx_backend:OnnxBackend",
    "optimum": "valuebias.backends.optimum_backend:OptimumBackend",
    "vllm": "valuebias.backends.server_backend:Server",
}


def get_backend(backend: str | type[Backend] | Backend) -> Backend:
    """Return a backend that can run here.

    Parameters
    ----------
    backend : str, type of Backend or Backend
        A name that :func:`backend_names` gives, a class, or an instance with options of its own.

    Returns
    -------
    Backend
        The instance given, or a new one with default options.

    Raises
    ------
    ValueBiasError
        If no backend has that name, if it comes from a package that is broken, or if it cannot run
        here. The message says why and what to install.

    Examples
    --------
    >>> get_backend("torhc")
    Traceback (most recent call last):
      ...
    valuebias.errors.ValueBiasError: There is no backend 'torhc'. ... Did you mean 'torch'? ...
    """
    return _checked(*named_backend(backend))


def backend_names() -> tuple[str, ...]:
    """Name the backends: built-in ones first, then those of other packages in alphabetical order.

    Returns
    -------
    tuple of str
        Every name that :func:`get_backend` takes, whether or not that backend can run here.

    Warns
    -----
    ValueBiasWarning
        If two packages offer the same name. The first package in alphabetical order is used; a
        built-in backend is always preferred.

    Examples
    --------
    >>> backend_names()[:3]
    ('torch', 'onnx', 'optimum')
    """
    return (*_BUILT_IN, *_plug_ins())


def list_backends() -> pd.DataFrame:
    """List every backend, and say of each whether it can run here.

    Returns
    -------
    pandas.DataFrame
        One row per backend: its ``name``, ``description`` and ``package``; the ``kinds`` of score
        and whether it packs (``packed``); ``devices`` and ``dtypes`` that it can use here, the
        preferred ones first; whether it is ``available``, and if not, the ``reason`` and what to
        ``install``. Lists are joined by commas; what does not apply is empty.

    Warns
    -----
    ValueBiasWarning
        If a package's backend cannot be used at all; it is left out.

    Examples
    --------
    >>> list_backends().set_index("name").loc[["torch", "onnx", "optimum"], "package"].tolist()
    ['valuebias', 'valuebias', 'valuebias']
    """
    return pd.DataFrame(_each(_row))


def every_backend() -> list[tuple[Backend, str]]:
    """Make every backend, whether or not it can run here, and name its package."""
    return _each(lambda backend, package: (backend, package))


def _each(make: Callable[[Backend, str], _T]) -> list[_T]:
    made = [make(_built_in(name), "valuebias") for name in _BUILT_IN]
    for name, entry in _plug_ins().items():
        try:
            made.append(make(_load(entry), _package(entry)))
        except Exception as error:  # noqa: BLE001 - one broken package must not hide the others
            _warn(
                f"The backend {name!r} of the package {_package(entry)!r} is broken and left out: "
                f"{_reason(error)}."
            )
    return made


def named_backend(backend: str | type[Backend] | Backend) -> tuple[Backend, str | None]:
    """Make a backend of what :func:`get_backend` takes, whether or not it can run here.

    Its package is None where it came as a class or an instance of the user's own.
    """
    if isinstance(backend, str):
        return _named(backend)
    if inspect.isclass(backend) and issubclass(backend, Backend):
        return backend(), "valuebias" if _is_built_in(backend) else None
    if isinstance(backend, Backend):
        return backend, "valuebias" if _is_built_in(type(backend)) else None
    raise ValueBiasError(
        f"backend= takes a name, a class derived from Backend or an instance of one; "
        f"found {backend!r}. {did_you_mean(backend, backend_names())}"
    )


def backend_class(name: str) -> type[Backend]:
    """Find a backend's class by name, whether or not it can run here without options.

    Examples
    --------
    >>> backend_class("torch").__name__
    'TorchBackend'
    """
    return type(_named(name)[0])


def _named(name: str) -> tuple[Backend, str]:
    """Make a backend without options, and name its package."""
    if name in _BUILT_IN:
        return _built_in(name), "valuebias"
    plug_ins = _plug_ins()
    if name in plug_ins:
        try:
            backend = _load(plug_ins[name])
        except Exception as error:
            raise ValueBiasError(
                f"The backend {name!r} of the package {_package(plug_ins[name])!r} is broken: "
                f"{_reason(error)}. Update that package or ask its authors."
            ) from error
        return backend, _package(plug_ins[name])
    missing = [backend for backend in map(_built_in, _BUILT_IN) if backend.available() is not None]
    commands = [
        f"{backend.name!r} ({command})"
        for backend in missing
        if (command := _install(backend, "valuebias"))
    ]
    lacking = f"Not installed here: {', '.join(commands)}. " if commands else ""
    raise ValueBiasError(
        f"There is no backend {name!r}. {lacking}"
        "The backend of another package is found once that package is installed. "
        f"{did_you_mean(name, (*_BUILT_IN, *plug_ins))}"
    )


def _checked(backend: Backend, package: str | None) -> Backend:
    reason = backend.available()
    if reason is None:
        return backend
    command = _install(backend, package)
    advice = f" Install what it needs with: {command}" if command else ""
    raise ValueBiasError(
        f"The backend {backend.name!r} cannot run here: {reason.rstrip('.')}.{advice}"
    )


def _install(backend: Backend, package: str | None) -> str:
    return install_command(package, backend.extra)


def install_command(package: str | None, extra: str) -> str:
    """Say how to install an extra; nothing where there is none."""
    return f'pip install "{package}[{extra}]"' if package and extra else ""


def _is_built_in(cls: type[Backend]) -> bool:
    return f"{cls.__module__}:{cls.__qualname__}" in _BUILT_IN.values()


def _built_in(name: str) -> Backend:
    module, _, attribute = _BUILT_IN[name].partition(":")
    cls: type[Backend] = getattr(importlib.import_module(module), attribute)
    return cls()


def _plug_ins() -> dict[str, EntryPoint]:
    """Find the entry points by name, without importing anything of theirs."""
    plug_ins: dict[str, EntryPoint] = {}

    def order(entry: EntryPoint) -> tuple[str, str, str]:
        return entry.name, _package(entry), entry.value

    # A package that lies on the path twice (installed, and as a checkout) offers the same thing.
    offers = {order(entry): entry for entry in entry_points(group=GROUP)}
    for name, group in groupby(sorted(offers.values(), key=order), key=lambda entry: entry.name):
        entries = list(group)
        packages = [_package(entry) for entry in entries]
        if name in _BUILT_IN:
            _warn(
                f"{_quoted(packages)} offers a backend {name!r}, which is the name of a built-in "
                "one. The built-in one is used; pass the other one's class to use that."
            )
            continue
        if len(entries) > 1:
            _warn(
                f"The backend {name!r} is offered more than once, by {_quoted(packages)}. "
                f"That of {packages[0]!r} ({entries[0].value}) is used; uninstall the others, or "
                "pass the class of the one you want."
            )
        plug_ins[name] = entries[0]
    return plug_ins


def _load(entry: EntryPoint) -> Backend:
    cls = entry.load()
    if not (inspect.isclass(cls) and issubclass(cls, Backend)):
        raise TypeError(f"{entry.value} is not a class derived from valuebias.backends.Backend")
    for attribute in ("name", "description"):
        if not isinstance(getattr(cls, attribute, None), str):
            raise TypeError(f"{entry.value} has no {attribute}")
    if cls.name != entry.name:
        raise TypeError(f"{entry.value} calls itself {cls.name!r}, its entry point {entry.name!r}")
    return cls()


def _row(backend: Backend, package: str) -> dict[str, object]:
    reason = backend.available()
    usable = reason is None
    return {
        "name": backend.name,
        "description": backend.description,
        "package": package,
        "kinds": ", ".join(sorted(backend.kinds, reverse=True)),
        "packed": backend.packed,
        # An engine that is not installed cannot say what it could use.
        "devices": ", ".join(backend.devices()) if usable else "",
        "dtypes": ", ".join(backend.dtypes()) if usable else "",
        "available": usable,
        "reason": reason or "",
        "install": "" if usable else _install(backend, package),
    }


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown"


def _quoted(packages: list[str]) -> str:
    return " and ".join(repr(package) for package in packages)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".")


def _warn(message: str) -> None:
    warnings.warn(message, ValueBiasWarning, stacklevel=3)
