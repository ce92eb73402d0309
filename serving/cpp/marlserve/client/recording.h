/* A fragment: while it is being made its steps are added one by one, and its rewards when they come;
 * then it waits, and is sealed, which makes it what is learned from.
 */
#pragma once

#include "marlserve/client/playing.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace marlserve {

/* What the fragments of one episode have in common. */
struct Life {
    std::string agent;
    std::uint64_t episode = 0;
    std::uint64_t steps = 0; // of fragments that are closed
    double earned = 0.0;     // in those that are sealed
};

enum class Ending { goes_on, terminated, truncated };

double now_s(); // by a clock that never goes back

class Recording {
  public:
    /* `run` is that of the policies, and `memory` what the network remembers before the first step. */
    Recording(std::shared_ptr<const Contract> contract, std::shared_ptr<Life> life, std::string run, std::vector<float> memory);

    // By the program, while it is being made --------------------------------------------------------

    /* What is seen before the next step, or after the last one. */
    void see(const std::vector<float> &observation, const Mask &legal);

    /* One step, with what was seen before it; its index. */
    std::size_t add(const Choice &choice, std::int64_t version, std::uint64_t id);

    /* Leave the last step out; what was seen before it is what is seen last. */
    void take_back();

    /* There are no more steps. */
    void close(Ending ending, double deadline_s);

    // By any thread ---------------------------------------------------------------------------------

    /* What came of a step, in place of what was said before; false if it is too late. */
    bool tell(std::size_t index, double reward);

    bool is_complete() const { return known_ == count_; } // all rewards are known

    // Of whoever sends it ---------------------------------------------------------------------------

    /* Now rewards come too late; how many are the default. Fragments of a life are sealed in order. */
    std::size_t seal(double default_reward);

    /* As it is sent, once it is sealed. */
    void write(pb::Fragment *to) const;

    std::size_t count() const { return count_; }
    std::int64_t version() const { return versions_.back(); }
    const std::string &run() const { return run_; }
    const std::vector<std::uint64_t> &ids() const { return ids_; } // of decisions
    double closed_s() const { return closed_s_; }
    double due_s() const { return due_s_; } // when it is sealed at the latest

  private:
    std::shared_ptr<const Contract> contract_;
    std::shared_ptr<Life> life_;
    std::string run_;
    std::vector<float> memory_;
    std::uint64_t first_step_;
    Ending ending_ = Ending::goes_on;
    double closed_s_ = 0.0, due_s_ = 0.0, return_before_ = 0.0;

    std::vector<float> observations_; // [T + 1, *O]
    Mask masks_;                      // [T + 1, H, A]
    std::vector<std::int64_t> choices_, versions_;
    std::vector<float> numbers_, log_probabilities_, outputs_;
    std::vector<double> times_s_;
    std::vector<std::uint64_t> ids_;

    mutable std::mutex lock_;
    std::vector<float> rewards_; // NaN until they are known
    std::atomic<std::size_t> count_{0}, known_{0};
    bool is_sealed_ = false;
};

} // namespace marlserve
