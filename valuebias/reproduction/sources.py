"""What a reproduction is made from: settings, released scores, and log-probs from the user."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from valuebias._core.fetch import cache_folder, fetch, registry, released
from valuebias._core.provenance import sha256
from valuebias.errors import ValueBiasError
from valuebias.models.hub_files import FileRef, HubFile, file_refs, is_reference

__all__ = ["LANGUAGE_MODELS", "LogProbs", "Missing", "Settings", "Sources"]

LANGUAGE_MODELS = "christian2026-lms"
"""The table of the paper's twelve language models."""

_DATASET = "Oxford-HIPlab/iclr2026-lm-logprobs"
_HOW = (
    "Give the authors' as logprobs= (--logprobs): a folder of their CSV files, or "
    f"hf://datasets/{_DATASET}@<commit> (about 2 GB; the commit is listed at "
    f"https://huggingface.co/datasets/{_DATASET}/commits/main). Or score the models, which takes a "
    f"GPU, and give the store, made by: valuebias score {LANGUAGE_MODELS} --kind logprob --lexicon "
    "vocabulary --store logprobs.zarr"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers that the items depend on, each item on some of them.

    Examples
    --------
    >>> Settings(draws=1000, chains=4, seed=1, n_permutations=9999).subset("seed", "draws")
    {'seed': 1, 'draws': 1000}
    """

    draws: int  # draws, chains: posterior draws per chain, and chains
    chains: int
    seed: int  # of the draws and of the permutation tests
    n_permutations: int  # shuffles of each permutation test

    def __post_init__(self) -> None:
        """Check that all are whole numbers in range."""
        for name, least in {"draws": 4, "chains": 1, "seed": 0, "n_permutations": 1}.items():
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or value < least or value >= 2**32:
                raise ValueBiasError(
                    f"{name} is {value!r}; expected a whole number of {least} or more."
                )

    def subset(self, *names: str) -> dict[str, int]:
        """Select settings by name."""
        return {name: int(getattr(self, name)) for name in names}


class Missing(ValueBiasError):
    """Data that an item needs are missing; the message says which, and how to get them.

    Examples
    --------
    >>> issubclass(Missing, ValueBiasError)
    True
    """


class LogProbs:
    """Log-probs of the paper's language models: CSV files here or on the hub, or a store.

    Raises
    ------
    ValueBiasError
        If there are no log-probs, or none of a model of the paper.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        from valuebias.models.spec import read_models

        known = [model.name for model in read_models(LANGUAGE_MODELS)]
        self._tree: xr.DataTree | None = None
        self._files_by_model: dict[str, FileRef] = {}
        if not is_reference(source) and not Path(source).exists():
            raise ValueBiasError(
                f"There are no log-probs at {os.fspath(source)!r}. Check the path."
            )
        if not is_reference(source) and Path(source).suffix == ".zarr":
            from valuebias.scoring.vocabulary import read_vocabulary

            self._tree = read_vocabulary(source)
            self._groups = {
                str(node["model"].to_numpy()[0]): name for name, node in self._tree.children.items()
            }
            if not set(self._groups) & set(known):
                raise ValueBiasError(
                    f"The store {os.fspath(source)!r} has none of the paper's models, but "
                    f"{', '.join(map(repr, self._groups))}. Score those of the table "
                    f"{LANGUAGE_MODELS!r}."
                )
        else:
            self._files_by_model = file_refs(source, known, download=True)

    @property
    def models(self) -> frozenset[str]:
        """The models that have log-probs."""
        return frozenset(self._files_by_model) if self._tree is None else frozenset(self._groups)

    def hashes(self, models: Iterable[str]) -> dict[str, str]:
        """Identify each model's log-probs by a hash or a commit."""
        sums = {}
        for name in models:
            if self._tree is not None:
                sums[f"store: {name}"] = _digest(self._tree[self._groups[name]].to_dataset())
                continue
            file = self._files_by_model[name]
            sums[file.name] = (
                f"{file.repository}@{file.commit}" if isinstance(file, HubFile) else sha256(file)
            )
        return sums

    def read(self, models: Sequence[str], *, prompts: Sequence[str] | None = None) -> xr.DataTree:
        """Read some models' log-probs."""
        if self._tree is not None:
            nodes = {self._groups[name]: self._tree[self._groups[name]].to_dataset()
                     for name in models}  # fmt: skip
            if prompts is not None:
                nodes = {name: ds.sel(prompt=list(prompts)) for name, ds in nodes.items()}
            return xr.DataTree.from_dict(nodes)
        from valuebias.instruments.prompts import prompts as as_prompts
        from valuebias.logprobs.reading import read_logprobs

        wanted: Any = "superlatives"
        if prompts is not None:
            wanted = as_prompts(wanted).table.loc[list(prompts)]
        paths = {name: str(self._files_by_model[name]) for name in models}
        return read_logprobs(paths, models=LANGUAGE_MODELS, prompts=wanted)


class Sources:
    """All data of a reproduction, each looked up on demand."""

    def __init__(self, logprobs: LogProbs | None) -> None:
        self._logprobs = logprobs

    def released(self, *names: str) -> dict[str, str]:
        """Hash the files of datasets and lexicons."""
        hashes = {}
        for local in dict.fromkeys(local for name in names for local in _files(name)):
            try:
                hashes[local] = sha256(fetch(released(local)))
            except ValueBiasError as error:
                if _is_local(local):
                    raise
                raise Missing(f"A released file is missing. {error}") from error
        return hashes

    def logprobs(self) -> LogProbs:
        """Return the log-probs, or raise `Missing`."""
        if self._logprobs is None:
            raise Missing(f"It needs log-probs of language models, and none were given. {_HOW}")
        return self._logprobs

    def hashes_of(self, models: Sequence[str]) -> dict[str, str]:
        """Identify the log-probs of some models, all of which must exist."""
        lacking = [name for name in models if name not in self.logprobs().models]
        if lacking:
            named = ", ".join(map(repr, lacking))
            raise Missing(f"The given log-probs have none of {named}. {_HOW}")
        return self.logprobs().hashes(models)


def _files(name: str) -> list[str]:
    """Name the released files of a dataset and its lexicon, or of a lexicon."""
    known = registry()
    if name in known["datasets"]:
        entry = known["datasets"][name]
        return [*entry["files"], *(_files(entry["lexicon"]) if "lexicon" in entry else [])]
    return [known["lexicons"][name]["file"]]


def _is_local(local: str) -> bool:
    data_folder = os.environ.get("VALUEBIAS_DATA")
    folders = [*([Path(data_folder)] if data_folder else []), cache_folder()]
    return any((folder / local).is_file() for folder in folders)


def _digest(ds: xr.Dataset) -> str:
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(ds["score"].to_numpy(), dtype=np.float32).data)
    for name in ("prompt", "response", "decoded"):
        texts = "\0".join(map(str, ds[name].to_numpy().tolist()))
        digest.update(texts.encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()
