// The operators that may be in a net.
#pragma once

#include <string>

namespace roastery {

// Caffe2 has hundreds more, among them some that write files: a net that asks for another is not run.
bool may_run(const std::string& operator_type);

// Whether one that may run may have this argument.
bool may_have(const std::string& operator_type, const std::string& argument);

}  // namespace roastery
