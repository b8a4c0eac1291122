"""Load a tokenizer as its own files describe it.

transformers builds many tokenizers again from the vocabulary in tokenizer.json, by the class that
their configuration names: where that is another kind of tokenizer than the file's, spaces are lost
or texts are cut in other places, and nothing says so. What the file has is what the model was
trained with.
"""

from __future__ import annotations

import hashlib
import json
import os
import string
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from valuebias._core.checks import check_installed
from valuebias._core.foreign import read_json, reading
from valuebias.backends.gguf.tokenizer import mended
from valuebias.errors import ValueBiasError
from valuebias.models.weights import companions, digest, digest_files

__all__ = ["Loaded", "load_tokenizer", "settings_of", "shared_tokenizer"]

FILE = "tokenizer.json"
_PARTS = {
    "normalizer": "normaliser",
    "pre_tokenizer": "pre-tokenizer",
    "model": "model",
    "post_processor": "post-processor",
    "decoder": "decoder",
}
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
# Where mistral-common is installed, its classes take folders over that hold its own format; they
# have neither chat templates nor a tokenizer that could be compared with a file.
_BESIDE = "MistralCommon"
_AT_RANDOM = ("dropout", "alpha", "nbest_size")
_PROBE = "Which of these words would you say is the very best thing ever? " * 4
_TRIES = 3
# A pair is what is compared most often; a large vocabulary takes some 200 MB.
_KEPT = 2
_shared: OrderedDict[str, Loaded] = OrderedDict()
_LOOKED_AT = 4096


@dataclass(frozen=True)
class Loaded:
    """A tokenizer, and where it came from."""

    tokenizer: Any  # ready to use
    source: str  # the name of the file that it was made of
    changed: tuple[str, ...] = ()  # the parts of the file that transformers would have changed
    # Whether that file only lists tokens, and does not say how texts are cut.
    is_vocabulary: bool = False
    # The settings that cut texts at random during training, switched off.
    stilled: tuple[str, ...] = ()

    @cached_property
    def hashed(self) -> hashlib._Hash:
        """The SHA-256 of all that turns a text into ids; add more to a copy of it."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            text = json.dumps([type(self.tokenizer).__name__, self.tokenizer.get_vocab()])
        else:
            # Truncation and padding are settings of a call, and are not used here.
            backend.no_truncation()
            backend.no_padding()
            text = backend.to_str()
        return hashlib.sha256(text.encode())

    @cached_property
    def texts(self) -> TokenTexts:
        """What each of its tokens adds to a text."""
        return TokenTexts(self.tokenizer)


def load_tokenizer(path: Path, name: str, *, trust: bool) -> Loaded:
    """Load a tokenizer from a folder or out of a GGUF file."""
    loaded = _loaded(path, name, trust=trust)
    with reading(f"The tokenizer of {name!r}", verb="used", advice="Give another by tokenizer=."):
        return replace(loaded, stilled=_still(loaded.tokenizer, name))


def _loaded(path: Path, name: str, *, trust: bool) -> Loaded:
    """Load a tokenizer as its files describe it."""
    folder, file = (path, None) if os.path.isdir(path) else (path.parent, path.name)
    gguf = file if file is not None and file.lower().endswith(".gguf") else None
    tokenizer_json = folder / FILE
    with reading(
        f"The tokenizer of {name!r} from {os.fspath(path)!r}",
        verb="loaded",
        advice="Expected tokenizer.json and its companions, or a GGUF file; give another tokenizer "
        f"by tokenizer=.{_needs(folder)}",
    ):
        for settings in _SETTINGS:
            _json(folder / settings)
        if tokenizer_json.is_file() and (folder / "tekken.json").is_file():
            tokenizer = _plainly(folder)
        else:
            tokenizer = _by_transformers(folder, gguf, trust=trust)
        if gguf is not None:
            return Loaded(mended(tokenizer, path, name), "the GGUF file")
        if type(tokenizer).__module__.startswith("transformers_modules"):
            return Loaded(tokenizer, "the code that comes with it")
        if not tokenizer_json.is_file():
            names = ("tokenizer.model", "tekken.json", "spiece.model", "vocab.json", "vocab.txt")
            source = next((n for n in names if (folder / n).is_file()), "its vocabulary")
            return Loaded(tokenizer, source, is_vocabulary=True)
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            tokenizer = _plainly(folder)
        return Loaded(tokenizer, FILE, _as_filed(tokenizer, tokenizer_json, name))


def _still(tokenizer: Any, name: str) -> tuple[str, ...]:
    """Switch off settings that cut texts at random, which are for training."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    stilled = []
    for setting in _AT_RANDOM if backend is not None else ():
        value = getattr(backend.model, setting, None)
        if value:
            stilled.append(f"{setting} {value:.4g}")
        if value is not None:
            setattr(backend.model, setting, None)
    settings = getattr(tokenizer, "sp_model_kwargs", None) if backend is None else None
    sampled = bool(settings and settings.get("enable_sampling"))
    cuts = {str(tokenizer(_PROBE, verbose=False)["input_ids"]) for _ in range(_TRIES)}
    if sampled or len(cuts) > 1:
        by = "sp_model_kwargs: enable_sampling" if sampled else "by code of its own"
        raise ValueBiasError(
            f"The tokenizer of {name!r} cuts texts at random ({by}), as for training, so that no "
            "two runs give the same scores. Take that out of its files, or give another tokenizer "
            "by tokenizer=."
        )
    return tuple(stilled)


def shared_tokenizer(path: Path, name: str, *, trust: bool) -> Loaded:
    """Load a tokenizer, or reuse one that was loaded from files with the same content.

    Many models have the tokenizer of their base, and loading one takes longer than scoring a few
    words does.
    """
    if trust or not path.exists():
        return load_tokenizer(path, name, trust=trust)
    content = digest_files(path, companions(path)) if path.is_dir() else digest([path])
    loaded = _shared.pop(content, None) or load_tokenizer(path, name, trust=False)
    _shared[content] = loaded
    while len(_shared) > _KEPT:
        _shared.popitem(last=False)
    return loaded


def settings_of(folder: Path) -> dict[str, Any]:
    """Read tokenizer_config.json; empty where there is none."""
    content = _json(folder / _SETTINGS[0])
    return content if isinstance(content, dict) else {}


def _json(file: Path) -> Any:
    """Read settings; empty where there are none."""
    return read_json(file, advice="Download or save it again.") if file.is_file() else {}


def _transformers() -> Any:
    check_installed("transformers", extra="torch", other="onnx", after=", and tokenising needs it")
    import transformers

    return transformers


def _by_transformers(folder: Path, gguf: str | None, *, trust: bool) -> Any:
    transformers = _transformers()
    options: dict[str, Any] = {} if gguf is None else {"gguf_file": gguf}
    if int(transformers.__version__.partition(".")[0]) >= 5:
        options["mistral_format"] = False
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        os.fspath(folder), trust_remote_code=trust, local_files_only=True, **options
    )
    if type(tokenizer).__name__.startswith(_BESIDE):
        raise ValueError("mistral-common has taken over the folder, and has no chat templates")
    return tokenizer


def _plainly(folder: Path) -> Any:
    """Load tokenizer.json with the class that adds nothing to it."""
    return _transformers().PreTrainedTokenizerFast.from_pretrained(
        os.fspath(folder), local_files_only=True
    )


def _as_filed(tokenizer: Any, file: Path, name: str) -> tuple[str, ...]:
    """Replace the parts that transformers changed by the file's; return their names."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    filed, loaded = Tokenizer.from_file(os.fspath(file)), tokenizer.backend_tokenizer
    # Only then is a model compared, since comparing vocabularies takes seconds.
    is_made_anew = type(tokenizer) is not PreTrainedTokenizerFast
    changed = [
        part_name
        for part, part_name in _PARTS.items()
        if (part != "model" or is_made_anew)
        and _state(getattr(filed, part)) != _state(getattr(loaded, part))
    ]
    added = {token.content: token for token in filed.get_added_tokens_decoder().values()}
    extra = {
        i: token
        for i, token in sorted(loaded.get_added_tokens_decoder().items())
        if repr(token) != repr(added.get(token.content))
    }
    if not changed and not extra:
        return ()
    mentioned, stated = _mentioned(file.parent), _stated_numbers(file.parent)
    wanted = {i: t for i, t in extra.items() if t.content not in added and t.content in mentioned}
    if len(wanted) < len(extra):
        changed.append("added tokens")
    for token in wanted.values():
        (filed.add_special_tokens if token.special else filed.add_tokens)([token])
        number = filed.token_to_id(token.content)
        if number != stated.get(token.content, number):
            raise ValueBiasError(
                f"The tokenizer of {name!r} contradicts itself: {token.content!r} is the token "
                f"{stated[token.content]} by its settings and {number} after those of {FILE}. "
                "Take both from the checkpoint as it was published, or give another tokenizer by "
                "tokenizer=."
            )
    if not changed:
        return ()
    filed.no_truncation()
    filed.no_padding()
    filed.encode_special_tokens = loaded.encode_special_tokens
    tokenizer._tokenizer = filed
    for role in _SPECIAL:
        token = getattr(tokenizer, role, None)
        # A special token that a class names by default and the file lacks does not exist.
        if token is not None and filed.token_to_id(str(token)) is None:
            setattr(tokenizer, role, None)
    return tuple(changed)


def _state(part: Any) -> bytes | None:
    return None if part is None else bytes(part.__getstate__())


def _stated_numbers(folder: Path) -> dict[str, int]:
    """Read the ids that the settings give to added tokens."""
    listed = settings_of(folder).get("added_tokens_decoder") or {}
    return {
        str(token["content"]): int(number)
        for number, token in listed.items()
        if isinstance(token, dict) and "content" in token
    }


def _mentioned(folder: Path) -> set[str]:
    """Collect every text in the settings, among them the tokens that they add."""
    texts: set[str] = set()
    for name in _SETTINGS:
        file = folder / name
        if file.is_file():
            _collect(_json(file), texts)
    return texts


def _collect(value: Any, texts: set[str]) -> None:
    if isinstance(value, str):
        texts.add(value)
    elif isinstance(value, dict):
        texts.update(map(str, value))
        for inner in value.values():
            _collect(inner, texts)
    elif isinstance(value, list):
        for inner in value:
            _collect(inner, texts)


def _needs(folder: Path) -> str:
    """Return what to install to read other formats."""
    if (folder / FILE).is_file():
        return ""
    needed = {"tokenizer.model": "sentencepiece protobuf", "tekken.json": "mistral-common"}
    for file, packages in needed.items():
        if (folder / file).is_file():
            return f" (To read {file}, run: pip install {packages})"
    return ""


class TokenTexts:
    """What each token of a tokenizer adds to a text.

    Decoders of SentencePiece vocabularies (Llama 2, Mistral 7B) drop the space that a text begins
    with, so that a token such as "▁love", decoded alone, loses the space that is its own. So tokens
    are decoded after another one, whose text is then taken off.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def names(self) -> dict[int, str]:
        """The raw name of each token, in the order of their numbers."""
        return dict(sorted((i, name) for name, i in self._tokenizer.get_vocab().items()))

    @cached_property
    def every(self) -> list[str]:
        """The text of each of them, in the same order."""
        return self.of(list(self.names))

    def of(self, ids: Sequence[int]) -> list[str]:
        """Return the text that each token adds to a text."""
        if self._anchor is None:
            return decode_each(self._tokenizer, [[token] for token in ids])
        token, text = self._anchor
        decoded = decode_each(self._tokenizer, [[token, i] for i in ids])
        # Where a decoder changes the text before a token, only its text alone is known.
        odd = [at for at, whole in enumerate(decoded) if whole[: len(text)] != text]
        size = len(text)
        if not odd:
            return [whole[size:] for whole in decoded]
        single = decode_each(self._tokenizer, [[ids[at]] for at in odd])
        alone = dict(zip(odd, single, strict=True))
        return [alone.get(at, whole[size:]) for at, whole in enumerate(decoded)]

    @cached_property
    def _anchor(self) -> tuple[int, str] | None:
        """A token whose text stays the same with another one before or after it."""
        letters = set(string.ascii_letters)
        candidates = [i for i, name in self.names.items() if name in letters]
        return self._steady(candidates) or self._steady(list(self.names)[:_LOOKED_AT])

    def _steady(self, candidates: Sequence[int]) -> tuple[int, str] | None:
        once = decode_each(self._tokenizer, [[i] for i in candidates])
        twice = decode_each(self._tokenizer, [[i, i] for i in candidates])
        for token, text, both in zip(candidates, once, twice, strict=True):
            if text.isprintable() and text.strip() and "\ufffd" not in text and both == 2 * text:
                return token, text
        return None


def decode_each(tokenizer: Any, sequences: Sequence[Sequence[int]]) -> list[str]:
    """Decode sequences as the tokenizer does, special tokens included and white space kept."""
    from transformers import PreTrainedTokenizerFast as Fast

    kind = type(tokenizer)
    if issubclass(kind, Fast) and kind.decode is Fast.decode and kind._decode is Fast._decode:
        # As its decode does, without the check of every number of every sequence.
        return list(
            tokenizer.backend_tokenizer.decode_batch(
                [list(sequence) for sequence in sequences], skip_special_tokens=False
            )
        )
    return [
        tokenizer.decode(
            list(sequence), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        for sequence in sequences
    ]
