#!/bin/sh
# Opens the given `modalens` on a sample: a clip of the toy world, whose picture and sound say the same thing.
#
#   .ci/sample.sh BINARY MODEL_DIR
#
# Until a trained model is bundled, MODEL_DIR is a small checkpoint of seeded random weights: its words mean nothing, the
# path they take is the real one. Without a display the same demo becomes a report.
set -eu

binary=$1
model=$2
folder=target/sample
if [ ! -f "$folder/metadata.jsonl" ]; then
    rm -rf "$folder"
    "$binary" world --out "$folder" --count 1 --seed 12
fi
clip=$(find "$folder" -name '*.mp4' | head -n 1)
echo "The sample's model is small and random, and so are its words; what it attends to is computed for real."
exec "$binary" "$clip" --model "$model"
