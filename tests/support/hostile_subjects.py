"""What is damaged: a valid file or folder of every kind that the package reads, and its reading."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tiny_models
import tiny_studies
import xarray as xr

import valuebias
from valuebias import Model
from valuebias.ablation import Head, Study
from valuebias.simulate import simulate

__all__ = [
    "PLAIN_SUBJECTS",
    "PROMPTS",
    "QUICK",
    "SUBJECTS",
    "WORDS",
    "Subject",
    "differing",
    "score",
    "scores",
    "stamp",
]

OWN = "no checksum: its content is the user's"
WEIGHTS = "no checksum: weights or settings of a valid model"
WORDS = ["love", "power", "trust"]
PROMPTS = {
    "best": {"text": "What is good?", "framing": "positive"},
    "worst": {"text": "What is bad?", "framing": "negative"},
}
QUICK: dict[str, Any] = {"draws": 20, "tune": 40, "chains": 2, "seed": 1, "progress": False}


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of file: how a valid one is made in a folder, what is damaged, and how it is read.

    `excuse` says why other content may be read for what it is; empty where that is a fault. Where
    the file `may_go`, there is nothing to be read then, and that is right.
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], str]
    damaged: tuple[str, ...] = ("**/*",)
    excuse: str = ""
    weight: float = 1.0
    may_go: bool = False

    def files(self, folder: Path) -> list[Path]:
        """List what may be damaged."""
        found = {path for pattern in self.damaged for path in folder.glob(pattern)}
        return sorted(path for path in found if path.is_file())


# --- what was read, as a hash ----------------------------------------------------------------


def stamp(*parts: Any) -> str:
    """Hash numbers and names, so that two readings can be compared."""
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, part)
    return digest.hexdigest()


def _add(digest: Any, part: Any) -> None:
    if isinstance(part, xr.DataTree):
        for node in sorted(part.subtree, key=lambda node: node.path):
            digest.update(node.path.encode())
            _add(digest, node.to_dataset(inherit=False))
    elif isinstance(part, xr.Dataset):
        for name in sorted(map(str, part.variables)):
            digest.update(f"{name} {part[name].dims}".encode())
            _add(digest, part[name].to_numpy())
    elif isinstance(part, pd.DataFrame):
        for name in part.columns:
            digest.update(str(name).encode())
            _add(digest, part[name].to_numpy())
        _add(digest, part.index.to_numpy())
    elif isinstance(part, np.ndarray):
        values = part if part.dtype.kind in "biuf" else np.array([str(v) for v in part.ravel()])
        digest.update(f"{values.shape} {values.dtype.kind}".encode())
        digest.update(values.tobytes())
    else:
        digest.update(repr(part).encode(errors="surrogatepass"))


# --- datasets ----------------------------------------------------------------------------------


def scores(seed: int = 1) -> xr.Dataset:
    """Simulate scores of four models."""
    return simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=12, seed=seed)


def _written(suffix: str) -> tuple[Callable[[Path], Any], Callable[[Path], str]]:
    def make(folder: Path) -> None:
        valuebias.write(scores(), folder / f"scores{suffix}")

    def read(folder: Path) -> str:
        ds = valuebias.read(folder / f"scores{suffix}")
        return stamp(ds, {k: v for k, v in ds.attrs.items() if k != "provenance"})

    return make, read


def _make_plain(folder: Path) -> None:
    table = scores()["score"].to_dataframe().reset_index()
    table[["model", "prompt", "response", "family", "base", "stage", "text", "framing",
           "score"]].to_csv(folder / "own.csv", index=False)  # fmt: skip


def _make_wide(folder: Path) -> None:
    names = list(valuebias.prompts().table.index[:3])
    for model in ("org--one", "org--two"):
        frame = pd.DataFrame(np.random.default_rng(1).normal(size=(4, 3)), columns=names)
        frame.insert(0, "response", ["love", "power", "trust", "win"])
        (folder / "wide").mkdir(exist_ok=True)
        frame.to_csv(folder / "wide" / f"x_rewards_{model.replace('--', '_')}.csv", index=False)
    about = pd.DataFrame({"model": ["org/one", "org/two"], "family": ["A", "B"],
                          "base": ["a", "b"], "stage": ["reward"] * 2})  # fmt: skip
    about.to_csv(folder / "models.csv", index=False)


def _make_logprobs(folder: Path) -> None:
    names = list(valuebias.prompts().table.index[:3])
    words = ["Love", " love", "NaN", "a|b", *(f"w{i}" for i in range(20))]
    frame = pd.DataFrame(
        np.log(np.random.default_rng(1).dirichlet(np.ones(len(words)), size=3)).T, columns=names
    )
    for place, column in enumerate(("token_id", "token_name", "token_decoded")):
        frame.insert(place, column, range(len(words)) if not place else words)
    frame.to_csv(folder / "google_gemma-2-2b_logprobs.csv", index=False)


# --- words, prompts, tables, preferences --------------------------------------------------------


def _make_texts(folder: Path) -> None:
    (folder / "long.csv").write_text("category,word\nup,win\nup,rise*\ndown,lose\ndown,fall\n")
    (folder / "marks.tsv").write_text("word\tup\tdown\nwin\tX\t\nlose\t\tX\nboth\tX\tX\n")
    (folder / "a.dic").write_text("%\n1\tup\n2\tdown\n%\nwin\t1\nlose\t2\nlike\t(02 134)1/2\n")
    (folder / "a.dicx").write_text("DicTerm,up,down\nwin,X,\nlose,,X\n")


def _read_texts(folder: Path) -> str:
    return stamp(*(valuebias.lexicon(folder / name).table
                   for name in ("long.csv", "marks.tsv", "a.dic", "a.dicx")))  # fmt: skip


def _make_prompts(folder: Path) -> None:
    (folder / "p.yaml").write_text(
        "best: {text: 'What is good?', framing: positive}\nworst: {text: 'What is bad?', "
        "framing: negative}\n"
    )
    (folder / "p.csv").write_text(
        'prompt,text,framing\nbest,"What, is good?",positive\nworst,What is bad?,negative\n'
    )
    (folder / "f.yaml").write_text(
        "factors: {adjective: [best, worst], concision: {one: in one word, any: ''}}\n"
        "template: 'What is the {adjective} thing {concision}?'\n"
        "framing_by: adjective\nframing: {best: positive, worst: negative}\n"
    )


def _read_prompts(folder: Path) -> str:
    return stamp(*(valuebias.prompts(folder / name).table for name in ("p.yaml", "p.csv")),
                 valuebias.prompts(folder / "f.yaml").table)  # fmt: skip


def _make_tables(folder: Path) -> None:
    (folder / "m.yaml").write_text(
        "one: {source: org/one, family: A, n_params: 8e9, label: 1, dtype: float32}\n"
        "two: {source: org/two, base: org/lm, template: 'Q: {prompt} A: {response}'}\n"
    )
    (folder / "m.csv").write_text("name,source,family,n_params\none,org/one,A,8e9\ntwo,org/two,,\n")
    (folder / "l.yaml").write_text("- org/one\n- {source: org/two, stage: reward}\n")


def _make_study(folder: Path) -> None:
    tiny_studies.pairs(20).to_json(folder / "pairs.jsonl", orient="records", lines=True)
    (folder / "study.yaml").write_text(
        "bases:\n  - {source: org/lm, name: lm, family: Llama, base: L}\n"
        "sources: {plain: pairs.jsonl}\nquantities: [4, 8]\nseeds: [0, 1]\nheld_out: 0.2\n"
        "objective: lora\ntraining: {learning_rate: 0.01, max_steps: 3}\n"
    )


def _read_study(folder: Path) -> str:
    study = Study.read(folder / "study.yaml")
    study.sides()
    return stamp(study.cells(), repr(study))


def _make_preferences(folder: Path) -> None:
    table = tiny_studies.pairs(12)
    table.to_json(folder / "p.jsonl", orient="records", lines=True)
    table.to_parquet(folder / "p.parquet")


def _read_preferences(folder: Path) -> str:
    made = [valuebias.preferences(folder / name, progress=False)
            for name in ("p.jsonl", "p.parquet")]  # fmt: skip
    return stamp(*(one.pairs for one in made))


# --- models -------------------------------------------------------------------------------------


def score(source: Path, kind: str = "reward", backend: Any = "torch", **more: Any) -> str:
    """Score some words with a model, and hash what comes out."""
    model = Model(str(source), family="A", base="b", name="m")
    ds = valuebias.score(model, prompts=PROMPTS, lexicon=WORDS, kind=kind, progress=False,  # type: ignore[call-overload]
                         backend=backend, **more)  # fmt: skip
    return stamp(ds["score"].to_numpy(), ds["response"].to_numpy(), ds["prompt"].to_numpy())


def _model(kind: str, architecture: str = "llama") -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        tiny_models.tiny(architecture, kind, folder / "model")
        (folder / "model" / "README.md").write_text("---\nbase_model: org/base\n---\nText.\n")

    return make


def _make_sharded(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tiny_models.tiny("llama", "logprob", folder / "whole")
    model = AutoModelForCausalLM.from_pretrained(folder / "whole")
    model.save_pretrained(folder / "model", max_shard_size="60KB")
    AutoTokenizer.from_pretrained(folder / "whole").save_pretrained(folder / "model")
    shutil.rmtree(folder / "whole")


def _gguf(max_tensors: int = 0) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        import gguf_models
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tiny_models.tiny("llama", "logprob", folder / "whole")
        model = AutoModelForCausalLM.from_pretrained(folder / "whole")
        entries = gguf_models.sizes(model.config, **{"rope__freq_base": 10000.0})
        gguf_models.write(
            model, folder / "m.gguf", "llama", entries, max_tensors=max_tensors,
            tokenizer=AutoTokenizer.from_pretrained(folder / "whole"),
            further={"tokenizer.chat_template": tiny_models.CHAT},
        )  # fmt: skip
        shutil.rmtree(folder / "whole")

    return make


def _make_onnx(folder: Path) -> None:
    from valuebias.backends.onnx_backend import OnnxBackend

    tiny_models.tiny("llama", "reward", folder / "whole")
    engine = OnnxBackend(device="cpu", threads=1, cache=folder / "cache")
    score(folder / "whole", backend=engine)
    (made,) = (folder / "cache").iterdir()
    made.rename(folder / "model")
    shutil.rmtree(folder / "cache")
    shutil.rmtree(folder / "whole")


def _read_onnx(folder: Path) -> str:
    from valuebias.backends.onnx_backend import OnnxBackend

    return score(folder / "model" / "model.onnx", backend=OnnxBackend(device="cpu", threads=1))


# --- stores, fits, heads, records ---------------------------------------------------------------


def _make_store(folder: Path) -> None:
    tiny_models.tiny("llama", "reward", folder / "model")
    score(folder / "model", store=folder / "store.zarr")


def _read_vocabulary(folder: Path) -> str:
    return stamp(valuebias.read_vocabulary(folder / "store.zarr").load())


def _make_vocabulary(folder: Path) -> None:
    tiny_models.tiny("llama", "logprob", folder / "model")
    model = Model(str(folder / "model"), family="A", base="b", name="m")
    valuebias.score(model, prompts=PROMPTS, lexicon="vocabulary", kind="logprob", progress=False,
                    store=folder / "store.zarr")  # fmt: skip
    shutil.rmtree(folder / "model")


def _fit(suffix: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            valuebias.fit(scores(), **QUICK).save(folder / f"fit{suffix}")

    return make


def _read_fit(suffix: str) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        fit = valuebias.load(folder / f"fit{suffix}")
        return stamp(fit.tree, fit.data, dict(fit.spec), fit.prior.to_dict(), fit.summary())

    return read


def _ablation(suffix: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        from ablations import ablation

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = ablation(1, n_prompts=2, n_words=8, seeds=2)
            valuebias.fit_ablation(ds, outcome="raw", **QUICK).save(folder / f"fit{suffix}")

    return make


def _read_ablation(suffix: str) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        fit = valuebias.load(folder / f"fit{suffix}")
        return stamp(fit.slope(), fit.gaps(), fit.formula, fit.rope)

    return read


def _make_head(folder: Path) -> None:
    rng = np.random.default_rng(1)
    chosen, rejected = rng.normal(size=(2, 40, 6))
    valuebias.ablation.fit_head(chosen, rejected).save(folder / "head.npz")


def _read_head(folder: Path) -> str:
    head = Head.load(folder / "head.npz")
    return stamp(head.weights, {k: v for k, v in vars_of(head).items() if k != "weights"})


def vars_of(thing: Any) -> dict[str, Any]:
    """Give the fields of a dataclass, slots or not."""
    return {name: getattr(thing, name) for name in type(thing).__dataclass_fields__}


def _make_record(folder: Path) -> None:
    from valuebias.reproduction.record import Entry, write_record

    entries = {
        name: Entry(name, f"Title of {name}", "made", notes=["n"],
                    files={f"{name}/a.csv": "0" * 64},
                    inputs={"x": "1" * 64}, settings={"draws": 5}, fingerprint="f")
        for name in ("figure-1", "posterior")
    }  # fmt: skip
    write_record(folder, "christian2026", entries)


def _read_record(folder: Path) -> str:
    from valuebias.reproduction.record import read_record

    return stamp(sorted(read_record(folder, "christian2026").items()))


def _model_read(kind: str) -> Callable[[Path], str]:
    return lambda folder: score(folder / "model", kind)


SUBJECTS: tuple[Subject, ...] = (
    Subject("scores, netCDF", *_written(".nc"), weight=2),
    Subject("scores, Zarr", *_written(".zarr"), weight=2),
    Subject("scores, Parquet", *_written(".parquet"), weight=2),
    Subject("scores, CSV: table", *_written(".csv"), ("*.csv",)),
    Subject("scores, CSV: sidecar", *_written(".csv"), ("*.json",), weight=2),
    Subject(
        "a tidy table of one's own, CSV", _make_plain,
        lambda folder: stamp(valuebias.read(folder / "own.csv", kind="reward")), excuse=OWN,
    ),
    Subject(
        "wide CSVs and their models", _make_wide,
        lambda folder: stamp(
            valuebias.read_scores(folder / "wide", models=folder / "models.csv")), excuse=OWN,
    ),
    Subject(
        "released log-probs, CSV", _make_logprobs,
        lambda folder: stamp(valuebias.read_logprobs(folder).load()), excuse=OWN,
    ),
    Subject("lexicons: CSV, TSV, .dic, .dicx", _make_texts, _read_texts, excuse=OWN, weight=2),
    Subject("prompts: YAML, CSV", _make_prompts, _read_prompts, excuse=OWN, weight=2),
    Subject(
        "tables of models: YAML, CSV", _make_tables,
        lambda folder: stamp(*(valuebias.read_models(folder / name)
                               for name in ("m.yaml", "m.csv", "l.yaml"))), excuse=OWN,
    ),
    Subject("study.yaml and its pairs", _make_study, _read_study, excuse=OWN),
    Subject("preferences: JSON lines, Parquet", _make_preferences, _read_preferences, excuse=OWN,
            weight=2),
    Subject("model: config.json", _model("reward"), _model_read("reward"), ("model/config.json",),
            WEIGHTS, 3),
    Subject("model: tokenizer.json", _model("reward"), _model_read("reward"),
            ("model/tokenizer.json",), WEIGHTS, 2),
    Subject("model: tokenizer_config.json, template, card", _model("reward"),
            _model_read("reward"), ("model/tokenizer_config.json", "model/*.jinja",
            "model/README.md"), WEIGHTS, 2),
    Subject("model: generation_config.json and config.json", _model("logprob", "gemma2"),
            _model_read("logprob"), ("model/*config.json",), WEIGHTS),
    Subject("model: safetensors", _model("reward"), _model_read("reward"),
            ("model/*.safetensors",), WEIGHTS, 2),
    Subject("model: safetensors, index and parts", _make_sharded, _model_read("logprob"),
            ("model/*.safetensors", "model/*.index.json"), WEIGHTS),
    Subject("model: GGUF", _gguf(), lambda folder: score(folder / "m.gguf", "logprob"),
            excuse=WEIGHTS, weight=2),
    Subject("model: GGUF in parts", _gguf(12), lambda folder: score(
            sorted(folder.glob("*.gguf"))[0], "logprob"), excuse=WEIGHTS),
    Subject("model: ONNX export", _make_onnx, _read_onnx, ("model/model.onnx*",
            "model/valuebias.json"), "", 2),
    Subject("store of scores, read", _make_store,
            lambda folder: stamp(valuebias.read(folder / "store.zarr")), ("store.zarr/**/*",)),
    Subject("store of scores, gone on with", _make_store,
            lambda folder: score(folder / "model", store=folder / "store.zarr"),
            ("store.zarr/**/*",)),
    Subject("store of vocabularies", _make_vocabulary, _read_vocabulary),
    Subject("fit, netCDF", _fit(".nc"), _read_fit(".nc")),
    Subject("fit, Zarr", _fit(".zarr"), _read_fit(".zarr")),
    Subject("fit of an ablation, netCDF", _ablation(".nc"), _read_ablation(".nc")),
    Subject("fit of an ablation, Zarr", _ablation(".zarr"), _read_ablation(".zarr")),
    Subject("head, npz", _make_head, _read_head),
    Subject("record of a reproduction", _make_record, _read_record, may_go=True),
)  # fmt: skip


# --- the same by plain xarray and zarr -----------------------------------------------------------


def _plain(suffix: str) -> Subject:
    name = f"scores{suffix}"

    def make(folder: Path) -> None:
        if suffix == ".zarr":
            scores().to_zarr(folder / name, zarr_format=2, consolidated=False)
        else:
            scores().to_netcdf(folder / name, engine="h5netcdf")

    def read(folder: Path) -> str:
        options: dict[str, Any] = {"engine": "h5netcdf"}
        if suffix == ".zarr":
            options = {"engine": "zarr", "consolidated": False}
        with xr.open_dataset(folder / name, **options) as ds:
            return stamp(ds.load(), dict(ds.attrs))

    return Subject(f"plain xarray, {suffix}", make, read)


PLAIN_SUBJECTS = (_plain(".zarr"), _plain(".nc"))
"""What a reader is to compare with."""


# --- whether other content is valid content -------------------------------------------------------


def differing(subject: Subject, before: Path, after: Path) -> str:
    """Say how a damaged file differs that was read as valid; empty where it should not have been.

    Of weights, tensors must have kept their names, shapes and types, as the formats' own libraries
    read them; then only values differ, which nothing but a checksum could tell.
    """
    if not after.exists() and subject.may_go:
        return "gone"
    if not subject.excuse or not after.is_file():
        return ""
    if after.suffix in (".safetensors", ".gguf"):
        layout = _of_safetensors if after.suffix == ".safetensors" else _of_gguf
        return "values" if layout(before) == layout(after) else ""
    return "content"


def _of_safetensors(path: Path) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return {
            key: (file.get_slice(key).get_shape(), file.get_slice(key).get_dtype())
            for key in file.keys()  # noqa: SIM118 - it is no mapping
        }


def _of_gguf(path: Path) -> Any:
    from gguf import GGUFReader

    return {t.name: (t.shape.tolist(), t.tensor_type) for t in GGUFReader(path).tensors}
