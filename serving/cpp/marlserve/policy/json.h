/* JSON whose parts are looked at before they are used.
 *
 *     const Json manifest = parsed(text, "policy.json");
 *     const std::string &name = taken(manifest, "name", Kind::text).get_ref<const std::string &>();
 *
 * All of it raises std::invalid_argument, with a sentence that says what is wrong.
 */
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace marlserve {

using Json = nlohmann::json;

enum class Kind { text, flag, whole, list, map };

/* What a text says, which is no deeper than 64 lists and maps; `what` names it in errors. */
Json parsed(const std::string &text, const std::string &what);

/* value[key], if it is there and of this kind. */
const Json &taken(const Json &value, const std::string &key, Kind kind);

std::string text_of(const Json &value, const std::string &key);

bool flag_of(const Json &value, const std::string &key);

/* value[key], a list of names. */
std::vector<std::string> names_of(const Json &value, const std::string &key);

/* A list of positive integers. */
std::vector<std::int64_t> sizes_of(const Json &list);

} // namespace marlserve
