#include "marlserve/client/choosing.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace marlserve {
namespace {

constexpr double log_root = 0.91893853320467274178; // of 2 pi, log(2 pi) / 2
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/* A place drawn from the softmax of the values. */
std::size_t drawn(const std::vector<double> &values, double epsilon, Random &random, double &log_probability) {
    const double most = *std::max_element(values.begin(), values.end());
    std::vector<double> weights;
    double total = 0.0;
    for (const double value : values) {
        weights.push_back(std::exp(value - most));
        total += weights.back();
    }
    for (double &weight : weights) weight = (1.0 - epsilon) * weight + epsilon * total / static_cast<double>(values.size());
    double left = uniform(random) * total;
    std::size_t place = 0;
    while (left >= weights[place] && place + 1 < weights.size()) left -= weights[place++];
    log_probability += epsilon > 0.0 ? std::log(weights[place] / total) : values[place] - most - std::log(total);
    return place;
}

std::size_t largest(const std::vector<double> &values, double epsilon, Random &random, double &log_probability) {
    const auto best = static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
    const double count = static_cast<double>(values.size());
    const std::size_t place = uniform(random) < epsilon ? static_cast<std::size_t>(uniform(random) * count) : best;
    log_probability += std::log(epsilon / count + (place == best ? 1.0 - epsilon : 0.0));
    return place;
}

} // namespace

double uniform(Random &random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

std::vector<std::int64_t> choices_of(const float *outputs, const Choices &choices, const Mask &legal, bool is_drawn, double epsilon, Random &random,
                                     double &log_probability) {
    const auto width = static_cast<std::size_t>(choices.width());
    std::vector<std::int64_t> action, indices;
    std::vector<double> values;
    for (std::size_t component = 0; component < choices.sizes.size(); component++) {
        const std::size_t row = component * width;
        indices.clear(), values.clear();
        for (std::size_t i = 0; i < static_cast<std::size_t>(choices.sizes[component]); i++) {
            if (!legal.empty() && !legal[row + i]) continue;
            indices.push_back(static_cast<std::int64_t>(i));
            values.push_back(outputs[row + i]);
        }
        const auto draw = is_drawn ? drawn : largest;
        action.push_back(indices[draw(values, epsilon, random, log_probability)]);
    }
    return action;
}

std::vector<float> numbers_of(const float *means, const float *log_deviations, std::size_t count, const std::string &squash, double epsilon, Random &random,
                              double &log_probability) {
    std::vector<float> numbers;
    if (epsilon > 0.0 && uniform(random) < epsilon) {
        for (std::size_t i = 0; i < count; i++) numbers.push_back(static_cast<float>(2.0 * uniform(random) - 1.0));
        log_probability = nan;
        return numbers;
    }
    std::normal_distribution<double> normal;
    for (std::size_t i = 0; i < count; i++) {
        const double drawn = normal(random), log_deviation = log_deviations[i];
        double number = means[i] + std::exp(log_deviation) * drawn;
        log_probability -= 0.5 * drawn * drawn + log_deviation + log_root;
        if (squash == "tanh") number = std::tanh(number);
        if (squash == "clip") number = std::min(std::max(number, -1.0), 1.0);
        numbers.push_back(static_cast<float>(number));
    }
    if (!squash.empty()) log_probability = nan;
    return numbers;
}

} // namespace marlserve
