#!/bin/sh
# What Modalens writes, judged by tools that know nothing of Modalens: ffprobe and ffmpeg on its videos, a second decoder
# on its pictures, Python's safetensors on its attention, a browser on its report, the contract's keys on its JSON. Each
# case is made here, asked about with the bundled model, and checked; a tool that is not here is named and skipped.
#
#   MODALENS=BINARY     an existing binary instead of a build
#   KEEP=DIR            where the cases are kept (default: a folder under target/)
set -eu
cd "$(dirname "$0")/../.."

command -v python3 >/dev/null || { echo 'check-exports needs Python 3 (any, without packages)' >&2; exit 2; }
command -v ffmpeg >/dev/null || { echo 'check-exports needs the ffmpeg program' >&2; exit 2; }
target=${CARGO_TARGET_DIR:-target}
[ -n "${MODALENS:-}" ] || { .ci/cargo build --locked; MODALENS=$target/debug/modalens; }
exec python3 tests/exports/check.py run --modalens "$MODALENS" --keep "${KEEP:-$target/exports}"
