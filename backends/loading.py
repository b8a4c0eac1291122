"""Load a model of transformers: from its folder or a GGUF file, and nothing else than it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from valuebias._core.foreign import reading
from valuebias.backends import attention, reward_heads
from valuebias.backends.base import STEPS, Source
from valuebias.backends.comparing import check_own, eager, running, takes_trees
from valuebias.backends.configuration import head_width
from valuebias.backends.gguf.config import gguf_config
from valuebias.backends.gguf.files import read_gguf, whole
from valuebias.backends.heads import Head
from valuebias.errors import ValueBiasError, few

if TYPE_CHECKING:
    from valuebias.backends.adapters import Bases

__all__ = ["ADAPTER", "from_files", "load", "load_gguf", "load_tree", "quiet"]

ADAPTER = "adapter_config.json"
_TOKENS = "AutoModelForTokenClassification"
_IN_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.\d+\.")
_MADE_ANEW = ("inv_freq", ".masked_bias", ".attn.bias", ".attention.bias", "num_batches_tracked")
"""Endings of buffers' names that older checkpoints hold although models compute them."""


def load(
    source: Source,
    *,
    device: torch.device,
    spread: bool,
    own_attention: bool,
    bases: Bases | None = None,
) -> tuple[nn.Module, Head]:
    """Load a model for inference; of adapters, their base from `bases` where it is there."""
    attention.register()

    def read() -> tuple[Any, set[str], list[str]]:
        return from_files(source, spread=spread, own_attention=own_attention)

    if bases is None or not source.shared or spread:
        model, missing, spare = read()
    else:
        key = (*source.loaded_alike(), own_attention)
        model, missing, spare = bases.loaded(source, key, read)
    if source.adapter is not None:
        from valuebias.backends.adapters import merged

        model, brought = merged(model, source, own_attention=own_attention)
        missing -= brought
    if missing:
        absent = sorted(missing)
        raise ValueBiasError(
            f"{source.name}: the files lack weights that the model needs ({', '.join(absent[:3])}"
            f"{' ...' if len(absent) > 3 else ''}), which would be random numbers. "
            + (
                "This looks like a language model without a reward head: score it with "
                "kind='logprob', or give head= a callable."
                if source.kind == "reward"
                else "Check the download."
            )
        )
    if spare:
        raise ValueBiasError(
            f"{source.name}: the files have weights of layers for which the model, as config.json "
            f"describes it, has no place ({few(spare, limit=3)}), and without which its numbers "
            "would be wrong. Compare config.json with the model as it was published: the number of "
            "layers, biases, experts."
        )
    with running(source, model):
        model.eval().requires_grad_(False)
        if not spread:
            model.to(device)
        head = Head(model, source)
    named = source.kind == "reward" and source.head == "logits" and not source.own_code
    if named and not isinstance(getattr(model, "score", None), nn.Module):
        raise ValueBiasError(
            f"{source.name}: {type(model).__name__} has no classification head called 'score'. "
            "Give head='score' for a model whose own output has a score, or a callable."
        )
    if named and source.as_own:
        with quiet(), running(source, model), nullcontext() if own_attention else eager(model):
            check_own(model, head, source)
    return model, head


def load_tree(
    source: Source, *, device: torch.device, spread: bool, bases: Bases | None = None
) -> tuple[nn.Module, Head] | None:
    """Load a model that computes conversations as trees; None where its architecture cannot."""
    try:
        model, head = load(source, device=device, spread=spread, own_attention=False, bases=bases)
    except ValueBiasError:
        # Some architectures accept their own attention only. With it, other faults are reported.
        return None
    return (model, head) if takes_trees(model, source, head) else None


def from_files(
    source: Source, *, spread: bool, own_attention: bool, new_head: int | None = None
) -> tuple[Any, set[str], list[str]]:
    """Load a model; name the weights that it lacks, and those of layers that it does not take.

    A classifier gets the head that its files have; or a new one: of one layer where `new_head` is
    0, else of two, so wide.
    """
    import transformers

    if source.kind == "logprob":
        family: Any = transformers.AutoModelForCausalLM
    elif callable(source.head):
        family = transformers.AutoModel
    elif source.head == STEPS:
        family = _classifier_of_tokens(source)
    else:
        family = transformers.AutoModelForSequenceClassification
    options: dict[str, Any] = {
        "dtype": getattr(torch, source.dtype),
        "local_files_only": True,
        "trust_remote_code": source.trust_remote_code,
        "output_loading_info": True,
    }
    classifies = (
        transformers.AutoModelForSequenceClassification,
        transformers.AutoModelForTokenClassification,
    )
    if source.labels is not None and family in classifies:
        options["num_labels"] = source.labels
    if source.file is None and (Path(source.folder) / ADAPTER).is_file():
        # transformers would apply it to the weights, so it is made to look in another folder.
        options["adapter_kwargs"] = {"subfolder": "no adapter"}
    if spread:
        options["device_map"] = "auto"
    if not own_attention:
        options["attn_implementation"] = attention.NAME
    subject = f"{source.name}: {str(source.folder)!r}"
    because = "its files are damaged, or another version of transformers wrote them"
    advice = "Download or save the model again."
    with quiet(), reading(subject, because=because, advice=advice, verb="loaded by transformers"):
        if source.file is not None:
            return (*load_gguf(source, family, options), [])
        options["use_safetensors"] = True
        if family is transformers.AutoModelForSequenceClassification and not source.own_code:
            family = _with_head(source, family, new_head)
        try:
            model, info = family.from_pretrained(source.folder, **options)
        except ValueError as error:
            _check_class(source, family, error)
            raise
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueBiasError(
            f"{source.name}: this version of transformers puts the adapter in "
            f"{str(source.folder)!r} ({ADAPTER}) on top of the weights beside it. Move the files "
            "that begin with 'adapter_' to another folder, to score the weights as they are."
        )
    # A layer's weights, not an unused head's or of a table that models compute.
    unexpected = (key for key in info["unexpected_keys"] if not key.endswith(_MADE_ANEW))
    spare = sorted(filter(_IN_LAYER.search, unexpected))
    return model, set(info["missing_keys"]), spare


def _with_head(source: Source, family: Any, new_head: int | None) -> Any:
    """Find the class of a reward model whose head has two layers; else leave it as it is."""
    from transformers import AutoConfig

    stated = head_width(Path(source.folder), source.name)
    width = stated if new_head is None else new_head
    if not width:
        return family
    config = AutoConfig.from_pretrained(
        source.folder, trust_remote_code=source.trust_remote_code, local_files_only=True
    )
    return reward_heads.classifier(config, width, source.name)


def _classifier_of_tokens(source: Source) -> Any:
    """Find the class of a process reward model: code of its own may know it as a bare model."""
    import transformers

    path = Path(source.folder) / "config.json"
    stated = json.loads(path.read_text(encoding="utf-8")).get("auto_map") or {}
    if source.trust_remote_code and set(stated) & {"AutoModel", _TOKENS} == {"AutoModel"}:
        return transformers.AutoModel
    return transformers.AutoModelForTokenClassification


def _check_class(source: Source, family: Any, error: ValueError) -> None:
    """Shorten transformers' error on an architecture without such a class: it lists all others."""
    named = re.search(r"Unrecognized configuration class <class '.*?(\w+)'>", str(error))
    if named is None:
        return
    import transformers

    noun, then = "language model", "so it has no log-probs of a next token"
    if source.kind == "reward":
        noun = "model with a classification head"
        then = "so it has no reward; if it is a language model, score it with kind='logprob'"
    raise ValueBiasError(
        f"{source.name}: transformers {transformers.__version__} has no {noun} for {named[1]} "
        f"({family.__name__} does not know it), {then}."
    ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and its report on weights; errors say what matters."""
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.ERROR)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()


def load_gguf(source: Source, family: Any, options: dict[str, Any]) -> tuple[Any, set[str]]:
    """Load a model from a GGUF file, or from all its parts."""
    import transformers

    path = source.folder / str(source.file)
    config = gguf_config(path, source.name)
    labels = options.pop("num_labels", None)
    if labels is not None and labels != config.num_labels:
        config.num_labels = labels
    quantised = getattr(transformers, "GgufConfig", None)
    with whole(path) as file:
        if quantised is not None:
            # Plain weights, where this transformers would leave them in blocks.
            options["quantization_config"] = quantised(gguf_file=file.name, dequantize=True)
        model, info = family.from_pretrained(
            file.parent, config=config, gguf_file=file.name, **options
        )
    missing = set(info["missing_keys"])
    if hasattr(model, "score"):
        missing -= _put_head(model, source)
    return model, missing


def _put_head(model: Any, source: Source) -> set[str]:
    """Copy the file's head into the classifier; transformers does not know its name."""
    small = read_gguf(source.folder / str(source.file)).small
    weight, bias = small.get("cls.output.weight"), small.get("cls.output.bias")
    if weight is None:
        return set()
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    head.weight.data = torch.from_numpy(weight.copy())
    if bias is not None:
        head.bias.data = torch.from_numpy(bias.copy())
    # In float32 as in the file, whatever the body is in.
    model.score = head.to(device=model.score.weight.device)
    return {"score.weight", "score.bias"}
