/* The books of a client: how many decisions, how fast, and whose reward is still to come. */
#pragma once

#include "marlserve/client/recording.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <unordered_map>
#include <vector>

namespace marlserve {

/* Where the reward of a decision goes. */
struct Place {
    std::shared_ptr<Recording> recording;
    std::size_t index = 0;
};

/* Several threads may write. */
class Books {
  public:
    std::uint64_t new_id() { return ++decisions_; }
    std::uint64_t new_episode() { return next_episode_++; } // a number that no other one has

    std::uint64_t decisions() const { return decisions_; }
    std::uint64_t fallbacks() const { return fallbacks_; } // decisions without a policy
    std::uint64_t late() const { return late_; }           // rewards that came when their steps were gone

    void fell_back() { fallbacks_++; }
    void was_late() { late_++; }

    void decided(std::uint64_t id, const Place &place, double seconds);
    void took(double seconds);

    /* Where the reward of this decision goes; nothing if its steps are gone. */
    std::optional<Place> open(std::uint64_t id) const;

    /* The steps of these decisions are gone. */
    void forget(const std::vector<std::uint64_t> &ids);

    /* What the latest decisions took, in no order. */
    std::vector<float> decision_us() const;

  private:
    void time(double seconds);

    std::atomic<std::uint64_t> decisions_{0}, fallbacks_{0}, late_{0};
    // Not of the seed: another run of the program has other episodes.
    std::atomic<std::uint64_t> next_episode_{(std::uint64_t{std::random_device{}()} << 28) ^ std::random_device{}()};
    mutable std::mutex lock_;
    std::unordered_map<std::uint64_t, Place> open_;
    std::array<float, 4096> times_us_{};
    std::size_t timed_ = 0;
};

} // namespace marlserve
