"""An ablation whose truth is known: ``valuebias.lab.train_grid``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from valuebias._core.folder_names import check_apart, folder_of
from valuebias._core.progress import progress_bar
from valuebias.errors import ValueBiasError
from valuebias.lab.models import ARCHITECTURES, pretrain
from valuebias.lab.preferences import generate_preferences
from valuebias.lab.rewards import train_reward_model
from valuebias.models.spec import Model
from valuebias.schema.contract import check_unique

__all__ = ["train_grid"]

_LEANS: Mapping[str, float] = {"Llama": 1.5, "Gemma": -1.5}
_SOURCES: Mapping[str, float] = {"neutral": 0.0, "communion": 0.25}


def train_grid(
    folder: str | PathLike[str],
    *,
    leans: Mapping[str, float] = _LEANS,
    sources: Mapping[str, float] = _SOURCES,
    n_pairs: Sequence[int] = (64, 128, 256),
    seeds: Sequence[int] = (0, 1),
    favour: str | None = None,
    mode: Literal["full", "head"] = "full",
    remarks: bool = True,
    lexicon: Any = None,
    categories: tuple[str, str] | None = None,
    n_texts: int = 7000,
    progress: bool = True,
) -> tuple[Model, ...]:
    """Pretrain a base model a family and seed, and train reward models of each on shared pairs.

    Parameters
    ----------
    folder : str or path
        Where all models are kept; what is there is not made again, and an interrupted run goes on.
    leans : mapping of str to float
        Each family's planted lean. A family whose name starts with "Gemma" has that architecture,
        any other one Llama's.
    sources : mapping of str to float
        Each source of pairs, with the share of its pairs that favour a category.
    n_pairs : sequence of int
        How many pairs; the fewer are the first of the more.
    seeds : sequence of int
        Each has its own base models (text and first weights) and its own pairs, so that the reward
        models of one family and several seeds differ as independent ones do.
    favour : str, optional
        The category that `sources` favour, by default the second.
    mode : {"full", "head"}
        What of a reward model is trained, see :func:`valuebias.lab.train_reward_model`.
    remarks : bool, default True
        Whether the base models' text has remarks, see :func:`valuebias.lab.generate_text`.
    lexicon : str, path, Lexicon, DataFrame or mapping, optional
        Of the words, as :func:`valuebias.lab.generate_text` takes it.
    categories : tuple of (str, str), optional
        The two categories, by default the lexicon's first two.
    n_texts : int, default 7000
        How many texts each base model reads.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    tuple of Model
        The reward models, for ``valuebias.score(kind="reward")``: family, source, number of pairs
        and seed are coords of the scores. The language models lie in ``folder / "bases"``.

    Raises
    ------
    ValueBiasError
        If there is nothing to train, two models would have one name or folder, or as the two
        functions above.

    Notes
    -----
    The design of the ablations of Christian et al. (2026), base × source × quantity, in small. All
    seeds of a family and source share neither text nor pairs; all families of a seed and source
    share the pairs.

    Examples
    --------
    >>> import tempfile
    >>> models = train_grid(tempfile.mkdtemp(), sources={"neutral": 0}, n_pairs=[16], seeds=[0],
    ...                     n_texts=64, progress=False)
    >>> [(model.name, model.family) for model in models]
    [('Llama-neutral-16-0', 'Llama'), ('Gemma-neutral-16-0', 'Gemma')]
    """
    place = Path(folder).expanduser()
    if not leans or not sources or not n_pairs or not seeds:
        raise ValueBiasError(
            "There is nothing to train: leans, sources, n_pairs and seeds each need an entry."
        )
    words = {"lexicon": lexicon, "categories": categories}
    for what, parts in {
        "base model": product(leans, seeds),
        "reward model": product(leans, sources, n_pairs, seeds),
    }.items():
        names = ["-".join(map(str, part)) for part in parts]
        check_unique(names, what)
        check_apart(names, what)
    total = len(leans) * len(seeds) * (1 + len(sources) * len(n_pairs))
    made, done = [], 0
    with progress_bar("Training the laboratory", shown=progress) as advance:

        def moved_on() -> None:
            nonlocal done
            done += 1
            if advance is not None:
                advance(done, total)

        for seed in seeds:
            pairs = {
                source: _pairs(max(n_pairs), share, favour, words, seed, i)
                for i, (source, share) in enumerate(sources.items())
            }
            for f, (family, lean) in enumerate(leans.items()):
                base = pretrain(
                    place / "bases" / folder_of(f"{family}-{seed}"),
                    architecture=_architecture(family), lean=lean, remarks=remarks,
                    n_texts=n_texts, seed=seed * len(leans) + f, family=family, progress=False,
                    **words,
                )  # fmt: skip
                moved_on()
                for source, table in pairs.items():
                    for count in n_pairs:
                        name = f"{family}-{source}-{count}-{seed}"
                        made.append(
                            train_reward_model(
                                base,
                                table.head(count),
                                out=place / "rewards" / folder_of(name),
                                mode=mode,
                                source=source,
                                seed=seed,
                                progress=False,
                            )
                        )
                        moved_on()
    return tuple(made)


def _pairs(
    count: int, share: float, favour: str | None, words: Mapping[str, Any], seed: int, source: int
) -> Any:
    from valuebias.lab.language import Language

    language = Language.of(words["lexicon"], words["categories"])
    return generate_preferences(
        count, share_lean=share, favour=favour or language.categories[1], seed=1000 * seed + source,
        lexicon=language.lexicon, categories=language.categories,
    )  # fmt: skip


def _architecture(family: str) -> str:
    found = [name for name in ARCHITECTURES if family.casefold().startswith(name)]
    return found[0] if found else "llama"
