/* One decision, which is told its reward. */
#pragma once

#include "marlserve/client/books.h"

#include <cstdint>
#include <memory>
#include <utility>

namespace marlserve {

class Decision {
  public:
    Decision(std::shared_ptr<Books> books, std::uint64_t id, Action action, std::int64_t version, double log_probability, Place place)
        : id(id), action(std::move(action)), version(version), log_probability(log_probability), books_(std::move(books)), place_(std::move(place)) {}

    std::uint64_t id; // to tell its reward by
    Action action;
    std::int64_t version;   // of the policy; 0: there was none yet, and nobody learns from it
    double log_probability; // of the action; NaN for numbers that are squashed, as nobody asks then

    /* What came of it, in place of what was said before; false if it is not recorded any more.
     *
     * std::invalid_argument for a value that is not finite, or beyond 1e9 either way. */
    bool reward(double value) const {
        if (!place_.recording) return false;
        if (place_.recording->tell(place_.index, value)) return true;
        books_->was_late();
        return false;
    }

  private:
    std::shared_ptr<Books> books_;
    Place place_;
};

} // namespace marlserve
