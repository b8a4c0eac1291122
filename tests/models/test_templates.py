"""Where the answer stands in a conversation, and templates that lose or change what they are given.

The right numbers come from transformers alone: a text rendered by it or written out here, its
tokens, and the model's own logits.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import naive
import numpy as np
import published_tokenizers
import pytest
import stores
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.models.tokenizer import Tokenizer

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

PROMPT = "What, in one word, is the greatest thing ever?"
WORDS = ["love", "power", "2023", "愛", "'tis"]
TURN = "<|{{ m['role'] }}|>\n"
OPEN = "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
PARTS = (
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}"
)
START = f"<s><|user|>\n{PROMPT}<|end|>\n"


def chat(turn: str, end: str = OPEN) -> str:
    """Write a template that does the same with each message."""
    return "{{ bos_token }}{% for m in messages %}" + turn + "{% endfor %}" + end


def by_role(user: str, assistant: str, end: str = OPEN) -> str:
    condition = (
        "{% if m['role'] == 'assistant' %}" + assistant + "{% else %}" + user + "{% endif %}"
    )
    return chat(condition, end)


USER = TURN + "{{ m['content'] }}<|end|>\n"
THINKING = by_role(USER, "<|assistant|>\n<think>\n\n</think>\n\n{{ m['content'] }}<|end|>\n")
DISTILLED = by_role(
    USER,
    "<|assistant|>{{ m['content'].split('</think>')[-1] }}<|end|>\n",
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}",
)
CHANNELS = by_role(
    USER,
    "<|assistant|>final<|end|>\n{{ m['content'] }}<|end|>",
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
)
SPACED = by_role("[INST] {{ m['content'] }} [/INST]", " {{ m['content'] | trim }} </s>", "")
TEMPLATES = {
    "plain": (tiny_models.CHAT, START + "<|assistant|>\n"),
    "thinking": (THINKING, START + "<|assistant|>\n<think>\n\n</think>\n\n"),
    "distilled": (DISTILLED, START + "<|assistant|>"),
    "channels": (CHANNELS, START + "<|assistant|>final<|end|>\n"),
    "ends in a space": (SPACED, f"<s>[INST] {PROMPT} [/INST] "),
    "lists of parts": (chat(TURN + PARTS + "<|end|>\n"), START + "<|assistant|>\n"),
    "lists from the user": (
        by_role(TURN + PARTS + "<|end|>\n", USER),
        START + "<|assistant|>\n",
    ),
    "lists from the assistant": (
        by_role(USER, TURN + PARTS + "<|end|>\n"),
        START + "<|assistant|>\n",
    ),
    "either": (
        chat(TURN + "{% if m['content'] is string %}{{ m['content'] }}{% endif %}<|end|>\n"),
        START + "<|assistant|>\n",
    ),
    "asks twice": (
        by_role("{{ m['content'] }}\nAgain: {{ m['content'] }}\n", USER),
        f"<s>{PROMPT}\nAgain: {PROMPT}\n<|assistant|>\n",
    ),
    "trims": (
        chat(TURN + "{{ m['content'] | trim }}<|end|>\n"),
        START + "<|assistant|>\n",
    ),
    "a turn too many": (chat(USER, "<|assistant|>\n"), START + "<|assistant|>\n"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: tiny_models.tiny("llama", kind, root / kind) for kind in ("reward", "logprob")}


def scored(folder: Path, kind: Any, words: Any = WORDS, prompt: str = PROMPT, **model: Any) -> Any:
    made = valuebias.score(
        Model(str(folder), name="m", **model),
        kind=kind,
        lexicon=words,
        prompts=valuebias.prompts({"p": prompt}, framing="positive"),
        progress=False,
    )
    return made if words == "vocabulary" else made["score"].to_numpy().ravel().astype(float)


def logprobs(folder: Path, before: str, words: list[str] = WORDS) -> list[float]:
    """Sum the log-probs of what a word adds to a text; a space at its end is part of the word."""
    encode = naive.tokenizer(folder)
    kept = before.rstrip(" ")
    prefix = encode(kept, add_special_tokens=False)["input_ids"]
    whole = [encode(before + word, add_special_tokens=False)["input_ids"] for word in words]
    assert all(ids[: len(prefix)] == prefix for ids in whole)
    made = naive.logprobs(folder, whole, [len(prefix)] * len(whole))
    return [float(values.sum()) for values in made]


@pytest.mark.parametrize("name", TEMPLATES)
def test_log_probs_are_those_of_the_answer_in_the_conversation(
    folders: dict[str, Path], name: str
) -> None:
    template, before = TEMPLATES[name]
    found = scored(folders["logprob"], "logprob", template=template)
    np.testing.assert_allclose(found, logprobs(folders["logprob"], before), atol=1e-4)


def test_a_plain_template_that_ends_in_a_space_gives_the_space_to_every_word(
    folders: dict[str, Path],
) -> None:
    folder = folders["logprob"]
    for before, after in (("Q: ", " A: "), ("", " "), ("", "\nA:\t"), ("", "\nA:\xa0")):
        text = f"{before}{{prompt}}{after}{{response}}."
        encode = naive.tokenizer(folder)
        prefix = [
            1,
            *encode(f"{before}{PROMPT}{after[:-1]}", add_special_tokens=False)["input_ids"],
        ]
        whole = [
            [1, *encode(f"{before}{PROMPT}{after}{word}", add_special_tokens=False)["input_ids"]]
            for word in WORDS
        ]
        expected = [float(v.sum()) for v in naive.logprobs(folder, whole, [len(prefix)] * 5)]
        np.testing.assert_allclose(scored(folder, "logprob", template=text), expected, atol=1e-4)
        # The whole vocabulary is read where a token such as " love" brings the space itself.
        tree = scored(folder, "logprob", "vocabulary", template=text)
        row = tree["m"]["score"].to_numpy()[0, 0]
        np.testing.assert_allclose(row, naive.rows(folder, [prefix])[0], atol=1e-4)


@pytest.mark.parametrize("name", ["thinking", "distilled", "channels"])
def test_the_generation_prompt_can_be_had_by_name(folders: dict[str, Path], name: str) -> None:
    folder, template = folders["logprob"], TEMPLATES[name][0]
    before = naive.tokenizer(folder).apply_chat_template(
        [{"role": "user", "content": PROMPT}],
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
    )
    found = scored(folder, "logprob", template=template, prefix="generation")
    np.testing.assert_allclose(found, logprobs(folder, before), atol=1e-4)
    assert abs(found - scored(folder, "logprob", template=template)).max() > 0.01


@pytest.mark.parametrize("name", ["thinking", "lists of parts", "lists from the user", "trims"])
def test_rewards_are_those_of_the_whole_conversation(folders: dict[str, Path], name: str) -> None:
    template, before = TEMPLATES[name]
    found = scored(folders["reward"], "reward", template=template, prefix="generation")
    encode = naive.tokenizer(folders["reward"])
    texts = [f"{before}{word}<|end|>\n" for word in WORDS]
    ids = [encode(text, add_special_tokens=False)["input_ids"] for text in texts]
    np.testing.assert_allclose(found, naive.rewards(folders["reward"], ids), atol=1e-4)


NO_ANSWER = by_role(USER, "<|assistant|>\n<|end|>\n")
NO_PROMPT = by_role(TURN + "<|end|>\n", USER)
NO_PARTS = by_role(TURN + "{% for c in m['content'] %}{{ c['words'] }}{% endfor %}<|end|>\n", USER)
FAULTS = {
    "no answer": (NO_ANSWER, "leaves the assistant's answer out"),
    "no prompt": (NO_PROMPT, "leaves what the user says out"),
    "unknown parts": (NO_PARTS, "leaves what the user says out"),
    "the last message only": (
        "{{ bos_token }}" + USER.replace("m[", "messages[-1][") + OPEN,
        "leaves what the user says out",
    ),
    "upper case": (
        by_role(USER, TURN + "{{ m['content'] | upper }}<|end|>\n"),
        "changes the assistant's answer .'zqAnswer Zq' becomes 'ZQANSWER ZQ'",
    ),
    "lower case": (
        by_role(TURN + "{{ m['content'] | lower }}<|end|>\n", USER),
        "changes what the user says",
    ),
    "capitals": (by_role(USER, TURN + "{{ m['content'] | title }}<|end|>\n"), "changes the assist"),
    "answers twice": (
        by_role(USER, TURN + "{{ m['content'] }} {{ m['content'] }}<|end|>\n"),
        "writes the assistant's answer 2 times",
    ),
    "cut short": (by_role(USER, TURN + "{{ m['content'][:5] }}<|end|>\n"), "or changes it"),
    "counts letters": (
        by_role(USER, TURN + "{{ m['content'] | length }} {{ m['content'] }}<|end|>\n"),
        "lets what stands around the assistant's answer depend on it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["reward", "logprob"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_template_that_loses_or_changes_what_it_is_given_is_refused(
    folders: dict[str, Path], kind: str, name: str
) -> None:
    template, message = FAULTS[name]
    words = "vocabulary" if name == "no prompt" else WORDS
    with pytest.raises(ValueBiasError, match=message) as caught:
        scored(folders[kind], kind, words, template=template)
    assert 'template="plain"' in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        chat(USER, "<|assistant|>\n"),
        chat(USER, "<|assistant|>\n<|end|>\n"),
        chat(USER, "<|user|>\n"),
        chat(USER, "{% if messages[-1]['role'] == 'assistant' %}<|user|>\n<|end|>\n{% endif %}"),
        chat(USER, "{% if messages[-1]['role'] == 'assistant' %}<|assistant|>\n{% endif %}" + OPEN),
        by_role("USER: {{ m['content'] }}\n", "BOT: {{ m['content'] }}</s>\n", "BOT:"),
        # Turns that no word marks, and one of a role that has not spoken.
        by_role(">> {{ m['content'] }}\n", "<< {{ m['content'] }}\n", ">> "),
        by_role("[[{{ m['content'] }}]]", "(({{ m['content'] }}))", "[["),
        by_role("- {{ m['content'] }}\n", "+ {{ m['content'] }}</s>\n", "+ "),
        chat("{{ loop.index }}. {{ m['content'] }}\n", "{{ messages | length + 1 }}. "),
        chat(USER, "<|system|>\n"),
        by_role("USER: {{ m['content'] }}\n", "BOT: {{ m['content'] }}</s>\n", "System: "),
    ],
)
def test_a_reward_is_not_read_after_an_empty_turn(folders: dict[str, Path], template: str) -> None:
    with pytest.raises(ValueBiasError, match="opens another turn after the answer"):
        scored(folders["reward"], "reward", template=template)


@pytest.mark.parametrize(
    "template",
    [
        *(template for name, (template, _) in TEMPLATES.items() if name != "a turn too many"),
        # No marks of turns at all, an end of text after each turn or after the last alone.
        chat("{{ m['content'] }}\n", ""),
        chat("{{ m['content'] }}</s>", ""),
        chat("{{ m['content'] }}{% if loop.last %}</s>{% else %}\n{% endif %}", ""),
        by_role("USER: {{ m['content'] }}\n", "BOT: {{ m['content'] }}\n", "</s>"),
        by_role(
            "<|start|>user: {{ m['content'] }}<|stop|>",
            "<|start|>assistant: {{ m['content'] }}{{ '<|return|>' if loop.last else '<|stop|>' }}",
        ),
        by_role("Q: <q>{{ m['content'] }}</q>\n", "A: <a>{{ m['content'] }}</a>\n", ""),
        # Closing words that name a role, separators that also end, and quotes.
        chat(
            "<{{ m['role'] }}>{{ m['content'] }}"
            "{% if loop.last %}</{{ m['role'] }}>{% else %}\n{% endif %}",
            "",
        ),
        chat(USER, "(end of assistant turn)"),
        by_role("User: {{ m['content'] }}\n", "Assistant: {{ m['content'] }}\n", "Rate the AI: "),
        chat("{{ m['content'] }}\n---\n", ""),
        "A chat.\n---\n" + chat("{{ m['content'] }}\n---\n", ""),
        chat("“{{ m['content'] }}” ", ""),
        chat("'{{ m['content'] }}' ", ""),
    ],
)
def test_what_ends_a_turn_is_not_taken_for_another(folders: dict[str, Path], template: str) -> None:
    assert np.isfinite(scored(folders["reward"], "reward", template=template)).all()


def test_a_template_without_answers_can_be_read_at_its_generation_prompt(
    folders: dict[str, Path],
) -> None:
    refusing = by_role(USER, "{{ raise_exception('only questions') }}")
    for template in (NO_ANSWER, refusing):
        with pytest.raises(ValueBiasError, match=r"Or read log-probs .*prefix='generation'"):
            scored(folders["logprob"], "logprob", template=template)
        found = scored(folders["logprob"], "logprob", template=template, prefix="generation")
        expected = logprobs(folders["logprob"], START + "<|assistant|>\n")
        np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(ValueBiasError, match="leaves what the user says out"):
        scored(folders["logprob"], "logprob", template=NO_PROMPT, prefix="generation")
    # Rewards need the answer, and are not offered what does not give them.
    with pytest.raises(ValueBiasError) as caught:
        scored(folders["reward"], "reward", template=NO_ANSWER)
    assert "generation" not in str(caught.value)


def test_a_plain_template_has_no_generation_prompt(folders: dict[str, Path]) -> None:
    for template in ("plain", "{prompt} {response}"):
        with pytest.raises(ValueBiasError, match=r"without a generation prompt\. Leave prefix"):
            scored(folders["logprob"], "logprob", template=template, prefix="generation")
    with pytest.raises(ValueBiasError, match=r"prefix='generations'\. Did you mean"):
        Model("x", prefix="generations")


def test_words_and_prompts_that_a_template_takes_for_mark_up_are_named(
    folders: dict[str, Path],
) -> None:
    with pytest.raises(ValueBiasError, match=r"not write the word 'a</think>b' as it is given"):
        scored(folders["reward"], "reward", ["love", "a</think>b"], template=DISTILLED)
    strict = chat(TURN + "{{ m['content'] | replace('**', '') }}<|end|>\n")
    for kind in ("reward", "logprob"):
        with pytest.raises(ValueBiasError, match=r"not write the prompt 'the \*\*best\*\*\?'"):
            scored(folders[kind], kind, prompt="the **best**?", template=strict)


def test_a_word_that_shares_a_token_with_the_text_before_it_is_refused(tmp_path: Path) -> None:
    source = published_tokenizers.published("llama3_1")
    tokenizer = Tokenizer(source, template="Q: {prompt}\nA:{response}")
    sequences, first = tokenizer.targets("Why?", ["love", " value", "power"])
    assert len({len(ids) - int(n) for ids, n in zip(sequences, first, strict=True)}) == 1
    # To Llama 3 ":value" is one token, so that the log-prob of "value" would be one of ":" as well.
    with pytest.raises(ValueBiasError, match=r"'value' shares a token .*a space before it"):
        tokenizer.targets("Why?", ["love", "value"])
    spaced = Tokenizer(source, template="Q: {prompt}\nA: {response}")
    sequences, first = spaced.targets("Why?", ["love", "value", "2023", "'tis"])
    encode = naive.tokenizer(source)
    start = encode("Q: Why?\nA:")["input_ids"]
    assert [ids[:n].tolist() for ids, n in zip(sequences, first, strict=True)] == [start] * 4
    assert encode.decode(sequences[2][first[2] :]) == " 2023"


@pytest.mark.parametrize(
    ("name", "prefix", "expected"),
    [
        ("qwen3", "conversation", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        pytest.param("qwen3", "generation", "<|im_start|>assistant\n", marks=pytest.mark.slow),
        pytest.param(
            "llama3_1", "conversation", "assistant<|end_header_id|>\n\n", marks=pytest.mark.slow
        ),
        pytest.param("gemma3", "conversation", "<start_of_turn>model\n", marks=pytest.mark.slow),
        pytest.param("deepseek_v3", "conversation", "<｜Assistant｜>", marks=pytest.mark.slow),
    ],
)
def test_answers_stand_where_published_templates_have_them(
    name: str, prefix: str, expected: str, tmp_path: Path
) -> None:
    folder = published_tokenizers.model(name, "llama", "logprob", tmp_path)
    encode = naive.tokenizer(published_tokenizers.published(name))
    if prefix == "conversation":
        turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "zqz"}]
        text = encode.apply_chat_template(turns, tokenize=False)
        before = text[: text.rindex("zqz")]
    else:
        before = encode.apply_chat_template(
            [{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True
        )
    assert before.endswith(expected)
    told = valuebias.plan(
        Model(str(folder), prefix=prefix),
        kind="logprob",
        lexicon=["love"],
        prompts=valuebias.prompts({"p": PROMPT}, framing="positive"),
    )
    last = encode.decode(encode(before, add_special_tokens=False)["input_ids"][-1:])
    assert f"the last token before the answer is {last!r}, the" in str(told)
    assert ("<think>" in str(told)) == (name == "qwen3")
    words = ["love", "power", "42"]
    found = scored(folder, "logprob", words, prefix=prefix)
    np.testing.assert_allclose(found, logprobs(folder, before, words), atol=1e-4)


def test_a_refused_template_is_explained_and_replaced_by_the_advice(
    folders: dict[str, Path],
) -> None:
    asked: dict[str, Any] = {
        "kind": "logprob",
        "lexicon": WORDS,
        "prompts": valuebias.prompts({"p": PROMPT}, framing="positive"),
    }
    with pytest.raises(ValueBiasError, match="leaves what the user says out"):
        valuebias.plan(Model(str(folders["logprob"]), template=NO_PROMPT), **asked)
    told = valuebias.plan(Model(str(folders["logprob"]), template="plain"), **asked)
    assert "'logprob': the last token before the answer is '\\n', the template's." in told.notes


@pytest.mark.parametrize(
    ("template", "prefix"),
    [(NO_ANSWER, "generation"), (TEMPLATES["a turn too many"][0], "conversation")],
)
def test_what_can_be_scored_can_be_explained(
    folders: dict[str, Path], template: str, prefix: str
) -> None:
    told = valuebias.plan(
        Model(str(folders["logprob"]), template=template, prefix=prefix),
        kind="logprob",
        lexicon=WORDS,
        prompts=valuebias.prompts({"p": PROMPT}, framing="positive"),
    )
    assert r"the last token before the answer is '\n'" in str(told)
    assert "'<s>' (1)" in str(told)


def record(store: Path) -> dict[str, Any]:
    attrs = json.loads((store / ".zattrs").read_text(encoding="utf-8"))
    return dict(json.loads(attrs["provenance"])["models"][0]["settings"])


def test_a_store_says_where_the_answer_stands_and_refuses_another_place(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def into(store: str, **model: Any) -> dict[str, Any]:
        asked = Model(str(folders["logprob"]), name="m", **model)
        prompts = valuebias.prompts({"p": PROMPT}, framing="positive")
        path = tmp_path / store
        made = valuebias.score(
            asked, kind="logprob", lexicon=WORDS, prompts=prompts, progress=False, store=path
        )
        kept = json.loads(made.attrs["provenance"])["models"][0]["settings"]
        assert kept == record(path)
        return dict(kept)

    settings = into("thinking.zarr", template=THINKING)
    assert r"'<think>\n\n</think>\n\n' after the generation prompt" in settings["prefix"]
    with pytest.raises(ValueBiasError, match="another prefix of the model 'm'"):
        into("thinking.zarr", template=THINKING, prefix="generation")
    # As an earlier version made it, which read after the generation prompt without saying so.
    stores.unseal(tmp_path / "thinking.zarr")
    file = tmp_path / "thinking.zarr" / ".zattrs"
    attrs = json.loads(file.read_text())
    found = json.loads(attrs["provenance"])
    del found["models"][0]["settings"]["prefix"]
    file.write_text(json.dumps(attrs | {"provenance": json.dumps(found)}))
    with pytest.raises(ValueBiasError, match="another prefix of the model 'm': found None"):
        into("thinking.zarr", template=THINKING)
    assert into("chat.zarr")["prefix"] is None
    assert "counts as the word's" in into("q.zarr", template="Q: {prompt} A: {response}")["prefix"]
    # What is given as a list of parts is another text than before.
    parts, text = (TEMPLATES[name][0] for name in ("lists of parts", "plain"))
    hashes = {into(f"{i}.zarr", template=t)["template"] for i, t in enumerate((parts, text))}
    assert len(hashes) == 2
    assert hashlib.sha256(text.encode()).hexdigest() in hashes
    assert hashlib.sha256(parts.encode()).hexdigest() not in hashes
