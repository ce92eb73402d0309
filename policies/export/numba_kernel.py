"""The compiled evaluator: layers as rows of integers, all numbers in flat arrays of float32.

`numba_policy` makes the arrays:

    program  [L, FIELDS] int64   one row per layer, in order: the operation, and where to find what
    weights  [W]                 matrices as [inputs, outputs], so that sums run along rows
    work     [V]                 the observation first, then what the layers put out
    state    [S]                 what the layers `gru` remember; changed
"""

import math

import numpy as np
from numba import njit

# Fields of a row: offsets in `work` of both inputs and the output, the sizes of a matrix, by how
# many rows it is applied to, offsets in `weights`, and of a memory in `state`.
OPERATION, FIRST, SECOND, OUT, ROWS, INPUTS, SIZE, W0, W1, W2, W3, STATE = range(12)
FIELDS = 12

LINEAR, RELU, TANH, NORMALIZE, STANDARDIZE, SHIFT, MEAN_MAX, ADD, GRU = range(9)

_HALF, _ONE, _ZERO = np.float32(0.5), np.float32(1.0), np.float32(0.0)


# Multiplying and adding may be one instruction; NaN and the order of sums stay what they are.
@njit(cache=True, fastmath={"contract"})
def _affine(source, at, inputs, weights, matrix, bias, size, target, out):
    """target[out:] = bias + source[at:] @ matrix, four inputs at a time."""
    result = target[out : out + size]
    for j in range(size):  # loops throughout: whole arrays take numba seconds more to compile
        result[j] = weights[bias + j]
    i = 0
    while i + 4 <= inputs:
        a, b, c, d = source[at + i], source[at + i + 1], source[at + i + 2], source[at + i + 3]
        start = matrix + i * size
        row_a = weights[start : start + size]
        row_b = weights[start + size : start + 2 * size]
        row_c = weights[start + 2 * size : start + 3 * size]
        row_d = weights[start + 3 * size : start + 4 * size]
        for j in range(size):
            result[j] += a * row_a[j] + b * row_b[j] + c * row_c[j] + d * row_d[j]
        i += 4
    while i < inputs:
        a, start = source[at + i], matrix + i * size
        row_a = weights[start : start + size]
        for j in range(size):
            result[j] += a * row_a[j]
        i += 1


@njit(cache=True)
def _sigmoid(x):
    return _HALF * (_ONE + math.tanh(_HALF * x))


@njit(cache=True)
def _gru(row, weights, work, state):
    """One step of every row's memory; six gates' worth of numbers lie behind the output."""
    size, inputs = row[SIZE], row[INPUTS]
    own = row[OUT] + row[ROWS] * size
    past = own + 3 * size
    for r in range(row[ROWS]):
        memory, out = row[STATE] + r * size, row[OUT] + r * size
        at = row[FIRST] + r * inputs
        _affine(work, at, inputs, weights, row[W0], row[W1], 3 * size, work, own)
        _affine(state, memory, size, weights, row[W2], row[W3], 3 * size, work, past)
        for j in range(size):
            reset = _sigmoid(work[own + j] + work[past + j])
            keep = _sigmoid(work[own + size + j] + work[past + size + j])
            new = math.tanh(work[own + 2 * size + j] + reset * work[past + 2 * size + j])
            work[out + j] = (_ONE - keep) * new + keep * state[memory + j]
        for j in range(size):
            state[memory + j] = work[out + j]


@njit(cache=True)
def _normalize(row, work):
    size = row[SIZE]
    for r in range(row[ROWS]):
        at, out = row[FIRST] + r * size, row[OUT] + r * size
        square = _ZERO
        for j in range(size):
            square += work[at + j] * work[at + j]
        length = max(np.float32(math.sqrt(square)), np.float32(1e-12))
        for j in range(size):
            work[out + j] = work[at + j] / length


@njit(cache=True)
def _mean_max(row, work):
    at, out, rows, size = row[FIRST], row[OUT], row[ROWS], row[SIZE]
    for j in range(size):
        total, largest = _ZERO, work[at + j]
        for r in range(rows):
            value = work[at + r * size + j]
            total += value
            largest = max(largest, value)
        work[out + j] = total / np.float32(rows)
        work[out + size + j] = largest


@njit(cache=True)
def _run(program, weights, work, state):
    for index in range(len(program)):
        row = program[index]
        operation, at, out = row[OPERATION], row[FIRST], row[OUT]
        rows, size = row[ROWS], row[SIZE]
        if operation == LINEAR:
            inputs = row[INPUTS]
            for r in range(rows):
                source, target = at + r * inputs, out + r * size
                _affine(work, source, inputs, weights, row[W0], row[W1], size, work, target)
        elif operation == RELU:
            for i in range(rows * size):
                work[out + i] = max(work[at + i], _ZERO)
        elif operation == TANH:
            for i in range(rows * size):
                work[out + i] = math.tanh(work[at + i])
        elif operation == NORMALIZE:
            _normalize(row, work)
        elif operation == STANDARDIZE:
            for i in range(rows * size):
                j = i % size
                work[out + i] = (work[at + i] - weights[row[W0] + j]) / weights[row[W1] + j]
        elif operation == SHIFT:
            for i in range(rows * size):
                work[out + i] = work[at + i] + weights[row[W0] + i]
        elif operation == MEAN_MAX:
            _mean_max(row, work)
        elif operation == ADD:
            for i in range(rows * size):
                work[out + i] = work[at + i] + work[row[SECOND] + i % row[INPUTS]]
        elif operation == GRU:
            _gru(row, weights, work, state)


@njit(cache=True)
def _is_finite(work, size):
    finite = True
    for i in range(size):
        finite = finite and math.isfinite(work[i])
    return finite


@njit(cache=True)
def evaluate(program, weights, work, state, observed):
    """All layers.

    Args:
        observed: how many numbers the observation has, in front of `work`.

    Returns:
        False, and nothing is changed, if the observation has a number that is not finite.
    """
    if not _is_finite(work, observed):
        return False
    _run(program, weights, work, state)
    return True


@njit(cache=True)
def choose(program, weights, work, state, observed, output, legal, start, action):
    """The index of the largest legal output of every component, plus `start`; see `file`.

    Args:
        output: where the outputs will be in `work`.
        legal: [H, A] bool.
        start: [H] int64.
        action: [H] int64, to be filled; else as `evaluate`, also what it returns.
    """
    if not evaluate(program, weights, work, state, observed):
        return False
    components, values = legal.shape
    for h in range(components):
        best, largest = 0, -np.inf
        for a in range(values):
            value = work[output + h * values + a]
            if legal[h, a] and value > largest:
                best, largest = a, value
        action[h] = start[h] + best
    return True


@njit(cache=True)
def compute(program, weights, work, state, observed, output, low, high, stretch, clip, action):
    """The numbers of a `Box` action, [D] each; else as `choose`."""
    if not evaluate(program, weights, work, state, observed):
        return False
    for d in range(len(action)):
        value = work[output + d]
        if stretch:
            value = low[d] + (value + _ONE) * (high[d] - low[d]) / np.float32(2.0)
        if clip:
            value = min(max(value, low[d]), high[d])
        action[d] = value
    return True
