/* The calls of the trainer: what is asked, with the token, and what is answered.
 *
 * Any of them may be in progress in a thread of its own; `hang_up` ends them all.
 */
#pragma once

#include "marlserve/client/settings.h"
#include "trainer.grpc.pb.h"

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>

namespace marlserve {

namespace pb = trainer::v1;

/* A call that was not answered as it should. */
struct CallFailed : std::runtime_error {
    grpc::StatusCode code;
    std::string details;

    explicit CallFailed(const grpc::Status &status);
};

class Wire {
  public:
    /* std::invalid_argument if the certificate cannot be read. */
    explicit Wire(const ClientSettings &settings);

    pb::Welcome hello(const pb::HelloRequest &request, double timeout_s);

    pb::Receipt push(const pb::PushRequest &request, double timeout_s);

    /* Each part as it comes, until the line breaks. */
    void policies(const pb::PoliciesRequest &request, const std::function<void(const pb::PolicyPart &)> &take);

    /* End the calls that are in progress, and let no other one begin. */
    void hang_up();

  private:
    class Call;

    std::unique_ptr<pb::Trainer::Stub> stub_;
    std::string token_;
    std::mutex lock_;
    std::set<grpc::ClientContext *> calls_;
    bool is_hung_up_ = false;
};

} // namespace marlserve
