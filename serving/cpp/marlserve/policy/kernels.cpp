#include "marlserve/policy/kernels.h"

#include <algorithm>
#include <cmath>

namespace marlserve::kernels {
namespace {

constexpr float least_length = 1e-12F;

float sigmoid(float x) { return 0.5F * (1.0F + std::tanh(0.5F * x)); } // which cannot overflow

} // namespace

void affine(const float *x, std::size_t inputs, const float *matrix, const float *bias, std::size_t n, float *__restrict to) {
    std::copy(bias, bias + n, to);
    std::size_t i = 0;
    for (; i + 4 <= inputs; i += 4) { // four at a time, so that `to` is read and written less often
        const float a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
        const float *__restrict row_a = matrix + i * n, *__restrict row_b = row_a + n, *__restrict row_c = row_b + n, *__restrict row_d = row_c + n;
        for (std::size_t j = 0; j < n; j++) to[j] += a * row_a[j] + b * row_b[j] + c * row_c[j] + d * row_d[j];
    }
    for (; i < inputs; i++) {
        const float a = x[i], *__restrict row = matrix + i * n;
        for (std::size_t j = 0; j < n; j++) to[j] += a * row[j];
    }
}

void gru(const float *x, std::size_t inputs, const Gates &weights, std::size_t n, float *memory, float *gates, float *to) {
    float *own = gates, *past = gates + 3 * n;
    affine(x, inputs, weights.weight_ih, weights.bias_ih, 3 * n, own);
    affine(memory, n, weights.weight_hh, weights.bias_hh, 3 * n, past);
    for (std::size_t j = 0; j < n; j++) {
        const float reset = sigmoid(own[j] + past[j]), keep = sigmoid(own[n + j] + past[n + j]);
        const float fresh = std::tanh(own[2 * n + j] + reset * past[2 * n + j]);
        to[j] = memory[j] = (1.0F - keep) * fresh + keep * memory[j];
    }
}

void relu(const float *x, std::size_t count, float *to) {
    for (std::size_t i = 0; i < count; i++) to[i] = std::max(x[i], 0.0F);
}

void tanh(const float *x, std::size_t count, float *to) {
    for (std::size_t i = 0; i < count; i++) to[i] = std::tanh(x[i]);
}

void normalize(const float *x, std::size_t rows, std::size_t n, float *to) {
    for (std::size_t row = 0; row < rows; row++, x += n, to += n) {
        float square = 0.0F;
        for (std::size_t j = 0; j < n; j++) square += x[j] * x[j];
        const float length = std::max(std::sqrt(square), least_length);
        for (std::size_t j = 0; j < n; j++) to[j] = x[j] / length;
    }
}

void standardize(const float *x, std::size_t rows, std::size_t n, const float *mean, const float *deviation, float *to) {
    for (std::size_t row = 0; row < rows; row++, x += n, to += n)
        for (std::size_t j = 0; j < n; j++) to[j] = (x[j] - mean[j]) / deviation[j];
}

void mean_max(const float *x, std::size_t rows, std::size_t n, float *to) {
    std::copy(x, x + n, to);
    std::copy(x, x + n, to + n);
    for (std::size_t row = 1; row < rows; row++)
        for (std::size_t j = 0; j < n; j++) {
            to[j] += x[row * n + j];
            to[n + j] = std::max(to[n + j], x[row * n + j]);
        }
    for (std::size_t j = 0; j < n; j++) to[j] /= static_cast<float>(rows);
}

void add(const float *x, std::size_t count, const float *other, std::size_t n, float *to) {
    for (std::size_t i = 0; i < count; i += n)
        for (std::size_t j = 0; j < n; j++) to[i + j] = x[i + j] + other[j];
}

} // namespace marlserve::kernels
