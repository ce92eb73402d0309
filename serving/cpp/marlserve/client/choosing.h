/* How actions are drawn from what a network puts out, and with which chance; as
 * marlserve.serving.client.choosing does.
 */
#pragma once

#include "marlserve/client/contract.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace marlserve {

using Random = std::mt19937_64;

/* In [0, 1). */
double uniform(Random &random);

/* The components of an action [H], and the logarithm of their chance is added to `log_probability`.
 *
 * outputs     [H, A]
 * legal       [H, A], at least one value of each component; empty: all
 * is_drawn    whether outputs are logits, each component drawn from their softmax; else they are
 *             action values, and it is the largest one
 * epsilon     the share of components that are drawn from all alike */
std::vector<std::int64_t> choices_of(const float *outputs, const Choices &choices, const Mask &legal, bool is_drawn, double epsilon, Random &random,
                                     double &log_probability);

/* Numbers [D] around these means, and the logarithm of their density is added to `log_probability`,
 * which is NaN where they are squashed or drawn from all alike: nobody asks.
 *
 * squash      "", "tanh", or "clip" to -1 and 1 */
std::vector<float> numbers_of(const float *means, const float *log_deviations, std::size_t count, const std::string &squash, double epsilon, Random &random,
                              double &log_probability);

} // namespace marlserve
