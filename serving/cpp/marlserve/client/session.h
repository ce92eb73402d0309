/* What a client and the trainer have agreed upon: who it is, and the contract. */
#pragma once

#include "marlserve/client/contract.h"
#include "marlserve/client/wire.h"

#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace marlserve {

class Session {
  public:
    /* `agreed` is told of the contract, and how many steps may be on their way; see `Outbox::share`. */
    Session(const ClientSettings &settings, Wire &wire, std::function<void(const Contract &, std::uint64_t)> agreed);

    /* Say hello, unless that was done; CallFailed, and std::invalid_argument for a contract that this
     * client cannot keep, or for other spaces than those of the one before. */
    void hello();

    /* The trainer was started anew: it wants to hear it again. */
    void forget();

    std::shared_ptr<const Contract> contract() const;
    std::string unfit() const; // what is wrong with the latest contract

    const std::string client_id, id, policy;

  private:
    Wire &wire_;
    const std::function<void(const Contract &, std::uint64_t)> agreed_;
    mutable std::mutex hello_, lock_; // one hello at a time, and what follows is of `lock_`
    std::shared_ptr<const Contract> contract_;
    std::string unfit_;
    bool is_known_ = false;
};

} // namespace marlserve
