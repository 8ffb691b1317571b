// JPEG, through libjpeg with the settings that Pillow leaves: the accurate DCT and smooth upsampling of colours.
#include <cstdio>
#include <cstring>

// They need what comes before.
#include <jerror.h>
#include <jpeglib.h>

#include "failure.hpp"
#include "image_io.hpp"

namespace roastery {
namespace {

[[noreturn]] void fail(j_common_ptr info) {
    char message[JMSG_LENGTH_MAX];
    info->err->format_message(info, message);
    throw Failure(message);
}

void take_message(j_common_ptr info, int level) {
    // libjpeg makes up the rest of a file that ends too soon; Pillow refuses it.
    if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) throw Failure("the file ends too soon");
}

class Decoder {
  public:
    Decoder() {
        info.err = jpeg_std_error(&errors);
        errors.error_exit = fail;
        errors.emit_message = take_message;
        jpeg_create_decompress(&info);
    }
    ~Decoder() { jpeg_destroy_decompress(&info); }
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;

    jpeg_decompress_struct info;

  private:
    jpeg_error_mgr errors;
};

// The first APP1 block that starts so, without that start.
std::string application_block(const jpeg_decompress_struct& info, const std::string& start) {
    for (auto marker = info.marker_list; marker != nullptr; marker = marker->next) {
        const std::string block(reinterpret_cast<const char*>(marker->data), marker->data_length);
        if (marker->marker == JPEG_APP0 + 1 && block.compare(0, start.size(), start) == 0) {
            return block.substr(start.size());
        }
    }
    return "";
}

// As Pillow makes RGB of CMYK; Adobe's files have it inverted.
void cmyk_to_rgb(const std::uint8_t* source, std::uint8_t* target, int width, bool inverted) {
    for (int column = 0; column < width; ++column, source += 4, target += 3) {
        std::uint8_t cmyk[4];
        for (int i = 0; i < 4; ++i) cmyk[i] = inverted ? 255 - source[i] : source[i];
        const int light = 255 - cmyk[3];
        for (int i = 0; i < 3; ++i) {
            const int product = cmyk[i] * light + 128;
            const int value = light - (((product >> 8) + product) >> 8);
            target[i] = static_cast<std::uint8_t>(value < 0 ? 0 : value);
        }
    }
}

}  // namespace

Decoded decode_jpeg(const std::string& content) {
    Decoder decoder;
    auto& info = decoder.info;
    jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(content.data()), content.size());
    jpeg_save_markers(&info, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&info, TRUE);
    check_size(info.image_height, info.image_width);
    const bool cmyk = info.num_components == 4;
    info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    Decoded decoded;
    decoded.exif = application_block(info, std::string("Exif\0\0", 6));
    decoded.xmp = application_block(info, std::string("http://ns.adobe.com/xap/1.0/\0", 29));
    jpeg_start_decompress(&info);
    Image image(static_cast<int>(info.output_height), static_cast<int>(info.output_width), 3);
    std::vector<std::uint8_t> line(static_cast<std::size_t>(image.width) * info.output_components);
    while (info.output_scanline < info.output_height) {
        const int row = static_cast<int>(info.output_scanline);
        JSAMPROW start = line.data();
        jpeg_read_scanlines(&info, &start, 1);
        if (cmyk) {
            cmyk_to_rgb(line.data(), image.at(row, 0), image.width, info.saw_Adobe_marker);
        } else {
            std::memcpy(image.at(row, 0), line.data(), line.size());
        }
    }
    decoded.image = std::move(image);
    return decoded;
}

}  // namespace roastery
