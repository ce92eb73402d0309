#include "marlserve/client/agent.h"

#include <algorithm>
#include <random>

namespace marlserve {
namespace {

std::shared_ptr<Parts> parts_of(const ClientSettings &settings) {
    settings.check();
    auto parts = std::make_shared<Parts>();
    parts->settings = settings;
    parts->books = std::make_shared<Books>();
    parts->outbox = std::make_shared<Outbox>(settings, parts->books);
    parts->link = std::make_unique<Link>(settings, parts->outbox, parts->books);
    return parts;
}

} // namespace

Agent::Agent(const ClientSettings &settings)
    : parts_(parts_of(settings)), next_seed_(settings.seed.value_or((std::uint64_t{std::random_device{}()} << 32) ^ std::random_device{}())), own_(episode()) {}

std::shared_ptr<Episode> Agent::episode(const std::string &agent) {
    const std::lock_guard<std::mutex> held(lock_);
    auto made = std::make_shared<Episode>(agent, parts_, next_seed_++);
    episodes_.erase(std::remove_if(episodes_.begin(), episodes_.end(), [](const auto &each) { return each.expired(); }), episodes_.end());
    episodes_.push_back(made);
    return made;
}

bool Agent::reward(std::uint64_t decision_id, double value) {
    const std::optional<Place> place = parts_->books->open(decision_id);
    if (place && place->recording->tell(place->index, value)) return true;
    parts_->books->was_late();
    return false;
}

void Agent::close(double timeout_s) {
    const std::lock_guard<std::mutex> held(lock_);
    for (const std::weak_ptr<Episode> &each : episodes_)
        if (const std::shared_ptr<Episode> episode = each.lock()) episode->abandon();
    parts_->link->close(timeout_s);
}

} // namespace marlserve
