#include "marlserve/policy/acting.h"

#include <algorithm>

namespace marlserve {

Action greedy(const Network &network, const float *outputs) {
    if (const Box *box = std::get_if<Box>(&network.actions)) return {{}, stretched(network, {outputs, outputs + box->size()})};
    const Choices &choices = std::get<Choices>(network.actions);
    const std::int64_t width = choices.width();
    Action action;
    for (std::size_t component = 0; component < choices.sizes.size(); component++, outputs += width)
        action.choices.push_back(std::max_element(outputs, outputs + choices.sizes[component]) - outputs + choices.starts[component]);
    return action;
}

std::vector<float> stretched(const Network &network, std::vector<float> numbers) {
    const Box &box = std::get<Box>(network.actions);
    for (std::size_t i = 0; i < numbers.size(); i++) {
        const auto low = static_cast<float>(box.low[i]), high = static_cast<float>(box.high[i]);
        if (network.stretch) numbers[i] = low + (numbers[i] + 1.0F) * (high - low) / 2.0F;
        if (network.clip) numbers[i] = std::min(std::max(numbers[i], low), high);
    }
    return numbers;
}

} // namespace marlserve
