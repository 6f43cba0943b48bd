"""onnxruntime driven by an ordinary loop over tiles, beside `tilecast run`, for `cargo xtask bench tile`.

usage: python3 tile_peer.py MODEL INPUT OUTPUT HEIGHT WIDTH HALO THREADS

HEIGHT, WIDTH and HALO are those of the tiles, in pixels: all tiles have one size, the last ones are slid back to the border, and of each is kept
what is further than the halo from a neighbour. The image and the result are whole arrays of float32; no copy of them is made that is not needed. Prints one
line of JSON: the seconds from the end of the imports to the end.

Needs onnxruntime, numpy and pillow; the figures in docs/ are of onnxruntime 1.31.1, numpy 2.4.6 and pillow 13.0.0.
"""

import json
import sys
import time

import numpy as np
import onnxruntime
from PIL import Image

start = time.perf_counter()


def cuts(length, tile, halo):
    """Where tiles begin along one side, and what is kept of each."""
    if length <= tile:
        return [(0, 0, length)]
    origins = list(range(0, length - tile, tile - 2 * halo)) + [length - tile]
    cut = []
    kept = 0
    for index, origin in enumerate(origins):
        end = length if index + 1 == len(origins) else origin + tile - halo
        cut.append((origin, kept, end))
        kept = end
    return cut


def main(model, source, target, height, width, halo, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    image = np.asarray(Image.open(source).convert("RGB")).astype(np.float32)
    image /= 255
    image = image.transpose(2, 0, 1)
    result = np.empty_like(image, order="C")
    rows = cuts(image.shape[1], height, halo)
    columns = cuts(image.shape[2], width, halo)
    for top, row, bottom in rows:
        for left, column, right in columns:
            tile = np.ascontiguousarray(image[None, :, top : top + height, left : left + width])
            output = session.run(None, {name: tile})[0][0]
            result[:, row:bottom, column:right] = output[:, row - top : bottom - top, column - left : right - left]
    np.clip(result, 0, 1, out=result)
    result *= 255
    np.rint(result, out=result)
    Image.fromarray(np.ascontiguousarray(result.astype(np.uint8).transpose(1, 2, 0))).save(target)


main(*sys.argv[1:4], *map(int, sys.argv[4:]))
print(json.dumps({"seconds": time.perf_counter() - start}))
