#include "marlserve/client/spill.h"

#include "trainer.pb.h"

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <limits>
#include <sstream>
#include <stdexcept>

namespace marlserve {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t digits = 20; // of a name
const std::string largest = std::to_string(std::numeric_limits<std::uint64_t>::max());
const char *const suffix = ".fragment";

std::string name_of(std::uint64_t number) {
    std::ostringstream name;
    name << std::setfill('0') << std::setw(static_cast<int>(digits)) << number << suffix;
    return name.str();
}

bool is_ours(const fs::path &path) {
    const std::string stem = path.stem().string();
    const bool is_number = stem.size() == digits && stem.find_first_not_of("0123456789") == std::string::npos;
    return path.extension() == suffix && is_number && stem < largest;
}

/* All that a file has; false if it cannot be read. */
bool read(const fs::path &path, std::string *to) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream data;
    data << file.rdbuf();
    *to = data.str();
    return file.good();
}

/* Whether it says that it has steps, no more than the contract allows; the trainer looks at the rest. */
bool is_fragment(const std::string &data, const Contract &contract, pb::Fragment *to) {
    if (!to->ParseFromString(data) || to->versions().shape_size() != 1) return false;
    const std::int64_t steps = to->versions().shape(0);
    return steps >= 1 && steps <= contract.most_steps && to->versions().data().size() == static_cast<std::size_t>(steps) * sizeof(std::int64_t);
}

} // namespace

Spill::Spill(const std::string &folder, std::uint64_t most_bytes) : folder_(folder), most_bytes_(most_bytes) {
    try {
        fs::create_directories(folder_);
        for (const fs::directory_entry &each : fs::directory_iterator(folder_)) {
            if (!is_ours(each.path())) continue;
            files_.push_back(each.path());
            bytes_ += each.file_size();
        }
    } catch (const fs::filesystem_error &error) {
        throw std::invalid_argument("spill_folder " + folder + " cannot be made or read: " + error.code().message());
    }
    std::sort(files_.begin(), files_.end());
    if (!files_.empty()) next_ = std::stoull(files_.back().stem().string()) + 1;
}

bool Spill::put(const pb::Fragment &fragment) {
    const std::string data = fragment.SerializeAsString();
    if (bytes_ + data.size() > most_bytes_) return false;
    const fs::path path = folder_ / name_of(next_);
    fs::path unfinished = path;
    unfinished.replace_extension(".part");
    std::ofstream file(unfinished, std::ios::binary);
    file << data;
    file.close();
    std::error_code wrong;
    if (file) fs::rename(unfinished, path, wrong);
    if (!file || wrong) {
        fs::remove(unfinished, wrong);
        return false;
    }
    files_.push_back(path);
    next_++;
    bytes_ += data.size();
    return true;
}

std::vector<pb::Fragment> Spill::take(std::size_t most_steps, const Contract &contract, std::size_t *unreadable) {
    std::vector<pb::Fragment> taken;
    std::size_t steps = 0;
    *unreadable = 0;
    while (!files_.empty() && steps < most_steps) {
        const fs::path path = files_.front();
        files_.pop_front();
        std::string data;
        const bool is_read = read(path, &data);
        std::error_code wrong;
        fs::remove(path, wrong);
        bytes_ -= std::min<std::uint64_t>(bytes_, data.size());
        pb::Fragment fragment;
        if (!is_read || wrong || !is_fragment(data, contract, &fragment)) {
            ++*unreadable;
            continue;
        }
        steps += fragment.versions().shape(0);
        taken.push_back(std::move(fragment));
    }
    return taken;
}

} // namespace marlserve
