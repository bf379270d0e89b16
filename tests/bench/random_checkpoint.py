#!/usr/bin/env python3
"""A full-size checkpoint with random weights, laid out as the released ones are: bf16, in shards, with an index.

    random_checkpoint.py --size 3b --out DIR        9.4 GB (7b: 17.9 GB); needs nothing but Python 3

Names and shapes are those of the released files (tests/fixtures/released), the tokenizer is the small one of
tests/fixtures/tiny with its special tokens at their released ids, and one tensor of the speech half, which Modalens leaves
alone, is there too. Weights are seeded; their size keeps activations from vanishing or overflowing, nothing more: what
such a model says means nothing. A folder that is complete already is left as it is.
"""
import argparse
import json
import math
import os
import random
import shutil
import struct
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
SHARD_BYTES = 4_000_000_000
PIECE = 1 << 25
SPECIAL = {'<|endoftext|>': 151643, '<|im_start|>': 151644, '<|im_end|>': 151645, '<|AUDIO|>': 151646,
           '<|audio_bos|>': 151647, '<|audio_eos|>': 151648, '<|box_end|>': 151649, '<|quad_start|>': 151650,
           '<|quad_end|>': 151651, '<|vision_bos|>': 151652, '<|vision_eos|>': 151653, '<|vision_pad|>': 151654,
           '<|IMAGE|>': 151655, '<|VIDEO|>': 151656}


def tensors(size):
    """Name and shape of every tensor, layers written out."""
    with open(os.path.join(ROOT, 'tests/fixtures/released', f'{size}.manifest.json')) as file:
        patterns = json.load(file)
    for pattern, (shape, count) in patterns.items():
        if '*' in pattern:
            for layer in range(count):
                yield pattern.replace('*', str(layer)), shape
        else:
            yield pattern, shape
    yield 'talker.thinker_to_talker_proj.bias', [8]


def numbers(stream, name, shape):
    """The bytes of a tensor in bf16, piece by piece."""
    count = math.prod(shape)
    if len(shape) == 1:
        value = b'\x00\x00' if name.endswith('bias') else b'\x80\x3f'  # 0 and 1
        yield value * count
        return
    # A sign, one of two neighbouring exponents and a random fraction: of about the size 1/sqrt(inputs).
    wanted = 0.5 if 'embed_tokens' in name else 1 / math.sqrt(math.prod(shape[1:]))
    exponent = (127 + math.floor(math.log2(wanted))) | 1
    high = bytes((byte & 0x80) | (exponent >> 1) for byte in range(256))
    for start in range(0, count, PIECE):
        n = min(PIECE, count - start)
        piece = bytearray(2 * n)
        piece[0::2] = stream.randbytes(n)
        piece[1::2] = stream.randbytes(n).translate(high)
        yield piece


def write_weights(size, folder):
    stream, shards, held = random.Random(20261123), [[]], 0
    for name, shape in tensors(size):
        n = 2 * math.prod(shape)
        if held + n > SHARD_BYTES and shards[-1]:
            shards.append([])
            held = 0
        shards[-1].append((name, shape))
        held += n
    weight_map, total = {}, 0
    for i, shard in enumerate(shards, 1):
        file_name = f'model-{i:05d}-of-{len(shards):05d}.safetensors'
        header, offset = {'__metadata__': {'format': 'pt'}}, 0
        for name, shape in shard:
            n = 2 * math.prod(shape)
            header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [offset, offset + n]}
            weight_map[name] = file_name
            offset += n
        total += offset
        text = json.dumps(header).encode()
        text += b' ' * (-len(text) % 8)
        with open(os.path.join(folder, file_name + '.part'), 'wb') as file:
            file.write(struct.pack('<Q', len(text)) + text)
            for name, shape in shard:
                for piece in numbers(stream, name, shape):
                    file.write(piece)
        os.rename(os.path.join(folder, file_name + '.part'), os.path.join(folder, file_name))
        print(f'{file_name}: {offset / 1e9:.1f} GB', file=sys.stderr)
    with open(os.path.join(folder, 'model.safetensors.index.json'), 'w') as file:
        json.dump({'metadata': {'total_size': total}, 'weight_map': weight_map}, file)


def write_tokenizer(folder):
    tiny = os.path.join(ROOT, 'tests/fixtures/tiny/ckpt')
    with open(os.path.join(tiny, 'tokenizer.json')) as file:
        tokenizer = json.load(file)
    vocabulary = tokenizer['model']['vocab']
    for i in range(len(vocabulary), min(SPECIAL.values())):
        vocabulary[f'w{i}'] = i
    for token in tokenizer['added_tokens']:
        token['id'] = SPECIAL[token['content']]
    with open(os.path.join(folder, 'tokenizer.json'), 'w') as file:
        json.dump(tokenizer, file)
    for name in ['chat_template.json', 'preprocessor_config.json']:
        shutil.copy(os.path.join(tiny, name), os.path.join(folder, name))
    with open(os.path.join(folder, 'generation_config.json'), 'w') as file:
        json.dump({'eos_token_id': [SPECIAL['<|im_end|>'], SPECIAL['<|endoftext|>']]}, file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', choices=['3b', '7b'], default='3b')
    parser.add_argument('--out', required=True)
    args = parser.parse_args()
    config = os.path.join(args.out, 'config.json')
    if os.path.exists(config):
        return
    os.makedirs(args.out, exist_ok=True)
    needed = sum(2 * math.prod(shape) for _, shape in tensors(args.size))
    free = shutil.disk_usage(args.out).free
    if free < needed:
        sys.exit(f'{needed / 1e9:.1f} GB are needed in {args.out}, {free / 1e9:.1f} GB are free')
    write_tokenizer(args.out)
    write_weights(args.size, args.out)
    # Last: what makes the folder a checkpoint.
    shutil.copy(os.path.join(ROOT, 'assets/released', f'qwen2.5-omni-{args.size}.json'), config)


main()
