#!/bin/sh
# Makes a short clip with FFmpeg (a test picture and a tone) and asks the given `modalens` about it.
#
#   .ci/sample.sh BINARY MODEL_DIR
#
# Until a trained model is bundled, MODEL_DIR is a small checkpoint of seeded random weights: its words mean nothing, the
# path they take is the real one.
set -eu

binary=$1
model=$2
folder=${TMPDIR:-/tmp}/modalens-sample.$$
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$folder"
ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=duration=4:size=320x180:rate=25 \
    -f lavfi -i sine=frequency=440:duration=4:sample_rate=44100 -c:v mpeg4 -q:v 3 -c:a aac -shortest "$folder/sample.mp4"
echo "Asking about a generated clip (a test picture and a 440 Hz tone); the model is small and random, so are its words."
"$binary" ask --video "$folder/sample.mp4" --model "$model" --question 'What do you hear?' --max-new-tokens 16
