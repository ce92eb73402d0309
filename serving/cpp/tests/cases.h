/* Contracts and fragments for tests. */
#pragma once

#include "marlserve/client/recording.h"

#include <limits>
#include <memory>

namespace marlserve::cases {

/* Two numbers are seen, and one of three things is done. */
inline std::shared_ptr<Contract> contract() {
    auto made = std::make_shared<Contract>();
    const double infinity = std::numeric_limits<double>::infinity();
    made->policy = "policy";
    made->seat.observations = {{2}, "float32", {-infinity, -infinity}, {infinity, infinity}};
    made->seat.actions = Choices{true, {3}, {0}};
    made->most_staleness = infinity;
    made->most_steps = 1'000;
    made->capacity_steps = 4'000;
    return made;
}

/* So many steps of an episode, with rewards of 1 but for the last `unknown` ones. */
inline std::shared_ptr<Recording> recording(std::size_t steps, std::shared_ptr<Life> life, std::size_t unknown = 0, double deadline_s = 0.0) {
    auto made = std::make_shared<Recording>(contract(), std::move(life), "run", std::vector<float>{});
    for (std::size_t step = 0; step < steps; step++) {
        Choice choice;
        choice.action.choices = {1};
        made->see({static_cast<float>(step), 0.0F}, {});
        made->add(choice, 1, step + 1);
        if (step + unknown < steps) made->tell(step, 1.0);
    }
    made->close(Ending::terminated, deadline_s);
    return made;
}

inline std::shared_ptr<Recording> recording(std::size_t steps, std::size_t unknown = 0, double deadline_s = 0.0) {
    return recording(steps, std::make_shared<Life>(), unknown, deadline_s);
}

} // namespace marlserve::cases
