#include "marlserve/client/link.h"

#include "marlserve/client/sender.h"

#include <iostream>

namespace marlserve {
namespace {

std::function<void(const std::string &)> log_of(const ClientSettings &settings) {
    const auto log = settings.log ? settings.log : [](const std::string &line) { std::clog << line << std::endl; };
    return [log, where = "the trainer at " + settings.address + ": "](const std::string &what) { log(where + what); };
}

} // namespace

struct Link::Threads {
    Threads(const ClientSettings &settings, std::shared_ptr<Outbox> given, std::shared_ptr<const Books> kept)
        : outbox(std::move(given)), books(std::move(kept)), patience(log_of(settings)), wire(settings),
          session(settings, wire,
                  [this](const Contract &contract, std::uint64_t share_steps) {
                      outbox->hold(contract);
                      outbox->share(share_steps);
                  }),
          receiver(wire, session, patience), sender(wire, session, patience, receiver, *outbox, *books, log_of(settings)) {}

    void close(double timeout_s) {
        if (is_closed) return;
        is_closed = true;
        patience.close(timeout_s);
        outbox->close();
        sender.wait(timeout_s);
        wire.hang_up();
        sender.join();
        receiver.join();
        outbox->give_up();
    }

    const std::shared_ptr<Outbox> outbox;
    const std::shared_ptr<const Books> books;
    bool is_closed = false;
    Patience patience;
    Wire wire;
    Session session;
    Receiver receiver;
    Sender sender;
};

Link::Link(const ClientSettings &settings, std::shared_ptr<Outbox> outbox, std::shared_ptr<const Books> books)
    : threads_(std::make_unique<Threads>(settings, std::move(outbox), std::move(books))) {}

Link::~Link() { close(0.0); }

std::shared_ptr<const Contract> Link::contract() const { return threads_->session.contract(); }

std::shared_ptr<const Playing> Link::newest() const { return threads_->receiver.newest(); }

bool Link::wait_for_policy(double timeout_s) const { return threads_->receiver.wait(timeout_s); }

std::uint64_t Link::sent() const { return threads_->sender.sent(); }

std::string Link::trouble() const { return threads_->patience.trouble(); }

std::string Link::unfit() const { return threads_->session.unfit(); }

std::string Link::refused() const { return threads_->sender.refused(); }

void Link::close(double timeout_s) { threads_->close(timeout_s); }

} // namespace marlserve
