"""Which ONNX file to run, whether it can be trusted, and how to make one.

Two things go wrong silently when optimum-onnx 0.1 exports a model, and the file gives wrong scores:

- transformers before version 5 does not read ``rope_parameters``, where version 5 writes the angles
  of the rotary embedding, and uses a theta of 10,000 instead;
- Gemma 2 is exported with an attention that leaves out its soft cap.

:func:`export` avoids both, and :func:`check_file` looks for both in files that others exported.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.atomic import atomic_path
from valuebias._core.foreign import read_json, reading
from valuebias.backends.base import Kind, Source
from valuebias.backends.configuration import REWARD_HEAD, head_width
from valuebias.errors import ValueBiasError

__all__ = ["check_file", "config_folder", "export", "find_file"]

_TOKENIZER = ("tokenizer", "special_tokens_map", "added_tokens", "chat_template", "vocab", "merges")
_DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger"}


def export(folder: Path, target: Path, *, kind: Kind) -> None:
    """Export a model in transformers' format as a standard ONNX file, as optimum-cli does."""
    from optimum.exporters.onnx import onnx_export_from_model

    task = {"reward": "text-classification", "logprob": "text-generation"}[kind]
    _check_one_layer(folder, folder.name, kind)
    config = _older_form(_read(folder / "config.json"), folder)
    with atomic_path(target) as part:
        try:
            # The tracer warns of each branch in transformers' code that it takes as fixed.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                onnx_export_from_model(
                    _model(folder, config, kind), part, task=task, do_validation=False
                )
        except (ValueError, OSError) as error:
            raise ValueBiasError(
                f"optimum cannot export {str(folder)!r} as {task}: {error} "
                'Use backend="torch" or backend="onnx".'
            ) from error
        for path in folder.iterdir():
            if path.name.startswith(_TOKENIZER):
                shutil.copy(path, part)


def _model(folder: Path, config: dict[str, Any], kind: Kind) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    if (folder / "adapter_config.json").is_file():
        raise ValueBiasError(
            f"In {str(folder)!r} an adapter lies beside the weights, and this version of "
            "transformers would put it on top of them. Move the files that begin with 'adapter_' "
            "to another folder, to export the weights as they are."
        )
    settings = type(AutoConfig.for_model(config["model_type"])).from_dict(config)
    loader = AutoModelForSequenceClassification if kind == "reward" else AutoModelForCausalLM
    # The other attentions leave out soft caps.
    return loader.from_pretrained(
        folder, config=settings, attn_implementation="eager", dtype="float32"
    )


def check_file(source: Source) -> Path:
    """Find the ONNX file of a model and refuse one whose scores would be wrong."""
    path = find_file(source)
    _check_one_layer(config_folder(source, path), source.name, source.kind)
    import onnx

    with reading(
        f"{source.name}: {str(path)!r}",
        verb="read as an ONNX file",
        advice="Export or download it again.",
    ):
        graph = onnx.load(path, load_external_data=False).graph
    _check_outputs(source, graph)
    dynamic = sorted({node.op_type for node in graph.node} & _DYNAMIC)
    if dynamic:
        raise ValueBiasError(
            f"{source.name}: the ONNX file quantises while it runs ({', '.join(dynamic)}). Scores "
            "would then depend on what else is in the batch, with errors as large as their "
            "differences. Use the file in float32 or float16."
        )
    config = _read(config_folder(source, path) / "config.json")
    _check_soft_cap(source.name, graph, config)
    _check_angles(source.name, graph, config)
    return path


def _check_one_layer(folder: Path, name: str, kind: Kind) -> None:
    """Refuse a reward head that optimum does not know, and would fill with random numbers."""
    if kind == "reward" and head_width(folder, name) is not None:
        raise ValueBiasError(
            f"{name}: its reward head has two layers ({REWARD_HEAD} in config.json), which optimum "
            'does not export. Score the model itself with backend="torch" or backend="onnx".'
        )


def config_folder(source: Source, path: Path) -> Path:
    """Find the configuration: beside the file, or at the top where the files are in ``onnx/``."""
    return path.parent if (path.parent / "config.json").exists() else source.folder


def find_file(source: Source) -> Path:
    """Find the ONNX file of a model: the one that is named, or the only one of its folder."""
    if source.file is not None and not source.file.lower().endswith(".onnx"):
        raise ValueBiasError(
            f"{source.name}: found the file {source.file!r}, which is no ONNX file. Give one, or "
            "use another backend."
        )
    if source.file is not None:
        path = source.folder / source.file
        if path.is_file():
            return path
        raise ValueBiasError(f"{source.name}: there is no file {str(path)!r}.")
    files = sorted(source.folder.rglob("*.onnx"))
    named = [path for path in files if path.name == "model.onnx"]
    if len(files) == 1 or len(named) == 1:
        return (named or files)[0]
    if not files:
        raise ValueBiasError(
            f'{source.name}: {str(source.folder)!r} holds no ONNX file. backend="optimum" runs '
            "models that were exported already; make one with "
            "valuebias.backends.optimum_files.export, or use another backend."
        )
    names = ", ".join(str(path.relative_to(source.folder)) for path in files)
    raise ValueBiasError(
        f"{source.name}: {str(source.folder)!r} holds several ONNX files ({names}). Give the path "
        "of the one to run as the model's source."
    )


def _check_outputs(source: Source, graph: Any) -> None:
    shapes = {out.name: len(out.type.tensor_type.shape.dim) for out in graph.output}
    expected = {"reward": 2, "logprob": 3}[source.kind]
    if shapes.get("logits") == expected:
        return
    noun = {2: "a classifier", 3: "a language model"}.get(shapes.get("logits", 0), "neither")
    raise ValueBiasError(
        f'{source.name}: kind="{source.kind}" needs the ONNX file of a '
        f"{'classifier' if expected == 2 else 'language model'}; this is {noun} "
        f"(outputs: {', '.join(shapes)}). Choose the other kind or another file."
    )


# --- soft-capped attention ----------------------------------------------------------------------


def _check_soft_cap(name: str, graph: Any, config: dict[str, Any]) -> None:
    """Look for the hyperbolic tangent before the softmax, where attention is written out."""
    cap = config.get("attn_logit_softcapping")
    softmax = [node for node in graph.node if node.op_type == "Softmax"]
    if not cap or not softmax:
        return
    producers = {output: node for node in graph.node for output in node.output}
    if any(_capped(node, producers, steps=5) for node in softmax):
        return
    raise ValueBiasError(
        f"{name}: the configuration caps attention softly (attn_logit_softcapping = {cap}), and "
        "the ONNX file does not. It was exported with an attention that leaves the cap out, and "
        "its scores are wrong. Export it again with valuebias.backends.optimum_files.export."
    )


def _capped(node: Any, producers: dict[str, Any], *, steps: int) -> bool:
    """Whether a Tanh lies that few steps before the node; between are a mask and a factor."""
    if node.op_type == "Tanh":
        return True
    before = [producers[name] for name in node.input if name in producers]
    return steps > 0 and any(_capped(other, producers, steps=steps - 1) for other in before)


# --- rotary embeddings --------------------------------------------------------------------------


def _older_form(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Add the fields in which transformers before version 5 looks for the angles."""
    rope = config.get("rope_parameters")
    if not rope:
        return config
    added = {}
    if set(rope) == {"sliding_attention", "full_attention"}:
        # Gemma 3: layers with a sliding window turn by angles of their own.
        added["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    if any(isinstance(value, dict) for value in rope.values()):
        raise ValueBiasError(
            f"{str(folder)!r} has rotary embeddings that differ between layers in a way that the "
            'older form of the configuration cannot say. Use backend="torch" or backend="onnx".'
        )
    added["rope_theta"] = rope.get("rope_theta")
    if rope.get("rope_type", "default") != "default":
        added["rope_scaling"] = {key: rope[key] for key in rope if key != "rope_theta"}
    if "partial_rotary_factor" in rope:
        added["partial_rotary_factor"] = rope["partial_rotary_factor"]
    for field, value in added.items():
        if config.get(field, value) != value:
            raise ValueBiasError(
                f"{str(folder / 'config.json')!r} contradicts itself: {field} is {config[field]} "
                f"there, and {value} in rope_parameters. Correct it."
            )
    return {**config, **added}


def _check_angles(name: str, graph: Any, config: dict[str, Any]) -> None:
    """Compare the angles in the file with those of the configuration, where both can be told."""
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta")}
    rope = rope.get("full_attention", rope)
    theta, kind = rope.get("rope_theta"), rope.get("rope_type", "default")
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    scaled = kind != "default" or bool(config.get("rope_scaling"))
    if theta is None or scaled or not heads or not hidden:
        return
    half = int((config.get("head_dim") or hidden // heads) * rope.get("partial_rotary_factor", 1))
    half //= 2
    expected = float(theta) ** -(np.arange(half) / half)
    rotations = list(_angles(graph, half))
    if not rotations or any(np.allclose(angles, expected, rtol=1e-4) for angles in rotations):
        return
    # The second angle is theta ** (-1 / half).
    used = float(rotations[0][1]) ** -half if half > 1 else float("nan")
    raise ValueBiasError(
        f"{name}: the ONNX file turns its rotary embedding with theta = {used:.6g}, but its "
        f"configuration says {float(theta):.6g}. It was exported by a version of transformers that "
        "does not read this configuration, and its scores are wrong. Export it again with "
        "valuebias.backends.optimum_files.export."
    )


def _angles(graph: Any, half: int) -> Iterator[npt.NDArray[np.float64]]:
    """Find constants that look like inverse frequencies: from 1 downwards, one per pair."""
    from onnx import numpy_helper

    constants = [
        attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    for tensor in (*graph.initializer, *constants):
        if int(np.prod(tensor.dims)) != half or tensor.data_location == 1:
            continue
        values = numpy_helper.to_array(tensor).ravel().astype(np.float64)
        if values[0] == 1 and np.all(values > 0) and np.all(np.diff(values) < 0):
            yield values


def _read(path: Path) -> dict[str, Any]:
    config = read_json(path, advice="A model's folder holds its config.json.")
    if not isinstance(config, dict):
        raise ValueBiasError(f"{str(path)!r} holds no mapping. Save the model again.")
    return config
