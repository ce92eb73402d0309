/* EXPECT_SAYS(call, "part"): it raises std::invalid_argument with these words. */
#pragma once

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#define EXPECT_SAYS(call, part)                                                                                                   \
    try {                                                                                                                         \
        call;                                                                                                                     \
        ADD_FAILURE() << "nothing is said; it should be: " << (part);                                                             \
    } catch (const std::invalid_argument &error) {                                                                                \
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();                                       \
    }
