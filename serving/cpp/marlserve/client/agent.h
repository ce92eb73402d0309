/* What a program under control holds: it is asked for actions, and told what came of them.
 *
 *     marlserve::ClientSettings settings;
 *     settings.address = "127.0.0.1:50051", settings.policy = "scheduler";
 *     marlserve::Agent agent(settings);
 *     while (...) {
 *         const marlserve::Decision decision = agent.act(observation); // std::vector<float>
 *         decision.reward(carry_out(decision.action.choice()));        // a Box has action.numbers
 *     }
 *     agent.terminate();                                               // or truncate(observation)
 *     agent.close();
 *
 * A decision is made here, by the newest policy that has arrived; nothing in it waits for the network
 * or the trainer. Rewards may come later, by `decision.reward` or `agent.reward(decision.id, ...)`, as
 * long as the settings wait for them. Programs with episodes side by side have an `agent.episode(name)`
 * for each; different ones may be in different threads.
 *
 * It is the client of marlserve.serving.client for one agent: teams only the one in Python has.
 * Observations are float32 here, whatever the space says.
 */
#pragma once

#include "marlserve/client/episode.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace marlserve {

class Agent {
  public:
    /* std::invalid_argument for settings out of range, a certificate that cannot be read, and a folder
     * that cannot be made. */
    explicit Agent(const ClientSettings &settings);
    ~Agent() { close(); }
    Agent(const Agent &) = delete;
    Agent &operator=(const Agent &) = delete;

    /* A place for the episodes of one agent, one after the other. */
    std::shared_ptr<Episode> episode(const std::string &agent = "agent");

    /* What to do, and that the episode is over; see `Episode`. */
    Decision act(const std::vector<float> &observation, const Mask &mask = {}) { return own_->act(observation, mask); }
    void terminate() { own_->terminate(); }
    void truncate(const std::vector<float> &observation, const Mask &mask = {}) { own_->truncate(observation, mask); }
    void truncate() { own_->truncate(); }

    /* What came of a decision; false if its steps are gone. Raises as `Decision::reward`. */
    bool reward(std::uint64_t decision_id, double value);

    /* Wait until there is a policy; whether there is. */
    bool wait_for_policy(double timeout_s) const { return link().wait_for_policy(timeout_s); }

    /* Send what waits, unfinished episodes included, for so long at most. No episode is in use by then. */
    void close(double timeout_s = 10.0);

    const Books &books() const { return *parts_->books; }    // how many decisions, and how fast
    const Outbox &outbox() const { return *parts_->outbox; } // what waits to be sent, and what was lost
    const Link &link() const { return *parts_->link; }       // how it is with the trainer

  private:
    const std::shared_ptr<Parts> parts_;
    std::uint64_t next_seed_;
    std::mutex lock_; // of the episodes
    std::vector<std::weak_ptr<Episode>> episodes_;
    std::shared_ptr<Episode> own_;
};

} // namespace marlserve
