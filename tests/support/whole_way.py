"""Everything that the package does and writes, for tests that look at all of it from outside.

Run as a script with the name of an act and two folders: one to work in, and one for what somebody
would pass on. Python's own sockets are watched on the way; what they were asked for is printed last.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["ACTS"]

PROMPTS = "up: {text: 'What is best?', framing: positive}\ndown: {text: 'What is worst?', framing: negative}\n"
WORDS = "word,category\n" + "".join(
    f"{word},{category}\n"
    for category, words in {
        "communion": ("love", "trust", "care", "kindness", "friendship"),
        "agency": ("power", "mastery", "control", "success", "ambition"),
    }.items()
    for word in words
)
_KNOWN = "Skywork_Skywork-Reward-Gemma-2-27B"
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
        entries[architecture] = {"source": str(folder), "family": architecture, "base": f"b{seed}"}
    table = work / f"{kind}.yaml"
    table.write_text(json.dumps(entries))
    return table


def _all_of(scores: Any, out: Path, name: str) -> Any:
    """Write a dataset in every form, fit it, and write the fit and its report in every form."""
    import valuebias

    for suffix in ("zarr", "nc", "parquet", "csv"):
        scores = valuebias.read(valuebias.write(scores, out / f"{name}.{suffix}"))
    made = valuebias.fit(scores, draws=30, tune=60, chains=2, seed=1, progress=False)
    for suffix in ("nc", "zarr"):
        made = valuebias.load(made.save(out / f"{name}.fit.{suffix}"))
    for form in ("report.html", "report.md", "report.tex", "tables/"):
        made.report(out / f"{name} {form}" if "." in form else f"{out / name} {form}")
    return made


def analysis(work: Path, out: Path) -> None:
    """Read, fit, tell and draw."""
    import valuebias
    from valuebias.figures.saving import save_figure
    from valuebias.simulate import simulate

    given = simulate(n_models={"Gemma": 2, "Llama": 3}, n_prompts=4, n_words={"agency": 4, "communion": 5}, seed=1)  # fmt: skip
    source = valuebias.write(given, work / "given.csv")
    scores = valuebias.read(source)
    made = _all_of(scores, out, "scores")
    valuebias.audit(scores)
    valuebias.classical(scores, n_permutations=99)
    made.loo()
    for kind in ("forest", "families", "words", "ppc"):
        save_figure(made.plot(kind), out / kind)


def torch(work: Path, out: Path) -> None:
    """Score with PyTorch: rewards, log-probs, whole vocabularies, a GGUF file."""
    import valuebias

    given = _material(work)
    rewards = _models(work, "reward")
    scores = valuebias.score(rewards, store=out / "rewards.zarr", **given)
    print(valuebias.explain(rewards, prompts=given["prompts"], lexicon=given["lexicon"]))
    _all_of(scores, out, "rewards")
    language = _models(work, "logprob")
    valuebias.score(language, kind="logprob", store=out / "logprobs.zarr", **given)
    valuebias.score(language, kind="logprob", store=out / "words.zarr", **given | {"lexicon": "vocabulary"})  # fmt: skip
    joined = valuebias.align(valuebias.read_vocabulary(out / "words.zarr"))
    valuebias.write(joined, out / "joined.nc")
    valuebias.write(valuebias.implicit(joined, numerator="llama", denominator="gemma2"), out / "implicit.zarr")


def onnx(work: Path, out: Path) -> None:
    """Score with ONNX Runtime, and stay as long as its reports take to be sent."""
    import valuebias
    from valuebias.backends.onnx_backend import OnnxBackend

    given = _material(work)
    engine = OnnxBackend(device="cpu", cache=out / "exports")
    valuebias.score(_models(work, "reward"), backend=engine, store=out / "rewards.zarr", **given)
    time.sleep(15)


def _pairs(work: Path) -> Path:
    import pandas as pd

    rows = [{"prompt": f"Which, {i}?", "chosen": f"love {i % 5}", "rejected": f"power {i % 7}"} for i in range(64)]  # fmt: skip
    target = work / "pairs.jsonl"
    pd.DataFrame(rows).to_json(target, orient="records", lines=True)
    return target


def ablations(work: Path, out: Path) -> None:
    """Train reward models in each of the three ways, and analyse them."""
    import valuebias
    from valuebias.ablation import Study, TrainingSettings

    given = _material(work)
    del given["progress"]
    training = TrainingSettings(max_steps=2, log_checkpoints=0, linear_checkpoints=1)
    for objective in ("lora", "full", "head"):
        more = {"training": training, "quantities": [16]} if objective != "head" else {"quantities": [16, 32]}  # fmt: skip
        study = Study(bases=_models(work, "logprob"), sources={"plain": _pairs(work)}, seeds=[0, 1], objective=objective, **more, **given)  # fmt: skip
        study.plan()
        scores = study.run(out / objective, progress=False)
    made = valuebias.fit_ablation(scores, draws=30, tune=60, chains=2, seed=1, progress=False)
    made.save(out / "ablation.nc")
    made.report(out / "ablation.html")


def tuning(work: Path, out: Path) -> None:
    """Fine-tune a language model to say words."""
    import tiny_models

    import valuebias

    folder = tiny_models.tiny("llama", "logprob", work / "words" / "llama", tokens=1000)
    model = valuebias.Model(str(folder), template="Q: {prompt} A:{response}")
    settings = valuebias.LoraSettings(rank=2, n_steps=2, batch_size=2)
    given = _material(work) | {"lexicon": None}
    del given["lexicon"]
    made = valuebias.inject_words(model, words=[" love"], settings=settings, store=out / "injected", **given)  # fmt: skip
    valuebias.write(made, out / "injected.nc")
    print(valuebias.validate_implicit(made, progress=False))


def laboratory(work: Path, out: Path) -> None:
    """Train small models from nothing."""
    from valuebias import lab

    lab.train_grid(out / "lab", leans={"A": 1.0}, sources={"n": 0.0}, n_pairs=[16], seeds=[0], progress=False)  # fmt: skip
    del work


def readers(work: Path, out: Path) -> None:
    """Read what others have made, by whole paths, and write down what was read."""
    import valuebias

    sheets, logs = _sheet(work), work / "logs"
    valuebias.write(valuebias.read_scores(sheets), out / "read.nc")
    valuebias.write(valuebias.read_scores({_KNOWN.replace("_", "/"): sheets / f"{_KNOWN}.csv"}), out / "read.zarr")
    logs.mkdir()
    rows = "".join(f"{i},{word},{word},-{i}.5,-1\n" for i, word in enumerate(("love", "power")))
    head = "token_id,token_name,token_decoded,best_ever_one,bad_ever_one\n"
    (logs / "mine.csv").write_text(head + rows)
    models = {"mine": {"source": str(logs), "family": "F"}}
    tree = valuebias.read_logprobs({"mine": logs / "mine.csv"}, models=models)
    valuebias.write(valuebias.align(tree), out / "logs.nc")
    lexicon = valuebias.lexicon(_material(work)["lexicon"])
    lexicon.table.to_csv(out / "lexicon.csv")
    (out / "lexicon.json").write_text(json.dumps(lexicon.about()))
    pairs = valuebias.preferences(_pairs(work))
    (out / "pairs.json").write_text(json.dumps(pairs.provenance))


def commands(work: Path, out: Path) -> None:
    """Run every command."""
    from valuebias.cli import main

    _material(work)
    _pairs(work)
    rewards, _ = _models(work, "reward"), _models(work, "logprob")
    study = {"bases": str(work / "logprob.yaml"), "sources": {"plain": str(work / "pairs.jsonl")},
             "quantities": [16, 32], "seeds": [0, 1], "prompts": "prompts.yaml",
             "lexicon": "words.csv"}  # fmt: skip
    (work / "study.yaml").write_text(json.dumps(study))
    text = ["--prompts", f"{work}/prompts.yaml", "--lexicon", f"{work}/words.csv"]
    brief = ["--draws", "30", "--chains", "2", "--seed", "1"]
    for command, arguments in (
        ("backends", []),
        ("prompts", []),
        ("lexicons list", []),
        ("lexicons show", [f"{work}/words.csv"]),
        ("data list", []),
        ("data info", ["demo"]),
        ("data load", ["simulated", "--out", f"{out}/simulated.csv"]),
        ("demo", ["--out", f"{out}/demo.html", "--draws", "30", "--chains", "2"]),
        ("explain", [f"{rewards}", *text]),
        ("score", [f"{rewards}", "--store", f"{out}/rewards.zarr", *text]),
        ("data audit", [f"{out}/rewards.zarr"]),
        ("data read", [f"{_sheet(work)}", "--out", f"{out}/own.nc"]),
        ("fit", [f"{out}/rewards.zarr", "--out", f"{out}/fit.nc", "--report", f"{out}/fit.html", *brief]),  # fmt: skip
        ("report", [f"{out}/fit.nc", "--out", f"{out}/report.md"]),
        ("ablate", [f"{work}/study.yaml", "--out", f"{out}/study"]),
        ("reproduce", ["christian2026", "--out", f"{out}/paper", "--logprobs", f"{work}/sheets"]),
    ):
        sys.argv = ["valuebias", *command.split(), *arguments]
        try:
            main()
        except SystemExit as end:
            # The paper's data are not there and cannot be fetched, which its page says.
            if end.code and command != "reproduce":
                raise RuntimeError(f"{command} ended with {end.code}") from end
        print(f"done: {command}")


def _sheet(work: Path) -> Path:
    (work / "sheets").mkdir()
    rows = "love,1,2\npower,2,1\ntrust,3,0\ncontrol,0,3\n"
    (work / "sheets" / f"{_KNOWN}.csv").write_text(f"response,best_ever_one,bad_ever_one\n{rows}")
    return work / "sheets"


ACTS: dict[str, Callable[[Path, Path], None]] = {
    act.__name__: act for act in (analysis, readers, torch, onnx, ablations, tuning, laboratory, commands)
}


def _main(act: str, work: str, out: str) -> None:
    asked: list[str] = []

    def watch(event: str, given: tuple[Any, ...]) -> None:
        if event in _SOCKET:
            asked.append(f"{event} {given[1:] if event == 'socket.connect' else given!r}")

    sys.addaudithook(watch)
    warnings.simplefilter("ignore")
    for folder in map(Path, (work, out)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    ACTS[act](Path(work), Path(out))
    print("asked of sockets: " + json.dumps(asked))


if __name__ == "__main__":
    _main(*sys.argv[1:])
