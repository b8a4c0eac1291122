"""Load a model of transformers, and check how its conversations can be computed."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from valuebias._core.foreign import reading
from valuebias.backends import attention
from valuebias.backends.base import Pack, Source, conversations, reading_place
from valuebias.backends.gguf.config import gguf_config
from valuebias.backends.gguf.files import read_gguf, whole
from valuebias.backends.heads import Head
from valuebias.backends.packing import inputs
from valuebias.errors import ValueBiasError, few

__all__ = [
    "ADAPTER",
    "TOLERANCE",
    "Shape",
    "check",
    "eager",
    "expected",
    "from_files",
    "load",
    "load_tree",
    "made_up",
    "near",
    "quiet",
    "running",
    "shape",
    "takes_trees",
    "tree",
]

ADAPTER = "adapter_config.json"
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""How far hidden states may differ, relative to their size; a wrong mask changes them by half."""
_LEAK = {"float32": 1e-5, "bfloat16": 5e-3, "float16": 1e-3}
"""How much another branch may change them: nothing, but that experts round by their tokens."""
_IN_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.\d+\.")
_MADE_ANEW = ("inv_freq", ".masked_bias", ".attn.bias", ".attention.bias", "num_batches_tracked")
"""Endings of buffers' names that older checkpoints hold although models compute them."""
_SHARED = 6
"""How many tokens made-up conversations share."""
# What configurations call how far back a token sees, and the layers that it is about.
_WINDOWS = {
    "sliding_window": "sliding_attention",
    "sliding_window_size": "sliding_attention",
    "window_size": "sliding_attention",
    "local_attention": "sliding_attention",
    "attention_window_size": "sliding_attention",
    "attention_chunk_size": "chunked_attention",
}
_LOGITS_APART = {"float32": 1e-4, "bfloat16": 0.02, "float16": 5e-3}
"""How far logits may differ, relative to the largest. Both are computed in the same arithmetic."""
_MADE_UP = (3, 9)
"""Number of made-up conversations, and of tokens in each."""


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
    """Load a model for inference."""
    attention.register()
    model, missing, spare = from_files(source, spread=spread, own_attention=own_attention)
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
            _check_own(model, head, source)
    return model, head


def running(source: Source, model: Any) -> AbstractContextManager[None]:
    """Name the model in errors of running it: its configuration may be contradictory."""
    return reading(
        f"{source.name}: {type(model).__name__} as its configuration has it",
        verb="run",
        because="the configuration is damaged, or transformers has a fault there",
        advice="Download or save the model again; if it is whole, please report this architecture.",
    )


def load_tree(
    source: Source, *, device: torch.device, spread: bool
) -> tuple[nn.Module, Head] | None:
    """Load a model that computes conversations as trees; None where its architecture cannot."""
    try:
        model, head = load(source, device=device, spread=spread, own_attention=False)
    except ValueBiasError:
        # Some architectures accept their own attention only. With it, other faults are reported.
        return None
    return (model, head) if takes_trees(model, source, head) else None


def _check_own(model: Any, head: Head, source: Source) -> None:
    """Compare rewards with those of the model's own class, on conversations that end in padding."""
    padding, size = model.config.get_text_config().pad_token_id, shape(model.config).vocab_size
    device = model.get_input_embeddings().weight.device
    ours, theirs = [], []
    with torch.inference_mode():
        for ids in _padded(size, padding):
            row = torch.from_numpy(ids)[None].to(device)
            # Cut as the core cuts conversations: where later tokens matter, that shows as well.
            cut = row[:, : reading_place(ids, padding) + 1]
            ours.append(head.rewards(head.hidden(cut)[:, -1])[0].cpu())
            logits = model(row).logits.float().cpu()
            theirs.append(logits[0, source.label] if logits.ndim == 2 else logits.flatten()[0])
    scores, expected = torch.stack(ours), torch.stack(theirs)
    if near(scores, expected, TOLERANCE[source.dtype]):
        return
    worst = int((scores - expected).abs().argmax())
    raise ValueBiasError(
        f"{source.name}: {type(model).__name__} gives a conversation the reward "
        f"{expected[worst]:.4g}, and its layer 'score' gives {scores[worst]:.4g} at the last token "
        "that is not padding. So the class reads elsewhere, or does more than that layer. Give "
        "reward_at='last' to take the layer at the end of the conversation, or head= a function of "
        "the hidden states."
    )


def _padded(vocabulary: int, padding: int | None) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Make conversations with the padding token nowhere, in the middle, and at the end."""
    rng = np.random.default_rng(1)
    conversations = [rng.integers(0, vocabulary, 10) for _ in range(4)]
    if padding is not None and 0 <= padding < vocabulary:
        for ids, padded in zip(conversations[1:], ([4], [9], [3, 8, 9]), strict=True):
            ids[padded] = padding
    return conversations


def from_files(
    source: Source, *, spread: bool, own_attention: bool
) -> tuple[Any, set[str], list[str]]:
    """Load a model; name the weights that it lacks, and those of layers that it does not take."""
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


def takes_trees(model: Any, source: Source, head: Head) -> bool:
    """Check that conversations computed as a tree have the hidden states they have alone.

    A few made-up conversations are compared, which takes a moment and catches masks that a model
    ignores, positions it counts itself, and attention of its own making. Then the tokens of all
    branches but the last are changed: what passes from branch to branch beside the attention, as in
    convolutions and state spaces, may be small and must still not be there. Up to which length all
    that holds is noted in ``head.reach``.
    """
    pack = made_up(shape(model.config).vocab_size, kind=source.kind)
    device = model.get_input_embeddings().weight.device
    ids, index = _wholes(pack)
    index = index.to(device)
    # All that stands between the beginning and the last branch.
    between = slice(_SHARED, int(index[-1, _SHARED]))
    other = pack.ids.copy()
    other[between] = np.roll(other[between], 1)
    with torch.inference_mode():
        try:
            with attention.observed() as windows:
                ours = tree(head, pack, device)[index]
            head.reach = reach(head.config, windows)
            beside = tree(head, replace(pack, ids=other), device)[index]
        except Exception:  # noqa: BLE001 - what another architecture makes of a tree may be anything
            return False
        if not near(beside[-1], ours[-1], _LEAK[source.dtype]):
            return False
        with eager(model):
            return near(ours, head.hidden(ids.to(device)), TOLERANCE[source.dtype])


def tree(head: Head, pack: Pack, device: torch.device) -> Tensor:
    """Return the hidden states of a pack, computed as a tree."""
    arrays = {k: torch.from_numpy(v).to(device) for k, v in inputs(pack).items()}
    return head.hidden_of_tree(*(arrays[name] for name in ("ids", "position", "end", "trunk")))


def expected(model: Any, head: Head, pack: Pack) -> Tensor:
    """Return the results of a made-up pack from whole conversations, each by itself."""
    ids, _ = _wholes(pack)
    with torch.inference_mode(), eager(model):
        if pack.row is None or pack.target is None:
            return head.rewards(head.hidden(ids)[:, -1]).float()
        rows, targets = torch.from_numpy(pack.row), torch.from_numpy(pack.target)
        logprobs = model(ids).logits[:, -1].double().log_softmax(-1)
        return cast(Tensor, logprobs[rows, targets].float())


@contextmanager
def eager(model: Any) -> Iterator[None]:
    """Use transformers' own attention for a while."""
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(attention.NAME)


def near(ours: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Compare vectors relative to their size; NaN passes here, because scoring reports it."""
    ours, expected = ours.float(), expected.float()
    gap = torch.linalg.vector_norm(ours - expected, dim=-1)
    size = torch.linalg.vector_norm(expected, dim=-1)
    return bool(((gap <= tolerance * size) | ~size.isfinite()).all())


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
    """Return the conversations of a made-up pack one below the other, and their positions in it."""
    index = np.stack(conversations(pack)[0])
    return torch.from_numpy(pack.ids[index]), torch.from_numpy(index)


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


def reach(config: Any, windows: Collection[int]) -> int | None:
    """Return up to how many tokens a tree gives the results of whole conversations.

    Some models know sliding windows in their own masks only, and some turn positions differently
    once any of a batch is far enough.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(sliding_window=512, attention_chunk_size=8192)
    >>> reach(config, {512}), reach(config, ())
    (8192, 512)
    """
    return min((*_masked(config, windows), *_turned(config)), default=None)


def _masked(config: Any, windows: Collection[int]) -> Iterator[int]:
    """Return the windows that only the model's own masks know."""
    layers = getattr(config, "layer_types", None)
    for name, kind in _WINDOWS.items():
        size = getattr(config, name, None)
        if not isinstance(size, int) or isinstance(size, bool) or size <= 0 or size in windows:
            continue
        if name == "sliding_window" and getattr(config, "use_sliding_window", None) is False:
            continue
        if layers is None or kind in layers:
            yield size


def _turned(config: Any) -> Iterator[int]:
    """Return the lengths beyond which rotary embeddings turn all positions differently."""
    ropes = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(ropes, Mapping):
        return
    for rope in (ropes, *(part for part in ropes.values() if isinstance(part, Mapping))):
        kind = str(rope.get("rope_type") or rope.get("type") or "")
        if kind not in ("longrope", "su", "dynamic"):
            continue
        longest = getattr(config, "max_position_embeddings", None)
        if kind != "dynamic":
            longest_trained = getattr(config, "original_max_position_embeddings", None)
            longest = rope.get("original_max_position_embeddings") or longest_trained or longest
        if isinstance(longest, int):
            yield longest


def check(model: Any, source: Source, head: Head) -> None:
    """Refuse a language model whose own logits are not those that are read here.

    Made-up conversations are computed by its own ``forward``, and as the scorer reads them, so that
    nothing that a model does to its logits is lost silently. Then the last token is changed, which
    changes nothing before it in a decoder.
    """
    if source.kind == "reward":  # compared with the model's own class by :func:`load`
        return
    apart = _LOGITS_APART[source.dtype]
    own_attention = model.config._attn_implementation != attention.NAME
    with (
        torch.inference_mode(),
        running(source, model),
        nullcontext() if own_attention else eager(model),
    ):
        ids = _conversations(model)
        plain = model(input_ids=ids).logits.float()
        changed = ids.clone()
        changed[:, -1] = ids[:, -2]
        after = model(input_ids=changed).logits.float()
        if _gap(after[:, :-1], plain[:, :-1]) > apart:
            raise ValueBiasError(
                f"{source.name}: {type(model).__name__} is an encoder as it is configured: its "
                "tokens see those that come after them, so it has no log-probs of a next token. "
                "Expected a decoder alone, such as Llama, Gemma, Qwen or Mistral."
            )
        gap = _gap(head.logits(head.hidden(ids).flatten(0, 1)).reshape(plain.shape), plain)
    if not gap <= apart:
        raise ValueBiasError(
            f"{source.name}: {type(model).__name__} itself gives other logits than are read from "
            f"its hidden states (off by {gap:.2g} of their size), so it is not scored. Please "
            "report this architecture."
        )


def _conversations(model: Any) -> Tensor:
    """Make up conversations without the model's padding token."""
    size = shape(model.config).vocab_size
    device = model.get_input_embeddings().weight.device
    ids = torch.randint(size, _MADE_UP, generator=torch.Generator().manual_seed(0))
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    ids = torch.where(ids == (-1 if padding is None else padding), (ids + 1) % size, ids)
    return ids.to(device)


def _gap(ours: Tensor, expected: Tensor) -> float:
    """Compare logits up to a constant at each position, which log-probs do not have."""
    finite = expected.isfinite()  # tokens may be ruled out; scoring reports NaN
    ours, expected = (torch.where(finite, values, 0.0) for values in (ours, expected))
    centred = expected - expected.mean(-1, keepdim=True)
    gap = (ours - ours.mean(-1, keepdim=True)) - centred
    return float(gap.abs().max() / centred.abs().max().clamp(min=1e-6))
