"""What stands before every text: scores beside whole conversations put together by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

PROMPT = "What, in one word, is the best thing ever?"
WORDS = ("love", "power", "trust")
PAD, BOS, EOS, USER, ASSISTANT, END = range(6)
TWO = "<|user|> <|assistant|>"


def model(
    folder: Path, *, begins: str = "", ends: str = "", kind: str = "logprob", **settings: Any
) -> Path:
    """Write a model whose tokenizer.json puts `begins` and `ends` round every text."""
    tiny_models.tiny("llama", kind, folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    numbers = {token["content"]: token["id"] for token in content["added_tokens"]}
    special = [*begins.split(), *ends.split()]
    content["post_processor"] = special and {
        "type": "TemplateProcessing",
        "single": [
            *_pieces(begins.split()),
            {"Sequence": {"id": "A", "type_id": 0}},
            *_pieces(ends.split()),
        ],
        "pair": [{"Sequence": {"id": i, "type_id": 0}} for i in "AB"],
        "special_tokens": {
            token: {"id": token, "ids": [numbers[token]], "tokens": [token]} for token in special
        },
    }
    content["post_processor"] = content["post_processor"] or None
    file.write_text(json.dumps(content), encoding="utf-8")
    change(folder, **settings)
    return folder


def _pieces(tokens: Sequence[str]) -> list[dict[str, Any]]:
    return [{"SpecialToken": {"id": token, "type_id": 0}} for token in tokens]


def change(folder: Path, **settings: Any) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def scores(folder: Path, *, prompt: str = PROMPT, store: Path | None = None, **fields: Any) -> Any:
    return valuebias.score(
        Model(str(folder), name="m", **{"template": "plain", **fields}),
        kind="logprob",
        prompts=valuebias.prompts({"a": prompt}, framing="positive"),
        lexicon=list(WORDS),
        store=store,
        progress=False,
    )["score"].values.ravel()


def expected(folder: Path, first: Sequence[int], prefix: str = f"{PROMPT}\n") -> np.ndarray:
    """Score by hand: the tokens of the text alone, and these before them."""
    from tokenizers import Tokenizer as HFTokenizer

    own = HFTokenizer.from_file(str(folder / "tokenizer.json"))
    before = [*first, *own.encode(prefix, add_special_tokens=False).ids]
    # Each of the words begins with a token of its own.
    whole = [[*first, *own.encode(prefix + w, add_special_tokens=False).ids] for w in WORDS]
    assert all(ids[: len(before)] == before for ids in whole)
    found = naive.logprobs(folder, whole, [len(before)] * len(WORDS))
    return np.array([values.sum() for values in found])


@pytest.mark.parametrize(
    ("begins", "settings", "first", "how"),
    [
        ("", {}, [], "by tokenizer.json"),
        ("<s>", {}, [BOS], "by tokenizer.json"),
        (TWO, {"bos_token": None}, [USER, ASSISTANT], "by tokenizer.json"),
        (TWO, {}, [USER, ASSISTANT], "by tokenizer.json"),
        (
            "",
            {"add_bos_token": True, "tokenizer_class": "LlamaTokenizerFast"},
            [BOS],
            r"for which tokenizer_config.json asks \(add_bos_token: true\)",
        ),
        ("", {"add_bos_token": True}, [BOS], "for which tokenizer_config.json asks"),
        ("", {"add_bos_token": True, "bos_token": None}, [], "by tokenizer.json"),
        ("<s>", {"add_bos_token": True}, [BOS], "by tokenizer.json"),
        (
            "<s>",
            {"add_bos_token": False, "tokenizer_class": "LlamaTokenizer"},
            [],
            r"as tokenizer_config.json asks \(add_bos_token: false\)",
        ),
        # This class has never looked at it.
        ("<s>", {"add_bos_token": False}, [BOS], "by tokenizer.json"),
        # OPT's unknown, first and last token are one.
        (
            "</s>",
            {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"},
            [EOS],
            "by tokenizer.json",
        ),
    ],
)
def test_what_a_tokenizer_puts_before_every_text_is_scored(
    begins: str, settings: dict[str, Any], first: list[int], how: str, tmp_path: Path
) -> None:
    folder = model(tmp_path / "lm", begins=begins, **settings)
    np.testing.assert_allclose(scores(folder), expected(folder, first), atol=1e-4)
    told = valuebias.plan(
        Model(str(folder), name="m", template="plain"),
        kind="logprob",
        prompts=valuebias.prompts({"a": PROMPT}, framing="positive"),
        lexicon=list(WORDS),
    )
    (note,) = [note for note in told.notes if note.startswith("'m': texts begin")]
    names = dict(enumerate(tiny_models.SPECIAL))
    said = " ".join(rf"'{names[i]}' \({i}\)".replace("|", r"\|") for i in first)
    assert _matches(rf"'m': texts begin with {said or 'no token .*'}, {how}", note), note


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.match(pattern, text) is not None


@pytest.mark.parametrize(
    ("begins", "start", "first"),
    [
        ("<s>", "<s>", []),
        ("<s>", "<s>Q: ", []),
        ("<s>", "Q: <s>", [BOS]),
        ("<s>", "</s>", [BOS]),
        (TWO, "<|user|><|assistant|>", []),
        (TWO, "<|assistant|>", [USER]),
        (TWO, "<|user|>", []),
    ],
)
def test_a_template_that_begins_with_them_does_not_get_them_twice(
    begins: str, start: str, first: list[int], tmp_path: Path
) -> None:
    folder = model(tmp_path / "lm", begins=begins)
    made = scores(folder, template=start + "{prompt}\n{response}")
    right = expected(folder, first, f"{start}{PROMPT}\n")
    np.testing.assert_allclose(made, right, atol=1e-4)
    # Nor does a prompt.
    made = scores(folder, prompt=start + PROMPT)
    np.testing.assert_allclose(made, right, atol=1e-4)


def test_rewards_begin_alike(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as HFTokenizer

    folder = model(tmp_path / "rm", kind="reward", add_bos_token=True)
    made = valuebias.score(
        Model(str(folder), template="plain"),
        prompts=valuebias.prompts({"a": PROMPT}, framing="positive"),
        lexicon=list(WORDS),
        progress=False,
    )
    own = HFTokenizer.from_file(str(folder / "tokenizer.json"))
    whole = [[BOS, *own.encode(f"{PROMPT}\n{word}").ids] for word in WORDS]
    np.testing.assert_allclose(
        made["score"].values.ravel(), naive.rewards(folder, whole), atol=1e-5
    )


LLAMA = {"tokenizer_class": "LlamaTokenizerFast"}


@pytest.mark.parametrize(
    ("ends", "template", "settings", "last", "how"),
    [
        ("", "plain", {}, [], ""),
        ("</s>", "plain", {}, [EOS], "'</s>' (2), by tokenizer.json."),
        ("<|end|> </s>", "plain", {}, [END, EOS], "'<|end|>' (5) '</s>' (2), by tokenizer.json."),
        ("</s>", "{prompt}\n{response}</s>", {}, [EOS], "'</s>' (2), by tokenizer.json."),
        ("<|end|> </s>", "{prompt}\n{response}<|end|>", {}, [END, EOS], "by tokenizer.json."),
        ("", "plain", {**LLAMA, "add_eos_token": True}, [EOS], "(add_eos_token: true)."),
        ("</s>", "plain", {**LLAMA, "add_eos_token": False}, [], ""),
        ("", "plain", {"add_eos_token": True}, [], ""),
    ],
)
def test_rewards_are_read_after_what_a_tokenizer_puts_after_every_text(
    ends: str, template: str, settings: dict[str, Any], last: list[int], how: str, tmp_path: Path
) -> None:
    """There a classifier of transformers reads them, given what its tokenizer makes of a text."""
    import torch
    from tokenizers import Tokenizer as HFTokenizer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = model(tmp_path / "rm", begins="<s>", ends=ends, kind="reward", **settings)
    asked: Any = {
        "prompts": valuebias.prompts({"a": PROMPT}, framing="positive"),
        "lexicon": list(WORDS),
    }
    found = valuebias.score(Model(str(folder), template=template), **asked, progress=False)
    own = HFTokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [f"{PROMPT}\n{word}" for word in WORDS]
    whole = [[BOS, *own.encode(text, add_special_tokens=False).ids, *last] for text in texts]
    if template == "plain" and not settings:
        assert AutoTokenizer.from_pretrained(folder)(texts)["input_ids"] == whole
    head = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        right = [head(torch.tensor([ids])).logits.item() for ids in whole]
    np.testing.assert_allclose(found["score"].values.ravel(), right, atol=1e-5)
    said = str(valuebias.plan(Model(str(folder), template=template), **asked))
    assert ("conversations end with" in said) is bool(last)
    assert how in said
    # Nothing ends where the words of log-probs stand, nor what a chat template writes.
    chat = valuebias.plan(Model(str(folder)), **asked)
    assert "conversations end with" not in str(chat)


def test_log_probs_do_not_come_after_the_end(tmp_path: Path) -> None:
    folder = model(tmp_path / "lm", begins="<s>", ends="</s>")
    np.testing.assert_allclose(scores(folder), expected(folder, [BOS]), atol=1e-4)


def test_a_store_made_with_other_first_tokens_is_not_filled_up(tmp_path: Path) -> None:
    folder = model(tmp_path / "lm")
    before = scores(folder, store=tmp_path / "scores.zarr")
    change(folder, add_bos_token=True)
    with pytest.raises(ValueBiasError, match="was made with another tokenizer of the model 'm'"):
        scores(folder, store=tmp_path / "scores.zarr")
    after = scores(folder, store=tmp_path / "others.zarr")
    np.testing.assert_allclose(after, expected(folder, [BOS]), atol=1e-4)
    assert np.abs(after - before).max() > 0.01


def test_an_unknown_first_token_does_not_hide_what_has_no_token(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as HFTokenizer
    from tokenizers import models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from valuebias.models.tokenizer import Tokenizer

    end = "</s>"
    made = HFTokenizer(models.WordLevel({end: 0, "what": 1, "love": 2}, unk_token=end))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair="$A $B", special_tokens=[("</s>", 0)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token=end, bos_token=end, eos_token=end
    ).save_pretrained(tmp_path)
    tokenizer = Tokenizer(tmp_path, template="plain")
    assert tokenizer.rewards("what", ["love"])[0].tolist() == [0, 1, 2]
    with pytest.raises(ValueBiasError, match="no token for some of 'power'"):
        tokenizer.rewards("what", ["power"])


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (tiny_models.CHAT, "'<s>' (1) '<|user|>' (3), as the chat template writes them."),
        ("{{ messages[0]['content'] }} {{ messages[1]['content'] }}", "as the chat template"),
    ],
)
def test_a_chat_template_writes_its_own(template: str, said: str, tmp_path: Path) -> None:
    from valuebias.models.tokenizer import Tokenizer

    folder = tiny_models.write_tokenizer(tmp_path, bos=True)
    assert said in str(Tokenizer(folder, template=template).start(PROMPT))


@pytest.mark.parametrize(
    ("settings", "first", "how"),
    [
        ({"add_bos_token": True}, [EOS], r"tokenizer_config.json asks (add_bos_token: true)"),
        ({"add_bos_token": False}, [], r"tokenizer_config.json asks (add_bos_token: false)"),
        ({}, [], "does: vocab.json does not say"),
        (None, [], "does: vocab.json does not say"),
    ],
)
def test_vocabulary_and_merges_as_opt_has_them(
    settings: dict[str, Any] | None, first: list[int], how: str, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer as HFTokenizer

    from valuebias.models.tokenizer import Tokenizer

    tiny_models.write_tokenizer(tmp_path)
    file = tmp_path / "tokenizer.json"
    own = HFTokenizer.from_file(str(file)).encode(f"{PROMPT}\nlove", add_special_tokens=False).ids
    content = json.loads(file.read_text(encoding="utf-8"))["model"]
    file.unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(content["vocab"]))
    merges = [" ".join(pair) for pair in content["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "opt"}))
    about = tmp_path / "tokenizer_config.json"
    about.unlink()
    if settings is None:
        with pytest.warns(valuebias.ValueBiasWarning, match="begin with no token"):
            tokenizer = Tokenizer(tmp_path, template="plain")
    else:
        special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>")
        about.write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **special, **settings}))
        tokenizer = Tokenizer(tmp_path, template="plain")
    (ids,) = tokenizer.rewards(PROMPT, ["love"])
    assert ids.tolist() == [*first, *own]
    assert how in str(tokenizer.start(PROMPT))


def test_a_vocabulary_alone_says_what_is_needed_to_read_it(tmp_path: Path) -> None:
    from valuebias.models.tokenizer import Tokenizer

    (tmp_path / "tokenizer.model").write_bytes(b"no vocabulary")
    with pytest.raises(ValueBiasError, match=r"To read tokenizer\.model, run: pip install sentenc"):
        Tokenizer(tmp_path, template="plain")
