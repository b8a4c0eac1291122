"""Tests of valuebias.models.tokenizer: real tokenizers, transformers' own calls as the oracle."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")

import small_models
import tiny_models
from tokenizers import Tokenizer as HFTokenizer

from valuebias.errors import ValueBiasError
from valuebias.instruments import lexicon, prompts
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model
from valuebias.models.tokenizer import Tokenizer

PROMPT = "What, in one word, is the best thing ever?"
WORDS = ("love", "power", " love", "independence", "", "\n", " ", "\n\nx", "naïve", "愛", "a b")
ENDS_IN_EOS = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Real:
    """A real model's tokenizer, as the package reads it and as transformers does."""

    folder: Path
    ours: Tokenizer
    theirs: Any


@cache
def real(name: str) -> Real:
    missing = small_models.missing(name)
    if missing:
        pytest.skip(missing)
    folder = small_models.reward_model(name)
    return Real(folder, Tokenizer(folder), own(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tokenizer with a chat template that trims nothing."""
    return tiny_models.write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Tokenizer:
    return Tokenizer(folder)


def own(path: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def whole(hf_tokenizer: Any, prompt: str, word: str) -> list[int]:
    """One conversation, tokenised by transformers' own call."""
    chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": word}]
    ids: list[int] = hf_tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    return ids


def lists(arrays: Sequence[Any]) -> list[list[int]]:
    assert all(array.dtype == np.int64 for array in arrays)
    return [array.tolist() for array in arrays]


@pytest.mark.parametrize("name", small_models.CASES)
def test_conversations_are_those_of_transformers(name: str) -> None:
    tokenizer, hf_tokenizer = real(name).ours, real(name).theirs
    words = [*WORDS, *lexicon("agency-communion").words[:40]]
    for prompt in prompts().table["text"][:3]:
        expected = [whole(hf_tokenizer, prompt, word) for word in words]
        assert lists(tokenizer.rewards(prompt, words)) == expected


@pytest.mark.slow
def test_a_template_that_trims_gives_one_conversation_for_words_that_differ_in_blanks() -> None:
    gemma3 = real("gemma3")
    trimming = lists(gemma3.ours.rewards(PROMPT, ["love", " love", "love\n", "", " ", "\n"]))
    assert trimming[0] == trimming[1] == trimming[2]
    assert trimming[3] == trimming[4] == trimming[5] != trimming[0]
    # Ids put together from pieces would have scored another text.
    (token,) = gemma3.theirs(" love", add_special_tokens=False)["input_ids"]
    (by_id,) = lists(gemma3.ours.rewards_by_id(PROMPT, [token]))
    assert token in by_id
    assert token not in trimming[1]
    assert len(by_id) == len(trimming[1])
    keeping = lists(real("smollm2").ours.rewards(PROMPT, ["love", " love", "", " ", "\n"]))
    assert len(set(map(tuple, keeping))) == 5


@pytest.mark.parametrize("name", small_models.CASES)
def test_words_are_tokenised_with_the_prefix_and_refused_where_they_merge_with_it(
    name: str,
) -> None:
    tokenizer, hf_tokenizer = real(name).ours, real(name).theirs
    words = ["love", " power", "independence"]
    sequences, first = tokenizer.targets(PROMPT, words)
    (prefix,) = lists(tokenizer.prefixes([PROMPT]))
    text = hf_tokenizer.decode(prefix)
    for word, sequence in zip(words, lists(sequences), strict=True):
        assert sequence == hf_tokenizer(text + word, add_special_tokens=False)["input_ids"]
    assert first.tolist() == [len(prefix)] * 3
    # The prefix ends in a line break, which one after it joins.
    for word in ("\n", "\n\nx"):
        with pytest.raises(ValueBiasError, match=r"shares a token with the end.*the word out\.$"):
            tokenizer.targets(PROMPT, ["love", word])


@pytest.mark.parametrize("name", small_models.CASES)
def test_the_vocabulary_has_every_token_once_and_broken_ones_share_a_conversation(
    name: str,
) -> None:
    tokenizer, hf_tokenizer = real(name).ours, real(name).theirs
    table = tokenizer.vocabulary()
    assert table["token_id"].tolist() == list(range(len(hf_tokenizer)))
    assert table["token"].is_unique
    assert hf_tokenizer.convert_tokens_to_ids(table["token"][1000]) == 1000
    assert table["text"][1000] == hf_tokenizer.decode([1000])
    assert set(hf_tokenizer.added_tokens_decoder) <= set(table["token_id"])
    broken = table["text"] == "\ufffd"
    assert broken.sum() > 100
    made = lists(tokenizer.rewards(PROMPT, table["text"][broken].tolist()))
    assert len(set(map(tuple, made))) == 1


def test_raw_ids_stand_where_the_answer_stands() -> None:
    tokenizer, hf_tokenizer = real("smollm2").ours, real("smollm2").theirs
    expected = whole(hf_tokenizer, PROMPT, "love")
    (love,) = hf_tokenizer("love", add_special_tokens=False)["input_ids"]
    place = len(expected) - 1 - expected[::-1].index(love)
    newline = hf_tokenizer("\n", add_special_tokens=False)["input_ids"][0]
    for token, made in zip(
        (love, 7, newline),
        lists(tokenizer.rewards_by_id(PROMPT, iter((love, 7, newline)))),
        strict=True,
    ):
        assert made == [*expected[:place], token, *expected[place + 1 :]]
    # As text the newline would have joined the one before it.
    assert lists(tokenizer.rewards(PROMPT, ["\n"])) != [made]


def test_a_gguf_file_gives_the_tokenizer_of_its_folder() -> None:
    from_folder = real("smollm2").ours
    from_file = Tokenizer(small_models.gguf("smollm2"))
    assert from_file.sha256 == from_folder.sha256
    assert from_file.template_sha256 == from_folder.template_sha256
    made = [lists(tokenizer.rewards(PROMPT, WORDS)) for tokenizer in (from_file, from_folder)]
    assert made[0] == made[1]


def pad_is_eos(folder: Path) -> Path:
    """Write a classifier whose template ends in the token that pads."""
    tiny_models.tiny("llama", "reward", folder, chat_template=ENDS_IN_EOS)
    for name, key, value in (
        ("config.json", "pad_token_id", 2),
        ("tokenizer_config.json", "pad_token", "</s>"),
    ):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    return folder


def test_the_reading_place_is_that_of_transformers_unless_another_is_asked_for(
    tmp_path: Path,
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    path = pad_is_eos(tmp_path / "rm")
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    reads = ("last", "last-non-pad", "own")
    sources = [resolve(Model(str(path), reward_at=read), kind="reward") for read in reads]
    last, non_pad, own_ = (Tokenizer(source).rewards(PROMPT, ["love"])[0] for source in sources)
    assert own_.tolist() == non_pad.tolist()
    assert last[-1] == 2
    assert non_pad.tolist() == last[:-1].tolist()
    with torch.no_grad():
        theirs = model(torch.tensor(last[None])).logits[0, 0]
        every = model.score(model.model(torch.tensor(last[None])).last_hidden_state)[0, :, 0]
    assert theirs == every[len(non_pad) - 1]
    assert abs(theirs - every[len(last) - 1]) > 0.01


def test_the_padding_token_is_needed_only_to_look_for_it(tmp_path: Path) -> None:
    path = tiny_models.tiny("llama", "reward", tmp_path / "rm")
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token_id": None}))
    assert Tokenizer(resolve(Model(str(path)), kind="reward")).rewards(PROMPT, ["love"])
    with pytest.raises(ValueBiasError, match=r"no padding token.*Give reward_at='last'"):
        Tokenizer(resolve(Model(str(path), reward_at="last-non-pad"), kind="reward"))


def test_a_plain_template_begins_as_the_tokenizer_does(tmp_path: Path) -> None:
    with_bos = tiny_models.write_tokenizer(tmp_path / "with", bos=True)
    without = tiny_models.write_tokenizer(tmp_path / "without", bos=False)
    text = "Q: {prompt} {braces} A: {response}."
    for path, start in ((with_bos, [1]), (without, [])):
        tokenizer, hf_tokenizer = Tokenizer(path, template=text), own(path)
        (made,) = lists(tokenizer.rewards("Why {response}?", ["love {prompt}"]))
        expected = "Q: Why {response}? {braces} A: love {prompt}."
        assert made == start + hf_tokenizer(expected, add_special_tokens=False)["input_ids"]
        # What follows the response has no part in its log-prob.
        sequences, _ = tokenizer.targets("Why?", ["love"])
        assert hf_tokenizer.decode(sequences[0][len(start) :]) == "Q: Why? {braces} A: love"
        (plain,) = lists(Tokenizer(path, template="plain").prefixes(["Why?"]))
        assert plain == start + hf_tokenizer("Why?\n", add_special_tokens=False)["input_ids"]


def test_a_chat_template_may_be_given_and_has_its_own_hash(folder: Path, tiny: Tokenizer) -> None:
    given_ = Tokenizer(folder, template=ENDS_IN_EOS)
    assert given_.template_sha256 != tiny.template_sha256
    assert given_.sha256 == tiny.sha256
    assert given_.rewards(PROMPT, ["love"])[0][-1] == 2
    assert Tokenizer(folder, template=tiny_models.CHAT).template_sha256 == tiny.template_sha256


def test_a_template_that_asks_for_the_date_gets_the_same_one_every_day(folder: Path) -> None:
    llama = (
        "{% if not date_string is defined %}{% if strftime_now is defined %}"
        '{% set date_string = strftime_now("%d %b %Y") %}{% endif %}{% endif %}\n'
        "Today: {{ date_string }}|{{ strftime_now('%A %-d, %Y-%m-%d %H:%M') }}\n" + tiny_models.CHAT
    )
    (made,) = Tokenizer(folder, template=llama).rewards(PROMPT, ["love"])
    assert (
        own(folder)
        .decode(made)
        .startswith("Today: 26 Jul 2024|Friday 26, 2024-07-26 00:00\n<s><|user|>")
    )


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_words_are_tokenised_whole_and_alone(tiny: Tokenizer, words: list[str]) -> None:
    together = lists(tiny.rewards(PROMPT, words))
    assert together == [lists(tiny.rewards(PROMPT, [word]))[0] for word in words]
    (prefix,) = lists(tiny.prefixes([PROMPT]))
    for word in words:
        if word == "":
            with pytest.raises(ValueBiasError, match="adds no token"):
                tiny.targets(PROMPT, [word])
            continue
        (sequence,), first = tiny.targets(PROMPT, [word])
        assert first[0] == len(prefix) < len(sequence)
        assert sequence[: first[0]].tolist() == prefix


def test_nothing_asked_nothing_given(tiny: Tokenizer) -> None:
    assert tiny.rewards(PROMPT, []) == []
    assert tiny.rewards_by_id(PROMPT, []) == []
    assert tiny.prefixes([]) == []
    sequences, first = tiny.targets(PROMPT, [])
    assert (sequences, first.tolist()) == ([], [])


def test_text_that_is_no_text_is_named(tiny: Tokenizer) -> None:
    with pytest.raises(ValueBiasError, match=r"'\\ud83d' cannot be tokenised"):
        tiny.rewards(PROMPT, ["love", "\ud83d"])
    with pytest.raises(ValueBiasError, match=r"'\\udead' cannot be tokenised"):
        tiny.prefixes(["\udead"])


def test_log_probs_need_something_before_the_word(tmp_path: Path) -> None:
    path = tiny_models.write_tokenizer(tmp_path, bos=False)
    tokenizer = Tokenizer(path, template="{prompt}{response}")
    with pytest.raises(ValueBiasError, match="Nothing stands before the word 'love'"):
        tokenizer.targets("", ["love"])
    with pytest.raises(ValueBiasError, match="has no token"):
        tokenizer.rewards("", [""])


def test_templates_that_cannot_work_are_refused(tmp_path: Path, folder: Path) -> None:
    bare = tiny_models.write_tokenizer(tmp_path, chat_template=None)
    with pytest.raises(ValueBiasError, match=r'no chat template.*give template="plain"'):
        Tokenizer(bare)
    assert Tokenizer(bare, template="plain").rewards(PROMPT, ["love"])
    with pytest.raises(ValueBiasError, match=r"cannot be rendered.*TemplateSyntaxError"):
        Tokenizer(folder, template="{% if %}").prefixes([PROMPT])
    with pytest.raises(ValueBiasError, match=r"cannot be rendered.*only questions"):
        Tokenizer(folder, template="{{ raise_exception('only questions') }}").prefixes([PROMPT])
    silent = Tokenizer(folder, template="Q: {{ messages[0]['content'] }}")
    with pytest.raises(ValueBiasError, match="leaves the assistant's answer out"):
        silent.rewards_by_id(PROMPT, [5])


def test_a_token_that_the_template_writes_must_be_there(tmp_path: Path) -> None:
    path = tiny_models.write_tokenizer(tmp_path, chat_template=ENDS_IN_EOS)
    file = path / "tokenizer_config.json"
    settings_ = json.loads(file.read_text())
    del settings_["eos_token"]
    file.write_text(json.dumps(settings_))
    with pytest.raises(ValueBiasError, match="writes the eos_token, which its tokenizer"):
        Tokenizer(path)
    assert Tokenizer(path, template=tiny_models.CHAT).rewards(PROMPT, ["love"])


def words_only(folder: Path) -> Path:
    """Write a tokenizer that knows five words and nothing else."""
    from tokenizers import models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    unknown = "<unk>"
    known = {unknown: 0, "what": 1, "is": 2, "good": 3, "love": 4}
    made = HFTokenizer(models.WordLevel(known, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown).save_pretrained(folder)
    return folder


def test_a_word_without_tokens_is_refused_and_not_scored_as_unknown(tmp_path: Path) -> None:
    tokenizer = Tokenizer(words_only(tmp_path), template="plain")
    assert lists(tokenizer.rewards("what is good", ["love", "<unk>"]))[1] == [1, 2, 3, 0]
    with pytest.raises(ValueBiasError, match="no token for some of 'power'"):
        tokenizer.rewards("what is good", ["love", "power"])
    with pytest.raises(ValueBiasError, match="no token for some of 'power'"):
        tokenizer.targets("what is good", ["power"])
    with pytest.raises(ValueBiasError, match="no token for some of"):
        tokenizer.prefixes(["why"])


def resolved(folder: Path) -> Resolved:
    return resolve(Model(str(folder)), kind="logprob")


def test_a_tokenizer_of_another_model_and_a_conversation_too_long_are_refused(
    tmp_path: Path,
) -> None:
    found = resolved(tiny_models.tiny("llama", "logprob", tmp_path / "lm"))
    small = replace(found, model_config=replace(found.model_config, vocab_size=100))
    with pytest.raises(ValueBiasError, match=r"has 100 tokens only.*belongs to another model"):
        Tokenizer(small).prefixes([PROMPT])
    short = replace(found, model_config=replace(found.model_config, max_length=20))
    with pytest.raises(ValueBiasError, match=r"'lovelove.*…' has .* tokens, but 'lm' takes 20"):
        Tokenizer(short).rewards("?", ["love" * 40])


def test_ids_of_the_model_that_the_tokenizer_lacks_are_no_part_of_the_vocabulary(
    tmp_path: Path,
) -> None:
    found = resolved(tiny_models.tiny("qwen2", "logprob", tmp_path / "lm"))
    table = Tokenizer(found).vocabulary()
    filed = HFTokenizer.from_file(str(tmp_path / "lm" / "tokenizer.json"))
    assert found.model_config.vocab_size > len(table) == filed.get_vocab_size()


def test_a_tokenizer_that_is_missing_or_damaged_is_named(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueBiasError, match=r"tokenizer of 'empty' from .* cannot be loaded"):
        Tokenizer(tmp_path / "empty")
    shutil.copytree(folder, tmp_path / "damaged")
    file = tmp_path / "damaged" / "tokenizer.json"
    file.write_text(file.read_text()[:-100])
    with pytest.raises(ValueBiasError, match=r"tokenizer of 'damaged' from .* cannot be loaded"):
        Tokenizer(tmp_path / "damaged")


def run(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_tokenising_works_without_torch(folder: Path, tiny: Tokenizer) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from valuebias.models.tokenizer import Tokenizer\n"
        "made = Tokenizer(sys.argv[1])\n"
        "print(made.sha256, made.rewards('Why?', ['love'])[0].tolist())\n"
    )
    expected = f"{tiny.sha256} {lists(tiny.rewards('Why?', ['love']))[0]}\n"
    assert run(code, str(folder)) == expected


def test_without_transformers_the_error_says_what_to_install(folder: Path) -> None:
    code = (
        "import sys\nsys.modules['transformers'] = None\n"
        "from valuebias.errors import ValueBiasError\n"
        "from valuebias.models.tokenizer import Tokenizer\n"
        "try:\n    Tokenizer(sys.argv[1])\n"
        "except ValueBiasError as error:\n    print(error)\n"
    )
    assert 'pip install "valuebias[torch]"' in run(code, str(folder))
