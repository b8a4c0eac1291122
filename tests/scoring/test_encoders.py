"""Reward models on encoders, which read a prompt and a response as two texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import xarray as xr

import valuebias
from valuebias import Model, ValueBiasError

pytestmark = pytest.mark.skipif(
    tiny_models.missing() is not None, reason=str(tiny_models.missing())
)

WORDS = ("love", "power", "free dom", "x", "trust and care")
PROMPTS = {
    "up": {"text": "What, in one word, is the greatest thing ever?", "framing": "positive"},
    "down": {"text": "What is the worst thing?", "framing": "negative"},
}
# DeBERTa has no types of tokens, BERT and ELECTRA have two; the heads differ in all of them.
ENCODERS: dict[str, dict[str, Any]] = {
    "deberta-v2": {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": "c2p|p2c"},
    "bert": {},
    "electra": {"embedding_size": 32},
    "roberta": {"type_vocab_size": 1, "pad_token_id": 0},
    "modernbert": {"cls_token_id": 1, "sep_token_id": 2, "pad_token_id": 0},
}
SIZE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip


def encoder(folder: Path, model_type: str, *, labels: int = 1) -> Path:
    """Write a tiny random encoder with a head, and a tokenizer that puts two texts together."""
    import torch
    import transformers
    from tokenizers.processors import TemplateProcessing

    encode = tiny_models.make_tokenizer(bos=True, chat_template=None)
    encode._tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )  # fmt: skip
    settings = {**SIZE, "vocab_size": len(encode), "num_labels": labels, **ENCODERS[model_type]}
    config = transformers.AutoConfig.for_model(model_type, **settings)
    torch.manual_seed(3)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(6)
    model.save_pretrained(folder)
    encode.save_pretrained(folder)
    return folder


def expected(folder: Path, label: int = 0) -> np.ndarray:
    """Score with plain transformers, a pair at a time."""
    import torch
    import transformers

    encode = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    for prompt in PROMPTS.values():
        pairs = [encode(prompt["text"], word, return_tensors="pt") for word in WORDS]
        if "type_vocab_size" in model.config.to_dict() and model.config.type_vocab_size > 1:
            for pair in pairs:
                types = (pair["input_ids"] == 2).cumsum(1) - (pair["input_ids"] == 2).long()
                pair["token_type_ids"] = (types > 0).long()
        with torch.no_grad():
            rows.append([float(model(**pair).logits[0, label]) for pair in pairs])
    return np.array(rows)


def score(models: Any, **options: Any) -> xr.Dataset:
    options = {"prompts": PROMPTS, "lexicon": WORDS, "progress": False} | options
    return valuebias.score(models, **options)  # type: ignore[no-any-return]


@pytest.mark.parametrize("model_type", ENCODERS)
def test_rewards_equal_transformers(model_type: str, tmp_path: Path) -> None:
    folder = encoder(tmp_path / "rm", model_type)
    found = score([Model(str(folder), template="pair")])
    theirs = expected(folder)
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(found["score"][0], theirs, atol=5e-5)
    assert "by its own code" in str(found["read_at"].to_numpy()[0])


def test_types_of_tokens_matter(tmp_path: Path) -> None:
    """So that the test above would see it if they were left out."""
    import torch
    import transformers

    folder = encoder(tmp_path / "rm", "bert")
    encode = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = encode("What is good?", "love", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        without = float(model(input_ids=ids).logits[0, 0])
        second = (ids == 2).cumsum(1) - (ids == 2).long() > 0
        types = float(model(input_ids=ids, token_type_ids=second.long()).logits[0, 0])
    assert abs(without - types) > 1e-3


def test_labels_stores_and_vocabularies(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "rm", "deberta-v2", labels=3)
    many = [Model(str(folder), template="pair", label="all")]
    found = score(many, store=tmp_path / "s.zarr")
    for k in range(3):
        np.testing.assert_allclose(found["score"][k], expected(folder, k), atol=5e-5)
    one = [Model(str(folder), template="pair", label=1)]
    tree = score(one, lexicon="vocabulary", prompts={"up": PROMPTS["up"]})
    (group,) = tree.children.values()
    scores = group.ds["score"]
    at = [str(token) for token in group.ds["decoded"].to_numpy()].index("x")
    assert float(scores[0, 0, at]) == pytest.approx(expected(folder, 1)[0, 3], abs=5e-5)


def test_a_plan_says_how_it_is_read(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "rm", "deberta-v2")
    text = str(valuebias.plan([Model(str(folder), template="pair")], lexicon=WORDS))
    assert "an encoder's class reads its reward" in text


def test_what_encoders_cannot_do(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "rm", "bert")
    with pytest.raises(ValueBiasError, match=r'as two texts template="pair"'):
        score([Model(str(folder))])
    with pytest.raises(ValueBiasError, match="is an encoder"):
        score([Model(str(folder), template="pair")], kind="logprob")
    decoder = tiny_models.tiny("llama", "logprob", tmp_path / "lm")
    with pytest.raises(ValueBiasError, match="in which an encoder reads two texts"):
        score([Model(str(decoder), template="pair")], kind="logprob")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    with pytest.raises(ValueBiasError, match="torch"):
        score([Model(str(folder), template="pair")], backend="onnx")


def test_contrast_sets_are_scored_and_not_along_their_answers(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "rm", "deberta-v2")
    rows = {"q": {"prompt": "What is best?", "answers": {"a": "love", "b": "power and trust"}}}
    model = Model(str(folder), template="pair", base="x")
    found = valuebias.score_contrasts(model, rows, progress=False)
    words = ["love", "power and trust"]
    prompts = {"q": {"text": "What is best?", "framing": "neutral"}}
    known = valuebias.score(model, prompts=prompts, lexicon=words, progress=False)
    np.testing.assert_allclose(found["score"][0, 0], known["score"][0, 0], atol=1e-6)
    with pytest.raises(ValueBiasError, match=r"is an encoder, .* Leave read='all' out"):
        valuebias.score_contrasts(model, rows, read="all", progress=False)


@pytest.mark.parametrize("how", ["process", "shards"])
def test_all_of_two_labels(how: str, tmp_path: Path) -> None:
    """Of two labels a configuration says nothing: that is what transformers takes for granted."""
    folder = encoder(tmp_path / "rm", "bert", labels=2)
    asked = Model(str(folder), template="pair", label="all", base="x")
    if how == "shards":
        parts = [score(asked, store=tmp_path / f"{i}.zarr", shard=(i, 2)) for i in (1, 2)]
        found = valuebias.merge(parts, out=tmp_path / "merged.zarr")
    else:
        found = score(asked)
    assert found["label"].to_numpy().tolist() == ["LABEL_0", "LABEL_1"]
    for k in range(2):
        np.testing.assert_allclose(found["score"][k], expected(folder, k), atol=5e-5)
