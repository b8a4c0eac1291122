"""Chat templates of others: stopped within limits of time and length, and else rendered as ever."""

from __future__ import annotations

import sys
import time

import pytest
import tiny_models

from valuebias import ValueBiasError
from valuebias.models import template_limits
from valuebias.models.chat import ChatTemplate

pytestmark = pytest.mark.skipif(tiny_models.missing() is not None, reason="needs PyTorch")

AFTER = "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] }}{% endfor %}"
GROW = "{% set ns = namespace(x=START) %}{% for i in range(60) %}STEP{% endfor %}{{ ns.x }}"


def growing(start: str, step: str) -> str:
    """Make a template that doubles something sixty times."""
    return GROW.replace("START", start).replace("STEP", step)


LONG = "{% set x = 'a' * 1000000 %}"
STOPPED = {
    "loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "recursion": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "a constant power": "{{ 9**9**9**9 }}",
    "a power": "{% set x = 9**9 %}{{ x**x }}",
    "a product": "{{ 'a' * 10**10 }}",
    "joined by tildes": growing("'a'", "{% set ns.x = ns.x ~ ns.x %}"),
    "added": growing("'a'", "{% set ns.x = ns.x + ns.x %}"),
    "lists": growing("[1]", "{% set ns.x = ns.x + ns.x %}"),
    "lists in lists": growing("[1]", "{% set ns.x = [ns.x, ns.x] %}"),
    "tuples in tuples": growing("(1,)", "{% set ns.x = (ns.x, ns.x) %}"),
    "mappings": growing("{}", "{% set ns.x = {'a': ns.x, 'b': ns.x} %}"),
    "blocks": growing("'a'", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
    "filters": growing("'a'", "{% set ns.x = ns.x | replace('a', 'aa') %}"),
    "replaced": LONG + "{{ x.replace('a', x) }}",
    "joined": LONG + "{{ x.join(x) }}",
    "padded": "{{ 'x'.ljust(1000000000) }}",
    "centred": "{{ 'x' | center(10000000000) }}",
    "a width": "{{ '%1000000000d' % 1 }}",
    "a width beside": "{{ '%*d' % (1000000000, 1) }}",
    "a width in braces": "{{ '{:1000000000}'.format(1) }}",
    "written": "{% for i in range(99999) %}{{ messages[0]['content'] * 1000 }}{% endfor %}",
    "lorem ipsum": "{{ lipsum(n=100000, max=100000) }}",
    "a list of lists": "{{ [1] | batch(1000000000, 'x') | list }}",
    "long itself": "{# " + "x" * 1_000_001 + " #}",
}


def template(text: str) -> ChatTemplate:
    return ChatTemplate(tiny_models.make_tokenizer(), text, "m", prefix="conversation")


AT_ONCE = ("loops", "padded", "written", "long itself")


@pytest.mark.parametrize(
    ("name", "at_once"), [*((name, False) for name in STOPPED), *((name, True) for name in AT_ONCE)]
)
def test_what_is_stopped(name: str, at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Most do so for some words only; one is given all the time there is.
    if name != "loops":
        monkeypatch.setattr(template_limits, "_SECONDS", 0.2)
    text = STOPPED[name]
    if not at_once:
        text = "{% if 'odd' in messages[-1].content %}" + text + "{% endif %}"
    began = time.process_time()
    with pytest.raises(ValueBiasError, match=r"The chat template of 'm' is stopped: it .* Give"):
        template(text + AFTER).conversations("Which?", ["love", "odd"])
    assert time.process_time() - began < 5


REAL = {
    "loops": AFTER,
    "namespaces": "{% set ns = namespace(n=0, t='') %}{% for m in messages %}"
    "{% set ns.n = ns.n + loop.index * 2 - 1 %}{% set ns.t = ns.t ~ '[' ~ m.role ~ ']' %}"
    "{% if loop.first %}{{ bos_token }}{% elif loop.last %}{{ ns.n }}{{ loop.length }}{% endif %}"
    "{{ ns.t + m['content'] | trim }}{% endfor %}",
    "sets": "{% set a %}<{{ messages | length }}>{% endset %}{{ a }}"
    "{% for m in messages[::-1][::-1] %}"
    "{{ '%s: %s' | format(m.role, m.content) }}{{ '-' * 3 }}{{ '%02d' % loop.index0 }}{% endfor %}",
    "macros": "{% macro say(m, end='\n') %}{{ m.role.upper() }}{{ m.content }}{{ end }}"
    "{% endmacro %}"
    "{% for m in messages if m.role != 'system' %}{{ say(m) }}{{ [1, 'b'] | tojson }}"
    "{{ {'a': [m.role]} }}{{ (1, 'x') | join('-') }}{{ 7 // 2 }}{% endfor %}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% if loop.last %}{% break %}"
    "{% endif %}{% endif %}{% endfor %}",
    "filters": "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ m.content }}"
    "{% endfor %}{{ messages | map(attribute='role') | join(', ') }}{{ messages | tojson }}"
    "{{ '{:5d}|{}'.format(7, messages[0].content) }}{{ messages | last }}",
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("prompt", ["Which one word?", "Which?\n {{ x }} 100000000% {0:1234567}"])
def test_what_is_rendered_as_ever(name: str, prompt: str) -> None:
    words = ["love", "free dom", "Ω"]
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": w}] for w in words
    ]
    tokenizer = tiny_models.make_tokenizer()
    # With a comment, it is another template, which is not watched.
    expected = tokenizer.apply_chat_template(
        chats, chat_template=REAL[name] + "{# x #}", tokenize=False
    )
    found = template(REAL[name])._written(chats, frozenset())
    assert found == expected


@pytest.mark.parametrize("change", ["gone", "not used"])
def test_no_template_is_rendered_where_no_limits_hold(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import chat_template_utils

    template(AFTER).conversations("Which?", ["love"])  # the library is changed after that
    rendered: list[str] = []
    if change == "gone":
        monkeypatch.delattr(chat_template_utils, "_compile_jinja_template")
    else:
        compile_anew = chat_template_utils._cached_compile_jinja_template

        def render(conversations: list[object], chat_template: str, **_: object) -> object:
            rendered.append(chat_template)
            made = compile_anew(chat_template)
            return [made.render(messages=chat) for chat in conversations], []

        tokenizer = tiny_models.make_tokenizer()
        for module in (chat_template_utils, sys.modules[_base_of(tokenizer).__module__]):
            monkeypatch.setattr(module, "render_jinja_template", render)
    monkeypatch.setattr(template_limits, "_held", set())
    with pytest.raises(
        ValueBiasError, match=r"is stopped: transformers \S+ would render it without limits"
    ):
        template(AFTER).conversations("Which?", ["love"])
    assert rendered == ([] if change == "gone" else [template_limits._PROBE])


def _base_of(tokenizer: object) -> type:
    """Find the class that renders templates."""
    return next(c for c in type(tokenizer).__mro__ if "apply_chat_template" in vars(c))


def test_a_prompt_of_a_book_s_length() -> None:
    prompt = "Which? " * 100_000
    (text,) = template(AFTER.replace("m['content']", "m['content'] | trim")).conversations(
        prompt, ["love"]
    )
    assert text.endswith("love")
