"""The PyTorch backend: any decoder of transformers, on a CPU, a CUDA card or Apple's chips."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from valuebias._core.checks import check_known
from valuebias.backends.base import (
    OWN_OUTPUT,
    Backend,
    LoadedModel,
    OutOfMemory,
    Pack,
    Source,
    conversations,
)
from valuebias.backends.configuration import Shape, shape, stated_class
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    import torch

    from valuebias.backends.adapters import Bases
    from valuebias.backends.heads import Head

__all__ = ["TorchBackend", "TorchModel"]

Floats = npt.NDArray[np.float32]
_BATCH = 64
"""How many whole conversations are computed at a time, where a model cannot take packs."""


class TorchBackend(Backend):
    """Run models with PyTorch.

    Parameters
    ----------
    device : str, default "auto"
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` takes CUDA, then MPS, then the
        CPU. ``"map"`` spreads a model that is larger than one card over all of them.
    autocast : bool, default False
        Multiply in bfloat16 what is kept in float32. On CPUs with bfloat16 instructions about one
        and a half times as fast; errors are a few hundredths of the scores' standard deviation.
    attention : {"auto", "tree", "whole"}
        ``"tree"``: what conversations share is computed once. ``"whole"``: every conversation by
        itself, with the model's own attention. ``"auto"``: the first, after a check on loading that
        it gives what the second does; else the second.
    batch_tokens : int, optional
        Tokens per pack; chosen from the device where left out.
    threads : int, optional
        CPU threads, of the whole process; as PyTorch chooses where left out.

    Examples
    --------
    >>> TorchBackend(device="cpu").name
    'torch'
    """

    name = "torch"
    description = "PyTorch and transformers: CPU, CUDA, MPS; any decoder"
    url = "https://pytorch.org"
    extra = "torch"
    adapters = True
    several_labels = True
    suits = "in general: any decoder, any head, adapters, models larger than one card"

    def __init__(
        self,
        *,
        device: str = "auto",
        autocast: bool = False,
        attention: Literal["auto", "tree", "whole"] = "auto",
        batch_tokens: int | None = None,
        threads: int | None = None,
    ) -> None:
        if attention not in ("auto", "tree", "whole"):
            raise ValueBiasError(f"attention is {attention!r}; expected 'auto', 'tree' or 'whole'.")
        self.device, self.autocast, self.attention = device, autocast, attention
        self.batch_tokens, self.threads = batch_tokens, threads
        self._bases: Bases | None = None

    def available(self) -> str | None:
        """Return why this backend cannot run here; None where it can."""
        for module in ("torch", "transformers", "safetensors"):
            if not _found(module):
                return f"{module} is not installed"
        return None

    def refuses(self, source: Source) -> str | None:
        """Say why it cannot score a model; see :meth:`Backend.refuses`."""
        file = (source.file or "").lower()
        if file.endswith(".onnx"):
            return (
                f"{source.name}: found the ONNX file {source.file!r}, which PyTorch does not run. "
                "Use backend='onnx' for an export of this package, backend='optimum' for one of "
                "others; or give the model's own folder."
            )
        if file.endswith(".gguf") and source.head in OWN_OUTPUT:
            return (
                f"{source.name}: found head={source.head!r} and a GGUF file, which has no code and "
                "no head but a classifier's. Give the model's own folder."
            )
        named = stated_class(source.folder)
        plain = named.endswith(("ForSequenceClassification", "ForCausalLM"))
        if source.head in ("score", "rewards") and plain and not source.trust_remote_code:
            return (
                f"{source.name}: found head={source.head!r}, which the code that comes with some "
                f"models puts out, and {named} of transformers does not. Leave head= out; or, if "
                "such code comes with this model and you trust it, give trust_remote_code=True."
            )
        return None

    def lacks(self, source: Source) -> str | None:
        """Say what is missing here for a model; adapters and GGUF files take a package more."""
        missing = self.available()
        if missing is None and source.adapter is not None and not _found("peft"):
            return "peft is not installed, which merges an adapter into its base"
        if missing is None and str(source.file).lower().endswith(".gguf") and not _found("gguf"):
            return "gguf is not installed, which reads GGUF files"
        return missing

    def extra_for(self, source: Source) -> str:
        """Name the extra to install for a model: that of adapters brings PyTorch along."""
        return self.extra if source.adapter is None else "lora"

    def needs(
        self, source: Source, *, location: str, revision: str | None = None
    ) -> tuple[str, ...]:
        """Say what else it takes; see :meth:`Backend.needs`."""
        return ("A CPU is enough; a CUDA card or Apple's chip, which is used unasked, is faster.",)

    def devices(self) -> tuple[str, ...]:
        """Name the devices it can use here, the preferred one first."""
        import torch

        cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        mps = ["mps"] if torch.backends.mps.is_available() else []
        return (*cards, *mps, "cpu")

    def dtypes(self) -> tuple[str, ...]:
        """Name the arithmetic it can use here."""
        return ("float32", "bfloat16", "float16")

    def load(self, source: Source) -> TorchModel:
        """Load a model.

        Parameters
        ----------
        source : Source
            Where its files are and what to compute.

        Returns
        -------
        TorchModel
            Ready to run.

        Raises
        ------
        ValueBiasError
            If the device does not exist, the files do not hold such a model, or the model itself
            gives other results than are read from its hidden states.
        """
        import torch

        from valuebias.backends import adapters, comparing, loading, memory

        check_known(source.dtype, self.dtypes(), f"{source.name}: the dtype is {source.dtype!r}.")
        self.check(source)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = self._device()
        spread = self.device == "map"
        whole = self.attention == "whole" or source.head in OWN_OUTPUT or source.own_code
        if self._bases is None:
            self._bases = adapters.Bases()
        if not source.shared:
            self._bases.clear()
        where: dict[str, Any] = {"device": device, "spread": spread, "bases": self._bases}
        loaded = None if whole else loading.load_tree(source, **where)
        if loaded is None and not whole and self.attention == "tree":
            raise ValueBiasError(
                f"{source.name}: computed as a tree, conversations give other numbers than by "
                "themselves, so this architecture needs attention='whole'."
            )
        whole = loaded is None
        model, head = loaded or loading.load(source, **where, own_attention=True)
        comparing.check(model, source, head)
        options: dict[str, Any] = {"backend": self, "device": device, "whole": whole}
        try:
            return TorchModel(model, head, source, **options)
        except _NotReordered:
            del model, head
        # Code that does more with its layers than to call them needs their weights in place.
        memory.release()
        model, head = loading.load(source, **where, own_attention=whole)
        return TorchModel(model, head, source, **options, reorder=False)

    def release(self) -> None:
        """Let go of the base that several adapters had in common."""
        if self._bases is not None:
            self._bases.clear()

    def _device(self) -> torch.device:
        import torch

        known = self.devices()
        first = {"auto": known[0], "cuda": "cuda:0", "map": "cuda:0"}
        wanted = first.get(self.device, self.device)
        if wanted not in known:
            raise ValueBiasError(
                f"There is no device {self.device!r} here; there is {', '.join(known)}."
            )
        return torch.device(wanted)


class TorchModel(LoadedModel):
    """A model in PyTorch, made by :meth:`TorchBackend.load`."""

    def __init__(
        self,
        model: torch.nn.Module,
        head: Head,
        source: Source,
        *,
        backend: TorchBackend,
        device: torch.device,
        whole: bool,
        reorder: bool = True,
    ) -> None:
        from valuebias.backends import adapters, heads, loading

        self._model, self._head, self._source = model, head, source
        self._device, self._whole = device, whole
        self._autocast = backend.autocast and source.dtype == "float32"
        import torch

        self._dtype = torch.bfloat16 if self._autocast else getattr(torch, source.dtype)
        if device.type == "cpu" and not whole and source.kind == "reward":
            # Each pack has words of its own; log-probs read the whole table where it is tied.
            embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
            embeddings.register_forward_hook(_forget_table)
        self._prepacked = 0
        if reorder and device.type == "cpu" and not whole:
            self._reorder()
        self._autocast_all = self._autocast and not self._prepacked
        if self._autocast_all and source.kind == "reward":
            heads.autocast_inside(head.body, device.type)
            self._autocast_all = False
        self._adapter = ""
        if source.adapter is not None:
            self._adapter = adapters.version()
        elif source.file is None and (source.folder / loading.ADAPTER).is_file():
            self._adapter = "beside the weights, not applied"
        self.device = str(device)
        self.dtype = "bfloat16 autocast" if self._autocast else source.dtype
        self.vocabulary = shape(model.config).vocab_size
        self.batch_tokens = backend.batch_tokens or _batch_tokens(
            device, shape(model.config), source.dtype
        )

    def _reorder(self) -> None:
        """Reorder weights for the CPU where possible, and check that results stay the same."""
        import torch

        from valuebias.backends import comparing, prepacked

        if not prepacked.possible(self._dtype):
            return
        pack = comparing.made_up(shape(self._model.config).vocab_size, kind="reward")

        def read() -> torch.Tensor:
            # Not by a head that the user gives: it may keep what it sees.
            hidden = comparing.tree(self._head, pack, self._device)[: len(pack)]
            return hidden if self._head.own_head is None else self._head.logits(hidden)

        with torch.inference_mode():
            before = read()
        self._prepacked = prepacked.prepack(self._head.body, self._dtype)
        if self._head.own_head is not None:
            self._head.own_head.prepack(self._dtype)
        try:
            with torch.inference_mode():
                after = read()
        except (TypeError, RuntimeError, AttributeError, ValueError) as error:
            raise _NotReordered from error
        arithmetic = str(self._dtype).removeprefix("torch.")
        if not comparing.near(after, before, comparing.TOLERANCE[arithmetic]):
            raise _NotReordered

    def details(self) -> dict[str, Any]:
        """Return what else about this run belongs in the provenance."""
        import torch

        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else ""
        return {
            "attention": "whole" if self._whole else "tree",
            "threads": torch.get_num_threads(),
            "prepacked_layers": self._prepacked,
            **({} if self._head.reach is None else {"tree_up_to_tokens": self._head.reach}),
            **({"device_name": name} if name else {}),
            **({"adapter": self._adapter} if self._adapter else {}),
        }

    def forward(self, pack: Pack) -> Floats:
        """Compute a pack."""
        import torch

        from valuebias.backends import comparing

        arithmetic: Any = nullcontext()
        if self._autocast_all:
            arithmetic = torch.autocast(self._device.type, dtype=torch.bfloat16)
        try:
            with torch.inference_mode(), arithmetic:
                if self._whole:
                    return self._read_whole(pack)
                if self._head.reach is None or pack.position.max() < self._head.reach:
                    return self._read(pack)
                with comparing.eager(self._model):
                    return self._read_whole(pack)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            raise OutOfMemory(
                f"{self._source.name}: {self.device} has no room for a pack of {len(pack)} tokens. "
                "Give a smaller batch_tokens, or a dtype of half the size."
            ) from error

    def close(self) -> None:
        """Release memory; the model is not used afterwards."""
        import torch

        from valuebias.backends import memory

        del self._model, self._head
        # Modules refer to one another in circles, so that only a collection frees their weights.
        memory.release()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _read(self, pack: Pack) -> Floats:
        import torch

        from valuebias.backends.packing import inputs

        arrays = {
            name: torch.from_numpy(array).to(self._device) for name, array in inputs(pack).items()
        }
        hidden = self._head.hidden_of_tree(*(arrays[name] for name in _TREE))
        return self._head.read(hidden[arrays["gather"]], arrays.get("row"), arrays.get("target"))

    def _read_whole(self, pack: Pack) -> Floats:
        """Compute every conversation by itself, those of a length together: no padding."""
        import torch

        paths, which, position = conversations(pack)
        if self._source.head in OWN_OUTPUT or self._source.own_code:
            # The model chooses where it reads, so beginnings of other conversations are run, too.
            cut = [paths[w][: p + 1] for w, p in zip(which, position, strict=True)]
            n_labels = len(self._source.read_labels)
            shape = (len(cut), n_labels) if n_labels else (len(cut),)
            rewards = np.empty(shape, dtype=np.float32)
            for batch in _batches(cut):
                ids = torch.from_numpy(np.stack([pack.ids[cut[i]] for i in batch]))
                rewards_of = self._head.own_rewards(ids.to(self._device))
                rewards[batch] = rewards_of.float().cpu().numpy()
            return rewards
        rows: dict[int, torch.Tensor] = {}
        for batch in _batches(paths):
            ids = torch.from_numpy(np.stack([pack.ids[paths[i]] for i in batch]))
            hidden = self._head.hidden(ids.to(self._device))
            for number, conversation in enumerate(batch):
                for r in np.flatnonzero(which == conversation):
                    rows[int(r)] = hidden[number, int(position[r])]
        row, target = (
            None if array is None else torch.tensor(array, device=self._device)
            for array in (pack.row, pack.target)
        )
        return self._head.read(torch.stack([rows[r] for r in range(len(which))]), row, target)


def _found(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


class _NotReordered(Exception):
    """A model fails, or gives other numbers, with its weights reordered."""


def _forget_table(embeddings: Any, *_: object) -> None:
    from valuebias.backends import memory

    memory.forget(embeddings.weight)


_TREE = ("ids", "position", "end", "trunk")


def _batches(paths: Sequence[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.intp]]:
    lengths = np.array([len(path) for path in paths])
    batches = []
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        batches += [same[i : i + _BATCH] for i in range(0, len(same), _BATCH)]
    return batches


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # On the CPU the allocator has no error of its own.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _batch_tokens(device: torch.device, sizes: Shape, dtype: str) -> int:
    """Choose how many tokens a pack has.

    On CPUs 1024: measured with SmolLM2-135M, larger packs gain nothing more and take more memory,
    and smaller ones repeat the prefix more often. On a card as many as fit into a quarter of its
    free memory, at most 32768, so that whole vocabularies need few launches.
    """
    import torch

    if device.type != "cuda":
        return 1024
    free, _ = torch.cuda.mem_get_info(device)
    size = 4 if dtype == "float32" else 2
    # The widest moment of a layer: gate, up and their product beside the residual stream.
    token = size * (3 * sizes.intermediate + 8 * sizes.hidden)
    return int(np.clip(free // 4 // token, 1024, 32768))
