#include "marlserve/client/sender.h"

#include "marlserve/client/report.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

namespace marlserve {
namespace {

constexpr double report_s = 2.0;                    // without anything to send
constexpr double push_s = 30.0;                     // a push waits that long for room in the queue, then it is tried again
constexpr double least_s = 0.1;
constexpr std::size_t push_bytes = 4 * 1024 * 1024; // unless a single fragment has more

std::size_t steps_of(const pb::Fragment &fragment) { return fragment.versions().shape(0); }

std::int64_t first_version(const pb::Fragment &fragment) {
    std::int64_t version = 0;
    std::memcpy(&version, fragment.versions().data().data(), sizeof version);
    return version;
}

} // namespace

Sender::Sender(Wire &wire, Session &session, Patience &patience, const Receiver &receiver, Outbox &outbox, const Books &books,
               std::function<void(const std::string &)> log)
    : wire_(wire), session_(session), patience_(patience), receiver_(receiver), outbox_(outbox), books_(books), log_(std::move(log)), thread_([this] {
          send();
          end_.set_value();
      }) {}

std::string Sender::refused() const {
    const std::lock_guard<std::mutex> held(lock_);
    return refused_;
}

void Sender::send() {
    while (patience_.done([this] { session_.hello(); }, Patience::Until::flushed)) {
        const bool is_last = patience_.is_closing(); // then the outbox is closed, and nothing comes any more
        std::vector<pb::Fragment> fragments = taken();
        if (fragments.empty() && is_last) return;
        fragments.erase(std::remove_if(fragments.begin(), fragments.end(), [this](const auto &each) { return !is_fresh(each); }), fragments.end());
        for (pb::PushRequest &request : requests(std::move(fragments))) {
            if (patience_.done([&] { push(request); }, Patience::Until::flushed)) continue;
            for (const pb::Fragment &fragment : request.fragments()) outbox_.lose("unsent", steps_of(fragment));
        }
    }
}

/* What is to be sent next, with what waited on the disk before the rest. */
std::vector<pb::Fragment> Sender::taken() {
    const Outbox::Recordings recordings = outbox_.take(report_s);
    std::vector<pb::Fragment> fragments = outbox_.take_spilled(*session_.contract());
    for (const auto &recording : recordings) {
        fragments.emplace_back();
        recording->write(&fragments.back());
    }
    return fragments;
}

/* Whether it can still be learned from, as far as is known here; else it is lost. */
bool Sender::is_fresh(const pb::Fragment &fragment) {
    const std::shared_ptr<const Playing> newest = receiver_.newest();
    const double most = session_.contract()->most_staleness;
    if (!newest || std::isinf(most)) return true;
    std::string reason;
    if (fragment.run() != newest->run()) reason = "other_run";
    else if (static_cast<double>(newest->version() - first_version(fragment)) > most) reason = "stale";
    if (!reason.empty()) outbox_.lose(reason, steps_of(fragment));
    return reason.empty();
}

/* Pushes that are not too large; a single one, of nothing, if there is nothing to be sent. */
std::vector<pb::PushRequest> Sender::requests(std::vector<pb::Fragment> fragments) {
    pb::PushRequest empty;
    empty.set_client_id(session_.client_id);
    empty.set_session(session_.id);
    std::vector<pb::PushRequest> requests(1, empty);
    std::size_t size = 0;
    for (pb::Fragment &fragment : fragments) {
        fragment.set_number(++number_);
        const std::size_t bytes = fragment.ByteSizeLong();
        size += bytes;
        if (size > push_bytes && requests.back().fragments_size() != 0) {
            requests.push_back(empty);
            size = bytes;
        }
        *requests.back().add_fragments() = std::move(fragment);
    }
    return requests;
}

/* Hand its fragments over, and say how the client is doing. */
void Sender::push(pb::PushRequest &request) {
    request.clear_report();
    report(books_, outbox_, request.mutable_report());
    pb::Receipt receipt;
    try {
        receipt = wire_.push(request, std::min(push_s, std::max(patience_.left_s(), least_s)));
    } catch (const CallFailed &failed) {
        if (failed.code == grpc::StatusCode::FAILED_PRECONDITION) { // the trainer was started anew
            session_.forget();
            session_.hello();
        } else if (failed.code == grpc::StatusCode::RESOURCE_EXHAUSTED || failed.code == grpc::StatusCode::INVALID_ARGUMENT) {
            for (const pb::Fragment &fragment : request.fragments()) refuse(fragment, "refused", failed.details);
            return;
        }
        throw;
    }
    outbox_.share(receipt.share_steps());
    std::map<std::uint64_t, const pb::Refusal *> refusals;
    for (const pb::Refusal &refusal : receipt.refusals()) refusals[refusal.number()] = &refusal;
    for (const pb::Fragment &fragment : request.fragments()) {
        const auto found = refusals.find(fragment.number());
        if (found == refusals.end()) sent_ += steps_of(fragment);
        else refuse(fragment, found->second->reason(), found->second->what());
    }
}

void Sender::refuse(const pb::Fragment &fragment, const std::string &reason, const std::string &what) {
    const bool is_old = reason == "stale" || reason == "other_run";
    outbox_.lose(is_old ? reason : "refused", steps_of(fragment));
    if (is_old) return;
    const std::string said = what.empty() ? reason : what;
    {
        const std::lock_guard<std::mutex> held(lock_);
        if (said == refused_) return;
        refused_ = said;
    }
    log_("it refuses: " + said);
}

} // namespace marlserve
