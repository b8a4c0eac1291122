"""Write a model as one ONNX file that computes packs, once for each set of weights.

The folder of an export holds the graph (``model.onnx`` and its weights), the tokenizer and the
configuration, so that it can be used without PyTorch and taken elsewhere, and a manifest
(``valuebias.json``) with sizes, hashes and the versions that made it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from valuebias._core.atomic import atomic_path
from valuebias._core.foreign import describe_error, read_json, reading
from valuebias._core.provenance import sha256, versions
from valuebias._core.sums import SUM, json_sum, sealed
from valuebias.backends.base import Pack, Source
from valuebias.backends.configuration import shape
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["FORMAT", "GRAPH", "MANIFEST", "export", "key", "missing", "read_manifest", "stated"]

FORMAT = 4
"""Counts the changes of the graph's inputs, outputs or meaning."""
GRAPH = "model.onnx"
MANIFEST = "valuebias.json"
_OPSET = 23
_PIECE = 4096
"""How many exponentials are added up one after the other."""
_NEEDED = ("torch", "onnx", "onnxscript")
"""Packages that exporting needs and running an export does not."""
_ANEW = (
    "Delete the folder and score again where PyTorch is installed, which exports the model again."
)
_TOKENIZER = (
    "tokenizer*",
    "chat_template*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
)
_TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
"""How far results may be from those of whole conversations, relative to their size."""


def key(source: Source) -> str:
    """Name an export: the same weights read the same way have the same name."""
    label = list(source.read_labels) or source.label
    parts = [FORMAT, source.weights_sha256, source.kind, source.head, label, source.dtype]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def missing() -> str | None:
    """Say which packages exporting needs and are not here; None where there are all."""
    absent = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed"


def stated(folder: Path, *, name: str) -> dict[str, Any]:
    """Read what an export says of itself; its files are not looked at."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueBiasError(
            f"{name}: {str(folder)!r} has no {MANIFEST}, so its ONNX file does not take packs. "
            "Give the model's own folder to have it exported, or use backend='optimum' for a "
            "standard ONNX repository."
        )
    subject, advice = f"{name}: the export in {str(folder)!r} is damaged: {MANIFEST}", _ANEW
    manifest = read_json(path, subject, advice=advice)
    with reading(subject, advice=advice):
        stated = int(manifest["format"])
    if stated != FORMAT:
        raise ValueBiasError(
            f"{name}: the export in {str(folder)!r} has format {stated}; this version of valuebias "
            f"reads format {FORMAT}. Export the model again."
        )
    with reading(subject, advice=advice):
        _checked(manifest)
    return dict(manifest)


def read_manifest(folder: Path, *, name: str) -> dict[str, Any]:
    """Read what an export says of itself, and check that its files are whole."""
    manifest = stated(folder, name=name)
    for file, expected in manifest["files"].items():
        if not (folder / file).is_file():
            raise _corrupt(folder, name, f"{file} is missing")
        if sha256(folder / file) != expected:
            raise _corrupt(folder, name, f"{file} is not what was written (its SHA-256 differs)")
    return manifest


def _checked(manifest: dict[str, Any]) -> None:
    """Refuse a manifest in another form than ours."""
    if manifest.get(SUM, json_sum(manifest)) != json_sum(manifest):
        raise ValueError("it does not say what was written")
    files = manifest["files"]
    if manifest["kind"] not in ("reward", "logprob") or GRAPH not in files:
        raise ValueError("it names no graph, or no kind of results")
    if not isinstance(manifest["dtype"], str) or not isinstance(manifest["made_with"], dict):
        raise TypeError("an entry is not of the form that is written")
    if type(manifest["vocabulary"]) is not int or not 0 < manifest["vocabulary"] < 2**31:
        raise ValueError("its vocabulary has no size")
    longest = manifest["reach"]
    if longest is not None and (type(longest) is not int or longest <= 0):
        raise ValueError("it does not say how long conversations may be")
    if any(Path(file).name != file or "\0" in file for file in files):
        raise ValueError("a file lies elsewhere")


def _corrupt(folder: Path, name: str, why: str) -> ValueBiasError:
    return ValueBiasError(f"{name}: the export in {str(folder)!r} is damaged: {why}. {_ANEW}")


def export(source: Source, folder: Path) -> None:
    """Export a model and compare the result with PyTorch, whole conversation by conversation."""
    absent = missing()
    if absent is not None:
        raise ValueBiasError(
            f"{source.name} has to be exported first, but {absent}. Run: pip install "
            '"valuebias[onnx]". Or export it elsewhere and give the model.onnx that is made there.'
        )
    import torch

    from valuebias.backends import comparing, loading

    cpu = torch.device("cpu")
    model, head = loading.load(source, device=cpu, spread=False, own_attention=False)
    if not comparing.takes_trees(model, source, head):
        raise ValueBiasError(
            f"{source.name}: this architecture cannot be computed as a tree, so it cannot be "
            "exported. Use backend='torch', which computes it conversation by conversation."
        )
    comparing.check(model, source, head)
    pack = comparing.made_up(shape(model.config).vocab_size, kind=source.kind)
    with atomic_path(folder) as part:
        part.mkdir()
        _write_graph(_graph(head), part / GRAPH, pack)
        _compare(part / GRAPH, pack, comparing.expected(model, head, pack), source)
        cast(Any, model).config.save_pretrained(part)
        _copy_tokenizer(source, part)
        # The configuration and the tokenizer decide on the numbers, too.
        files = sorted(file.name for file in part.iterdir() if file.is_file())
        manifest = {
            "format": FORMAT,
            "name": source.name,
            "kind": source.kind,
            "head": source.head,
            "label": list(source.read_labels) or source.label,
            "dtype": source.dtype,
            "vocabulary": shape(model.config).vocab_size,
            "reach": head.reach,
            "weights_sha256": source.weights_sha256,
            "files": {file: sha256(part / file) for file in files},
            "made_with": versions(),
        }
        text = json.dumps(sealed(manifest), indent=2) + "\n"
        (part / MANIFEST).write_text(text, encoding="utf-8")


def _copy_tokenizer(source: Source, folder: Path) -> None:
    if source.file is not None:
        from transformers import AutoTokenizer

        from valuebias.backends.gguf.tokenizer import mended

        tokenizer = AutoTokenizer.from_pretrained(source.folder, gguf_file=source.file)
        mended(tokenizer, source.folder / source.file, source.name).save_pretrained(folder)
        return
    for pattern in _TOKENIZER:
        for file in source.folder.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def _graph(head: Any) -> nn.Module:
    """Wrap a head as a module from the arrays of a pack to results."""
    from torch import Tensor, nn

    class Rewards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(
            self, ids: Tensor, position: Tensor, end: Tensor, trunk: Tensor, gather: Tensor
        ) -> Tensor:
            hidden = self.head.hidden_of_tree(ids, position, end, trunk)
            return self.head.rewards(hidden.index_select(0, gather)).float()  # type: ignore[no-any-return]

    class Logprobs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(
            self,
            ids: Tensor,
            position: Tensor,
            end: Tensor,
            trunk: Tensor,
            gather: Tensor,
            row: Tensor,
            target: Tensor,
        ) -> tuple[Tensor, Tensor]:
            hidden = self.head.hidden_of_tree(ids, position, end, trunk)
            rows = _log_softmax(self.head.logits(hidden.index_select(0, gather)))
            return rows, rows[row, target]

    return Rewards() if head.kind == "reward" else Logprobs()


# ONNX Runtime's own LogSoftmax and ReduceSum add one number after the other: with 262 144 tokens
# the small ones are lost, and a log-prob comes out 3e-5 too high (ReduceLogSumExp: 4e-4). In pieces
# it is as accurate as float32 allows, and no slower.
def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    import torch

    shifted = logits - logits.amax(-1, keepdim=True)
    pieces = [piece.sum(-1) for piece in shifted.exp().split(_PIECE, dim=-1)]
    return shifted - torch.stack(pieces, dim=-1).sum(-1, keepdim=True).log()


def _write_graph(graph: nn.Module, path: Path, pack: Pack) -> None:
    import torch

    from valuebias.backends.memory import pause_collection
    from valuebias.backends.packing import BLOCK, inputs

    arrays = inputs(pack)
    dim = torch.export.Dim
    tokens = {0: BLOCK * dim("blocks", min=1, max=2**20)}
    shapes: dict[str, Any] = dict.fromkeys(("ids", "position", "end"), tokens)
    shapes |= {"trunk": {0: dim("trunk", min=1)}, "gather": {0: dim("rows", min=1)}}
    if pack.row is not None:
        count = dim("targets", min=1)
        shapes |= {"row": {0: count}, "target": {0: count}}
    outputs = ["reward"] if pack.row is None else ["rows", "picked"]
    with torch.no_grad(), _quiet(), pause_collection():
        try:
            program = torch.onnx.export(
                graph,
                tuple(torch.from_numpy(array) for array in arrays.values()),
                dynamo=True,
                opset_version=_OPSET,
                dynamic_shapes=shapes,
                input_names=list(arrays),
                output_names=outputs,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            # Such as rotary embeddings that choose their factors by the length at hand.
            raise ValueBiasError(
                f"The exporter of PyTorch {torch.__version__} cannot make a graph of this "
                f"architecture ({describe_error(error.__cause__ or error)}). Use backend='torch'."
            ) from error
    if program is None:
        raise ValueBiasError("The exporter of PyTorch returned no graph. Use backend='torch'.")
    # Which line of which file made each node is forgotten: the paths name who exported.
    model = program.model
    for part in (model.graph, *(function.graph for function in model.functions.values())):
        for node in part.all_nodes():
            node.metadata_props.clear()
    program.save(path, external_data=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings and logs about its own internals."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _compare(path: Path, pack: Pack, expected: torch.Tensor, source: Source) -> None:
    from valuebias.backends.onnx_backend import session
    from valuebias.backends.packing import inputs

    graph = session(path, provider="CPUExecutionProvider", threads=None)
    (result,) = graph.run(["reward" if pack.row is None else "picked"], inputs(pack))
    wanted = expected.numpy()
    gap = float(np.linalg.norm(result - wanted) / np.linalg.norm(wanted))
    if not gap <= _TOLERANCE[source.dtype]:
        raise ValueBiasError(
            f"{source.name}: the exported graph is wrong by {gap:.2g} of the results' size, so it "
            "is not used. Use backend='torch', and please report this architecture."
        )
