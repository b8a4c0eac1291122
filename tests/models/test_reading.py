"""Where rewards are read: as the model's own class reads them, and said where that is no end."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import trained_by_trl
from numpy.typing import NDArray

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.models.reading import Rule, reading_position, rule_of
from valuebias.schema import model_table

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

PROMPT = "What is good?"
WORDS = ("love", "power", "free dom", "x")
ENDS = {
    "newline": tiny_models.CHAT,
    "one eos": "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}",
    "three eos": "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "</s></s>",
    "eos and more": "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s><|end|>"
    "{% endfor %}</s>",
}


def score(*models: Model, **options: Any) -> Any:
    asked = {
        "prompts": valuebias.prompts({"p": PROMPT}, framing="positive"), "lexicon": WORDS,
        "progress": False,
    }  # fmt: skip
    return valuebias.score(list(models), **asked | options)


def rewards(folder: Path, **fields: Any) -> NDArray[np.float64]:
    return score(Model(str(folder), name="m", **fields))["score"].to_numpy().ravel().astype(float)  # type: ignore[no-any-return]


def rows(folder: Path, word: str, prompt: str = PROMPT) -> Any:
    """Tokenise a conversation with plain transformers."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": word}]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]


def theirs(folder: Path, words: Any = WORDS, prompt: str = PROMPT) -> NDArray[np.float64]:
    """Give what the model's own class puts out for each conversation by itself."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return np.array([model(rows(folder, word, prompt)).logits[0, 0].item() for word in words])


def at_the_end(folder: Path, words: Any = WORDS) -> NDArray[np.float64]:
    """Give what the head's layer says of the last token of all."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        states = [model.model(rows(folder, word)).last_hidden_state[0, -1] for word in words]
        return np.array([model.score(state)[0].item() for state in states])


def configured(folder: Path, *, template: str, padding: object) -> Path:
    tiny_models.tiny("llama", "reward", folder, chat_template=template)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": padding}))
    return folder


# <|end|> is 5, a newline has no fixed number, </s> is 2, <pad> is 0.
@pytest.mark.parametrize(
    ("end", "padding", "place"),
    [
        ("newline", 0, "end of conversation"),
        ("newline", None, "end of conversation"),
        ("newline", 5, "end of conversation"),
        ("one eos", 2, "end of answer"),
        ("one eos", None, "end of conversation"),
        ("one eos", -1, "end of conversation"),
        ("one eos", 319, "end of conversation"),
        ("three eos", 2, "end of answer"),
        ("eos and more", 2, "1 token before the end"),
        ("eos and more", 5, "end of conversation"),
    ],
)
def test_rewards_are_those_of_the_models_own_class(
    tmp_path: Path, end: str, padding: int | None, place: str
) -> None:
    folder = configured(tmp_path / "m", template=ENDS[end], padding=padding)
    own, last = theirs(folder), at_the_end(folder)
    found = score(Model(str(folder), name="m"))
    np.testing.assert_allclose(found["score"].to_numpy().ravel(), own, atol=1e-4)
    np.testing.assert_allclose(rewards(folder, reward_at="last"), last, atol=1e-4)
    assert found["read_at"].item() == place
    # Elsewhere the head would say something else.
    assert (np.abs(own - last).max() > 0.05) == (place != "end of conversation")
    told = str(valuebias.plan(str(folder), lexicon=WORDS, prompts="superlatives"))
    said = {"end of answer": "the answer's last token", "end of conversation": "the end of the"}
    at = "" if place[0] == "1" else "at "
    assert f"'m': the reward is read {at}{said.get(place, place)}" in told


def test_the_token_is_named(tmp_path: Path) -> None:
    folder = configured(tmp_path / "m", template=ENDS["eos and more"], padding=2)
    found = score(Model(str(folder), name="m"))
    assert found["read_token"].item() == "'<|end|>' (5)"
    told = str(valuebias.plan(str(folder), lexicon=WORDS))
    assert "1 token before the end, '<|end|>' (5) (its own head reads the last token" in told
    assert "pad_token_id of its configuration, 2)" in told
    (about,) = json.loads(found.attrs["provenance"])["models"]
    assert "pad_token_id" in about["read_said_by"]
    assert about["settings"]["reward_at"] == "last that is not 2"


def test_log_probs_have_no_such_token(tmp_path: Path) -> None:
    tiny_models.tiny("llama", "logprob", tmp_path / "lm")
    assert "read_at" not in score(Model(str(tmp_path / "lm")), kind="logprob").coords


def test_whole_vocabularies_say_where_too(tmp_path: Path) -> None:
    folder = configured(tmp_path / "m", template=ENDS["one eos"], padding=2)
    for reading in ("text", "ids"):
        tree = score(Model(str(folder), name="m"), lexicon="vocabulary", tokens_as=reading)
        assert tree["m"]["read_at"].item() == "end of answer"
        ids = tree["m"]["token_id"].to_numpy()
        word = int(np.flatnonzero(tree["m"]["decoded"].to_numpy() == "x")[0])
        (expected,) = theirs(folder, ["x"])
        assert abs(tree["m"]["score"].to_numpy()[0, 0, word] - expected) < 1e-4
        assert len(ids) == 320


def test_heads_given_as_functions_are_read_as_the_checkpoints_own(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = configured(tmp_path / "m", template=ENDS["one eos"], padding=2)
    weight = load_file(folder / "model.safetensors")["score.weight"][0]
    found = rewards(folder, head=lambda hidden: hidden @ weight)
    np.testing.assert_allclose(found, theirs(folder), atol=1e-4)
    # A language model has no head, so there is no place that it reads.
    tiny_models.tiny("llama", "logprob", tmp_path / "lm", chat_template=ENDS["one eos"])
    path = tmp_path / "lm" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": 2}))
    made = score(Model(str(tmp_path / "lm"), head=lambda hidden: hidden[:, 0]))
    assert made["read_at"].item() == "end of conversation"
    assert made["read_token"].item() == "'</s>' (2)"


def test_answers_that_are_padding_themselves() -> None:
    """Their last token that is no padding lies before them, and is said to be elsewhere."""
    rule = Rule(2, "a reason")
    conversations = [np.array(ids) for ids in ([7, 8, 5, 2], [7, 8, 6, 2], [7, 8, 2, 2], [2, 2])]
    assert [len(rule.cut(ids)) for ids in conversations] == [3, 3, 2, 1]
    found = reading_position(rule, conversations[:3], n_before=2, n_after=1, name_token=str)
    assert found.position == "end of answer"
    assert found.exceptions == "; of 3 answers, 1 of them 2 tokens before the end"


@pytest.mark.parametrize("padding", ["2", [2], 2.5, True])
def test_padding_that_is_no_token_is_refused(padding: object) -> None:
    with pytest.raises(ValueBiasError, match=r"pad_token_id=.* expected a token's number"):
        rule_of("own", head="logits", padding=padding, classifier=True, own_code=False, name="m")


OWN_CODE = """
import torch
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast


class Reader(LlamaPreTrainedModel):
    config_class = LlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.score = torch.nn.Linear(config.hidden_size, 1, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        hidden = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        return SequenceClassifierOutputWithPast(logits=3 * self.score(hidden[:, 2]) + OFFSET)
"""


def coded(folder: Path, offset: str = "hidden.mean((1, 2))[:, None]") -> Path:
    """Write a model whose own code reads its third token, and more."""
    configured(folder, template=ENDS["one eos"], padding=2)
    (folder / "reading.py").write_text(OWN_CODE.replace("OFFSET", offset))
    path = folder / "config.json"
    own = {"auto_map": {"AutoModelForSequenceClassification": "reading.Reader"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own | {"architectures": ["Reader"]}))
    return folder


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_with_code_of_its_own_reads_where_that_does(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = coded(tmp_path / "coded")
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=True
    ).eval()
    with torch.no_grad():
        expected = [model(rows(folder, word)).logits.item() for word in WORDS]
    found = score(Model(str(folder), trust_remote_code=True))
    np.testing.assert_allclose(found["score"].to_numpy().ravel(), expected, atol=1e-4)
    assert found["read_at"].item() == "by its own code"
    with pytest.raises(ValueBiasError, match=r"cannot be exported.*reward_at='last'"):
        score(Model(str(folder), trust_remote_code=True), backend="onnx")
    layer = rewards(folder, trust_remote_code=True, reward_at="last")
    np.testing.assert_allclose(layer, at_the_end(folder), atol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_store_knows_all_that_trusted_code_may_read(tmp_path: Path) -> None:
    folder, store = coded(tmp_path / "coded"), tmp_path / "s.zarr"
    for name in READ:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"1")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "data.bin").write_bytes(b"1")
    (folder / "elsewhere").symlink_to(tmp_path / "linked")
    (folder / "linked-back").symlink_to(folder)
    model = Model(str(folder), name="m", trust_remote_code=True)
    first = score(model, store=store)
    for name in ("README.md", "checkpoint-5/optimizer.pt", "__pycache__/reading.pyc", ".git/HEAD"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("# About")
    assert score(model, store=store).equals(first)

    def refused(said: str) -> None:
        with pytest.raises(ValueBiasError, match=rf"another own code of the model 'm'.*{said}\."):
            score(model, store=store)

    for name in READ:
        (folder / name).write_bytes(b"2")
        refused(f"changed: '{name.partition('/')[0] + '/' * ('/' in name)}'")
        (folder / name).write_bytes(b"1")
    (tmp_path / "linked" / "data.bin").write_bytes(b"2")
    refused("changed: 'elsewhere/'")
    (tmp_path / "linked" / "data.bin").write_bytes(b"1")
    (folder / "head.bin").rename(folder / "head.pt")
    refused("new: 'head.pt'; gone: 'head.bin'")
    (folder / "head.pt").rename(folder / "head.bin")
    assert score(model, store=store).equals(first)
    (folder / "reading.py").write_text(OWN_CODE.replace("OFFSET", "100.0"))
    refused("changed: 'reading.py'")


READ = ("value_head.safetensors", "head.bin", "adapter_head.py", "training_args.json")
READ += ("training_args.bin", "notes.md", "adapter_model.safetensors", ".hidden", "heads/one.npy")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_beside_code_other_weights_are_called_so(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder, store = coded(tmp_path / "coded"), tmp_path / "s.zarr"
    model = Model(str(folder), name="m", trust_remote_code=True)
    score(model, store=store)
    tensors = load_file(folder / "model.safetensors")
    tensors["score.weight"] = -tensors["score.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueBiasError, match="other weights of the model 'm'"):
        score(model, store=store)


def test_code_out_of_another_repository_is_refused(tmp_path: Path) -> None:
    folder = coded(tmp_path / "coded")
    path = folder / "config.json"
    path.write_text(path.read_text().replace("reading.Reader", "org/code--reading.Reader"))
    with pytest.raises(ValueBiasError, match=r"'org/code'.*nothing pins.*Copy"):
        score(Model(str(folder), trust_remote_code=True))


def test_a_class_that_reads_by_another_rule_is_refused(tmp_path: Path) -> None:
    """Some classes average over the conversation; a layer at one token is not their reward."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from valuebias.backends import Source
    from valuebias.backends.torch_backend import TorchBackend

    class Meaning(AutoModelForSequenceClassification._model_mapping[_llama()]):  # type: ignore[misc]
        def forward(self, *args: Any, **options: Any) -> Any:
            made = super().forward(*args, **options)
            made.logits = made.logits * 0 + 1
            return made

    folder = configured(tmp_path / "m", template=ENDS["newline"], padding=0)
    mapping: Any = AutoModelForSequenceClassification._model_mapping
    assert isinstance(AutoConfig.from_pretrained(folder), _llama())
    mapping.register(_llama(), Meaning, exist_ok=True)
    try:
        source = Source(name="m", folder=folder, kind="reward", as_own=True)
        with pytest.raises(ValueBiasError, match=r"Meaning gives .*reward_at='last'"):
            TorchBackend(device="cpu").load(source)
    finally:
        mapping._extra_content.pop(_llama())


def _llama() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig


@pytest.mark.slow
@pytest.mark.skipif(trained_by_trl.missing() is not None, reason=str(trained_by_trl.missing()))
def test_models_that_trl_trained(tmp_path: Path) -> None:
    prompt, words = trained_by_trl.PROMPT, trained_by_trl.WORDS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL's and what it calls
        folders = {
            name: trained_by_trl.trained(name, tmp_path / name) for name in ("llama", "qwen")
        }
    saved = {name: json.loads((f / "config.json").read_text()) for name, f in folders.items()}
    assert saved["llama"]["pad_token_id"] == saved["llama"]["eos_token_id"] == 2
    assert saved["qwen"]["pad_token_id"] != saved["qwen"]["eos_token_id"]
    models = [Model(str(folders[n]), name=n, family=n, base=f"org/{n}") for n in folders]
    asked = {"prompts": valuebias.prompts({"up": prompt}, framing="positive"), "lexicon": words}
    found = score(*models, **asked)
    for name, folder in folders.items():
        expected = theirs(folder, words, prompt)
        np.testing.assert_allclose(found["score"].sel(model=name)[0], expected, atol=1e-4)
        # Each learnt which word of a pair is the better one, where it is read.
        assert (expected[::2] > expected[1::2] + 1).all()
    table = model_table(found)
    assert table["read_at"].tolist() == ["end of answer", "end of conversation"]
    assert table["read_token"].str.startswith(("'\\n' (", "")).all()
    assert table.loc["qwen", "read_token"].startswith("'\\n' (")
    # At the end of a turn the Llama-like one was never trained.
    ends = score(*[Model(m.location, name=m.name, family=m.name, base=m.base, reward_at="last")
                   for m in models], **asked)  # fmt: skip
    gap = np.abs(ends["score"] - found["score"]).max(("prompt", "response"))
    assert gap.sel(model="llama") > 1
    assert gap.sel(model="qwen") == 0
    finding = valuebias.audit(found).findings.query("check == 'reading'")["detail"].item()
    assert "at the end of the answer: llama; at the end of the conversation: qwen" in finding
