/* A version of the policy as a client plays it; marlserve.serving.client.playing in Python. */
#pragma once

#include "marlserve/client/choosing.h"
#include "marlserve/client/policy_parts.h"
#include "marlserve/policy/acting.h"
#include "marlserve/policy/evaluator.h"

#include <map>
#include <string>
#include <vector>

namespace marlserve {

/* What an agent has of its own: room to compute in, what it remembers of the episode, and chance. */
struct Mind {
    std::vector<float> work, memory;
    Random random;
};

struct Choice {
    Action action; // as it is learned from: indices [H], or numbers [D] as the network puts them out
    Action told;   // as the program is told
    double log_probability = 0.0;
    std::vector<float> outputs; // of the network
};

/* Ready to be asked, by several threads at a time. */
class Playing {
  public:
    /* std::invalid_argument if the file is broken, or for other spaces than the seat's. */
    Playing(const Published &published, const Seat &seat);

    const std::string &run() const { return run_; }
    std::int64_t version() const { return version_; }

    /* What an agent does. Memory of another size is that of another policy, and begins anew.
     *
     * observation    [*O], that the seat has checked
     * legal          [H, A], what it may do; empty: all
     *
     * std::invalid_argument for an agent that nobody plays for. */
    Choice choose(const std::string &agent, const std::vector<float> &observation, const Mask &legal, Mind &mind) const;

  private:
    struct Player {
        Network network;
        Evaluator evaluator;
        Noise noise; // mean "": there is none
    };

    std::string run_;
    std::int64_t version_;
    double epsilon_;
    std::map<std::string, std::string> agents_;
    std::map<std::string, Player> players_;
};

} // namespace marlserve
