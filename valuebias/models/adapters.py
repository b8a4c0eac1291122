"""Adapters (LoRA): read what their files say, and refuse those that cannot be merged.

What an adapter is merged into, and how, its configuration says. Its entries are a closed list: one
that is not known here may change what the adapter does, and scores would be wrong without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuebias._core.checks import check_installed
from valuebias._core.foreign import read_json
from valuebias.errors import ValueBiasError, few, shown
from valuebias.models import weights
from valuebias.models.hub import Checkpoint
from valuebias.models.spec import path_of

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "Adapter",
    "base_of",
    "check_fits",
    "check_peft",
    "check_plain",
    "is_adapter",
    "read_adapter",
    "refuse_file",
    "saved_whole",
    "shapes_of",
]

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
Shapes = Mapping[str, tuple[int, ...]]

_MERGE = "Merge it yourself (peft: merge_and_unload), save the result and give that."
_PLAIN = (
    "Give the same model in safetensors, with plain weights, as location=, and the adapter as "
    "adapter=."
)
_PREFIX = "base_model.model."
_KNOWN = frozenset(
    (
        "alora_invocation_tokens", "alpha_pattern", "arrow_config", "auto_mapping",
        "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config",
        "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights",
        "layer_replication", "layers_pattern", "layers_to_transform", "loftq_config",
        "lora_alpha", "lora_bias", "lora_dropout", "lora_ga_config", "megatron_config",
        "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r",
        "rank_pattern", "revision", "runtime_config", "target_modules", "target_parameters",
        "task_type", "trainable_token_indices", "use_dora", "use_qalora", "use_rslora",
    )
)  # fmt: skip
_NOT_MERGED = {
    "alora_invocation_tokens": "it acts on the tokens after an invocation alone",
    "arrow_config": "it routes each token through several adapters",
    "layer_replication": "it repeats layers of its base",
    "megatron_config": "it is for models of Megatron",
    "use_qalora": "its base is quantised",
}
"""Entries that make an adapter something that no weights can stand for, or that are not ours."""
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Ways to begin an adapter that leave the base's weights as they are."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter whose configuration lies on this machine."""

    checkpoint: Checkpoint
    config: Mapping[str, Any]  # what adapter_config.json says
    name: str  # what to call it in messages

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.checkpoint.folder

    @property
    def weights(self) -> Path:
        """The file with its weights."""
        return self.folder / WEIGHTS

    def digest(self) -> str:
        """Hash its weights and its configuration."""
        return weights.digest([self.weights, self.folder / CONFIG])

    def tokenizer(self) -> Path | None:
        """Find the tokenizer that was saved with it, where there is one."""
        files = ("tokenizer.json", "tokenizer.model", "vocab.json")
        return self.folder if any((self.folder / file).is_file() for file in files) else None


def is_adapter(checkpoint: Checkpoint) -> bool:
    """Whether a folder holds an adapter alone, and not one beside the weights of a model."""
    folder = checkpoint.folder
    if checkpoint.file is not None or not (folder / CONFIG).is_file():
        return False
    if checkpoint.repository is not None:
        # Weights of a model are not downloaded yet, its configuration is.
        return not (folder / "config.json").is_file()
    names = [path.name for path in folder.iterdir()]
    pickled = any(name.startswith("pytorch_model") for name in names)
    return not pickled and not any(
        os.path.isfile(folder / file) for file in weights.listed(folder, folder.name)
    )


def read_adapter(checkpoint: Checkpoint, name: str) -> Adapter:
    """Read an adapter's configuration, and refuse what is not known to be merged rightly."""
    subject = f"The {CONFIG} of {name!r}"
    config = read_json(checkpoint.folder / CONFIG, subject, advice="Download or save it again.")
    if not isinstance(config, dict):
        raise ValueBiasError(f"{subject} does not hold a mapping. Save the adapter again.")
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ValueBiasError(
            f"{subject} has peft_type={shown(kind)}; expected 'LORA', the only adapters that are "
            f"applied here. {_MERGE}"
        )
    for entry, why in _NOT_MERGED.items():
        if config.get(entry):
            raise ValueBiasError(
                f"{subject} has {entry}: {why}, so that it is not the same as merged weights. It "
                "cannot be scored here; an adapter without this entry can."
            )
    unknown = sorted(key for key, value in config.items() if value and key not in _KNOWN)
    if unknown:
        raise ValueBiasError(
            f"{subject} has entries that are not known here: {few(unknown)}. They may change what "
            f"the adapter does. {_MERGE}"
        )
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise ValueBiasError(
            f"{subject} has init_lora_weights={shown(start)}, which changed the base's weights "
            "before the training. Save it as a plain adapter (peft: save_pretrained with "
            f"path_initial_model_for_weight_conversion=). Or merge it: {_MERGE[:1].lower()}"
            f"{_MERGE[1:]}"
        )
    return Adapter(checkpoint, config, name)


def base_of(adapter: Adapter) -> tuple[str, str | None]:
    """Give the location of the base model that an adapter names, and its revision."""
    base = adapter.config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise ValueBiasError(
            f"The {CONFIG} of {adapter.name!r} names no base model (base_model_name_or_path is "
            f"{shown(base)}). Name it: Model(location='the base', adapter='the adapter'), or in "
            "the columns 'location' and 'adapter' of the models table."
        )
    revision = adapter.config.get("revision")
    beside = adapter.folder / base
    if adapter.checkpoint.repository is None and not os.path.exists(path_of(base)):
        try:
            if beside.is_dir():
                return os.fspath(beside), None
        except OSError:
            pass
    return base, revision if isinstance(revision, str) and revision else None


def refuse_file(adapter: Adapter, file: str, *, base: str) -> None:
    """Refuse a base that is a GGUF or an ONNX file."""
    raise ValueBiasError(
        f"The adapter {adapter.name!r} is to be merged into {base!r}, which is the file {file!r}; "
        f"expected a folder of transformers. {_PLAIN}"
    )


def check_plain(adapter: Adapter, config: Any, *, base: str) -> None:
    """Refuse a base whose weights are not plain numbers."""
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, Mapping) else quantised
        raise ValueBiasError(
            f"The adapter {adapter.name!r} is to be merged into {base!r}, whose weights are "
            f"quantised ({shown(method)}): merged into those, it would give other numbers. {_PLAIN}"
        )


def check_peft(name: str) -> None:
    """Refuse to go on without what merges adapters, before any other model is scored."""
    said = f"The model {name!r} is an adapter, and "
    check_installed("peft", extra="lora", before=said, after=", which merges it into its base")


def shapes_of(adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """Read the shapes of an adapter's tensors, named as in its base."""
    if not adapter.weights.is_file():
        names = sorted(path.name for path in adapter.folder.iterdir())
        if "adapter_model.bin" in names:
            raise ValueBiasError(
                f"The adapter {adapter.name!r} has pickled weights only (adapter_model.bin), which "
                "can run any code when they are loaded. Save it as safetensors: save_pretrained of "
                "peft does."
            )
        raise ValueBiasError(
            f"The adapter {adapter.name!r} has no weights: {WEIGHTS!r} is not in "
            f"{os.fspath(adapter.folder)!r}, which has {few(names)}. Complete the download."
        )
    shapes = weights.tensors(adapter.weights)
    strange = [key for key in shapes if not key.startswith(_PREFIX)]
    if strange or not shapes:
        raise ValueBiasError(
            f"The weights of the adapter {adapter.name!r} are not named as peft names them: "
            f"{few(strange) or 'there are none'}; expected {_PREFIX + '….lora_A.weight'!r}. Save "
            "it with save_pretrained of peft."
        )
    return {key.removeprefix(_PREFIX): shape for key, shape in shapes.items()}


def saved_whole(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Give those of an adapter's tensors that replace the base's, such as a head."""
    return {
        key: shape
        for key, shape in shapes.items()
        if ".lora_" not in key and ".token_adapter." not in key
    }


def check_fits(adapter: Adapter, shapes: Shapes, base_shapes: Shapes, *, base: str) -> None:
    """Compare an adapter's shapes with those of the base's weights, where both name them alike."""
    for name, ours, theirs, turned in _pairs(shapes, base_shapes):
        if ours != theirs and not (turned and ours == theirs[::-1]):
            raise ValueBiasError(
                f"The adapter {adapter.name!r} was trained on another base than {base!r}: it has "
                f"{name} of shape {ours}, and the weights there are {theirs}. Give the base that "
                f"it was trained on as location= (its configuration names "
                f"{shown(adapter.config.get('base_model_name_or_path'))}). If tokens were added "
                f"for the training: {_MERGE[:1].lower()}{_MERGE[1:]}"
            )


def _pairs(
    shapes: Shapes, base_shapes: Shapes
) -> Iterable[tuple[str, tuple[int, ...], tuple[int, ...], bool]]:
    """Pair shapes; those of products also with a base that keeps its matrices turned."""
    for key, shape in shapes.items():
        for low, high in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
            name, found, rest = key.partition(f".{low}")
            up = shapes.get(f"{name}.{high}{rest}")
            there = base_shapes.get(f"{name}.weight")
            if found and up and there and len(shape) == len(up) == len(there) == 2:
                yield f"{name}.weight", (up[0], shape[1]), there, True
    for key, shape in saved_whole(shapes).items():
        there = base_shapes.get(key.replace(".base_layer.", "."))
        if there is not None:
            yield key, shape, there, False
