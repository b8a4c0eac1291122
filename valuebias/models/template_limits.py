"""Limits on what chat templates of others may take: time, memory and length of text.

A template is a program. Jinja's sandbox keeps it from reaching out, but not from going round for
ever or making a text of gigabytes. So the code that Jinja makes of it counts what it does: each
turn of a loop, each call, each piece of text that is put together or written.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from importlib import metadata
from typing import Any

__all__ = ["TemplateLimitError", "limit_rendering"]

_SECONDS = 1.0
"""Seconds of processor time per conversation; the slowest real template takes milliseconds."""
_TEXT = 10_000_000
"""How many characters a text may have, with all that a list or mapping holds."""
_WORK = 500_000_000
"""Characters that may be read and written; a turn of a loop counts as the whole template."""
_LONGEST = 1_000_000
_NUMBER = 10**10
_ARGUMENT = 1_000_000
_WIDTH = re.compile(r"%[^a-zA-Z%]{0,20}\d{6}|\{[^{}]{0,99}\d{6}")
_COUNTED, _BOUNDED, _JOINED = "valuebias_counted", "valuebias_bounded", "valuebias_joined"


class TemplateLimitError(ValueError):
    """A chat template takes more time or memory than any has need of.

    Examples
    --------
    >>> issubclass(TemplateLimitError, ValueError)
    True
    """


class _Budget:
    """The budget that one conversation has left."""

    def __init__(self) -> None:
        # This thread's time, so that neither other work nor a sleeping machine counts.
        self.ends = time.thread_time() + _SECONDS
        self.work, self.text = _WORK, _TEXT

    def step(self, work: int) -> None:
        self.work -= work
        if self.work < 0 or time.thread_time() > self.ends:
            raise TemplateLimitError("it does not end: it takes too many steps, or too long")

    def write(self, length: int) -> None:
        self.text -= length
        if self.text < 0:
            raise TemplateLimitError(f"it writes more than {_TEXT:,} characters")


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)
_limited: dict[str, Any] = {}
_PROBE = "{# valuebias: do limits hold? #}{{ messages | length }}"
_held: set[type] = set()


def limit_rendering(source: str, tokenizer: Any) -> None:
    """Have transformers render a template with limits: in code that counts what it does."""
    from transformers.utils import chat_template_utils as module

    # Typed as any module, since what it compiles with is replaced.
    chat_template_utils: Any = module
    if len(source) > _LONGEST:
        raise TemplateLimitError(f"it is {len(source):,} characters long")
    # A private function: a version that lacks it, or has no use for it, knows no limits.
    compile_template = getattr(chat_template_utils, "_compile_jinja_template", None)
    if compile_template is None:
        raise _unbounded()
    if source not in _limited:
        environment = _environment(compile_template("").environment, len(source))
        template = environment.from_string(source)
        template.root_render_func = _with_budget(template.root_render_func)
        _limited[source] = template
    if not hasattr(compile_template, "limited"):
        chat_template_utils._compile_jinja_template = _instead(compile_template)
    if type(tokenizer) not in _held:
        _check_held(tokenizer, compile_template(""))
        _held.add(type(tokenizer))


def _check_held(tokenizer: Any, compiled: Any) -> None:
    """Check with a template of our own that transformers renders templates with limits."""
    budgets: list[_Budget | None] = []
    template = _environment(compiled.environment, len(_PROBE)).from_string(_PROBE)
    render = template.root_render_func

    def noted(*args: Any, **kwargs: Any) -> Iterator[str]:
        budgets.append(_budget.get())
        return iter(render(*args, **kwargs))

    template.root_render_func = _with_budget(noted)
    _limited[_PROBE] = template
    tokenizer.apply_chat_template(
        [[{"role": "user", "content": "?"}]], chat_template=_PROBE, tokenize=False
    )
    if not any(budgets):
        raise _unbounded()


def _unbounded() -> TemplateLimitError:
    return TemplateLimitError(
        f"transformers {metadata.version('transformers')} would render it without limits of time "
        "and length, as this version of valuebias does not know how to set them there"
    )


def _instead(compile_template: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return the template with limits where there is one, else the one of transformers."""

    @functools.wraps(compile_template)
    def limited(chat_template: str) -> Any:
        template = _limited.get(chat_template)
        return compile_template(chat_template) if template is None else template

    limited.limited = True  # type: ignore[attr-defined]
    return limited


def _with_budget(render: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    @functools.wraps(render)
    def rendered(*args: Any, **kwargs: Any) -> Iterator[str]:
        token = _budget.set(_Budget())
        try:
            yield from render(*args, **kwargs)
        finally:
            _budget.reset(token)

    return rendered


def _step(work: int) -> None:
    budget = _budget.get()
    if budget is not None:
        budget.step(work)


def _environment(environment: Any, length: int) -> Any:
    """Copy an environment so that its templates count what they do."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def through(node: Any, name: str, lineno: int) -> Any:
        return nodes.Filter(node, name, [], [], None, None, lineno=lineno)

    class Counting(NodeTransformer):
        """Puts what counts around what repeats, joins or keeps."""

        def visit_For(self, node: Any) -> Any:
            self.generic_visit(node)
            node.iter = through(node.iter, _COUNTED, node.lineno)
            return node

        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            return through(nodes.List(node.nodes, lineno=node.lineno), _JOINED, node.lineno)

        def visit_AssignBlock(self, node: Any) -> Any:
            self.generic_visit(node)
            node.filter = through(node.filter, _BOUNDED, node.lineno)
            return node

        def visit_Dict(self, node: Any) -> Any:
            self.generic_visit(node)
            return through(node, _BOUNDED, node.lineno)

        visit_List = visit_Dict

        def visit_Tuple(self, node: Any) -> Any:
            self.generic_visit(node)
            return through(node, _BOUNDED, node.lineno) if node.ctx == "load" else node

    class Watched(type(environment)):  # type: ignore[misc]
        """Counts calls, and bounds what operators make."""

        intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

        def _parse(self, source: str, name: Any, filename: Any) -> Any:
            return Counting().visit(super()._parse(source, name, filename))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_binop(operator, left, right)
            return _bounded(super().call_binop(context, operator, left, right))

        def call(self, context: Any, called: Any, *args: Any, **kwargs: Any) -> Any:
            _step(length)
            # Of a text's format, the sandbox makes a function that wraps it.
            owner = getattr(getattr(called, "__wrapped__", called), "__self__", None)
            named = getattr(called, "__name__", "")
            if "format" in named:
                _check_width(owner)
            if named == "expandtabs":
                _check(_size(owner) * max([n for n in args if isinstance(n, int)], default=8) / 10)
            _check_call([owner, *args, *kwargs.values()])
            return _bounded(super().call(context, called, *args, **kwargs))

    def counted(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            _step(length)
            yield item

    # Not optimised: constants would be computed before anything counts.
    env = environment.overlay(optimized=False, finalize=_written)
    env.__class__ = Watched
    env.globals = {**environment.globals, "lipsum": _no_filler}
    env.filters = {name: _filter(name, function) for name, function in environment.filters.items()}
    env.filters |= {_COUNTED: counted, _BOUNDED: _bounded, _JOINED: _joined}
    return env


def _no_filler(*_: Any, **__: Any) -> str:
    raise TemplateLimitError("it asks for filler text")


def _filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if name == "format":
            _check_width(args[0])
        if name == "indent":
            _check(
                _size(args[0]) * max([n for n in args[1:] if isinstance(n, int)], default=4) / 10
            )
        _check_call([*args, *kwargs.values()])
        return _bounded(function(*args, **kwargs))

    return checked


def _joined(parts: list[Any]) -> str:
    # The list has been looked at, and so have all its parts.
    text: str = _bounded("".join(map(str, parts)))
    return text


def _written(value: Any) -> Any:
    """Count what is written; of a list that is what it would be as text."""
    budget = _budget.get()
    if budget is not None:
        budget.step(1)
        budget.write(_size(value))
    return value


def _size(value: Any) -> int:
    """Count the characters of a text, or of all that lists and mappings hold, up to the limit."""
    if isinstance(value, str | bytes):
        return len(value)
    if not isinstance(value, list | tuple | dict):
        return 1
    total = 0
    left: list[Any] = [value]
    while left and total <= _TEXT:
        each = left.pop()
        if isinstance(each, dict):
            total += len(each) + sum(len(key) for key in each if isinstance(key, str))
            left.extend(each.values())
        elif isinstance(each, list | tuple):
            total += len(each)
            left.extend(each)
        elif isinstance(each, str | bytes):
            total += len(each)
    return total


def _bounded(value: Any) -> Any:
    size = _size(value)
    _check(size)
    _step(size)
    _check_number(value)
    return value


def _check(size: float) -> None:
    if size > _TEXT:
        raise TemplateLimitError(f"it makes a text or list of more than {_TEXT:,} characters")


def _check_number(value: Any, most: int = _NUMBER) -> None:
    if isinstance(value, int) and abs(value) > most:
        raise TemplateLimitError(f"it computes with a number above {most:,}")


def _check_call(values: list[Any]) -> None:
    """Refuse operations that may make far longer text, such as padding to a great width."""
    sizes = sorted(_size(value) for value in values)
    # Each character of one may be replaced by another.
    _check(sizes[-1] * sizes[-2] / 10 if len(sizes) > 1 else 0)
    for value in values:
        _check_number(value, _ARGUMENT)


def _check_width(text: Any) -> None:
    if isinstance(text, str) and _WIDTH.search(text):
        raise TemplateLimitError("it asks for a great width")


def _check_binop(operator: str, left: Any, right: Any) -> None:
    _check_number(left)
    _check_number(right)
    if operator == "**":
        if abs(left) > _TEXT or abs(right) > 10:
            raise TemplateLimitError("it raises to a great power")
    elif operator == "*" and not (isinstance(left, int | float) and isinstance(right, int | float)):
        sizes = [abs(n) if isinstance(n, int) else _size(n) for n in (left, right)]
        _check(sizes[0] * sizes[1])
    elif operator == "+":
        _check(_size(left) + _size(right))
    elif operator == "%" and isinstance(left, str):
        _check_width(left)
        for value in right if isinstance(right, tuple) else (right,):
            _check_number(value, _TEXT)
        _check(_size(left) * _size(right) / 10)
