#include "marlserve/client/recording.h"

#include "trainer.pb.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace marlserve {
namespace {

constexpr double largest_reward = 1e9; // that the trainer takes, either way
constexpr float unknown = std::numeric_limits<float>::quiet_NaN();

template <class Number> void extend(std::vector<Number> &to, const std::vector<Number> &by) { to.insert(to.end(), by.begin(), by.end()); }

Shape rows_of(std::size_t rows, const Shape &shape) {
    Shape all = {static_cast<std::int64_t>(rows)};
    extend(all, shape);
    return all;
}

} // namespace

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Recording::Recording(std::shared_ptr<const Contract> contract, std::shared_ptr<Life> life, std::string run, std::vector<float> memory)
    : contract_(std::move(contract)), life_(std::move(life)), run_(std::move(run)), memory_(std::move(memory)), first_step_(life_->steps) {
    const auto size = static_cast<std::size_t>(contract_->seat.memory_size);
    if (memory_.size() != size) memory_.assign(size, 0.0F); // of no policy yet, or of another one
}

void Recording::see(const std::vector<float> &observation, const Mask &legal) {
    observations_.resize(count_ * observation.size()); // without what was seen last before a step was taken back
    extend(observations_, observation);
    masks_.resize(count_ * legal.size());
    extend(masks_, legal);
}

std::size_t Recording::add(const Choice &choice, std::int64_t version, std::uint64_t id) {
    extend(choices_, choice.action.choices);
    extend(numbers_, choice.action.numbers);
    log_probabilities_.push_back(static_cast<float>(choice.log_probability));
    if (contract_->outputs) extend(outputs_, choice.outputs);
    versions_.push_back(version);
    times_s_.push_back(now_s());
    ids_.push_back(id);
    const std::lock_guard<std::mutex> held(lock_);
    rewards_.push_back(unknown);
    return count_++;
}

void Recording::take_back() {
    const auto drop = [](auto &column, std::size_t width) { column.resize(column.size() - width); };
    const std::lock_guard<std::mutex> held(lock_);
    const std::size_t steps = count_--;
    for (auto *column : {&choices_, &versions_}) drop(*column, column->size() / steps);
    for (auto *column : {&numbers_, &log_probabilities_, &outputs_}) drop(*column, column->size() / steps);
    times_s_.pop_back();
    if (!std::isnan(rewards_.back())) known_--;
    rewards_.pop_back();
}

void Recording::close(Ending ending, double deadline_s) {
    const auto repeat_last = [steps = count_.load()](auto &column) {
        const std::size_t width = column.size() / steps;
        for (std::size_t i = 0; i < width; i++) column.push_back(column[column.size() - width]);
    };
    const auto size = static_cast<std::size_t>(contract_->seat.observations.size());
    if (observations_.size() == count_ * size) { // nobody needs to know what is seen after the end
        repeat_last(observations_);
        repeat_last(masks_);
    }
    ending_ = ending;
    closed_s_ = now_s();
    due_s_ = closed_s_ + deadline_s;
    life_->steps += count_;
}

bool Recording::tell(std::size_t index, double reward) {
    if (!(std::abs(reward) <= largest_reward))
        throw std::invalid_argument("the reward is " + std::to_string(reward) + "; it must be finite, and within 1e9 either way");
    const std::lock_guard<std::mutex> held(lock_);
    if (is_sealed_ || index >= count_) return false;
    if (std::isnan(rewards_[index])) known_++;
    rewards_[index] = static_cast<float>(reward);
    return true;
}

std::size_t Recording::seal(double default_reward) {
    const std::lock_guard<std::mutex> held(lock_);
    is_sealed_ = true;
    return_before_ = life_->earned;
    for (float &reward : rewards_) {
        if (std::isnan(reward)) reward = static_cast<float>(default_reward);
        life_->earned += reward;
    }
    return count_ - known_;
}

void Recording::write(pb::Fragment *to) const {
    const Seat &seat = contract_->seat;
    const auto rows = static_cast<std::int64_t>(count_);
    to->set_agent(life_->agent);
    to->set_episode(life_->episode);
    to->set_first_step(first_step_);
    to->set_ending(ending_ == Ending::goes_on ? pb::GOES_ON : ending_ == Ending::terminated ? pb::TERMINATED : pb::TRUNCATED);
    to->set_run(run_);
    marlserve::write(to->mutable_versions(), versions_, {rows});
    marlserve::write(to->mutable_times_s(), times_s_, {rows});
    pb::Part *part = to->add_parts();
    part->set_return_before(return_before_);
    write_as(seat.observations.dtype, part->mutable_observations(), observations_, rows_of(count_ + 1, seat.observations.shape));
    std::vector<float> log_probabilities = log_probabilities_;
    if (const Choices *choices = std::get_if<Choices>(&seat.actions)) {
        const auto components = static_cast<std::int64_t>(choices->sizes.size());
        marlserve::write(part->mutable_actions(), choices_, choices->is_single ? Shape{rows} : Shape{rows, components});
        if (seat.masked) marlserve::write(part->mutable_masks(), masks_, {rows + 1, components, choices->width()});
        for (float &chance : log_probabilities) chance = std::min(chance, 0.0F); // which rounding may carry beyond it
    } else {
        marlserve::write(part->mutable_actions(), numbers_, rows_of(count_, std::get<Box>(seat.actions).shape));
    }
    marlserve::write(part->mutable_rewards(), rewards_, {rows});
    if (contract_->log_probabilities) marlserve::write(part->mutable_log_probabilities(), log_probabilities, {rows});
    if (contract_->outputs) marlserve::write(part->mutable_outputs(), outputs_, {rows, outputs_of(seat.actions)});
    if (seat.memory_size != 0) marlserve::write(part->mutable_memory(), memory_, {seat.memory_size});
}

} // namespace marlserve
