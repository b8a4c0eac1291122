"""The ONNX files that others publish, run by optimum: one whole conversation after another.

optimum-onnx pins transformers below 4.58, so this backend lives in an environment of its own. Its
files compute whole conversations only; :mod:`valuebias.backends.onnx_backend` runs packed graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from valuebias._core.foreign import reading
from valuebias.backends.base import Backend, LoadedModel, Pack, Source, conversations
from valuebias.backends.optimum_files import check_file, config_folder, find_file
from valuebias.errors import ValueBiasError

__all__ = ["OptimumBackend"]

_BATCH_BYTES = 2**28
"""How large the logits of one batch may become: they come for every token, needed or not."""


@dataclass(frozen=True, kw_only=True)
class OptimumBackend(Backend):
    """Run standard ONNX files with optimum and ONNX Runtime.

    Parameters
    ----------
    device : {"cpu", "cuda"}, optional
        Where to run; the first of :meth:`devices` when not given.
    threads : int, optional
        How many threads ONNX Runtime uses within an operation; its own choice when not given.
    batch : int, default 64
        How many conversations of the same length run at once.

    Examples
    --------
    >>> OptimumBackend(threads=2).name
    'optimum'
    """

    name: ClassVar[str] = "optimum"
    description: ClassVar[str] = "standard ONNX repositories, unpacked, through optimum"
    url: ClassVar[str] = "https://huggingface.co/docs/optimum-onnx"
    packed: ClassVar[bool] = False
    extra: ClassVar[str] = "optimum"
    suits: ClassVar[str] = "someone has published an ONNX file, and that file is to be scored"

    device: str | None = None
    threads: int | None = None
    batch: int = 64

    def available(self) -> str | None:
        """Return why this backend cannot run here; None where it can."""
        for package in ("optimum", "optimum-onnx", "torch", "transformers"):
            if _version(package) is None:
                return (
                    f"{package} is not installed. optimum-onnx needs transformers older than 4.58, "
                    "so give it an environment of its own"
                )
        runtimes = ("onnxruntime", "onnxruntime-gpu")
        return None if any(map(_version, runtimes)) else "onnxruntime is not installed"

    def devices(self) -> tuple[str, ...]:
        """Name the devices it can use here, the preferred one first."""
        import onnxruntime
        import torch

        # ONNX Runtime names CUDA wherever it was built with it, with or without a card.
        built = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        return ("cuda", "cpu") if built and torch.cuda.is_available() else ("cpu",)

    def dtypes(self) -> tuple[str, ...]:
        """Name the arithmetic it can use here: whatever the file was exported in."""
        return ("float32", "float16") if "cuda" in self.devices() else ("float32",)

    def refuses(self, source: Source) -> str | None:
        """Say why it cannot score a model; see :meth:`Backend.refuses`."""
        if source.head != "logits":
            return (
                f"{source.name}: found head={source.head!r}, but an ONNX file gives the logits of "
                'its classification head and nothing else. Use backend="torch" for other heads.'
            )
        try:
            find_file(source)
        except ValueBiasError as error:
            return str(error)
        return None

    def needs(
        self, source: Source, *, location: str, revision: str | None = None
    ) -> tuple[str, ...]:
        """Say what else it takes; see :meth:`Backend.needs`."""
        return (
            "It needs a transformers older than 4.58, so an environment of its own.",
            "A CPU is enough; a CUDA card, which is used unasked, is faster.",
        )

    def load(self, source: Source) -> LoadedModel:
        """Load an ONNX file; see :meth:`Backend.load`."""
        device = self.device or self.devices()[0]
        if device not in self.devices():
            raise ValueBiasError(
                f"Found device={device!r}; here there is {', '.join(self.devices())}."
            )
        self.check(source)
        path = check_file(source)
        return _OptimumModel(source, _open(source, path, device, self.threads), device, self.batch)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _open(source: Source, path: Path, device: str, threads: int | None) -> Any:
    from onnxruntime import InferenceSession, SessionOptions
    from optimum.onnxruntime import ORTModelForCausalLM, ORTModelForSequenceClassification
    from transformers import AutoConfig

    subject, advice = f"{source.name}: {str(path)!r}", "Export or download it again."
    with reading(f"The configuration of {source.name!r}", advice=advice):
        config = AutoConfig.from_pretrained(
            config_folder(source, path), trust_remote_code=source.trust_remote_code
        )
    options = SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    # Opened here, because from_pretrained may pick a file of the same name from another folder.
    with reading(subject, verb="opened by ONNX Runtime", advice=advice):
        session = InferenceSession(str(path), sess_options=options, providers=[provider])
    if source.kind == "reward":
        return ORTModelForSequenceClassification(
            config=config, session=session, use_io_binding=False
        )
    config.use_cache = False
    model = ORTModelForCausalLM(config=config, session=session, use_io_binding=False)
    past = {value.name: value.shape for value in session.get_inputs() if ".key" in value.name}
    for shape in past.values():
        # optimum derives these from the hidden size, which is wrong for Gemma 2 and Qwen 3.
        model.num_key_value_heads, model.embed_size_per_head = shape[1], shape[3]
    return model


class _OptimumModel(LoadedModel):
    def __init__(self, source: Source, model: Any, device: str, batch: int) -> None:
        self.device = device
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.vocabulary = int(model.config.vocab_size)
        # Nothing is shared between conversations, so large packs only mean fewer calls.
        self.batch_tokens = 4096
        self._source = source
        self._model = model
        self._batch = batch
        self._padding = model.config.get_text_config().pad_token_id
        self._file = Path(model.path).name
        if self.dtype != source.dtype:
            raise ValueBiasError(
                f"{source.name}: the ONNX file computes in {self.dtype}, but "
                f"dtype={source.dtype!r} was asked for. Ask for {self.dtype!r}, or bring a "
                "file that was exported in the other one."
            )
        if source.kind == "reward":
            if source.label >= model.config.num_labels:
                raise ValueBiasError(
                    f"{source.name}: found label={source.label}, but the ONNX file has "
                    f"{model.config.num_labels}, counted from 0."
                )
            self._check_reading()
        else:
            self._check_decoder()

    def forward(self, pack: Pack) -> npt.NDArray[np.float32]:
        """Compute a pack; see :meth:`LoadedModel.forward`."""
        if self._source.kind == "reward":
            return self._rewards(pack)
        rows = self._rows(pack)
        return rows if pack.target is None else rows[pack.row, pack.target]

    def details(self) -> dict[str, Any]:
        """Return what else belongs in the provenance."""
        names = ("optimum", "optimum-onnx", "onnxruntime-gpu", "onnxruntime", "transformers")
        return {
            "file": self._file,
            "versions": {name: version for name in names if (version := _version(name))},
        }

    def close(self) -> None:
        """Release memory."""
        del self._model

    def _rewards(self, pack: Pack) -> npt.NDArray[np.float32]:
        # The file reads the last token of what it is given, so a reading place ends a conversation.
        paths = [np.flatnonzero(pack.end[: index + 1] > index) for index in map(int, pack.gather)]
        ends_in_padding = np.any(pack.ids[pack.gather] == self._padding)
        if ends_in_padding and not self._source.own_code:
            raise ValueBiasError(
                f"{self._source.name}: a conversation ends in token {self._padding}, the "
                "padding of this model. Its ONNX file reads the last token that is no padding, so "
                'the reward cannot be read there. Leave reward_at= out, or use backend="torch".'
            )
        rewards = np.empty(len(paths), dtype=np.float32)
        for members, logits in self._run(pack, paths, width=1):
            rewards[members] = logits[:, self._source.label]
        return rewards

    def _rows(self, pack: Pack) -> npt.NDArray[np.float32]:
        paths, which, position = conversations(pack)
        rows = np.empty((len(pack.gather), self.vocabulary), dtype=np.float32)
        for members, logits in self._run(pack, paths, width=self.vocabulary):
            for i, conversation in enumerate(members):
                wanted = np.flatnonzero(which == conversation)
                rows[wanted] = _log_softmax(logits[i, position[wanted]])
        return rows

    def _run(
        self, pack: Pack, paths: list[npt.NDArray[np.int64]], *, width: int
    ) -> Iterator[tuple[list[int], npt.NDArray[Any]]]:
        """Run conversations in batches of the same length, which need no padding."""
        by_length = sorted(range(len(paths)), key=lambda i: len(paths[i]))
        for length, group in groupby(by_length, key=lambda i: len(paths[i])):
            members = list(group)
            size = max(1, min(self._batch, _BATCH_BYTES // (4 * length * width)))
            for start in range(0, len(members), size):
                batch = members[start : start + size]
                ids = pack.ids[np.stack([paths[i] for i in batch])]
                yield batch, self._model(**self._inputs(ids)).logits

    def _inputs(self, ids: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return the inputs; the language models of optimum take torch tensors only."""
        if self._source.kind == "reward":
            return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        import torch

        tensor = torch.from_numpy(ids)
        return {"input_ids": tensor, "attention_mask": torch.ones_like(tensor), "use_cache": False}

    def _check_decoder(self) -> None:
        """Refuse files in which a token changes what is predicted before it: encoders."""
        ids = np.random.default_rng(0).integers(self.vocabulary, size=(2, 8))
        ids[1, :-1] = ids[0, :-1]
        first, second = np.asarray(self._model(**self._inputs(ids)).logits)[:, :-1]
        # Exporters' own rounding is a hundredth of this, also in float16.
        if np.abs(first - second).max() > 0.01 * np.abs(first).max():
            raise ValueBiasError(
                f"{self._source.name}: its ONNX file is of an encoder: tokens see those that come "
                "after them, so it has no log-probs of a next token. Expected a decoder alone, "
                "such as Llama, Gemma, Qwen or Mistral."
            )

    def _check_reading(self) -> None:
        """Refuse files of older exporters, which read before the first padding and not the last."""
        pad = self._padding
        if pad is None or self._source.own_code or not 0 <= pad < self.vocabulary:
            return
        others = [token for token in range(6) if token != pad][:5]
        inside = np.array([[*others[:2], pad, *others[2:]]], dtype=np.int64)
        whole, cut = (self._model(**self._inputs(ids)).logits for ids in (inside, inside[:, :2]))
        if np.allclose(np.asarray(whole), np.asarray(cut), rtol=1e-4, atol=1e-6):
            raise ValueBiasError(
                f"{self._source.name}: the ONNX file reads the reward before the first token "
                f"{pad}, the padding of this model, wherever that stands; the model's own head "
                "reads the last token that is no padding. It was exported by an old version of "
                "transformers. Export it again with valuebias.backends.optimum_files.export."
            )


def _log_softmax(logits: Any) -> npt.NDArray[np.float32]:
    exact = np.asarray(logits, dtype=np.float64)
    exact = exact - exact.max(axis=-1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    result: npt.NDArray[np.float32] = exact.astype(np.float32)
    return result
