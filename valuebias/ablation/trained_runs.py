"""The runs of a study with the tuning "lora" or "full": train, and score at each checkpoint.

A run has a folder, named by a hash of everything that its result depends on. It holds one file per
checkpoint, each written whole or not at all, and ``done.json``, written last. A run that has it is
kept; any other is trained again from its first step, but its scored checkpoints are not scored
again. A damaged file counts as missing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from valuebias._core.arrays import Floats, Integers
from valuebias._core.disk import WriteError, explain_os_errors, write_bytes
from valuebias._core.opening.numpy_files import load_arrays
from valuebias._core.progress import progress_bar
from valuebias._core.provenance import record
from valuebias._core.sums import archive_bytes, read_json, sealed
from valuebias.ablation.design import Design, Run, RunScores
from valuebias.backends import memory
from valuebias.backends.base import Backend, Source
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.preference_data.preferences import Preferences
from valuebias.scoring.compute import Batch, loaded
from valuebias.scoring.request import Block
from valuebias.training.common import check_training, on_cpu
from valuebias.training.features import Base
from valuebias.training.head import measured
from valuebias.training.objective import Objective
from valuebias.training.reward import PairTokens, TokenPairs, save_plain, train
from valuebias.training.settings import checkpoints

__all__ = ["check_trainable", "clear_scratch", "train_checkpoints", "train_one"]

_VERSION = 1
"""Increase when the same settings give another result."""
_SCRATCH = ".scratch"
_STORED = ("loss", "accuracy", "scores")


def check_trainable(engine: Backend) -> None:
    """Check that training is possible."""
    check_training()
    import torch

    from valuebias.backends.torch_backend import TorchBackend

    if not isinstance(engine, TorchBackend):
        raise ValueBiasError(
            f"The backend is {engine.name!r}, but models are trained with PyTorch. Give 'torch', "
            "or choose the tuning 'head'."
        )
    if not on_cpu(engine) and torch.cuda.device_count() > 1:
        raise ValueBiasError(
            f"There are {torch.cuda.device_count()} GPUs, and training uses one. Set "
            "CUDA_VISIBLE_DEVICES to its number, such as 0."
        )


def clear_scratch(out: Path) -> None:
    """Remove what a killed run left."""
    shutil.rmtree(out / _SCRATCH, ignore_errors=True)


def train_one(
    design: Design, base: Base, objective: Objective, source: str, seed: int, n_pairs: int
) -> None:
    """Train and score one run, unless it is finished; note why where it failed."""
    tokens = _tokens(design, base)
    run = Run(base, source, n_pairs, seed, objective)
    _made(RunTrainer(design, run, tokens, base.token_ids(design.instrument)), run)


def train_checkpoints(design: Design, base: Base) -> Iterator[RunScores]:
    """Train and score the runs of one base, but for those that are known to fail."""
    tokens = _tokens(design, base)
    instrument = base.token_ids(design.instrument)
    study = design.study
    grid = itertools.product(study.objective, design.sources, study.seeds, sorted(study.n_pairs))
    for objective, source, seed, n_pairs in grid:
        run = Run(base, source, n_pairs, seed, objective)
        if run.label in design.failures:
            continue
        trainer = RunTrainer(design, run, tokens, instrument)
        if _made(trainer, run):
            yield from trainer.scored()


def _tokens(design: Design, base: Base) -> PairTokens:
    study = design.study
    asked = any(objective.has_term for objective in study.objective)
    return PairTokens(base, study.training.max_length, starts=asked)


def _made(trainer: RunTrainer, run: Run) -> bool:
    try:
        trainer.make()
    except WriteError:
        raise
    except (ValueBiasError, FloatingPointError) as error:
        trainer.failed(run.label, str(error))
        return False
    return True


class RunTrainer:
    """Train and score one run."""

    def __init__(
        self, design: Design, run: Run, tokens: PairTokens, instrument: list[Integers]
    ) -> None:
        self._design, self._run, self._tokens = design, run, tokens
        self._instrument = instrument
        train_split, self._held_out = design.sources[run.source]
        self._subset = train_split.subset(run.n_pairs, seed=run.seed)
        self._folder = design.out / "runs" / self._digest()

    def failed(self, label: str, why: str) -> None:
        """Note that the run failed."""
        self._design.failures[label] = why

    def make(self) -> None:
        """Train and score, unless the run is finished."""
        if self._is_finished():
            return
        settings = self._design.study.training
        # Free the model of the run before, which reference cycles keep alive.
        memory.release()
        pairs, held_out, counts = self._tokenised()
        steps = checkpoints(settings, settings.n_steps(len(pairs)))
        with progress_bar(self._run.label, shown=self._design.progress) as advance:
            loss = train(
                self._run.base, pairs, tuning=self._design.study.tuning,
                settings=settings, objective=self._run.objective, seed=self._run.seed,
                use_cpu=on_cpu(self._design.engine), steps=steps,
                advance=self._design.stepping(advance),
                checkpoint=lambda step, model: self._checkpoint(step, model, held_out),
            )  # fmt: skip
        about = {"run": self._run.label, "steps": steps, "counts": counts, "loss": loss}
        write_bytes(self._done, json.dumps(sealed(record(details=about))).encode())

    def _is_finished(self) -> bool:
        """Whether all files exist; damaged files are removed, so that only these are made again."""
        for file in sorted(self._folder.glob("step-*.npz")):
            self._clear_damaged(file, lambda file: load_arrays(file, _STORED))
        self._clear_damaged(self._done, read_json)
        if not self._done.exists():
            return False
        return all(self._file(step).exists() for step in read_json(self._done)["steps"])

    def _clear_damaged(self, file: Path, read: Callable[[Path], object]) -> None:
        if not file.exists():
            return
        try:
            read(file)
        except ValueBiasError as error:
            warnings.warn(
                f"{error} The run {self._run.label} is trained again; of its checkpoints only "
                "those that are damaged are scored again.",
                ValueBiasWarning,
                stacklevel=4,
            )
            with explain_os_errors(file):
                file.unlink()

    def scored(self) -> Iterator[RunScores]:
        """Read the scores of a finished run."""
        done = read_json(self._done)
        self._design.details[self._run.label] = done["counts"]
        for step in done["steps"]:
            stored = load_arrays(self._file(step), _STORED)
            row = self._run.row(
                tuning=self._design.study.tuning,
                step=step,
                measured={name: float(stored[name]) for name in ("loss", "accuracy")},
                label=f"{self._run.label} · step {step}",
            )
            yield row, stored["scores"]

    def _tokenised(self) -> tuple[TokenPairs, TokenPairs, dict[str, int]]:
        """Tokenise the pairs to train on and those to measure on, and count both."""
        longest = self._tokens.longest
        split = {"pairs": self._subset, "held_out_pairs": self._held_out}
        parts: list[TokenPairs] = []
        counts: dict[str, int] = {}
        for key, part in split.items():
            tokens = self._tokens.of(part)
            if not len(tokens):
                raise ValueBiasError(
                    f"All {len(part)} pairs of {self._run.source!r} to "
                    f"{'train on' if key == 'pairs' else 'measure with'} are longer than "
                    f"{longest} tokens. Give a larger max_length, or shorter pairs."
                )
            counts |= {key: len(tokens), f"{key}_too_long": len(part) - len(tokens)}
            parts.append(tokens)
        return parts[0], parts[1], counts

    def _checkpoint(self, step: int, model: Any, held_out: TokenPairs) -> None:
        """Score a model during its training, as any other model is scored."""
        file = self._file(step)
        if file.exists():
            return
        scratch = self._design.out / _SCRATCH
        with explain_os_errors(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                save_plain(model, Path(folder))
                values = self._rewards(Path(folder), held_out)
        if not np.isfinite(values).all():
            raise ValueBiasError(
                f"Rewards after step {step} are not finite. Give a lower learning_rate, or a dtype "
                "of a wider range, such as float32."
            )
        n = len(self._instrument)
        loss, accuracy = measured((values[n::2] - values[n + 1 :: 2]).astype(np.float64))
        shape = (len(self._design.instrument), -1)
        stored = {"scores": values[:n].reshape(shape), "loss": loss, "accuracy": accuracy}
        write_bytes(file, archive_bytes({**stored, "held_out": values[n:].reshape(-1, 2)}, file))

    def _rewards(self, folder: Path, held_out: TokenPairs) -> Floats:
        """Compute rewards of the instrument, then of each held-out pair's two answers."""
        base = self._run.base
        source = Source(
            name=base.name, folder=folder, kind="reward", labels=1,
            dtype=base.resolved.source.dtype,
            trust_remote_code=base.resolved.source.trust_remote_code,
        )  # fmt: skip
        both = zip(held_out.chosen, held_out.rejected, strict=True)
        sequences = [*self._instrument, *(ids for pair in both for ids in pair)]
        block = Block((0, 0), slice(0, len(sequences)), slice(0, 1))
        with loaded(self._design.engine, source) as runner:
            return runner.run(Batch(block, sequences), lambda done: self._design.go_on())

    @property
    def _done(self) -> Path:
        return self._folder / "done.json"

    def _file(self, step: int) -> Path:
        return self._folder / f"step-{step:07d}.npz"

    def _digest(self) -> str:
        """Hash everything that the result of a run depends on."""
        study, run = self._design.study, self._run
        instrument = [[c.prompt, *c.answers] for c in self._design.instrument]
        about = [
            _VERSION, run.base.sha256, self._design.engine.name, study.tuning,
            study.training.about(study.tuning), study.training.at_once, run.seed,
            _hash(self._subset), _hash(self._held_out), instrument,
        ]  # fmt: skip
        if not run.objective.is_plain:
            # Runs from before there were several objectives keep their names.
            about.append(run.objective.about())
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def _hash(pairs: Preferences) -> list[str]:
    """List the ids of pairs, in order."""
    return [str(name) for name in pairs.pairs["id"]]
