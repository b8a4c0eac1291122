"""The contract between the core and its inference backends.

The core renders and tokenises whole conversations and lays them out as :class:`Pack` s. A
:class:`Backend` says what it can do and loads a model; the :class:`LoadedModel` turns packs into
numbers. Nothing else crosses the line: no text, no tokenizer, no cache, no state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from valuebias.errors import ValueBiasError

__all__ = [
    "OWN_OUTPUT",
    "STEPS",
    "Backend",
    "LoadedModel",
    "OutOfMemory",
    "Pack",
    "Source",
    "conversations",
    "hidden_states",
    "reading_place",
]

STEPS = "steps"
"""The head of process reward models: what their output has at the marks after each step."""
OWN_OUTPUT = ("score", "rewards", STEPS)
"""What a model's own output may have its rewards in, beside its logits."""

Kind = Literal["reward", "logprob"]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """Conversations laid out as one sequence of tokens: a prefix trie in depth-first order.

    A beginning that conversations share occurs once. The token with index q attends to the
    token with index k if and only if ``k <= q < end[k]``.

    Attributes
    ----------
    ids : numpy.ndarray of int64, shape (T,)
        Token ids.
    position : numpy.ndarray of int64, shape (T,)
        Each token's position in its conversation, from 0.
    end : numpy.ndarray of int64, shape (T,)
        The first index after the token's subtree.
    gather : numpy.ndarray of int64, shape (R,)
        Indices of the tokens to read at, ascending.
    row : numpy.ndarray of int64, shape (M,), optional
        For log-probs of given tokens: which of the R reading places predicts ...
    target : numpy.ndarray of int64, shape (M,), optional
        ... which token id.

    Examples
    --------
    The conversations 5 6 7 and 5 8 share their first token:

    >>> pack = Pack(
    ...     ids=np.array([5, 6, 7, 8]),
    ...     position=np.array([0, 1, 2, 1]),
    ...     end=np.array([4, 3, 3, 4]),
    ...     gather=np.array([2, 3]),
    ... )
    >>> [path.tolist() for path in conversations(pack)[0]]
    [[0, 1, 2], [0, 3]]
    """

    ids: Integers
    position: Integers
    end: Integers
    gather: Integers
    row: Integers | None = None
    target: Integers | None = None

    def __len__(self) -> int:
        """Count the tokens."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model whose files lie on this machine, and what to read from it.

    Attributes
    ----------
    name : str
        What to call the model in messages.
    folder : pathlib.Path
        Holds the configuration and the weights.
    file : str, optional
        The one file with the weights, where that is a GGUF or an ONNX file; inside `folder`.
    kind : {"reward", "logprob"}
        What to compute.
    head : str or callable
        Where the reward comes from. ``"logits"``: the model's classification head, of whose labels
        `label` is read. ``"score"``, ``"rewards"``: the attribute of that name that the model's own
        output has, of one value a conversation, or of one a label. ``"steps"``: the probability of
        `label` at each `step_token`, over which `over_steps` is taken. A callable: takes hidden
        states after the last norm, a torch.Tensor of float32, shape (R, hidden), and returns
        rewards, shape (R,) or (R, 1).
    own_code : bool
        Whether ``"logits"`` are those that the model itself puts out for a conversation that ends
        at the reading place, wherever in it the model's own code reads them.
    as_own : bool
        Whether ``"logits"`` must be those of the model's own class, given that conversations end
        where the class reads them: :func:`reading_place`. Refused on loading where they are not.
    label : int
        Which label of the classification head ...
    labels : int, optional
        ... of how many. Known from the weights; configurations often do not say.
    read_labels : tuple of int
        Several labels to read from one pass instead, so that rewards have the shape (R, labels).
        Only backends with :attr:`Backend.several_labels` are given any.
    dtype : {"float32", "bfloat16", "float16"}
        Of weights and arithmetic.
    weights_sha256 : str
        Names the weights, wherever they came from.
    trust_remote_code : bool
        Whether code that comes with the model may run.
    step_token : int, optional
        The token at which a process reward model says how good the step before it is.
    over_steps : {"last", "min", "product", "mean"}
        What several steps give together.
    pair : bool
        Whether conversations are two texts for an encoder, both of which end in the same token.
    adapter : pathlib.Path, optional
        The folder of an adapter (LoRA) in the format of peft, to be merged into the weights. Only
        backends with :attr:`Backend.adapters` are given one.
    shared : bool
        Whether other models of the run are adapters of the same weights, so that these are worth
        keeping until :meth:`Backend.release`.

    Examples
    --------
    >>> source = Source(name="my-rm", folder=Path("models/my-rm"), kind="reward")
    >>> source.head, source.dtype
    ('logits', 'float32')
    """

    name: str
    folder: Path
    file: str | None = None
    kind: Kind
    head: str | Callable[[Any], Any] = "logits"
    own_code: bool = False
    as_own: bool = False
    label: int = 0
    labels: int | None = None
    read_labels: tuple[int, ...] = ()
    dtype: str = "float32"
    weights_sha256: str = ""
    trust_remote_code: bool = False
    step_token: int | None = None
    over_steps: str = "last"
    pair: bool = False
    adapter: Path | None = None
    shared: bool = False

    def loaded_alike(self) -> tuple[Any, ...]:
        """Return what decides what is loaded before an adapter is merged into it.

        Returns
        -------
        tuple
            Alike for adapters of one base that are read alike.
        """
        head = self.head if isinstance(self.head, str) else id(self.head)
        return (self.folder, self.file, self.kind, head, self.labels, self.dtype,
                self.trust_remote_code)  # fmt: skip


class OutOfMemory(ValueBiasError):
    """The pack was too large for the device; the core tries again with smaller ones.

    Parameters
    ----------
    *args : object
        The message.
    in_shell : str, optional
        The message in a shell, where it differs.

    Examples
    --------
    >>> issubclass(OutOfMemory, ValueBiasError)
    True
    """


class LoadedModel(ABC):
    """A model that is ready to run.

    Attributes
    ----------
    device : str
        Where it runs, such as ``"cpu"`` or ``"cuda:0"``.
    dtype : str
        The arithmetic: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"bfloat16 autocast"``.
    vocabulary : int
        How many token ids there are; the width of the rows that whole-vocabulary read-out gives.
    batch_tokens : int
        Preferred number of tokens in a pack. A longer conversation comes in a pack of its own.

    Examples
    --------
    A language model to whom all tokens are alike:

    >>> class Even(LoadedModel):
    ...     device, dtype, vocabulary, batch_tokens = "cpu", "float32", 4, 512
    ...
    ...     def forward(self, pack):
    ...         shape = (len(pack.gather), 4) if pack.target is None else pack.target.shape
    ...         return np.full(shape, np.log(1 / 4), dtype=np.float32)
    >>> pack = Pack(
    ...     ids=np.array([0, 2]),
    ...     position=np.array([0, 1]),
    ...     end=np.array([2, 2]),
    ...     gather=np.array([1]),
    ... )
    >>> Even().forward(pack).shape
    (1, 4)
    """

    device: str
    dtype: str
    vocabulary: int
    batch_tokens: int

    @abstractmethod
    def forward(self, pack: Pack) -> npt.NDArray[np.float32]:
        """Compute a pack. Two calls with the same pack give the same numbers.

        Parameters
        ----------
        pack : Pack
            Not to be changed.

        Returns
        -------
        numpy.ndarray of float32
            For rewards, shape (R,); of several labels, shape (R, labels). For log-probs in nats:
            shape (M,) where the pack has targets, else shape (R, vocabulary).

        Raises
        ------
        OutOfMemory
            If a smaller pack may succeed.
        """

    def details(self) -> dict[str, Any]:
        """Return what else about this run belongs in the provenance.

        Returns
        -------
        dict
            As JSON can hold it; empty unless overridden.
        """
        return {}

    def close(self) -> None:  # noqa: B027 -- most have nothing to do here
        """Release memory; the model is not used afterwards."""


class Backend(ABC):
    """An engine that runs models.

    Options are keyword arguments of the constructor, which needs none and does no work: it imports
    nothing heavy, so that listing backends is quick.

    Attributes
    ----------
    name : str
        What users call it.
    description : str
        One line.
    url : str
        Where its documentation is.
    kinds : frozenset of str
        Which of ``"reward"`` and ``"logprob"`` it computes.
    packed : bool
        Whether it computes what conversations share once. False for engines that take a pack apart
        (:func:`conversations`); plans then count every conversation whole.
    extra : str
        The extra of the distribution to install, such as ``"torch"``; may be empty.
    weights_here : bool
        Whether it reads a model's weights from :attr:`Source.folder`. False for engines that have
        them elsewhere: then only the configuration and the tokenizer are looked for here,
        ``weights_sha256`` is empty, and :meth:`served` and :meth:`check_tokens` say what is there.
    adapters : bool
        Whether it merges an adapter (:attr:`Source.adapter`) into the weights. Where it does not,
        models with adapters are refused before it is asked.
    several_labels : bool
        Whether it reads several labels of a head in one pass (:attr:`Source.read_labels`). Where it
        does not, each label is computed as if it were a model of its own.
    suits : str
        When to choose it, in one line for newcomers, such as "someone has published an ONNX file".

    Examples
    --------
    >>> from valuebias.backends.torch_backend import TorchBackend
    >>> backend = TorchBackend(batch_tokens=1024)
    >>> backend.name, backend.packed, sorted(backend.kinds)
    ('torch', True, ['logprob', 'reward'])
    """

    name: ClassVar[str]
    description: ClassVar[str]
    url: ClassVar[str] = ""
    kinds: ClassVar[frozenset[str]] = frozenset({"reward", "logprob"})
    packed: ClassVar[bool] = True
    extra: ClassVar[str] = ""
    weights_here: ClassVar[bool] = True
    adapters: ClassVar[bool] = False
    several_labels: ClassVar[bool] = False
    suits: ClassVar[str] = ""

    @abstractmethod
    def available(self) -> str | None:
        """Return why this backend cannot run here; None where it can."""

    def devices(self) -> tuple[str, ...]:
        """Name the devices it can use here.

        Returns
        -------
        tuple of str
            The preferred one first.
        """
        return ("cpu",)

    def dtypes(self) -> tuple[str, ...]:
        """Name the arithmetic it can use here.

        Returns
        -------
        tuple of str
            Such as ``"float32"`` or ``"bfloat16"``.
        """
        return ("float32",)

    def refuses(self, source: Source) -> str | None:
        """Say why it cannot score a model, from what is known before anything is loaded.

        Asked of every model before the first one is scored, which a reason ends; and by
        :func:`valuebias.explain`, also where the engine is not installed. So it imports nothing
        heavy and asks nobody; what only loading shows is left to :meth:`load`.

        Parameters
        ----------
        source : Source
            What is known of the model. Its weights need not be here.

        Returns
        -------
        str or None
            What was found, what was expected and what to do; None where nothing is known against
            the model, which is so unless overridden.
        """
        return None

    def check(self, source: Source) -> None:
        """Refuse a model that :meth:`refuses` has a reason against.

        Parameters
        ----------
        source : Source
            What is known of the model.

        Raises
        ------
        ValueBiasError
            If there is a reason.
        """
        reason = self.refuses(source)
        if reason is not None:
            raise ValueBiasError(reason)

    def lacks(self, source: Source) -> str | None:
        """Say what is missing here for one model, where :meth:`available` does not say it of all.

        Parameters
        ----------
        source : Source
            What is known of the model.

        Returns
        -------
        str or None
            Such as a package that only some models need; what :meth:`available` says unless
            overridden.
        """
        return self.available()

    def extra_for(self, source: Source) -> str:
        """Name the extra to install for one model.

        Parameters
        ----------
        source : Source
            What is known of the model.

        Returns
        -------
        str
            :attr:`extra` unless overridden.
        """
        return self.extra

    def needs(
        self, source: Source, *, location: str, revision: str | None = None
    ) -> tuple[str, ...]:
        """Say what scoring a model takes, beside packages and room for its weights.

        Parameters
        ----------
        source : Source
            What is known of the model.
        location : str
            Where it is, as the user gave it: a hub id or a path.
        revision : str, optional
            Of the hub's repository.

        Returns
        -------
        tuple of str
            Sentences, such as whether it wants a card, or how to start a server; none unless
            overridden.
        """
        return ()

    def served(self, source: Source) -> str | None:
        """Find what an engine that has the weights elsewhere calls a model.

        Scores of one store are of one such name.

        Parameters
        ----------
        source : Source
            What is known of it here.

        Returns
        -------
        str or None
            None where the weights are read here.

        Raises
        ------
        ValueBiasError
            If there is no such model.
        """
        return None

    def check_tokens(self, source: Source, samples: Mapping[str, Integers]) -> None:  # noqa: B027 -- most have nothing to do here
        """Compare token ids with those of an engine that has the model elsewhere.

        Parameters
        ----------
        source : Source
            What is known of the model here.
        samples : mapping of str to numpy.ndarray of int64
            Texts, and their tokens by the tokenizer here, without any that it puts around them.

        Raises
        ------
        ValueBiasError
            If the engine has other ids for them.
        """

    @abstractmethod
    def load(self, source: Source) -> LoadedModel:
        """Load a model.

        Parameters
        ----------
        source : Source
            Where its files are and what to compute.

        Returns
        -------
        LoadedModel
            Ready to run.

        Raises
        ------
        ValueBiasError
            If the backend cannot run this model; the message says why and what to do.
        """

    def release(self) -> None:  # noqa: B027 -- most keep nothing
        """Let go of what was kept from one model for the next (:attr:`Source.shared`)."""


def conversations(pack: Pack) -> tuple[list[Integers], Integers, Integers]:
    """Take a pack apart into whole conversations, for engines that cannot share prefixes.

    Parameters
    ----------
    pack : Pack
        Any pack.

    Returns
    -------
    paths : list of numpy.ndarray of int64
        For each conversation, the indices of its tokens in the pack, in order. Only those that are
        needed: each ends in a token that is read at and is no part of another.
    which : numpy.ndarray of int64, shape (R,)
        The conversation that reading place r lies in ...
    position : numpy.ndarray of int64, shape (R,)
        ... and its position there, from 0.

    Examples
    --------
    >>> pack = Pack(
    ...     ids=np.array([5, 6, 7, 8]),
    ...     position=np.array([0, 1, 2, 1]),
    ...     end=np.array([4, 3, 3, 4]),
    ...     gather=np.array([0, 2, 3]),
    ... )
    >>> paths, which, position = conversations(pack)
    >>> [pack.ids[path].tolist() for path in paths], which.tolist(), position.tolist()
    ([[5, 6, 7], [5, 8]], [0, 0, 1], [0, 2, 1])
    """
    paths: list[Integers] = []
    which = np.empty(len(pack.gather), dtype=np.int64)
    # From the right, so that a reading place inside a longer conversation finds that one made.
    for r in range(len(pack.gather) - 1, -1, -1):
        index = int(pack.gather[r])
        later = pack.gather[r + 1] if r + 1 < len(pack.gather) else len(pack)
        if later < pack.end[index]:
            which[r] = which[r + 1]
            continue
        above = np.flatnonzero(pack.end[: index + 1] > index)
        which[r] = len(paths)
        paths.append(above)
    order = len(paths) - 1
    return paths[::-1], order - which, pack.position[pack.gather]


def hidden_states(hidden: Any) -> Any:
    """Return hidden states, shape (R, hidden), unchanged: the head by which features are read."""
    return hidden


def reading_place(ids: npt.ArrayLike, padding: int | None) -> int:
    """Find where the classifiers of transformers read the reward of one conversation.

    Parameters
    ----------
    ids : array_like of int, shape (T,)
        Its token ids; at least one.
    padding : int or None
        The padding token of the model's configuration, ``config.get_text_config().pad_token_id``.

    Returns
    -------
    int
        The position of the last token that is not the padding; the last of all without a padding
        token; 0 where every token is the padding.

    Notes
    -----
    The rule of ``GenericForSequenceClassification`` in transformers 5. It does not look at the
    attention mask, so that a conversation whose end is the padding token is read before that end.

    Examples
    --------
    >>> reading_place([5, 2, 7, 2, 2], 2), reading_place([5, 2, 7, 2, 2], None)
    (2, 4)
    """
    kept = np.flatnonzero(np.asarray(ids) != padding)
    return int(kept[-1]) if len(kept) else 0
