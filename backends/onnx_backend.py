"""The ONNX Runtime backend: exports a model once, then runs it without PyTorch."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from valuebias._core.fetch import cache_folder
from valuebias._core.foreign import reading
from valuebias.backends.base import Backend, LoadedModel, OutOfMemory, Pack, Source
from valuebias.backends.machine import cuda_memory
from valuebias.backends.packing import inputs
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxBackend", "OnnxModel", "session"]

Floats = npt.NDArray[np.float32]
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_LOGITS = 2**26
"""Logits that a pack may need at most, where none of its tokens is read twice: 256 MB."""


class OnnxBackend(Backend):
    """Run models with ONNX Runtime.

    A model is exported at its first use, which takes PyTorch and about a minute for each 100
    million parameters, and kept in the cache folder under the hash of its weights.

    Parameters
    ----------
    device : str, default "auto"
        ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; ``"auto"`` takes CUDA where there is a card.
    batch_tokens : int, optional
        Tokens per pack; chosen from the device where left out.
    threads : int, optional
        CPU threads; one per core where left out.
    cache : path-like, optional
        Where exports are kept; a folder ``onnx`` in the cache of valuebias where left out.

    Examples
    --------
    >>> OnnxBackend(device="cpu", threads=2).name
    'onnx'
    """

    name = "onnx"
    several_labels = True
    description = "ONNX Runtime: CPU, CUDA; exports once, then needs no PyTorch"
    url = "https://onnxruntime.ai"
    extra = "onnx"
    suits = "the same models are scored again and again, or where PyTorch cannot be installed"

    def __init__(
        self,
        *,
        device: str = "auto",
        batch_tokens: int | None = None,
        threads: int | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        self.device, self.batch_tokens, self.threads = device, batch_tokens, threads
        self.cache = None if cache is None else Path(cache)

    def available(self) -> str | None:
        """Return why this backend cannot run here; None where it can."""
        for module in ("onnxruntime", "transformers"):
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed"
        return None

    def devices(self) -> tuple[str, ...]:
        """Name the devices it can use here, the preferred one first."""
        import onnxruntime

        cards = len(cuda_memory()) if _CUDA in onnxruntime.get_available_providers() else 0
        return (*(f"cuda:{i}" for i in range(cards)), "cpu")

    def dtypes(self) -> tuple[str, ...]:
        """Name the arithmetic it can use here."""
        return ("float32", "float16") if len(self.devices()) > 1 else ("float32",)

    def load(self, source: Source) -> OnnxModel:
        """Load a model, after exporting it where that has not been done before.

        Parameters
        ----------
        source : Source
            A model of transformers, or an export: a folder with ``file="model.onnx"``.

        Returns
        -------
        OnnxModel
            Ready to run.

        Raises
        ------
        ValueBiasError
            If the model cannot be exported, or an export is damaged or of something else.
        """
        from valuebias.backends import onnx_export

        self.check(source)
        device = self._device()
        folder = source.folder
        if not _is_export(source):
            folder = self._kept(source)
            if not folder.exists():
                onnx_export.export(source, folder)
        manifest = onnx_export.read_manifest(folder, name=source.name)
        return OnnxModel(folder, manifest, source, backend=self, device=device)

    def refuses(self, source: Source) -> str | None:
        """Say why it cannot score a model; see :meth:`Backend.refuses`."""
        if _is_export(source):
            return self._refuses_export(source)
        if source.head != "logits":
            return (
                f"{source.name}: only classification heads (head='logits') can be exported; this "
                f"model has head={source.head!r}. Use backend='torch'."
            )
        if source.own_code:
            return (
                f"{source.name}: its reward is what code of its own puts out for a whole "
                "conversation, which cannot be exported. Use backend='torch'; or give "
                "reward_at='last' to take the layer 'score' at the end of the conversation."
            )
        if source.dtype not in ("float32", "float16"):
            return (
                f"{source.name}: ONNX Runtime computes in float32, or in float16 on CUDA, not in "
                f"{source.dtype}. Give the model one of those dtypes, or use backend='torch'."
            )
        return None

    def _refuses_export(self, source: Source) -> str | None:
        from valuebias.backends import onnx_export

        try:
            manifest = onnx_export.stated(source.folder, name=source.name)
        except ValueBiasError as error:
            return str(error)
        if manifest["kind"] != source.kind:
            return (
                f"{source.name}: the export in {str(source.folder)!r} gives {manifest['kind']}s; "
                f"kind={source.kind!r} was asked for. Export the model for that kind."
            )
        return None

    def lacks(self, source: Source) -> str | None:
        """Say what is missing here for a model; one that is not exported yet takes PyTorch."""
        from valuebias.backends import onnx_export

        missing = self.available()
        if missing is None and not _is_export(source):
            kept = bool(source.weights_sha256) and self._kept(source).exists()
            missing = None if kept else onnx_export.missing()
        return missing

    def needs(
        self, source: Source, *, location: str, revision: str | None = None
    ) -> tuple[str, ...]:
        """Say what else it takes; see :meth:`Backend.needs`."""
        card = "A CPU is enough; a CUDA card, which is used unasked, is faster."
        if _is_export(source):
            return (card,)
        return (
            "At its first use the model is exported, which takes PyTorch, about a minute for each "
            "100 million parameters, and as much disk as the weights again; the export is kept, "
            "and can be copied to machines without PyTorch.",
            card,
        )

    def _kept(self, source: Source) -> Path:
        from valuebias.backends import onnx_export

        return (self.cache or cache_folder() / "onnx") / onnx_export.key(source)

    def _device(self) -> str:
        known = self.devices()
        wanted = {"auto": known[0], "cuda": "cuda:0"}.get(self.device, self.device)
        if wanted not in known:
            raise ValueBiasError(
                f"There is no device {self.device!r} for ONNX Runtime here; "
                f"there is {', '.join(known)}."
            )
        return wanted


def _is_export(source: Source) -> bool:
    return source.file is not None and source.file.lower().endswith(".onnx")


class OnnxModel(LoadedModel):
    """An exported model, made by :meth:`OnnxBackend.load`."""

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        source: Source,
        *,
        backend: OnnxBackend,
        device: str,
    ) -> None:
        from valuebias.backends.onnx_export import GRAPH

        self._name, self._kind = source.name, source.kind
        self._made_with = manifest["made_with"]
        self._provider = _CPU if device == "cpu" else _CUDA
        self.device, self.dtype = device, manifest["dtype"]
        self.vocabulary = int(manifest["vocabulary"])
        self._reach: int | None = manifest["reach"]
        self._session = session(
            folder / GRAPH,
            provider=self._provider,
            threads=backend.threads,
            card=int(device.partition(":")[2] or 0),
        )
        self.batch_tokens = backend.batch_tokens or _batch_tokens(
            device, source.kind, self.vocabulary
        )

    def details(self) -> dict[str, Any]:
        """Return what else about this run belongs in the provenance."""
        return {
            "provider": self._provider,
            "threads": self._session.get_session_options().intra_op_num_threads,
            "exported_with": self._made_with,
        }

    def forward(self, pack: Pack) -> Floats:
        """Compute a pack."""
        length = int(pack.position.max()) + 1
        if self._reach is not None and length > self._reach:
            raise ValueBiasError(
                f"{self._name}: a conversation has {length} tokens; beyond {self._reach} this "
                "architecture lets tokens see, or places them, in a way that an exported graph "
                "does not know. Use backend='torch', which computes such conversations whole."
            )
        arrays = inputs(pack)
        output = "reward"
        if self._kind == "logprob":
            output = "picked" if pack.target is not None else "rows"
            # The graph always picks; this is one entry that is not read.
            arrays.setdefault("row", np.zeros(1, dtype=np.int64))
            arrays.setdefault("target", np.zeros(1, dtype=np.int64))
        try:
            return self._run(arrays, output)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"{self._name}: {self.device} has no room for a pack of {len(pack)} tokens. "
                "Give a smaller batch_tokens."
            ) from error

    def _run(self, arrays: dict[str, npt.NDArray[np.int64]], output: str) -> Floats:
        if self._provider == _CPU:
            (result,) = self._session.run([output], arrays)
            return np.asarray(result, dtype=np.float32)
        # Other outputs stay on the card.
        binding = self._session.io_binding()
        for name, array in arrays.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        binding.bind_output(output, "cpu")
        self._session.run_with_iobinding(binding)
        return np.asarray(binding.copy_outputs_to_cpu()[0], dtype=np.float32)

    def close(self) -> None:
        """Release memory; the model is not used afterwards."""
        del self._session


def session(
    path: Path, *, provider: str, threads: int | None, card: int = 0
) -> onnxruntime.InferenceSession:
    """Open a graph, with threads and optimisation set explicitly."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Those this process may use, where the system says.
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    options.intra_op_num_threads = threads or cores
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    providers: list[Any] = [(_CUDA, {"device_id": card})] if provider == _CUDA else []
    with reading(
        path,
        because="it is damaged, or made by a newer version",
        verb=f"opened by ONNX Runtime {onnxruntime.__version__}",
        advice='Export it again, or upgrade: pip install --upgrade "valuebias[onnx]"',
    ):
        return onnxruntime.InferenceSession(path, options, providers=[*providers, _CPU])


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return "Failed to allocate memory" in text or "out of memory" in text or "bad_alloc" in text


def _batch_tokens(device: str, kind: str, vocabulary: int) -> int:
    """Choose how many tokens a pack has.

    On CPUs 1024: measured with SmolLM2-135M and Gemma 3 270M. Log-probs of every row are held at
    once, so large vocabularies get smaller packs.
    """
    usual = 1024 if device == "cpu" else 8192
    return usual if kind == "reward" else int(np.clip(_LOGITS // vocabulary, 128, usual))
