/* The threads that speak with the trainer: one sends what waits, one receives policies.
 *
 * The program is never in them. A trainer that is away is tried again, see `patience`; what is sent
 * twice, since an answer was lost, is learned from once.
 */
#pragma once

#include "marlserve/client/outbox.h"
#include "marlserve/client/playing.h"

#include <cstdint>
#include <memory>
#include <string>

namespace marlserve {

class Link {
  public:
    Link(const ClientSettings &settings, std::shared_ptr<Outbox> outbox, std::shared_ptr<const Books> books);
    ~Link();
    Link(const Link &) = delete;
    Link &operator=(const Link &) = delete;

    /* Null until the trainer has said it; then it stays. */
    std::shared_ptr<const Contract> contract() const;

    /* The newest policy; null until there is one. */
    std::shared_ptr<const Playing> newest() const;

    /* Wait until there is a policy; whether there is. */
    bool wait_for_policy(double timeout_s) const;

    std::uint64_t sent() const;  // steps that the trainer has taken
    std::string trouble() const; // why the trainer cannot be reached; "" while it can
    std::string unfit() const;   // what this client cannot do of what the trainer wants; "" if it can
    std::string refused() const; // what the trainer said of fragments that it did not take

    /* Send what waits, for so long at most, and hang up. */
    void close(double timeout_s);

  private:
    struct Threads;
    std::unique_ptr<Threads> threads_;
};

} // namespace marlserve
