#include "image_io.hpp"

#include <new>

#include "failure.hpp"
#include "file.hpp"
#include "orientation.hpp"

namespace roastery {
namespace {

bool starts_with(const std::string& content, const std::string& magic) {
    return content.compare(0, magic.size(), magic) == 0;
}

}  // namespace

void check_size(std::int64_t height, std::int64_t width) {
    if (height < 1 || width < 1 || height > kMostPixels / width) {
        throw Failure("its header says " + std::to_string(height) + " x " + std::to_string(width) +
                      " pixels (height x width), of which at most " + std::to_string(kMostPixels) + " are read");
    }
}

Image read_image(const std::string& path) {
    const std::string content = read_file(path, "image");
    try {
        Decoded decoded;
        if (starts_with(content, "\xff\xd8\xff")) {
            decoded = decode_jpeg(content);
        } else if (starts_with(content, "\x89PNG\r\n\x1a\n")) {
            decoded = decode_png(content);
        } else {
            throw Failure("it is neither JPEG nor PNG");
        }
        return upright(decoded.image, orientation(decoded.exif, decoded.xmp));
    } catch (const Failure& failure) {
        throw Failure(path + ": cannot be read as an image (" + one_line(failure.what()) + "); replace it");
    } catch (const std::bad_alloc&) {
        throw Failure(path + ": there is no memory for the image; make it smaller");
    }
}

}  // namespace roastery
