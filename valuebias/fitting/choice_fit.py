"""A learning model fitted to choices: its estimates, predictions and fit."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.checks import check_known, check_number
from valuebias._core.notebooks import as_html
from valuebias.analysis.estimands.convergence import convergence
from valuebias.analysis.learning.likelihood import Maximum, fit_table
from valuebias.analysis.learning.rules import LearningRule
from valuebias.analysis.learning.sequences import Sequences
from valuebias.errors import ValueBiasError, few, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from valuebias.analysis.learning.hierarchy import Pooled

__all__ = ["ChoiceFit"]

Array = NDArray[np.float64]

_K_LIMIT = 0.7
_RHAT = 1.01


@dataclass(frozen=True, eq=False, repr=False)
class ChoiceFit:
    """A learning model fitted to choices; :func:`valuebias.fit_choices` makes it.

    Attributes
    ----------
    choices : xarray.Dataset
        What was fitted.
    rule : LearningRule
        The learning model.
    method : {"likelihood", "hierarchical"}
        How it was fitted.

    Examples
    --------
    >>> import valuebias
    >>> task = valuebias.bandit_task(trials=8, tasks=4, seed=1)
    >>> fit = valuebias.fit_choices(valuebias.simulate_choices(task, seed=1), value="relative")
    >>> fit.summary()["parameter"].tolist()
    ['learning_rate', 'inverse_temperature']
    """

    choices: xr.Dataset = field(repr=False)
    rule: LearningRule
    method: str
    sequences: Sequences = field(repr=False)
    families: tuple[str, ...]  # of each model
    maxima: tuple[Maximum, ...] = field(default=(), repr=False)
    pooled: Pooled | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        n = len(self.sequences.models)
        return f"<ChoiceFit: {self.rule.describe()}, {n} model{'s' * (n != 1)}>"

    def _repr_html_(self) -> str:
        """Show the headline and the estimates in a notebook."""
        return as_html(self.headline(), self.summary(), most=40)

    def summary(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Give the estimates.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the intervals.

        Returns
        -------
        pandas.DataFrame
            A row per model and parameter. By likelihood: ``estimate``; ``se`` by the expected
            Hessian, which takes each choice as one; ``se_cluster``, robust to what choices of a
            task share; ``lower`` and ``upper`` by the profile likelihood; ``at_bound``, where an
            estimate is at the end of its range: it has no standard error, and its interval ends
            there. Hierarchical: ``level`` ("family" rows come first), ``name``, ``parameter``,
            ``mean``, ``sd``, ``lower``, ``upper``, ``rhat`` and ``ess``.

        Raises
        ------
        ValueBiasError
            If `prob` is not between 0 and 1.
        """
        check_number(prob, "prob", "a number between 0 and 1", least=0, most=1, above=True,
                     below=True)  # fmt: skip
        if self.pooled is None:
            rows = [row for one in self.maxima for row in one.rows(self.rule, prob)]
            table = pd.DataFrame(rows)
            table.insert(1, "family", [self._family(name) for name in table["model"]])
            return table
        return _posterior_table(self.pooled.posterior, prob)

    def _drawn(self) -> Pooled:
        if self.pooled is None:
            raise ValueBiasError(
                "Draws are of a hierarchical fit, and this one is of maximum likelihood. Fit with "
                "method='hierarchical', or use fit.fit_statistics()."
            )
        return self.pooled

    def _family(self, model: str) -> str:
        return self.families[self.sequences.models.index(model)]

    def _free(self) -> Array:
        """Give one value of each model's parameters: estimates, or posterior means."""
        if self.pooled is None:
            return np.array([one.free for one in self.maxima])
        return np.asarray(self.pooled.free().mean(axis=(0, 1)))

    def fit_statistics(self) -> pd.DataFrame:
        """Give log-likelihood, AIC and BIC by model.

        Returns
        -------
        pandas.DataFrame
            A row per model: ``n`` choices, ``n_tasks``, ``parameters``, ``log_lik``, ``aic`` and
            ``bic``. Of expected choices the log-likelihood is Σ p log q.

        Raises
        ------
        ValueBiasError
            If the fit is hierarchical.
        """
        if self.pooled is not None:
            raise ValueBiasError(
                "AIC and BIC are of maximum likelihood, and this fit is hierarchical. Use "
                "fit.loo(), or fit with method='likelihood'."
            )
        return fit_table(list(self.maxima), self.rule)

    def log_likelihood(self) -> xr.DataArray:
        """Give the log-likelihood of each model's tasks at each draw.

        Returns
        -------
        xarray.DataArray
            (chain, draw, sequence), a sequence being one model's choices in one task.

        Raises
        ------
        ValueBiasError
            If the fit is not hierarchical.
        """
        free = self._drawn().free()
        flat = free.reshape(-1, *free.shape[2:])
        values = np.array([self.sequences.run(self.rule, one)[0] for one in flat])
        own = self.sequences
        return xr.DataArray(
            values.reshape(*free.shape[:2], -1),
            dims=("chain", "draw", "sequence"),
            coords={
                "model": ("sequence", [own.models[i] for i in own.owner]),
                "task": ("sequence", [own.tasks[i] for i in own.task]),
            },
        )

    def loo(self) -> pd.DataFrame:
        """Leave out each model's tasks in turn, by Pareto-smoothed importance sampling (ArviZ).

        Returns
        -------
        pandas.DataFrame
            A row per model and task: ``model``, ``task``, ``elpd`` and ``pareto_k``; above .7 the
            weights are not to be trusted.

        Raises
        ------
        ValueBiasError
            If the fit is not hierarchical.
        """
        import arviz as az

        values = self.log_likelihood()
        bare = xr.Dataset({"choices": values.drop_vars(["model", "task"])})
        groups: dict[str, Any] = {"posterior": self._drawn().posterior, "log_likelihood": bare}
        old = int(az.__version__.split(".")[0]) < 1
        made = az.InferenceData(**groups) if old else xr.DataTree.from_dict(groups)
        with warnings.catch_warnings():
            # Large k are in the table.
            warnings.simplefilter("ignore", UserWarning)
            found = az.loo(made, pointwise=True)
        elpd = found["loo_i"] if old else found.elpd_i
        return pd.DataFrame(
            {
                "model": values["model"].to_numpy(),
                "task": values["task"].to_numpy(),
                "elpd": np.asarray(elpd).ravel(),
                "pareto_k": np.asarray(found.pareto_k).ravel(),
            }
        )

    def compare(self, *others: ChoiceFit) -> pd.DataFrame:
        """Compare learning models of the same choices.

        Parameters
        ----------
        *others : ChoiceFit
            Other fits of the same choices by the same method.

        Returns
        -------
        pandas.DataFrame
            The best first. By likelihood, over all models: ``parameters``, ``log_lik``, ``aic``,
            ``bic`` (the sum of the models' own) and the differences to the best, ``aic_diff`` and
            ``bic_diff``. Hierarchical: ``elpd``, ``elpd_diff`` to the best with its ``se_diff``
            over models' tasks, and ``unsure``, how many Pareto k are above .7.

        Raises
        ------
        ValueBiasError
            If there is no other fit, or one of other choices or by another method.
        """
        if not others or not all(isinstance(one, ChoiceFit) for one in others):
            raise ValueBiasError(
                "compare takes further fits of the same choices, as fit.compare(other), each what "
                "valuebias.fit_choices(...) returned."
            )
        fits = (self, *others)
        for one in others:
            if one.method != self.method:
                raise ValueBiasError(
                    f"One fit is {self.method!r} and another {one.method!r}; fit both by one "
                    "method=."
                )
            if not one.choices["chose_first"].identical(self.choices["chose_first"]):
                raise ValueBiasError("The fits are of different choices; expected the same.")
        names = _named([_short(one.rule) for one in fits])
        if self.pooled is not None:
            return _compared_by_loo(dict(zip(names, fits, strict=True)))
        rows = []
        for one in fits:
            stats = one.fit_statistics()
            rows.append(stats[["parameters", "log_lik", "aic", "bic"]].sum())
        table = pd.DataFrame(rows, index=pd.Index(names, name="fit"))
        for name in ("aic", "bic"):
            table[f"{name}_diff"] = table[name] - table[name].min()
        return table.astype({"parameters": int}).sort_values("bic", kind="stable")

    def predicted(self) -> xr.Dataset:
        """Give the choices that the learning model expects at its estimates.

        Returns
        -------
        xarray.Dataset
            As the choices fitted, with probabilities by the model; of a hierarchical fit at the
            posterior mean of the parameters.
        """
        own = self.sequences
        chance = own.run(self.rule, self._free())[2]
        lengths = np.diff(own.start)
        out = np.full(self.choices["chose_first"].transpose("model", "task", "trial").shape, np.nan)
        out[np.repeat(own.owner, lengths), np.repeat(own.task, lengths), own.place] = chance
        made = self.choices.drop_vars("p_offered", errors="ignore")
        made = made.assign(chose_first=(("model", "task", "trial"), out))
        return made.assign_attrs(how="expected")

    def headline(self) -> str:
        """Say in sentences what was fitted and found.

        Returns
        -------
        str
            What choices are, the parameters of each model or family, and what is not to be trusted.
        """
        n = int(self.sequences.n_choices().sum())
        models = len(self.sequences.models)
        kind = str(self.choices.attrs["how"])
        by = "by maximum likelihood" if self.pooled is None else "hierarchical"
        said = [
            f"{self.rule.describe()}, {by}: {n:,} {kind} choices of {models} "
            f"model{'s' * (models != 1)}."
        ]
        if kind == "expected":
            said.append(
                "The likelihood is Σ p log q of expected choices, and intervals are those of one "
                "draw per trial."
            )
        table = self.summary()
        who, mean = ("model", "estimate") if self.pooled is None else ("name", "mean")
        if self.pooled is not None:
            table = table[table["level"] == "family"]
        for name in self.rule.names:
            rows = table[table["parameter"] == name]
            each = [_interval(row, str(row[who]), float(row[mean])) for _, row in rows.iterrows()]
            said.append(f"{name.replace('_', ' ').capitalize()}: {few(each, quote=False)}.")
        return " ".join(said + self._doubts(table))

    def _doubts(self, table: pd.DataFrame) -> list[str]:
        if self.pooled is None:
            found = []
            at = table[table["at_bound"]]
            if len(at):
                which = few([f"{r['parameter']} of {r['model']}" for _, r in at.iterrows()],
                            quote=False)  # fmt: skip
                found.append(f"At the end of the range, and so without a standard error: {which}.")
            flat = table[~table["at_bound"] & table["se"].isna()]
            if len(flat):
                which = few(dict.fromkeys(map(str, flat["model"])))
                found.append(f"The choices of {which} do not tell the parameters apart.")
            return found
        whole = self.summary()
        diverging = int(self.pooled.stats["diverging"].sum())
        worst = float(whole["rhat"].max())
        found = []
        if worst > _RHAT:
            found.append(f"Chains disagree (R-hat up to {worst:.2f}); give more draws=.")
        if diverging:
            found.append(f"{diverging} transitions diverged.")
        return found

    def plot(self, kind: str = "measures") -> Figure:
        """Draw the fit.

        Parameters
        ----------
        kind : {"measures", "parameters"}
            What choices show beside what the learning model expects, or its parameters.

        Returns
        -------
        matplotlib.figure.Figure
            A new figure.

        Raises
        ------
        ValueBiasError
            If there is no such figure.
        """
        from valuebias.plots.choices import plot_choices, plot_learning

        check_known(kind, ("measures", "parameters"), f"kind is {shown(kind)}.")
        if kind == "measures":
            return plot_choices(self.choices, predicted=self.predicted())
        table = self.summary()
        if self.pooled is not None:
            table = table[table["level"] == "model"].rename(
                columns={"name": "model", "mean": "estimate"}
            )
            table = table.assign(family=[self._family(str(name)) for name in table["model"]])
        return plot_learning(table)


def _interval(row: Any, name: str, mean: float) -> str:
    ends = [float(row["lower"]), float(row["upper"])]
    if not np.isfinite(ends).all():
        return f"{name} {mean:.2f}"
    return f"{name} {mean:.2f} (90% interval {ends[0]:.2f} to {ends[1]:.2f})"


def _posterior_table(posterior: xr.Dataset, prob: float) -> pd.DataFrame:
    tail = (1 - prob) / 2
    rows = []
    for level in ("family", "model"):
        values = posterior[f"by_{level}"].transpose(level, "parameter", "chain", "draw")
        flat = values.to_numpy().reshape(-1, *values.shape[2:])
        rhat, bulk, _ = convergence(flat)
        ends = np.quantile(flat.reshape(len(flat), -1), [tail, 1 - tail], axis=1)
        labels = [(str(n), str(p)) for n in values[level].to_numpy()
                  for p in values["parameter"].to_numpy()]  # fmt: skip
        rows += [
            {"level": level, "name": name, "parameter": parameter, "mean": flat[i].mean(),
             "sd": flat[i].std(ddof=1), "lower": ends[0, i], "upper": ends[1, i],
             "rhat": rhat[i], "ess": bulk[i]}
            for i, (name, parameter) in enumerate(labels)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _short(rule: LearningRule) -> str:
    rates = {"none": "one rate", "confirmation": "two rates", "sign": "two rates by sign"}
    return f"{rule.value}, {rates[rule.split]}"


def _named(names: list[str]) -> list[str]:
    """Tell names apart that occur more than once."""
    return [f"{n} ({names[: i + 1].count(n)})" if names.count(n) > 1 else n
            for i, n in enumerate(names)]  # fmt: skip


def _compared_by_loo(fits: dict[str, ChoiceFit]) -> pd.DataFrame:
    found = {name: one.loo() for name, one in fits.items()}
    best = max(found, key=lambda name: float(found[name]["elpd"].sum()))
    rows = []
    for table in found.values():
        difference = (table["elpd"] - found[best]["elpd"]).to_numpy()
        n = len(difference)
        rows.append(
            {"elpd": table["elpd"].sum(), "elpd_diff": difference.sum(),
             "se_diff": np.sqrt(n) * difference.std(ddof=1) if n > 1 else np.nan, "n": n,
             "unsure": int((table["pareto_k"] > _K_LIMIT).sum())}
        )  # fmt: skip
    table = pd.DataFrame(rows, index=pd.Index(list(found), name="fit"))
    return table.sort_values("elpd", ascending=False, kind="stable")
