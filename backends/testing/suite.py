"""The contract suite: tests that every backend passes, for use with pytest.

Derive a class from :class:`BackendTests` in a test file of your own and name your backend in it::

    class TestMyBackend(BackendTests):
        backend = MyBackend

Then run pytest on that file. The suite needs pytest, torch and transformers, but no network: it
makes tiny random models and compares with transformers, one whole conversation at a time.
"""

# ruff: noqa: S101 - these are tests

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from valuebias.backends.base import Backend, Kind, Source, reading_place
from valuebias.backends.registry import backend_names, get_backend
from valuebias.backends.testing.models import (
    BEGINNING,
    ENDING,
    PADDING,
    VOCABULARY,
    Models,
    contents,
    pack_for,
    padded,
    read_rewards,
    sample,
    sealed,
)
from valuebias.backends.testing.samples import ARCHITECTURES, ENCODER, OWN_HEADS, WINDOW, lay_out
from valuebias.errors import ValueBiasError

__all__ = ["BackendTests"]

LABELS = 3
LARGE_VOCABULARY = 2**18
"""As large as Gemma's."""


class BackendTests:
    """Tests of the contract in `valuebias.backends.base`.

    Set these in the class that you derive from it.

    Attributes
    ----------
    backend : str, type of Backend or Backend
        What to test, as :func:`valuebias.backends.get_backend` takes it. Where it cannot run, the
        tests are skipped with the reason.
    architectures : sequence of str
        Which of `valuebias.backends.testing.samples.ARCHITECTURES` to test; all of them unless set.
    refused : sequence of (str, str)
        Pairs of architecture and kind that the backend does not support. It has to raise a
        `ValueBiasError` for them.
    reads_padding : bool
        Whether rewards can be read at a token that is the model's padding. Set it to False for
        engines that skip it; they have to raise a `ValueBiasError` instead.
    tolerance : float
        How far scores may be from those of whole conversations, in standard deviations of the
        scores; and log-probs of a large vocabulary, in nats.

    Examples
    --------
    >>> class TestTorch(BackendTests):
    ...     backend = "torch"
    """

    backend: ClassVar[str | type[Backend] | Backend]
    architectures: ClassVar[Sequence[str]] = ARCHITECTURES
    refused: ClassVar[Sequence[tuple[str, str]]] = ()
    reads_padding: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2e-5

    def prepare(self, source: Source) -> Source:
        """Turn a model in transformers' format into what the backend loads.

        Parameters
        ----------
        source : Source
            A folder with ``config.json`` and safetensors.

        Returns
        -------
        Source
            The same, unless overridden.
        """
        return source

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once for each architecture, and once for each kind that it asks for."""
        if "architecture" in metafunc.fixturenames:
            metafunc.parametrize("architecture", self.architectures)
        if "kind" in metafunc.fixturenames:
            metafunc.parametrize("kind", ["reward", "logprob"])

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Backend:
        """Yield the backend, or skip where it cannot run."""
        for module in ("torch", "transformers"):
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"{module} is not installed, and the tests compare with it")
        if isinstance(cls.backend, str) and cls.backend not in backend_names():
            return get_backend(cls.backend)
        try:
            return get_backend(cls.backend)
        except ValueBiasError as error:
            pytest.skip(str(error))

    @pytest.fixture(scope="class")
    @classmethod
    def models(cls, engine: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
        """Yield tiny models, each written and loaded once."""
        models = Models(cls(), engine, tmp_path_factory.mktemp("models"))
        yield models
        models.close()

    # --- what the backend states about itself ----------------------------------------------

    def test_it_says_what_it_is(self, engine: Backend) -> None:
        """Name, description and flags are what they are meant to be."""
        assert engine.name
        assert engine.name == engine.name.strip().lower()
        assert engine.description
        assert "\n" not in engine.description
        assert engine.kinds
        assert engine.kinds <= {"reward", "logprob"}
        assert isinstance(engine.packed, bool)
        assert engine.devices()
        assert engine.dtypes()
        assert engine.available() is None

    def test_it_is_listed_without_loading_an_engine(self, engine: Backend) -> None:
        """Making one needs no options and imports nothing heavy."""
        cls = type(engine)
        if "<locals>" in cls.__qualname__:
            pytest.skip("the class cannot be imported in another process")
        code = (
            "import sys, importlib, functools\n"
            f"sys.path[:] = {sys.path!r}\n"
            f"module = importlib.import_module({cls.__module__!r})\n"
            f"functools.reduce(getattr, {cls.__qualname__.split('.')!r}, module)().available()\n"
            "print(*({'torch', 'transformers', 'onnxruntime', 'jax'} & set(sys.modules)))\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # noqa: S603
        if "No module named" in run.stderr and cls.__module__.split(".")[0] in run.stderr:
            pytest.skip("the class cannot be imported in another process")
        assert run.returncode == 0, run.stderr
        assert run.stdout.split() == []

    def test_the_loaded_model_says_what_it_is(self, models: Models, kind: Kind) -> None:
        """Device, arithmetic and size are stated, and the provenance can be kept as JSON."""
        model = models.load(self.architectures[0], kind)
        assert model.device.split(":")[0] in {
            name.split(":")[0] for name in models.engine.devices()
        }
        assert model.dtype == "float32"
        assert model.vocabulary == VOCABULARY
        assert model.batch_tokens >= 1
        assert isinstance(json.loads(json.dumps(model.details())), dict)

    # --- parity with whole conversations --------------------------------------------------------

    def test_rewards_are_those_of_whole_conversations(
        self, models: Models, architecture: str
    ) -> None:
        """A tree of conversations, some of which begin another."""
        conversations = sample(seed=1)
        model = models.load(architecture, "reward")
        expected = models.reference(architecture, "reward").rewards(conversations)
        self.assert_close(read_rewards(model, conversations), expected)

    def test_logprobs_are_those_of_whole_conversations(
        self, models: Models, architecture: str
    ) -> None:
        """Several tokens of each conversation, predicted from reading places that are shared."""
        conversations = sample(seed=2)
        model = models.load(architecture, "logprob")
        first = [len(ids) - 1 - i % 4 for i, ids in enumerate(conversations)]
        expected = models.reference(architecture, "logprob").logprobs(conversations, first)
        pack, output = lay_out(conversations, first=first)
        self.assert_close(model.forward(pack)[output], expected)

    def test_whole_vocabularies_are_those_of_whole_conversations(
        self, models: Models, architecture: str
    ) -> None:
        """All log-probs after the last token, which sum to one."""
        conversations = sample(seed=3)
        model = models.load(architecture, "logprob")
        expected = models.reference(architecture, "logprob").rows(conversations)
        pack, output = lay_out(conversations)
        scores = model.forward(pack)[output]
        self.assert_close(scores, expected)
        np.testing.assert_allclose(np.exp(scores.astype(float)).sum(axis=1), 1, atol=1e-4)

    @pytest.mark.parametrize("name", OWN_HEADS)
    def test_logits_are_those_of_the_models_own_code(self, models: Models, name: str) -> None:
        """Factors, soft caps and layers that follow the body count; `refused` names who cannot."""
        conversations = sample(seed=21)
        model = models.load(name, "logprob")
        reference = models.reference(name, "logprob")
        first = [len(ids) - 2 for ids in conversations]
        pack, output = lay_out(conversations, first=first)
        self.assert_close(model.forward(pack)[output], reference.logprobs(conversations, first))
        pack, output = lay_out(conversations)
        self.assert_close(model.forward(pack)[output], reference.rows(conversations))

    def test_encoders_have_no_log_probs(self, models: Models) -> None:
        """A model whose tokens see those that come after them is refused when it is loaded."""
        with pytest.raises(ValueBiasError):
            models.load(ENCODER, "logprob")

    def test_large_vocabularies_are_summed_exactly(self, models: Models) -> None:
        """Adding up 262 144 exponentials one after the other would lose the small ones."""
        conversations = sample(seed=20, vocabulary=LARGE_VOCABULARY, shared=(3,), branches=2)
        first = [len(ids) - 2 for ids in conversations]
        large: dict[str, Any] = {"kind": "logprob", "vocabulary": LARGE_VOCABULARY}
        model = models.load(self.architectures[0], **large)
        reference = models.reference(self.architectures[0], **large)
        for expected, (pack, output) in (
            (reference.logprobs(conversations, first), lay_out(conversations, first=first)),
            (reference.rows(conversations), lay_out(conversations)),
        ):
            np.testing.assert_allclose(
                model.forward(pack)[output], expected, rtol=0, atol=self.tolerance
            )

    @pytest.mark.parametrize(
        "shared", [(), (40,), (1, 1, 1, 1, 1, 1), (2 * WINDOW, 2 * WINDOW, 1), (3, 2 * WINDOW, 5)]
    )
    def test_trees_of_every_shape(
        self, models: Models, architecture: str, shared: tuple[int, ...]
    ) -> None:
        """No sharing, one long beginning, a split at each token, more than the window holds."""
        conversations = sample(seed=4, shared=shared, branches=2 if shared else 12)
        model = models.load(architecture, "reward")
        expected = models.reference(architecture, "reward").rewards(conversations)
        self.assert_close(read_rewards(model, conversations), expected)

    def test_each_label_of_several(self, models: Models) -> None:
        """The label asked for is the one read."""
        conversations = sample(seed=5)
        for label in range(LABELS):
            model = models.load(self.architectures[0], "reward", labels=LABELS, label=label)
            reference = models.reference(self.architectures[0], "reward", labels=LABELS)
            expected = reference.rewards(conversations, label=label)
            self.assert_close(read_rewards(model, conversations), expected)

    def test_several_labels_in_one_pass(self, models: Models) -> None:
        """Each is what it is by itself, in the order asked for."""
        if not models.engine.several_labels:
            pytest.skip("the backend reads one label at a time")
        conversations, asked = sample(seed=5), (LABELS - 1, 0)
        model = models.load(self.architectures[0], "reward", labels=LABELS, read_labels=asked)
        reference = models.reference(self.architectures[0], "reward", labels=LABELS)
        found = read_rewards(model, conversations)
        assert found.shape == (len(conversations), len(asked))
        for k, label in enumerate(asked):
            expected = reference.rewards(conversations, label=label)
            self.assert_close(found[:, k], expected)

    def test_heads_given_as_functions(self, models: Models) -> None:
        """A callable head is used, or refused when the model is loaded."""
        conversations = sample(seed=6)

        def head(hidden: Any) -> Any:
            return 2 * hidden[:, 0] - hidden[:, 5]

        try:
            model = models.load(self.architectures[0], "reward", head=head)
        except ValueBiasError:
            return
        reference = models.reference(self.architectures[0], "reward")
        self.assert_close(
            read_rewards(model, conversations), reference.rewards(conversations, head=head)
        )

    def test_other_arithmetic_is_close(self, models: Models) -> None:
        """Every dtype that the backend names for this machine gives much the same rewards."""
        conversations = sample(seed=7)
        expected = models.reference(self.architectures[0], "reward").rewards(conversations)
        for dtype in set(models.engine.dtypes()) & {"bfloat16", "float16"}:
            model = models.load(self.architectures[0], "reward", dtype=dtype)
            assert model.dtype.startswith(dtype)
            rounded = read_rewards(model, conversations)
            assert np.corrcoef(rounded, expected)[0, 1] > 0.98

    # --- what must not matter -------------------------------------------------------------------

    def test_pack_mates_do_not_matter(self, models: Models, architecture: str) -> None:
        """Alone, a few at a time and all together."""
        conversations = sample(seed=8)
        model = models.load(architecture, "reward")
        together = read_rewards(model, conversations)
        for size in (1, 5):
            parts = [conversations[i : i + size] for i in range(0, len(conversations), size)]
            self.assert_close(
                np.concatenate([read_rewards(model, part) for part in parts]), together
            )

    def test_order_does_not_matter(self, models: Models, architecture: str) -> None:
        """The branches of the tree may come in any order."""
        conversations = sample(seed=9)
        model = models.load(architecture, "reward")
        order = np.random.default_rng(9).permutation(len(conversations))
        shuffled = read_rewards(model, [conversations[i] for i in order])
        self.assert_close(shuffled, read_rewards(model, conversations)[order])

    def test_packs_may_exceed_the_budget(self, models: Models) -> None:
        """A conversation of more than batch_tokens comes in a pack of its own."""
        model = models.load(self.architectures[0], "reward")
        length = min(model.batch_tokens, 600) + 7
        rng = np.random.default_rng(10)
        conversations = [rng.integers(VOCABULARY, size=length).tolist() for _ in range(4)]
        expected = models.reference(self.architectures[0], "reward").rewards(conversations)
        alone = np.concatenate([read_rewards(model, [ids]) for ids in conversations])
        self.assert_close(alone, expected)

    def test_what_the_window_hides_does_not_matter(self, models: Models) -> None:
        """Where every layer has a sliding window, tokens far back have no influence."""
        long = sample(seed=11, shared=(2 * WINDOW, 1))
        other = [[(ids[0] + 1) % VOCABULARY, *ids[1:]] for ids in long]
        if "mistral" in self.architectures and ("mistral", "reward") not in self.refused:
            model = models.load("mistral", "reward")
            self.assert_close(read_rewards(model, other), read_rewards(model, long))
        if "llama" in self.architectures and ("llama", "reward") not in self.refused:
            model = models.load("llama", "reward")
            change = np.abs(read_rewards(model, other) - read_rewards(model, long))
            assert change.min() > 1e-4

    # --- beginnings, endings and padding --------------------------------------------------------

    def test_no_token_is_added(self, models: Models, kind: Kind) -> None:
        """Conversations with and without tokens of beginning and end are taken as they are."""
        plain = sample(seed=12)
        framed = [[BEGINNING, *ids, ENDING] for ids in plain]
        model = models.load(self.architectures[0], kind)
        reference = models.reference(self.architectures[0], kind)
        for conversations in (plain, framed):
            if kind == "reward":
                expected = reference.rewards(conversations)
                self.assert_close(read_rewards(model, conversations), expected)
            else:
                pack, output = lay_out(conversations)
                self.assert_close(model.forward(pack)[output], reference.rows(conversations))

    def test_rewards_are_read_where_the_pack_says(self, models: Models) -> None:
        """A conversation may end in the model's padding, as where padding and end are one token."""
        conversations = [[*ids, PADDING] for ids in sample(seed=13)]
        model = models.load(self.architectures[0], "reward")
        if not self.reads_padding:
            with pytest.raises(ValueBiasError):
                read_rewards(model, conversations)
            return
        expected = models.reference(self.architectures[0], "reward").rewards(conversations)
        self.assert_close(read_rewards(model, conversations), expected)

    @pytest.mark.parametrize("padding", [PADDING, None])
    def test_rewards_are_those_of_the_models_own_class(
        self, models: Models, architecture: str, padding: int | None
    ) -> None:
        """Padding nowhere, inside, and once or more at the end, where the class passes over it."""
        if padding is None and not self.reads_padding:
            pytest.skip("engines that skip padding need one")
        plain = padded(sample(seed=18))
        model = models.load(architecture, "reward", padding=padding, as_own=True)
        expected = models.reference(architecture, "reward", padding=padding).own_rewards(plain)
        cut = [ids[: reading_place(ids, padding) + 1] for ids in plain]
        assert (cut == plain) == (padding is None)
        self.assert_close(read_rewards(model, cut), expected)

    def test_what_a_models_own_code_puts_out_is_its_own(self, models: Models) -> None:
        """The model's own output for the whole conversation, or a refusal when it is loaded."""
        conversations = padded(sample(seed=21))
        try:
            model = models.load(self.architectures[0], "reward", own_code=True)
        except ValueBiasError:
            return
        expected = models.reference(self.architectures[0], "reward").own_rewards(conversations)
        self.assert_close(read_rewards(model, conversations), expected)

    def test_heads_compute_in_float32(self, models: Models) -> None:
        """Whatever the body computes in: a product of eight bits would make many rewards alike."""
        conversations = sample(seed=19)
        for dtype in sorted(set(models.engine.dtypes()) & {"bfloat16", "float16"}):
            rewards = read_rewards(
                models.load(self.architectures[0], "reward", dtype=dtype), conversations
            )
            assert len(set(rewards.tolist())) == len(conversations)
            bits = 16 if dtype == "bfloat16" else 13
            assert np.count_nonzero(rewards.view(np.uint32) % 2**bits) > len(rewards) / 2

    # --- forward has no side effects ------------------------------------------------------------

    @pytest.mark.parametrize("read", ["rewards", "targets", "rows"])
    def test_forward_is_a_pure_function(self, models: Models, read: str) -> None:
        """The pack stays as it was, results stay as they were, and the same gives the same."""
        kind: Kind = "reward" if read == "rewards" else "logprob"
        model = models.load(self.architectures[0], kind)
        packs = [pack_for(read, sample(seed=seed)) for seed in (14, 15)]
        copies = [contents(pack) for pack in packs]
        before = [model.forward(sealed(pack)) for pack in packs]
        kept = [result.copy() for result in before]
        for pack, copy, result, old in zip(packs, copies, before, kept, strict=True):
            np.testing.assert_array_equal(model.forward(pack), old)
            np.testing.assert_array_equal(result, old)
            assert contents(pack) == copy

    @pytest.mark.parametrize("read", ["rewards", "targets", "rows"])
    def test_results_have_the_right_shape(self, models: Models, read: str) -> None:
        """One number per reading place or target, or one row per reading place; float32."""
        kind: Kind = "reward" if read == "rewards" else "logprob"
        model = models.load(self.architectures[0], kind)
        for conversations in ([[5, 7]], [[5, 7, 9]], sample(seed=16)):
            pack = pack_for(read, conversations)
            count = len(pack.gather) if pack.target is None else len(pack.target)
            scores = model.forward(pack)
            assert isinstance(scores, np.ndarray)
            assert scores.dtype == np.float32
            assert scores.shape == ((count, VOCABULARY) if read == "rows" else (count,))

    # --- what goes wrong ------------------------------------------------------------------------

    def test_a_model_that_computes_nonsense_is_not_hidden(self, models: Models, kind: Kind) -> None:
        """Weights that are not numbers are refused, or give scores that are not numbers."""
        try:
            model = models.load(self.architectures[0], kind, broken=True)
        except ValueBiasError:
            return
        pack, _ = lay_out(sample(seed=17))
        assert not np.isfinite(model.forward(pack)).any()

    def test_a_folder_without_a_model_is_an_error(
        self, engine: Backend, tmp_path: Path, kind: Kind
    ) -> None:
        """The message is the package's own."""
        with pytest.raises(ValueBiasError):
            engine.load(Source(name="nothing", folder=tmp_path, kind=kind))

    def test_unknown_arithmetic_is_an_error(self, models: Models) -> None:
        """The message is the package's own."""
        with pytest.raises(ValueBiasError):
            models.load(self.architectures[0], "reward", dtype="float7")

    def test_what_is_not_supported_is_refused(self, models: Models) -> None:
        """An error, and not wrong scores."""
        for architecture, kind in self.refused:
            with pytest.raises(ValueBiasError):
                models.load(architecture, "reward" if kind == "reward" else "logprob", skip=False)

    # --- comparison -----------------------------------------------------------------------------

    def assert_close(self, actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
        """Compare scores, to `tolerance` standard deviations of them."""
        assert actual.shape == expected.shape
        spread = float(np.std(expected))
        assert spread > 1e-3, "the scores hardly differ, so that comparing them would show nothing"
        worst = float(np.max(np.abs(actual - expected))) / spread
        assert worst <= self.tolerance, f"off by {worst:.1e} standard deviations"
