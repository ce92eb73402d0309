#include "marlserve/policy/safetensors.h"

#include <cstring>
#include <stdexcept>

namespace marlserve {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie in the file");

constexpr std::size_t prefix = 8; // bytes, that say how long the header is

[[noreturn]] void broken(const std::string &why) { throw std::invalid_argument("the weights are broken: " + why); }

/* Where an array begins and ends, within the numbers. */
std::pair<std::size_t, std::size_t> place_of(const Json &about, std::size_t bytes) {
    const Json &offsets = taken(about, "data_offsets", Kind::list);
    if (offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
        broken("data_offsets are " + offsets.dump());
    const auto begin = offsets[0].get<std::size_t>(), end = offsets[1].get<std::size_t>();
    if (begin > end || end > bytes) broken("data_offsets are " + offsets.dump() + " of " + std::to_string(bytes) + " bytes");
    return {begin, end};
}

Shape shape_of(const Json &about) {
    Shape shape;
    for (const Json &size : taken(about, "shape", Kind::list)) {
        if (!size.is_number_unsigned()) broken("a shape is " + about["shape"].dump());
        shape.push_back(size.get<std::int64_t>());
    }
    return shape;
}

} // namespace

Arrays arrays_of(const std::string &file) {
    std::uint64_t header = 0;
    if (file.size() < prefix) broken("they have " + std::to_string(file.size()) + " bytes");
    std::memcpy(&header, file.data(), prefix);
    if (header > file.size() - prefix) broken("a header of " + std::to_string(header) + " bytes does not fit in");
    const std::size_t first = prefix + header, bytes = file.size() - first;
    const Json about = parsed(file.substr(prefix, header), "the header of the weights");
    if (!about.is_object()) broken("the header is no map");
    Arrays arrays;
    std::size_t used = 0;
    for (const auto &[name, entry] : about.items()) {
        if (name == "__metadata__") continue;
        if (text_of(entry, "dtype") != "F32") throw std::invalid_argument("weights '" + name + "' are " + text_of(entry, "dtype") + "; expected F32");
        const auto [begin, end] = place_of(entry, bytes);
        Array &array = arrays[name];
        array.shape = shape_of(entry);
        const auto count = static_cast<std::size_t>(product(array.shape));
        if (end - begin != count * sizeof(float)) broken("'" + name + "' has " + std::to_string(end - begin) + " bytes, and shape " + shown(array.shape));
        array.values.resize(count);
        if (count != 0) std::memcpy(array.values.data(), file.data() + first + begin, end - begin);
        used += end - begin;
    }
    if (used != bytes) broken("arrays have " + std::to_string(used) + " bytes of " + std::to_string(bytes));
    return arrays;
}

} // namespace marlserve
