/* Arrays as messages, as marlserve.serving.wire.arrays has them; and the messages by a shorter name,
 * for headers that need no more of them.
 */
#pragma once

#include "marlserve/policy/spaces.h"

#include <cstdint>
#include <string>
#include <vector>

namespace marlserve::trainer::v1 {
class Array;
class Contract;
class Fragment;
class PolicyPart;
class Report;
} // namespace marlserve::trainer::v1

namespace marlserve {

namespace pb = trainer::v1;

/* The numbers, in C order, as a message of their own type. */
void write(pb::Array *to, const std::vector<float> &values, const Shape &shape);
void write(pb::Array *to, const std::vector<double> &values, const Shape &shape);
void write(pb::Array *to, const std::vector<std::int64_t> &values, const Shape &shape);
void write(pb::Array *to, const std::vector<std::uint8_t> &values, const Shape &shape);

/* The same, as numbers of another type, which has room for them. */
void write_as(const std::string &dtype, pb::Array *to, const std::vector<float> &values, const Shape &shape);

/* The place of the first value that numbers of this type have no room for: one that is not finite, and of
 * integers also one that is not whole, or out of their range; else how many values there are. */
std::size_t first_unfit(const std::string &dtype, const std::vector<float> &values);

} // namespace marlserve
