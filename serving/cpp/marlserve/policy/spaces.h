/* Spaces as JSON, as marlserve.policies.export.spaces writes them.
 *
 *     {"type": "Box", "shape": [10], "dtype": "float32", "low": 0.0, "high": null}
 *     {"type": "Discrete", "n": 3, "start": 0}
 *     {"type": "MultiDiscrete", "nvec": [3, 3], "start": [0, 0]}
 *
 * `low` and `high` are one number, or a flat list in C order; null stands for no bound.
 */
#pragma once

#include "marlserve/policy/json.h"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace marlserve {

using Shape = std::vector<std::int64_t>;

/* How many numbers it has; std::invalid_argument beyond 2^26. */
std::int64_t product(const Shape &shape);

/* As it is told: [3, 4]. */
std::string shown(const Shape &shape);

struct Box {
    Shape shape;
    std::string dtype;
    std::vector<double> low, high; // [size], infinite: no bound

    std::int64_t size() const { return product(shape); }
    bool is_bounded() const;
};

/* Actions of H components, each an index. */
struct Choices {
    bool is_single;                   // Discrete: H is 1, and an action is one index
    std::vector<std::int64_t> sizes;  // how many values each component has, [H]
    std::vector<std::int64_t> starts; // what is added to an index, [H]

    std::int64_t width() const; // A, the largest of `sizes`
};

using Space = std::variant<Box, Choices>;

/* How many outputs choose an action: H A, or the numbers of a Box. */
std::int64_t outputs_of(const Space &actions);

/* The space that this is; std::invalid_argument if it is none. */
Space space_of(const Json &value);

/* The same, of what must be a Box. */
Box box_of(const Json &value);

bool operator==(const Box &one, const Box &other);
bool operator==(const Choices &one, const Choices &other);

} // namespace marlserve
