"""An ablation as one experiment: bases × sources × numbers of pairs × seeds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known, distinct_whole
from valuebias._core.tables import read_yaml
from valuebias.errors import ValueBiasError
from valuebias.models.spec import Model, check_no_code, read_models
from valuebias.preference_data.preferences import Preferences, check_disjoint, preferences
from valuebias.training.objective import GRM, TCRM, Objective, as_objectives
from valuebias.training.settings import as_settings

if TYPE_CHECKING:
    from distributed import Client

    from valuebias.ablation.plan import StudyPlan
    from valuebias.backends.base import Backend

__all__ = ["RUN_COORDS", "TUNINGS", "Study"]

RUN_COORDS = ("base", "objective", "source", "n_pairs", "seed")
"""The coordinates that identify the reward models of a study."""
TUNINGS = ("head", "lora", "full")
"""The ways to train them."""


@dataclass(frozen=True)
class Study:
    """Reward models of several bases, trained on the same preferences.

    Attributes
    ----------
    bases : Model, str, path, mapping, DataFrame, or sequence of these
        The base models, in any form that :func:`valuebias.read_models` takes. The analysis compares
        their `family`; their `template` writes conversations.
    sources : mapping of str to anything
        Preferences by name, in any form that :func:`valuebias.preferences` takes, or its result.
    n_pairs : sequence of int
        How many preference pairs to train on. With one seed, fewer pairs are a subset of more.
    seeds : sequence of int, default (0, 1, 2)
        Each seed draws its own pairs.
    tuning : {"head", "lora", "full"}, default "head"
        ``"head"``: the base is frozen, and a linear Bradley–Terry head is fitted exactly to its
        hidden states. ``"lora"``: low-rank changes of the base's matrices are trained together with
        a head. ``"full"``: all weights are trained. These two are scored at several steps.
    training : TrainingSettings, str or mapping, optional
        For ``"lora"`` and ``"full"``: settings, the name of a preset, or settings by name. By
        default the preset ``"paper"``.
    objective : Objective, str or mapping, or sequence of these, default "bradley-terry"
        For ``"lora"`` and ``"full"``: what models are trained for, by name (``"bradley-terry"``,
        ``"grm"``, ``"tcrm"``) or with settings. Of several each trains models of its own, on the
        same pairs, which differ in the coordinate ``objective``.
    held_out : float, or what :func:`valuebias.preferences` takes, default 0.1
        The share of each source's prompts kept for measuring loss and accuracy, the same for every
        run. Or separate pairs on which all sources are measured, whose prompts must not occur in
        the sources.
    penalty : float, optional
        Of the head's weights, for ``"head"`` only; by default that of
        :func:`valuebias.ablation.fit_head`.
    prompts, lexicon : str, path, or what :func:`valuebias.score` takes
        The instrument that the trained models score.
    trust_remote_code : bool, default False
        Whether `bases`, if it is a file, may request to run the code that comes with a model, as in
        :func:`valuebias.read_models`.

    Raises
    ------
    ValueBiasError
        If there are no numbers of pairs, seeds, sources or bases, or a setting is out of range.

    Examples
    --------
    >>> import pandas as pd
    >>> pairs = pd.DataFrame({"prompt": ["Hi?", "Yo?"], "chosen": ["a", "b"],
    ...                       "rejected": ["c", "d"]})
    >>> study = Study("models/lm", {"tiny": pairs}, [1, 2], seeds=[0])
    >>> study.runs()["n_pairs"].tolist()
    [1, 2]
    """

    bases: Any
    sources: Mapping[str, Any]
    n_pairs: Sequence[int]
    _: KW_ONLY
    seeds: Sequence[int] = (0, 1, 2)
    tuning: str = "head"
    training: Any = None
    objective: Any = "bradley-terry"
    held_out: Any = 0.1
    penalty: float | None = None
    prompts: Any = "superlatives"
    lexicon: Any = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        """Check the numbers; inputs from files are checked when they are read."""
        check_known(self.tuning, TUNINGS, f"tuning is {self.tuning!r}.")
        if not isinstance(self.sources, Mapping) or not self.sources:
            raise ValueBiasError(
                f"sources is {self.sources!r}; expected a mapping from names to preferences, such "
                "as {'helpful': 'helpful.jsonl'}."
            )
        for name, numbers, least in (("n_pairs", self.n_pairs, 1), ("seeds", self.seeds, 0)):
            object.__setattr__(self, name, distinct_whole(numbers, name, least=least))
        if isinstance(self.held_out, int | float) and not 0 < self.held_out < 1:
            raise ValueBiasError(f"held_out is {self.held_out!r}; expected a share, 0 to 1.")
        object.__setattr__(self, "objective", as_objectives(self.objective))
        if self.tuning == "head":
            _check_head(self.objective)
        if self.tuning == "head" and self.training is not None:
            raise ValueBiasError(
                "training is given, but the tuning is 'head', which is fitted exactly. Leave it "
                "out, or choose the tuning 'lora' or 'full'."
            )
        if self.tuning != "head":
            if self.penalty is not None:
                raise ValueBiasError(
                    f"penalty is given, but the tuning is {self.tuning!r}; only 'head' has a "
                    "penalty. Leave it out."
                )
            object.__setattr__(self, "training", as_settings(self.training))

    @classmethod
    def read(cls, path: str | PathLike[str], *, trust_remote_code: bool = False) -> Study:
        """Read a study from a YAML file.

        Parameters
        ----------
        path : path
            A mapping with the attributes of a study; file names are relative to its folder.
        trust_remote_code : bool, default False
            Whether it may request to run the code that comes with a model; the file alone cannot
            allow that.

        Returns
        -------
        Study
            As written.

        Raises
        ------
        ValueBiasError
            If it cannot be read, a key is missing or unknown, or it requests to run code without
            permission.
        """
        file = Path(path)
        content = read_yaml(file)
        known = [field.name for field in fields(cls) if field.name != "trust_remote_code"]
        if not isinstance(content, Mapping):
            raise ValueBiasError(f"The study {str(path)!r} is not a mapping; expected {known}.")
        for key in content:
            check_known(key, known, f"The study {str(path)!r} has a key {key!r}.")
        for key in ("bases", "sources", "n_pairs"):
            if key not in content:
                raise ValueBiasError(f"The study {str(path)!r} lacks {key!r}.")
        attributes = dict(content)
        for key in ("bases", "held_out", "prompts", "lexicon"):
            if key in attributes:
                attributes[key] = _beside(file.parent, attributes[key])
        if isinstance(attributes["sources"], Mapping):
            sources = attributes["sources"].items()
            attributes["sources"] = {str(k): _beside(file.parent, source) for k, source in sources}
        if not trust_remote_code:
            check_no_code(read_models(attributes["bases"]), file)
        return cls(**attributes, trust_remote_code=trust_remote_code)

    def models(self) -> tuple[Model, ...]:
        """Read the bases.

        Returns
        -------
        tuple of Model
            With distinct names.

        Raises
        ------
        ValueBiasError
            If one of them cannot be parsed.
        """
        return read_models(self.bases, trust_remote_code=self.trust_remote_code)

    def preferences(self) -> dict[str, Preferences]:
        """Read the sources.

        Returns
        -------
        dict of str to Preferences
            By name.

        Raises
        ------
        ValueBiasError
            If one cannot be read.
        """
        return {
            str(name): source if isinstance(source, Preferences) else preferences(source, name=name)
            for name, source in self.sources.items()
        }

    def split(self) -> dict[str, tuple[Preferences, Preferences]]:
        """Read the sources, and split each into training and held-out pairs.

        Returns
        -------
        dict of str to (Preferences, Preferences)
            By name: the pairs to train on, and those to measure loss and accuracy on.

        Raises
        ------
        ValueBiasError
            If a source cannot be read, has fewer training pairs than the largest of `n_pairs`, or
            shares a prompt with the held-out pairs.
        """
        share, common = self.held_out, None
        if not isinstance(share, int | float):
            is_read = isinstance(share, Preferences)
            common = share if is_read else preferences(share, name="held out")
        out = {}
        for name, source in self.preferences().items():
            train, held_out = source.split(held_out=share) if common is None else (source, common)
            check_disjoint(train, held_out)
            if len(train) < max(self.n_pairs):
                kept = f" ({share:.0%} of its prompts are held out)" if common is None else ""
                raise ValueBiasError(
                    f"The source {name!r} has {len(train)} pairs to train on{kept}, but "
                    f"{max(self.n_pairs)} are needed. Give more, or a smaller n_pairs."
                )
            out[name] = train, held_out
        return out

    def runs(self) -> pd.DataFrame:
        """List the reward models to be trained.

        Returns
        -------
        pandas.DataFrame
            One row each: ``base``, ``objective``, ``source``, ``n_pairs``, ``seed``.
        """
        rows = [
            (model.name, objective.name, str(source), n_pairs, seed)
            for model in self.models()
            for objective in self.objective
            for source in self.sources
            for seed in self.seeds
            for n_pairs in sorted(self.n_pairs)
        ]
        return pd.DataFrame(rows, columns=list(RUN_COORDS))

    def plan(self) -> StudyPlan:
        """Compute the cost of the study: runs, pairs, tokens, time and disk.

        Returns
        -------
        StudyPlan
            Printable.

        Raises
        ------
        ValueBiasError
            If a base or a source is not available.
        """
        from valuebias.ablation.plan import make_plan

        return make_plan(self)

    def run(
        self,
        out: str | PathLike[str],
        *,
        backend: str | type[Backend] | Backend = "torch",
        client: Client | None = None,
        progress: bool = True,
    ) -> xr.Dataset:
        """Train and score what is missing.

        Parameters
        ----------
        out : path
            Output folder, created if missing. Finished runs with the same settings are kept.
        backend : str, type of Backend or Backend
            The backend that computes hidden states.
        client : distributed.Client, optional
            A client of a Dask cluster, whose workers train: each one model at a time, or for
            ``"head"`` all heads of one base. They write into `out`, which all of them must see, and
            find bases under the same paths. A run whose worker was killed is done again by another.
            Needs ``pip install "valuebias[cluster]"``.
        progress : bool, default True
            Show progress on standard error.

        Returns
        -------
        xarray.Dataset
            Rewards in the "valuebias/1" contract, with the coords ``source``, ``n_pairs``,
            ``seed``, ``step``, ``tuning``, ``objective``, and ``loss`` (Bradley–Terry, in nats) and
            ``accuracy`` on held-out pairs. One model per run (``step`` is 1) for ``"head"``; else
            one per checkpoint. Also saved in the folder, as ``scores.nc``.

        Raises
        ------
        ValueBiasError
            If a base or a source is not available, no run could be trained, a file cannot be
            written (the disk is full), another process works in the folder, packages for
            training are not installed, or `client` has no workers, or such as cannot train.

        Warns
        -----
        ValueBiasWarning
            If a run failed, such as by a loss that is not finite; the others continue.

        Notes
        -----
        The process may be killed at any time, and the same call continues. Finished runs are kept.
        An unfinished run is trained again from step 0, but keeps the checkpoints that it has
        scored; on a CPU the result is the same to the last bit.
        """
        from valuebias.ablation.run import run

        return run(self, Path(out), backend=backend, client=client, progress=progress)


def _check_head(objectives: Sequence[Objective]) -> None:
    """Refuse what an exact fit on a frozen base cannot be."""
    for objective in objectives:
        if objective.kind == GRM:
            raise ValueBiasError(
                f"The objective is {objective.name!r} (grm), and the tuning is 'head', which keeps "
                "the base frozen. Its term depends on the weights of the base alone, so that it "
                "would change nothing. Choose the tuning 'lora' or 'full', or the objective "
                "'bradley-terry'."
            )
        if objective.kind == TCRM:
            raise ValueBiasError(
                f"The objective is {objective.name!r} (tcrm), and the tuning is 'head', for which "
                "a study keeps hidden states at the end of answers only. Choose the tuning 'lora' "
                "or 'full'; or fit heads one by one, valuebias.ablation.fit_head(..., "
                "coherence=...)."
            )
        if not objective.is_plain:
            raise ValueBiasError(
                f"The objective {objective.name!r} has the head {objective.head!r}, and the tuning "
                "is 'head', which fits a head of one layer exactly. Leave head out, or choose the "
                "tuning 'lora' or 'full'."
            )
    if len(objectives) > 1:
        raise ValueBiasError(
            f"objective has {len(objectives)} entries, and with the tuning 'head' all of them give "
            "the same models. Leave it out."
        )


def _beside(folder: Path, source: Any) -> Any:
    """Resolve a file name relative to the study, if there is such a file or folder."""
    if isinstance(source, str) and os.path.exists(folder / source):
        return str(folder / source)
    if isinstance(source, list):
        return [_beside(folder, entry) for entry in source]
    if isinstance(source, Mapping):
        # A table of models: its keys are both locations and names.
        return dict(_named(key, _beside(folder, key), value) for key, value in source.items())
    return source


def _named(name: Any, source: Any, fields: Any) -> tuple[Any, Any]:
    if source == name or not isinstance(fields, Mapping | None):
        return source, fields
    return source, {"name": name, **(fields or {})}
