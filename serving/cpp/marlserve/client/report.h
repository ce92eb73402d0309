/* How the client is doing, as the trainer is told. */
#pragma once

#include "marlserve/client/outbox.h"

namespace marlserve {

void report(const Books &books, const Outbox &outbox, pb::Report *to);

/* The value below which this share of them lies, by linear interpolation; 0 of none. */
double percentile(std::vector<float> values, double share);

double mean(const std::vector<float> &values); // 0 of none

} // namespace marlserve
