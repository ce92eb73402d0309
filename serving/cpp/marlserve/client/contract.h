/* What the trainer takes, as it says to every client; marlserve.serving.wire.contract is the manual. */
#pragma once

#include "marlserve/client/messages.h"

#include <cstdint>
#include <string>
#include <vector>

namespace marlserve {

using Mask = std::vector<std::uint8_t>; // 1: it may be chosen

/* What the agent sees and does. */
struct Seat {
    Box observations;
    Space actions;
    bool masked = false;
    std::int64_t memory_size = 0;

    /* std::invalid_argument for an observation of another size, not finite, or not of its dtype. */
    void check(const std::vector<float> &observation) const;

    /* A mask as [H, A], flat: given so, or all components' values end to end; empty: all is legal.
     *
     * std::invalid_argument for a mask where there is none, another size, and one that leaves a
     * component without any value. */
    Mask legal(const Mask &mask) const;
};

bool operator==(const Seat &one, const Seat &other);

struct Contract {
    std::string policy;
    Seat seat;
    bool on_policy = false;                          // then a fragment has one version throughout
    double most_staleness = 0.0;                     // versions that a fragment may be behind; infinite: any
    std::int64_t most_steps = 0, capacity_steps = 0; // of a fragment, and of the queue
    bool log_probabilities = false, outputs = false; // columns that are asked for
};

/* What was told; std::invalid_argument if it does not fit together, or is for teams, which only the
 * client in Python has. */
Contract contract_of(const pb::Contract &message);

} // namespace marlserve
