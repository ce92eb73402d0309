/* What a policy file holds, in memory; marlserve.policies.export.network is the manual. */
#pragma once

#include "marlserve/policy/layers.h"

#include <map>
#include <string>
#include <vector>

namespace marlserve {

inline const std::string anyone = "*";

struct Network {
    Box observations;
    Space actions; // a Box is of float32
    std::vector<Layer> layers;
    Arrays weights;      // "<layer>.<weight>"
    std::string outputs; // "action values", "logits", "expected rewards", or "numbers" of a Box
    bool stretch, clip;  // how numbers become an action
    std::vector<std::string> indexed_agents;

    /* What the first layer reads: an observation, and the index that follows it, if any. */
    Shape seen() const;

    const Layer &last() const { return layers.back(); }

    /* std::invalid_argument if anything of this does not fit together. */
    void check() const;
};

struct PolicyFile {
    std::map<std::string, Network> networks;
    std::map<std::string, std::string> agents; // {agent, or anyone: name of its network}

    /* The name of the network that plays for this agent; std::invalid_argument if there is none. */
    const std::string &network_of(const std::string &agent) const;
};

} // namespace marlserve
