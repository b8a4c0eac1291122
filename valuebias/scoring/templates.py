"""Templates: the text of a conversation, from a prompt and the words that may answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from valuebias.errors import ValueBiasError
from valuebias.scoring.models import PLAIN, is_jinja

__all__ = ["ChatTemplate", "PlainTemplate", "Said", "Template", "template_of"]

Said = str | Sequence[Mapping[str, str]]
"""What stands before an answer: what the user says, or the messages of several turns."""

# Llama 3's templates write today's date into every conversation where the clock is at hand, and
# this date where it is not. A score must not depend on the day, so the clock is replaced.
_DATE = {
    **{"%d": "26", "%-d": "26", "%a": "Fri", "%A": "Friday", "%b": "Jul", "%B": "July"},
    **{"%m": "07", "%-m": "7", "%y": "24", "%Y": "2024", "%H": "00", "%M": "00", "%S": "00"},
}
_CLOCK = (
    "{% macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{code}', '{value}')" for code, value in _DATE.items())
    + " }}{%- endmacro +%}"
)
_TOKENS = ("bos_token", "eos_token")
_PROBE = ("zqprompt", "zqanswer")


class Template(Protocol):
    """What turns a prompt and a word into text.

    Attributes
    ----------
    text : str
        The template itself.
    bos : bool
        Whether the tokenizer is to put its first token before the text, where it does so by itself.
    """

    text: str
    bos: bool

    def conversations(self, prompt: Said, words: Sequence[str]) -> list[str]:
        """Give the whole conversation of each word."""

    def prefix(self, prompt: Said) -> str:
        """Give what stands before the answer."""


class PlainTemplate:
    """A text in which the prompt and the response are replaced.

    Examples
    --------
    >>> template = PlainTemplate("Q: {prompt} A: {response}.")
    >>> template.conversations("What is good?", ["love"]), template.prefix("Which?")
    (['Q: What is good? A: love.'], 'Q: Which? A: ')
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.bos = True
        # Split, not filled in by str.format: braces in prompts, words and template stay what they
        # are, and so does "{response}" in a prompt.
        self._before, self._after = text.split("{response}")
        self._start, self._middle = self._before.split("{prompt}")

    def conversations(self, prompt: Said, words: Sequence[str]) -> list[str]:
        """Give the whole conversation of each word."""
        prefix = self.prefix(prompt)
        return [f"{prefix}{word}{self._after}" for word in words]

    def prefix(self, prompt: Said) -> str:
        """Give what stands before the answer."""
        return f"{self._start}{_one_turn(prompt)}{self._middle}"


class ChatTemplate:
    """A chat template in Jinja, run by transformers as it runs every model's own.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Renders the template.
    text : str
        The template.
    name : str
        What to call the model in errors.

    Raises
    ------
    ValueBiasError
        If the template cannot be rendered, or asks for a token that the tokenizer does not have.
    """

    def __init__(self, tokenizer: Any, text: str, name: str) -> None:
        self.text = text
        self.bos = False
        self._tokenizer = tokenizer
        self._name = name
        self._source = (_CLOCK if "strftime_now" in text else "") + text
        self._check_tokens()

    def conversations(self, prompt: Said, words: Sequence[str]) -> list[str]:
        """Give the whole conversation of each word."""
        chats = [[*_turns(prompt), {"role": "assistant", "content": word}] for word in words]
        return self._render(chats) if chats else []

    def prefix(self, prompt: Said) -> str:
        """Give what stands before the answer."""
        return self._render([_turns(prompt)], add_generation_prompt=True)[0]

    def _render(
        self,
        chats: list[list[dict[str, str]]],
        *,
        add_generation_prompt: bool = False,
        tokens: dict[str, str] | None = None,
    ) -> list[str]:
        from jinja2 import TemplateError

        try:
            rendered: list[str] = self._tokenizer.apply_chat_template(
                chats,
                chat_template=self._source,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **(tokens or {}),
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise ValueBiasError(
                f"The chat template of {self._name!r} cannot be rendered "
                f"({type(error).__name__}: {error}). Give another one by template=, or "
                'template="plain".'
            ) from error
        return rendered

    def _check_tokens(self) -> None:
        """Refuse a template that writes a special token which the tokenizer does not have."""
        # Jinja would write nothing in its place, and nobody would notice.
        lacking = [t for t in _TOKENS if getattr(self._tokenizer, t, None) is None]
        if not lacking:
            return
        prompt, word = _PROBE
        chat = [*_turns(prompt), {"role": "assistant", "content": word}]
        rendered = self._render([chat], tokens={token: f"zq{token}" for token in lacking})[0]
        for token in lacking:
            if f"zq{token}" in rendered:
                raise ValueBiasError(
                    f"The chat template of {self._name!r} writes the {token}, which its tokenizer "
                    "does not have. Give the model's own tokenizer by tokenizer=, or another "
                    "template by template=."
                )


def template_of(tokenizer: Any, template: str, name: str) -> Template:
    """Make the template of a model.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.
    template : str
        As in :class:`valuebias.scoring.models.Model`.
    name : str
        What to call the model in errors.

    Returns
    -------
    Template
        Ready to use.

    Raises
    ------
    ValueBiasError
        If there is no chat template where one is asked for, or it cannot be used.
    """
    if template == "chat":
        try:
            return ChatTemplate(tokenizer, str(tokenizer.get_chat_template()), name)
        except ValueError as error:
            if isinstance(error, ValueBiasError):
                raise
            raise ValueBiasError(
                f"The tokenizer of {name!r} has no chat template (or several and no default). For "
                'a pretrained model give template="plain"; else give the template itself, in '
                "Jinja, by template=."
            ) from error
    if is_jinja(template):
        return ChatTemplate(tokenizer, template, name)
    return PlainTemplate(PLAIN if template == "plain" else template)


def _turns(prompt: Said) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [dict(message) for message in prompt]


def _one_turn(prompt: Said) -> str:
    if isinstance(prompt, str):
        return prompt
    roles = [message["role"] for message in prompt]
    if roles != ["user"]:
        raise ValueBiasError(
            f"A conversation has the messages {roles} before its answer, and a plain template has "
            "room for one of the user only. Give a chat template in Jinja by template=, or keep "
            "conversations of a single turn."
        )
    return str(prompt[0]["content"])
