/* How an action follows from what a network puts out, as policy files say; see
 * marlserve.policies.export.file.
 */
#pragma once

#include "marlserve/policy/network.h"

#include <cstdint>
#include <vector>

namespace marlserve {

/* What is done: `choices` [H] of Discrete (H is 1) and MultiDiscrete, or `numbers` [D] of a Box. */
struct Action {
    std::vector<std::int64_t> choices;
    std::vector<float> numbers;

    std::int64_t choice() const { return choices.at(0); } // of Discrete
};

/* The greedy one: of each component the index of the largest of its outputs, the first of equal ones,
 * and then its start; or the numbers. */
Action greedy(const Network &network, const float *outputs);

/* Numbers [D] of the network as an action. */
std::vector<float> stretched(const Network &network, std::vector<float> numbers);

} // namespace marlserve
