#!/bin/sh
# Decoding and exact seeking beside the ffmpeg command line, in turns on the same files, and scrubbing; then the window
# itself for ten minutes, playing, seeking, changing its speed, zooming and panning its lanes, and answering: how far apart
# picture and sound are by the player's own log, and what the interface costs. The same for a while with an hour-long file.
# Needs ffmpeg, and for the window a display or xvfb-run. Ends with 1 where a figure is beyond its bar.
#
#   ROUNDS=5 WINDOW_SECS=600 HOUR_SECS=40
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

make_clip 2160p.mp4 3840x2160 '-c:v libx264 -preset superfast -g 30 -keyint_min 30 -sc_threshold 0 -bf 2'

failed=0
for clip in 720p.mp4 1080p.mp4 720p.webm; do
    "$binary" bench-media --video "$clips/$clip" --rounds "${ROUNDS:-5}" --check || failed=1
done
"$binary" bench-media --video "$clips/2160p.mp4" --rounds 2 --check || failed=1

[ -e "$clips/720p-sound.mp4" ] || {
    ffmpeg -v error -nostdin -y -i "$clips/720p.mp4" -f lavfi -i sine=frequency=440:duration=10 -c:v copy -c:a aac \
        "$clips/part-720p-sound.mp4"
    mv "$clips/part-720p-sound.mp4" "$clips/720p-sound.mp4"
}
[ -e "$clips/hour.mp4" ] || {
    ffmpeg -v error -nostdin -y -stream_loop 359 -i "$clips/720p-sound.mp4" -c copy "$clips/part-hour.mp4"
    mv "$clips/part-hour.mp4" "$clips/hour.mp4"
}
# Prints what the window says, and fails where picture and sound were further apart than 15 ms at the 95th percentile.
window() {
    said=$(shown "$@") || failed=1
    printf '%s\n' "$said"
    case $said in 'Not measured'*) return ;; esac
    printf '%s\n' "$said" | awk '/^sound outside/ { seen = 1; if ($14 + 0 > 15) far = 1 } END { exit far || !seen }' || {
        echo 'The window: picture and sound were more than 15 ms apart, or nothing was measured'
        failed=1
    }
}
shown() {
    if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
        "$@"
    elif command -v xvfb-run >/dev/null; then
        echo '(no display: in a virtual one, drawn by a software renderer, which presents few frames a second)'
        .ci/with-test-env xvfb-run -a -s '-screen 0 1280x720x24' "$@"
    else
        echo 'Not measured: there is no display, and no xvfb-run (Debian: xvfb, xauth) to make one.'
    fi
}
echo '### The window, 720p30; a seek, another speed or another part of the time axis every two seconds, real clock'
window "$binary" "$clips/720p-sound.mp4" --frame-stats "${WINDOW_SECS:-600}"
echo '### The same with an hour-long file'
window "$binary" "$clips/hour.mp4" --frame-stats "${HOUR_SECS:-40}"
exit $failed
