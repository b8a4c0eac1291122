"""A backend in fifty lines: transformers, one whole conversation at a time."""

from importlib.util import find_spec
from typing import Any

import numpy as np

from valuebias import ValueBiasError
from valuebias.backends import Backend, LoadedModel, Pack, Source, conversations


class NaiveBackend(Backend):
    name = "naive"
    description = "transformers, one whole conversation at a time"
    packed = False

    def available(self) -> str | None:
        missing = [module for module in ("torch", "transformers") if find_spec(module) is None]
        return f"{' and '.join(missing)} must be installed" if missing else None

    def load(self, source: Source) -> LoadedModel:
        if source.head != "logits" or source.own_code or source.dtype not in self.dtypes():
            raise ValueBiasError(f"{source.name}: this backend reads float32 logits only.")
        if not (source.folder / "config.json").is_file():
            raise ValueBiasError(f"{source.name}: there is no config.json in {source.folder}.")
        made = NaiveModel(source)
        if not made.reward and made.looks_ahead():
            raise ValueBiasError(f"{source.name}: an encoder has no log-probs of a next token.")
        return made


class NaiveModel(LoadedModel):
    device, dtype, batch_tokens = "cpu", "float32", 256

    def __init__(self, source: Source) -> None:
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

        self.reward, self.label = source.kind == "reward", source.label
        auto = AutoModelForSequenceClassification if self.reward else AutoModelForCausalLM
        self.model = auto.from_pretrained(source.folder, dtype="float32").eval()
        self.vocabulary = self.model.config.vocab_size

    def forward(self, pack: Pack) -> np.ndarray:
        import torch

        paths, which, place = conversations(pack)
        with torch.inference_mode():
            read = [self.run(torch.from_numpy(pack.ids[path])[None]).numpy() for path in paths]
        rows = np.stack([read[w][p] for w, p in zip(which, place, strict=True)])
        return rows if pack.target is None else rows[pack.row, pack.target]

    def looks_ahead(self) -> bool:
        """Tell whether a token changes what is predicted before it."""
        import torch

        first, second = (self.run(torch.tensor([[3, 4, last]]))[0] for last in (5, 6))
        return not torch.allclose(first, second, atol=1e-4)

    def run(self, ids: Any) -> Any:
        """Give what can be read at each token: a reward, or log-probs of the vocabulary."""
        if self.reward:
            hidden = self.model.base_model(ids).last_hidden_state
            return self.model.score(hidden)[0, :, self.label]
        logits = self.model(ids).logits[0]
        return logits - logits.logsumexp(-1, keepdim=True)
