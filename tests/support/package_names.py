"""Which names of the package a program speaks of, and whether a build of the package has them.

Sources are read and nothing is run: that takes no time, needs no extras and does for old builds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["has", "names_in", "programs_in"]

PACKAGE = "valuebias"
_DOTTED = re.compile(rf"{PACKAGE}(\.[A-Za-z_]\w*)+")
_IMPORT = re.compile(rf"^\s*(from|import\b.*)\s{PACKAGE}\b", re.MULTILINE)


def programs_in(source: str) -> Iterator[str]:
    """Give a program, and those that it holds as text."""
    yield source
    nodes = list(ast.walk(ast.parse(source)))
    remarks = {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        text = node.value if isinstance(node, ast.Constant) and node not in remarks else None
        if isinstance(text, str) and _IMPORT.search(text):
            yield text


def names_in(program: str, *, earlier: bool = False) -> set[str]:
    """List what a program imports from the package, takes from its modules or spells out.

    What is imported is written as ``module:name``. Where it is imported in another way if there is
    no such module, the other way is an earlier build's.
    """
    tree = _OfBuild(earlier).visit(ast.parse(program))
    compile(tree, "program", "exec")
    nodes = list(ast.walk(tree))
    found, known = set(), {}
    for node in nodes:
        for module, name, bound in _imported(node):
            found.add(f"{module}:{name}")
            known[bound] = bound if bound == PACKAGE else f"{module}.{name}".rstrip(".")
    for node in nodes:
        name = node.value if isinstance(node, ast.Constant) else None
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            name = f"{known.get(first)}.{rest}"
        if isinstance(name, str) and _DOTTED.fullmatch(name):
            found.add(name)
    return found


class _OfBuild(ast.NodeTransformer):
    """Leaves of two ways to import something the one of a build."""

    def __init__(self, earlier: bool) -> None:
        self.earlier = earlier

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        for handler in node.handlers:
            if isinstance(handler.type, ast.Name) and handler.type.id == "ModuleNotFoundError":
                return handler.body if self.earlier else node.body
        return node


def _imported(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Give module, name in it, and what the program calls it."""
    if isinstance(node, ast.ImportFrom) and _ours(module := node.module or ""):
        for one in node.names:
            yield module, one.name, one.asname or one.name
    elif isinstance(node, ast.Import):
        for one in node.names:
            if _ours(one.name):
                yield one.name, "", one.asname or PACKAGE


def _ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def has(build: Path, name: str) -> bool:
    """Tell whether the package in a folder has a name; what an object has is not looked at."""
    module, colon, last = name.partition(":")
    place = build.parent
    for part in module.split("."):
        if not _is_module(place / part):
            return not colon and part in _bound_in(place)
        place /= part
    return not last or _is_module(place / last) or last in _bound_in(place)


def _is_module(place: Path) -> bool:
    return place.is_dir() or place.with_name(f"{place.name}.py").is_file()


@cache
def _bound_in(module: Path) -> frozenset[str]:
    """List what a module binds; of what it loads lazily its stub tells."""
    files = [module.with_name(f"{module.name}.py"), *module.glob("__init__.py*")]
    trees = [ast.parse(file.read_bytes()) for file in files if file.is_file()]
    return frozenset(name for tree in trees for node in tree.body for name in _bound_by(node))


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
