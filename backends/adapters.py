"""Merge adapters (LoRA) into the weights of a model, by peft; keep a base for several of them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from valuebias._core.foreign import reading
from valuebias.backends import memory
from valuebias.backends.base import Source
from valuebias.backends.comparing import TOLERANCE, eager, near, running
from valuebias.backends.configuration import shape
from valuebias.errors import ValueBiasError, few

__all__ = ["Bases", "merged", "version"]

_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_MERGE = "Merge it yourself (peft: merge_and_unload), save the result and give that."


class Bases:
    """The base of several adapters, as it was loaded; one at a time."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._base: tuple[Any, set[str], list[str]] | None = None

    def loaded(
        self,
        source: Source,
        key: tuple[Any, ...],
        load: Callable[[], tuple[Any, set[str], list[str]]],
    ) -> tuple[Any, set[str], list[str]]:
        """Load the base of a model, or take it from the one before; the caller may change it."""
        if self._base is None or self._key != key:
            self.clear()
            self._base, self._key = load(), key
        model, missing, spare = self._base
        return _beside(model, source), set(missing), list(spare)

    def clear(self) -> None:
        """Let go of the base."""
        if self._base is not None:
            self._key = self._base = None
            memory.release()


def _beside(model: nn.Module, source: Source) -> nn.Module:
    """Copy a model, but of its weights only those that an adapter will change.

    Parameters are objects of their own in the copy: what is put into them stays out of the base.
    """
    changed = () if source.adapter is None else _keys(source)
    memo: dict[int, Any] = {}
    touched = {
        id(weight)
        for name, weight in model.named_parameters(remove_duplicate=False)
        if any(key.startswith(f"{name.rpartition('.')[0]}.") for key in changed)
    }
    for weight in model.parameters():
        data = weight.detach().clone() if id(weight) in touched else weight.data
        memo[id(weight)] = nn.Parameter(data, requires_grad=False)
    return copy.deepcopy(model, memo)


def _keys(source: Source) -> list[str]:
    """Name an adapter's tensors as the model names its own."""
    from safetensors import safe_open

    with safe_open(f"{source.adapter}/{_FILE}", framework="np") as file:
        names = list(file.keys())
    return [name.removeprefix(_PREFIX).replace(".base_layer.", ".") for name in names]


def version() -> str:
    """Say what merges adapters here."""
    import peft

    return f"merged by peft {peft.__version__}"


def merged(model: Any, source: Source, *, own_attention: bool) -> tuple[Any, set[str]]:
    """Merge an adapter into a model; name the weights that it brings along."""
    from peft import PeftModel

    subject = f"{source.name}: the adapter in {str(source.adapter)!r}"
    with (
        warnings.catch_warnings(),
        reading(
            subject,
            verb="applied by peft",
            because="it was trained on another base, or its files are damaged",
            advice="Give the base that it was trained on as location=, and the adapter as "
            "adapter=; or download the adapter again.",
        ),
    ):
        # Of weights that are missing or left over it warns; here they are errors, below.
        warnings.simplefilter("ignore")
        adapted = PeftModel.from_pretrained(model, source.adapter, torch_device="cpu")
        brought = _check_whole(adapted, source)
        adapted.eval()
    before = _outputs(adapted.get_base_model(), source, own_attention=own_attention)
    with (
        reading(subject, verb="merged by peft", because="peft cannot", advice=_MERGE),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        # Not its safe merge, which rounds once more in bfloat16; NaN shows in the scores.
        whole = adapted.merge_and_unload()
    after = _outputs(whole, source, own_attention=own_attention)
    if not near(after, before, TOLERANCE[source.dtype]):
        raise ValueBiasError(
            f"{subject} gives other numbers when it is merged into the weights than when it is "
            "applied beside them, so it is not scored. Give the model dtype='float32'; if it has "
            "that, this adapter does something that weights cannot stand for."
        )
    return whole, brought


def _check_whole(adapted: Any, source: Source) -> set[str]:
    """Require each of the adapter's weights in the model, and no other; name the whole ones."""
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import load_file

    stored = {_plain(key): value for key, value in load_file(f"{source.adapter}/{_FILE}").items()}
    own = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    taken = {_plain(key): value for key, value in own.items()}
    everything = adapted.state_dict()
    lacking = sorted(taken.keys() - stored.keys())
    # Embeddings are stored with adapters of models to which tokens were added.
    found = {key: taken.get(key, everything.get(key)) for key in stored}
    spare = sorted(key for key, value in found.items() if not _same(value, stored[key]))
    for keys, fault in (
        (lacking, "lacks weights that its configuration names"),
        (spare, "has weights for which the base has no place"),
    ):
        if keys:
            raise ValueBiasError(
                f"{source.name}: the adapter in {str(source.adapter)!r} {fault} "
                f"({few(keys, limit=3)}). It was trained on another base, or its files do not "
                "belong together. Give the base that it was trained on as location=, and the "
                "adapter as adapter=; or download the adapter again."
            )
    return {key.removeprefix(_PREFIX) for key in stored if ".lora_" not in key}


def _plain(key: str) -> str:
    """Name the magnitudes of DoRA as later versions of peft do."""
    return f"{key}.weight" if key.endswith(".lora_magnitude_vector") else key


def _same(taken: Tensor | None, stored: Tensor) -> bool:
    if taken is None or taken.shape != stored.shape:
        return False
    # Either may have been rounded: heads to the model's numbers, not the adapter's own weights.
    return torch.equal(taken.cpu(), stored.to(taken.dtype))


def _outputs(model: Any, source: Source, *, own_attention: bool) -> Tensor:
    """Compute what a model makes of made-up conversations, without its padding token.

    Of a classifier the hidden states: a reward may be near 0, where rounding is much of it.
    """
    reader = model.base_model if source.kind == "reward" else model
    size = shape(model.config).vocab_size
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    ids = torch.randint(size, (2, 9), generator=torch.Generator().manual_seed(0))
    ids = torch.where(ids == (-1 if padding is None else padding), (ids + 1) % size, ids)
    device = model.get_input_embeddings().weight.device
    with (
        torch.inference_mode(),
        running(source, model),
        nullcontext() if own_attention else eager(model),
    ):
        output = reader(ids.to(device), use_cache=False)[0]
    return cast(Tensor, output.float().cpu())
