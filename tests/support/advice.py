"""Every call and command that the package's messages name, found in its sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer

from valuebias.cli.app import app

ROOT = Path(__file__).parents[2]
# Pages, prompts and programs of others are no messages; nor is what a command says of itself.
_NO_MESSAGES = ("valuebias/report/", "backends/testing/", "valuebias/cli/spoken.py")
_NAMES = "read_scores|comparisons|share_remaining|word_changes|split|save_pretrained"
_INSIDE = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
_CALL = re.compile(
    rf"(?<![\w.`])(?:(?:valuebias|ds|dataset|xr|fit|pandas|Lexicon|Model|table|head)"
    rf"(?:\.\w+|\[[^\]]*\])*|{_NAMES}){_INSIDE}"
)


def commands() -> dict[str, set[str]]:
    """Give each command with its options."""
    group = typer.main.get_command(app)
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inside = getattr(command, "commands", {"": command})
        for one, each in inside.items():
            options = {option for param in each.params for option in (*param.opts, "--help")}
            found[f"{name} {one}".strip()] = options | {
                option for param in each.params for option in param.secondary_opts
            }
    return found


def named() -> dict[tuple[str, str], str]:
    """Give (file, call) of all messages, with the text around it; `{}` is what is filled in."""
    names = sorted(commands(), key=len, reverse=True)
    command = re.compile(rf"(?<![\w/-])valuebias (?:{'|'.join(names)})(?![\w-])[^.;:|`'\n]*")
    found = {}
    for file, text in _texts():
        for pattern in (_CALL, command):
            for call in pattern.findall(text):
                found[file, call.strip(" '`")] = text
    return found


_ARGUMENT = re.compile(r"(?<![\w.\-'\"/{=])([a-z]\w*)=(?=['\"\[{(.;,) ]|\d|True|False|None|$)")


def arguments() -> dict[str, str]:
    """Give the arguments that messages name, with the file of one that does."""
    found: dict[str, str] = {}
    for file, text in _texts():
        if "\n" not in text:  # programs that are written for a reader
            found |= dict.fromkeys(_ARGUMENT.findall(text), file)
    return found


def _texts() -> Iterator[tuple[str, str]]:
    for top in ("valuebias", "analysis", "backends"):
        for path in sorted((ROOT / top).rglob("*.py")):
            file = path.relative_to(ROOT).as_posix()
            if file.startswith(_NO_MESSAGES):
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            seen = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            seen |= _helps(tree)
            for node in ast.walk(tree):
                if id(node) in seen:
                    continue
                if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                    seen |= {id(child) for child in ast.walk(node)}
                    yield file, _text(node)


def _helps(tree: ast.AST) -> set[int]:
    """Find the texts that a command says of itself."""
    return {
        id(inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "help"
        for inside in ast.walk(node.value)
    }


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "{}"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body)} | {_text(node.orelse)}"
    return "{}"
