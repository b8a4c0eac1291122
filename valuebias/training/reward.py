"""Train one reward model by LoRA or in full, with TRL's RewardTrainer."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from valuebias._core.arrays import Integers
from valuebias.errors import ValueBiasError
from valuebias.preference_data.preferences import Preferences
from valuebias.training.common import ARGUMENTS, Advance, apart, losses, own_randomness, reporting
from valuebias.training.features import Base
from valuebias.training.objective import Objective
from valuebias.training.settings import TrainingSettings

__all__ = ["PairTokens", "TokenPairs", "load_base", "make_trainer", "save_plain", "train"]

Checkpoint = Callable[[int, Any], None]
_PLAIN = Objective()


@dataclass(frozen=True, slots=True, eq=False)
class TokenPairs:
    """Pairs of conversations as token ids."""

    # Chosen, rejected: one conversation a pair; the reward is read at its last token.
    chosen: list[Integers]
    rejected: list[Integers]
    # How many tokens stand before the chosen and the rejected answer, where that was asked for.
    starts: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.chosen)


def train(
    base: Base,
    pairs: TokenPairs,
    *,
    tuning: str,
    settings: TrainingSettings,
    objective: Objective = _PLAIN,
    seed: int,
    use_cpu: bool,
    steps: Collection[int],
    checkpoint: Checkpoint,
    advance: Advance | None = None,
) -> list[float]:
    """Train a reward model, and give it out at its checkpoints."""
    import torch

    with apart(seed) as scratch:
        trainer = make_trainer(
            base, pairs, scratch, tuning=tuning, settings=settings, objective=objective, seed=seed,
            use_cpu=use_cpu,
        )  # fmt: skip
        trainer.add_callback(_giving_out(set(steps), checkpoint))
        if advance is not None:
            trainer.add_callback(reporting(advance))
        try:
            trainer.train()
        except torch.OutOfMemoryError as error:
            raise ValueBiasError(
                f"Memory ran out while {base.name!r} was trained with micro_batch="
                f"{settings.at_once}. Give a smaller micro_batch or max_length."
            ) from error
        return losses(trainer)


def make_trainer(
    base: Base,
    pairs: TokenPairs,
    scratch: Path,
    *,
    tuning: str,
    settings: TrainingSettings,
    objective: Objective = _PLAIN,
    seed: int,
    use_cpu: bool,
) -> Any:
    """Make the trainer with its model; see :func:`train`."""
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import RewardConfig

    from valuebias.training import terms
    from valuebias.training.trainer import OutputsTrainer, PairCollator, add_reference

    hf_tokenizer = base.tokenizer.hf_tokenizer()
    hf_tokenizer.pad_token = _pad_token(
        hf_tokenizer, (ids[-1] for ids in pairs.chosen + pairs.rejected)
    )
    model = load_base(base, width=objective.width or 0)
    columns: dict[str, Any] = {"chosen_ids": pairs.chosen, "rejected_ids": pairs.rejected}
    language = None
    if objective.has_log_probs:
        from valuebias.training.language_head import LanguageHead

        # After the head, which is then drawn as without it.
        language = LanguageHead(base)
    if objective.has_coherence:
        _check_several(base, pairs)
    if objective.has_term:
        for place, side in enumerate(("chosen", "rejected")):
            columns[f"{side}_{terms.STARTS}"] = [starts[place] for starts in pairs.starts]
    n_steps = settings.n_steps(len(pairs))
    arguments = RewardConfig(
        output_dir=str(scratch),
        max_steps=n_steps,
        per_device_train_batch_size=settings.at_once,
        gradient_accumulation_steps=settings.batch_size // settings.at_once,
        optim="adamw_torch",
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup * n_steps),
        seed=seed,
        bf16=settings.bf16 and not use_cpu and torch.cuda.is_bf16_supported(),
        use_cpu=use_cpu,
        # LoRA's own dropout would be switched off with it; decoders of today have no other.
        disable_dropout=tuning == "full",
        center_rewards_coefficient=settings.center_rewards_coefficient or None,
        logging_nan_inf_filter=False,
        **ARGUMENTS,
    )
    trainer = OutputsTrainer(
        name=base.name,
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        data_collator=PairCollator(hf_tokenizer.pad_token_id),
        processing_class=hf_tokenizer,
        peft_config=_adapter(model, base.name, settings) if tuning == "lora" else None,
    )
    # Without bars of its own, the trainer prints every loss instead.
    trainer.remove_callback(PrinterCallback)
    if objective.has_coherence:
        trainer.terms.append(terms.TemporalCoherence(objective, trainer.model))
    if language is not None:
        language.to(trainer.args.device)
        trainer.terms.append(terms.TextGeneration(objective, language))
        if objective.regulariser == "dpo":
            add_reference(trainer, language)
    return trainer


def load_base(base: Base, *, width: int = 0) -> Any:
    """Load a base with a new reward head of one label, drawn from torch's own generator.

    It has one layer; or, given its width, two, which begin as PyTorch's own do.
    """
    import torch

    from valuebias.backends import reward_heads
    from valuebias.backends.loading import from_files

    if base.resolved.source.file is not None:
        raise ValueBiasError(
            f"{base.name!r} is the file {base.resolved.source.file!r}; expected a folder with "
            "safetensors, which can be trained. Convert it, or train with tuning='head'."
        )
    source = replace(base.resolved.source, head="logits", label=0, labels=1, dtype="float32")
    model, missing, _ = from_files(source, spread=False, own_attention=True, new_head=width)
    absent = sorted(name for name in missing if not name.startswith("score."))
    if absent or not hasattr(model, "score"):
        fault = f"its files lack {absent[0]!r}" if absent else "its classifier has no head 'score'"
        raise ValueBiasError(f"{base.name!r} cannot be trained: {fault}. Give another base.")
    if width:
        for part in model.score.children():
            if isinstance(part, torch.nn.Linear):
                part.reset_parameters()
        return model
    reward_heads.forget(model.config)
    with torch.no_grad():
        config = model.config.get_text_config()
        model.score.weight.normal_(0.0, float(getattr(config, "initializer_range", 0.02)))
    return model


def save_plain(model: Any, folder: Path) -> None:
    """Write a model that is being trained as a plain one, its adapter put into its weights."""
    from safetensors import SafetensorError

    plain = copy.deepcopy(model).merge_and_unload() if hasattr(model, "peft_config") else model
    try:
        plain.save_pretrained(folder)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error), str(folder)) from error


def _check_several(base: Base, pairs: TokenPairs) -> None:
    """Refuse answers of which none has two tokens to compare."""
    chosen, rejected = (list(side) for side in zip(*pairs.starts, strict=True))
    both = zip(pairs.chosen + pairs.rejected, chosen + rejected, strict=True)
    if max(len(ids) - start for ids, start in both) < 2:
        raise ValueBiasError(
            f"None of the {2 * len(pairs)} answers has two tokens or more as {base.name!r} reads "
            "them, and the terms of 'tcrm' compare an answer's tokens. Give longer answers, or "
            "choose the objective 'bradley-terry'."
        )


def _adapter(model: Any, name: str, settings: TrainingSettings) -> Any:
    from peft import LoraConfig
    from torch.nn import Linear

    names = {path.rpartition(".")[2] for path, _ in model.named_modules() if path}
    for wanted in settings.target_modules:
        if wanted not in names:
            matrices = (path for path, part in model.named_modules() if isinstance(part, Linear))
            own = (path for path in matrices if path.partition(".")[0] != "score")
            linear = sorted({path.rpartition(".")[2] for path in own})
            raise ValueBiasError(
                f"{name!r} has no matrix {wanted!r}, which target_modules names; it has "
                f"{', '.join(linear)}."
            )
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
        modules_to_save=["score"],
        task_type="SEQ_CLS",
    )


def _pad_token(hf_tokenizer: Any, ends: Iterable[int]) -> str:
    """Choose a token to pad with at which no conversation ends.

    transformers' classifiers read the reward at the last token that is not the padding, wherever
    the mask ends: where a template ends in the token that pads, at another place than scoring does.
    """
    taken = {int(end) for end in ends}
    candidates = [
        i for i in (hf_tokenizer.pad_token_id, hf_tokenizer.eos_token_id) if i is not None
    ]
    free = next(i for i in (*candidates, *range(len(hf_tokenizer))) if i not in taken)
    return str(hf_tokenizer.convert_ids_to_tokens(free))


def _giving_out(steps: Collection[int], checkpoint: Checkpoint) -> Any:
    from transformers import TrainerCallback

    class CheckpointCallback(TrainerCallback):
        """Gives the model out before the first step and after some, with randomness of its own."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.on_step_end(args, state, control, **given)

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if state.global_step in steps:
                with own_randomness(0):
                    checkpoint(state.global_step, given["model"])

    return CheckpointCallback()


class PairTokens:
    """Tokenises pairs, each once.

    Attributes
    ----------
    longest : int
        The most tokens that a conversation may have: `max_length`, or what the base takes if that
        is less.
    """

    def __init__(self, base: Base, max_length: int, *, starts: bool = False) -> None:
        self._base, self._starts = base, starts
        self.longest = min(max_length, base.resolved.model_config.max_length or max_length)
        self._known: dict[str, tuple[Integers, Integers]] = {}
        self._begun: dict[str, tuple[int, int]] = {}

    def of(self, pairs: Preferences) -> TokenPairs:
        """Tokenise pairs."""
        columns = (pairs.pairs[key].tolist() for key in ("id", "prompt", "chosen", "rejected"))
        tokens = TokenPairs([], [])
        for name, prompt, chosen, rejected in zip(*columns, strict=True):
            if name not in self._known:
                better, worse = self._base.tokenizer.rewards(
                    json.loads(prompt), (chosen, rejected), any_length=True
                )
                self._known[name] = better, worse
            better, worse = self._known[name]
            if max(len(better), len(worse)) <= self.longest:
                tokens.chosen.append(better)
                tokens.rejected.append(worse)
                if self._starts:
                    tokens.starts.append(self._start(name, prompt))
        return tokens

    def _start(self, name: str, prompt: str) -> tuple[int, int]:
        if name not in self._begun:
            both = self._known[name]
            chosen, rejected = self._base.tokenizer.answer_starts(json.loads(prompt), both)
            self._begun[name] = chosen, rejected
        return self._begun[name]
