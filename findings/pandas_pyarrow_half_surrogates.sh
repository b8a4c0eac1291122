#!/usr/bin/env bash
# The JSON of tokenizers and of scraped texts holds halves of surrogate pairs ("\ud83d"), which are text to Python.
# pandas 3 stores text as `str`, by PyArrow where that is installed and by Python objects where it is not: the same
# DataFrame of the same list is made without PyArrow and ends in UnicodeEncodeError with it, also where the values come
# as an array of objects or of dtype object in a column of another table (`assign`). Only `dtype=object` said in the
# call itself keeps them, and `assign` knows no such argument. pandas 2.3 keeps them either way.
# Seen: pandas 3.1.1 alone keeps the text; with PyArrow 26.0.1 the list, the array and assign raise, and
# dtype=object does not; pandas 2.3.3 with PyArrow keeps it.
# Needs Python 3.11 to 3.13 and pip; installs pinned packages in a temporary folder. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/seen.py" <<'PYTHON'
import json

import numpy as np
import pandas as pd

texts = json.loads('["love", "a\\ud83d"]')
objects = np.array(texts, dtype=object)
ways = {
    "list": lambda: pd.DataFrame({"word": texts}),
    "array": lambda: pd.DataFrame({"word": objects}),
    "assign": lambda: pd.DataFrame({"n": [1, 2]}).assign(word=objects),
    "dtype=object": lambda: pd.DataFrame({"word": texts}, dtype=object),
}
for name, make in ways.items():
    try:
        kept = make()["word"].tolist() == texts
        print(name, "keeps" if kept else "changes")
    except UnicodeEncodeError:
        print(name, "raises")
PYTHON
see() {  # see NAME PACKAGES...
  local name=$1
  shift
  python3 -m venv "$folder/$name"
  "$folder/$name/bin/pip" install --quiet --disable-pip-version-check "$@"
  "$folder/$name/bin/python" -W ignore "$folder/seen.py" | tee "$folder/$name.txt"
}
echo "pandas 3.1.1 alone"; see alone pandas==3.1.1 numpy==2.4.6
echo "pandas 3.1.1 and pyarrow 26.0.1"; see both pandas==3.1.1 numpy==2.4.6 pyarrow==26.0.1
echo "pandas 2.3.3 and pyarrow 26.0.1"; see before pandas==2.3.3 numpy==2.4.6 pyarrow==26.0.1
same=$'list keeps\narray keeps\nassign keeps\ndtype=object keeps'
[ "$(cat "$folder/alone.txt")" = "$same" ]
[ "$(cat "$folder/before.txt")" = "$same" ]
[ "$(cat "$folder/both.txt")" = $'list raises\narray raises\nassign raises\ndtype=object keeps' ]
echo "as described"
