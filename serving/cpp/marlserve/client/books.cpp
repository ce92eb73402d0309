#include "marlserve/client/books.h"

#include <algorithm>

namespace marlserve {

void Books::decided(std::uint64_t id, const Place &place, double seconds) {
    const std::lock_guard<std::mutex> held(lock_);
    open_.emplace(id, place);
    time(seconds);
}

void Books::took(double seconds) {
    const std::lock_guard<std::mutex> held(lock_);
    time(seconds);
}

void Books::time(double seconds) { times_us_[timed_++ % times_us_.size()] = static_cast<float>(1e6 * seconds); }

std::optional<Place> Books::open(std::uint64_t id) const {
    const std::lock_guard<std::mutex> held(lock_);
    const auto found = open_.find(id);
    if (found == open_.end()) return std::nullopt;
    return found->second;
}

void Books::forget(const std::vector<std::uint64_t> &ids) {
    const std::lock_guard<std::mutex> held(lock_);
    for (const std::uint64_t id : ids) open_.erase(id);
}

std::vector<float> Books::decision_us() const {
    const std::lock_guard<std::mutex> held(lock_);
    const std::size_t known = std::min(timed_, times_us_.size());
    return {times_us_.begin(), times_us_.begin() + static_cast<std::ptrdiff_t>(known)};
}

} // namespace marlserve
