// The test guest's only program: it acts out on the guest's screen what a test asks for, and tells
// what reached the guest's input devices. One command a line comes in on the serial port, and each
// is answered by a line `stage: ok` or `stage: error WHY`; what else it has to tell goes before the answer.
//
//   picture                  the resting picture: colours, gradients, text; the same pixels every time
//   fill RRGGBB              the whole screen in one colour
//   mode W H                 another resolution, showing the picture
//   off                      switches the screen off, until the next `mode`
//   animate FRAMES PERIOD    flips FRAMES moving frames, one each PERIOD ms (0: as fast as it goes), and
//                            ends on the picture; answers at once, `stop` ends it earlier
//   scroll FRAMES PERIOD ROWS  … of the picture, scrolling by ROWS, with a noisy film in it; four squares in the
//                            top left corner are its number modulo 16, light for 1, the lowest bit first
//   flips FRAMES             flips between two frames as fast as it goes, 100 times and then FRAMES times, and ends on
//                            the picture; prints `stage: flipping` after the 100 and `stage: flipped` after the last
//   buffers 1|2              until the next `mode`, films and the patch are drawn into what is shown, or into a second buffer,
//                            which is shown then
//   stop                     ends an animation, a blinking or a reacting patch
//   blink TIMES PERIOD       a patch in the top left corner changes its shade of grey
//   react                    … and now it changes at each key press
//   cursor KIND X Y          hardware cursor `arrow`, `cross` or `off`, its hot spot at X Y
//   film NAME                makes a film of film.h ready and shows its first frame; needs a screen of 1280x720
//   show NUMBER              shows one frame of it, the rest of the number's division by 16
//   play COUNT PERIOD        plays COUNT frames of it, one each PERIOD ms, numbered on from there; answers at once
//   clock                    prints `stage: clock NS`, the guest's monotonic clock
//   drawn                    prints `stage: drawn NUMBER NS` for each frame of the last `play`: when its drawing was done
//   events on|off            prints `stage: event DEVICE TYPE CODE VALUE` for what the input devices send
//   leds                     prints `stage: leds num=N caps=N scroll=N`
//   size                     prints `stage: size W H`
//   tone HZ SECONDS RATE     plays a tone; answers once it has begun
//   quiet                    ends the tone
//   clap RRGGBB              fills the screen and plays 1000 Hz for 300 ms, both at once
//   listen SECONDS RATE      records, and prints `stage: heard hz=N loudest=N ms=N silent=N` of what was not silence
//   volume PERCENT           of everything that the sound card has
//   console                  gives the screen back to the text console
//   sh COMMAND               runs a shell command
//
// Plain DRM dumb buffers; drawing is integer arithmetic only, so a picture is known to the last bit.

#include <dirent.h>
#include <libdrm/drm.h>
#include <libdrm/drm_fourcc.h>
#include <libdrm/drm_mode.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <linux/kd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "film.h"
#include "sound.h"

#define PATCH 64       // side of the changing patch, pixels
#define CURSOR 64      // side of virtio-gpu's cursor, pixels
#define MAX_INPUTS 8
#define MAX_DRAWN 1024 // frames whose times are kept

struct buffer {
    uint32_t handle, fb, stride, width, height;
    uint64_t size;
    uint32_t *pixels;
};

struct input {
    int fd;
    char name[64];
};

static int drm = -1;
static uint32_t crtc, connector;
static struct drm_mode_modeinfo mode;
static struct buffer screens[2], cursor;
static unsigned shown; // index of the screen that is scanned out
static unsigned buffers = 1; // that changes are drawn into
static uint8_t font[256 * 32];
static struct input inputs[MAX_INPUTS];
static unsigned input_count;
static bool events, reacting;
static long frames_left, frame, blinks_left, plays_left;
static int film = -1;
static unsigned film_number_shown;
static struct {
    unsigned number;
    int64_t ns;
} drawn[MAX_DRAWN];
static unsigned drawn_count;
static const struct film_reel *reel;
static unsigned scrolled_rows;
static struct buffer page;
static int period_ms;
static int64_t due_ms;

static void answer(const char *command);
static void tick(void);
static void read_input(struct input *input);

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct termios serial;
    if (tcgetattr(0, &serial) == 0) {
        cfmakeraw(&serial);
        serial.c_oflag |= OPOST | ONLCR;
        tcsetattr(0, TCSANOW, &serial);
    }
    // Replies must not wait on the text console's own output.
    for (int i = 0; i < 32 && input_count < MAX_INPUTS; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/input/event%d", i);
        int fd = open(path, O_RDONLY | O_NONBLOCK);
        if (fd < 0)
            continue;
        struct input *input = &inputs[input_count++];
        input->fd = fd;
        if (ioctl(fd, EVIOCGNAME(sizeof input->name), input->name) < 0)
            strcpy(input->name, "unnamed");
        for (char *c = input->name; *c; c++)
            if (*c == ' ')
                *c = '_';
    }
    for (int i = 1; i < argc; i++)
        answer(argv[i]);
    printf("stage: ready\n");

    char line[512];
    size_t used = 0;
    for (;;) {
        struct pollfd polled[1 + MAX_INPUTS] = {{.fd = 0, .events = POLLIN}};
        for (unsigned i = 0; i < input_count; i++)
            polled[1 + i] = (struct pollfd){.fd = inputs[i].fd, .events = POLLIN};
        int wait = -1;
        if (frames_left > 0 || blinks_left > 0 || plays_left > 0) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            int64_t left = due_ms - (now.tv_sec * 1000LL + now.tv_nsec / 1000000);
            wait = left > 0 ? (int)left : 0;
        }
        int ready = poll(polled, 1 + input_count, wait);
        if (ready < 0 && errno != EINTR)
            return 1;
        for (unsigned i = 0; i < input_count; i++)
            if (polled[1 + i].revents & POLLIN)
                read_input(&inputs[i]);
        if (polled[0].revents & POLLIN) {
            char byte;
            while (read(0, &byte, 1) == 1) {
                if (byte == '\n' || byte == '\r') {
                    line[used] = 0;
                    if (used > 0)
                        answer(line);
                    used = 0;
                    break;
                }
                if (used + 1 < sizeof line)
                    line[used++] = byte;
            }
        }
        tick();
    }
}

// ---- the screen ----

static bool create_buffer(struct buffer *buffer, uint32_t width, uint32_t height, bool scanned_out) {
    struct drm_mode_create_dumb create = {.width = width, .height = height, .bpp = 32};
    if (ioctl(drm, DRM_IOCTL_MODE_CREATE_DUMB, &create) < 0)
        return false;
    *buffer = (struct buffer){.handle = create.handle, .stride = create.pitch / 4,
                              .size = create.size, .width = width, .height = height};
    if (scanned_out) {
        struct drm_mode_fb_cmd2 fb = {.width = width, .height = height, .pixel_format = DRM_FORMAT_XRGB8888,
                                      .handles = {create.handle}, .pitches = {create.pitch}};
        if (ioctl(drm, DRM_IOCTL_MODE_ADDFB2, &fb) < 0)
            return false;
        buffer->fb = fb.fb_id;
    }
    struct drm_mode_map_dumb map = {.handle = create.handle};
    if (ioctl(drm, DRM_IOCTL_MODE_MAP_DUMB, &map) < 0)
        return false;
    void *mapped = mmap(NULL, create.size, PROT_READ | PROT_WRITE, MAP_SHARED, drm, (off_t)map.offset);
    if (mapped == MAP_FAILED)
        return false;
    buffer->pixels = mapped;
    return true;
}

static void destroy_buffer(struct buffer *buffer) {
    if (buffer->pixels)
        munmap(buffer->pixels, buffer->size);
    if (buffer->fb)
        ioctl(drm, DRM_IOCTL_MODE_RMFB, &buffer->fb);
    struct drm_mode_destroy_dumb destroy = {.handle = buffer->handle};
    if (buffer->handle)
        ioctl(drm, DRM_IOCTL_MODE_DESTROY_DUMB, &destroy);
    *buffer = (struct buffer){0};
}

// Opens the card and finds its first output that has a screen, with the mode that screen prefers.
static bool open_screen(void) {
    if (drm >= 0)
        return true;
    drm = open("/dev/dri/card0", O_RDWR | O_CLOEXEC);
    if (drm < 0)
        return false;
    uint32_t connectors[8], crtcs[8];
    struct drm_mode_card_res card = {.connector_id_ptr = (uintptr_t)connectors, .count_connectors = 8,
                                     .crtc_id_ptr = (uintptr_t)crtcs, .count_crtcs = 8};
    if (ioctl(drm, DRM_IOCTL_MODE_GETRESOURCES, &card) < 0 || card.count_crtcs == 0)
        return false;
    for (uint32_t i = 0; i < card.count_connectors && i < 8; i++) {
        static struct drm_mode_modeinfo modes[128];
        struct drm_mode_get_connector found = {.connector_id = connectors[i], .modes_ptr = (uintptr_t)modes,
                                               .count_modes = 128};
        if (ioctl(drm, DRM_IOCTL_MODE_GETCONNECTOR, &found) < 0 || found.connection != 1 || found.count_modes == 0)
            continue;
        connector = connectors[i];
        crtc = crtcs[i];
        mode = modes[0];
        for (uint32_t m = 0; m < found.count_modes && m < 128; m++)
            if (modes[m].type & DRM_MODE_TYPE_PREFERRED)
                mode = modes[m];
        return true;
    }
    errno = ENODEV;
    return false;
}

// Puts the current mode on the screen with two buffers of its size.
static bool set_mode(void) {
    struct buffer old[2] = {screens[0], screens[1]};
    if (!create_buffer(&screens[0], mode.hdisplay, mode.vdisplay, true) ||
        !create_buffer(&screens[1], mode.hdisplay, mode.vdisplay, true))
        return false;
    struct drm_mode_crtc set = {.set_connectors_ptr = (uintptr_t)&connector, .count_connectors = 1, .crtc_id = crtc,
                                .fb_id = screens[0].fb, .mode_valid = 1, .mode = mode};
    shown = 0;
    bool done = ioctl(drm, DRM_IOCTL_MODE_SETCRTC, &set) == 0;
    for (int i = 0; i < 2; i++)
        destroy_buffer(&old[i]);
    return done;
}

static bool switch_off(void) {
    struct drm_mode_crtc set = {.crtc_id = crtc};
    return ioctl(drm, DRM_IOCTL_MODE_SETCRTC, &set) == 0;
}

static bool need_screen(void) {
    return open_screen() && (screens[0].pixels || set_mode());
}

// A mode of any size: a virtual screen has no timings to keep, they only have to be consistent.
static void choose_mode(unsigned width, unsigned height) {
    mode = (struct drm_mode_modeinfo){
        .hdisplay = width, .hsync_start = width + 16, .hsync_end = width + 32, .htotal = width + 64,
        .vdisplay = height, .vsync_start = height + 4, .vsync_end = height + 8, .vtotal = height + 16,
        .vrefresh = 60, .clock = (width + 64) * (height + 16) * 60 / 1000};
    snprintf(mode.name, sizeof mode.name, "%ux%u", width, height);
}

// Tells the device that a part of the shown buffer changed.
static bool flush(unsigned x, unsigned y, unsigned width, unsigned height) {
    struct drm_clip_rect clip = {x, y, x + width, y + height};
    struct drm_mode_fb_dirty_cmd dirty = {.fb_id = screens[shown].fb, .num_clips = 1, .clips_ptr = (uintptr_t)&clip};
    return ioctl(drm, DRM_IOCTL_MODE_DIRTYFB, &dirty) == 0;
}

static bool flip(void) {
    struct drm_mode_crtc_page_flip flip = {.crtc_id = crtc, .fb_id = screens[1 - shown].fb,
                                           .flags = DRM_MODE_PAGE_FLIP_EVENT};
    while (ioctl(drm, DRM_IOCTL_MODE_PAGE_FLIP, &flip) < 0)
        if (errno != EBUSY)
            return false;
    char event[64];
    if (read(drm, event, sizeof event) < 0)
        return false;
    shown = 1 - shown;
    return true;
}

// What a change is drawn into: the shown buffer, or another with the same picture, which is shown at the end of it.
static struct buffer *begin_change(void) {
    struct buffer *next = &screens[1 - shown];
    if (buffers == 1)
        return &screens[shown];
    memcpy(next->pixels, screens[shown].pixels, next->size);
    return next;
}

static bool end_change(unsigned x, unsigned y, unsigned width, unsigned height) {
    return buffers == 1 ? flush(x, y, width, height) : flip();
}

// ---- drawing ----

static void rectangle(struct buffer *on, unsigned x, unsigned y, unsigned width, unsigned height, uint32_t colour) {
    for (unsigned row = y; row < y + height && row < on->height; row++)
        for (unsigned column = x; column < x + width && column < on->width; column++)
            on->pixels[(size_t)row * on->stride + column] = colour;
}

// Text in the kernel's own console font, 8x16.
static void text(struct buffer *on, unsigned x, unsigned y, uint32_t colour, const char *words) {
    for (; *words; words++, x += 8)
        for (unsigned row = 0; row < 16 && y + row < on->height; row++)
            for (unsigned column = 0; column < 8 && x + column < on->width; column++)
                if (font[(uint8_t)*words * 32 + row] & (0x80 >> column))
                    on->pixels[(size_t)(y + row) * on->stride + x + column] = colour;
}

static bool load_font(void) {
    if (font['A' * 32 + 8])
        return true;
    int tty = open("/dev/tty1", O_RDWR | O_NOCTTY);
    struct console_font_op op = {.op = KD_FONT_OP_GET, .width = 8, .height = 32, .charcount = 256, .data = font};
    bool done = tty >= 0 && ioctl(tty, KDFONTOP, &op) == 0;
    if (tty >= 0)
        close(tty);
    return done;
}

static unsigned even(unsigned number) {
    return number & ~1u;
}

// A desktop of sorts: a gradient, colour bars, two windows full of text, a fine pattern, and a
// narrow frame that shows at once if an edge is cut off or moved.
static void draw_picture(struct buffer *on) {
    static const uint32_t bars[] = {0xffffff, 0xc0c000, 0x00c0c0, 0x00c000, 0xc000c0, 0xc00000, 0x0000c0, 0x000000};
    static const char *page[] = {
        "The quick brown fox jumps over the lazy dog. 0123456789",
        "  int main(void) { return puts(\"first light\") < 0; }",
        "drwxr-xr-x  2 root root  4096 Jan  1 00:00 resting",
        "-rw-r--r--  1 root root 51966 Jan  1 00:00 picture.png",
        "Pack my box with five dozen liquor jugs; how vexing!",
    };
    unsigned width = on->width, height = on->height;
    for (unsigned y = 0; y < height; y++)
        for (unsigned x = 0; x < width; x++) {
            uint32_t red = 40 + x * 120 / width, green = 60 + y * 110 / height, blue = 150 - x * 60 / width;
            on->pixels[(size_t)y * on->stride + x] = red << 16 | green << 8 | blue;
        }
    // Edges lie on even pixels: video halves the resolution of colour, and a border between two of
    // its pixels would be half right in any encoder.
    for (unsigned i = 0; i < 8; i++)
        rectangle(on, even(width * i / 8), even(height / 24), width / 8 + 2, even(height / 10), bars[i]);
    unsigned left = even(width / 16), top = even(height / 5), wide = even(width / 2), tall = even(height / 3);
    rectangle(on, left, top, wide, tall, 0xf4f4f0);
    rectangle(on, left, top, wide, 18, 0x3465a4);
    text(on, left + 8, top + 1, 0xffffff, "reading");
    for (unsigned i = 0; 40 + 18 * i < tall; i++)
        text(on, left + 8, top + 24 + 18 * i, i % 8 == 3 ? 0x204a87 : 0x202020, page[i % 5]);
    rectangle(on, left * 5, top * 3, wide, tall, 0x1d1f21);
    for (unsigned i = 0; 24 + 18 * i < tall; i++)
        text(on, left * 5 + 8, top * 3 + 8 + 18 * i, i % 8 == 2 ? 0x8ae234 : 0xd3d7cf, page[(i + 2) % 5]);
    for (unsigned y = 0; y < 32; y++)
        for (unsigned x = 0; x < 32; x++)
            rectangle(on, even(width - width / 8) + x, top + y, 1, 1, (x / 2 + y / 2) % 2 ? 0xe0e0e0 : 0x404040);
    rectangle(on, 0, 0, width, 2, 0xff8000);
    rectangle(on, 0, even(height - 2), width, 3, 0xff8000);
    rectangle(on, 0, 0, 2, height, 0xff8000);
    rectangle(on, even(width - 2), 0, 3, height, 0xff8000);
}

// The patch tells by its shade which change it is: one of 16 that are far apart from one to the next.
static void draw_patch(struct buffer *on) {
    static unsigned changes;
    rectangle(on, 0, 0, PATCH, PATCH, 0x010101 * (++changes * 7 % 16 * 16 + 8));
}

static void draw_frame(struct buffer *on, long number) {
    char label[32];
    unsigned step = on->width / 32, at = (unsigned)number % 32 * step;
    rectangle(on, 0, 0, on->width, on->height, 0x102030);
    rectangle(on, at, on->height / 4, step * 2, on->height / 2, 0xf0a020);
    rectangle(on, on->width - at, on->height / 2, step, on->height / 4, 0x20a0f0);
    snprintf(label, sizeof label, "frame %ld", number);
    text(on, PATCH + 16, 16, 0xffffff, label);
    draw_patch(on);
}

// Squares of all colours over the right half: what a film with much detail takes an encoder.
static void draw_noise(struct buffer *on) {
    uint32_t seed = 1;
    for (unsigned y = 0; y + 4 <= on->height; y += 4)
        for (unsigned x = even(on->width / 2); x + 4 <= on->width; x += 4) {
            seed = seed * 1664525 + 1013904223;
            rectangle(on, x, y, 4, 4, seed >> 8);
        }
}

// The picture, moved up and around, with a film in it; it is drawn once. From one frame to the next each pixel has another
// lowest bits of blue, which nobody sees: no part of a frame is a copy of one before.
static void draw_scrolled(struct buffer *on, long number) {
    static uint32_t *shades[4];
    size_t row = on->stride * 4, all = row * on->height;
    if (page.width != on->width || page.height != on->height || page.stride != on->stride) {
        free(page.pixels);
        page = *on;
        page.pixels = malloc(all);
        draw_picture(&page);
        draw_noise(&page);
        for (unsigned shade = 0; shade < 4; shade++) {
            shades[shade] = realloc(shades[shade], all);
            for (size_t pixel = 0; pixel < all / 4; pixel++)
                shades[shade][pixel] = page.pixels[pixel] ^ shade;
        }
    }
    size_t above = (size_t)(number * scrolled_rows % on->height) * row;
    const char *from = (const char *)shades[number % 4];
    memcpy(on->pixels, from + above, all - above);
    memcpy((char *)on->pixels + all - above, from, above);
    for (unsigned bit = 0; bit < 4; bit++)
        rectangle(on, PATCH * bit, 0, PATCH, PATCH, number >> bit & 1 ? 0xf0f0f0 : 0x101010);
}

static bool draw_cursor(const char *kind, unsigned hot) {
    if (!cursor.pixels && !create_buffer(&cursor, CURSOR, CURSOR, false))
        return false;
    bool arrow = strcmp(kind, "arrow") == 0;
    for (unsigned y = 0; y < CURSOR; y++)
        for (unsigned x = 0; x < CURSOR; x++) {
            uint32_t pixel = 0;
            if (arrow && x <= y && y < 24)
                pixel = x == 0 || x == y || y == 23 ? 0xff000000 : 0xffffffff;
            if (!arrow && ((x >= hot - 1 && x <= hot + 1) || (y >= hot - 1 && y <= hot + 1)) && x <= 2 * hot && y <= 2 * hot)
                pixel = 0xffff0000;
            cursor.pixels[(size_t)y * cursor.stride + x] = pixel;
        }
    return true;
}

static void change_patch(void) {
    draw_patch(begin_change());
    end_change(0, 0, PATCH, PATCH);
}

// ---- what goes on by itself ----

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t now_ms(void) {
    return now_ns() / 1000000;
}

static void show_picture(void) {
    draw_picture(&screens[shown]);
    flush(0, 0, mode.hdisplay, mode.vdisplay);
}

// Copies a part of the film's frame to the screen.
static bool show_film(struct film_rect part, bool numbered) {
    struct buffer *on = begin_change();
    film_copy(reel, film_number_shown, part, on->pixels, on->stride);
    if (numbered) {
        film_number((unsigned)film, film_number_shown, on->pixels, on->stride);
        if (drawn_count < MAX_DRAWN) {
            drawn[drawn_count].number = film_number_shown;
            drawn[drawn_count++].ns = now_ns();
        }
    }
    return end_change(part.x, part.y, part.width, part.height);
}

static bool show_whole_film(unsigned number) {
    film_number_shown = number;
    return show_film((struct film_rect){0, 0, FILM_WIDTH, FILM_HEIGHT}, false);
}

static void tick(void) {
    if ((frames_left <= 0 && blinks_left <= 0 && plays_left <= 0) || now_ms() < due_ms)
        return;
    // A film keeps its pace where it can.
    due_ms = plays_left > 0 && due_ms + 2 * period_ms > now_ms() ? due_ms + period_ms : now_ms() + period_ms;
    if (plays_left > 0) {
        plays_left--;
        film_number_shown++;
        show_film(film_damage((unsigned)film, film_number_shown % FILM_FRAMES), true);
    } else if (blinks_left > 0) {
        blinks_left--;
        change_patch();
    } else if (frames_left > 1) {
        frames_left--;
        (scrolled_rows ? draw_scrolled : draw_frame)(&screens[1 - shown], frame++);
        flip();
    } else {
        frames_left = 0;
        draw_picture(&screens[1 - shown]);
        flip();
    }
}

static void read_input(struct input *input) {
    struct input_event event;
    while (read(input->fd, &event, sizeof event) == sizeof event) {
        if (reacting && event.type == EV_KEY && event.value == 1)
            change_patch();
        if (events && event.type != EV_SYN)
            printf("stage: event %s %u %u %d\n", input->name, event.type, event.code, event.value);
    }
}

static bool flips(long count) {
    for (long i = 0; i < count; i++)
        if (!flip())
            return false;
    return true;
}

// How long the screen takes for so many flips: of frames drawn before, the guest's own drawing does not count. Nor do the
// first, which the device may take ahead: a virtio queue holds twenty to a hundred that it has not shown yet.
static bool time_flips(long count) {
    draw_frame(&screens[0], 1);
    draw_frame(&screens[1], 17);
    if (!flips(100))
        return false;
    printf("stage: flipping\n");
    if (!flips(count))
        return false;
    printf("stage: flipped\n");
    draw_picture(&screens[1 - shown]);
    return flip();
}

static void print_leds(void) {
    uint8_t lit = 0;
    for (unsigned i = 0; i < input_count; i++) {
        uint8_t leds = 0;
        if (ioctl(inputs[i].fd, EVIOCGLED(sizeof leds), &leds) >= 0)
            lit |= leds;
    }
    printf("stage: leds num=%d caps=%d scroll=%d\n", lit >> LED_NUML & 1, lit >> LED_CAPSL & 1, lit >> LED_SCROLLL & 1);
}

// ---- commands ----

static bool show_cursor(const char *kind, int x, int y) {
    bool off = strcmp(kind, "off") == 0;
    int hot = strcmp(kind, "cross") == 0 ? 15 : 0;
    if (!off && !draw_cursor(kind, (unsigned)hot))
        return false;
    struct drm_mode_cursor2 set = {.flags = DRM_MODE_CURSOR_BO | DRM_MODE_CURSOR_MOVE, .crtc_id = crtc,
                                   .x = x - hot, .y = y - hot, .width = CURSOR, .height = CURSOR,
                                   .handle = off ? 0 : cursor.handle, .hot_x = hot, .hot_y = hot};
    return ioctl(drm, DRM_IOCTL_MODE_CURSOR2, &set) == 0;
}

static bool run(const char *command) {
    unsigned colour, width, height;
    long count;
    int x, y;
    char word[16];
    if (sscanf(command, "events %15s", word) == 1)
        return events = strcmp(word, "on") == 0, true;
    if (strcmp(command, "clock") == 0)
        return printf("stage: clock %lld\n", (long long)now_ns()), true;
    if (strcmp(command, "drawn") == 0) {
        for (unsigned i = 0; i < drawn_count; i++)
            printf("stage: drawn %u %lld\n", drawn[i].number, (long long)drawn[i].ns);
        return true;
    }
    if (strcmp(command, "leds") == 0)
        return print_leds(), true;
    double seconds;
    int rate;
    if (sscanf(command, "tone %d %lf %d", &x, &seconds, &rate) == 3)
        return tone(x, seconds, rate);
    if (strcmp(command, "quiet") == 0)
        return end_tone(), true;
    if (sscanf(command, "listen %lf %d", &seconds, &rate) == 2)
        return listen_to(seconds, rate);
    if (sscanf(command, "volume %d", &x) == 1)
        return set_volumes(x);
    if (strncmp(command, "sh ", 3) == 0)
        return fflush(stdout), system(command + 3) == 0;
    if (strcmp(command, "console") == 0) {
        frames_left = blinks_left = plays_left = reacting = 0;
        if (drm >= 0) {
            destroy_buffer(&screens[0]), destroy_buffer(&screens[1]), destroy_buffer(&cursor);
            close(drm);
            drm = -1;
        }
        return true;
    }
    if (!load_font() || !need_screen())
        return false;
    if (strcmp(command, "stop") == 0)
        return frames_left = blinks_left = plays_left = reacting = 0, true;
    if (strcmp(command, "picture") == 0)
        return frames_left = blinks_left = 0, draw_picture(&screens[shown]), flush(0, 0, mode.hdisplay, mode.vdisplay);
    if (strcmp(command, "size") == 0)
        return printf("stage: size %u %u\n", mode.hdisplay, mode.vdisplay), true;
    if (sscanf(command, "fill %x", &colour) == 1) {
        rectangle(&screens[shown], 0, 0, mode.hdisplay, mode.vdisplay, colour);
        return flush(0, 0, mode.hdisplay, mode.vdisplay);
    }
    if (sscanf(command, "clap %x", &colour) == 1) {
        rectangle(&screens[shown], 0, 0, mode.hdisplay, mode.vdisplay, colour);
        return flush(0, 0, mode.hdisplay, mode.vdisplay) && tone(1000, 0.3, 48000);
    }
    if (sscanf(command, "mode %u %u", &width, &height) == 2) {
        choose_mode(width, height);
        buffers = 1;
        if (!set_mode())
            return false;
        return show_picture(), true;
    }
    if (strcmp(command, "off") == 0)
        return switch_off();
    if (sscanf(command, "animate %ld %d", &frames_left, &period_ms) == 2)
        return scrolled_rows = 0, frame = 0, due_ms = now_ms(), true;
    if (sscanf(command, "scroll %ld %d %u", &frames_left, &period_ms, &scrolled_rows) == 3)
        return frame = 0, due_ms = now_ms(), true;
    if (sscanf(command, "flips %ld", &count) == 1)
        return frames_left = blinks_left = 0, time_flips(count);
    if (sscanf(command, "blink %ld %d", &blinks_left, &period_ms) == 2)
        return due_ms = now_ms(), true;
    if (sscanf(command, "film %15s", word) == 1 && screens[shown].width == FILM_WIDTH && screens[shown].height == FILM_HEIGHT) {
        film = film_by_name(word);
        return film >= 0 && (reel = film_make((unsigned)film, font)) && show_whole_film(0);
    }
    if (sscanf(command, "show %ld", &count) == 1 && film >= 0)
        return show_whole_film((unsigned)count);
    if (sscanf(command, "buffers %u", &width) == 1)
        return buffers = width == 2 ? 2 : 1, true;
    if (sscanf(command, "play %ld %d", &count, &period_ms) == 2 && film >= 0)
        return plays_left = count, drawn_count = 0, due_ms = now_ms(), true;
    if (strcmp(command, "react") == 0)
        return reacting = true;
    if (sscanf(command, "cursor %15s %d %d", word, &x, &y) == 3)
        return show_cursor(word, x, y);
    errno = EINVAL;
    return false;
}

static void answer(const char *command) {
    errno = 0;
    if (run(command))
        printf("stage: ok\n");
    else
        printf("stage: error %s: %s\n", command, strerror(errno));
}
