#include "marlserve/client/episode.h"

#include <algorithm>
#include <stdexcept>

namespace marlserve {

Episode::Episode(std::string agent, std::shared_ptr<Parts> parts, std::uint64_t seed) : agent_(std::move(agent)), parts_(std::move(parts)) {
    mind_.random.seed(seed);
}

Decision Episode::act(const std::vector<float> &observation, const Mask &mask) {
    const double start_s = now_s();
    std::shared_ptr<const Playing> newest = parts_->link->newest();
    if (!newest) return fallback(start_s);
    const std::shared_ptr<const Contract> contract = parts_->link->contract();
    contract->seat.check(observation);
    const Mask legal = contract->seat.legal(mask);
    if (recording_ && must_end(*newest)) {
        recording_->see(observation, legal);
        close(Ending::goes_on);
    }
    if (!recording_) {
        const std::size_t room = parts_->outbox->room(parts_->lives + (life_ ? 0 : 1));
        newest = parts_->link->newest(); // another one, if it came while there was no room
        begin(*newest, room);
    }
    Choice choice = newest->choose(agent_, observation, legal, mind_);
    Books &books = *parts_->books;
    const std::uint64_t id = books.new_id();
    recording_->see(observation, legal);
    const Place place{recording_, recording_->add(choice, newest->version(), id)};
    books.decided(id, place, now_s() - start_s);
    return {parts_->books, id, std::move(choice.told), newest->version(), choice.log_probability, place};
}

void Episode::terminate() { end(Ending::terminated); }

void Episode::truncate(const std::vector<float> &observation, const Mask &mask) {
    if (recording_) {
        const Seat &seat = parts_->link->contract()->seat;
        seat.check(observation);
        recording_->see(observation, seat.legal(mask));
    }
    end(Ending::truncated);
}

void Episode::truncate() {
    if (recording_) recording_->take_back();
    end(Ending::truncated);
}

void Episode::abandon() {
    if (recording_) truncate();
}

Decision Episode::fallback(double start_s) {
    const std::string unfit = parts_->link->unfit();
    if (!unfit.empty()) throw std::invalid_argument(unfit);
    Books &books = *parts_->books;
    books.fell_back();
    const std::uint64_t id = books.new_id();
    books.took(now_s() - start_s);
    return {parts_->books, id, parts_->settings.fallback_action, 0, 0.0, {}};
}

void Episode::begin(const Playing &newest, std::size_t room) {
    const std::shared_ptr<const Contract> contract = parts_->link->contract();
    if (!life_) {
        life_ = std::make_shared<Life>();
        life_->agent = agent_;
        life_->episode = parts_->books->new_episode();
        parts_->lives++;
        mind_.memory.clear();
    }
    most_steps_ = std::min(static_cast<std::size_t>(std::min(parts_->settings.most_steps, contract->most_steps)), room);
    recording_ = std::make_shared<Recording>(contract, life_, newest.run(), mind_.memory);
}

/* Whether the next step belongs to another fragment. */
bool Episode::must_end(const Playing &newest) const {
    if (recording_->count() == most_steps_ || recording_->run() != newest.run()) return true;
    return parts_->link->contract()->on_policy && recording_->version() != newest.version();
}

void Episode::close(Ending ending) {
    const std::shared_ptr<Recording> closed = std::move(recording_);
    recording_.reset();
    if (!closed) return;
    if (closed->count() == 0) {
        parts_->books->forget(closed->ids());
        return;
    }
    closed->close(ending, parts_->settings.reward_deadline_s);
    parts_->outbox->put(closed);
}

void Episode::end(Ending ending) {
    close(ending);
    if (life_) parts_->lives--;
    life_.reset();
}

} // namespace marlserve
