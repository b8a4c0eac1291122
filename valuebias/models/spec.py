"""Model specifications: which models to score, and how each one is read."""

from __future__ import annotations

import difflib
import functools
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.folder_names import check_printable
from valuebias._core.frames import as_frame
from valuebias._core.opening.yaml_text import parse_yaml
from valuebias._core.tables import parse_csv, read_text, read_yaml
from valuebias.backends.base import OWN_OUTPUT, STEPS
from valuebias.errors import ValueBiasError, did_you_mean, few, shown
from valuebias.models.reading import READS
from valuebias.schema.contract import STAGES, check_unique

__all__ = [
    "ALL_LABELS",
    "PAIR",
    "PLAIN",
    "Model",
    "check_no_code",
    "check_template",
    "is_jinja",
    "model_tables",
    "path_of",
    "read_models",
]

PLAIN = "{prompt}\n{response}"
"""What ``template="plain"`` stands for."""
PAIR = "pair"
"""The template of encoders that take a prompt and a response as two texts."""
ALL_LABELS = "all"
"""The label that stands for every label of a head."""
_DTYPES = ("float32", "bfloat16", "float16")
_HEADS = ("logits", *OWN_OUTPUT)
_OVER_STEPS = ("last", "min", "product", "mean")
_PREFIXES = ("conversation", "generation")
_TABLES = (".yaml", ".yml", ".csv", ".tsv")
_TEXTS = ("location", "name", "revision", "adapter", "adapter_revision", "family", "base", "stage",
          "dtype", "reward_at", "template")  # fmt: skip
# What git allows in no reference; a path made of one must stay in the cache's folder.
_NO_REVISION = re.compile(
    r"[\x00-\x20\x7f-\x9f\ud800-\udfff~^:?*\[\\]|\.\.|@\{|//|(?:^|/)\.|^/|[/.]$|.{256}", re.DOTALL
)
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Model:
    """One model: where it is, what it is, and how it is asked.

    Attributes
    ----------
    location : str
        A hub id such as ``"google/gemma-2-2b-it"``, a local folder, or a ``.gguf`` or ``.onnx``
        file; or an adapter (LoRA) in the format of peft, whose configuration names its base model.
        A path may start with ``~``.
    name : str, optional
        Its label in the results. By default the hub id, or the name of the folder or file; of a
        model with an `adapter` that of the adapter, with its revision.
    revision : str, optional
        A commit, tag or branch of the hub's repository; best a commit, so that what is scored
        cannot change. Where the location is an adapter, of the adapter's.
    adapter : str, optional
        The hub id or the folder of an adapter (LoRA), which is merged into the weights at
        `location`, whatever base its own configuration names.
    adapter_revision : str, optional
        A commit, tag or branch of the adapter's repository, such as ``"step-500"``.
    family : str, optional
        The family that comparisons are made between, such as "Llama"; by default what the
        configuration says.
    base : str, optional
        The very checkpoint that the model was trained from, size and version included, best as its
        hub id: models of one base are not independent. By default what the model's files say: an
        adapter's configuration, the model card, a GGUF file's metadata or the name under which it
        was loaded for training. A pretrained model is its own base.
    stage : {"pretrained", "instruct", "reward"}, optional
        By default "reward" for rewards; for log-probs "instruct" with a chat template and
        "pretrained" without.
    n_params : float, optional
        Number of parameters; by default counted from the weights.
    dtype : {"float32", "bfloat16", "float16"}
        Of weights and arithmetic.
    head : {"logits", "score", "rewards", "steps"} or callable
        Where the reward comes from: the logits of the classification head; the attribute ``score``
        or ``rewards`` of the output of a model with its own code, of one value a conversation or of
        one a label; what a process reward model says at its step marks; or a function of the hidden
        states after the last norm, a torch.Tensor of float32, shape (R, hidden), that returns
        rewards, shape (R,) or (R, 1).
        All are computed in float32 from the hidden states, whatever `dtype` is.
    label : int or str or sequence of these, optional
        Which label of a head that has several, by number or by name; or several of them, or
        ``"all"``. Of several labels each has a row of its own in the results, named "model: label",
        and they are computed in one pass. They are outcomes of one model, and no models of their
        own: the coords ``reward_model`` and ``label`` say so, and a fit goes by them.
    step_mark : str, optional
        Of a process reward model, ``head="steps"``: the token that stands after each step, which
        the `template` puts after the response, and at which its probability of `label` (the last
        one, if not given) is read.
    over_steps : {"last", "min", "product", "mean"}
        What several steps give together.
    reward_at : {"own", "last", "last-non-pad"}
        Where the reward is read. ``"own"``: where the model's own head reads it in a conversation
        by itself. That is the last token that is not the padding of its configuration, as for all
        classifiers of transformers; the last of all, where the configuration names no padding; and
        wherever it likes, for a model with code of its own. A `head` that is a function is read as
        the checkpoint's own head would be, if it is a classifier, else at the last token.
        ``"last"``: at the end of the conversation. ``"last-non-pad"``: at the last token that is
        not the padding. They differ where a template ends in the token that also pads.
    template : str
        ``"chat"``: the tokenizer's own chat template. ``"plain"``: the prompt, a new line, the
        response. ``"pair"``: two texts as the tokenizer of an encoder (DeBERTa, BERT) puts them
        together. Or a text with ``{prompt}`` and ``{response}``, or a chat template in Jinja. For
        log-probs, what follows ``{response}`` is left out, and a space before it is the response's.
    prefix : {"conversation", "generation"}
        What stands before a word whose log-prob is asked for, with a chat template: what stands
        before the answer in the rendered conversation; or the generation prompt, where the model
        would begin to write. They differ in thinking models, whose conversations have an empty
        thought, or none, before the answer.
    tokenizer : str, optional
        Another location, in the same forms, for the tokenizer.
    trust_remote_code : bool
        Let code that comes with the model run. For a hub id this needs a pinned `revision`; in a
        file it needs the reader's permission, see :func:`valuebias.read_models`.
    reference : str or Model, optional
        Of a policy that was trained by DPO, IPO or the like: the model that it was held to, which
        ``kind="implicit"`` scores it against. A location, where ``"org/model@commit"`` pins a hub
        id; or a model of its own (in a table, a mapping of its fields). Its template, prefix, dtype
        and tokenizer are the policy's where it leaves them at their defaults.
    beta : float, default 1
        What the log-ratio of the two is multiplied by: DPO's β, a number above 0.
    source, tuning, objective : str, optional
        For models trained in an experiment: what data they were trained on, how, and for what.
    n_pairs, seed, step : int, optional
        Likewise: the number of preference pairs, the seed and the training step.

    Raises
    ------
    ValueBiasError
        If a field has a value that it cannot have.

    Examples
    --------
    >>> Model("google/gemma-2-2b-it", base="google/gemma-2-2b", dtype="bfloat16").name
    'google/gemma-2-2b-it'
    >>> Model("~/models/mine.gguf", template="Q: {prompt} A: {response}").name
    'mine'
    """

    location: str
    _: KW_ONLY
    name: str = ""
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None
    family: str | None = None
    base: str | None = None
    stage: str | None = None
    n_params: float | None = None
    dtype: str = "float32"
    head: str | Callable[[Any], Any] = "logits"
    label: int | str | Sequence[int | str] | None = None
    step_mark: str | None = None
    over_steps: str = "last"
    reward_at: str = "own"
    template: str = "chat"
    prefix: str = "conversation"
    tokenizer: str | None = None
    trust_remote_code: bool = False
    reference: str | Model | None = None
    beta: float = 1.0
    source: str | None = None
    n_pairs: int | None = None
    seed: int | None = None
    step: int | None = None
    tuning: str | None = None
    objective: str | None = None

    def __post_init__(self) -> None:
        """Fill the name in and check every field."""
        for field in ("location", "adapter"):
            place: Any = getattr(self, field)
            if isinstance(place, os.PathLike):
                object.__setattr__(self, field, os.fspath(place))
        location = self.location
        if not isinstance(location, str) or not location.strip() or "\0" in location:
            raise ValueBiasError(
                f"A model has the location {shown(location)}; expected a hub id, a folder or a "
                "file."
            )
        if not self.name:
            object.__setattr__(self, "name", self._own_name())
        choices = {"dtype": _DTYPES, "reward_at": READS, "prefix": _PREFIXES, "stage": STAGES,
                   "over_steps": _OVER_STEPS}  # fmt: skip
        for field, known in choices.items():
            self._check_choice(field, known)
        if not callable(self.head):
            self._check_choice("head", _HEADS)
        self._check_types()
        self._check_label()
        if (self.head == STEPS) != (self.step_mark is not None):
            raise ValueBiasError(
                f"The model {self.name!r} has head={shown(self.head)} and "
                f"step_mark={shown(self.step_mark)}. A process reward model needs both: "
                "head='steps', and as step_mark= the token that stands after each step; for other "
                "models leave both out."
            )
        check_printable(self.name, "name of a model,")
        for field in ("revision", "adapter_revision"):
            value = getattr(self, field)
            if value is not None and _NO_REVISION.search(value):
                raise ValueBiasError(
                    f"The model {shown(self.name)} has {field}={shown(value)}, which no "
                    "commit, tag or branch can be called. Give the commit: 40 hexadecimal digits."
                )
        if self.adapter_revision is not None and self.adapter is None:
            raise ValueBiasError(
                f"The model {shown(self.name)} has adapter_revision={self.adapter_revision!r} and "
                "no adapter. Give the adapter's hub id as adapter=; or, where the adapter is the "
                "location, its revision as revision=."
            )
        check_template(self.template, self.name)
        self._check_reference()

    def coords(self) -> dict[str, str | float | int]:
        """Return what the results say of this model: the coords on ``model`` that are known.

        Returns
        -------
        dict
            family, base, stage and n_params, and for trained models source, n_pairs, seed, step and
            tuning and objective; those that are not known are left out.
        """
        names = ("family", "base", "stage", "n_params", "source", "n_pairs", "seed", "step",
                 "tuning", "objective")  # fmt: skip
        known = {name: getattr(self, name) for name in names}
        return {name: value for name, value in known.items() if value is not None}

    def _own_name(self) -> str:
        """Name a model; checkpoints of one adapter differ in the revision alone."""
        if not isinstance(self.adapter, str):
            return _name_of(self.location)
        at = "" if self.adapter_revision is None else f"@{self.adapter_revision}"
        return f"{_name_of(self.adapter)}{at}"

    def _check_reference(self) -> None:
        reference: Any = self.reference
        beta: Any = self.beta
        if isinstance(reference, os.PathLike):
            reference = os.fspath(reference)
            object.__setattr__(self, "reference", reference)
        text = isinstance(reference, str) and bool(reference.strip())
        if reference is not None and not (text or isinstance(reference, Model)):
            raise ValueBiasError(
                f"The model {self.name!r} has reference={shown(reference)}; expected the location "
                "of the model that it was held to in training, or a Model."
            )
        if isinstance(reference, Model) and reference.reference is not None:
            raise ValueBiasError(
                f"The reference of {self.name!r}, {reference.name!r}, has a reference itself, "
                "which would not be used. Leave that out."
            )
        is_number = isinstance(beta, int | float) and not isinstance(beta, bool)
        if not is_number or not 0 < beta < math.inf:
            raise ValueBiasError(
                f"The model {self.name!r} has beta={shown(beta)}; expected a number above 0, such "
                "as 0.1."
            )
        if beta != 1 and reference is None:
            raise ValueBiasError(
                f"The model {self.name!r} has beta={beta!r} and no reference, so that there is no "
                "log-ratio to multiply. Give reference=, or leave beta out."
            )

    def _check_choice(self, field: str, known: Sequence[str]) -> None:
        value = getattr(self, field)
        if value is not None or field != "stage":
            check_known(value, known, f"The model {self.name!r} has {field}={value!r}.")

    def _check_types(self) -> None:
        expected: dict[str, tuple[tuple[type, ...], str]] = {
            **dict.fromkeys(
                (*_TEXTS, "tokenizer", "source", "tuning", "objective", "step_mark"),
                ((str,), "expected text"),
            ),
            **dict.fromkeys(("n_pairs", "seed", "step"), ((int,), "expected a whole number")),
            "n_params": ((int, float), "expected a number such as 8.0e9"),
            "trust_remote_code": ((bool,), "expected true or false"),
        }
        for field, (types, wanted) in expected.items():
            value = getattr(self, field)
            # A bool is an int to Python, but not a number to a user.
            fits = isinstance(value, types) and (isinstance(value, bool) == (types == (bool,)))
            if value is not None and (not fits or value in ("", math.inf) or value != value):
                raise ValueBiasError(f"The model {self.name!r} has {field}={value!r}; {wanted}.")
        for field in ("n_params", "n_pairs", "step"):
            value = getattr(self, field)
            if isinstance(value, int | float) and value < 0:
                raise ValueBiasError(
                    f"The model {self.name!r} has {field}={value!r}; it cannot be negative."
                )

    def _check_label(self) -> None:
        label: Any = self.label
        if label is None:
            return
        several = isinstance(label, Sequence) and not isinstance(label, str)
        labels = tuple(label) if several else (label,)
        known = all(
            (isinstance(one, int) and not isinstance(one, bool) and one >= 0)
            or (isinstance(one, str) and bool(one.strip()))
            for one in labels
        )
        if not labels or not known or len(set(labels)) < len(labels):
            raise ValueBiasError(
                f"The model {self.name!r} has label={shown(label)}; expected a label's number, "
                "from 0, or its name, or a list of different ones, or 'all'."
            )
        if several:
            object.__setattr__(self, "label", labels)
        if (several or label == ALL_LABELS) and callable(self.head):
            raise ValueBiasError(
                f"The model {self.name!r} has label={shown(label)} and a function as its head, "
                "which gives one reward a conversation. Leave label out; or give a model for each "
                "of several functions."
            )


_FIELDS = tuple(field.name for field in fields(Model))


def check_template(template: str, name: str) -> None:
    """Raise a ValueBiasError unless `template` has one of the forms of a template."""
    if template in ("chat", "plain", PAIR) or is_jinja(template):
        return
    if template.count("{prompt}") != 1 or template.count("{response}") != 1:
        raise ValueBiasError(
            f"The model {name!r} has the template {template!r}; expected 'chat', 'plain', 'pair', "
            "a text with {prompt} and {response} once each, or a chat template in Jinja."
        )
    if template.index("{prompt}") > template.index("{response}"):
        raise ValueBiasError(
            f"The model {name!r} has the template {template!r}, in which the response comes before "
            "the prompt. Put {prompt} first."
        )


def path_of(text: str) -> Path:
    """Take a text for a path; a leading ``~`` is the home folder, where there is such a user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_jinja(template: str) -> bool:
    """Whether a template is written in Jinja."""
    return "{%" in template or "{{" in template


def read_models(source: Any, *, trust_remote_code: bool = False) -> tuple[Model, ...]:
    """Read model specifications in any form.

    Parameters
    ----------
    source : Model, str, path, mapping, DataFrame, or sequence of these
        A :class:`Model`; the name of a bundled table (:func:`model_tables`); the path of a
        ``.yaml`` or ``.csv`` table; any other text or path is the location of one model. A mapping
        has the fields of one model, or maps names to fields, where `location` is by default the
        name; a YAML file holds that, or a list of fields. A DataFrame or CSV file has a row per
        model and a column per field, an empty cell meaning the default. A table's folders and files
        may be given relative to its own folder.
    trust_remote_code : bool, default False
        Whether a file may ask for the code that comes with a model to be run. What is given in
        Python, and the bundled tables, need no further leave.

    Returns
    -------
    tuple of Model
        In the order given.

    Raises
    ------
    ValueBiasError
        If there is no model, a field is unknown or has a value that it cannot have, two models have
        the same name, or a table cannot be read, or asks for code to be run without leave.

    Examples
    --------
    >>> [model.base for model in read_models("christian2026-rms")[:2]]
    ['meta-llama/Llama-3.1-8B-Instruct', 'meta-llama/Meta-Llama-3-8B-Instruct']
    >>> read_models({"a": {"location": "org/model", "family": "Llama"}})[0].family
    'Llama'
    """
    models = tuple(_models(source, trust_remote_code))
    if not models:
        raise ValueBiasError("There is no model to score; give at least one.")
    check_unique([model.name for model in models], "model")
    return models


@functools.cache
def _bundled() -> dict[str, Any]:
    text = (resources.files("valuebias") / "data" / "models.yaml").read_text(encoding="utf-8")
    return dict(parse_yaml(text, "models.yaml"))


def model_tables() -> tuple[str, ...]:
    """Return the names of the bundled tables of models.

    Returns
    -------
    tuple of str
        Names that :func:`read_models` takes. "christian2026-rms" and "christian2026-lms": the ten
        reward models and the twelve language models of the paper. Only names, revisions and
        settings are bundled: the models themselves have their own licences.

    Examples
    --------
    >>> model_tables()
    ('christian2026-rms', 'christian2026-lms')
    """
    return tuple(_bundled())


def _models(source: Any, trusted: bool) -> Iterable[Model]:
    if isinstance(source, Model):
        return [source]
    if isinstance(source, str) and source in _bundled():
        return _from_mapping(_bundled()[source])
    if isinstance(source, str | os.PathLike):
        return _from_text(os.fspath(source), trusted)
    source = as_frame(source)
    if isinstance(source, pd.DataFrame):
        return _from_frame(source)
    if isinstance(source, Mapping):
        return _from_mapping(source)
    if isinstance(source, Iterable) and not isinstance(source, bytes):
        return [model for entry in source for model in _models(entry, trusted)]
    raise ValueBiasError(
        f"A model is given as {source!r}; expected a name, a path, a Model, a mapping of fields, a "
        "DataFrame, or a list of these."
    )


def _from_text(text: str, trusted: bool) -> Iterable[Model]:
    path = path_of(text)
    if path.suffix.lower() in _TABLES:
        models = [_beside(model, path.parent) for model in _from_file(path)]
        if not trusted:
            check_no_code(models, path)
        return models
    # A hub id has a slash as a rule, and models are not named like our tables.
    close = difflib.get_close_matches(text, list(_bundled()), n=1, cutoff=0.85)
    if close and not os.path.exists(path):
        raise ValueBiasError(
            f"There is no table of models {text!r}. {did_you_mean(text, _bundled())}"
        )
    return [Model(text)]


def check_no_code(models: Iterable[Model], path: Path) -> None:
    """Refuse a file that asks for code to run: its reader may not be its author."""
    both = [one for model in models for one in (model, model.reference) if isinstance(one, Model)]
    wanting = [model.name for model in both if model.trust_remote_code]
    if wanting:
        said = (
            f"{os.fspath(path)!r} asks that the code which comes with {few(wanting)} be run "
            "(trust_remote_code). A file cannot decide that. Read that code; if you trust it, give "
        )
        raise ValueBiasError(
            f"{said}trust_remote_code=True beside the file, or --trust-remote-code on the command "
            "line.",
            in_shell=f"{said}--trust-remote-code.",
        )


def _from_file(path: Path) -> Iterable[Model]:
    if path.suffix.lower() in (".csv", ".tsv"):
        header, rows = parse_csv(read_text(path), os.fspath(path))
        return [_from_cells(dict(zip(header, row, strict=True))) for row in rows]
    content = read_yaml(path)
    if isinstance(content, Mapping):
        return _from_mapping(content)
    if isinstance(content, list) and all(isinstance(entry, Mapping | str) for entry in content):
        return [m for e in content for m in ([Model(e)] if isinstance(e, str) else [_from(e)])]
    raise ValueBiasError(
        f"{os.fspath(path)!r} must hold a list of models with their fields, or a mapping of names "
        "to fields."
    )


def _from_frame(frame: pd.DataFrame) -> Iterable[Model]:
    named = "name" in frame.columns or isinstance(frame.index, pd.RangeIndex)
    table = frame if named else frame.rename_axis("name").reset_index()
    return [_from_cells(row) for row in table.to_dict("records")]


def _from_cells(row: Mapping[Any, Any]) -> Model:
    """Make a model from a row, whose empty cells stand for defaults and whose cells may be text."""
    return _from({k: v for k, v in row.items() if not (v is None or v != v or v == "")})


def _from_mapping(source: Mapping[Any, Any]) -> Iterable[Model]:
    if any(key in _FIELDS and not isinstance(source[key], Mapping | None) for key in source):
        return [_from(source)]
    models = []
    for name, entry in source.items():
        if not isinstance(entry, Mapping | None):
            raise ValueBiasError(
                f"The model {shown(name)} is {shown(entry)}; expected a mapping of its fields."
            )
        fields = {key: value for key, value in (entry or {}).items() if value is not None}
        if "location" not in fields and "source" in fields and not _is_location(name):
            raise ValueBiasError(
                f"The model {shown(name)} has a 'source', which says what data it was trained on, "
                "and no 'location': give its hub id, its folder or its file."
            )
        # A whole path is not used as a name: it would go wherever the scores go.
        if "location" in fields or not _is_whole_path(name):
            fields = {"name": name, **fields}
        models.append(_from({"location": name, **fields}))
    return models


def _is_location(name: Any) -> bool:
    return isinstance(name, str) and ("/" in name or os.path.exists(path_of(name)))


def _is_whole_path(name: Any) -> bool:
    return isinstance(name, str) and (name.startswith((".", "~")) or path_of(name).is_absolute())


def _from(entry: Mapping[Any, Any]) -> Model:
    for key in entry:
        check_known(key, _FIELDS, f"A model has no field {key!r}.")
    if entry.get("location") is None:
        raise ValueBiasError(
            f"The model {shown(entry.get('name', dict(entry)))} has no 'location': give its hub "
            "id, its folder or its file."
        )
    return Model(**{key: _value(key, value) for key, value in entry.items() if value is not None})


def _value(field: str, value: Any) -> Any:
    """Read a number or a bool from text: YAML takes 8e9 for text, and CSV has only text."""
    value = value.item() if hasattr(value, "item") else value
    try:
        if field in ("n_params", "beta") and isinstance(value, str):
            return float(value)
        if field in ("n_pairs", "seed", "step") and isinstance(value, str | float):
            number = float(value)
            return int(number) if number.is_integer() else value
    except ValueError:
        return value
    if field == "label" and isinstance(value, str | float):
        text = str(value).removesuffix(".0")
        return int(text) if text.isdecimal() else value
    if field == "reference" and isinstance(value, Mapping):
        return _from(value)
    if field == "trust_remote_code" and isinstance(value, str):
        return _YES_NO.get(value.lower(), value)
    return value


def _beside(model: Model, folder: Path) -> Model:
    """Take a path in a table relative to the table's folder, where something lies there."""
    changed: dict[str, Any] = {}
    for field in ("location", "adapter", "tokenizer", "reference"):
        value = getattr(model, field)
        if isinstance(value, Model):
            changed[field] = _beside(value, folder)
            continue
        relative = value is not None and not Path(value).is_absolute()
        if relative and os.path.exists(folder / value):
            changed[field] = os.fspath(folder / value)
    return replace(model, **changed)


def _name_of(location: str) -> str:
    """Name a model: a hub id is its own name, a folder or file has one."""
    path = path_of(location)
    if path.suffix.lower() in (".gguf", ".onnx"):
        return re.sub(r"-\d{5}-of-\d{5}$", "", path.stem)
    if os.path.exists(path) or _is_whole_path(location):
        return path.resolve().name
    return location
