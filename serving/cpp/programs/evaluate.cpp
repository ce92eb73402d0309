/* Plays a policy file, greedily, for comparisons with other evaluators.
 *
 *     evaluate FOLDER AGENT < observations
 *
 * Each line is an observation, numbers with blanks between them, of one step of an episode; an empty
 * line begins another episode. For each there is a line with the outputs, a bar, and the action.
 */
#include "marlserve/policy/acting.h"
#include "marlserve/policy/evaluator.h"
#include "marlserve/policy/policy_file.h"

#include <algorithm>
#include <exception>
#include <iostream>
#include <iterator>
#include <limits>
#include <sstream>

namespace {

template <class Numbers> void print(const Numbers &numbers) {
    for (const auto number : numbers) std::cout << number << ' ';
}

std::vector<float> numbers_of(const std::string &line, std::int64_t size) {
    std::istringstream words(line);
    const std::vector<float> numbers{std::istream_iterator<float>(words), {}};
    if (!words.eof() || numbers.size() != static_cast<std::size_t>(size))
        throw std::invalid_argument("an observation is '" + line + "'; it must be " + std::to_string(size) + " numbers");
    return numbers;
}

void play(const std::string &folder, const std::string &agent) {
    const marlserve::PolicyFile policy = marlserve::read(folder);
    const marlserve::Network &network = policy.networks.at(policy.network_of(agent));
    const marlserve::Evaluator evaluator(network);
    std::vector<float> work = evaluator.work(), memory = evaluator.memory();
    const std::size_t place = evaluator.place_of(network.last().name);
    std::cout.precision(std::numeric_limits<float>::max_digits10);
    for (std::string line; std::getline(std::cin, line);) {
        if (line.empty()) {
            memory = evaluator.memory();
            continue;
        }
        evaluator.run(agent, numbers_of(line, network.observations.size()).data(), work, memory);
        const float *outputs = work.data() + place;
        print(std::vector<float>(outputs, outputs + marlserve::outputs_of(network.actions)));
        std::cout << "| ";
        const marlserve::Action action = marlserve::greedy(network, outputs);
        print(action.choices);
        print(action.numbers);
        std::cout << '\n';
    }
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 3) {
        std::cerr << "usage: evaluate FOLDER AGENT < observations\n";
        return 2;
    }
    try {
        play(argv[1], argv[2]);
    } catch (const std::exception &error) {
        std::cerr << "error: " << error.what() << '\n';
        return 1;
    }
}
