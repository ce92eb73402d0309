#include "marlserve/policy/network.h"

#include <stdexcept>

namespace marlserve {

Shape Network::seen() const {
    if (indexed_agents.empty()) return observations.shape;
    if (observations.shape.size() != 1)
        throw std::invalid_argument("observations have shape " + shown(observations.shape) + "; an index follows only one axis");
    return {observations.shape[0] + static_cast<std::int64_t>(indexed_agents.size())};
}

void Network::check() const {
    marlserve::check(layers, weights, seen());
    const std::int64_t size = outputs_of(actions);
    if (layers.empty() || product(last().shape) != size)
        throw std::invalid_argument("the last layer gives " + (layers.empty() ? "nothing" : shown(last().shape)) + "; actions need " +
                                    std::to_string(size) + " numbers");
    const Box *box = std::get_if<Box>(&actions);
    if (box && box->dtype != "float32") throw std::invalid_argument("actions are a Box of " + box->dtype + "; it must be of float32");
    const bool is_known = outputs == "action values" || outputs == "logits" || outputs == "expected rewards" || outputs == "numbers";
    if (!is_known || (box != nullptr) != (outputs == "numbers") || (stretch && !box))
        throw std::invalid_argument("outputs are '" + outputs + "', which the action space cannot take");
    if (stretch && !box->is_bounded()) throw std::invalid_argument("the action space has no bounds to stretch actions to");
}

const std::string &PolicyFile::network_of(const std::string &agent) const {
    auto found = agents.find(agent);
    if (found == agents.end()) found = agents.find(anyone);
    if (found == agents.end()) throw std::invalid_argument("agent '" + agent + "' has no policy");
    return found->second;
}

} // namespace marlserve
