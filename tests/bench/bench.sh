#!/bin/sh
# Speed and memory of Modalens beside the reference implementation: both load the same folder and run in turns, so that
# whatever else the machine does falls on both. Prints a Markdown table; keeps every measurement under target/bench/.
#
#   MODALENS_BENCH          where the Python environment and the 3.2 GB checkpoint are kept (default ~/.cache/modalens/bench)
#   MODALENS_BENCH_PYTHON   a Python that has the packages already
#   ROUNDS=3 REPEAT=2 THREADS=2 NEW=32
set -eu
cd "$(dirname "$0")/../.."

store=${MODALENS_BENCH:-${XDG_CACHE_HOME:-$HOME/.cache}/modalens/bench}
threads=${THREADS:-2}
new=${NEW:-32}
results=${CARGO_TARGET_DIR:-target}/bench
binary=${CARGO_TARGET_DIR:-target}/release/modalens
mkdir -p "$store" "$results"

python=${MODALENS_BENCH_PYTHON:-$store/venv/bin/python}
has_packages() { "$python" -c 'import torch, transformers, torchvision, safetensors' >/dev/null 2>&1; }
if ! has_packages; then
    [ -z "${MODALENS_BENCH_PYTHON:-}" ] || { echo "$python lacks torch, torchvision, transformers or safetensors" >&2; exit 1; }
    echo "Setting up the reference in $store/venv (once; 1 to 4 GB)" >&2
    python3 -m venv "$store/venv" || { echo 'Python 3 with venv is needed (Debian: python3-venv)' >&2; exit 1; }
    # The build without GPU libraries is ten times smaller, where its index can be reached.
    "$python" -m pip install --quiet torch==2.15.0 torchvision==0.29.2 --index-url https://download.pytorch.org/whl/cpu ||
        "$python" -m pip install --quiet torch==2.15.0 torchvision==0.29.2
    "$python" -m pip install --quiet transformers==5.23.0 tokenizers==0.23.3 safetensors pillow numpy
    has_packages || { echo 'the reference cannot be imported after its installation' >&2; exit 1; }
fi

[ -e "$store/model/model.safetensors" ] || "$python" tests/bench/reference.py make --dir "$store/model"
.ci/cargo build --release --locked

reference() {
    "$python" tests/bench/reference.py run --dir "$store/model" --mode "$1" --threads "$threads" --new "$new" --repeat "${REPEAT:-2}"
}
ours() {
    "$binary" bench --model "$store/model" --inputs "$store/model/inputs.safetensors" --dtype f32 --threads "$threads" \
        --new "$new" --repeat "${REPEAT:-2}" --json "$@"
}

rm -f "$results"/*.json
round=1
while [ "$round" -le "${ROUNDS:-3}" ]; do
    echo "round $round of ${ROUNDS:-3}" >&2
    reference sdpa >"$results/1-sdpa-$round.json"
    ours >"$results/2-ours-$round.json"
    reference eager >"$results/3-eager-$round.json"
    ours --capture >"$results/4-capture-$round.json"
    round=$((round + 1))
done
"$python" tests/bench/reference.py table --threads "$threads" "$results"/*.json >"$results/table.md"
cat "$results/table.md"
