"""What reward models are trained for: ``valuebias.ablation.Objective``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from valuebias._core.checks import check_known, check_number
from valuebias.errors import ValueBiasError, shown
from valuebias.training.coherence import SMOOTHNESS_WEIGHT, VALUE_WEIGHT

__all__ = ["BRADLEY_TERRY", "GRM", "KINDS", "TCRM", "Objective", "as_objectives"]

BRADLEY_TERRY, GRM, TCRM = "bradley-terry", "grm", "tcrm"
KINDS = (BRADLEY_TERRY, GRM, TCRM)
_HEADS = {BRADLEY_TERRY: "linear", GRM: "mlp", TCRM: "linear"}
"""The heads, and which one an objective has by default."""
_REGULARISERS = ("sft", "dpo", "reference-free")
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    BRADLEY_TERRY: {},
    GRM: {"weight": 0.01, "beta": 0.1, "regulariser": "sft"},
    TCRM: {"value_weight": VALUE_WEIGHT, "smoothness_weight": SMOOTHNESS_WEIGHT},
}
"""What only some objectives have."""
_WIDTH, _WIDEST = 1024, 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    r"""What reward models are trained for: a loss, and the head that it is computed with.

    Attributes
    ----------
    kind : {"bradley-terry", "grm", "tcrm"}, default "bradley-terry"
        ``"bradley-terry"``: the chosen answer of a pair is to have the higher reward. ``"grm"``:
        the same, and a term that keeps the base able to write the answers. ``"tcrm"``: the same,
        and two terms that make rewards along an answer coherent (see Notes).
    name : str, optional
        What the coordinate ``objective`` of the trained models says; by default `kind`.
    head : {"linear", "mlp"}, optional
        From the last hidden state to the reward: one linear layer, the default of all others; or
        linear, ReLU, linear, the default of ``"grm"``.
    width : int, optional
        Of ``"mlp"``: how wide the middle is; 1024 by default.
    weight : float, optional
        Of ``"grm"``: α, the share of the term in the loss, 0 or more and below 1; 0.01 by default.
        With 0 it is Bradley–Terry with the same head, to the last bit.
    beta : float, optional
        Of ``"grm"``: β, what log-probs are multiplied by, above 0; 0.1 by default.
    regulariser : {"sft", "dpo", "reference-free"}, optional
        Of ``"grm"``: which term; ``"sft"`` by default.
    value_weight, smoothness_weight : float, optional
        Of ``"tcrm"``: λ₁ and λ₂, what the two terms weigh, 0 or more; 0.1 and 0.01 by default. With
        0 for both it is Bradley–Terry, to the last bit.

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

    TCRM, temporally coherent reward models, minimises

    .. math::

        L_{\text{reward}} + \lambda_1 \, E\!\left[(r_t - \mathrm{sg}(r_T))^2\right]
        + \lambda_2 \, E\!\left[(r_{t+1} - r_t)^2\right]

    with :math:`r_t` the reward at token t of an answer, from its first on, :math:`r_T` the one at
    the end of the conversation, which alone is in :math:`L_{\text{reward}}`, and sg stopping the
    gradient. Means are over the tokens t < T of an answer, then over all answers, chosen and
    rejected; one of a single token adds nothing. A beginning's reward is to be an estimate of the
    final one (value regression), and rewards are not to jump (temporal difference). This is our
    reading of the two terms of Nikulkov 2026 (arXiv 2604.22981), whose weights are the defaults.
    :func:`fit_head` has the same terms without the stopped gradient, for a frozen base.

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
    value_weight: float | None = None
    smoothness_weight: float | None = None

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
        for kind, settings in _DEFAULTS.items():
            for field, default in settings.items():
                if kind == self.kind:
                    self._fill(field, default)
                else:
                    which = f"the objective {self.kind!r}, whose loss has no such term"
                    self._refuse(field, which, f"kind: {kind}")
        kinds: Any = int | float
        if self.kind == TCRM:
            for field in _DEFAULTS[TCRM]:
                value = getattr(self, field)
                expected = f"a number, 0 or more{_hint(value)}"
                check_number(value, field, expected, least=0, below=True, kinds=kinds)
        if self.kind != GRM:
            return
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
    def has_log_probs(self) -> bool:
        """Whether log-probs of the answers are part of the loss."""
        return self.kind == GRM and bool(self.weight)

    @property
    def has_coherence(self) -> bool:
        """Whether rewards along the answers are part of the loss."""
        return self.kind == TCRM and bool(self.value_weight or self.smoothness_weight)

    @property
    def has_term(self) -> bool:
        """Whether anything but the final rewards is part of the loss."""
        return self.has_log_probs or self.has_coherence

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
