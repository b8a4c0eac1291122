"""Chat templates: how they render a conversation, and where the answer stands in it.

A template is a program that others wrote. It may leave out, change or repeat what it is given, or
write something else before an answer that is given than before one that is to be generated. So
its effect is found by rendering: conversations of made-up messages first, then the real ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from valuebias._core.foreign import reading
from valuebias.errors import ValueBiasError, shown
from valuebias.models.reading import AnswerPosition, common_start
from valuebias.models.spec import PAIR, PLAIN, is_jinja
from valuebias.models.template_limits import TemplateLimitError, limit_rendering

__all__ = ["ChatTemplate", "Pair", "Said", "template_of"]

Said = str | Sequence[Mapping[str, str]]
"""What stands before an answer: what the user says, or the messages of several turns."""
Chat = list[dict[str, Any]]

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

# Made-up messages. No template changes a word of these without changing others; the two answers
# begin and end differently, so that what they share stands around any answer.
_ASKED = "zqPrompt Zq"
_ANSWERS = ("zqAnswer Zq", "Other 7y")
_SHOWN = 60
_ROLES = "system|developer|user|human|assistant|model|bot|ai|gpt|tool|function|ipython|observation"
_Form = frozenset[str]
"""Whose messages are given as lists of parts, and not as text."""


class _Frame(NamedTuple):
    before: str
    after: str


class ChatTemplate:
    """A chat template in Jinja, run by transformers as it runs every model's own.

    Raises
    ------
    ValueBiasError
        If the template asks for a token that the tokenizer does not have. Every method, if the
        template cannot be rendered within limits of time and length, leaves out or changes what it
        is given, or repeats the answer.
    """

    bos = False

    def __init__(self, tokenizer: Any, text: str, name: str, *, prefix: str | None) -> None:
        self.text = text
        self._tokenizer = tokenizer
        self._name = name
        self._prefix = prefix
        self._source = (_CLOCK if "strftime_now" in text else "") + text
        self._forms: dict[tuple[tuple[str, ...], bool], _Form] = {}
        self._ended: set[tuple[str, ...]] = set()
        self._check_tokens()

    def conversations(
        self, prompt: Said, words: Sequence[str], *, as_written: bool = True
    ) -> list[str]:
        """Return the whole conversation of each word; refuse words that it changes `as_written`."""
        if not words:
            return []
        turns = _turns(prompt)
        frame = self._frame(turns)
        self._check_asked(prompt, frame.before)
        self._check_end(_roles(turns))
        rendered = self._render([[*turns, _turn("assistant", word)] for word in words])
        # Answers of several turns come from data sets, and are scored as the template has them.
        if as_written and isinstance(prompt, str):
            for word, text in zip(words, rendered, strict=True):
                self._check_word(word, text, frame)
        return rendered

    def answer_position(self, prompt: Said) -> AnswerPosition:
        """Find where the answer stands."""
        turns = _turns(prompt)
        before, opened = (_attempt(find, turns) for find in (self._before, self._opened))
        chosen = opened if self._prefix == "generation" else before
        if isinstance(chosen, ValueBiasError):
            if self._prefix == "conversation" and isinstance(opened, str):
                raise ValueBiasError(
                    f"{chosen} Or read log-probs where the model would begin to write, which takes "
                    "no rendered answer: prefix='generation'."
                ) from chosen
            raise chosen
        self._check_asked(prompt, chosen)
        other = _difference(before, opened)
        if self._prefix == "generation":
            note = f"; the rendered conversation {other}" if other else ""
            return AnswerPosition(
                chosen, f"the generation prompt's, as prefix='generation' asks{note}", chosen
            )
        if before == opened:
            return AnswerPosition(chosen, "the rendered conversation's and the generation prompt's")
        if not other:
            return AnswerPosition(chosen, "the rendered conversation's")
        advice = " (Model(prefix='generation') goes on from that)" if self._prefix else ""
        how = f"the rendered conversation's, which {other}{advice}"
        return AnswerPosition(chosen, how, str(opened))

    def prefix(self, prompt: Said) -> str:
        """Return what stands before the answer."""
        if self._prefix != "generation":
            before = _attempt(self._before, _turns(prompt))
            if isinstance(before, str):
                # How it differs from the generation prompt is not asked.
                self._check_asked(prompt, before)
                return before
        return self.answer_position(prompt).before

    def in_parts(self) -> list[str]:
        """Return the roles whose messages the template takes as lists of parts."""
        try:
            return sorted(self._form(("user",), answered=True))
        except ValueBiasError:
            return []

    def _opened(self, turns: Chat) -> str:
        return self._render([turns], add_generation_prompt=True)[0]

    def _before(self, turns: Chat) -> str:
        return self._frame(turns).before

    def _frame(self, turns: Chat) -> _Frame:
        """Find the text around any answer to some turns."""
        texts = self._render([[*turns, _turn("assistant", answer)] for answer in _ANSWERS])
        return self._around(texts)

    def _around(self, texts: Sequence[str]) -> _Frame:
        before = common_start(*texts)
        rests = [text[len(before) :] for text in texts]
        after = common_start(*(rest[::-1] for rest in rests))[::-1]
        for text, rest, answer in zip(texts, rests, _ANSWERS, strict=True):
            if rest != answer + after:
                raise self._refusal(_change(text, answer, "the assistant's answer"))
        return _Frame(before, after)

    def _check_asked(self, prompt: Said, before: str) -> None:
        if isinstance(prompt, str) and prompt.strip() not in before:
            raise self._refusal(f"does not write the prompt {shown(prompt)} as it is given")

    def _check_word(self, word: str, text: str, frame: _Frame) -> None:
        """Refuse a word that the template changes; white space around it may be trimmed."""
        stop = len(text) - len(frame.after)
        around = text.startswith(frame.before) and text.endswith(frame.after)
        if not around or text[len(frame.before) : stop].strip() != word.strip():
            raise ValueBiasError(
                f"The chat template of {self._name!r} does not write the word {shown(word)} as it "
                "is given. Leave it out, or give another template by template=."
            )

    def _refusal(self, fault: str) -> ValueBiasError:
        return ValueBiasError(
            f"The chat template of {self._name!r} {fault}, so that scores would not be those of "
            "the words as answers to the prompt. Give another one by template=, such as "
            'template="plain".'
        )

    # --- the template's input -----------------------------------------------------------------

    def _form(self, roles: tuple[str, ...], *, answered: bool) -> _Form:
        """Find the roles whose messages the template takes as lists of parts (text, images).

        Text is what most templates take; those that go over a list of parts write nothing of it.
        """
        key = roles, answered
        if key not in self._forms:
            others = frozenset(roles) - {"assistant"}
            forms = [_Form(), others | {"assistant"}, others, _Form({"assistant"})]
            faults = []
            for form in forms:
                fault = self._fault(roles, form, answered)
                if fault is None:
                    self._forms[key] = form
                    break
                if isinstance(fault.__cause__, TemplateLimitError):
                    raise fault
                faults.append(fault)
            else:
                raise faults[0]
        return self._forms[key]

    def _fault(self, roles: tuple[str, ...], form: _Form, answered: bool) -> ValueBiasError | None:
        """Describe what the template does wrong with messages in a form; None where it is right."""
        turns = [_turn(role, f"{_ASKED}{i}z") for i, role in enumerate(roles)]
        try:
            if answered:
                chats = [[*turns, _turn("assistant", answer)] for answer in _ANSWERS]
                before = self._around(self._written(chats, form)).before
            else:
                before = self._written([turns], form, add_generation_prompt=True)[0]
        except ValueBiasError as error:
            return error
        for turn in turns:
            if turn["role"] == "user" and turn["content"] not in before:
                return self._refusal(_change(before, turn["content"], "what the user says"))
        # A list in Python's notation contains its texts, too.
        return self._refusal("writes lists as they are") if form and "'type'" in before else None

    def _render(self, chats: list[Chat], *, add_generation_prompt: bool = False) -> list[str]:
        roles = _roles(chats[0])
        prompting = roles if add_generation_prompt else roles[:-1]
        form = self._form(prompting, answered=not add_generation_prompt)
        return self._written(chats, form, add_generation_prompt=add_generation_prompt)

    def _written(
        self,
        chats: list[Chat],
        form: _Form,
        *,
        add_generation_prompt: bool = False,
        tokens: dict[str, str] | None = None,
    ) -> list[str]:
        """Let transformers write conversations, with messages in some form."""
        formed = [[_in_form(turn, form) for turn in chat] for chat in chats]
        with reading(
            f"The chat template of {self._name!r}",
            verb="rendered",
            because="it is damaged, or not for such conversations",
            advice='Give another one by template=, or template="plain".',
        ):
            try:
                limit_rendering(self._source, self._tokenizer)
                rendered: list[str] = self._tokenizer.apply_chat_template(
                    formed,
                    chat_template=self._source,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    **(tokens or {}),
                )
            except TemplateLimitError as error:
                raise ValueBiasError(
                    f"The chat template of {self._name!r} is stopped: {error}. Give another one by "
                    'template=, or template="plain".'
                ) from error
        return rendered

    # --- checks made once -----------------------------------------------------------------------

    def _check_end(self, roles: tuple[str, ...]) -> None:
        """Refuse a template that opens another turn after the answer, where rewards are read.

        What it writes after the last answer is set beside what it writes where the user goes on.
        """
        if roles in self._ended:
            return
        turns = [_turn(role, f"{_ASKED}{i}z") for i, role in enumerate(roles)]
        answer, more = _ANSWERS[0], f"{_ASKED}{len(roles)}z"
        (text,) = self._render([[*turns, _turn("assistant", answer)]])
        before, after = text.split(answer)
        form = self._form(roles, answered=True)
        longer = [*turns, _turn("assistant", answer), _turn("user", more), _turn("assistant", "x")]
        try:
            (text,) = self._written([longer], form)
        except ValueBiasError:
            text = ""  # The template takes one question and one answer only.
        if text.count(answer) == text.count(more) == 1:
            between = text.split(answer)[1].split(more)[0]
            if self._opens_another(turns, before, after, between):
                raise self._refusal(f"opens another turn after the answer ({shown(after)})")
        self._ended.add(roles)

    def _opens_another(self, turns: Chat, before: str, after: str, between: str) -> bool:
        """Whether the text after the last answer opens the user's or another turn."""
        first, last = (turn["content"] for turn in (turns[0], turns[-1]))
        opening = before.split(last)[-1]
        asks, answers, end, goes_on = (
            self._bare(text).strip() for text in (before.split(first)[0], opening, after, between)
        )
        # What is the same before an answer and behind it separates turns, and opens none.
        separates = answers == goes_on
        words = set(re.findall(r"\w+", asks)) & set(re.findall(r"\w+", goes_on))
        signs = "" if separates else common_start(asks[::-1], goes_on[::-1]).strip()
        if goes_on and end.endswith(goes_on) and (words or signs):
            return True
        mark = None if separates else _opening(opening)
        return mark is not None and mark.search(after) is not None

    def _bare(self, text: str) -> str:
        """Leave out of what a template writes the tokens that any text may have."""
        for name in (*_TOKENS, "pad_token"):
            text = text.replace(getattr(self._tokenizer, name, None) or "\n", "\n")
        return text

    def _check_tokens(self) -> None:
        """Refuse a template that writes a special token which the tokenizer does not have."""
        # Jinja would silently write nothing in its place.
        lacking = [t for t in _TOKENS if getattr(self._tokenizer, t, None) is None]
        if not lacking:
            return
        chat = [_turn("user", _ASKED), _turn("assistant", _ANSWERS[0])]
        tokens = {token: f"zq{token}" for token in lacking}
        rendered = self._written([chat], _Form(), tokens=tokens)[0]
        for token in lacking:
            if f"zq{token}" in rendered:
                raise ValueBiasError(
                    f"The chat template of {self._name!r} writes the {token}, which its tokenizer "
                    "does not have. Give the model's own tokenizer by tokenizer=, or another "
                    "template by template=."
                )


def _opening(text: str) -> re.Pattern[str] | None:
    """Make a pattern of what opens a turn from the text before an answer, for any role it names."""
    named = list(re.finditer(rf"([^\w\s]*)\b({_ROLES})\b([^\w\s]*)", text, re.IGNORECASE))
    if not named:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return re.compile(rf"^\s*{re.escape(lines[-1])}", re.MULTILINE) if lines else None
    # The last one: before it the user's turn may be closed.
    start, _, end = (re.escape(part) for part in named[-1].groups())
    # Where nothing but a line's beginning marks a role, prose may name one further on.
    marks = (start or r"^\W*", end or r"[^\S\n]*$")
    pattern = rf"\b({_ROLES})\b".join(marks)
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


def _turns(prompt: Said) -> Chat:
    if isinstance(prompt, str):
        return [_turn("user", prompt)]
    return [dict(message) for message in prompt]


def _turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _roles(turns: Chat) -> tuple[str, ...]:
    return tuple(str(turn["role"]) for turn in turns)


def _in_form(turn: dict[str, Any], form: _Form) -> dict[str, Any]:
    if turn["role"] not in form:
        return turn
    return {**turn, "content": [{"type": "text", "text": turn["content"]}]}


def _change(text: str, original: str, noun: str) -> str:
    """Describe what the template did to a text that does not occur exactly once."""
    count = text.count(original)
    if count > 1:
        return f"writes {noun} {count} times"
    if count:
        return f"lets what stands around {noun} depend on it"
    start = text.lower().find(original.lower())
    if start >= 0:
        return f"changes {noun} ({original!r} becomes {text[start : start + len(original)]!r})"
    return f"leaves {noun} out, or changes it"


def _attempt(find: Callable[[Chat], str], turns: Chat) -> str | ValueBiasError:
    try:
        return find(turns)
    except ValueBiasError as error:
        return error


def _difference(before: str | ValueBiasError, opened: str | ValueBiasError) -> str:
    """Describe how the text before the answer differs from the generation prompt."""
    if not isinstance(before, str) or not isinstance(opened, str) or before == opened:
        return ""
    shared = common_start(before, opened)
    more, instead = before[len(shared) :], opened[len(shared) :]
    if not instead:
        return f"has {_end(more)} after the generation prompt"
    if not more:
        return f"lacks {_end(instead)} of the generation prompt"
    return f"has {_end(more)} where the generation prompt has {_end(instead)}"


def _end(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else "…" + text[-_SHOWN:])


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


class Pair(str):
    """Two texts that a tokenizer is to put together; as text, one after the other."""

    first: str
    second: str

    def __new__(cls, first: str, second: str) -> Pair:
        """Join them."""
        made = super().__new__(cls, f"{first} {second}")
        made.first, made.second = first, second
        return made

    def __add__(self, other: str) -> Pair:
        """Go on with the second."""
        return Pair(self.first, self.second + other)


class PairTemplate:
    """The prompt and the response as two texts.

    Examples
    --------
    >>> pair = PairTemplate().conversations("What is good?", ["love"])[0]
    >>> pair.first, pair.second
    ('What is good?', 'love')
    """

    text = PAIR
    bos = False

    def conversations(
        self, prompt: Said, words: Sequence[str], *, as_written: bool = True
    ) -> list[Pair]:
        """Return the whole conversation of each word."""
        return [Pair(_one_turn(prompt), word) for word in words]

    def answer_position(self, prompt: Said) -> AnswerPosition:
        """Find where the answer stands."""
        return AnswerPosition(self.prefix(prompt), "the second of two texts")

    def prefix(self, prompt: Said) -> Pair:
        """Return what stands before the answer."""
        return Pair(_one_turn(prompt), "")

    def in_parts(self) -> list[str]:
        """Return no roles: these texts have none."""
        return []


def template_of(
    tokenizer: Any, template: str, name: str, *, prefix: str | None = "conversation"
) -> ChatTemplate | PlainTemplate | PairTemplate:
    """Make the template of a model."""
    if template == PAIR:
        if prefix is not None:
            raise ValueBiasError(
                f"The model {name!r} has template='pair', in which an encoder reads two texts, and "
                "is asked for log-probs, which encoders have none of. Give template='chat' or "
                "'plain'; a reward model is scored with kind='reward'."
            )
        return PairTemplate()
    if template == "chat":
        try:
            text = str(tokenizer.get_chat_template())
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueBiasError(
                f"The tokenizer of {name!r} has no chat template (or several and no default). For "
                'a pretrained model give template="plain", for an encoder that takes a prompt and '
                'a response as two texts template="pair"; else give the template itself, in '
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
