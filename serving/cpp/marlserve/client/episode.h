/* The episodes of one agent, as the program lives through them, one after the other. */
#pragma once

#include "marlserve/client/decision.h"
#include "marlserve/client/link.h"
#include "marlserve/client/settings.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace marlserve {

/* What the episodes of a client have in common. */
struct Parts {
    ClientSettings settings;
    std::shared_ptr<Books> books;
    std::shared_ptr<Outbox> outbox;
    std::unique_ptr<Link> link;
    std::atomic<std::size_t> lives{0}; // episodes that have begun and are not over
};

/* Of one thread. */
class Episode {
  public:
    Episode(std::string agent, std::shared_ptr<Parts> parts, std::uint64_t seed);
    ~Episode() { abandon(); }
    Episode(const Episode &) = delete;
    Episode &operator=(const Episode &) = delete;

    /* What to do, given what is seen now. A newer policy is played at once; if it learns from its own
     * steps only, the fragment before ends here, so that none has two versions. With `WhenFull::wait` a
     * fragment begins once there is room for it, which is waited for here.
     *
     * observation    [*O], in C order
     * mask           which actions are legal, if the contract has masks, [A], all components' values
     *                end to end, or [H, A]; empty: all
     *
     * std::invalid_argument for an observation of another size, or not finite, a mask that is not asked
     * for, or allows nothing, and a trainer that learns for teams. */
    Decision act(const std::vector<float> &observation, const Mask &mask = {});

    /* The episode is over: nothing comes after the last action. */
    void terminate();

    /* It is only cut off here, and this is what is seen now; without it the last step is left out,
     * since nobody knows what it led to. std::invalid_argument as `act`. */
    void truncate(const std::vector<float> &observation, const Mask &mask = {});
    void truncate();

    /* The program stops in the midst of it: what is known is sent. */
    void abandon();

  private:
    Decision fallback(double start_s);
    void begin(const Playing &newest, std::size_t room);
    bool must_end(const Playing &newest) const;
    void close(Ending ending);
    void end(Ending ending);

    const std::string agent_;
    const std::shared_ptr<Parts> parts_;
    Mind mind_;
    std::shared_ptr<Life> life_;
    std::shared_ptr<Recording> recording_;
    std::size_t most_steps_ = 0; // of it
};

} // namespace marlserve
