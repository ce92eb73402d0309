#include "marlserve/policy/spaces.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>

namespace marlserve {
namespace {

const std::set<std::string> dtypes = {"float32", "float64", "int8", "int16", "int32", "uint8", "uint16"};
constexpr std::int64_t most_numbers = std::int64_t{1} << 26; // as many as a policy of 256 MiB has
constexpr std::int64_t most_bounds = std::int64_t{1} << 24;

std::vector<double> bounds_of(const Json &value, const char *key, std::int64_t size, double missing) {
    const auto found = value.find(key);
    if (found == value.end()) throw std::invalid_argument(std::string(key) + " is missing");
    const auto one = [&](const Json &bound) {
        if (bound.is_null()) return missing;
        if (bound.is_number()) return bound.get<double>();
        throw std::invalid_argument(std::string(key) + " has " + bound.dump() + "; it must be numbers or null");
    };
    if (!found->is_array()) return std::vector<double>(static_cast<std::size_t>(size), one(*found));
    if (found->size() != static_cast<std::size_t>(size))
        throw std::invalid_argument(std::string(key) + " has " + std::to_string(found->size()) + " numbers");
    std::vector<double> bounds;
    for (const Json &bound : *found) bounds.push_back(one(bound));
    return bounds;
}

Box told_box(const Json &value) {
    Box box;
    box.shape = sizes_of(taken(value, "shape", Kind::list));
    box.dtype = text_of(value, "dtype");
    if (dtypes.count(box.dtype) == 0) throw std::invalid_argument("dtype is '" + box.dtype + "'");
    if (box.size() > most_bounds) throw std::invalid_argument("shape is " + shown(box.shape) + "; allowed are " + std::to_string(most_bounds) + " numbers");
    const double infinity = std::numeric_limits<double>::infinity();
    box.low = bounds_of(value, "low", box.size(), -infinity);
    box.high = bounds_of(value, "high", box.size(), infinity);
    for (std::size_t i = 0; i < box.low.size(); i++)
        if (!(box.low[i] <= box.high[i])) throw std::invalid_argument("low is above high");
    return box;
}

Choices told_choices(const Json &value, bool is_single) {
    Choices choices{is_single, {}, {}};
    const Json list = is_single ? Json::array({taken(value, "n", Kind::whole)}) : taken(value, "nvec", Kind::list);
    const Json starts = is_single ? Json::array({taken(value, "start", Kind::whole)}) : taken(value, "start", Kind::list);
    choices.sizes = sizes_of(list);
    if (choices.sizes.empty() || starts.size() != choices.sizes.size())
        throw std::invalid_argument("there are " + std::to_string(starts.size()) + " starts of " + std::to_string(choices.sizes.size()));
    for (const Json &start : starts) {
        if (!start.is_number_integer()) throw std::invalid_argument("start is " + start.dump() + "; it must be integers");
        choices.starts.push_back(start.get<std::int64_t>());
    }
    product({static_cast<std::int64_t>(choices.sizes.size()), choices.width()});
    return choices;
}

} // namespace

std::int64_t product(const Shape &shape) {
    std::int64_t numbers = 1;
    for (const std::int64_t size : shape) {
        if (size < 0 || (size > 0 && numbers > most_numbers / size)) throw std::invalid_argument("a shape is " + shown(shape));
        numbers *= size;
    }
    return numbers;
}

std::string shown(const Shape &shape) { return Json(shape).dump(); }

bool Box::is_bounded() const {
    const auto finite = [](double bound) { return std::isfinite(bound); };
    return std::all_of(low.begin(), low.end(), finite) && std::all_of(high.begin(), high.end(), finite);
}

std::int64_t Choices::width() const { return *std::max_element(sizes.begin(), sizes.end()); }

std::int64_t outputs_of(const Space &actions) {
    if (const Box *box = std::get_if<Box>(&actions)) return box->size();
    const Choices &choices = std::get<Choices>(actions);
    return static_cast<std::int64_t>(choices.sizes.size()) * choices.width();
}

Space space_of(const Json &value) {
    try {
        const std::string type = text_of(value, "type");
        if (type == "Box") return told_box(value);
        if (type == "Discrete" || type == "MultiDiscrete") return told_choices(value, type == "Discrete");
        throw std::invalid_argument("type is '" + type + "'; allowed are Box, Discrete, MultiDiscrete");
    } catch (const std::invalid_argument &error) {
        throw std::invalid_argument(value.dump() + " is no space: " + error.what());
    }
}

Box box_of(const Json &value) {
    const Space space = space_of(value);
    if (const Box *box = std::get_if<Box>(&space)) return *box;
    throw std::invalid_argument("the observation space is " + value.dump() + "; it must be a Box");
}

bool operator==(const Box &one, const Box &other) {
    return one.shape == other.shape && one.dtype == other.dtype && one.low == other.low && one.high == other.high;
}

bool operator==(const Choices &one, const Choices &other) {
    return one.is_single == other.is_single && one.sizes == other.sizes && one.starts == other.starts;
}

} // namespace marlserve
