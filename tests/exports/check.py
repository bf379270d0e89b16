"""Checks what Modalens wrote with outside tools.

    check.py run --modalens BINARY --keep DIR     makes the cases, runs Modalens on them and checks what it wrote
    check.py folder DIR                           checks one case again (DIR as `run` left it, with its expect.json)

Python's standard library is enough; the package safetensors is used where it is installed. Nothing here knows how
Modalens works: only what it promises to write.
"""

import argparse
import array
import html.parser
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

LANE = 72  # height of the sound's lane below the picture
KINDS = {0: "text", 1: "video", 2: "audio", 3: "text"}  # 3, special tokens, counts as text

failures = []
skipped = set()


def check(good, what):
    print(f"    {'ok  ' if good else 'FAIL'}  {what}")
    if not good:
        failures.append(what)
    return good


def skip(tool, what):
    if tool not in skipped:
        skipped.add(tool)
        print(f"    skip  {tool} is not here: {what}")


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, **more)


# ------------------------------------------------------------------------------------------------------------ the video


def video(folder, expect):
    path = folder / "overlay.mp4"
    if expect["size"] is None:
        check(not path.exists(), "words alone have no overlay.mp4")
        return
    if not check(path.exists(), "overlay.mp4 is there"):
        return
    decoded = run("ffmpeg", "-v", "error", "-xerror", "-nostdin", "-i", path, "-f", "null", "-")
    check(decoded.returncode == 0 and not decoded.stderr.strip(), f"ffmpeg decodes all of it without a word {decoded.stderr[:200] or ''}")
    if not shutil.which("ffprobe"):
        return skip("ffprobe", "streams, length and start of overlay.mp4 were not checked")
    entries = "format=duration,start_time:stream=codec_type,codec_name,width,height,pix_fmt,r_frame_rate,start_time,duration,nb_read_frames,sample_rate,color_space,color_primaries,color_transfer,color_range"
    probed = run("ffprobe", "-v", "error", "-count_frames", "-show_entries", entries, "-of", "json", path)
    about = json.loads(probed.stdout or b"{}")
    streams = {s["codec_type"]: s for s in about.get("streams", [])}
    picture, sound = streams.get("video"), streams.get("audio")
    if not check(picture is not None and not probed.stderr.strip(), "ffprobe finds a picture and complains of nothing"):
        return
    check(len(about["streams"]) == (2 if expect["sound"] else 1), f"{'picture and sound' if expect['sound'] else 'a picture'} and nothing else")
    even = [n + n % 2 for n in expect["size"]]
    got = [picture["width"], picture["height"]]
    check(got == even, f"{got} pixels: the source's own size, the lane below ({even})")
    check(picture["codec_name"] in ("h264", "vp9") and picture["pix_fmt"] == "yuv420p", f"{picture['codec_name']}, {picture['pix_fmt']}")
    tags = [picture.get(k) for k in ("color_space", "color_primaries", "color_transfer")]
    check(tags == ["bt709"] * 3 and picture.get("color_range") == "tv", f"tagged {tags}, {picture.get('color_range')}")
    num, den = map(int, picture["r_frame_rate"].split("/"))
    check(abs(num / den - expect["fps"]) < 0.01, f"{num / den:.3f} frames/s ({expect['fps']})")
    frames = int(picture["nb_read_frames"])
    check(abs(frames - expect["secs"] * num / den) <= 1, f"{frames} frames ({expect['secs']} s)")
    length = float(about["format"]["duration"])
    check(abs(length - expect["secs"]) < max(den / num, 0.05), f"{length:.3f} s long ({expect['secs']} s)")
    if expect["sound"] and check(sound is not None, "there is sound"):
        check(sound["codec_name"] in ("aac", "opus"), f"{sound['codec_name']}, {sound['sample_rate']} Hz")
        apart = abs(float(picture["start_time"]) - float(sound["start_time"]))
        check(apart < 0.02, f"picture and sound start {apart * 1e3:.1f} ms apart")
    if expect.get("flash") is not None:
        together(path, expect)


def together(path, expect):
    """Where the flash is seen and the tone is heard, by the decoded samples; together, unless `heard` says otherwise."""
    width, height = (n + n % 2 for n in expect["size"])
    crop = f"crop={width}:{height - LANE}:0:0,scale=8:8:flags=area,format=gray"
    # Frame by frame, with the time that the file gives each.
    raw = run("ffmpeg", "-v", "error", "-nostdin", "-i", path, "-map", "0:v", "-vf", crop, "-fps_mode", "passthrough", "-f", "rawvideo", "-").stdout
    means = [sum(raw[i : i + 64]) / 64 for i in range(0, len(raw), 64)]
    rise = max(range(1, len(means)), key=lambda i: means[i] - means[i - 1])
    seen = rise / expect["fps"]
    raw = run("ffmpeg", "-v", "error", "-nostdin", "-i", path, "-map", "0:a", "-ac", "1", "-ar", "48000", "-f", "s16le", "-").stdout
    samples = array.array("h", raw)
    heard = next((i for i, s in enumerate(samples) if abs(s) > 6000), None)
    if not check(heard is not None, "the tone is heard"):
        return
    heard /= 48000
    check(abs(seen - expect["flash"]) < 1.01 / expect["fps"], f"the flash is seen at {seen:.3f} s ({expect['flash']:.3f} s)")
    begins = expect.get("heard", expect["flash"])
    check(abs(heard - begins) < 0.01, f"the tone is heard at {heard:.3f} s ({begins:.3f} s)")
    if hertz := expect.get("hertz"):
        tone = samples[round((heard + 0.05) * 48000) : round((heard + 0.15) * 48000)]
        crossed = sum((a < 0) != (b < 0) for a, b in zip(tone, tone[1:])) / 0.2
        check(abs(crossed - hertz) < hertz / 20, f"its pitch is {crossed:.0f} Hz ({hertz} Hz)")


# --------------------------------------------------------------------------------------------------------- the pictures


def png(path, size):
    """A decoder of its own: every chunk's checksum, the inflated length, every row's filter."""
    if not check(path.exists(), f"{path.name} is there"):
        return
    data = path.read_bytes()
    at, parts, sound = 8, [], data[:8] == b"\x89PNG\r\n\x1a\n"
    header = end = None
    while sound and at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        stored = data[at + 8 + length : at + 12 + length]
        sound = len(stored) == 4 and zlib.crc32(kind + body) == struct.unpack(">I", stored)[0]
        header = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else header
        parts += [body] if kind == b"IDAT" else []
        end = at if kind == b"IEND" else end
        at += 12 + length
    check(sound and end is not None and header is not None, f"{path.name}: every chunk's checksum is right")
    if not sound or header is None:
        return
    check(list(header[:2]) == list(size), f"{path.name}: {list(header[:2])} pixels ({list(size)})")
    row = 1 + header[0] * {0: 1, 2: 3, 4: 2, 6: 4}.get(header[3], 0)
    try:
        pixels = zlib.decompress(b"".join(parts))
    except zlib.error as e:
        return check(False, f"{path.name}: {e}")
    check(len(pixels) == row * header[1] and all(f <= 4 for f in pixels[::row]), f"{path.name}: all rows are there")
    other = run("ffmpeg", "-v", "error", "-xerror", "-nostdin", "-i", path, "-f", "null", "-")
    check(other.returncode == 0 and not other.stderr.strip(), f"{path.name}: ffmpeg decodes it")


# -------------------------------------------------------------------------------------------------------- the attention


def tensors(path):
    """Name → (type, shape, numbers): by the package safetensors, else by the format's own description."""
    try:
        from safetensors import safe_open
        with safe_open(path, framework="np") as file:
            return {k: (str(t.dtype), list(t.shape), t.reshape(-1).tolist()) for k in file.keys() for t in [file.get_tensor(k)]}
    except ImportError:
        skip("the Python package safetensors", "attention files are read by a reader of ours, by the format's description")
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    types = {"F32": ("float32", "f"), "U8": ("uint8", "B"), "I32": ("int32", "i"), "U32": ("uint32", "I"), "I64": ("int64", "q"), "U64": ("uint64", "Q"), "F64": ("float64", "d")}
    out, last = {}, 0
    for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = about["data_offsets"]
        dtype, code = types[about["dtype"]]
        numbers = array.array(code, body[start:end])
        if start != last or len(numbers) != math.prod(about["shape"]):
            raise ValueError(f"{name} lies at {start}…{end} with shape {about['shape']}")
        out[name], last = (dtype, about["shape"], numbers.tolist()), end
    if last != len(body):
        raise ValueError(f"{len(body) - last} bytes that no tensor owns")
    return out


def attention(folder, answer):
    path = folder / "attention.safetensors"
    if not check(path.exists(), "attention.safetensors is there"):
        return
    try:
        found = tensors(path)
    except Exception as e:  # whatever a foreign reader throws
        return check(False, f"attention.safetensors can be read: {e}")
    rows = sorted((k for k in found if re.fullmatch(r"attn\.\d+", k)), key=lambda k: int(k[5:]))
    tokens = answer["tokens"]
    check(rows == [f"attn.{k}" for k in range(len(tokens))], f"one map for each of {len(tokens)} tokens")
    kinds = found.get("kind", ("", [], []))
    check(kinds[0] == "uint8" and set(kinds[2]) <= set(KINDS), "kind holds 0 to 3")
    check("ids" in found and len(found["ids"][2]) >= len(kinds[2]) - len(tokens), "ids are there")
    sums_to_one = shares_agree = shapes = True
    for k, name in enumerate(rows[: len(tokens)]):
        dtype, shape, numbers = found[name]
        shapes &= dtype == "float32" and len(shape) == 3 and shape[2] <= len(kinds[2]) and shape[:2] == found[rows[0]][1][:2]
        layers, heads, keys = shape
        mean = {"video": 0.0, "audio": 0.0, "text": 0.0}
        for row in range(layers * heads):
            values = numbers[row * keys : (row + 1) * keys]
            sums_to_one &= abs(sum(values) - 1) < 1e-3 and min(values) >= 0
            for kind, value in zip(kinds[2], values):
                mean[KINDS[kind]] += value / (layers * heads)
        shares_agree &= all(abs(mean[m] - tokens[k]["share"][m]) < 1e-3 for m in mean)
    check(shapes, f"every map is f32 [layers, heads, keys], {found[rows[0]][1] if rows else ''}")
    check(sums_to_one, "every row of every head sums to 1")
    check(shares_agree, "the shares that ask --json prints are those of the file")


# ---------------------------------------------------------------------------------------------------------- the report


class Links(html.parser.HTMLParser):
    """Everything a page would load or lead to."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.inside, self.code = [], [], None, ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = tag if tag in ("style", "script") else None
        for name, value in attrs:
            if name in ("src", "href", "poster", "data", "action", "srcset", "xlink:href"):
                self.loads.append(value or "")
            elif name == "style" or name.startswith("on"):
                self.code += f"{value}\n"

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.code += data


def report(folder, answer):
    path = folder / "report.html"
    if not check(path.exists(), "report.html is there"):
        return
    page = Links()
    page.feed(path.read_text(encoding="utf-8"))
    outside = [u for u in page.loads if not u.startswith("data:") and not (folder / u).is_file()]
    check(not outside, f"report.html loads only what lies beside it {outside or ''}")
    foreign = re.findall(r"(?:https?:)?//[\w.-]+\.\w+|@import|url\((?!['\"]?data:)[^)]*\)|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", page.code)
    check(not foreign, f"its styles and scripts ask nobody {foreign or ''}")
    check(not {"link", "iframe", "object", "embed", "base"} & set(page.tags), "no tag that would load another page")
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome", "chrome") if shutil.which(b)), None)
    if browser is None:
        return skip("a headless Chromium", "report.html was not opened in a browser")
    text = "".join(t["text"] for t in answer["tokens"]).strip()
    film = "overlay.mp4" if (folder / "overlay.mp4").exists() else None
    # A page of ours around it tells what the browser made of the report and its video.
    probe = folder / "probe.html"
    probe.write_text(
        "<!doctype html><meta charset=utf-8><pre id=said></pre><iframe id=page src=report.html width=1200 height=900></iframe>"
        + (f"<video id=film muted src={film}></video>" if film else "")
        + """<script>
        const told = {errors: []}, say = () => { document.getElementById('said').textContent = JSON.stringify(told); };
        const film = document.getElementById('film');
        if (film) { film.onloadeddata = () => { told.size = [film.videoWidth, film.videoHeight]; told.secs = film.duration; say(); };
                    film.onerror = () => { told.errors.push('video: ' + film.error.message); say(); }; }
        document.getElementById('page').onload = () => { told.loaded = true; say(); };
        </script>""",
        encoding="utf-8",
    )
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--virtual-time-budget=8000", "--host-resolver-rules=MAP * ~NOTFOUND"]
    try:
        dom = run(*common, "--enable-logging=stderr", "--dump-dom", path.resolve().as_uri(), timeout=120)
        said = run(*common, "--dump-dom", probe.resolve().as_uri(), timeout=120)
    except subprocess.TimeoutExpired:
        return check(False, f"{browser} opens report.html within two minutes")
    finally:
        probe.unlink()
    body = dom.stdout.decode("utf-8", "replace")
    shown = re.sub(r"<[^>]+>", "", body[body.find("id=\"answer\"") :] if "id=\"answer\"" in body else "")
    squeeze = lambda s: re.sub(r"\s+", "", html.unescape(s))
    check(bool(text) and squeeze(text) in squeeze(shown), f"{browser} shows the answer ({text[:30]!r})")
    errors = [l for l in dom.stderr.decode("utf-8", "replace").splitlines() if "CONSOLE" in l and ("rror" in l or "efused" in l)]
    check(not errors, f"without an error on its console {errors[:2] or ''}")
    told = re.search(r'<pre id="said">(.*?)</pre>', said.stdout.decode("utf-8", "replace"), re.S)
    told = json.loads(html.unescape(told.group(1)) or "{}") if told else {}
    check(told.get("loaded") is True, "the whole page loads")
    if film:
        check(not told.get("errors") and told.get("secs", 0) > 0, f"its video plays: {told.get('size')}, {told.get('secs')} s {told.get('errors') or ''}")


# ------------------------------------------------------------------------------------------------------------- the JSON

CONTRACT = {
    "answer": str,
    "finish": str,
    "tokens": list,
    "share": {"video": float, "audio": float, "text": float},
    "share_detail": {k: float for k in ("system", "caption", "context", "question", "special", "answer")},
    "density": {"video": float, "audio": float, "text": float},
    "prompt_tokens": {"video": int, "audio": int, "text": int},
    "timing_ms": {k: float for k in ("load", "decode", "vision", "audio", "prefill", "first_token", "total")},
    "tokens_per_s": float,
    "peak_rss_mib": float,
    "model": {"id": str, "sha256": str, "dtype": str, "device": str},
    "explain": {},
}
TOKEN = {"id": int, "text": str, "logprob": float, "share": {"video": float, "audio": float, "text": float}}


def lacks(value, wanted, where=""):
    """What of the contract is missing or of another kind."""
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            return [f"{where} is no object"]
        return [l for k, w in wanted.items() for l in ([f"{where}{k} is missing"] if k not in value else lacks(value[k], w, f"{where}{k}."))]
    good = isinstance(value, (int, float)) and not isinstance(value, bool) if wanted is float else isinstance(value, wanted)
    return [] if good else [f"{where.rstrip('.')} is {value!r}"]


def contract(answer, expect):
    wrong = lacks(answer, CONTRACT) + [l for i, t in enumerate(answer.get("tokens", [])) for l in lacks(t, TOKEN, f"tokens[{i}].")]
    check(not wrong, f"ask --json has the contract's keys {wrong or ''}")
    if wrong:
        return False
    check(answer["finish"] in ("stop", "length", "cancelled"), f"finish is {answer['finish']!r}")
    for name, share in [("share", answer["share"])] + [(f"tokens[{i}].share", t["share"]) for i, t in enumerate(answer["tokens"])]:
        if abs(sum(share.values()) - 1) > 1e-6:
            check(False, f"{name} sums to {sum(share.values())}")
    detail = sum(answer["share_detail"].values())
    check(abs(detail - answer["share"]["text"]) < 1e-6, "share sums to 1, share_detail to its text")
    check("".join(t["text"] for t in answer["tokens"]).strip() == answer["answer"].strip(), "the tokens are the answer")
    check(all(t["logprob"] <= 1e-9 for t in answer["tokens"]), "log-probabilities are not above 0")
    seen = [bool(answer["prompt_tokens"][m]) for m in ("video", "audio")]
    check(seen == [expect["picture"], expect["sound"]], f"prompt tokens: {answer['prompt_tokens']}")
    return True


# ------------------------------------------------------------------------------------------------------------ the cases


def folder(path):
    expect = json.loads((path / "expect.json").read_text())
    print(f"{path.name}: {expect['about']}")
    try:
        answer = json.loads((path / "answer.json").read_text())
    except ValueError as e:
        return check(False, f"ask --json prints JSON: {e}")
    if contract(answer, expect):
        attention(path, answer)
        report(path, answer)
    video(path, expect)
    if expect["size"] is not None:
        png(path / "overlay.png", expect["size"])
    left = {f.name for f in path.iterdir()} - {"expect.json", "answer.json", "attention.safetensors", "report.html", "overlay.mp4", "overlay.png", "model_saw.png"}
    check(not left, f"nothing else was left {left or ''}")


def make(keep, name, *args):
    path = keep / name
    made = run("ffmpeg", "-v", "error", "-y", "-nostdin", *args, path)
    if made.returncode:
        sys.exit(f"ffmpeg could not make {name}: {made.stderr.decode()}")
    return path


def cases(modalens, keep):
    shutil.rmtree(keep, ignore_errors=True)
    keep.mkdir(parents=True)
    # Dark, with a flash and a tone of a fifth of a second from 1.6 s on; sizes that are not the lane's, a rate of
    # television, and a little texture.
    flash = "if(between(T,1.6,1.7999),220,40+10*sin(X/7)+10*sin(Y/5))"
    tone = "if(between(t,1.6,1.8),0.6*sin(2*PI*880*t),0)"
    picture = ["-f", "lavfi", "-i", f"color=black:size=320x240:rate=25:duration=4,geq=lum='{flash}':cb=128:cr=128"]
    sound = ["-f", "lavfi", "-i", f"aevalsrc='{tone}':s=44100:d=4"]
    film = make(keep, "film.mp4", *picture, *sound, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")
    odd = make(keep, "odd.mkv", "-f", "lavfi", "-i", "testsrc=size=251x187:rate=30000/1001:duration=2", "-c:v", "ffv1")
    # Another pitch, at another time: a sound that is not swapped, or not shifted, is told by where it is heard.
    other_tone = "if(between(t,1.9,2.1),0.6*sin(2*PI*1760*t),0)"
    other = make(keep, "other.wav", "-f", "lavfi", "-i", f"aevalsrc='{other_tone}':s=16000:d=9")
    text = {"picture": False, "sound": False, "size": None}
    both = {"picture": True, "sound": True, "size": [320, 240 + LANE], "fps": 25}
    plan = [
        ("whole", "a clip with its own sound", ["--video", film], {**both, "secs": 4.0, "flash": 1.6, "hertz": 880}),
        ("part", "1.2 s to 2.8 s of it", ["--video", film, "--start", "1.2", "--end", "2.8"], {**both, "secs": 1.6, "flash": 0.4}),
        ("swapped", "another sound, shifted, cut to the picture", ["--video", film, "--audio", other, "--audio-offset", "0.6"], {**both, "secs": 4.0, "flash": 1.6, "heard": 2.5, "hertz": 1760}),
        ("silent", "odd sizes, a rate of television, no sound", ["--video", odd], {**both, "sound": False, "size": [251, 187], "fps": 30000 / 1001, "secs": 2.0}),
        ("sound", "a sound alone", ["--audio", other, "--end", "3"], {**both, "picture": False, "size": [960, LANE], "fps": 15, "secs": 3.0}),
        ("words", "words alone", ["--question", "Say something."], text),
    ]
    for name, about, arguments, expect in plan:
        out = keep / name
        asked = run(modalens, "ask", *arguments, "--json", "--max-new-tokens", "6", "--out", out)
        if asked.returncode:
            print(f"{name}: {about}")
            check(False, f"modalens ask ends well: {asked.stderr.decode().strip()}")
            continue
        (out / "answer.json").write_bytes(asked.stdout)
        (out / "expect.json").write_text(json.dumps({"about": about, **expect}))
        folder(out)
    print("snapshot: one frame, with and without a map")
    for name, heat in [("plain.png", []), ("heat.png", ["--heat", keep / "whole" / "attention.safetensors"])]:
        run(modalens, "snapshot", "--video", film, "--at", "1.65", *heat, "--out", keep / name)
        png(keep / name, [320, 240])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--modalens", type=Path, required=True)
    runs.add_argument("--keep", type=Path, required=True)
    commands.add_parser("folder").add_argument("dir", type=Path)
    args = parser.parse_args()
    if args.command == "run":
        cases(args.modalens.resolve(), args.keep.resolve())
    else:
        folder(args.dir.resolve())
    if skipped:
        print(f"not here, so not asked: {', '.join(sorted(skipped))}")
    if failures:
        sys.exit(f"{len(failures)} of the checks failed:\n  " + "\n  ".join(failures))
    print("all of it is as it should be")


main()
