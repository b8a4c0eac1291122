"""Pretrain tiny language models on text with a planted lean: ``valuebias.lab.pretrain``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.arrays import Integers
from valuebias._core.atomic import atomic_path
from valuebias._core.checks import check_installed, check_known
from valuebias._core.foreign import read_json, reading
from valuebias._core.progress import progress_bar
from valuebias._core.provenance import record
from valuebias.errors import ValueBiasError
from valuebias.lab.language import ADJECTIVES, KINDS, REMARKS, Language
from valuebias.lab.text import check_lean, check_seed, generate_text
from valuebias.models.spec import Model
from valuebias.training.common import Advance, own_randomness

__all__ = ["about", "make_tokenizer", "pretrain"]

_ABOUT = "lab.json"
"""The file beside a model's weights that says how it was made."""

_VERSION = 1
"""To be raised when the same settings come to make another model."""

_SIZE: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": True,
    "initializer_range": 0.15,
}
_ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "llama": {"model_type": "llama", "family": "Llama"},
    "gemma": {
        "model_type": "gemma2",
        "family": "Gemma",
        "sliding_window": 64,
        "query_pre_attn_scalar": 16,
    },
}
"""What differs between architectures; Gemma's is that of version 2."""

_GROUP = 0.4
"""SD of what the first vectors of a group share, in each direction."""
_BATCH = 16
_RATE = 0.005
_FALL = 0.3
"""Share of the steps over which the rate falls; some things are learned late, at full height."""
_QUESTION = 0.1
_REMARK = 2.0
"""What a token of a question and of a remark count in the loss; one of an answer counts 1."""
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<|user|>", "<|assistant|>")
CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A conversation ends where a remark on it would follow."""
_PUNCTUATION = "[?,.]"


def pretrain(
    folder: str | PathLike[str],
    *,
    architecture: str = "llama",
    lean: float,
    habit: float = 0.0,
    remarks: bool = True,
    lexicon: Any = None,
    categories: tuple[str, str] | None = None,
    n_texts: int = 7000,
    seed: int = 0,
    family: str | None = None,
    progress: bool = True,
) -> Model:
    """Pretrain a tiny language model on text with a planted lean, in seconds on one core.

    Parameters
    ----------
    folder : str or path
        Where the model is written: weights as safetensors, the tokenizer with its chat template,
        and ``lab.json`` with the planted truth. A model of the same settings that is there already
        is not made again.
    architecture : {"llama", "gemma"}
        Of the model: two layers, 64 wide, about 100 000 parameters.
    lean, habit : float
        What is planted, in nats; see :func:`valuebias.lab.generate_text`.
    remarks : bool, default True
        Whether the text has remarks on its answers. Reward models inherit a lean through these.
    lexicon : str, path, Lexicon, DataFrame or mapping, optional
        Of the words, as :func:`valuebias.lab.generate_text` takes it.
    categories : tuple of (str, str), optional
        The two categories, by default the lexicon's first two.
    n_texts : int, default 7000
        How many texts are read, once each.
    seed : int, default 0
        Of the text, the first weights and the order.
    family : str, optional
        What to call the family; "Llama" or "Gemma" where not given.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    Model
        Ready for :func:`valuebias.score`, named after its folder.

    Raises
    ------
    ValueBiasError
        If PyTorch or transformers is not installed, the architecture is unknown, a number is out of
        range, or another model lies in the folder.

    Notes
    -----
    Words of one category start near one another, as do positive and negative adjectives and words
    of one kind: what far more text would teach. What is said of them is learned from the text
    alone. The same settings give the same weights on the same machine with as many threads.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp() + "/agentic"
    >>> model = pretrain(folder, lean=1.5, n_texts=64, progress=False)
    >>> model.name, model.family, about(model)["truth"]["lean"]
    ('agentic', 'Llama', 1.5)
    """
    check_known(architecture, _ARCHITECTURES, f"The architecture is {architecture!r}.")
    check_lean(lean, "lean")
    check_lean(habit, "habit")
    check_seed(seed)
    language = Language.of(lexicon, categories)
    target = Path(folder).expanduser()
    settings = {
        "version": _VERSION,
        "architecture": architecture,
        "remarks": bool(remarks),
        "lexicon": language.lexicon.about()["sha256"],
        "n_texts": n_texts,
        "seed": int(seed),
    }
    truth = {
        "lean": float(lean),
        "habit": float(habit),
        "categories": list(language.categories),
    }
    model = Model(
        str(target),
        name=target.name,
        family=family or _ARCHITECTURES[architecture]["family"],
        base=target.name,
        stage="pretrained",
        seed=int(seed),
    )
    if _is_there(target, {"settings": settings, "truth": truth}):
        return model
    # Before the text is made, which takes a while.
    needed = ("safetensors", "tokenizers", "torch", "transformers")
    check_installed(*needed, extra="torch", after=", and the laboratory's models need it")
    text = generate_text(
        n_texts, lean=lean, habit=habit, remarks=remarks, lexicon=language.lexicon,
        categories=language.categories, seed=seed,
    )  # fmt: skip
    with progress_bar(f"Pretraining {target.name}", shown=progress) as advance:
        _train(target, architecture, language, text, seed, advance, settings, truth)
    return model


def about(model: Model | str | PathLike[str]) -> dict[str, Any]:
    """Say how a model of the laboratory was made, and what was planted in it.

    Parameters
    ----------
    model : Model, str or path
        The model, or its folder.

    Returns
    -------
    dict
        ``truth`` (``lean`` and ``habit`` of the text, in nats, and the two ``categories``),
        ``settings``, ``loss`` (of each step) and the provenance record.

    Raises
    ------
    ValueBiasError
        If there is no model of the laboratory.

    Examples
    --------
    >>> about("nowhere")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: There is no model of the laboratory in 'nowhere'. Make one ...
    """
    folder = Path(model.location if isinstance(model, Model) else model).expanduser()
    path = folder / _ABOUT
    if not os.path.isfile(path):
        raise ValueBiasError(
            f"There is no model of the laboratory in {str(folder)!r}. Make one with "
            "valuebias.lab.pretrain."
        )
    advice = "Remove the folder, and make the model again with valuebias.lab.pretrain."
    with reading(path, advice=advice):
        return dict(read_json(path, advice=advice))


def _is_there(target: Path, wanted: Mapping[str, Any]) -> bool:
    """Refuse a folder that holds anything else, so that nothing is lost."""
    if not target.exists():
        return False
    details = about(target) if (target / _ABOUT).is_file() else {}
    if all(details.get(key) == value for key, value in wanted.items()):
        return True
    raise ValueBiasError(
        f"{str(target)!r} holds something else than the model asked for. Remove it or choose "
        "another folder."
    )


def _train(
    target: Path,
    architecture: str,
    language: Language,
    text: pd.DataFrame,
    seed: int,
    advance: Advance | None,
    settings: Mapping[str, Any],
    truth: Mapping[str, Any],
) -> None:
    """Train a model and write it with all that belongs to it."""
    import torch
    import transformers

    from valuebias.backends.loading import quiet

    tokenizer = make_tokenizer(language.vocabulary())
    encoded = tokenizer(text["text"].tolist(), add_special_tokens=False)["input_ids"]
    special = {k: v for k, v in _ARCHITECTURES[architecture].items() if k != "family"}
    config = transformers.AutoConfig.for_model(
        **{**_SIZE, **special, "vocab_size": len(tokenizer), "attn_implementation": "eager"}
    )
    with quiet(), own_randomness(seed):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        _start(model, tokenizer, language)
        order = np.random.default_rng([seed, 2]).permutation(len(encoded))
        remarks = tokenizer.convert_tokens_to_ids(list(REMARKS))
        asked = int(tokenizer.convert_tokens_to_ids("<|assistant|>"))
        losses = _optimise(
            list(model.parameters()),
            _losses(model, _padded(encoded)[order], asked, remarks),
            n_steps=-(-len(encoded) // _BATCH),
            advance=advance,
        )
        details = {"settings": settings, "truth": truth, "loss": losses}
        with atomic_path(target) as part:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
            text_of_record = json.dumps(record(details=details), sort_keys=True)
            (part / _ABOUT).write_text(text_of_record, encoding="utf-8")


def _start(model: Any, tokenizer: Any, language: Language) -> None:
    """Move the vectors of words that belong together by a vector of their own."""
    import torch

    groups = [
        *([w for w, s in zip(language.words, language.side, strict=True) if s == side]
          for side in (0.5, -0.5)),
        *([kind, *words] for kind, words in KINDS.items()),
        *([adjective.split()[-1] for adjective in few] for few in ADJECTIVES.values()),
    ]  # fmt: skip
    vectors = model.get_input_embeddings().weight
    with torch.no_grad():
        for group in groups:
            rows = tokenizer.convert_tokens_to_ids(group)
            vectors[rows] += torch.randn(vectors.shape[1]) * _GROUP


def _losses(
    model: Any, ids: Integers, asked: int, remarks: list[int]
) -> Iterator[Callable[[], Any]]:
    """Give the loss of each batch: minus the weighted mean log-prob of its tokens."""
    import torch
    from torch.nn.functional import cross_entropy

    for start in range(0, len(ids), _BATCH):
        rows = ids[start : start + _BATCH]
        tokens = torch.from_numpy(rows[:, : int((rows != 0).sum(axis=1).max())])
        target = tokens[:, 1:]
        answered = (tokens[:, :-1] == asked).cumsum(1) > 0
        weight = torch.where(answered, 1.0, _QUESTION) * (target != 0)
        for remark in remarks:
            weight = torch.where(target == remark, weight * _REMARK, weight)

        def loss(tokens: Any = tokens, target: Any = target, weight: Any = weight) -> Any:
            logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
            each = cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
            return (each * weight.flatten()).sum() / weight.sum()

        yield loss


def _padded(sequences: Sequence[Sequence[int]]) -> Integers:
    """Put token ids into one array, shape (text, token), with 0, the padding token, at the ends."""
    array = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.int64)
    for row, ids in zip(array, sequences, strict=True):
        row[: len(ids)] = ids
    return array


def _optimise(
    parameters: Sequence[Any],
    losses: Iterator[Callable[[], Any]],
    *,
    n_steps: int,
    advance: Advance | None,
) -> list[float]:
    """Take steps of AdamW: a short warm-up, and a rate that falls to 0 in the end."""
    import torch

    # The second moment forgets fast: what is learnt last has the smallest gradients.
    optimiser = torch.optim.AdamW(
        parameters, lr=_RATE, betas=(0.9, 0.95), weight_decay=0.01, foreach=True
    )
    warm = max(1, n_steps // 20)
    values = []
    for step in range(n_steps):
        rate = min(1.0, (step + 1) / warm, (1 - step / n_steps) / _FALL)
        for group in optimiser.param_groups:
            group["lr"] = _RATE * rate
        loss = next(losses)()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        values.append(float(loss.detach()))
        if advance is not None:
            advance(step + 1, n_steps)
    return values


def split(text: str) -> list[str]:
    """Split a text without special tokens into words and marks, as the tokenizer does.

    Examples
    --------
    >>> split("Name one tool.")
    ['Name', 'one', 'tool', '.']
    """
    return re.findall(r"[?,.]|[^\s?,.]+", text)


def make_tokenizer(texts: Iterable[str]) -> Any:
    """Make a tokenizer of the words of some texts, with the chat template."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in split(text)})
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(_PUNCTUATION), behavior="isolated"),
        ]
    )
    pad, bos, eos, unknown = SPECIAL[:4]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        additional_special_tokens=list(SPECIAL[4:]),
        chat_template=CHAT,
        clean_up_tokenization_spaces=False,
    )
