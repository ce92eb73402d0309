#include "marlserve/client/wire.h"

#include <chrono>
#include <fstream>
#include <sstream>

namespace marlserve {
namespace {

constexpr int most_bytes = 16 * 1024 * 1024; // of a message

/* As marlserve.serving.wire.channels has them. */
grpc::ChannelArguments arguments() {
    grpc::ChannelArguments given;
    given.SetMaxReceiveMessageSize(most_bytes);
    given.SetMaxSendMessageSize(most_bytes);
    given.SetInt("grpc.keepalive_time_ms", 20'000);
    given.SetInt("grpc.keepalive_timeout_ms", 10'000);
    given.SetInt("grpc.keepalive_permit_without_calls", 1);
    given.SetInt("grpc.http2.min_ping_interval_without_data_ms", 10'000);
    given.SetInt("grpc.min_reconnect_backoff_ms", 100);
    given.SetInt("grpc.initial_reconnect_backoff_ms", 100);
    given.SetInt("grpc.max_reconnect_backoff_ms", 5'000);
    given.SetInt("grpc.use_local_subchannel_pool", 1);
    return given;
}

std::shared_ptr<grpc::ChannelCredentials> credentials(const std::string &ca) {
    if (ca.empty()) return grpc::InsecureChannelCredentials();
    std::ifstream file(ca, std::ios::binary);
    std::ostringstream certificate;
    certificate << file.rdbuf();
    if (!file) throw std::invalid_argument("ca is " + ca + ", which cannot be read");
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = certificate.str();
    return grpc::SslCredentials(options);
}

std::string name_of(grpc::StatusCode code) {
    static const char *const names[] = {
        "OK",           "CANCELLED",           "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
        "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
        "UNIMPLEMENTED", "INTERNAL",           "UNAVAILABLE", "DATA_LOSS",    "UNAUTHENTICATED",
    };
    return code >= 0 && code <= grpc::StatusCode::UNAUTHENTICATED ? names[code] : "code " + std::to_string(code);
}

} // namespace

CallFailed::CallFailed(const grpc::Status &status)
    : std::runtime_error(name_of(status.error_code()) + ": " + status.error_message()), code(status.error_code()), details(status.error_message()) {}

/* One call, known to the wire as long as it is in progress. */
class Wire::Call {
  public:
    explicit Call(Wire &wire, double timeout_s = 0.0) : wire_(wire) {
        if (timeout_s > 0.0)
            context.set_deadline(std::chrono::system_clock::now() + std::chrono::microseconds(static_cast<std::int64_t>(1e6 * timeout_s)));
        if (!wire.token_.empty()) context.AddMetadata("authorization", "Bearer " + wire.token_);
        const std::lock_guard<std::mutex> held(wire_.lock_);
        if (wire_.is_hung_up_) context.TryCancel();
        wire_.calls_.insert(&context);
    }
    ~Call() {
        const std::lock_guard<std::mutex> held(wire_.lock_);
        wire_.calls_.erase(&context);
    }
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;

    grpc::ClientContext context;

  private:
    Wire &wire_;
};

Wire::Wire(const ClientSettings &settings)
    : stub_(pb::Trainer::NewStub(grpc::CreateCustomChannel(settings.address, credentials(settings.ca), arguments()))), token_(settings.token) {}

pb::Welcome Wire::hello(const pb::HelloRequest &request, double timeout_s) {
    Call call(*this, timeout_s);
    pb::Welcome welcome;
    const grpc::Status status = stub_->Hello(&call.context, request, &welcome);
    if (!status.ok()) throw CallFailed(status);
    return welcome;
}

pb::Receipt Wire::push(const pb::PushRequest &request, double timeout_s) {
    Call call(*this, timeout_s);
    pb::Receipt receipt;
    const grpc::Status status = stub_->Push(&call.context, request, &receipt);
    if (!status.ok()) throw CallFailed(status);
    return receipt;
}

void Wire::policies(const pb::PoliciesRequest &request, const std::function<void(const pb::PolicyPart &)> &take) {
    Call call(*this);
    const auto stream = stub_->Policies(&call.context, request);
    pb::PolicyPart part;
    try {
        while (stream->Read(&part)) take(part);
    } catch (...) { // of a part that is broken
        call.context.TryCancel();
        while (stream->Read(&part)) continue;
        stream->Finish();
        throw;
    }
    const grpc::Status status = stream->Finish();
    if (!status.ok()) throw CallFailed(status);
}

void Wire::hang_up() {
    const std::lock_guard<std::mutex> held(lock_);
    is_hung_up_ = true;
    for (grpc::ClientContext *context : calls_) context->TryCancel();
}

} // namespace marlserve
