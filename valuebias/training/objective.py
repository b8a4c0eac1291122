"""What reward models are trained for: ``valuebias.ablation.Objective``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from valuebias._core.checks import check_known, check_number
from valuebias.errors import ValueBiasError, shown

__all__ = ["BRADLEY_TERRY", "GRM", "KINDS", "Objective", "as_objectives"]

BRADLEY_TERRY, GRM = "bradley-terry", "grm"
KINDS = (BRADLEY_TERRY, GRM)
_HEADS = {BRADLEY_TERRY: "linear", GRM: "mlp"}
"""The heads, and which one an objective has by default."""
_REGULARISERS = ("sft", "dpo", "reference-free")
_OF_GRM = ("weight", "beta", "regulariser")
_DEFAULTS: Mapping[str, Any] = {"weight": 0.01, "beta": 0.1, "regulariser": "sft"}
_WIDTH, _WIDEST = 1024, 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    r"""What reward models are trained for: a loss, and the head that it is computed with.

    Attributes
    ----------
    kind : {"bradley-terry", "grm"}, default "bradley-terry"
        ``"bradley-terry"``: the chosen answer of a pair is to have the higher reward. ``"grm"``:
        the same, and a term that keeps the base able to write the answers (see Notes).
    name : str, optional
        What the coordinate ``objective`` of the trained models says; by default `kind`.
    head : {"linear", "mlp"}, optional
        From the last hidden state to the reward: one linear layer, the default of
        ``"bradley-terry"``; or linear, ReLU, linear, the default of ``"grm"``.
    width : int, optional
        Of ``"mlp"``: how wide the middle is; 1024 by default.
    weight : float, optional
        Of ``"grm"``: α, the share of the term in the loss, 0 or more and below 1; 0.01 by default.
        With 0 it is Bradley–Terry with the same head, to the last bit.
    beta : float, optional
        Of ``"grm"``: β, what log-probs are multiplied by, above 0; 0.1 by default.
    regulariser : {"sft", "dpo", "reference-free"}, optional
        Of ``"grm"``: which term; ``"sft"`` by default.

    Raises
    ------
    ValueBiasError
        If a setting is out of its range, or one of another kind or head.

    Notes
    -----
    GRM minimises

    .. math::

        (1 - \alpha) \, L_{\text{reward}} + \alpha \, E[-\log \sigma(\beta z)]

    with :math:`L_{\text{reward}} = E[-\log \sigma(r(x, y_c) - r(x, y_r))]` as Bradley and Terry
    have it, and z made of log-probs that the base's language-model head, kept as it was, gives on
    the hidden states that are being trained:

    - ``"sft"``: :math:`\log \pi(y_c | x)`;
    - ``"reference-free"``: :math:`\log \pi(y_c | x) - \log \pi(y_r | x)`;
    - ``"dpo"``: the same less :math:`\log \pi_0(y_c | x) - \log \pi_0(y_r | x)` of the base before
      training.

    A log-prob is summed over the answer's tokens, up to the end of the conversation.

    Source: Yang et al. 2024, "Regularizing Hidden States Enables Learning Generalizable Reward
    Model for LLMs" (arXiv 2406.10216), section 3; the defaults are those of their code. Christian
    et al. (2026) train the reward models of their ablation so: α 0.01, β 0.1, two layers.

    Examples
    --------
    >>> grm = Objective(kind="grm")
    >>> grm.name, grm.head, grm.width, grm.weight, grm.beta, grm.regulariser
    ('grm', 'mlp', 1024, 0.01, 0.1, 'sft')
    >>> Objective(kind="grm", beta=0)
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: beta is 0; expected a number above 0.
    """

    kind: str = BRADLEY_TERRY
    name: str = ""
    head: str = ""
    width: int | None = None
    weight: float | None = None
    beta: float | None = None
    regulariser: str | None = None

    def __post_init__(self) -> None:
        """Fill the blanks in, and check every setting."""
        check_known(self.kind, KINDS, f"The objective is {shown(self.kind)}.")
        name: Any = self.name or self.kind
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ValueBiasError(
                f"The name of the objective is {shown(name)}; expected text, such as 'grm'."
            )
        head = self.head or _HEADS[self.kind]
        check_known(head, sorted(set(_HEADS.values())), f"head is {shown(head)}.")
        for field, value in (("name", name), ("head", head)):
            object.__setattr__(self, field, value)
        if head == "linear":
            self._refuse("width", "the head 'linear', which has no middle", "head: mlp")
        else:
            self._fill("width", _WIDTH)
            check_number(self.width, "width", f"a whole number from 1 to {_WIDEST}", least=1,
                         most=_WIDEST, kinds=int)  # fmt: skip
        if self.kind != GRM:
            for field in _OF_GRM:
                self._refuse(field, f"the objective {self.kind!r}, which has no term", "kind: grm")
            return
        for field, default in _DEFAULTS.items():
            self._fill(field, default)
        kinds: Any = int | float
        expected = f"a number, 0 or more and below 1{_hint(self.weight)}"
        check_number(self.weight, "weight", expected, least=0, most=1, below=True, kinds=kinds)
        expected = f"a number above 0{_hint(self.beta)}"
        check_number(self.beta, "beta", expected, least=0, above=True, below=True, kinds=kinds)
        check_known(self.regulariser, _REGULARISERS, f"regulariser is {shown(self.regulariser)}.")

    @property
    def is_plain(self) -> bool:
        """Whether this is Bradley–Terry with a head of one layer, whatever it is called."""
        return self.kind == BRADLEY_TERRY and self.head == "linear"

    @property
    def has_term(self) -> bool:
        """Whether log-probs of the answers are part of the loss."""
        return self.kind == GRM and bool(self.weight)

    def about(self) -> dict[str, Any]:
        """Give what a result depends on.

        Returns
        -------
        dict
            The settings as JSON can hold them, without the name.
        """
        return {k: v for k, v in asdict(self).items() if v is not None and k != "name"}

    def _fill(self, field: str, default: Any) -> None:
        if getattr(self, field) is None:
            object.__setattr__(self, field, default)

    def _refuse(self, field: str, of: str, instead: str) -> None:
        if getattr(self, field) is not None:
            raise ValueBiasError(
                f"{field} is {shown(getattr(self, field))}, but this is {of}. Leave it out, or "
                f"give {instead}."
            )


def _hint(value: Any) -> str:
    # YAML reads 1e-2 as text; only 1.0e-2 is a number.
    return ". Write it as 1.0e-2 in YAML" if isinstance(value, str) else ""


def as_objectives(given: Any) -> tuple[Objective, ...]:
    """Take one objective or several in any of their forms.

    Examples
    --------
    >>> [each.name for each in as_objectives(["bradley-terry", {"kind": "grm", "name": "mild"}])]
    ['bradley-terry', 'mild']
    """
    several = isinstance(given, Sequence) and not isinstance(given, str)
    found = tuple(_as_objective(one) for one in (given if several else (given,)))
    names = [one.name for one in found]
    if not names:
        raise ValueBiasError(f"objective is {given!r}; expected one or more, of {list(KINDS)}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueBiasError(
            f"Two objectives are called {twice[0]!r}. Give each a name of its own, as in "
            f"{{'kind': 'grm', 'name': 'grm dpo', 'regulariser': 'dpo'}}."
        )
    return found


def _as_objective(given: Any) -> Objective:
    if isinstance(given, Objective):
        return given
    if isinstance(given, str):
        return Objective(kind=given)
    if not isinstance(given, Mapping):
        raise ValueBiasError(
            f"objective has {shown(given)}; expected one of {list(KINDS)}, or settings with a kind."
        )
    known = [field.name for field in fields(Objective)]
    for key in given:
        check_known(key, known, f"objective has {key!r}.")
    return Objective(**given)
