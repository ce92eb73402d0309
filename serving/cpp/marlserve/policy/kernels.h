/* The operations of layers, over flat arrays of float32; what `evaluator` runs.
 *
 * Pointers do not overlap, but that of `tanh` and others element by element. Matrices are
 * [inputs, outputs], so that sums run along their rows.
 */
#pragma once

#include <cstddef>

namespace marlserve::kernels {

/* to [n] = bias [n] + x [inputs] matrix [inputs, n] */
void affine(const float *x, std::size_t inputs, const float *matrix, const float *bias, std::size_t n, float *to);

/* One step of a memory [n], in place, and `to` is what it is then; `gates` is room for [6, n]. */
struct Gates {
    const float *weight_ih, *bias_ih, *weight_hh, *bias_hh;
};
void gru(const float *x, std::size_t inputs, const Gates &weights, std::size_t n, float *memory, float *gates, float *to);

void relu(const float *x, std::size_t count, float *to);
void tanh(const float *x, std::size_t count, float *to);

/* Each of `rows` divided by its length, or 1e-12 if that is less. */
void normalize(const float *x, std::size_t rows, std::size_t n, float *to);

void standardize(const float *x, std::size_t rows, std::size_t n, const float *mean, const float *deviation, float *to);

/* to [2, n] = the mean and the maximum of x [rows, n] */
void mean_max(const float *x, std::size_t rows, std::size_t n, float *to);

/* to [count] = x + other [n], again and again */
void add(const float *x, std::size_t count, const float *other, std::size_t n, float *to);

} // namespace marlserve::kernels
