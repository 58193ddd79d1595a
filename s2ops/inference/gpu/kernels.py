# ruff: noqa: N803, SIM300 -- constants of a kernel are upper case in Triton
"""GPU kernels of the fused U-net, written in Triton's language for Hopper GPUs: four kernels, one per kind of layer.

Activations are (image, y, x, channel). A program computes a tile of TH x TW pixels and BN channels. A convolution is a
sum of matrix products, one per tap and block of BK channels. The GPU's copy engine (TMA) loads the tiles and fills
pixels outside the image with 0, which equals the network's padding. Operands are int8 or float16, sums are int32
(exact) or float32. Each channel of a sum is scaled, shifted, rectified (ReLU), and stored in the type and scale of the
layer that reads it (`quantization.py`).

Products are computed as filters x pixels, with channels first, so both operands pass from the copy engine's shared
memory directly to the matrix unit. Pixels x filters would pass through registers, which is a race with float16 in
Triton 3.6.
"""

import triton
import triton.language as tl


@triton.jit
def _locate_tile(index, channel_tiles, tiles_y, tiles_x, BN: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr):
    """Compute a program's image, top row, left column and first channel.

    Neighbouring programs share their pixels, which stay in the cache.
    """
    place = index // channel_tiles
    left = (place % tiles_x) * TW
    top = (place // tiles_x % tiles_y) * TH
    return place // tiles_x // tiles_y, top, left, (index % channel_tiles) * BN


@triton.jit
def _cast_for_storage(value, KIND: tl.constexpr):
    """Convert a rectified float32 value to the type of the layer that reads it."""
    if KIND == tl.int8:
        return (tl.minimum(value, 127.0) + 0.5).to(tl.int8)
    return value.to(KIND)


@triton.jit
def _scale_and_rectify(total, scale, bias, channels):
    """Scale, shift and rectify (ReLU) the sums of `channels` (column)."""
    return tl.maximum(total.to(tl.float32) * tl.load(scale + channels) + tl.load(bias + channels), 0.0)


@triton.jit
def convolve_image(
    image, weight, scale, bias, out, side, tiles_y, tiles_x,
    BANDS: tl.constexpr, TAPS: tl.constexpr, COUT: tl.constexpr,
    TH: tl.constexpr, TW: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Convolve (3 x 3) and rectify uint8 levels (image, band, y, x)."""
    number, top, left, _ = _locate_tile(tl.program_id(0), 1, tiles_y, tiles_x, COUT, TH, TW)
    pixel = tl.arange(0, TH * TW)[:, None]
    tap = tl.arange(0, TAPS)[None, :]
    y = top + pixel // TW + tap // BANDS // 3 - 1
    x = left + pixel % TW + tap // BANDS % 3 - 1
    inside = (y >= 0) & (y < side) & (x >= 0) & (x < side) & (tap < 9 * BANDS)
    plane = number * BANDS + tap % BANDS
    level = tl.load(image + (plane * side + y) * side + x, mask=inside, other=128)
    operand = ((level.to(tl.float32) - 128.0) * 0.015625).to(tl.float16)
    channels = tl.arange(0, COUT)[None, :]
    total = tl.dot(operand, tl.load(weight + tl.arange(0, TAPS)[:, None] * COUT + channels))
    value = _scale_and_rectify(total, scale, bias, channels)
    out.store([number, top, left, 0], _cast_for_storage(value, KIND).reshape(1, TH, TW, COUT))


@triton.jit
def convolve(
    source, weight, scale, bias, pool_scale, out, pooled, tiles_y, tiles_x,
    CIN: tl.constexpr, COUT: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, STAGES: tl.constexpr, SUM: tl.constexpr, POOL: tl.constexpr, KIND: tl.constexpr,
    POOL_KIND: tl.constexpr,
):  # fmt: skip
    """Convolve (3 x 3) and rectify; with POOL also store the 2 x 2 maximum."""
    number, top, left, channel = _locate_tile(tl.program_id(0), COUT // BN, tiles_y, tiles_x, BN, TH, TW)
    total = tl.zeros((BN, TH * TW), dtype=SUM)
    for step in tl.range(9 * (CIN // BK), num_stages=STAGES):
        tap = step // (CIN // BK)
        pixels = source.load([number, top + tap // 3 - 1, left + tap % 3 - 1, step % (CIN // BK) * BK])
        filters = weight.load([channel, step * BK])
        total = tl.dot(filters, pixels.reshape(TH * TW, BK).T, total, out_dtype=SUM)
    channels = channel + tl.arange(0, BN)[:, None]
    value = _scale_and_rectify(total, scale, bias, channels)
    out.store([number, top, left, channel], _cast_for_storage(value, KIND).T.reshape(1, TH, TW, BN))
    if POOL:
        most = tl.max(tl.max(value.reshape(BN, TH // 2, 2, TW // 2, 2), 4), 2).reshape(BN, TH * TW // 4)
        small = _cast_for_storage(most * tl.load(pool_scale + channels), POOL_KIND)
        pooled.store([number, top // 2, left // 2, channel], small.T.reshape(1, TH // 2, TW // 2, BN))


@triton.jit
def upsample_and_convolve(
    low, skip, weight, scale, bias, out, tiles_y, tiles_x,
    CLOW: tl.constexpr, CSKIP: tl.constexpr, COUT: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr, SUM: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Upsample (double), concatenate, convolve (3 x 3) and rectify in one pass.

    Doubling is linear. Together with the convolution after it, it equals a 2 x 2 convolution of the small image for
    each of the four positions (phases) of an output pixel in its 2 x 2 block. `skip` and `out` are viewed as
    (image, y / 2, y % 2, x / 2, x % 2 and channel), so a tile contains pixels of one phase. Rows of `weight`: phase,
    channel; columns: 4 taps of `low`, then 9 of `skip`.
    """
    phase = tl.program_id(0) % 4
    down, across = phase // 2, phase % 2
    number, top, left, channel = _locate_tile(tl.program_id(0) // 4, COUT // BN, tiles_y, tiles_x, BN, TH, TW)
    total = tl.zeros((BN, TH * TW), dtype=SUM)
    for step in tl.range(4 * (CLOW // BK), num_stages=STAGES):
        tap = step // (CLOW // BK)
        y, x = top + down - 1 + tap // 2, left + across - 1 + tap % 2
        pixels = low.load([number, y, x, step % (CLOW // BK) * BK])
        filters = weight.load([phase * COUT + channel, step * BK])
        total = tl.dot(filters, pixels.reshape(TH * TW, BK).T, total, out_dtype=SUM)
    for step in tl.range(9 * (CSKIP // BK), num_stages=STAGES):
        tap = step // (CSKIP // BK)
        y, x = down + tap // 3 + 1, across + tap % 3 + 1  # counted from two rows above, so never negative
        offset = x % 2 * CSKIP + step % (CSKIP // BK) * BK
        pixels = skip.load([number, top + y // 2 - 1, y % 2, left + x // 2 - 1, offset])
        filters = weight.load([phase * COUT + channel, 4 * CLOW + step * BK])
        total = tl.dot(filters, pixels.reshape(TH * TW, BK).T, total, out_dtype=SUM)
    channels = channel + tl.arange(0, BN)[:, None]
    value = _scale_and_rectify(total, scale + phase * COUT, bias, channels)
    block = _cast_for_storage(value, KIND).T.reshape(1, TH, 1, TW, BN)
    out.store([number, top, down, left, across * COUT + channel], block)


@triton.jit
def convolve_and_classify(
    source, weight, scale, bias, head, head_bias, groups, places, out, side, tiles_y, tiles_x, planes,
    CIN: tl.constexpr, HEADS: tl.constexpr, PADDED: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
    BK: tl.constexpr, STAGES: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Convolve (3 x 3), convolve to classes (1 x 1), and compute the softmax within each head as uint8 planes.

    `head` is (CIN, PADDED). For each class `groups` contains its head and `places` its output plane, or -1 without one.
    """
    number, top, left, _ = _locate_tile(tl.program_id(0), 1, tiles_y, tiles_x, CIN, TH, TW)
    total = tl.zeros((CIN, TH * TW), dtype=SUM)
    for step in tl.range(9 * (CIN // BK), num_stages=STAGES):
        tap = step // (CIN // BK)
        pixels = source.load([number, top + tap // 3 - 1, left + tap % 3 - 1, step % (CIN // BK) * BK])
        filters = weight.load([0, step * BK])
        total = tl.dot(filters, pixels.reshape(TH * TW, BK).T, total, out_dtype=SUM)
    value = _scale_and_rectify(total, scale, bias, tl.arange(0, CIN)[:, None]).to(tl.float16)
    classes = tl.arange(0, PADDED)
    matrix = tl.load(head + tl.arange(0, CIN)[:, None] * PADDED + classes[None, :])
    logits = tl.dot(value.T, matrix) + tl.load(head_bias + classes)[None, :]
    group, place = tl.load(groups + classes)[None, :], tl.load(places + classes)[None, :]
    share = tl.zeros_like(logits)
    for number_of_head in tl.static_range(HEADS):
        own = group == number_of_head
        most = tl.max(tl.where(own, logits, -float("inf")), 1)[:, None]
        power = tl.where(own, tl.exp(logits - most), 0.0)
        share += power / tl.sum(power, 1)[:, None]
    level = (share * 255.0 + 0.5).to(tl.uint8)
    pixel = tl.arange(0, TH * TW)[:, None]
    y, x = top + pixel // TW, left + pixel % TW
    wanted = (place >= 0) & (y < side) & (x < side)
    tl.store(out + ((number * planes + place) * side + y) * side + x, level, mask=wanted)
