#include "marlserve/client/messages.h"

#include "trainer.pb.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace marlserve {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers travel as they lie in memory");

template <class Number> void fill(pb::Array *to, pb::DType dtype, const std::vector<Number> &values, const Shape &shape) {
    to->set_dtype(dtype);
    for (const std::int64_t size : shape) to->add_shape(static_cast<std::uint32_t>(size));
    to->set_data(values.data(), values.size() * sizeof(Number));
}

template <class Number> void convert(pb::Array *to, pb::DType dtype, const std::vector<float> &values, const Shape &shape) {
    fill(to, dtype, std::vector<Number>(values.begin(), values.end()), shape);
}

/* What `apply` gives of the type by this name. */
template <class Apply> auto with_type(const std::string &dtype, Apply apply) {
    if (dtype == "float32") return apply(float{}, pb::FLOAT32);
    if (dtype == "float64") return apply(double{}, pb::FLOAT64);
    if (dtype == "int8") return apply(std::int8_t{}, pb::INT8);
    if (dtype == "int16") return apply(std::int16_t{}, pb::INT16);
    if (dtype == "int32") return apply(std::int32_t{}, pb::INT32);
    if (dtype == "uint8") return apply(std::uint8_t{}, pb::UINT8);
    if (dtype == "uint16") return apply(std::uint16_t{}, pb::UINT16);
    throw std::invalid_argument("dtype is '" + dtype + "', which does not travel");
}

} // namespace

void write(pb::Array *to, const std::vector<float> &values, const Shape &shape) { fill(to, pb::FLOAT32, values, shape); }
void write(pb::Array *to, const std::vector<double> &values, const Shape &shape) { fill(to, pb::FLOAT64, values, shape); }
void write(pb::Array *to, const std::vector<std::int64_t> &values, const Shape &shape) { fill(to, pb::INT64, values, shape); }
void write(pb::Array *to, const std::vector<std::uint8_t> &values, const Shape &shape) { fill(to, pb::UINT8, values, shape); }

void write_as(const std::string &dtype, pb::Array *to, const std::vector<float> &values, const Shape &shape) {
    with_type(dtype, [&](auto number, pb::DType code) { convert<decltype(number)>(to, code, values, shape); });
}

std::size_t first_unfit(const std::string &dtype, const std::vector<float> &values) {
    return with_type(dtype, [&](auto number, pb::DType) {
        using Limits = std::numeric_limits<decltype(number)>;
        const auto is_unfit = [](float value) {
            if (!Limits::is_integer) return !std::isfinite(value);
            // As double, which has all integers of up to 32 bits.
            return !(std::trunc(value) == value && value >= static_cast<double>(Limits::lowest()) && value <= static_cast<double>(Limits::max()));
        };
        return static_cast<std::size_t>(std::find_if(values.begin(), values.end(), is_unfit) - values.begin());
    });
}

} // namespace marlserve
