/* Fragments that wait on the disk, while there is no trainer and no room in memory.
 *
 * A file each, in the order of their names; those of an earlier run of the program are sent, too, also
 * of one in Python: they are the same files.
 */
#pragma once

#include "marlserve/client/contract.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <vector>

namespace marlserve {

/* Of one thread at a time. */
class Spill {
  public:
    /* At most so many bytes are kept; std::invalid_argument if the folder cannot be made or read. */
    Spill(const std::string &folder, std::uint64_t most_bytes);

    std::size_t size() const { return files_.size(); } // fragments

    /* Keep a fragment; false if there is no room for it. */
    bool put(const pb::Fragment &fragment);

    /* The oldest ones, of about so many steps, and how many were broken; all of them are gone from the
     * disk. */
    std::vector<pb::Fragment> take(std::size_t most_steps, const Contract &contract, std::size_t *unreadable);

  private:
    const std::filesystem::path folder_;
    const std::uint64_t most_bytes_;
    std::deque<std::filesystem::path> files_;
    std::uint64_t bytes_ = 0, next_ = 0;
};

} // namespace marlserve
