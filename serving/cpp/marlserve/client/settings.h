/* How a client behaves; the same as in marlserve.serving.client.settings. */
#pragma once

#include "marlserve/policy/acting.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace marlserve {

enum class WhenFull {
    drop,  // lose the oldest fragments
    spill, // write them to files of `spill_folder`, which the program waits for
    wait,  // let the program wait for the trainer, which suits a simulator
};

struct ClientSettings {
    std::string address = "127.0.0.1:50051"; // of the trainer
    std::string policy = "policy";           // its name there
    std::string client_id;                   // what the trainer calls this client; "": as the policy
    std::string token;                       // that the trainer wants to see; wants TLS beyond this machine
    std::string ca;                          // a file with the certificate that the trainer's is held to, PEM; "": no TLS
    std::int64_t send_frequency = 1;         // fragments that are sent together, unless a second has passed
    std::int64_t most_steps = 1'000;         // of a fragment; episodes that are longer are sent in several
    std::int64_t buffer_steps = 20'000;      // that may wait to be sent
    WhenFull when_full = WhenFull::drop;     // what happens to what is too much
    std::string spill_folder;                // "spill" needs one, and nothing else does
    std::int64_t spill_bytes = 256 << 20;    // that it has at most
    double reward_deadline_s = 0.0;          // how long a fragment waits for rewards that are still unknown
    double default_reward = 0.0;             // what these are then
    Action fallback_action{{0}, {0.0F}};     // what is done as long as there is no policy
    std::optional<std::uint64_t> seed;       // of what is drawn
    std::function<void(const std::string &)> log; // is told of troubles, by other threads; empty: standard error

    /* std::invalid_argument, with the field, its value and what is allowed. */
    void check() const;
};

/* What the file says that a program and its trainer share, JSON; marlserve.serving.wire.program is its
 * manual. std::invalid_argument if it is missing or broken, for unknown keys, and for bad values. */
ClientSettings settings_of(const std::string &path);

} // namespace marlserve
