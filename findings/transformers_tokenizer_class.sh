#!/usr/bin/env bash
# transformers 5 makes a tokenizer anew where the class that tokenizer_config.json names has a constructor of its own
# (GPT-2's, Qwen 2's, Llama's, Gemma's): it takes vocabulary and merges from tokenizer.json, and normaliser,
# pre-tokenizer and decoder from the class. Where the file has others, the ids are others, and nothing says so.
# The `tokenizers` library and PreTrainedTokenizerFast give the file's. Version 4.57 gave the file's, too.
# Seen in transformers 5.24.0: a file that cuts numbers into digits, named GPT2Tokenizer: "1999" is two tokens instead of
# four. (A file of byte pairs that is named LlamaTokenizer is caught since 5.22: issue 45488.)
# Needs Python 3.11 or newer and pip; installs pinned packages in a temporary folder. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check 'transformers==5.24.0' 'tokenizers==0.23.3'
"$folder/env/bin/python" -W ignore - "$folder/model" <<'PYTHON'
import importlib.metadata as metadata
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, logging

logging.set_verbosity_error()
made = Tokenizer(models.BPE())
bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.pre_tokenizer = bytes_only
made.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=bytes_only.alphabet(), show_progress=False
)
made.train_from_iterator(["in 1999 and 1999 and 1999"] * 9, trainer)
made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_only])
folder = Path(sys.argv[1])
PreTrainedTokenizerFast(
    tokenizer_object=made, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>"
).save_pretrained(folder)
settings = folder / "tokenizer_config.json"
settings.write_text(json.dumps({**json.loads(settings.read_text()), "tokenizer_class": "GPT2Tokenizer"}))

file = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("1999").tokens
auto = AutoTokenizer.from_pretrained(folder).tokenize("1999")
fast = PreTrainedTokenizerFast.from_pretrained(folder).tokenize("1999")
print({name: metadata.version(name) for name in ("transformers", "tokenizers")})
print("tokenizer.json:", file)
print("AutoTokenizer:", auto)
print("PreTrainedTokenizerFast:", fast)
assert file == fast == list("1999")
assert auto == ["199", "9"]
print("as described: the class's way of cutting has taken the place of the file's")
PYTHON
