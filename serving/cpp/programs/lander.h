/* A small lander: a craft that stays upright comes down on the moon, and is to touch the pad softly.
 *
 * Observation   8 numbers: x / 5, y / 5, vx / 2, vy / 2 of its place and speed in m and m/s, the pad being
 *               at 0; how far it is beside the pad, / 5; whether it is above it; the speed at which it
 *               would hit the ground if it fell, / 5; the share of the time that is left
 * Action        0 nothing, 1 main engine, 4 m/s^2 upwards; 2 and 3 thrusters, 1 m/s^2 to the right, left
 * Dynamics      steps of 0.1 s: v += a dt, then x += v dt, with gravity of 1.62 m/s^2
 * Begin         8 to 10 m above the ground, up to 4 m beside the pad, at up to 1 m/s sideways and 1 m/s
 *               downwards, all uniform
 * Reward        by how much 10 (distance to the pad + speed) became less, less 0.3 for the main engine and
 *               0.03 for a thruster; and in the end 100 for a landing, -100 for anything else
 * End           at the ground: a landing is within 1 m of the pad's middle, below 1 m/s downwards and 0.5
 *               m/s sideways; beyond 10 m sideways or 15 m above; cut off after 300 steps
 *
 * It is no copy of Gymnasium's LunarLander, and returns of both cannot be compared.
 */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace lander {

constexpr double step_s = 0.1, gravity = 1.62, main_engine = 4.0, thruster = 1.0; // m/s^2
constexpr double pad_m = 1.0, softest_down = 1.0, softest_aside = 0.5;            // m, m/s
constexpr int most_steps = 300;

class Lander {
  public:
    explicit Lander(std::uint64_t seed) : random_(seed) { reset(); }

    void reset() {
        x_ = between(-4.0, 4.0), y_ = between(8.0, 10.0);
        vx_ = between(-1.0, 1.0), vy_ = between(-1.0, 0.0);
        steps_ = 0, is_down_ = is_landed_ = false;
    }

    std::vector<float> seen() const {
        const double falling = std::sqrt(vy_ * vy_ + 2.0 * gravity * std::max(y_, 0.0)), beside = std::max(std::abs(x_) - pad_m, 0.0);
        const double left = 1.0 - static_cast<double>(steps_) / most_steps, above = beside > 0.0 ? 0.0 : 1.0;
        std::vector<float> numbers;
        for (const double number : {x_ / 5.0, y_ / 5.0, vx_ / 2.0, vy_ / 2.0, beside / 5.0, above, falling / 5.0, left})
            numbers.push_back(static_cast<float>(number));
        return numbers;
    }

    /* The reward. */
    double step(std::int64_t action) {
        const double before = potential();
        vy_ += step_s * ((action == 1 ? main_engine : 0.0) - gravity);
        vx_ += step_s * (action == 2 ? thruster : action == 3 ? -thruster : 0.0);
        x_ += step_s * vx_, y_ += step_s * vy_, steps_++;
        double reward = potential() - before - (action == 1 ? 0.3 : action == 0 ? 0.0 : 0.03);
        is_down_ = y_ <= 0.0 || y_ > 15.0 || std::abs(x_) > 10.0;
        is_landed_ = y_ <= 0.0 && std::abs(x_) <= pad_m && -vy_ <= softest_down && std::abs(vx_) <= softest_aside;
        if (is_down_) reward += is_landed_ ? 100.0 : -100.0;
        return reward;
    }

    bool is_terminated() const { return is_down_; }
    bool is_truncated() const { return !is_down_ && steps_ >= most_steps; }
    bool is_landed() const { return is_landed_; }

  private:
    double potential() const { return -10.0 * (std::hypot(x_, y_) + std::hypot(vx_, vy_)); }
    double between(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random_); }

    std::mt19937_64 random_;
    double x_ = 0.0, y_ = 0.0, vx_ = 0.0, vy_ = 0.0;
    int steps_ = 0;
    bool is_down_ = false, is_landed_ = false;
};

} // namespace lander
