#include "marlserve/client/outbox.h"

#include "trainer.pb.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace marlserve {
namespace {

constexpr std::size_t most_fragments = 64; // that go at once
constexpr double look_s = 0.1;             // between two looks for rewards
constexpr double linger_s = 1.0;           // what is complete waits no longer for more of its kind
constexpr double soon_s = 0.001;

} // namespace

Outbox::Outbox(const ClientSettings &settings, std::shared_ptr<Books> books)
    : send_frequency_(static_cast<std::size_t>(settings.send_frequency)), fragment_steps_(static_cast<std::size_t>(settings.most_steps)),
      waits_(settings.when_full == WhenFull::wait), default_reward_(settings.default_reward), books_(std::move(books)),
      most_steps_(static_cast<std::size_t>(settings.buffer_steps)) {
    if (settings.when_full == WhenFull::spill) spill_ = std::make_unique<Spill>(settings.spill_folder, static_cast<std::uint64_t>(settings.spill_bytes));
}

void Outbox::put(std::shared_ptr<Recording> recording) {
    const std::size_t count = recording->count();
    std::unique_lock<std::mutex> held(lock_);
    if (waits_) changed_.wait(held, [&] { return !is_full(count) || is_closed_; });
    while (is_full(count)) make_room();
    if (is_over_) {
        lost_["unsent"] += count;
        books_->forget(recording->ids());
        return;
    }
    queue_.push_back(std::move(recording));
    steps_ += count;
    changed_.notify_all();
}

void Outbox::hold(const Contract &contract) {
    if (std::isinf(contract.most_staleness)) return;
    const std::lock_guard<std::mutex> held(lock_);
    const std::int64_t most = waits_ ? contract.capacity_steps : contract.capacity_steps / 2;
    most_steps_ = std::min(most_steps_, static_cast<std::size_t>(std::max<std::int64_t>(most, 1)));
}

void Outbox::share(std::uint64_t steps) {
    const std::lock_guard<std::mutex> held(lock_);
    share_ = std::min(static_cast<std::size_t>(steps), most_steps_);
    changed_.notify_all();
}

std::size_t Outbox::room(std::size_t episodes) {
    constexpr std::size_t any = std::numeric_limits<std::size_t>::max();
    if (!waits_) return any;
    std::unique_lock<std::mutex> held(lock_);
    beginners_++;
    changed_.notify_all();
    changed_.wait(held, [this] { return is_closed_ || share_ == 0 || on_its_way() <= share_ / 2; });
    beginners_--;
    if (share_ == 0) return any;
    return std::max<std::size_t>((share_ - std::min(share_, on_its_way())) / episodes, 1);
}

Outbox::Recordings Outbox::take(double timeout_s) {
    const double until_s = now_s() + timeout_s;
    std::unique_lock<std::mutex> held(lock_);
    under_way_ = 0;
    changed_.notify_all();
    std::size_t count = 0;
    while ((count = ready()) == 0 && !(spill_ && spill_->size() != 0)) {
        const double now = now_s();
        if (now >= until_s || is_closed_) return {};
        changed_.wait_for(held, std::chrono::duration<double>(std::min(until_s, next_s(now)) - now));
    }
    Recordings taken;
    while (count-- > 0) {
        taken.push_back(popped());
        under_way_ += taken.back()->count();
    }
    return taken;
}

std::vector<pb::Fragment> Outbox::take_spilled(const Contract &contract) {
    const std::lock_guard<std::mutex> held(lock_);
    if (!spill_) return {};
    std::size_t unreadable = 0;
    std::vector<pb::Fragment> taken = spill_->take(fragment_steps_, contract, &unreadable);
    if (unreadable != 0) lost_["unreadable"] += unreadable;
    return taken;
}

void Outbox::close() {
    const std::lock_guard<std::mutex> held(lock_);
    is_closed_ = true;
    changed_.notify_all();
}

void Outbox::give_up() {
    const std::lock_guard<std::mutex> held(lock_);
    is_over_ = true;
    if (steps_ != 0) lost_["unsent"] += steps_;
    for (const auto &recording : queue_) books_->forget(recording->ids());
    queue_.clear();
    steps_ = 0;
    changed_.notify_all();
}

void Outbox::lose(const std::string &reason, std::size_t steps) {
    const std::lock_guard<std::mutex> held(lock_);
    lost_[reason] += steps;
}

std::map<std::string, std::uint64_t> Outbox::lost() const {
    const std::lock_guard<std::mutex> held(lock_);
    return lost_;
}

std::uint64_t Outbox::all_lost() const {
    std::uint64_t all = 0;
    for (const auto &[reason, steps] : lost()) all += steps;
    return all;
}

std::uint64_t Outbox::defaulted() const {
    const std::lock_guard<std::mutex> held(lock_);
    return defaulted_;
}

/* Whether there is no room for so many steps more; one fragment has room in any case. */
bool Outbox::is_full(std::size_t count) const { return !queue_.empty() && steps_ + count > most_steps_; }

/* How many fragments have rewards that are known or due, from the first one on. */
std::size_t Outbox::known() const {
    const double now = now_s();
    std::size_t count = 0;
    while (count < std::min(queue_.size(), most_fragments) && (is_closed_ || queue_[count]->due_s() <= now || queue_[count]->is_complete())) count++;
    return count;
}

/* How many fragments may go now, from the first one on. */
std::size_t Outbox::ready() const {
    const std::size_t count = known();
    if (count == 0 || is_closed_ || count >= std::min(send_frequency_, most_fragments)) return count;
    return beginners_ != 0 || queue_.front()->closed_s() + linger_s <= now_s() ? count : 0;
}

/* Steps that nothing but the trainer keeps here. */
std::size_t Outbox::on_its_way() const {
    std::size_t steps = under_way_, count = known();
    while (count-- > 0) steps += queue_[count]->count();
    return steps;
}

/* The oldest fragment goes to the disk, or is lost. */
void Outbox::make_room() {
    const std::shared_ptr<Recording> oldest = popped();
    if (spill_) {
        pb::Fragment fragment;
        oldest->write(&fragment);
        if (spill_->put(fragment)) return;
    }
    lost_["full"] += oldest->count();
}

/* When to look again, if nothing comes in the meantime. */
double Outbox::next_s(double now_s) const {
    if (queue_.empty()) return std::numeric_limits<double>::infinity();
    const Recording &first = *queue_.front();
    if (!first.is_complete()) return std::min(std::max(first.due_s(), now_s + soon_s), now_s + look_s); // nobody says when its rewards are told
    return std::max(first.closed_s() + linger_s, now_s + soon_s);
}

/* The first fragment, sealed. */
std::shared_ptr<Recording> Outbox::popped() {
    const std::shared_ptr<Recording> first = queue_.front();
    queue_.pop_front();
    steps_ -= first->count();
    defaulted_ += first->seal(default_reward_);
    books_->forget(first->ids());
    changed_.notify_all();
    return first;
}

} // namespace marlserve
