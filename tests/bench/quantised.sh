#!/bin/sh
# What holding the weights in fewer bits changes and gains: answers, log-probabilities and attention beside f32, on the
# bundled model (clips of a seed it never saw) and on the mid-size random one, and the speed of the latter, in turns.
# The mid-size model is the one that `make bench` makes.
set -eu
cd "$(dirname "$0")/../.."

store=${MODALENS_BENCH:-${XDG_CACHE_HOME:-$HOME/.cache}/modalens/bench}
results=${CARGO_TARGET_DIR:-target}/bench/quantised
binary=${CARGO_TARGET_DIR:-target}/release/modalens
forms=${FORMS:-f16,q8_0,q4k,q4k+thinker.visual=q4k+thinker.audio_tower=q4k}
mkdir -p "$results"
[ -e "$store/model/inputs.safetensors" ] || { echo "run 'make bench' first: it makes $store/model" >&2; exit 1; }
.ci/cargo build --release --locked

[ -e "$results/clips/metadata.jsonl" ] || "$binary" world --out "$results/clips" --count 40 --seed 4242
echo '### The bundled model, 40 clips, 3 questions each'
# shellcheck disable=SC2046
"$binary" compare --forms "$forms" --video $(find "$results/clips" -name '*.mp4' | sort) \
    --question 'What do you see?' 'What do you hear?' 'Do the picture and the sound match?'
echo '### 0.8 B random weights, 1,001 prompt tokens, 24 of an answer'
"$binary" compare --forms "$forms" --model "$store/model" --inputs "$store/model/inputs.safetensors" --new 24

echo '### Speed of the same'
round=1
while [ "$round" -le "${ROUNDS:-2}" ]; do
    for dtype in f32 f16 q8_0 q4k; do
        printf '%-5s' "$dtype"
        "$binary" bench --model "$store/model" --inputs "$store/model/inputs.safetensors" --dtype "$dtype" \
            --threads "${THREADS:-2}" --new 24 --repeat "${REPEAT:-1}"
    done
    round=$((round + 1))
done
