"""The tokenizer of a GGUF file, as the file means it or refused.

A GGUF file has a vocabulary and merges, and says by a name only how texts are taken apart before.
transformers knows some of these names, takes GPT-2's way for all others, and leaves out what else
they imply.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from valuebias.backends.gguf.files import Contents, read_gguf
from valuebias.errors import ValueBiasError

__all__ = ["mended"]

# Words that are tokens stay whole, whatever the merges make of them.
_LLAMA_3 = ("llama3", "llama-v3", "llama-bpe")
_WHOLE_WORDS = (
    *_LLAMA_3, "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "tekken",
)  # fmt: skip
# What GPT-2 does, and the same after digits have been taken apart: no merge joins digits then.
_LIKE_GPT_2 = (
    "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling",
    "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
)  # fmt: skip


def mended(tokenizer: Any, path: Path, name: str) -> Any:
    """Put right what transformers leaves out of a GGUF file's tokenizer, or refuse."""
    contents = read_gguf(path)
    kind = contents.fields.get("tokenizer.ggml.model")
    if kind == "gpt2":
        _mend_byte_level(tokenizer, contents, name)
    elif kind == "llama":
        _check_pieces(tokenizer, contents, name)
    return tokenizer


def _mend_byte_level(tokenizer: Any, contents: Contents, name: str) -> None:
    way = contents.fields.get("tokenizer.ggml.pre")
    if way not in (*_known(), *_LIKE_GPT_2):
        raise _refused(
            name,
            f"tokenizer.ggml.pre = {way!r}: transformers does not know how texts are taken apart "
            "then, and would do as GPT-2 does",
        )
    backend = tokenizer.backend_tokenizer
    if way in _WHOLE_WORDS:
        backend.model.ignore_merges = True
        if "tokenizer.ggml.add_bos_token" not in contents.fields:
            if way not in _LLAMA_3:
                raise _refused(name, "no word on whether its first token stands before every text")
            _begin(tokenizer)
    if way == "qwen2" and contents.architecture.startswith("qwen"):
        from tokenizers import normalizers

        backend.normalizer = normalizers.NFC()


def _known() -> tuple[str, ...]:
    """Name the ways that this transformers has of its own."""
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:
        return ("llama-bpe", "qwen2")
    return tuple(GGUF_PRE_TOKENIZER_SPLITS)


def _begin(tokenizer: Any) -> None:
    """Put the first token before every text, as Llama 3 does, whose files do not say so."""
    from tokenizers import processors

    token = tokenizer.bos_token
    if token is not None:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{token} $A",
            pair=f"{token} $A $B",
            special_tokens=[(token, tokenizer.bos_token_id)],
        )


def _check_pieces(tokenizer: Any, contents: Contents, name: str) -> None:
    """Compare what stands before a word at the beginning with what the file says."""
    pieces = tokenizer.convert_ids_to_tokens(tokenizer.encode("a", add_special_tokens=False))
    has_blank = bool(pieces) and pieces[0].startswith("\u2581")
    wanted = bool(contents.fields.get("tokenizer.ggml.add_space_prefix", True))
    if has_blank is not wanted:
        raise _refused(
            name,
            f"tokenizer.ggml.add_space_prefix = {wanted}, and transformers' tokenizer puts "
            f"{'a blank' if has_blank else 'no blank'} before every text",
        )
    if contents.fields.get("tokenizer.ggml.remove_extra_whitespaces"):
        raise _refused(name, "tokenizer.ggml.remove_extra_whitespaces = True")


def _refused(name: str, fact: str) -> ValueBiasError:
    return ValueBiasError(
        f"The GGUF file of {name!r} has {fact}. Give the tokenizer of the model's own repository "
        "by tokenizer=."
    )
