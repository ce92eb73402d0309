#include "marlserve/client/receiver.h"

#include <chrono>

namespace marlserve {

Receiver::Receiver(Wire &wire, Session &session, Patience &patience)
    : wire_(wire), session_(session), patience_(patience), thread_([this] { receive(); }) {}

std::shared_ptr<const Playing> Receiver::newest() const {
    const std::lock_guard<std::mutex> held(lock_);
    return newest_;
}

bool Receiver::wait(double timeout_s) const {
    std::unique_lock<std::mutex> held(lock_);
    return is_there_.wait_for(held, std::chrono::duration<double>(timeout_s), [&] { return newest_ != nullptr; });
}

void Receiver::receive() {
    while (patience_.done([this] { session_.hello(); }, Patience::Until::closing) && patience_.done([this] { listen(); }, Patience::Until::closing))
        continue;
}

/* Take policies as they come, until the line breaks. */
void Receiver::listen() {
    pb::PoliciesRequest request;
    request.set_client_id(session_.client_id);
    request.set_session(session_.id);
    request.set_policy(session_.policy);
    if (assembly_.latest()) {
        request.set_run(assembly_.latest()->run);
        request.set_have_version(static_cast<std::uint64_t>(assembly_.latest()->version));
    }
    try {
        wire_.policies(request, [this](const pb::PolicyPart &part) {
            if (!assembly_.add(part)) return;
            auto playing = std::make_shared<const Playing>(*assembly_.latest(), session_.contract()->seat);
            const std::lock_guard<std::mutex> held(lock_);
            newest_.swap(playing); // what was played goes when its last player lets it
            is_there_.notify_all();
        });
    } catch (const std::invalid_argument &) {
        assembly_ = Assembly(); // what is broken is asked for anew, and whole
        throw;
    }
}

} // namespace marlserve
