#include "marlserve/policy/json.h"

#include <stdexcept>

namespace marlserve {
namespace {

const char *const names[] = {"string", "boolean", "integer", "list", "map"};
constexpr int deepest = 64; // what follows looks at values by recursion
constexpr std::int64_t largest_size = std::int64_t{1} << 31;

bool is_of(const Json &value, Kind kind) {
    switch (kind) {
    case Kind::text: return value.is_string();
    case Kind::flag: return value.is_boolean();
    case Kind::whole: return value.is_number_integer();
    case Kind::list: return value.is_array();
    case Kind::map: return value.is_object();
    }
    return false;
}

} // namespace

Json parsed(const std::string &text, const std::string &what) {
    try {
        return Json::parse(text, [](int depth, Json::parse_event_t, Json &) {
            if (depth > deepest) throw std::invalid_argument("it is deeper than " + std::to_string(deepest) + " lists and maps");
            return true;
        });
    } catch (const std::exception &error) {
        throw std::invalid_argument(what + " cannot be read: " + error.what());
    }
}

const Json &taken(const Json &value, const std::string &key, Kind kind) {
    if (value.is_object()) {
        const auto found = value.find(key);
        if (found != value.end() && is_of(*found, kind)) return *found;
    }
    throw std::invalid_argument("'" + key + "' is missing, or it is no " + names[static_cast<int>(kind)]);
}

std::string text_of(const Json &value, const std::string &key) { return taken(value, key, Kind::text).get<std::string>(); }

bool flag_of(const Json &value, const std::string &key) { return taken(value, key, Kind::flag).get<bool>(); }

std::vector<std::string> names_of(const Json &value, const std::string &key) {
    std::vector<std::string> found;
    for (const Json &name : taken(value, key, Kind::list)) {
        if (!name.is_string()) throw std::invalid_argument("'" + key + "' has " + name.dump() + "; it must be names");
        found.push_back(name.get<std::string>());
    }
    return found;
}

std::vector<std::int64_t> sizes_of(const Json &list) {
    std::vector<std::int64_t> found;
    for (const Json &size : list) {
        if (!size.is_number_integer() || size.get<std::int64_t>() < 1 || size.get<std::int64_t>() > largest_size)
            throw std::invalid_argument(list.dump() + " are no sizes; they must be positive integers");
        found.push_back(size.get<std::int64_t>());
    }
    return found;
}

} // namespace marlserve
