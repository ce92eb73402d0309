/* Policies as they arrive: in parts, or as what changed since the version before; see
 * marlserve.serving.wire.policy_parts and policy_diff.
 */
#pragma once

#include "marlserve/client/messages.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace marlserve {

/* How numbers are drawn to explore: normal, around what a network puts out. */
struct Noise {
    std::string mean;                  // the layer that puts the means out, [D]
    std::string log_deviation;         // the layer for the logarithms of the deviations, [D]; "": they are
    std::vector<float> log_deviations; // these
    std::string squash;                // what follows: "", "tanh", or "clip" to -1 and 1
};

/* A version, as bytes. */
struct Published {
    std::string run;
    std::int64_t version = 0;
    std::string manifest, weights;
    double epsilon = 0.0;                // how many actions are drawn from all alike
    std::map<std::string, Noise> noises; // by the name of the network
};

/* Puts parts together, one after the other. */
class Assembly {
  public:
    /* One part more; whether it is the last one, and `latest` another.
     *
     * std::invalid_argument if parts are in disorder, or too many, or are what changed since a version
     * that is not there. */
    bool add(const pb::PolicyPart &part);

    const std::optional<Published> &latest() const { return latest_; }

  private:
    std::optional<Published> latest_, next_;
    std::uint64_t since_version_ = 0;
};

/* The weights that `changes` make of the old ones; std::invalid_argument if they are broken. */
std::string applied(const std::string &old, const std::string &changes);

} // namespace marlserve
