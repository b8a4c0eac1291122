"""What the package does and writes, for tests that look at it from outside.

Run as a script with the name of an act and two folders: one to work in, and one for what is passed
on. Python's own sockets are watched on the way; what they were asked for is printed last.
"""

from __future__ import annotations

import json
import pickle
import socket
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["ACTS"]

PROMPTS = (
    "up: {text: 'What is best?', framing: positive}\n"
    "down: {text: 'What is worst?', framing: negative}\n"
)
WORDS = "word,category\n" + "".join(
    f"{word},{category}\n"
    for category, words in {
        "communion": ("love", "trust", "care", "kindness", "friendship"),
        "agency": ("power", "mastery", "control", "success", "ambition"),
    }.items()
    for word in words
)
_KNOWN = "Skywork_Skywork-Reward-Gemma-2-27B"
_LOCAL = (None, "", "localhost", "127.0.0.1", "::1")
_SOCKET = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
           "socket.sendto", "socket.sendmsg")  # fmt: skip


def _material(work: Path) -> dict[str, Any]:
    (work / "prompts.yaml").write_text(PROMPTS)
    (work / "words.csv").write_text(WORDS)
    return {"prompts": work / "prompts.yaml", "lexicon": work / "words.csv", "progress": False}


def _models(work: Path, kind: str) -> Path:
    """Write two models and a table of them, which names them by their whole paths."""
    import tiny_models

    entries = {}
    for seed, architecture in enumerate(("llama", "gemma2")):
        folder = tiny_models.tiny(architecture, kind, work / kind / architecture, seed=seed)
        entries[architecture] = {
            "location": str(folder),
            "family": architecture,
            "base": f"b{seed}",
        }
    table = work / f"{kind}.yaml"
    table.write_text(json.dumps(entries))
    return table


def _all_of(scores: Any, out: Path, name: str) -> Any:
    """Write a dataset in every form, fit it, and write the fit and its report in every form."""
    import valuebias

    for suffix in ("zarr", "nc", "parquet", "csv"):
        scores = valuebias.read(valuebias.write(scores, out / f"{name}.{suffix}"))
    fit = valuebias.fit(scores, draws=30, tune=60, chains=2, seed=1, progress=False)
    for suffix in ("nc", "zarr"):
        fit = valuebias.load(fit.save(out / f"{name}.fit.{suffix}"))
    for form in ("report.html", "report.md", "report.tex", "tables/"):
        fit.report(f"{out / name} {form}")
    # What users take out of a fit by hand.
    fit.draws().to_csv(out / f"{name} draws.csv")
    fit.tree["posterior"].to_dataset().to_netcdf(out / f"{name} posterior.nc", engine="h5netcdf")
    with (out / f"{name}.pickle").open("wb") as handle:
        pickle.dump((scores, fit.settings, fit.provenance, fit.data), handle)
    return fit


def analysis(work: Path, out: Path) -> None:
    """Read, fit, tell and draw."""
    import valuebias
    from valuebias.datasets.simulate import simulate
    from valuebias.plots.save import save_figure

    simulated = simulate(
        n_models={"Gemma": 2, "Llama": 3},
        n_prompts=4,
        n_words={"agency": 4, "communion": 5},
        seed=1,
    )
    scores = valuebias.read(valuebias.write(simulated, work / "simulated.csv"))
    fit = _all_of(scores, out, "scores")
    (out / "audit.txt").write_text(str(valuebias.audit(scores)))
    (out / "classical.txt").write_text(str(valuebias.classical(scores, n_permutations=99)))
    (out / "shown.txt").write_text(f"{fit!r}{fit.headline()}{fit.loo()}")
    for kind in ("forest", "families", "words", "ppc"):
        save_figure(fit.plot(kind), out / kind)


def scoring(work: Path, out: Path) -> None:
    """Score with PyTorch models that are named by no more than where they lie."""
    import valuebias

    inputs = _material(work)
    _models(work, "reward")
    folders = [str(work / "reward" / name) for name in ("llama", "gemma2")]
    table = dict.fromkeys(folders)
    scores = valuebias.score(table, store=out / "scores.zarr", **inputs)
    plan = valuebias.plan(folders, prompts=inputs["prompts"], lexicon=inputs["lexicon"])
    (out / "plan.txt").write_text(f"{plan}")
    valuebias.write(scores, out / "scores.nc")


def torch(work: Path, out: Path) -> None:
    """Score rewards, log-probs and whole vocabularies with PyTorch."""
    import valuebias

    inputs = _material(work)
    scores = valuebias.score(_models(work, "reward"), store=out / "store.zarr", **inputs)
    _all_of(scores, out, "rewards")
    language = _models(work, "logprob")
    valuebias.score(language, kind="logprob", store=out / "logprobs.zarr", **inputs)
    inputs["lexicon"] = "vocabulary"
    valuebias.score(language, kind="logprob", store=out / "words.zarr", **inputs)
    joined = valuebias.align(valuebias.read_vocabulary(out / "words.zarr"))
    valuebias.write(joined, out / "joined.nc")
    rewards = valuebias.implicit(joined, numerator="llama", denominator="gemma2")
    valuebias.write(rewards, out / "implicit.zarr")


def onnx(work: Path, out: Path) -> None:
    """Score with ONNX Runtime, and stay as long as its reports take to be sent."""
    import valuebias
    from valuebias.backends.onnx_backend import OnnxBackend

    inputs = _material(work)
    engine = OnnxBackend(device="cpu", cache=out / "exports")
    valuebias.score(_models(work, "reward"), backend=engine, store=out / "rewards.zarr", **inputs)
    time.sleep(15)


def optimum(work: Path, out: Path) -> None:
    """Score a standard ONNX file, and stay likewise."""
    import tiny_models

    import valuebias
    from valuebias.backends.optimum_files import export

    folder = tiny_models.tiny("llama", "reward", work / "llama")
    export(folder, out / "exported", kind="reward")
    model = valuebias.Model(str(out / "exported"), family="Llama", base="b")
    valuebias.score(model, backend="optimum", store=out / "rewards.zarr", **_material(work))
    time.sleep(15)


def _pairs(work: Path) -> Path:
    import pandas as pd

    rows = [
        {"prompt": f"Which, {i}?", "chosen": f"love {i % 5}", "rejected": f"power {i % 7}"}
        for i in range(64)
    ]
    target = work / "pairs.jsonl"
    pd.DataFrame(rows).to_json(target, orient="records", lines=True)
    return target


def ablations(work: Path, out: Path) -> None:
    """Train reward models in each of the three ways, and analyse them."""
    import valuebias
    from valuebias.ablation import Study, TrainingSettings

    inputs = _material(work)
    del inputs["progress"]
    bases, sources = _models(work, "logprob"), {"plain": _pairs(work)}
    short = TrainingSettings(max_steps=2, log_checkpoints=0, linear_checkpoints=1)
    for tuning, n_pairs in (("lora", [16]), ("full", [16]), ("head", [16, 32])):
        study = Study(
            bases,
            sources,
            n_pairs,
            seeds=[0, 1],
            tuning=tuning,
            training=None if tuning == "head" else short,
            **inputs,
        )
        (out / f"{tuning}.txt").write_text(str(study.plan()))
        scores = study.run(out / tuning, progress=False)
    fit = valuebias.fit_ablation(scores, draws=30, tune=60, chains=2, seed=1, progress=False)
    fit.save(out / "ablation.nc")
    fit.report(out / "ablation.html")


def tuning(work: Path, out: Path) -> None:
    """Fine-tune a language model to say words."""
    import tiny_models

    import valuebias

    folder = tiny_models.tiny("llama", "logprob", work / "words" / "llama", tokens=1000)
    model = valuebias.Model(str(folder), template="Q: {prompt} A:{response}")
    settings = valuebias.LoraSettings(rank=2, n_steps=2, batch_size=2)
    inputs = _material(work)
    del inputs["lexicon"]
    scores = valuebias.inject_words(
        model, words=[" love"], settings=settings, store=out / "injected", **inputs
    )
    valuebias.write(scores, out / "injected.nc")
    (out / "valid.txt").write_text(str(valuebias.validate_implicit(scores, progress=False)))


def rewards(work: Path, out: Path) -> None:
    """Train as users of TRL do, in a process that has imported this package, and score."""
    import trained_by_trl

    import valuebias

    folder = trained_by_trl.trained("llama", work)
    valuebias.score(valuebias.Model(str(folder), base="b"), store=out / "a.zarr", **_material(work))


def laboratory(_: Path, out: Path) -> None:
    """Train small models from nothing, and reward models of them."""
    from valuebias import lab
    from valuebias.ablation import Study

    base = lab.pretrain(out / "base", lean=1.0, n_texts=200, progress=False)
    sources = {"neutral": lab.generate_preferences(64, seed=0)}
    Study(base, sources, [16], seeds=[0]).run(out / "study", progress=False)


def _sheet(work: Path) -> Path:
    (work / "sheets").mkdir()
    rows = "love,1,2\npower,2,1\ntrust,3,0\ncontrol,0,3\n"
    (work / "sheets" / f"{_KNOWN}.csv").write_text(f"response,best_ever_one,bad_ever_one\n{rows}")
    return work / "sheets"


def readers(work: Path, out: Path) -> None:
    """Read what others have made, by whole paths, and write down what was read."""
    import valuebias

    sheets, logs = _sheet(work), work / "logs"
    valuebias.write(valuebias.read_scores(sheets), out / "read.nc")
    named = {_KNOWN.replace("_", "/"): sheets / f"{_KNOWN}.csv"}
    valuebias.write(valuebias.read_scores(named), out / "read.zarr")
    logs.mkdir()
    rows = "".join(f"{i},{word},{word},-{i}.5,-1\n" for i, word in enumerate(("love", "power")))
    head = "token_id,token_name,token_decoded,best_ever_one,bad_ever_one\n"
    (logs / "mine.csv").write_text(head + rows)
    models = {"mine": {"location": str(logs), "family": "F"}}
    tree = valuebias.read_logprobs({"mine": logs / "mine.csv"}, models=models)
    valuebias.write(valuebias.align(tree), out / "logs.nc")
    material = _material(work)
    lexicon = valuebias.lexicon(material["lexicon"])
    lexicon.table.to_csv(out / "lexicon.csv")
    prompts = valuebias.prompts(material["prompts"])
    prompts.table.to_csv(out / "prompts.csv")
    about = [lexicon.about(), prompts.name, valuebias.preferences(_pairs(work)).provenance]
    (out / "about.json").write_text(json.dumps(about))


def commands(work: Path, out: Path) -> None:
    """Run every command but the one that fetches what it needs."""
    _material(work)
    rewards = _models(work, "reward")
    text = ["--prompts", f"{work}/prompts.yaml", "--lexicon", f"{work}/words.csv"]
    brief = ["--draws", "30", "--chains", "2", "--seed", "1"]
    store, fit = f"{out}/rewards.zarr", ["--out", f"{out}/fit.nc", "--report", f"{out}/fit.html"]
    study = {
        "bases": str(_models(work, "logprob")),
        "sources": {"plain": str(_pairs(work))},
        "n_pairs": [16, 32],
        "seeds": [0, 1],
        "prompts": "prompts.yaml",
        "lexicon": "words.csv",
    }
    (work / "study.yaml").write_text(json.dumps(study))
    for command, arguments in (
        ("backends", []),
        ("prompts", []),
        ("lexicons list", []),
        ("lexicons show", [f"{work}/words.csv"]),
        ("data list", []),
        ("data info", ["demo"]),
        ("data load", ["simulated", "--out", f"{out}/simulated.csv"]),
        ("data read", [f"{_sheet(work)}", "--out", f"{out}/own.nc"]),
        ("plan", [f"{rewards}", *text]),
        ("score", [f"{rewards}", "--store", store, *text]),
        ("score", [f"{rewards}", "--store", f"{out}/shard.zarr", "--shard", "1/1", *text]),
        ("merge", [f"{out}/shard.zarr", "--out", f"{out}/merged.zarr"]),
        ("data audit", [store]),
        ("fit", [store, *fit, *brief]),
        ("report", [f"{out}/fit.nc", "--out", f"{out}/report.md"]),
        ("ablate", [f"{work}/study.yaml", "--out", f"{out}/study"]),
        ("check", [f"{out}"]),
        ("demo", ["--out", f"{out}/demo.html", "--draws", "30", "--chains", "2"]),
    ):
        if code := _command(*command.split(), *arguments):
            raise RuntimeError(f"{command} ended with {code}")


def paper(work: Path, out: Path) -> None:
    """Reproduce the paper from log-probs, where the rest of its data is not at hand."""
    import numpy as np
    import pandas as pd

    import valuebias

    (work / "lms").mkdir()
    prompts = list(valuebias.prompts().table.index)
    texts = ["Love", " love", "Freedom", "freedom", *(f"w{i}" for i in range(40))]
    for seed, model in enumerate(("google--gemma-2-2b-it", "meta-llama--Llama-3.2-3B-Instruct")):
        mass = np.random.default_rng(seed).dirichlet(np.ones(len(texts)), size=len(prompts))
        frame = pd.DataFrame(np.log(mass).T, columns=prompts)
        for place, column in enumerate(("token_id", "token_name", "token_decoded")):
            frame.insert(place, column, texts if place else range(len(texts)))
        frame.to_csv(work / "lms" / f"{model}.csv", index=False)
    brief = ["--draws", "60", "--chains", "2", "--permutations", "19"]
    inputs = ["--logprobs", f"{work}/lms", "--out", f"{out}/paper"]
    if code := _command("reproduce", "christian2026", *inputs, *brief):
        raise RuntimeError(f"reproduce ended with {code}")


def _command(*arguments: str) -> object:
    from valuebias.cli import main

    sys.argv = ["valuebias", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code
    return None


ACTS: dict[str, Callable[[Path, Path], None]] = {
    act.__name__: act
    for act in (
        *(readers, scoring, analysis, torch, onnx, optimum),
        *(rewards, ablations, tuning, laboratory, commands, paper),
    )
}


def _main(act: str, work: str, out: str) -> None:
    requests: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _SOCKET and (host := _host(arguments)) not in _LOCAL:
            requests.append(f"{event} {host}")

    sys.addaudithook(watch)
    warnings.simplefilter("ignore")
    for folder in (work, out):
        Path(folder).mkdir(parents=True, exist_ok=True)
    ACTS[act](Path(work), Path(out))
    sys.stdout.write(f"\n{json.dumps(requests)}\n")


def _host(arguments: tuple[Any, ...]) -> object:
    """Take the host out of what an event of a socket gives: None for one that has none."""
    name = arguments[-1] if isinstance(arguments[0], socket.socket) else arguments[0]
    if isinstance(name, tuple):
        return name[0]
    # Of a socket in the file system its place is arguments.
    return None if isinstance(arguments[0], socket.socket) else name


if __name__ == "__main__":
    _main(*sys.argv[1:])
