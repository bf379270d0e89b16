#!/bin/sh
# A checkpoint of the released 3B size with random weights (9.4 GB on disk, kept): loads as q4k and as q8_0, never holding
# more than 1.15 times its weights, and answers about a clip of the toy world in no more memory than `modalens doctor` says
# for a minute of video.
#
#   MODALENS_BENCH   where the checkpoint is kept (default ~/.cache/modalens/bench)
set -eu
cd "$(dirname "$0")/../.."

store=${MODALENS_BENCH:-${XDG_CACHE_HOME:-$HOME/.cache}/modalens/bench}
results=${CARGO_TARGET_DIR:-target}/bench/full_size
binary=${CARGO_TARGET_DIR:-target}/release/modalens
mkdir -p "$store" "$results"

.ci/cargo build --release --locked
python3 tests/bench/random_checkpoint.py --size 3b --out "$store/random-3b"
[ -e "$results/clips/metadata.jsonl" ] || "$binary" world --out "$results/clips" --count 1 --seed 5
clip=$(find "$results/clips" -name '*.mp4' | head -n 1)

"$binary" doctor --json >"$results/doctor.json"
for dtype in ${FORMS:-q4k q8_0}; do
    "$binary" bench --model "$store/random-3b" --dtype "$dtype" --json >"$results/load-$dtype.json"
    "$binary" ask --model "$store/random-3b" --dtype "$dtype" --video "$clip" --question 'What do you hear?' --max-new-tokens 8 \
        --json >"$results/ask-$dtype.json"
    python3 - "$dtype" "$results/load-$dtype.json" "$results/ask-$dtype.json" "$results/doctor.json" <<'PYTHON'
import json, sys
dtype, load, ask, doctor = sys.argv[1], *(json.load(open(path)) for path in sys.argv[2:])
said = next(f['needed_bytes'] for f in doctor['models'][0]['forms'] if f['dtype'] == dtype) / 2**20
ratio = load['load_peak_mib'] / load['weights_mib']
print(f"3B as {dtype}: {load['weights_mib']:.0f} MiB of weights, {ratio:.3f} times that at most while loading "
      f"({load['load_s']:.0f} s); answering {sum(ask['prompt_tokens'].values())} tokens took {ask['peak_rss_mib']} MiB in all (doctor: {said:.0f} for a minute of video), "
      f"first token after {ask['timing_ms']['first_token'] / 1e3:.0f} s, then {ask['tokens_per_s']:.1f} tokens/s")
assert ratio <= 1.15, 'loading holds too much'
assert ask['peak_rss_mib'] <= said, 'more than the estimate'
assert ask['tokens'] and all(abs(sum(t['share'].values()) - 1) < 1e-3 for t in ask['tokens']), 'no answer'
PYTHON
done
