"""Resolve a model specification: find its files, read what they say, refuse what cannot work."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from valuebias._core.checks import check_known
from valuebias.backends.base import STEPS, Source
from valuebias.backends.gguf import config as gguf_config
from valuebias.backends.gguf import files as gguf_files
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.models import adapters, weights
from valuebias.models.adapters import Adapter
from valuebias.models.bases import Origin, is_checkpoint, stated_base
from valuebias.models.config import (
    ModelConfig,
    check_decoder,
    family_of,
    is_encoder,
    read_config,
    read_model_config,
    read_raw,
)
from valuebias.models.hub import (
    Checkpoint,
    NotHere,
    fetch_adapter,
    fetch_weights,
    locate,
    locate_adapter,
)
from valuebias.models.reading import LAST, Rule, rule_of
from valuebias.models.spec import ALL_LABELS, PAIR, Model
from valuebias.models.weights import code_files

__all__ = ["Resolved", "resolve", "sketch"]

Kind = Literal["reward", "logprob"]
Shapes = dict[str, tuple[int, ...]]

_HEAD = re.compile(r"(?:^|\.)(?:score|classifier)(?:\.\w+)?\.weight")
# The last ones are those of BERT's kin as decoders, BioGPT, ELECTRA, XLM and XLNet.
_LM_HEAD = re.compile(
    r"(?:^|\.)(?:lm_head|embed_out|output"
    r"|decoder|output_projection|generator_lm_head|pred_layer\.proj|lm_loss)\.weight"
)
_AUTO = {"reward": "AutoModelForSequenceClassification", "logprob": "AutoModelForCausalLM"}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model whose files lie on this machine."""

    source: Source  # what a backend loads
    model: Model  # the specification, its blanks filled in
    model_config: ModelConfig  # what the configuration says
    tokenizer: Path  # the folder, or the GGUF file, that has the tokenizer
    commit: str | None = None  # the commit of the hub's repository, where the model came from there
    base_said_by: str = ""  # what names the base: "the specification", a file, or nothing
    rule: Rule = LAST  # where the reward is read
    # Hashes of the files of the model's own code and of those it may read, where it may run.
    code: Mapping[str, str] | None = None
    adapter: Adapter | None = None  # what is merged into the weights
    base_sha256: str = ""  # the hash of the weights that it is merged into
    adapter_sha256: str = ""  # and its own


def resolve(
    model: Model,
    *,
    kind: Kind,
    download: bool = True,
    with_weights: bool = True,
    adapted: bool = False,
    hashed: bool = True,
) -> Resolved:
    """Find a model's files, download missing ones, and read them without loading the model.

    An adapter is refused unless it is asked for: else it would be left out silently. What is not
    to be scored needs no hashes, which take a minute of large weights.
    """
    checkpoint, adapter = _found(model, download=download, adapted=adapted)
    _check_code(model, checkpoint, kind)
    if _is_gguf(checkpoint.file):
        # Its configuration is in it.
        checkpoint = fetch_weights(checkpoint, name=model.name, download=download)
    config = read_config(
        checkpoint.folder, checkpoint.file, trust=model.trust_remote_code, name=model.name
    )
    if adapter is not None:
        adapters.check_plain(adapter, config, base=_place(checkpoint))
    check_decoder(config, name=model.name, kind=kind)
    if kind == "logprob":
        _check_language_model(config, model.name)
    shapes: Shapes = {}
    sha256 = base_sha256 = adapter_sha256 = ""
    code: dict[str, str] | None = None
    if with_weights:
        checkpoint = fetch_weights(checkpoint, name=model.name, download=download)
        files = _files(checkpoint, model.name)
        for path in files if checkpoint.file is None else ():
            shapes |= weights.tensors(path)
        config_json = checkpoint.folder / "config.json"
        if hashed:
            sha256 = weights.digest([*files, *([config_json] if config_json.is_file() else [])])
        if _is_gguf(checkpoint.file):
            shapes = _gguf_shapes(checkpoint)
        if hashed and _is_gguf(checkpoint.file):
            sha256 = hashlib.sha256(f"{sha256} read as {gguf_config.VERSION}".encode()).hexdigest()
        if hashed and model.trust_remote_code:
            code = code_files(checkpoint.folder, files)
            sha256 = hashlib.sha256(f"{sha256} {json.dumps(code)}".encode()).hexdigest()
        if adapter is not None:
            adapters.check_peft(model.name)
            fetch_adapter(adapter.checkpoint, name=model.name, download=download)
            own = adapters.shapes_of(adapter)
            adapters.check_fits(adapter, own, shapes, base=_place(checkpoint))
            shapes |= adapters.saved_whole(own)
        if hashed and adapter is not None:
            base_sha256, adapter_sha256 = sha256, adapter.digest()
            sha256 = hashlib.sha256(f"{base_sha256} with {adapter_sha256}".encode()).hexdigest()
        tied = bool(getattr(config, "tie_word_embeddings", False))
        if not (kind == "reward" and _own_code(model, checkpoint, config.model_type)):
            _check_head(model, shapes, checkpoint.file, kind, tied)
    # Only a head of one matrix tells how many labels there are.
    heads = [shape for key, shape in shapes.items() if _HEAD.search(key)]
    # Encoders may have a dense layer before.
    last = [shapes[key] for key in shapes if key.endswith("classifier.out_proj.weight")]
    heads = last or heads
    n_labels = heads[0][0] if len(heads) == 1 and len(heads[0]) == 2 else None
    if not with_weights and kind == "reward":
        n_labels = None if adapter is not None else _stated_labels(checkpoint, model.name)
    model_config = read_model_config(
        config,
        name=model.name,
        labels=n_labels if kind == "reward" else 0,
        n_params=float(sum(map(math.prod, shapes.values()))) if shapes else None,
    )
    rule = _rule(model, checkpoint, model_config) if kind == "reward" else LAST
    source = Source(
        name=model.name,
        folder=checkpoint.folder,
        file=checkpoint.file,
        kind=kind,
        head=model.head,
        own_code=rule.own_code and model.head == "logits",
        as_own=kind == "reward" and model.reward_at == "own",
        label=_label(model, model_config, kind) if with_weights or n_labels else 0,
        labels=(len(model_config.labels) if with_weights else n_labels) or None,
        dtype=model.dtype,
        weights_sha256=sha256,
        trust_remote_code=model.trust_remote_code,
        over_steps=model.over_steps,
        pair=kind == "reward" and model.template == PAIR,
        adapter=None if adapter is None else adapter.folder,
    )
    own_tokenizer = None if adapter is None or model.tokenizer else adapter.tokenizer()
    tokenizer = own_tokenizer or _tokenizer(model, checkpoint, download)
    stage = "instruct" if model.template == "chat" else "pretrained"
    filled = replace(
        model,
        family=model.family or family_of(model_config),
        stage=model.stage or ("reward" if kind == "reward" else stage),
        n_params=model_config.n_params if model.n_params is None else model.n_params,
    )
    origin = _origin(filled, checkpoint, adapter)
    filled = replace(filled, base=origin.base or None)
    return Resolved(
        source, filled, model_config, tokenizer, checkpoint.commit, origin.said_by, rule, code,
        adapter, base_sha256, adapter_sha256,
    )  # fmt: skip


def _found(model: Model, *, download: bool, adapted: bool) -> tuple[Checkpoint, Adapter | None]:
    """Find a model; refuse adapters that the engine or the head cannot do with."""
    checkpoint, adapter = _located(model, download)
    if adapter is not None and not adapted:
        raise ValueBiasError(
            f"The model {model.name!r} is an adapter ({adapters.CONFIG}), which only the backend "
            "'torch' applies, and only to score. Score it with that; or merge it (peft: "
            "merge_and_unload), save the result and give that."
        )
    if adapter is not None and checkpoint.file is not None:
        adapters.refuse_file(adapter, checkpoint.file, base=_place(checkpoint))
    if adapter is not None and model.head != "logits":
        raise ValueBiasError(
            f"The model {model.name!r} is an adapter, and has a head= of its own. Adapters are "
            "scored with the head that lies in them or in their base; for another one, merge it "
            "(peft: merge_and_unload), save the result and give that."
        )
    return checkpoint, adapter


def sketch(model: Model, *, kind: Kind, adapted: bool) -> Source:
    """Say what can be told of a model without transformers, and without a network.

    What only its configuration's class would tell is left open: labels, and whether an encoder's
    own code makes its rewards.
    """
    checkpoint, adapter = _found(model, download=False, adapted=adapted)
    wanted = read_raw(checkpoint.folder, model.name).get("auto_map")
    own = kind == "reward" and model.trust_remote_code and model.head == "logits"
    return Source(
        name=model.name,
        folder=checkpoint.folder,
        file=checkpoint.file,
        kind=kind,
        head=model.head,
        own_code=own and isinstance(wanted, dict) and _AUTO["reward"] in wanted,
        dtype=model.dtype,
        trust_remote_code=model.trust_remote_code,
        pair=kind == "reward" and model.template == PAIR,
        adapter=None if adapter is None else adapter.folder,
    )


def _located(model: Model, download: bool) -> tuple[Checkpoint, Adapter | None]:
    """Find a model; of an adapter, its base and itself."""
    name, code = model.name, model.trust_remote_code

    def base(location: str, revision: str | None) -> Checkpoint:
        return locate(location, revision=revision, name=name, download=download, code=code)

    if model.adapter is not None:
        found = locate_adapter(
            model.adapter, revision=model.adapter_revision, name=name, download=download
        )
        adapter = adapters.read_adapter(found, name)
        checkpoint = base(model.location, model.revision)
        if adapters.is_adapter(checkpoint):
            raise ValueBiasError(
                f"The model {name!r} has the location {model.location!r}, which is an adapter "
                "itself. Give the base model as location=, and one adapter as adapter=."
            )
        return checkpoint, adapter
    checkpoint = base(model.location, model.revision)
    if not adapters.is_adapter(checkpoint):
        return checkpoint, None
    adapter = adapters.read_adapter(checkpoint, name)
    location, revision = adapters.base_of(adapter)
    how = (
        f"the base of the adapter {name!r}, which its {adapters.CONFIG} names, cannot be used. "
        "Name it: Model(location='the base', adapter='the adapter'), or in the columns 'location' "
        "and 'adapter' of the models table."
    )
    if code:
        raise ValueBiasError(
            f"The model {name!r} has trust_remote_code, and its location is an adapter, so that "
            "nothing pins the base's code. Give the base as location=, with its commit as "
            "revision=, and the adapter as adapter=."
        )
    try:
        checkpoint = base(location, revision)
        if not adapters.is_adapter(checkpoint):
            return checkpoint, adapter
        reason = f"{location!r} is an adapter itself."
    except NotHere:
        raise
    except ValueBiasError as error:
        raise ValueBiasError(f"{error} So {how}") from error
    raise ValueBiasError(f"{reason} So {how}")


def _place(checkpoint: Checkpoint) -> str:
    return checkpoint.repository or str(checkpoint.folder)


def _check_language_model(config: Any, name: str) -> None:
    """Refuse a reward model: with its input embeddings as a head it would give numbers, too."""
    architecture = str((getattr(config, "architectures", None) or [""])[0])
    if architecture.endswith("ForSequenceClassification"):
        raise ValueBiasError(
            f"The model {name!r} is a reward model ({architecture}): it was not trained to give "
            'log-probs. Score it with kind="reward", or give the language model that it was '
            "trained from."
        )


def _rule(model: Model, checkpoint: Checkpoint, model_config: ModelConfig) -> Rule:
    """Decide where the reward is read."""
    return rule_of(
        model.reward_at,
        head=model.head,
        padding=model_config.pad_token_id,
        classifier=model_config.architecture.endswith("ForSequenceClassification"),
        own_code=_own_code(model, checkpoint, model_config.model_type),
        encoder=is_encoder(model_config.model_type),
        name=model.name,
    )


def _own_code(model: Model, checkpoint: Checkpoint, model_type: str) -> bool:
    """Whether a class of the model's own, or an encoder's, makes logits of a whole conversation."""
    if model.head != "logits" or _is_gguf(checkpoint.file):
        return False
    if is_encoder(model_type):
        return True
    if not model.trust_remote_code:
        return False
    wanted = read_raw(checkpoint.folder, model.name).get("auto_map")
    return isinstance(wanted, dict) and _AUTO["reward"] in wanted


def _origin(model: Model, checkpoint: Checkpoint, adapter: Adapter | None) -> Origin:
    """Find what the model was trained from; a pretrained model is its own base."""
    if model.base:
        return Origin(model.base, "the specification")
    if adapter is not None:
        return _origin_of_base(checkpoint, adapter)
    hub_name = checkpoint.repository or model.name
    origin = stated_base(checkpoint.folder, checkpoint.file, ids=(model.name, hub_name))
    if not origin.base and model.stage == "pretrained":
        return Origin(hub_name, "its stage")
    return origin


def _origin_of_base(checkpoint: Checkpoint, adapter: Adapter) -> Origin:
    """Find the base of an adapter's base, which others of the same base share; else that itself."""
    own_name = checkpoint.repository or checkpoint.folder.name
    origin = stated_base(checkpoint.folder, checkpoint.file, ids=(own_name,))
    if origin.base:
        return origin
    named = adapter.config.get("base_model_name_or_path")
    named = named.strip() if isinstance(named, str) and is_checkpoint(named.strip()) else ""
    return Origin(checkpoint.repository or named or own_name, adapters.CONFIG)


def _check_code(model: Model, checkpoint: Checkpoint, kind: Kind) -> None:
    """Refuse a model that needs code of others which is not trusted."""
    raw = read_raw(checkpoint.folder, model.name)
    wanted = raw.get("auto_map")
    if not isinstance(wanted, dict):
        return
    if model.trust_remote_code:
        _check_code_elsewhere(model, wanted)
        return
    if not {_AUTO[kind], "AutoConfig"} & set(wanted):
        return
    import transformers

    architecture = str((raw.get("architectures") or [""])[0])
    # Some models bring code although transformers has had the same architecture since.
    if architecture and hasattr(transformers, architecture):
        return
    raise ValueBiasError(
        f"The model {model.name!r} ({architecture or 'architecture not stated'}) needs code that "
        "comes with it. Read that code; if you trust it, give trust_remote_code=True"
        + (" and the commit as revision=." if checkpoint.repository else ".")
    )


def _check_code_elsewhere(model: Model, wanted: Mapping[str, Any]) -> None:
    """Refuse code of another repository: its newest version would run, whatever is pinned."""
    for entry in wanted.values():
        for reference in entry if isinstance(entry, list | tuple) else [entry]:
            if isinstance(reference, str) and "--" in reference:
                elsewhere = reference.partition("--")[0]
                raise ValueBiasError(
                    f"The config.json of {model.name!r} takes its code from the repository "
                    f"{elsewhere!r} (auto_map: {reference!r}), which nothing pins. Copy that "
                    "code's .py files into the model's folder, and leave "
                    f"{elsewhere + '--'!r} out of auto_map."
                )


def _files(checkpoint: Checkpoint, name: str) -> list[Path]:
    if checkpoint.file is None:
        return weights.weight_files(checkpoint.folder, name)
    path = checkpoint.folder / checkpoint.file
    if _is_gguf(checkpoint.file):
        return gguf_files.parts(path)
    return sorted(p for p in path.parent.glob(f"{path.name}*") if p.is_file())


def _gguf_shapes(checkpoint: Checkpoint) -> Shapes:
    """Return the shapes of a GGUF file's tensors, heads by the names that they have elsewhere."""
    shapes = gguf_files.read_gguf(checkpoint.folder / str(checkpoint.file)).shapes
    names = {"cls.output.weight": "score.weight", "cls.output.bias": "score.bias"}
    return {names.get(key, key): shape for key, shape in shapes.items()}


def _check_head(model: Model, shapes: Shapes, file: str | None, kind: Kind, tied: bool) -> None:
    """Refuse weights without the head: transformers would fill it with random numbers."""
    if file is not None and file.lower().endswith(".onnx"):
        return
    if kind == "reward" and model.head == "logits":
        if any(map(_HEAD.search, shapes)):
            return
        raise ValueBiasError(
            f"The weights of {model.name!r} have no classification head (score.weight)"
            + (" or cls.output.weight" if file is not None else "")
            + ". If it is a language model, score it with kind='logprob'; if its reward is "
            "computed otherwise, give head='score' or a function."
        )
    # A GGUF file without an output layer ties it to the embeddings, unless it has a head instead.
    tied = tied and not (file is not None and "score.weight" in shapes)
    if kind == "logprob" and not tied and not any(map(_LM_HEAD.search, shapes)):
        raise ValueBiasError(
            f"The weights of {model.name!r} have no language-model head (lm_head.weight), so there "
            "are no log-probs. If it is a reward model, score it with kind='reward'."
        )


def _label(model: Model, model_config: ModelConfig, kind: Kind) -> int:
    label: Any = model.label
    names = model_config.labels
    if kind != "reward" or callable(model.head) or label == ALL_LABELS or isinstance(label, tuple):
        # Several labels are read by models of their own.
        return label if isinstance(label, int) else 0
    if model.head != "logits" and not isinstance(label, str):
        # Of steps the last label is that they are good.
        return int(max(len(names) - 1, 0) if label is None and model.head == STEPS else label or 0)
    if label is None:
        if len(names) > 1:
            raise ValueBiasError(
                f"The model {model.name!r} has {len(names)} labels and none is named: give label=, "
                f"a number from 0, a name, or 'all'. {did_you_mean('', names)}"
            )
        return 0
    if isinstance(label, str):
        check_known(label, names, f"The model {model.name!r} has no label {label!r}.")
        return names.index(label)
    if label >= len(names):
        raise ValueBiasError(
            f"The model {model.name!r} has label={label}, but its labels are numbered 0 to "
            f"{len(names) - 1}."
        )
    return int(label)


def _stated_labels(checkpoint: Checkpoint, name: str) -> int | None:
    """Count the labels that a configuration names itself: without, transformers gives it two."""
    raw = read_raw(checkpoint.folder, name)
    number, names = raw.get("num_labels"), raw.get("id2label")
    if isinstance(names, dict):
        return len(names)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _tokenizer(model: Model, checkpoint: Checkpoint, download: bool) -> Path:
    """Return the folder or the GGUF file with the tokenizer."""
    if model.tokenizer is not None:
        name = model.tokenizer
        checkpoint = locate(name, revision=None, name=name, download=download)
        if _is_gguf(checkpoint.file):
            checkpoint = fetch_weights(checkpoint, name=name, download=download)
    file = checkpoint.file
    return checkpoint.folder / file if file is not None and _is_gguf(file) else checkpoint.folder


def _is_gguf(file: str | None) -> bool:
    return file is not None and file.lower().endswith(".gguf")
