"""Triton kernels of one curve ``F(z) = sum_k theta_k B_k(squash(z / scale))``: imported only where Triton is (:mod:`.gpu`).

One kernel, three modes; each reads its inputs once, and nothing of shape [..., K] exists:

    forward   y = F
    backward  gz = gy F', and with SUMS also sum_i gy_i B_k(u_i) for the coefficients
    double    of gz with the weight hz: dgy = hz F', dz = hz gy F'', and with SUMS sum_i hz_i gy_i dB_k/dz (z_i)

A program works on a tile [ROWS, COLUMNS] of z seen as a matrix whose columns have a row of numbers each (``share=neuron``) or
all the same (COLUMN_STEP = 0). The sums of a tile leave it as one line of ``parts`` [row tiles, raw, width] and are added up afterwards:
no atomics, so the result is the same in every run.
"""

from __future__ import annotations

import triton
import triton.language as tl

FORWARD, BACKWARD, DOUBLE = 0, 1, 2
POLYNOMIAL, PIECEWISE, FOURIER, GAUSSIAN = 0, 1, 2, 3
TANH, SOFTSIGN, ALGEBRAIC, LINEAR = 0, 1, 2, 3


@triton.jit
def _tanh(x):
    # (1 - e) / (1 + e) loses digits near 0, where the Taylor series takes over.
    a = tl.abs(x)
    e = tl.exp(-2.0 * a)
    far = (1.0 - e) / (1.0 + e)
    x2 = x * x
    p = x2 * (6404582.0 / 10854718875.0) - 929569.0 / 638512875.0
    p = p * x2 + 21844.0 / 6081075.0
    p = p * x2 - 1382.0 / 155925.0
    p = p * x2 + 62.0 / 2835.0
    p = p * x2 - 17.0 / 315.0
    p = p * x2 + 2.0 / 15.0
    p = p * x2 - 1.0 / 3.0
    return tl.where(a < 0.2, x + x * (p * x2), tl.where(x < 0.0, -far, far))


@triton.jit
def _squash(z, inverse, KIND: tl.constexpr):
    """u, du/dz and d2u/dz2."""
    x = z * inverse
    if KIND == 0:
        u = _tanh(x)
        s = 1.0 - u * u
        first = s * inverse
        second = -2.0 * u * s * inverse * inverse
    elif KIND == 1:
        a = 1.0 / (1.0 + tl.abs(x))
        u = tl.where(tl.abs(x) > 1e30, tl.where(x < 0.0, -1.0, 1.0), x * a)
        first = a * a * inverse
        second = tl.where(x < 0.0, 2.0, -2.0) * a * a * a * inverse * inverse
    elif KIND == 2:
        size = tl.abs(x)
        far = size > 1.0  # x^2 would overflow
        near = tl.where(far, 1.0 / tl.where(far, size, 1.0), size)
        root = 1.0 / tl.sqrt(1.0 + near * near)
        c = tl.where(far, near * root, root)
        u = tl.where(far, tl.where(x < 0.0, -root, root), x * root)
        first = c * c * c * inverse
        second = -3.0 * u * c * c * c * c * inverse * inverse
    else:
        u = x
        first = x * 0.0 + inverse
        second = x * 0.0
    return u, first, second


@triton.jit
def _locate(u, PIECES: tl.constexpr):
    """Interval and local coordinate of a piecewise basis; NaN goes to interval 0 and stays in the coordinate."""
    x = (u + 1.0) * (0.5 * PIECES)
    inside = tl.where(x > 0.0, x, 0.0)
    inside = tl.where(inside < PIECES - 1.0, inside, PIECES - 1.0)
    piece = inside.to(tl.int32)
    return piece, x - piece.to(x.dtype)


@triton.jit
def _bell(t, ORDER: tl.constexpr, HAT: tl.constexpr):
    """exp(-t^2), or (1 - t^2) exp(-t^2 / 2), or a derivative."""
    t2 = t * t
    if HAT:
        e = tl.exp(-0.5 * t2)
        if ORDER == 0:
            f = e - t2 * e
        elif ORDER == 1:
            f = t * (t2 - 3.0) * e
        else:
            f = (t2 * (6.0 - t2) - 3.0) * e
    else:
        e = tl.exp(-t2)
        if ORDER == 0:
            f = e
        elif ORDER == 1:
            f = -2.0 * t * e
        else:
            f = (4.0 * t2 - 2.0) * e
    return f


@triton.jit
def _evaluate(
    u, table, at, step, ORDER: tl.constexpr, SHAPE: tl.constexpr, A: tl.constexpr, TERMS: tl.constexpr, HAT: tl.constexpr
):  # fmt: skip
    """The ORDER-th u-derivative. ``table`` holds the curve's numbers, [row, column]; ``at``: the column's place, ``step``: a row's."""
    if SHAPE == 0:
        y = tl.load(table + (TERMS - 1) * step + at) + u * 0.0
        for i in tl.static_range(1, TERMS):
            y = y * u + tl.load(table + (TERMS - 1 - i) * step + at)
    elif SHAPE == 1:
        piece, t = _locate(u, A)
        y = tl.load(table + ((TERMS - 1) * A + piece) * step + at) + u * 0.0
        for i in tl.static_range(1, TERMS):
            y = y * t + tl.load(table + ((TERMS - 1 - i) * A + piece) * step + at)
    elif SHAPE == 2:
        cos1, sin1 = tl.cos(u), tl.sin(u)
        cos, sin = cos1, sin1
        y = tl.load(table + at) + u * 0.0
        for k in tl.static_range(1, A + 1):
            y += tl.load(table + (2 * k - 1) * step + at) * cos + tl.load(table + 2 * k * step + at) * sin
            turned = cos * cos1 - sin * sin1
            sin = sin * cos1 + cos * sin1
            cos = turned
    else:
        y = u * 0.0
        for k in tl.static_range(0, A):
            y += tl.load(table + k * step + at) * _bell((u + 1.0) * (0.5 * (A - 1)) - k, ORDER, HAT)
    return y


@triton.jit
def _project(
    u, h, parts, width, cols, ORDER: tl.constexpr, SHAPE: tl.constexpr, A: tl.constexpr, TERMS: tl.constexpr, HAT: tl.constexpr
):  # fmt: skip
    """Write the tile's raw sums, one line for each."""
    inside = cols < width
    if SHAPE == 0:
        for m in tl.static_range(0, TERMS):
            tl.store(parts + m * width + cols, tl.sum(h, axis=0), mask=inside)
            h = h * u
    elif SHAPE == 1:
        piece, t = _locate(u, A)
        for m in tl.static_range(0, TERMS):
            for i in tl.static_range(0, A):
                tl.store(parts + (m * A + i) * width + cols, tl.sum(tl.where(piece == i, h, 0.0), axis=0), mask=inside)
            h = h * t
    elif SHAPE == 2:
        cos1, sin1 = tl.cos(u), tl.sin(u)
        cos, sin = cos1, sin1
        tl.store(parts + cols, tl.sum(h, axis=0), mask=inside)
        for k in tl.static_range(1, A + 1):
            tl.store(parts + (2 * k - 1) * width + cols, tl.sum(h * cos, axis=0), mask=inside)
            tl.store(parts + 2 * k * width + cols, tl.sum(h * sin, axis=0), mask=inside)
            turned = cos * cos1 - sin * sin1
            sin = sin * cos1 + cos * sin1
            cos = turned
    else:
        for k in tl.static_range(0, A):
            t = (u + 1.0) * (0.5 * (A - 1)) - k
            tl.store(parts + k * width + cols, tl.sum(h * _bell(t, ORDER, HAT), axis=0), mask=inside)


@triton.jit
def sweep(
    z_ptr, gy_ptr, hz_ptr, out_ptr, out2_ptr, first_ptr, second_ptr, parts_ptr, scale_ptr, size, width, raw,
    MODE: tl.constexpr, SUMS: tl.constexpr, SHAPE: tl.constexpr, SQUASH: tl.constexpr, A: tl.constexpr, TERMS: tl.constexpr,
    HAT: tl.constexpr, COLUMN_STEP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """See the module. ``first`` and ``second`` hold the numbers of derivative 0 (forward) or of 1 and 2; ``scale`` 1 / sigma."""
    tile = tl.program_id(0)
    rows = tile * ROWS + tl.arange(0, ROWS)
    cols = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    where = rows[:, None].to(tl.int64) * width + cols[None, :]
    mask = (where < size) & (cols < width)[None, :]
    column = tl.where(cols < width, cols, 0) * COLUMN_STEP
    step = width * COLUMN_STEP + (1 - COLUMN_STEP)
    at = column[None, :]
    z = tl.load(z_ptr + where, mask=mask, other=0.0)
    inverse = tl.load(scale_ptr)
    u, s1, s2 = _squash(z, inverse, SQUASH)
    TERMS1: tl.constexpr = TERMS - 1 if TERMS > 1 else 1
    TERMS2: tl.constexpr = TERMS - 2 if TERMS > 2 else 1
    parts = parts_ptr + tile.to(tl.int64) * raw * width
    if MODE == 0:
        tl.store(out_ptr + where, _evaluate(u, first_ptr, at, step, 0, SHAPE, A, TERMS, HAT), mask=mask)
    else:
        gy = tl.load(gy_ptr + where, mask=mask, other=0.0)
        f1 = _evaluate(u, first_ptr, at, step, 1, SHAPE, A, TERMS1, HAT)
        if MODE == 1:
            tl.store(out_ptr + where, gy * s1 * f1, mask=mask)
            if SUMS:
                _project(u, gy, parts, width, cols, 0, SHAPE, A, TERMS, HAT)
        else:
            hz = tl.load(hz_ptr + where, mask=mask, other=0.0)
            f2 = _evaluate(u, second_ptr, at, step, 2, SHAPE, A, TERMS2, HAT)
            tl.store(out_ptr + where, hz * s1 * f1, mask=mask)
            tl.store(out2_ptr + where, hz * gy * (s1 * s1 * f2 + s2 * f1), mask=mask)
            if SUMS:
                _project(u, hz * gy * s1, parts, width, cols, 1, SHAPE, A, TERMS1, HAT)
