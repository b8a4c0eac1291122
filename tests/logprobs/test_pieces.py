"""Tokens of different kinds of vocabularies are joined on what they add to a text.

A SentencePiece token such as "▁love" loses its space where it is decoded alone. What is right here
comes from the vocabularies' own files, and from transformers' log-probs of each token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pandas as pd
import published_tokenizers
import pytest
import stores
import tiny_models
import xarray as xr

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.models.tokenizer import Tokenizer

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

PROMPT = "What is good?"
LETTERS = sorted({*"What is good? love power in of the best\n"} - {" ", "\n"})
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = ["love", "power", "in", "of", "the"]
TEXTS = {" ", *LETTERS, *WORDS, *(f" {word}" for word in WORDS)}
"""What the tokens of every kind stand for, whether they write a space as "▁", "Ġ" or not at all."""


def sentencepiece(kind: str) -> Any:
    """Make a tokenizer as the tokenizer.json of Llama 2, Mistral, Gemma, Yi or T5 describes it."""
    from tokenizers import Tokenizer as HFTokenizer
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    special = ["<unk>", "<s>", "</s>"]
    pieces = ["▁", *LETTERS, *WORDS, *(f"▁{word}" for word in WORDS)]
    names = [*special, *BYTES, *pieces]
    if kind == "unigram":
        ranks = [(name, -float(len(names) - place)) for place, name in enumerate(names)]
        made = HFTokenizer(models.Unigram(ranks, unk_id=0, byte_fallback=True))
    else:
        merges = [(word[:i], word[i]) for word in pieces for i in range(1, len(word))]
        for left, right in merges:
            names += [piece for piece in (left, left + right) if piece not in names]
        vocabulary = {name: i for i, name in enumerate(names)}
        made = HFTokenizer(models.BPE(vocabulary, list(dict.fromkeys(merges)), byte_fallback=True))
    if kind in ("metaspace", "unigram"):
        scheme = "first" if kind == "metaspace" else "always"
        made.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme=scheme, split=kind != "unigram"
        )
        made.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=scheme)]
        )
        return made
    spaces = normalizers.Replace(" ", "▁")
    before = [] if kind == "gemma" else [normalizers.Prepend("▁")]
    made.normalizer = normalizers.Sequence([*before, spaces])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence(
        steps if kind == "gemma" else [*steps, decoders.Strip(" ", 1, 0)]
    )
    return made


def byte_level() -> Any:
    from tokenizers import Tokenizer as HFTokenizer
    from tokenizers import decoders, models, pre_tokenizers

    pieces = ["Ġ", *LETTERS, *WORDS, *(f"Ġ{word}" for word in WORDS)]
    names = ["<unk>", "<s>", "</s>", *sorted({*pre_tokenizers.ByteLevel.alphabet()} - {*pieces})]
    made = HFTokenizer(models.BPE({name: i for i, name in enumerate([*names, *pieces])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


KINDS = ("llama", "metaspace", "unigram", "gemma", "bytes")


def language_model(kind: str, folder: Path) -> Path:
    from transformers import PreTrainedTokenizerFast

    from valuebias.backends.testing.samples import write_model

    made = byte_level() if kind == "bytes" else sentencepiece(kind)
    ends = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    encode = PreTrainedTokenizerFast(tokenizer_object=made, **ends)
    write_model(folder, "llama", kind="logprob", vocabulary=len(encode), seed=len(kind))
    encode.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: language_model(kind, root / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def tree(folders: dict[str, Path]) -> xr.DataTree:
    return scored(folders)


def scored(folders: dict[str, Path], store: Path | None = None) -> xr.DataTree:
    return valuebias.score(
        [Model(str(path), name=name, family=name, base=name, template="plain")
         for name, path in folders.items()],
        kind="logprob", lexicon="vocabulary", store=store, progress=False,
        prompts=valuebias.prompts({"p": PROMPT}, framing="positive"),
    )  # fmt: skip


def rows(folder: Path) -> dict[str, float]:
    """Give transformers' log-prob of each token, by its name, after the plain prompt."""
    encode = naive.tokenizer(folder)
    values = naive.rows(folder, [encode(f"{PROMPT}\n")["input_ids"]])[0]
    return {name: float(values[i]) for name, i in encode.get_vocab().items()}


def test_every_kind_of_vocabulary_has_the_same_texts(
    folders: dict[str, Path], tree: xr.DataTree
) -> None:
    for kind in KINDS:
        texts = tree[kind]["decoded"].to_numpy().tolist()
        assert set(texts) >= TEXTS, kind
        assert texts.count(" love") == texts.count("love") == 1
        names = dict(zip(texts, tree[kind]["response"].to_numpy().tolist(), strict=True))
        assert names[" love"] == ("Ġlove" if kind == "bytes" else "▁love")
        assert names["\n"] == ("Ċ" if kind == "bytes" else "<0x0A>")
    aligned = valuebias.align(tree)
    assert set(aligned["response"].to_numpy().tolist()) >= TEXTS
    for kind in KINDS:
        space = "Ġ" if kind == "bytes" else "▁"
        known = rows(folders[kind])
        for word in WORDS:
            found = aligned["score"].sel(model=kind, response=[f" {word}", word]).to_numpy().ravel()
            np.testing.assert_allclose(found, [known[space + word], known[word]], atol=1e-4)
    rewards = valuebias.implicit(
        aligned, numerator="llama", denominator="bytes", method="log_ratio"
    )
    ours = rewards["score"].sel(response=" love").item()
    theirs = rows(folders["llama"])["▁love"] - rows(folders["bytes"])["Ġlove"]
    assert ours == pytest.approx(theirs, abs=2e-4)


@pytest.mark.parametrize(
    ("combine", "together"),
    [("logsumexp", np.logaddexp), ("max", max), ("mean", lambda a, b: (a + b) / 2)],
)
def test_variants_of_a_word_are_combined_by_one_rule(
    folders: dict[str, Path], tree: xr.DataTree, combine: Any, together: Any
) -> None:
    aligned = valuebias.align(tree, merge="space", combine=combine)
    for kind in KINDS:
        space = "Ġ" if kind == "bytes" else "▁"
        known = rows(folders[kind])
        for word in WORDS:
            expected = together(known[space + word], known[word])
            assert aligned["score"].sel(model=kind, response=word).item() == pytest.approx(
                expected, abs=1e-4
            )


def test_words_of_whole_word_vocabularies_have_no_space(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as HFTokenizer
    from tokenizers import decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "love", "power", "?"]
    made = HFTokenizer(models.WordLevel({t: i for i, t in enumerate(names)}, names[0]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(tmp_path / "words")
    table = Tokenizer(tmp_path / "words", template="plain").vocabulary()
    assert table["text"].tolist() == names
    marked = ["<unk>", "▁love", "▁power", "?"]
    made = HFTokenizer(models.WordLevel({t: i for i, t in enumerate(marked)}, marked[0]))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(tmp_path / "marked")
    table = Tokenizer(tmp_path / "marked", template="plain").vocabulary()
    assert table["text"].tolist() == ["<unk>", " love", " power", "?"]


def as_before(ds: xr.Dataset) -> xr.Dataset:
    """Give a vocabulary the texts that earlier versions gave it: each token decoded alone."""
    texts = [text.removeprefix(" ") for text in ds["decoded"].to_numpy().tolist()]
    return ds.assign_coords(decoded=("response", np.array(texts, dtype=ds["decoded"].dtype)))


def test_scores_of_earlier_versions_are_not_mixed_silently(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    chosen = {kind: folders[kind] for kind in ("bytes", "llama")}
    store = tmp_path / "store.zarr"
    tree = scored(chosen, store)
    new = {name: tree[name].to_dataset().load() for name in chosen}
    expected = valuebias.align(new)
    old = as_before(new["llama"])
    with pytest.warns(ValueBiasWarning, match=r"texts of \d+ tokens of 'llama' lack the space"):
        mended = valuebias.align([new["bytes"], old])
    xr.testing.assert_equal(mended.drop_attrs(), expected.drop_attrs())
    # The same in a store: nothing is added to it, and reading it mends it.
    stores.unseal(store)
    old[["decoded"]].to_zarr(store / "llama", mode="r+", zarr_format=2, consolidated=False)
    with pytest.raises(ValueBiasError, match=r"other texts of \d+ tokens .*'llama'.*another store"):
        scored(chosen, store)
    with pytest.warns(ValueBiasWarning, match="'llama' lack the space"):
        again = valuebias.align(valuebias.read_vocabulary(store))
    xr.testing.assert_equal(again.drop_attrs(), expected.drop_attrs())


def test_aligned_scores_of_two_rules_are_not_put_together_silently(
    folders: dict[str, Path],
) -> None:
    one, other = (
        valuebias.align(scored({kind: folders["llama"]}).children[kind].to_dataset().load())
        for kind in ("a", "b")
    )
    assert valuebias.schema.concat([one, other]).sizes["model"] == 2
    record = json.loads(other.attrs["provenance"])
    del record["alignment"]["texts"]
    earlier = other.assign_attrs(provenance=json.dumps(record))
    with pytest.warns(ValueBiasWarning, match="aligned by an earlier version"):
        valuebias.schema.concat([one, earlier])


def test_released_files_are_read_by_the_same_rule(tmp_path: Path) -> None:
    prompts = list(valuebias.prompts().table.index)
    models = {"m": {"family": "M", "base": "m"}, "l": {"family": "L", "base": "l"}}

    def file(name: str, tokens: list[str], texts: list[str]) -> Path:
        mass = np.random.default_rng(1).dirichlet(np.ones(len(tokens)), size=len(prompts))
        frame = pd.DataFrame(np.log(mass).T, columns=prompts)
        frame.insert(0, "token_decoded", texts)
        frame.insert(0, "token_name", tokens)
        frame.insert(0, "token_id", range(len(tokens)))
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        return tmp_path / f"{name}.csv"

    stripped = file("m", ["▁love", "love", "▁", "▁▁x", "<0x0A>"], ["love", "love", "", " x", "\n"])
    whole = file("l", ["Ġlove", "love", "Ġ", "ĠĠx", "Ċ"], [" love", "love", " ", "  x", "\n"])
    tree = valuebias.read_logprobs({"m": stripped, "l": whole}, models=models)
    for name in ("m", "l"):
        assert tree[name]["decoded"].to_numpy().tolist() == [" love", "love", " ", "  x", "\n"]
    records = [json.loads(tree[name].attrs["provenance"]) for name in ("m", "l")]
    assert [record.get("spaces_put_back") for record in records] == [3, None]
    assert valuebias.align(tree).sizes["response"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("other", ["llama3_1", "gemma3"])
def test_mistral_shares_its_whole_words_with_others(other: str, tmp_path: Path) -> None:
    names = ("llama2", other)
    folders = {
        name: published_tokenizers.model(name, "llama", "logprob", tmp_path / name)
        for name in names
    }
    tree = scored(folders)
    vocabularies = {}
    for name in names:
        file = json.loads((folders[name] / "tokenizer.json").read_text(encoding="utf-8"))
        vocabularies[name] = file["model"]["vocab"]
    # As the file has them: SentencePiece's own names, of which only those of single bytes are none.
    pieces = {
        token: token.replace("▁", " ")
        for token in vocabularies["llama2"]
        if not token.startswith("<0x")
    }
    ds = tree["llama2"]
    found = dict(zip(ds["response"].to_numpy().tolist(), ds["decoded"].to_numpy(), strict=True))
    assert {token: str(found[token]) for token in pieces} == pieces
    encode = naive.tokenizer(folders[other])
    theirs = {encode.decode([i]) for i in encode.get_vocab().values()}
    shared = {text for text in pieces.values() if text in theirs}
    assert len(shared) == {"llama3_1": 28_979, "gemma3": 31_073}[other]
    aligned = valuebias.align(tree)
    # Single bytes add what is text by itself.
    assert set(aligned["response"].to_numpy().tolist()) == {*shared, "\u2400", "\t", "\n"}
    assert shared >= {" love", "love"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "word"), [("plain", "love"), ("{prompt} {response}", " love")]
)
def test_words_to_raise_are_found_in_a_sentencepiece_vocabulary(
    template: str, word: str, tmp_path: Path
) -> None:
    from valuebias.logprobs.injection.words import Candidates

    folder = published_tokenizers.model("llama2", "llama", "logprob", tmp_path)
    ds = scored({"m": folder})["m"].to_dataset()
    candidates = Candidates(ds, Tokenizer(folder, template=template), [PROMPT], "m")
    drawn = candidates.drawn(np.random.default_rng(1), n_words=20, likeliest=0.5, exclude=None)
    assert len(drawn) == 20
    assert {text[:1].isspace() for text in drawn.values()} == {word[:1].isspace()}
    assert list(candidates.of_words(["love"]).values()) == [word]
