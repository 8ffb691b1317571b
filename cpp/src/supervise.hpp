// Caffe2 aborts the process on some nets and images: the work is done in a child, and the parent tells how it ended.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

namespace roastery {

// The work's exit code, or 2 and one line on stderr where it crashed. The work gets a stream for what it has to say;
// its stderr is closed, as Caffe2 writes there as it likes.
int supervise(const std::function<int(std::FILE*)>& work, const std::string& name);

}  // namespace roastery
