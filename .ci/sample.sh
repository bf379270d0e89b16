#!/bin/sh
# Opens the given `modalens` on a sample: a clip of the toy world, with the model that ships. Without a display the same
# demo becomes a report.
#
#   .ci/sample.sh BINARY
set -eu

binary=$1
folder=target/sample
if [ "$(find "$folder" -name '*.mp4' 2>/dev/null | wc -l)" -ne 2 ]; then
    rm -rf "$folder"
    "$binary" world --out "$folder" --count 2 --seed 7
fi
clip=$folder/clips/000000.mp4
other=$folder/clips/000001.mp4
echo "The same picture with another sound: $binary $clip --audio $other"
exec "$binary" "$clip"
