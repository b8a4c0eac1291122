"""The language model that is fine-tuned, and how it is scored before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError
from valuebias.instruments import PromptSet
from valuebias.models.config import read_raw
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model, read_models
from valuebias.models.tokenizer import Tokenizer
from valuebias.scoring.run import score

__all__ = ["Subject", "find_subject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model that is fine-tuned, and how it is scored before and after.

    Attributes
    ----------
    resolved : Resolved
        The model, its files on this machine.
    tokenizer : Tokenizer
        Its own, with its template.
    prompts : PromptSet
        After which words are raised, and all is scored.
    backend : Backend
        What scores.
    progress : bool
        Whether to show progress.
    """

    resolved: Resolved
    tokenizer: Tokenizer
    prompts: PromptSet
    backend: Backend
    progress: bool

    @property
    def texts(self) -> list[str]:
        """Return the prompts' texts."""
        return [str(text) for text in self.prompts.table["text"]]

    def score(self, model: Model, store: Path) -> xr.Dataset:
        """Score the whole vocabulary of the model, or of a fine-tuned one."""
        tree = score(
            model,
            prompts=self.prompts,
            lexicon="vocabulary",
            kind="logprob",
            backend=self.backend,
            store=store,
            progress=self.progress,
        )
        (node,) = tree.children.values()
        return node.to_dataset().load()


def find_subject(model: Any, *, prompts: PromptSet, backend: Backend, progress: bool) -> Subject:
    """Find the model, and refuse what cannot be fine-tuned."""
    models = read_models(model)
    if len(models) > 1:
        raise ValueBiasError(f"There are {len(models)} models; expected one to be fine-tuned.")
    if len(prompts) < 2:
        raise ValueBiasError(
            f"There are {len(prompts)} prompts; expected at least two, since one half is trained "
            "on and the other held out."
        )
    # Fine-tuned models have the same base; where that is unknown, the model itself.
    resolved = resolve(models[0], kind="logprob")
    if resolved.model.base is None:
        resolved = replace(resolved, model=replace(resolved.model, base=resolved.model.name))
    name, source = resolved.model.name, resolved.source
    if source.file is not None or not resolved.tokenizer.is_dir():
        raise ValueBiasError(
            f"The model {name!r}, or its tokenizer, is one file; only a folder or a hub id with "
            "weights as safetensors can be fine-tuned."
        )
    architectures = [str(a) for a in read_raw(source.folder, name).get("architectures") or []]
    if any(architecture.endswith("ForSequenceClassification") for architecture in architectures):
        raise ValueBiasError(
            f"The model {name!r} is a reward model ({architectures[0]}); expected a language "
            "model, such as the one that it was trained from."
        )
    if source.trust_remote_code:
        raise ValueBiasError(
            f"The model {name!r} has trust_remote_code=True; models with code of their own are not "
            "fine-tuned here."
        )
    return Subject(
        resolved=resolved,
        tokenizer=Tokenizer(resolved),
        prompts=prompts,
        backend=backend,
        progress=progress,
    )
