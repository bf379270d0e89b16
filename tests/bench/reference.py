#!/usr/bin/env python3
"""The other side of `make bench`: the reference implementation on a mid-size random checkpoint.

    reference.py make  --dir DIR                writes DIR/config.json, model.safetensors (3.2 GB), inputs.safetensors
    reference.py run   --dir DIR --mode sdpa    one JSON object: seconds, CPU seconds, memory, tokens
    reference.py inputs --dir DIR               inputs.safetensors alone, for a folder that has a config.json
    reference.py run   --dir DIR --random --device cuda   the same with weights drawn on the card, in bf16
    reference.py table FILE…                    a Markdown table of such objects (and of `modalens bench --json`)
    reference.py floor --dir DIR FILE…          how near to reading every weight once per token such decoding comes

The language model has the dimensions of a 0.5 B one, the towers are in proportion: 0.8 B parameters, f32. The prompt has
about 1,000 tokens: 8 s of video with its sound interleaved, and text. `sdpa` returns no attention; `eager` keeps every
map of every step, as generate(output_attentions=True) does. Only ratios of runs taken in turns on one machine mean much.
"""
import argparse
import json
import math
import os
import platform
import re
import statistics
import sys
import time

IDS = dict(audio_token_index=151646, audio_start_token_id=151647, audio_end_token_id=151648, vision_start_token_id=151652,
           vision_end_token_id=151653, vision_token_id=151654, image_token_index=151655, video_token_index=151656,
           user_token_id=872, bos_token_id=151644, eos_token_id=151645, pad_token_id=151643)
PER_SECOND, CHUNK_SECONDS = 25, 2


def configuration():
    width = 896
    text = dict(model_type='qwen2_5_omni_text', vocab_size=151936, hidden_size=width, intermediate_size=4864,
                num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, hidden_act='silu',
                max_position_embeddings=32768, rms_norm_eps=1e-6, rope_theta=1e6, use_sliding_window=False,
                sliding_window=32768, max_window_layers=24, tie_word_embeddings=False,
                rope_scaling=dict(mrope_section=[8, 12, 12], rope_type='default', type='default'))
    vision = dict(model_type='qwen2_5_omni_vision_encoder', depth=16, hidden_size=640, embed_dim=640,
                  intermediate_size=1712, num_heads=8, in_channels=3, patch_size=14, spatial_merge_size=2,
                  temporal_patch_size=2, window_size=112, out_hidden_size=width, fullatt_block_indexes=[3, 7, 11, 15],
                  hidden_act='silu')
    audio = dict(model_type='qwen2_5_omni_audio_encoder', num_mel_bins=128, encoder_layers=16, encoder_attention_heads=10,
                 encoder_ffn_dim=2560, d_model=640, max_source_positions=1500, n_window=100, output_dim=width,
                 activation_function='gelu')
    thinker = dict(model_type='qwen2_5_omni_thinker', text_config=text, vision_config=vision, audio_config=audio,
                   position_id_per_seconds=PER_SECOND, seconds_per_chunk=CHUNK_SECONDS, tie_word_embeddings=False,
                   torch_dtype='float32', **IDS)
    return dict(architectures=['Qwen2_5OmniModel'], model_type='qwen2_5_omni', enable_audio_output=False,
                thinker_config=thinker, torch_dtype='float32')


def released_name(name):
    for inside, outside in (('model.visual.', 'visual.'), ('model.audio_tower.', 'audio_tower.'),
                            ('model.language_model.', 'model.')):
        if name.startswith(inside):
            return 'thinker.' + outside + name[len(inside):]
    return 'thinker.' + name


def make(folder, seed):
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration
    os.makedirs(folder, exist_ok=True)
    whole = configuration()
    own = {k: v for k, v in whole['thinker_config'].items() if k not in ('model_type', 'torch_dtype')}
    with torch.device('meta'):
        blank = Qwen2_5OmniThinkerForConditionalGeneration(Qwen2_5OmniThinkerConfig(**own))
    stream, tensors = torch.Generator().manual_seed(seed), {}
    for name, value in sorted(blank.state_dict().items()):
        values = torch.randn(tuple(value.shape), generator=stream)
        if values.dim() == 1:
            values = values * 0.1 + (0 if name.endswith('.bias') else 1)
        elif 'embed_tokens' in name:
            values = values * 0.5
        else:
            gain = 1.2 if re.search(r'\.(q|k|q_proj|k_proj)\.weight$', name) else 1.0
            values = values * (gain / math.sqrt(math.prod(values.shape[1:])))
        tensors[released_name(name)] = values

    tokens = write_inputs(folder, seed)
    with open(os.path.join(folder, 'config.json'), 'w', encoding='utf-8') as file:
        json.dump(whole, file, indent=1)
    # Last and by renaming, so that a folder with weights is a whole one.
    part = os.path.join(folder, 'model.safetensors.part')
    save_file(tensors, part, metadata=dict(format='pt'))
    os.replace(part, os.path.join(folder, 'model.safetensors'))
    print(f'{tokens} tokens, {sum(t.numel() for t in tensors.values()):,} parameters in {folder}', file=sys.stderr)


def write_inputs(folder, seed):
    """A prompt of 8 s of video with its sound, and text: the same for every model of the released layout."""
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2VLVideoProcessor, WhisperFeatureExtractor
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[0:196, 0:336]
    frames = np.stack([np.stack([255 * (x + 5 * t) % 256, 128 + 90 * np.sin(x / 9 + y / 13 - 0.8 * t),
                                 230 * ((x // 17 + y // 11 + t) % 2)], -1) for t in range(16)])
    frames = np.clip(frames + noise.normal(0, 9, frames.shape), 0, 255).astype(np.uint8)
    video = Qwen2VLVideoProcessor()(videos=[frames], size=dict(shortest_edge=3136, longest_edge=602112),
                                    do_sample_frames=False, cap_pixels_per_frame=False, return_tensors='pt')
    t = np.arange(8 * 16000) / 16000
    wave = (0.4 * np.sin(2 * np.pi * (200 * t + 180 * t * t)) + 0.02 * noise.standard_normal(len(t))).astype(np.float32)
    heard = WhisperFeatureExtractor(feature_size=128, chunk_length=300, return_attention_mask=True)(
        wave, sampling_rate=16000, return_attention_mask=True, return_tensors='pt')
    length = int(heard['attention_mask'].sum())

    steps, height, width = video['video_grid_thw'][0].tolist()
    a_step, sounds = height * width // 4, ((length - 1) // 2 - 1) // 2 + 1
    ids = [IDS['bos_token_id'], *noise.integers(100, 150000, 80).tolist(), IDS['vision_start_token_id'],
           IDS['audio_start_token_id']]
    # A grid step lasts a second (2 frames at 2 a second), so a chunk holds two of them and 50 sound tokens.
    chunk_steps, chunk_sounds = CHUNK_SECONDS, PER_SECOND * CHUNK_SECONDS
    for chunk in range(max(-(-steps // chunk_steps), -(-sounds // chunk_sounds))):
        ids += [IDS['video_token_index']] * (a_step * max(0, min(chunk_steps, steps - chunk_steps * chunk)))
        ids += [IDS['audio_token_index']] * max(0, min(chunk_sounds, sounds - chunk_sounds * chunk))
    ids += [IDS['audio_end_token_id'], IDS['vision_end_token_id'], *noise.integers(100, 150000, 40).tolist(),
            IDS['eos_token_id'], IDS['bos_token_id'], 77091, 198]
    save_file(dict(input_ids=torch.tensor(ids), pixel_values_videos=video['pixel_values_videos'].contiguous(),
                   video_grid_thw=video['video_grid_thw'], video_second_per_grid=torch.tensor([1.0], dtype=torch.float64),
                   input_features=heard['input_features'][0, :, :length].contiguous(),
                   feature_lens=torch.tensor([length])), os.path.join(folder, 'inputs.safetensors'))
    return len(ids)


def peak_mib():
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == 'darwin' else 1 << 10))


def run(folder, mode, threads, new, repeat, device, random):
    os.environ.update(HF_HUB_OFFLINE='1', OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    import torch
    import transformers
    from safetensors.torch import load_file
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    family = transformers.Qwen2_5OmniThinkerForConditionalGeneration
    if random:
        with open(os.path.join(folder, 'config.json'), encoding='utf-8') as file:
            own = json.load(file)['thinker_config']
        own = {k: v for k, v in own.items() if k not in ('model_type', 'torch_dtype')}
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(device):
            model = family._from_config(transformers.Qwen2_5OmniThinkerConfig(**own), attn_implementation=mode)
    else:
        model = family.from_pretrained(folder, dtype=torch.float32, attn_implementation=mode).to(device)
    model.eval()
    floats = next(model.parameters()).dtype
    given = {name: value.to(device, floats if value.dtype == torch.float32 else None)
             for name, value in load_file(os.path.join(folder, 'inputs.safetensors')).items()}
    wait = torch.cuda.synchronize if device == 'cuda' else lambda: None
    mel, maps = given['input_features'], mode == 'eager'
    inputs = dict(input_ids=given['input_ids'][None], pixel_values_videos=given['pixel_values_videos'],
                  video_grid_thw=given['video_grid_thw'], video_second_per_grid=given['video_second_per_grid'],
                  input_features=mel[None], use_audio_in_video=True)
    inputs['attention_mask'] = torch.ones_like(inputs['input_ids'])
    inputs['feature_attention_mask'] = torch.ones(1, mel.shape[1], dtype=torch.long, device=device)
    position = int(model.get_rope_index(inputs['input_ids'], None, inputs['video_grid_thw'], inputs['attention_mask'], True,
                                        inputs['feature_attention_mask'].sum(-1), inputs['video_second_per_grid'])[0][0, 0, -1])
    runs, ids = [], []
    for _ in range(repeat):
        model.model.rope_deltas = None
        # A mask is needed for the three-axis positions; keeping the maps is what asking for them costs.
        mask, kept = inputs['attention_mask'], []
        with torch.no_grad():
            wall, cpu = time.perf_counter(), time.process_time()
            step = model(**inputs, use_cache=True, output_attentions=maps)
            token = step.logits[:, -1].argmax(-1, keepdim=True)
            ids = [int(token)]
            wait()
            prefill, prefill_cpu = time.perf_counter() - wall, time.process_time() - cpu
            wall, cpu = time.perf_counter(), time.process_time()
            for k in range(new - 1):
                kept.append(step.attentions)
                cache, mask = step.past_key_values, torch.cat([mask, mask[:, :1]], 1)
                step = model(input_ids=token, attention_mask=mask, past_key_values=cache, use_cache=True,
                             position_ids=torch.full((3, 1, 1), position + 1 + k, device=device), output_attentions=maps)
                token = step.logits[:, -1].argmax(-1, keepdim=True)
                ids.append(int(token))
            wait()
            decode, decode_cpu = time.perf_counter() - wall, time.process_time() - cpu
        runs.append(dict(prefill_s=prefill, prefill_cpu_s=prefill_cpu, decode_s=decode, decode_cpu_s=decode_cpu))
        del step, kept
    print(json.dumps(dict(what=f'transformers {transformers.__version__} {mode}', tokens=inputs['input_ids'].shape[1],
                          new=new, runs=runs, peak_rss_mib=peak_mib(), ids=ids)))


def machine():
    name = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            found = re.search(r'model name\s*:\s*(.*)', file.read())
        name = found.group(1) if found else name
    except OSError:
        pass
    return f'{name}, {os.cpu_count()} logical cores, {platform.system()} {platform.release()}'


def table(files, threads, where):
    """Medians over all runs of each program, and ratios to the first one's."""
    programs = {}
    for path in files:
        with open(path, encoding='utf-8') as file:
            one = json.load(file)
        # `modalens bench` says whether it captured; the reference names itself.
        name = one.get('what') or ('modalens, capturing' if one['capture'] else 'modalens')
        program = programs.setdefault(name, dict(runs=[], peak=0, ids=one['ids'], tokens=one['tokens'], new=one['new']))
        program['runs'] += one['runs']
        program['peak'] = max(program['peak'], one['peak_rss_mib'])
    first = next(iter(programs.values()))
    print(f"{where or f'{machine()}. {threads} threads, f32'}, {first['tokens']} prompt tokens, {first['new']} new ones; medians of "
          f"{min(len(p['runs']) for p in programs.values())} runs, taken in turns.\n")
    print('| program | prefill, s | CPU s | × | decode, tokens/s | CPU s | × | peak memory, MiB |')
    print('|---|---|---|---|---|---|---|---|')
    numbers = {}
    for name, program in programs.items():
        middle = {k: statistics.median(r[k] for r in program['runs'])
                  for k in ('prefill_s', 'prefill_cpu_s', 'decode_s', 'decode_cpu_s')}
        numbers[name] = middle
        base = next(iter(numbers.values()))
        print(f"| {name} | {middle['prefill_s']:.2f} | {middle['prefill_cpu_s']:.2f} | "
              f"{base['prefill_s'] / middle['prefill_s']:.2f} | {(program['new'] - 1) / middle['decode_s']:.2f} | "
              f"{middle['decode_cpu_s']:.2f} | {base['decode_s'] / middle['decode_s']:.2f} | {program['peak']} |")
    if 'modalens' in numbers and 'modalens, capturing' in numbers:
        off, on = numbers['modalens'], numbers['modalens, capturing']
        print(f"\nCapturing every layer and head of every generated token costs "
              f"{100 * (on['decode_s'] / off['decode_s'] - 1):+.1f} % of decode time "
              f"({100 * (on['decode_cpu_s'] / off['decode_cpu_s'] - 1):+.1f} % of its CPU time).")
    for name, program in programs.items():
        same = sum(1 for _ in iter_while_equal(program['ids'], first['ids']))
        if same < len(first['ids']):
            print(f'\n{name} says the same as {next(iter(programs))} for {same} of {len(first["ids"])} tokens.')


def iter_while_equal(a, b):
    for x, y in zip(a, b):
        if x != y:
            return
        yield x


def floor(folder, files):
    """Weights of the language model are read once per token: what share of the card's bandwidth that takes."""
    import torch
    with open(os.path.join(folder, 'config.json'), encoding='utf-8') as file:
        c = json.load(file)['thinker_config']['text_config']
    width, head = c['hidden_size'], c['hidden_size'] // c['num_attention_heads']
    layer = 2 * width * width + 2 * width * c['num_key_value_heads'] * head + 3 * width * c['intermediate_size']
    weights = 2 * (c['num_hidden_layers'] * layer + c['vocab_size'] * width)
    source = torch.empty(1 << 30, dtype=torch.bfloat16, device='cuda')
    target, best = torch.empty_like(source), 0.0
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        best = max(best, 2 * source.nbytes / (time.perf_counter() - start))
    rates = []
    for path in files:
        with open(path, encoding='utf-8') as file:
            one = json.load(file)
        rates += [(one['new'] - 1) / r['decode_s'] for r in one['runs']]
    rate = statistics.median(rates)
    print(f'\n{weights / 1e9:.1f} GB of weights per token at {best / 1e12:.2f} TB/s (measured by copying) allow '
          f'{best / weights:.0f} tokens/s; {rate:.1f} are {100 * rate * weights / best:.0f} % of that.')


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
commands = parser.add_subparsers(dest='command', required=True)
for word in ('make', 'inputs', 'run'):
    command = commands.add_parser(word)
    command.add_argument('--dir', required=True)
    command.add_argument('--seed', type=int, default=11)
    command.add_argument('--mode', choices=['sdpa', 'eager'], default='sdpa')
    command.add_argument('--threads', type=int, default=2)
    command.add_argument('--new', type=int, default=32)
    command.add_argument('--repeat', type=int, default=2)
    command.add_argument('--device', default='cpu')
    command.add_argument('--random', action='store_true')
command = commands.add_parser('table')
command.add_argument('files', nargs='+')
command.add_argument('--threads', type=int, default=2)
command.add_argument('--where', help='what the numbers were taken on')
command = commands.add_parser('floor')
command.add_argument('--dir', required=True)
command.add_argument('files', nargs='+')
asked = parser.parse_args()
if asked.command == 'make':
    make(asked.dir, asked.seed)
elif asked.command == 'run':
    run(asked.dir, asked.mode, asked.threads, asked.new, asked.repeat, asked.device, asked.random)
elif asked.command == 'inputs':
    write_inputs(asked.dir, asked.seed)
elif asked.command == 'floor':
    floor(asked.dir, asked.files)
else:
    table(asked.files, asked.threads, asked.where)
