"""Templates: the text of a conversation, from a prompt and the words that may answer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from valuebias.errors import ValueBiasError
from valuebias.models.chat import ChatTemplate, Said
from valuebias.models.positions import AnswerPosition
from valuebias.models.spec import PLAIN, is_jinja

__all__ = ["PlainTemplate", "Said", "template_of"]


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

    def conversations(
        self, prompt: Said, words: Sequence[str], *, as_written: bool = True
    ) -> list[str]:
        """Return the whole conversation of each word; a plain template changes none."""
        before = self.prefix(prompt)
        return [f"{before}{word}{self._after}" for word in words]

    def answer_position(self, prompt: Said) -> AnswerPosition:
        """Find where the answer stands."""
        return AnswerPosition(self.prefix(prompt), "the template's")

    def prefix(self, prompt: Said) -> str:
        """Return what stands before the answer."""
        return f"{self._start}{_one_turn(prompt)}{self._middle}"

    def in_parts(self) -> list[str]:
        """Return no roles: a plain template takes text."""
        return []


def template_of(
    tokenizer: Any, template: str, name: str, *, prefix: str | None = "conversation"
) -> ChatTemplate | PlainTemplate:
    """Make the template of a model."""
    if template == "chat":
        try:
            text = str(tokenizer.get_chat_template())
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueBiasError(
                f"The tokenizer of {name!r} has no chat template (or several and no default). For "
                'a pretrained model give template="plain"; else give the template itself, in '
                "Jinja, by template=."
            ) from error
        return ChatTemplate(tokenizer, text, name, prefix=prefix)
    if is_jinja(template):
        return ChatTemplate(tokenizer, template, name, prefix=prefix)
    if prefix == "generation":
        raise ValueBiasError(
            f"The model {name!r} has prefix='generation' and a template without a generation "
            "prompt. Leave prefix out, or give a chat template by template=."
        )
    return PlainTemplate(PLAIN if template == "plain" else template)


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
