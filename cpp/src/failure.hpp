// What ends the program: one line that names the thing, the place and the way out.
#pragma once

#include <stdexcept>
#include <string>

namespace roastery {

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Text from elsewhere as part of one line: no control characters, at most 300 bytes.
inline std::string one_line(std::string text) {
    for (char& each : text) {
        if (static_cast<unsigned char>(each) < 0x20 || each == 0x7f) each = ' ';
    }
    return text.size() > 300 ? text.substr(0, 300) + "..." : text;
}

}  // namespace roastery
