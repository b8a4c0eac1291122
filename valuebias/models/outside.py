"""What is installed and so does not change, and what brings in things that do.

A function of an installed package is known by its name and the package's version, unless it reads
files, the process's settings or modules by name: what these give is seen only when it is called.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["BRINGS", "BY_NAME", "OUTSIDE", "READERS", "STATE", "WORLD"]
__all__ += ["home", "installed", "is_held", "reads", "version_of"]

OUTSIDE = frozenset(
    ("open", "eval", "exec", "input", "globals", "locals", "vars", "__import__", "compile")
)
"""Builtins that bring in something unknown before the call."""
STATE = ("environ", "environb", "__builtins__", "__globals__", "f_globals")
"""Names of the process's state, not of functions."""
READERS = frozenset((
    *STATE, "exists", "expanduser", "expandvars", "from_file", "from_pretrained", "fromfile",
    "genfromtxt",
    "getenv", "getmtime", "getsize", "import_module", "imread", "is_file", "isfile", "iterdir",
    "listdir", "load", "load_dataset", "load_file", "load_library", "loadtxt", "memmap", "mmap",
    "open", "open_dataset", "open_zarr", "read_avro", "read_bytes", "read_clipboard", "read_csv",
    "read_csv_batched", "read_database", "read_delta", "read_excel", "read_feather", "read_file",
    "read_fwf", "read_gbq", "read_hdf", "read_html", "read_image", "read_ipc", "read_ipc_stream",
    "read_json", "read_ndjson", "read_ods", "read_orc", "read_parquet", "read_pickle", "read_sas",
    "read_spss", "read_sql", "read_sql_query", "read_sql_table", "read_stata", "read_table",
    "read_text", "read_xml", "safe_open", "scandir", "urlopen", "urlretrieve",
))  # fmt: skip
"""Names of functions and methods that bring in files, settings or modules."""
_READING = re.compile(r"(read|load|open|scan|fetch)_|(load|loadmat|open|fetch|\w+_download)$")
"""Patterns of the names of packages' functions that do."""
WORLD = {
    "importlib": (), "io": (), "glob": (), "shutil": (), "subprocess": (), "socket": (),
    "urllib": (), "http": (), "requests": (), "httpx": (), "fsspec": (), "sqlite3": (),
    "shelve": (), "dbm": (), "mmap": (), "runpy": (), "pkgutil": (), "linecache": (),
    "fileinput": (), "tempfile": (), "ctypes": (), "gc": (), "inspect": (), "configparser": (),
    "h5py": (), "multiprocessing": (), "platform": (), "tarfile": (), "xml": (), "zipfile": (),
    "posix": (), "nt": (),
    "os": ("path", "fspath", "sep", "linesep", "PathLike"),
    "sys": ("maxsize", "float_info", "version_info", "byteorder", "platform"),
}  # fmt: skip
"""Modules of the outside world, and their members that only compute."""
BRINGS = "which brings in what cannot be seen"
BY_NAME = frozenset(("getattr", "attrgetter", "methodcaller", "__getattribute__", "__dict__"))
_HEAP = 1 << 9
"""The flag of classes that were made at run time."""
_SITES = ("site-packages", "dist-packages")


def installed(function: types.FunctionType) -> tuple[str, str, str] | None:
    """Name a function of an installed package; None for others, and for those that were made."""
    module = function.__module__ or ""
    version = version_of(module)
    if version is None or "<" in function.__qualname__:
        return None
    # A function that replaced it is another one.
    held = _at(module, function.__qualname__)
    return (module, function.__qualname__, version) if held is function else None


def _at(module: str, qualname: str) -> Any:
    """Return a module's member by its name."""
    held: Any = sys.modules.get(module)
    for part in qualname.split("."):
        held = getattr(held, part, None)
    return held


def is_held(kind: type) -> bool:
    """Whether a class is its module's member of that name, or is not made by Python code."""
    made_by_python = kind.__flags__ & _HEAP
    return not made_by_python or _at(kind.__module__, kind.__qualname__) is kind


def home(value: Any, name: str) -> str | None:
    """Find the installed module that has a value under a name."""
    kind = type(value).__module__
    stated = (getattr(value, "__module__", None), kind, kind.partition(".")[0])
    # Only existing members: some modules make members when asked for them.
    loaded = list(sys.modules.items())
    others = [m for m, held in loaded if getattr(held, "__dict__", {}).get(name) is value]
    for module in (*stated, *others):
        if module and version_of(module) is not None and _at(module, name) is value:
            return str(module)
    return None


def reads(module: str, name: str) -> bool:
    """Whether a member of an installed module brings in files or settings, by its name."""
    top = module.partition(".")[0].lstrip("_")
    if top in ("builtins", "io") and name in OUTSIDE:
        return True
    if top in ("copyreg", "builtins", "posixpath", "ntpath", "pathlib"):
        return name in READERS
    allowed = WORLD.get(top)
    if allowed == () and top != "io":
        return True
    return name in READERS or _READING.match(name) is not None


@functools.lru_cache(maxsize=4096)
def version_of(module: str | None) -> str | None:
    """Return the version of the package of a module; None where it is not installed."""
    top = (module or "").partition(".")[0]
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
