// The operators that may be in a net.
#pragma once

#include <string>

namespace roastery {

// Caffe2 has hundreds more, among them some that write files: a net that asks for another is not run.
bool may_run(const std::string& operator_type);

}  // namespace roastery
