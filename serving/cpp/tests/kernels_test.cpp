/* The operations of layers are what their formulas say, in double precision. */
#include "marlserve/policy/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace marlserve::kernels {
namespace {

std::vector<float> drawn(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> numbers(count);
    for (float &number : numbers) number = normal(random);
    return numbers;
}

double dot(const std::vector<float> &x, const std::vector<float> &matrix, std::size_t n, std::size_t column) {
    double sum = 0.0;
    for (std::size_t i = 0; i < x.size(); i++) sum += static_cast<double>(x[i]) * matrix[i * n + column];
    return sum;
}

TEST(Kernels, AffineOfAnyNumberOfInputs) {
    for (std::size_t inputs = 0; inputs < 10; inputs++) {
        const std::size_t n = 5;
        const std::vector<float> x = drawn(inputs, 1), matrix = drawn(inputs * n, 2), bias = drawn(n, 3);
        std::vector<float> to(n);
        affine(x.data(), inputs, matrix.data(), bias.data(), n, to.data());
        for (std::size_t j = 0; j < n; j++) EXPECT_NEAR(to[j], bias[j] + dot(x, matrix, n, j), 1e-6);
    }
}

TEST(Kernels, GruIsThatOfItsFormula) {
    const std::size_t inputs = 3, n = 4;
    const std::vector<float> x = drawn(inputs, 1), before = drawn(n, 2), w = drawn(inputs * 3 * n, 3), v = drawn(n * 3 * n, 4), b = drawn(3 * n, 5), c = drawn(3 * n, 6);
    std::vector<float> memory = before, gates(6 * n), to(n);
    gru(x.data(), inputs, {w.data(), b.data(), v.data(), c.data()}, n, memory.data(), gates.data(), to.data());
    const auto sigmoid = [](double value) { return 1.0 / (1.0 + std::exp(-value)); };
    for (std::size_t j = 0; j < n; j++) {
        const auto own = [&](std::size_t gate) { return dot(x, w, 3 * n, gate * n + j) + b[gate * n + j]; };
        const auto past = [&](std::size_t gate) { return dot(before, v, 3 * n, gate * n + j) + c[gate * n + j]; };
        const double r = sigmoid(own(0) + past(0)), z = sigmoid(own(1) + past(1)), fresh = std::tanh(own(2) + r * past(2));
        EXPECT_NEAR(to[j], (1.0 - z) * fresh + z * before[j], 1e-6);
    }
    EXPECT_EQ(memory, to);
}

TEST(Kernels, RowsArePooledAndNormalized) {
    const std::vector<float> x = {1, -2, 3, 6};
    std::vector<float> to(4);
    mean_max(x.data(), 2, 2, to.data());
    EXPECT_EQ(to, (std::vector<float>{2, 2, 3, 6}));
    const std::vector<float> rows = {3, 4, 0, 0};
    normalize(rows.data(), 2, 2, to.data());
    EXPECT_EQ(to, (std::vector<float>{0.6F, 0.8F, 0, 0}));
    const std::vector<float> more = {10, 20};
    add(x.data(), 4, more.data(), 2, to.data());
    EXPECT_EQ(to, (std::vector<float>{11, 18, 13, 26}));
}

} // namespace
} // namespace marlserve::kernels
