"""Tokenizers as their own files have them, whatever transformers makes of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import naive
import numpy as np
import published_tokenizers
import pytest
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

PROMPT = "What,  in one word, is the greatest\tthing of 2023? Naïve…"
WORDS = ("love", "power", "x<|end|>y", "</s> z", "1999")
# Cuts digits one by one, and keeps a space by itself.
CUT = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}


def edit(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def filed(folder: Path) -> Any:
    from tokenizers import Tokenizer as HFTokenizer

    return HFTokenizer.from_file(str(folder / "tokenizer.json"))


def by_transformers(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def tokenizer(folder: Path) -> Any:
    from valuebias.models.tokenizer import Tokenizer

    return Tokenizer(folder, template="plain")


def scores(folder: Path) -> np.ndarray:
    found = valuebias.score(
        Model(str(folder), template="plain"),
        kind="logprob",
        prompts=valuebias.prompts({"a": PROMPT}, framing="positive"),
        lexicon=["love", "power"],
        progress=False,
    )
    return found["score"].values.ravel()  # type: ignore[no-any-return]


def by_hand(folder: Path, encode: Any) -> np.ndarray:
    """Score with the ids that `encode` gives."""
    before = encode(f"{PROMPT}\n")
    whole = [encode(f"{PROMPT}\n{word}") for word in ("love", "power")]
    first = [next((i for i, a in enumerate(before) if w[i] != a), len(before)) for w in whole]
    return np.array([values.sum() for values in naive.logprobs(folder, whole, first)])


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "qwen2", "mistral"])
@pytest.mark.parametrize(
    "stated",
    ["LlamaTokenizerFast", "LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer", "GemmaTokenizer"],
)
def test_the_class_that_is_named_changes_nothing(
    stated: str, model_type: str, tmp_path: Path
) -> None:
    folder = tiny_models.write_tokenizer(tmp_path)
    edit(folder / "tokenizer.json", pre_tokenizer=CUT, normalizer={"type": "NFKC"})
    edit(folder / "tokenizer_config.json", tokenizer_class=stated)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    own, ours, theirs = filed(folder), tokenizer(folder), by_transformers(folder)
    texts = [f"{PROMPT}\n{word}" for word in WORDS]
    right = [own.encode(text).ids for text in texts]
    assert [ids.tolist() for ids in ours.rewards(PROMPT, WORDS)] == right
    # No token of the class's own comes into the vocabulary.
    assert len(ours.vocabulary()) == own.get_vocab_size()
    if cut(theirs.backend_tokenizer) != cut(own):
        assert re.search("changed them: .*pre-tokenizer", str(ours.start(PROMPT)))


def cut(tokenizer: Any) -> Any:
    """Say where a tokenizer cuts before it looks tokens up."""
    return tokenizer.pre_tokenizer and tokenizer.pre_tokenizer.pre_tokenize_str(PROMPT)


def test_scores_are_those_of_the_file(tmp_path: Path) -> None:
    folder = tiny_models.tiny("llama", "logprob", tmp_path / "lm")
    edit(folder / "tokenizer.json", pre_tokenizer=CUT)
    edit(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    own, theirs = filed(folder), by_transformers(folder)
    right = by_hand(folder, lambda text: own.encode(text).ids)
    wrong = by_hand(folder, lambda text: theirs(text)["input_ids"])
    assert np.abs(right - wrong).max() > 0.01
    np.testing.assert_allclose(scores(folder), right, atol=1e-4)


def test_a_tokenizer_is_shared_for_as_long_as_its_files_are_the_same(tmp_path: Path) -> None:
    from valuebias.models.tokenizer_files import shared_tokenizer

    def load(folder: Path) -> Any:
        return shared_tokenizer(folder, folder.name, trust=False)

    one = tiny_models.write_tokenizer(tmp_path / "one")
    two = Path(shutil.copytree(one, tmp_path / "two"))
    before, ids = load(one), tokenizer(one).rewards(PROMPT, WORDS)
    assert load(two) is before
    edit(one / "tokenizer.json", pre_tokenizer=CUT)
    after = tokenizer(one).rewards(PROMPT, WORDS)
    assert load(one) is not before
    assert [a.tolist() for a in after] != [a.tolist() for a in ids]
    assert [a.tolist() for a in after] == [filed(one).encode(f"{PROMPT}\n{w}").ids for w in WORDS]
    assert load(two) is before
    # A third drops the one that was used least recently.
    three = Path(shutil.copytree(one, tmp_path / "three"))
    edit(three / "tokenizer.json", normalizer={"type": "NFKC"})
    load(three)
    assert load(two) is before
    assert load(one) is not load(three)


def test_tokens_that_the_settings_add_are_kept(tmp_path: Path) -> None:
    folder = tiny_models.write_tokenizer(tmp_path)
    changed = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|stop|>"}
    edit(folder / "tokenizer_config.json", **changed)
    made = tokenizer(folder)
    number = filed(folder).get_vocab_size()
    assert made.hf_tokenizer().eos_token_id == number
    assert number in made.rewards(PROMPT, ["a<|stop|>b"])[0]
    assert made.hf_tokenizer().unk_token is None


def test_settings_that_contradict_the_file_are_refused(tmp_path: Path) -> None:
    folder = tiny_models.write_tokenizer(tmp_path)
    added = {"content": "<|stop|>", "special": True, "normalized": False}
    edit(
        folder / "tokenizer_config.json",
        added_tokens_decoder={"900": {**added, "lstrip": False, "rstrip": False}},
    )
    with pytest.raises(ValueBiasError, match=r"'<\|stop\|>' is the token 900 by its settings"):
        tokenizer(folder)


def published(name: str) -> list[Any]:
    folder = published_tokenizers.published(name)
    own, ours = filed(folder), tokenizer(folder)
    texts = [f"{PROMPT}\n{word}" for word in WORDS]
    made = [ids.tolist() for ids in ours.rewards(PROMPT, WORDS)]
    return [made, [own.encode(text).ids for text in texts], ours, by_transformers(folder), texts]


def test_mistral_7b_as_published() -> None:
    made, right, ours, theirs, texts = published("llama2")
    assert made == right
    assert "normaliser, pre-tokenizer" in str(ours.start(PROMPT))
    # After a special token the file's normaliser writes a space, and the class does not.
    text = texts[3]
    assert theirs(text)["input_ids"] != right[3]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama3_1", "gemma3", "qwen3"])
def test_others_as_published(name: str) -> None:
    made, right, *_ = published(name)
    assert made == right


@pytest.mark.slow
def test_gpt4o_as_published(tmp_path: Path) -> None:
    made, right, _, theirs, texts = published("gpt4o")
    assert made == right
    assert [theirs(text)["input_ids"] for text in texts] != right
    folder = published_tokenizers.model("gpt4o", "llama", "logprob", tmp_path / "lm")
    own = filed(folder)
    expected = by_hand(folder, lambda text: own.encode(text).ids)
    np.testing.assert_allclose(scores(folder), expected, atol=1e-4)


@pytest.mark.slow
def test_deepseek_as_published_begins_with_the_token_that_it_asks_for(tmp_path: Path) -> None:
    made, right, ours, *_ = published("deepseek_v3")
    assert made == [[0, *ids] for ids in right]
    assert "'<｜begin▁of▁sentence｜>' (0), for which tokenizer_config.json" in str(ours.start("a"))
    folder = published_tokenizers.model("deepseek_v3", "llama", "logprob", tmp_path / "lm")
    own = filed(folder)
    expected = by_hand(folder, lambda text: [0, *own.encode(text).ids])
    np.testing.assert_allclose(scores(folder), expected, atol=1e-4)


# --- beside mistral-common ----------------------------------------------------------------------

CODE = """
import sys
from transformers.utils.import_utils import is_mistral_common_available
from valuebias.models.tokenizer import Tokenizer
assert is_mistral_common_available()
made = Tokenizer(sys.argv[1])
print(made.sha256, made.rewards("Why?", ["love"])[0].tolist())
"""


def run(code: str, *arguments: str, beside: Path) -> str:
    # An empty entry would be the working folder, where the package is not installed.
    where = os.pathsep.join(filter(None, [str(beside), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": where},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def mistral(folder: Path) -> Path:
    """Write a tokenizer in both formats, of which mistral-common would take its own."""
    tiny_models.write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mistral"}))
    (folder / "tekken.json").write_text("{}")
    return folder


def test_mistral_common_does_not_take_a_folder_over(tmp_path: Path) -> None:
    from valuebias.models.tokenizer import Tokenizer

    folder = mistral(tmp_path / "tokenizer")
    # Enough of it to be found: transformers then asks it for every folder with tekken.json.
    package = tmp_path / "beside" / "mistral_common"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    about = package.parent / "mistral_common-1.13.1.dist-info"
    about.mkdir()
    lines = ("Metadata-Version: 2.1", "Name: mistral-common", "Version: 1.13.1", "")
    (about / "METADATA").write_text("\n".join(lines))
    without = Tokenizer(folder)
    expected = f"{without.sha256} {without.rewards('Why?', ['love'])[0].tolist()}\n"
    assert run(CODE, str(folder), beside=package.parent) == expected


REAL = """
import json, shutil, sys, warnings
from pathlib import Path
import mistral_common
from transformers import AutoTokenizer, MistralConfig, MistralForSequenceClassification
import valuebias
from valuebias.models.tokenizer import Tokenizer

root, folder = Path(sys.argv[1]), sys.argv[2]
assert type(AutoTokenizer.from_pretrained(folder)).__name__ == "TokenizersBackend"
data = Path(mistral_common.__file__).parent / "data"
alone = root / "tekken"
MistralForSequenceClassification(
    MistralConfig(
        vocab_size=131072, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, num_labels=1, pad_token_id=11,
    )
).save_pretrained(alone)
shutil.copy(data / "tekken_240911.json", alone / "tekken.json")
told = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", valuebias.ValueBiasWarning)
    plain = Tokenizer(alone, template="plain")
    told += [str(w.message) for w in caught if w.category is valuebias.ValueBiasWarning]
text = "What is it?\\nlove"
theirs = AutoTokenizer.from_pretrained(alone)
try:
    Tokenizer(alone)
except valuebias.ValueBiasError as error:
    told.append(str(error))
old = root / "sentencepiece"
old.mkdir()
shutil.copy(data / "tokenizer.model.v1", old / "tokenizer.model")
(old / "config.json").write_text('{"model_type": "llama"}')
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", valuebias.ValueBiasWarning)
    bare = Tokenizer(old, template="plain")
    told += [str(w.message) for w in caught if w.category is valuebias.ValueBiasWarning]
print(json.dumps({
    "backend": type(theirs).__name__,
    "theirs": theirs(text)["input_ids"],
    "ours": plain.rewards("What is it?", ["love"])[0].tolist(),
    "bare": [bare.rewards("What is it?", ["love"])[0].tolist(),
             AutoTokenizer.from_pretrained(old)(text)["input_ids"]],
    "told": told,
}))
"""


@pytest.mark.slow
def test_beside_the_real_mistral_common(tmp_path: Path) -> None:
    from valuebias.models.tokenizer import Tokenizer

    beside = tmp_path / "beside"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(beside)]
    wanted = ["mistral-common==1.13.1", "sentencepiece>=0.2", f"numpy=={np.__version__}"]
    done = subprocess.run([*install, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        done = subprocess.run([*install, *wanted[:2]], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mistral-common cannot be installed: {done.stderr.strip()[-300:]}")
    # This environment's own NumPy serves both.
    for found in beside.glob("numpy*"):
        shutil.rmtree(found)
    folder = mistral(tmp_path / "both")
    (folder / "tekken.json").unlink()
    shutil.copy(next((beside / "mistral_common" / "data").glob("tekken_240911*")), folder)
    (folder / "tekken_240911.json").rename(folder / "tekken.json")
    without = Tokenizer(folder)
    expected = f"{without.sha256} {without.rewards('Why?', ['love'])[0].tolist()}\n"
    assert run(CODE, str(folder), beside=beside) == expected
    (folder / "tekken.json").unlink()
    found = json.loads(run(REAL, str(tmp_path), str(folder), beside=beside))
    assert found["backend"] == "MistralCommonBackend"
    assert found["ours"] == found["theirs"]
    assert found["ours"][0] == 1
    assert found["bare"][0] == found["bare"][1]
    alone, chat, bare = found["told"]
    assert "begin with '<s>' (1), as Mistral's own library does" in alone
    assert "has no chat template" in chat
    assert "begin with no token" in bare
    assert "tokenizer.model does not say" in bare


def test_merges_are_not_left_out_at_random(tmp_path: Path) -> None:
    """As while training, to which BPE's dropout belongs."""
    folder = tiny_models.tiny("llama", "reward", tmp_path / "rm")
    asked: Any = {
        "prompts": valuebias.prompts({"a": PROMPT}, framing="positive"),
        "lexicon": list(WORDS[:2]),
    }
    still = valuebias.score(str(folder), **asked, progress=False)["score"].values
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    edit(folder / "tokenizer.json", model={**content["model"], "dropout": 0.5})
    assert len({str(filed(folder).encode(PROMPT).ids) for _ in range(9)}) > 1
    for _ in range(2):
        found = valuebias.score(str(folder), **asked, progress=False)["score"].values
        np.testing.assert_array_equal(found, still)
    assert "cuts texts at random: dropout 0.5" in str(valuebias.plan(str(folder), **asked))


def test_unigrams_are_not_drawn_at_random() -> None:
    from tokenizers import Tokenizer as HFTokenizer
    from tokenizers import models
    from transformers import PreTrainedTokenizerFast

    from valuebias.models.tokenizer_files import _still

    entries = [("<unk>", 0.0), ("a", -1.0), ("b", -1.1), ("ab", -2.0)]
    made = HFTokenizer(models.Unigram(entries, unk_id=0, alpha=0.5, nbest_size=4))
    hf_tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    # A copy, such as that one's, is made without.
    hf_tokenizer._tokenizer = made
    assert _still(hf_tokenizer, "m") == ("alpha 0.5", "nbest_size 4")
    assert len({str(hf_tokenizer("ab" * 9)["input_ids"]) for _ in range(30)}) == 1
    assert _still(hf_tokenizer, "m") == ()


class Drawing:
    """Stands for a tokenizer of SentencePiece itself, which is asked for samples."""

    backend_tokenizer = None

    def __init__(self, **settings: Any) -> None:
        self.sp_model_kwargs = settings
        self.calls = 0

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        self.calls += not self.sp_model_kwargs
        return {"input_ids": [self.calls]}


def test_what_cannot_be_stilled_is_refused() -> None:
    from valuebias.models.tokenizer_files import _still

    with pytest.raises(ValueBiasError, match=r"at random .sp_model_kwargs: enable_sampling"):
        _still(Drawing(enable_sampling=True), "m")
    with pytest.raises(ValueBiasError, match=r"at random .by code of its own"):
        _still(Drawing(), "m")
