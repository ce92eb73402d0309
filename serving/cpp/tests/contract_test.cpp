/* What is seen and allowed is held to the contract, and a contract that cannot be kept is refused. */
#include "marlserve/client/contract.h"

#include "cases.h"
#include "saying.h"
#include "trainer.pb.h"

namespace marlserve {
namespace {

pb::Contract told() {
    pb::Contract message;
    message.set_policy("policy");
    message.set_most_steps(10);
    message.set_capacity_steps(100);
    pb::Seat *seat = message.add_seats();
    seat->set_agent("*");
    seat->set_observation_space(R"({"type": "Box", "shape": [2], "dtype": "int8", "low": [0, -5], "high": null})");
    seat->set_action_space(R"({"type": "MultiDiscrete", "nvec": [2, 3], "start": [0, 4]})");
    return message;
}

TEST(Contract, WhatIsToldIsRead) {
    pb::Contract message = told();
    message.add_columns("outputs");
    const Contract contract = contract_of(message);
    EXPECT_EQ(contract.seat.observations.low, (std::vector<double>{0, -5}));
    EXPECT_TRUE(std::isinf(contract.seat.observations.high[1]));
    EXPECT_EQ(std::get<Choices>(contract.seat.actions).starts, (std::vector<std::int64_t>{0, 4}));
    EXPECT_TRUE(contract.outputs);
    EXPECT_FALSE(contract.log_probabilities);
    EXPECT_EQ(contract.most_staleness, 0.0);
}

TEST(Contract, WhatCannotBeKeptIsRefused) {
    pb::Contract message = told();
    message.add_columns("feelings");
    EXPECT_SAYS(contract_of(message), "asks for 'feelings'");
    message = told();
    *message.add_seats() = message.seats(0);
    EXPECT_SAYS(contract_of(message), "agents that act together");
    message = told();
    message.set_state_size(3);
    EXPECT_SAYS(contract_of(message), "agents that act together");
    message = told();
    message.mutable_seats(0)->set_action_space(R"({"type": "Tuple"})");
    EXPECT_SAYS(contract_of(message), "type is 'Tuple'");
    message.mutable_seats(0)->set_action_space(R"({"type": "Discrete", "n": -1, "start": 0})");
    EXPECT_SAYS(contract_of(message), "[-1] are no sizes");
    message.mutable_seats(0)->set_action_space(R"({"type": "Box", "shape": [2], "dtype": "float64", "low": 0, "high": 1})");
    EXPECT_SAYS(contract_of(message), "a Box is of float32");
}

TEST(Contract, ObservationsAreOfTheirSpace) {
    Seat seat = contract_of(told()).seat;
    seat.check({1.0F, -128.0F});
    EXPECT_SAYS(seat.check({1.0F}), "has 1 numbers; it must be [2]");
    EXPECT_SAYS(seat.check({1.0F, 128.0F}), "128.000000; it must be finite, and of int8");
    EXPECT_SAYS(seat.check({1.0F, 0.5F}), "it must be finite, and of int8");
    seat.observations.dtype = "float32";
    seat.check({0.5F, 1e30F});
    EXPECT_SAYS(seat.check({1.0F, std::numeric_limits<float>::quiet_NaN()}), "it must be finite");
}

TEST(Contract, MasksAreGivenEndToEndOrPadded) {
    Seat seat = contract_of(told()).seat;
    EXPECT_EQ(seat.legal({}), Mask{});
    EXPECT_SAYS(seat.legal({1, 1, 1, 1, 1}), "learns without");
    seat.masked = true;
    EXPECT_EQ(seat.legal({}), (Mask{1, 1, 0, 1, 1, 1}));
    EXPECT_EQ(seat.legal({0, 1, 1, 0, 0}), (Mask{0, 1, 0, 1, 0, 0}));
    EXPECT_EQ(seat.legal({0, 1, 1, 1, 0, 0}), (Mask{0, 1, 0, 1, 0, 0}));
    EXPECT_SAYS(seat.legal({1}), "the mask has 1 values; it must be 5");
    EXPECT_SAYS(seat.legal({1, 0, 0, 0, 0}), "nothing to choose of component 1");
}

TEST(Contract, NumbersTravelInTheTypeOfTheirSpace) {
    pb::Array message;
    write_as("int16", &message, {1.0F, -2.0F}, {2});
    EXPECT_EQ(message.dtype(), pb::INT16);
    EXPECT_EQ(message.data(), std::string("\x01\x00\xfe\xff", 4));
    EXPECT_SAYS(write_as("float16", &message, {}, {}), "dtype is 'float16'");
}

} // namespace
} // namespace marlserve
