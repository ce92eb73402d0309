/* Files of weights are looked at before they are used. */
#include "marlserve/policy/safetensors.h"
#include "saying.h"

#include <cstring>

namespace marlserve {
namespace {

std::string file_of(const std::string &header, const std::vector<float> &numbers) {
    const std::uint64_t length = header.size();
    std::string file(sizeof length, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    file += header;
    file.append(reinterpret_cast<const char *>(numbers.data()), numbers.size() * sizeof(float));
    return file;
}

TEST(Safetensors, ArraysAreRead) {
    const Arrays arrays = arrays_of(file_of(R"({"__metadata__": {"a": "b"}, "x": {"dtype": "F32", "shape": [2, 1], "data_offsets": [4, 12]},
                                               "y": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}})",
                                            {1, 2, 3}));
    EXPECT_EQ(arrays.size(), 2U);
    EXPECT_EQ(arrays.at("x").shape, (Shape{2, 1}));
    EXPECT_EQ(arrays.at("x").values, (std::vector<float>{2, 3}));
    EXPECT_EQ(arrays.at("y").values, (std::vector<float>{1}));
}

TEST(Safetensors, BrokenFilesAreRefused) {
    EXPECT_SAYS(arrays_of(""), "they have 0 bytes");
    EXPECT_SAYS(arrays_of(std::string(8, '\xff')), "does not fit in");
    EXPECT_SAYS(arrays_of(file_of("{", {})), "cannot be read");
    EXPECT_SAYS(arrays_of(file_of("[]", {})), "the header is no map");
    const auto one = [](const std::string &about) { return file_of("{\"x\": {" + about + "}}", {1, 2}); };
    EXPECT_SAYS(arrays_of(one(R"("dtype": "F16", "shape": [2], "data_offsets": [0, 8])")), "are F16; expected F32");
    EXPECT_SAYS(arrays_of(one(R"("dtype": "F32", "shape": [2])")), "'data_offsets' is missing");
    EXPECT_SAYS(arrays_of(one(R"("dtype": "F32", "shape": [3], "data_offsets": [0, 12])")), "of 8 bytes");
    EXPECT_SAYS(arrays_of(one(R"("dtype": "F32", "shape": [2], "data_offsets": [8, 0])")), "data_offsets are [8,0]");
    EXPECT_SAYS(arrays_of(one(R"("dtype": "F32", "shape": [2], "data_offsets": [-8, 0])")), "data_offsets are [-8,0]");
    EXPECT_SAYS(arrays_of(one(R"("dtype": "F32", "shape": [1], "data_offsets": [0, 8])")), "has 8 bytes, and shape [1]");
    EXPECT_SAYS(arrays_of(one(R"("dtype": "F32", "shape": [1], "data_offsets": [0, 4])")), "arrays have 4 bytes of 8");
    EXPECT_SAYS(arrays_of(one(R"("dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 8])")), "a shape is");
}

} // namespace
} // namespace marlserve
