"""Load a model of transformers, and check that its conversations can be computed as a tree."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from valuebias.backends import attention
from valuebias.backends.base import Pack, Source, conversations
from valuebias.backends.heads import Head
from valuebias.backends.layout import inputs
from valuebias.errors import ValueBiasError

__all__ = [
    "Shape",
    "expected",
    "from_files",
    "load",
    "load_tree",
    "made_up",
    "own",
    "quiet",
    "shape",
    "takes_trees",
]

_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""How far hidden states may differ, relative to their size; a wrong mask changes them by half."""
_LEAK = {"float32": 1e-5, "bfloat16": 5e-3, "float16": 1e-3}
"""How much another branch may change them. Nothing, but experts round by how many tokens they get."""
_SHARED = 6
"""How many tokens made-up conversations share."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that decide about memory."""

    hidden: int
    intermediate: int
    vocab_size: int


def shape(config: Any) -> Shape:
    """Read the sizes from a configuration of transformers."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    hidden = int(text.hidden_size)
    return Shape(
        hidden, int(getattr(text, "intermediate_size", None) or 4 * hidden), int(text.vocab_size)
    )


def load(
    source: Source, *, device: torch.device, spread: bool, own_attention: bool
) -> tuple[nn.Module, Head]:
    """Load a model for inference.

    Parameters
    ----------
    source : Source
        Where its files are and what to compute.
    device : torch.device
        Where to.
    spread : bool
        Over all cards instead.
    own_attention : bool
        Whether to leave the model its own attention, for whole conversations.

    Returns
    -------
    model : torch.nn.Module
        The model.
    head : Head
        What reads from it.

    Raises
    ------
    ValueBiasError
        If the files cannot be loaded or lack what is to be read.
    """
    attention.register()
    model, missing = from_files(source, spread=spread, own_attention=own_attention)
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
    model.eval().requires_grad_(False)
    if not spread:
        model.to(device)
    head = Head(model, source)
    if source.kind == "reward" and source.head == "logits" and not hasattr(model, "score"):
        raise ValueBiasError(
            f"{source.name}: {type(model).__name__} has no classification head called 'score'. "
            "Give head='score' for a model whose own output has a score, or a callable."
        )
    return model, head


def load_tree(
    source: Source, *, device: torch.device, spread: bool
) -> tuple[nn.Module, Head] | None:
    """Load a model that computes conversations as trees; None where its architecture cannot.

    Parameters
    ----------
    source, device, spread
        As :func:`load` takes them.

    Returns
    -------
    model : torch.nn.Module
        The model.
    head : Head
        What reads from it.
    """
    try:
        model, head = load(source, device=device, spread=spread, own_attention=False)
    except ValueBiasError:
        # Some architectures know their own attention only. What else is wrong is told without it.
        return None
    return (model, head) if takes_trees(model, source, head) else None


def from_files(source: Source, *, spread: bool, own_attention: bool) -> tuple[Any, set[str]]:
    """Load a model of transformers as its files have it.

    Parameters
    ----------
    source : Source
        Where its files are and what to compute.
    spread : bool
        Whether to put it on all cards; else it is on the CPU.
    own_attention : bool
        Whether to leave the model its own attention.

    Returns
    -------
    model : transformers.PreTrainedModel
        The model.
    missing : set of str
        The weights that the files lack, which are random numbers.

    Raises
    ------
    ValueBiasError
        If the files cannot be loaded.
    """
    import transformers

    if source.kind == "logprob":
        family: Any = transformers.AutoModelForCausalLM
    elif callable(source.head):
        family = transformers.AutoModel
    else:
        family = transformers.AutoModelForSequenceClassification
    options: dict[str, Any] = {
        "dtype": getattr(torch, source.dtype),
        "local_files_only": True,
        "trust_remote_code": source.trust_remote_code,
        "output_loading_info": True,
    }
    if source.labels is not None and family is transformers.AutoModelForSequenceClassification:
        options["num_labels"] = source.labels
    if source.file is None:
        options["use_safetensors"] = True
    else:
        options["gguf_file"] = source.file
        options["quantization_config"] = _dequantised(source.file)
    if spread:
        options["device_map"] = "auto"
    if not own_attention:
        options["attn_implementation"] = attention.NAME
    try:
        with quiet():
            model, info = family.from_pretrained(source.folder, **options)
    except ValueError as error:
        raise _no_class(source, family, error) from error
    except (OSError, KeyError, RuntimeError, ImportError, TypeError) as error:
        raise _unloadable(source, error) from error
    return model, set(info["missing_keys"])


def _unloadable(source: Source, error: Exception) -> ValueBiasError:
    return ValueBiasError(
        f"{source.name}: transformers cannot load {str(source.folder)!r} "
        f"({type(error).__name__}: {error})."
    )


def _no_class(source: Source, family: Any, error: ValueError) -> ValueBiasError:
    """Say in a line where an architecture has no class of the kind; they list all that have."""
    found = re.search(r"Unrecognized configuration class <class '.*?(\w+)'>", str(error))
    if found is None:
        return _unloadable(source, error)
    import transformers

    what, then = "language model", "so it has no log-probs of a next token"
    if source.kind == "reward":
        what = "model with a classification head"
        then = "so it has no reward; if it is a language model, score it with kind='logprob'"
    return ValueBiasError(
        f"{source.name}: transformers {transformers.__version__} has no {what} for {found[1]} "
        f"({family.__name__} does not know it), {then}."
    )


def _dequantised(file: str) -> Any:
    """Ask for plain weights, where this transformers would leave them in blocks."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)
    return None if config is None else config(gguf_file=file, dequantize=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and its report on weights to itself; errors say what matters.

    Yields
    ------
    None
    """
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


def takes_trees(model: Any, source: Source, head: Head) -> bool:
    """Tell whether conversations computed as a tree have the hidden states they have alone.

    A few made-up conversations are compared, which takes a moment and catches masks that a model
    ignores, positions it counts itself, and attention of its own making. Then the tokens of all
    branches but the last are changed: what passes from branch to branch beside the attention, as in
    convolutions and state spaces, may be small and must still not be there.
    """
    pack = made_up(shape(model.config).vocab_size, kind=source.kind)
    place = model.get_input_embeddings().weight.device
    ids, index = _wholes(pack)
    index = index.to(place)
    # All that stands between the beginning and the last branch.
    between = slice(_SHARED, int(index[-1, _SHARED]))
    other = pack.ids.copy()
    other[between] = np.roll(other[between], 1)
    with torch.inference_mode():
        try:
            ours = _tree(head, pack, place)[index]
            beside = _tree(head, replace(pack, ids=other), place)[index]
        except (TypeError, RuntimeError, AttributeError, ValueError, LookupError):
            return False
        if not _alike(beside[-1], ours[-1], _LEAK[source.dtype]):
            return False
        with own(model):
            return _alike(ours, head.hidden(ids.to(place)), _TOLERANCE[source.dtype])


def _tree(head: Head, pack: Pack, place: torch.device) -> Tensor:
    arrays = {k: torch.from_numpy(v).to(place) for k, v in inputs(pack).items()}
    return head.hidden_of_tree(*(arrays[name] for name in ("ids", "position", "end", "trunk")))


def expected(model: Any, head: Head, pack: Pack) -> Tensor:
    """Give the results of a made-up pack from whole conversations, each by itself."""
    ids, _ = _wholes(pack)
    with torch.inference_mode(), own(model):
        if pack.row is None or pack.target is None:
            return head.rewards(head.hidden(ids)[:, -1]).float()
        rows, targets = torch.from_numpy(pack.row), torch.from_numpy(pack.target)
        return cast(Tensor, model(ids).logits[:, -1].double().log_softmax(-1)[rows, targets].float())


@contextmanager
def own(model: Any) -> Iterator[None]:
    """Give a model its own attention for a while."""
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(attention.NAME)


def _alike(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    """Compare vectors, each with its own size."""
    ours, theirs = ours.float(), theirs.float()
    gap = torch.linalg.vector_norm(ours - theirs, dim=-1)
    return bool((gap <= tolerance * torch.linalg.vector_norm(theirs, dim=-1)).all())


def made_up(vocabulary: int, *, kind: str) -> Pack:
    """Make twelve conversations of ten tokens that share the first six."""
    rng = np.random.default_rng(0)
    shared, own_tokens, branches = _SHARED, 4, 12
    length = shared + branches * own_tokens
    start = shared + own_tokens * np.arange(branches)
    position = np.concatenate(
        [np.arange(shared), np.tile(shared + np.arange(own_tokens), branches)]
    )
    end = np.concatenate([np.full(shared, length), np.repeat(start + own_tokens, own_tokens)])
    targets = (
        {}
        if kind == "reward"
        else {
            "row": np.arange(branches),
            "target": rng.integers(0, vocabulary, branches),
        }
    )
    ids = rng.integers(0, vocabulary, length)
    return Pack(ids, position, end, start + own_tokens - 1, **targets)


def _wholes(pack: Pack) -> tuple[Tensor, Tensor]:
    """Give the conversations of a made-up pack one below the other, and their places in it."""
    index = np.stack(conversations(pack)[0])
    return torch.from_numpy(pack.ids[index]), torch.from_numpy(index)
