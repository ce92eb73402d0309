/* What is drawn has the chances that are told. */
#include "marlserve/client/choosing.h"

#include <gtest/gtest.h>

#include <cmath>

namespace marlserve {
namespace {

constexpr int draws = 20'000;

/* How often each value is drawn, and that its log-probability is that of the share. */
void expect_shares(const std::vector<float> &outputs, const Mask &legal, bool is_drawn, double epsilon, const std::vector<double> &shares) {
    const Choices choices{true, {static_cast<std::int64_t>(outputs.size())}, {0}};
    Random random(7);
    std::vector<int> counts(outputs.size());
    for (int i = 0; i < draws; i++) {
        double log_probability = 0.0;
        const auto index = static_cast<std::size_t>(choices_of(outputs.data(), choices, legal, is_drawn, epsilon, random, log_probability)[0]);
        counts[index]++;
        ASSERT_NEAR(std::exp(log_probability), shares[index], 1e-6);
    }
    for (std::size_t i = 0; i < shares.size(); i++) // four deviations of a binomial
        EXPECT_NEAR(counts[i] / double{draws}, shares[i], 4.0 * std::sqrt(shares[i] * (1.0 - shares[i]) / draws));
}

TEST(Choosing, LogitsAreASoftmaxOfWhatIsLegal) {
    const std::vector<float> outputs = {0.0F, std::log(3.0F), 88.0F};
    expect_shares(outputs, {1, 1, 0}, true, 0.0, {0.25, 0.75, 0.0});
    expect_shares(outputs, {1, 1, 0}, true, 0.2, {0.3, 0.7, 0.0});
    expect_shares({1e30F, 1e30F}, {}, true, 0.0, {0.5, 0.5});
}

TEST(Choosing, ValuesAreGreedyButForAShare) {
    expect_shares({5.0F, 9.0F, 1.0F}, {}, false, 0.0, {0.0, 1.0, 0.0});
    expect_shares({5.0F, 9.0F, 1.0F}, {1, 0, 1}, false, 0.5, {0.75, 0.0, 0.25});
    expect_shares({4.0F, 4.0F}, {}, false, 0.0, {1.0, 0.0}); // the first of equal ones
}

TEST(Choosing, ComponentsHaveSizesOfTheirOwn) {
    const Choices choices{false, {1, 3}, {0, 0}};
    const std::vector<float> outputs = {0.0F, 99.0F, 99.0F, 1.0F, 3.0F, 2.0F}; // the 99 belong to nothing
    Random random(7);
    double log_probability = 0.0;
    EXPECT_EQ(choices_of(outputs.data(), choices, {}, false, 0.0, random, log_probability), (std::vector<std::int64_t>{0, 1}));
}

TEST(Choosing, UniformNumbersAreBelowOne) {
    Random random(7);
    for (int i = 0; i < draws; i++) {
        const double number = uniform(random);
        ASSERT_GE(number, 0.0);
        ASSERT_LT(number, 1.0);
    }
}

} // namespace
} // namespace marlserve
