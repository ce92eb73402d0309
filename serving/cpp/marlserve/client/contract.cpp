#include "marlserve/client/contract.h"

#include "marlserve/policy/network.h"
#include "trainer.pb.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace marlserve {
namespace {

Seat seat_of(const pb::Seat &message) {
    Seat seat;
    seat.observations = box_of(parsed(message.observation_space(), "the observation space"));
    seat.actions = space_of(parsed(message.action_space(), "the action space"));
    seat.masked = message.masked();
    seat.memory_size = message.memory_size();
    const Box *box = std::get_if<Box>(&seat.actions);
    if (box && (box->dtype != "float32" || seat.masked))
        throw std::invalid_argument("the action space is " + message.action_space() + "; a Box is of float32, and has no masks");
    return seat;
}

} // namespace

void Seat::check(const std::vector<float> &observation) const {
    if (observation.size() != static_cast<std::size_t>(observations.size()))
        throw std::invalid_argument("the observation has " + std::to_string(observation.size()) + " numbers; it must be " + shown(observations.shape));
    const std::size_t place = first_unfit(observations.dtype, observation);
    if (place != observation.size())
        throw std::invalid_argument("the observation has " + std::to_string(observation[place]) + "; it must be finite, and of " + observations.dtype);
}

Mask Seat::legal(const Mask &mask) const {
    const Choices *choices = std::get_if<Choices>(&actions);
    if (!mask.empty() && (!masked || !choices)) throw std::invalid_argument("there is a mask; this policy learns without");
    if (!choices || !masked) return {};
    const auto components = choices->sizes.size(), width = static_cast<std::size_t>(choices->width());
    const auto values = static_cast<std::size_t>(std::accumulate(choices->sizes.begin(), choices->sizes.end(), std::int64_t{0}));
    if (!mask.empty() && mask.size() != values && mask.size() != components * width)
        throw std::invalid_argument("the mask has " + std::to_string(mask.size()) + " values; it must be " + std::to_string(values));
    const bool is_padded = mask.size() == components * width;
    Mask found(components * width);
    for (std::size_t component = 0, at = 0; component < components; component++) {
        const auto size = static_cast<std::size_t>(choices->sizes[component]);
        const std::size_t row = component * width;
        for (std::size_t i = 0; i < size; i++) found[row + i] = mask.empty() || mask[is_padded ? row + i : at + i] ? 1 : 0;
        at += size;
        const auto begin = found.begin() + static_cast<std::ptrdiff_t>(row);
        if (std::find(begin, begin + static_cast<std::ptrdiff_t>(size), 1) == begin + static_cast<std::ptrdiff_t>(size))
            throw std::invalid_argument("the mask leaves nothing to choose of component " + std::to_string(component));
    }
    return found;
}

bool operator==(const Seat &one, const Seat &other) {
    return one.observations == other.observations && one.actions == other.actions && one.masked == other.masked;
}

Contract contract_of(const pb::Contract &message) {
    if (message.seats_size() != 1 || message.seats(0).agent() != anyone || message.state_size() != 0)
        throw std::invalid_argument("policy '" + message.policy() + "' is learned for agents that act together; the client in C++ is for one agent");
    Contract contract;
    contract.policy = message.policy();
    contract.seat = seat_of(message.seats(0));
    contract.on_policy = message.on_policy();
    contract.most_staleness = message.any_staleness() ? std::numeric_limits<double>::infinity() : message.most_staleness();
    contract.most_steps = message.most_steps();
    contract.capacity_steps = static_cast<std::int64_t>(std::min(message.capacity_steps(), std::uint64_t{1'000'000'000}));
    if (contract.most_steps < 1 || contract.capacity_steps < 1) throw std::invalid_argument("the contract takes no steps");
    for (const std::string &column : message.columns()) {
        if (column == "log_probabilities") contract.log_probabilities = true;
        else if (column == "outputs") contract.outputs = true;
        else throw std::invalid_argument("the contract asks for '" + column + "', which is unknown here");
    }
    return contract;
}

} // namespace marlserve
