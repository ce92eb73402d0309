#include "marlserve/client/report.h"

#include "trainer.pb.h"

#include <algorithm>
#include <numeric>

namespace marlserve {

void report(const Books &books, const Outbox &outbox, pb::Report *to) {
    to->set_decisions(books.decisions());
    to->set_fallbacks(books.fallbacks());
    for (const auto &[reason, steps] : outbox.lost()) (*to->mutable_lost())[reason] = steps;
    const std::vector<float> times_us = books.decision_us();
    to->set_decision_mean_us(mean(times_us));
    to->set_decision_p99_us(percentile(times_us, 0.99));
}

double percentile(std::vector<float> values, double share) {
    if (values.empty()) return 0.0;
    std::sort(values.begin(), values.end());
    const double rank = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(rank), above = std::min(below + 1, values.size() - 1);
    return values[below] + (rank - static_cast<double>(below)) * (values[above] - values[below]);
}

double mean(const std::vector<float> &values) {
    return values.empty() ? 0.0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

} // namespace marlserve
