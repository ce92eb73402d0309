/* Whatever is changed of a policy file or of what the trainer says: it is read, or refused, and nothing else. */
#include "marlserve/policy/policy_file.h"

#include "marlserve/client/contract.h"
#include "marlserve/client/policy_parts.h"
#include "marlserve/policy/acting.h"
#include "marlserve/policy/evaluator.h"
#include "saying.h"
#include "trainer.pb.h"

#include <google/protobuf/stubs/logging.h>

#include <cstring>
#include <random>

namespace marlserve {
namespace {

constexpr int changes = 10'000;

const std::string manifest = R"({"format": "marlserve policy", "version": 1,
 "weights_sha256": "13ed3e31a500b3186b159c7f302e4b5bea511bc269e0d344f6cd537c0d44ec44",
 "agents": {"*": "p"}, "networks": {"p": {
  "observation_space": {"type": "Box", "shape": [2], "dtype": "float32", "low": null, "high": [9.0, 8.5]},
  "action_space": {"type": "Discrete", "n": 3, "start": 1}, "features": [], "indexed_agents": [],
  "layers": [{"name": "q", "operation": "linear", "inputs": ["observation"], "shape": [3]}],
  "action": {"outputs": "action values", "stretch": false, "clip": false}}}, "training": {}})";

/* A bias of 0, 1, 2, and a matrix of 3 to 8. */
std::string weights() {
    const std::string header =
        R"({"p/q.bias":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"p/q.weight":{"dtype":"F32","shape":[3,2],"data_offsets":[12,36]}})";
    const std::uint64_t length = header.size();
    std::string file(sizeof length, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    file += header;
    for (int i = 0; i < 9; i++) {
        const auto number = static_cast<float>(i);
        file.append(reinterpret_cast<const char *>(&number), sizeof number);
    }
    return file;
}

/* A text with a byte or two changed, one left out, or the rest cut off. */
std::string changed(std::string text, std::mt19937 &random) {
    for (unsigned times = 1 + random() % 2; times > 0 && !text.empty(); times--) {
        const std::size_t place = random() % text.size();
        const unsigned how = random() % 8;
        if (how == 0) text.resize(place);
        else if (how == 1) text.erase(place, 1);
        else if (how < 5) text[place] = "0123456789[]{},:-.\"en"[random() % 21];
        else text[place] = static_cast<char>(random());
    }
    return text;
}

TEST(PolicyFile, ItIsPlayed) {
    const PolicyFile policy = decoded(manifest, weights());
    const Network &network = policy.networks.at(policy.network_of("whoever"));
    const Evaluator evaluator(network);
    std::vector<float> work = evaluator.work(), memory = evaluator.memory();
    const std::vector<float> seen = {1.0F, -1.0F};
    evaluator.run("whoever", seen.data(), work, memory);
    const float *outputs = work.data() + evaluator.place_of("q");
    EXPECT_EQ((std::vector<float>{outputs, outputs + 3}), (std::vector<float>{-1, 0, 1}));
    EXPECT_EQ(greedy(network, outputs).choice(), 3);
}

TEST(PolicyFile, WhateverIsChangedIsReadOrRefused) {
    std::mt19937 random(1);
    int refused = 0;
    const auto tried = [&](auto call) {
        try {
            call();
        } catch (const std::invalid_argument &) {
            refused++;
        }
    };
    for (int i = 0; i < changes; i++) tried([&] { decoded(changed(manifest, random), weights()); });
    EXPECT_GT(refused, changes / 2);
    refused = 0;
    for (int i = 0; i < changes; i++) tried([&] { arrays_of(changed(weights(), random)); });
    EXPECT_GT(refused, changes / 2);
}

TEST(PolicyFile, DepthsAndSizesAreBounded) {
    const std::string deep(100'000, '[');
    EXPECT_SAYS(decoded(deep, ""), "it is deeper than 64");
    std::string large = manifest;
    large.replace(large.find("[2], \"dtype"), 3, "[2000000000]");
    EXPECT_SAYS(decoded(large, weights()), "a shape is [2000000000]");
}

TEST(Messages, WhateverArrivesIsReadOrRefused) {
    google::protobuf::LogSilencer quiet; // it tells of every text that is none
    std::mt19937 random(2);
    pb::Contract contract;
    contract.set_policy("policy");
    contract.set_most_steps(10);
    contract.set_capacity_steps(10);
    pb::Seat *seat = contract.add_seats();
    seat->set_agent("*");
    seat->set_observation_space(R"({"type": "Box", "shape": [2], "dtype": "float32", "low": null, "high": 1.0})");
    seat->set_action_space(R"({"type": "Discrete", "n": 3, "start": 1})");
    pb::PolicyPart part;
    part.mutable_head()->set_version(1);
    part.mutable_head()->set_manifest(manifest);
    (*part.mutable_head()->mutable_noises())["p"].set_mean("q");
    part.set_weights(weights());
    part.set_is_last(true);
    int read = 0;
    for (int i = 0; i < changes; i++) {
        pb::Contract other;
        pb::PolicyPart rest;
        Assembly assembly;
        try {
            if (other.ParseFromString(changed(contract.SerializeAsString(), random))) read += contract_of(other).most_steps > 0;
            if (rest.ParseFromString(changed(part.SerializeAsString(), random))) read += assembly.add(rest);
        } catch (const std::invalid_argument &) {
            continue;
        }
    }
    EXPECT_GT(read, changes / 10);
}

} // namespace
} // namespace marlserve
