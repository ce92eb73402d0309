/* Policies are put together of parts, or of what changed. */
#include "marlserve/client/policy_parts.h"

#include "saying.h"
#include "trainer.pb.h"

#include <zlib.h>

namespace marlserve {
namespace {

/* What serving/wire/policy_diff.py makes of these. */
std::string difference(const std::string &old, const std::string &fresh) {
    std::string planes;
    for (std::size_t plane = 0; plane < 4; plane++)
        for (std::size_t i = plane; i < old.size(); i += 4) planes += static_cast<char>(old[i] ^ fresh[i]);
    uLongf size = compressBound(planes.size());
    std::string packed(size, '\0');
    compress(reinterpret_cast<Bytef *>(packed.data()), &size, reinterpret_cast<const Bytef *>(planes.data()), planes.size());
    packed.resize(size);
    return packed;
}

pb::PolicyPart part(std::uint64_t version, const std::string &weights, std::uint64_t since = 0, bool is_last = true) {
    pb::PolicyPart made;
    made.mutable_head()->set_run("run");
    made.mutable_head()->set_version(version);
    made.mutable_head()->set_since_version(since);
    made.set_weights(weights);
    made.set_is_last(is_last);
    return made;
}

TEST(PolicyParts, PartsArePutTogether) {
    Assembly assembly;
    EXPECT_FALSE(assembly.add(part(1, "ab", 0, false)));
    EXPECT_FALSE(assembly.latest());
    pb::PolicyPart rest;
    rest.set_weights("cd");
    rest.set_is_last(true);
    EXPECT_TRUE(assembly.add(rest));
    EXPECT_EQ(assembly.latest()->weights, "abcd");
    EXPECT_SAYS(assembly.add(rest), "begins without its head");
}

TEST(PolicyParts, WhatChangedIsEnough) {
    Assembly assembly;
    const std::string old = "abcdefgh", fresh = "abcxefgy";
    assembly.add(part(1, old));
    EXPECT_TRUE(assembly.add(part(2, difference(old, fresh), 1)));
    EXPECT_EQ(assembly.latest()->weights, fresh);
    EXPECT_EQ(assembly.latest()->version, 2);
    EXPECT_SAYS(assembly.add(part(3, difference(old, fresh), 1)), "version 1 is changed, and is not there");
}

TEST(PolicyParts, WhatIsBrokenIsRefused) {
    EXPECT_SAYS(applied("abcd", "nonsense"), "cannot be unpacked");
    EXPECT_SAYS(applied("abcd", difference("abcdefgh", "abcdefgh")), "cannot be unpacked"); // it has more
    EXPECT_SAYS(applied("abcdefgh", difference("abcd", "abcd")), "is of 4 bytes, and the policy of 8");
    pb::PolicyPart odd = part(1, "");
    odd.mutable_head()->set_epsilon(2.0);
    EXPECT_SAYS(Assembly().add(odd), "epsilon is 2");
}

} // namespace
} // namespace marlserve
