#include "marlserve/client/policy_parts.h"

#include "trainer.pb.h"

#include <zlib.h>

#include <stdexcept>

namespace marlserve {
namespace {

constexpr std::size_t most_bytes = std::size_t{256} * 1024 * 1024;
constexpr std::size_t number = 4; // bytes

Published begun(const pb::PolicyHead &head) {
    Published policy;
    policy.run = head.run();
    policy.version = static_cast<std::int64_t>(head.version());
    policy.manifest = head.manifest();
    policy.epsilon = head.epsilon();
    if (!(policy.epsilon >= 0.0 && policy.epsilon <= 1.0)) throw std::invalid_argument("epsilon is " + std::to_string(policy.epsilon) + "; allowed is 0 to 1");
    for (const auto &[name, said] : head.noises())
        policy.noises[name] = {said.mean(), said.log_deviation(), {said.log_deviations().begin(), said.log_deviations().end()}, said.squash()};
    return policy;
}

} // namespace

bool Assembly::add(const pb::PolicyPart &part) {
    if (part.has_head()) {
        next_ = begun(part.head());
        since_version_ = part.head().since_version();
    }
    if (!next_) throw std::invalid_argument("a policy begins without its head");
    if (next_->weights.size() + part.weights().size() > most_bytes)
        throw std::invalid_argument("a policy has more than " + std::to_string(most_bytes) + " bytes");
    next_->weights += part.weights();
    if (!part.is_last()) return false;
    if (since_version_ != 0) {
        if (!latest_ || latest_->run != next_->run || latest_->version != static_cast<std::int64_t>(since_version_))
            throw std::invalid_argument("version " + std::to_string(since_version_) + " is changed, and is not there");
        next_->weights = applied(latest_->weights, next_->weights);
    }
    latest_ = std::move(next_);
    next_.reset();
    return true;
}

std::string applied(const std::string &old, const std::string &changes) {
    std::string planes(old.size() + 1, '\0'); // one more, to see whether there is too much
    uLongf bytes = planes.size();
    const int status = uncompress(reinterpret_cast<Bytef *>(planes.data()), &bytes, reinterpret_cast<const Bytef *>(changes.data()), changes.size());
    if (status != Z_OK) throw std::invalid_argument("what changed cannot be unpacked: zlib says " + std::to_string(status));
    if (bytes != old.size() || bytes % number != 0)
        throw std::invalid_argument("what changed is of " + std::to_string(bytes) + " bytes, and the policy of " + std::to_string(old.size()));
    // All first bytes of the numbers come first, then all second ones, and so on.
    std::string changed = old;
    const std::size_t count = old.size() / number;
    for (std::size_t plane = 0; plane < number; plane++)
        for (std::size_t i = 0; i < count; i++) changed[i * number + plane] = static_cast<char>(changed[i * number + plane] ^ planes[plane * count + i]);
    return changed;
}

} // namespace marlserve
