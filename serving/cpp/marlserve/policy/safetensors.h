/* Arrays of float32 by their names, from the bytes of a file of the safetensors format: the length of
 * a header as 8 little-endian bytes; the header, JSON; and the numbers of all arrays, without a gap.
 */
#pragma once

#include "marlserve/policy/spaces.h"

#include <map>
#include <string>
#include <vector>

namespace marlserve {

struct Array {
    Shape shape;
    std::vector<float> values; // in C order
};

using Arrays = std::map<std::string, Array>;

/* What the file holds; std::invalid_argument if it is broken, or has other numbers than float32. */
Arrays arrays_of(const std::string &file);

} // namespace marlserve
