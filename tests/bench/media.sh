#!/bin/sh
# Decoding and exact seeking beside the ffmpeg command line, in turns on the same files. Needs nothing but ffmpeg.
#
#   ROUNDS=5
set -eu
cd "$(dirname "$0")/../.."

binary=${CARGO_TARGET_DIR:-target}/release/modalens
clips=${CARGO_TARGET_DIR:-target}/bench/clips
mkdir -p "$clips"
.ci/cargo build --release --locked

# A key frame each second, B-frames, moving detail.
make_clip() {
    [ ! -e "$clips/$1" ] || return 0
    # The codec's options are several words.
    ffmpeg -v error -nostdin -y -f lavfi -i "testsrc2=size=$2:rate=30:duration=10" \
        -vf noise=alls=6:allf=t -pix_fmt yuv420p $3 "$clips/part-$1"
    mv "$clips/part-$1" "$clips/$1"
}
make_clip 720p.mp4 1280x720 '-c:v libx264 -preset fast -g 30 -keyint_min 30 -sc_threshold 0 -bf 2'
make_clip 1080p.mp4 1920x1080 '-c:v libx264 -preset fast -g 30 -keyint_min 30 -sc_threshold 0 -bf 2'
make_clip 720p.webm 1280x720 '-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30 -b:v 3M'

for clip in 720p.mp4 1080p.mp4 720p.webm; do
    "$binary" bench-media --video "$clips/$clip" --rounds "${ROUNDS:-5}"
done
