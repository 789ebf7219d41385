// A guest without the guest: plays the films of film.h into a buffer in memory and tells a display server of each change.
// One command a line comes in on standard input, and each is answered by a line `ok` or `error WHY`.
//
//   film NAME           shows the first frame of a film
//   memory KIND         `shared`: plain shared memory; `dmabuf`: the same memory, said to be a dmabuf
//   show NUMBER         shows one frame, without its number
//   number NUMBER       … with it
//   run COUNT PERIOD    plays so many frames, one each PERIOD µs; 0: as soon as the guest may draw. Tells of each, before
//                       its answer: `update NUMBER SAID RELEASED`, both times in ns of CLOCK_MONOTONIC
//   frames FILE         writes the film: its first frame, and then of each frame what moves

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "player.h"

#define FRAME_BYTES ((size_t)FILM_WIDTH * FILM_HEIGHT * 4)
#define MAX_RUN 100000

static uint8_t font[256 * 32];
static int film = -1;
static unsigned number;
static const struct film_reel *reel;
static uint32_t *buffer;
static int buffer_fd;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// Copies a part of a frame into the buffer: what a guest's drawing would come to.
static void draw(struct film_rect part) {
    film_copy(reel, number, part, buffer, FILM_WIDTH);
}

static void show_whole(void) {
    struct film_rect whole = {0, 0, FILM_WIDTH, FILM_HEIGHT};
    draw(whole);
    server_update(whole);
}

static void play(long ms, long period_us) {
    static int64_t told[MAX_RUN][3];
    int64_t due = now_ns(), end = due + ms * 1000000;
    long count = 0;
    for (; count < MAX_RUN && due < end; count++) {
        struct timespec until = {due / 1000000000, due % 1000000000};
        while (period_us > 0 && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
            ;
        number++;
        struct film_rect damage = film_damage((unsigned)film, number % FILM_FRAMES);
        draw(damage);
        film_number((unsigned)film, number, buffer, FILM_WIDTH);
        told[count][0] = number;
        told[count][1] = now_ns();
        server_update(damage);
        told[count][2] = now_ns();
        due = MAX(due + period_us * 1000, told[count][2]);
    }
    for (long i = 0; i < count; i++)
        printf("update %ld %ld %ld\n", (long)told[i][0], (long)told[i][1], (long)told[i][2]);
}

static const char *run(const char *command) {
    char word[256];
    long count, period;
    if (sscanf(command, "film %255s", word) == 1) {
        if (film_by_name(word) < 0)
            return "no such film";
        film = film_by_name(word);
        reel = film_make((unsigned)film, font);
        if (!reel)
            return film = -1, "no memory for it";
        number = 0;
        return show_whole(), NULL;
    }
    if (sscanf(command, "memory %255s", word) == 1)
        return server_scanout(buffer_fd, strcmp(word, "dmabuf") == 0), NULL;
    if (film < 0)
        return "no film yet";
    if (sscanf(command, "show %ld", &count) == 1) {
        number = (unsigned)count;
        return show_whole(), NULL;
    }
    if (sscanf(command, "number %ld", &count) == 1) {
        number = (unsigned)count;
        draw(films[film].moving);
        film_number((unsigned)film, number, buffer, FILM_WIDTH);
        return server_update(films[film].moving), NULL;
    }
    if (sscanf(command, "run %ld %ld", &count, &period) == 2)
        return play(count, period), NULL;
    if (sscanf(command, "frames %255s", word) == 1) {
        FILE *file = fopen(word, "wb");
        size_t moving = (size_t)films[film].moving.width * films[film].moving.height * 4;
        bool done = file && fwrite(reel->whole, FRAME_BYTES, 1, file) == 1 &&
                    (moving == 0 || fwrite(reel->moving, moving, FILM_FRAMES, file) == FILM_FRAMES);
        return file && fclose(file) == 0 && done ? NULL : "cannot write the file";
    }
    return "no such command";
}

// Not on the main thread: the server under measurement may need that one.
static void *commands(void *unused) {
    char line[512];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        const char *error = run(line);
        printf(error ? "error %s\n" : "ok\n", error);
        fflush(stdout);
    }
    exit(0);
    return unused;
}

int main(int argc, char **argv) {
    const char *font_path = argc > 1 ? argv[1] : "";
    FILE *file = fopen(font_path, "rb");
    if (!file || fread(font, sizeof font, 1, file) != 1)
        g_error("the first argument is a font: 256 letters of 8x16, 32 bytes each");
    buffer_fd = memfd_create("screen", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    // Sealed, it can be mapped as a dmabuf can.
    if (buffer_fd < 0 || ftruncate(buffer_fd, (off_t)FRAME_BYTES) < 0 || fcntl(buffer_fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        g_error("no memory for the screen: %s", strerror(errno));
    buffer = mmap(NULL, FRAME_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, buffer_fd, 0);
    server_start(argc - 2, argv + 2);
    server_scanout(buffer_fd, false);
    printf("ok\n");
    fflush(stdout);
    g_thread_new("commands", commands, NULL);
    g_main_loop_run(g_main_loop_new(NULL, FALSE));
}
