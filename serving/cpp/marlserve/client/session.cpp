#include "marlserve/client/session.h"

#include <random>
#include <sstream>

namespace marlserve {
namespace {

constexpr std::uint32_t protocol = 1;
constexpr double hello_s = 30.0;

/* Another one each time that the program starts. */
std::string new_id() {
    std::random_device random;
    std::ostringstream id;
    id << std::hex << random() << '-' << random();
    return id.str();
}

} // namespace

Session::Session(const ClientSettings &settings, Wire &wire, std::function<void(const Contract &, std::uint64_t)> agreed)
    : client_id(settings.client_id.empty() ? settings.policy : settings.client_id), id(new_id()), policy(settings.policy), wire_(wire),
      agreed_(std::move(agreed)) {}

void Session::hello() {
    const std::lock_guard<std::mutex> one(hello_);
    {
        const std::lock_guard<std::mutex> held(lock_);
        if (is_known_) return;
    }
    pb::HelloRequest request;
    request.set_protocol(protocol);
    request.set_client_id(client_id);
    request.set_session(id);
    request.set_policy(policy);
    const pb::Welcome welcome = wire_.hello(request, hello_s);
    std::shared_ptr<const Contract> told;
    try {
        told = std::make_shared<const Contract>(contract_of(welcome.contract()));
        const std::shared_ptr<const Contract> before = contract();
        if (before && !(before->seat == told->seat)) throw std::invalid_argument("policy '" + policy + "' is for other spaces than before");
    } catch (const std::invalid_argument &error) {
        const std::lock_guard<std::mutex> held(lock_);
        unfit_ = error.what();
        throw;
    }
    agreed_(*told, welcome.share_steps());
    const std::lock_guard<std::mutex> held(lock_);
    contract_ = std::move(told);
    unfit_.clear();
    is_known_ = true;
}

void Session::forget() {
    const std::lock_guard<std::mutex> held(lock_);
    is_known_ = false;
}

std::shared_ptr<const Contract> Session::contract() const {
    const std::lock_guard<std::mutex> held(lock_);
    return contract_;
}

std::string Session::unfit() const {
    const std::lock_guard<std::mutex> held(lock_);
    return unfit_;
}

} // namespace marlserve
