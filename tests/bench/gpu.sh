#!/bin/sh
# Everything that only an NVIDIA card can show, in one call: this build against the reference tensors on the card, then
# speed beside the reference implementation on random weights of the released sizes, drawn on the card, in turns. Prints
# Markdown, keeps every measurement under target/bench/gpu/.
#
# Needs: an NVIDIA driver, CUDA 13.0's compiler (CUDA_HOME, or nvcc in PATH) and a Python with torch for CUDA 13 and
# transformers 5.23.0.
#
#   PYTHON=python3 SIZES='3b 7b' NEW=64 REPEAT=3 tests/bench/gpu.sh
set -eu
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
results=${CARGO_TARGET_DIR:-target}/bench/gpu
binary=${CARGO_TARGET_DIR:-target}/release/modalens
mkdir -p "$results"

command -v nvidia-smi >/dev/null || { echo 'No NVIDIA driver here (nvidia-smi is missing).' >&2; exit 1; }
"$python" -c 'import torch, transformers; assert torch.cuda.is_available()' ||
    { echo "$python lacks torch with CUDA, or transformers (set PYTHON)" >&2; exit 1; }
card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)
CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)}
CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-13000}
export CUDA_COMPUTE_CAP CUDARC_CUDA_VERSION
# The libraries that torch brought are the ones that fit.
bundled=$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
LD_LIBRARY_PATH=${bundled:+$bundled/cu13/lib:}${CUDA_HOME:+$CUDA_HOME/lib64:}${LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH

.ci/cargo build --release --locked --features cuda
"$binary" doctor

echo "## Parity on $card"
for set in tiny alt bundled; do
    model=tests/fixtures/$set/ckpt
    [ -d "$model" ] || model=assets/model
    for dtype in f32 bf16; do
        echo "$set, $dtype:"
        log=$results/verify-$set-$dtype.txt
        "$binary" verify --model "$model" --golden "tests/fixtures/$set" --device cuda --dtype "$dtype" >"$log" || failed="${failed:-} $log"
        tail -n 1 "$log"
    done
done

echo "## Speed on $card"
for size in ${SIZES:-3b 7b}; do
    folder=$results/$size
    mkdir -p "$folder"
    cp "assets/released/qwen2.5-omni-$size.json" "$folder/config.json"
    "$python" tests/bench/reference.py inputs --dir "$folder"
    common="--new ${NEW:-64} --repeat ${REPEAT:-3}"
    rm -f "$folder"/*-*.json
    for round in 1 2; do
        # shellcheck disable=SC2086
        "$python" tests/bench/reference.py run --dir "$folder" --random --device cuda --mode sdpa $common >"$folder/1-sdpa-$round.json"
        # shellcheck disable=SC2086
        "$binary" bench --random --model "$folder" --inputs "$folder/inputs.safetensors" --device cuda --dtype bf16 $common --json >"$folder/2-ours-$round.json"
        # shellcheck disable=SC2086
        "$binary" bench --random --model "$folder" --inputs "$folder/inputs.safetensors" --device cuda --dtype bf16 $common --capture --json >"$folder/3-capture-$round.json"
    done
    echo "### $size, bf16"
    "$python" tests/bench/reference.py table --where "$card" "$folder"/?-*.json
    "$python" tests/bench/reference.py floor --dir "$folder" "$folder"/2-ours-*.json
done

[ -z "${failed:-}" ] || { echo "differs from the reference tensors:$failed" >&2; exit 1; }
