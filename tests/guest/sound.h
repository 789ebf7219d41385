// The guest's sound card, through the kernel's OSS emulation: tones, and what is heard.

#include <math.h>
#include <signal.h>
#include <sys/soundcard.h>
#include <sys/wait.h>

#define SOUND_CHANNELS 2

// Opens the sound card for signed samples of 16 bits in stereo. The card may take another rate, which is returned.
static int open_sound(int how, int *rate) {
    int fd = open("/dev/dsp", how);
    int format = AFMT_S16_LE, channels = SOUND_CHANNELS, fragments = 16 << 16 | 12; // 16 of 4096 bytes: a slow machine plays on
    if (fd < 0)
        return -1;
    if (ioctl(fd, SNDCTL_DSP_SETFRAGMENT, &fragments) < 0 || ioctl(fd, SNDCTL_DSP_SETFMT, &format) < 0 ||
        ioctl(fd, SNDCTL_DSP_CHANNELS, &channels) < 0 || ioctl(fd, SNDCTL_DSP_SPEED, rate) < 0 ||
        format != AFMT_S16_LE || channels != SOUND_CHANNELS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void play_tone(int fd, int hz, double seconds, int rate) {
    static int16_t piece[256 * SOUND_CHANNELS];
    long frames = (long)(seconds * rate);
    for (long at = 0; at < frames; at += 256) {
        for (long i = 0; i < 256; i++)
            piece[2 * i] = piece[2 * i + 1] = (int16_t)(8000 * sin((double)(at + i) * hz * 2 * M_PI / rate));
        if (write(fd, piece, sizeof piece) != sizeof piece)
            return;
    }
    ioctl(fd, SNDCTL_DSP_SYNC, 0);
}

static pid_t playing;

static void end_tone(void) {
    if (playing > 0) {
        kill(playing, SIGKILL);
        waitpid(playing, NULL, 0);
        playing = 0;
    }
}

// Plays a tone while the stage goes on.
static bool tone(int hz, double seconds, int rate) {
    end_tone();
    int fd = open_sound(O_WRONLY, &rate);
    if (fd < 0)
        return false;
    playing = fork();
    if (playing == 0) {
        play_tone(fd, hz, seconds, rate);
        _exit(0);
    }
    close(fd);
    return playing > 0;
}

// Records, and tells what: how often the sound rises through zero in a second, how loud it is, and how many pieces of it are silent.
static bool listen_to(double seconds, int rate) {
    int fd = open_sound(O_RDONLY, &rate);
    if (fd < 0)
        return false;
    static int16_t piece[256 * SOUND_CHANNELS];
    long wanted = (long)(seconds * rate), heard = 0, rises = 0, silent = 0, pause = 0, loudest = 0, first = -1, last = -1;
    bool below = false;
    while (heard < wanted) {
        ssize_t size = read(fd, piece, sizeof piece);
        if (size <= 0)
            return close(fd), false;
        for (long i = 0; i < size / 4; i++, heard++) {
            int now = piece[2 * i];
            if (now != 0) {
                first = first < 0 ? heard : first;
                last = heard;
            }
            loudest = abs(now) > loudest ? abs(now) : loudest;
            // Filters ring a little before a tone begins.
            rises += below && now > 200;
            below = now < -200 || (below && now <= 200);
        }
        // Whole pieces of exact silence, between others.
        bool all = true;
        for (long i = 0; i < size / 2; i++)
            all = all && piece[i] == 0;
        pause = first < 0 ? 0 : pause + all;
        if (!all) {
            silent += pause;
            pause = 0;
        }
    }
    close(fd);
    double time = first < 0 ? 0 : (double)(last - first + 1) / rate;
    printf("stage: heard hz=%.0f loudest=%ld ms=%.0f silent=%ld\n", time > 0 ? rises / time : 0, loudest, time * 1000, silent);
    return true;
}

// Sets every volume that the card has, and tells how many there are.
static bool set_volumes(int percent) {
    int fd = open("/dev/mixer", O_RDWR), mask = 0, count = 0;
    if (fd < 0 || ioctl(fd, SOUND_MIXER_READ_DEVMASK, &mask) < 0)
        return false;
    for (int device = 0; device < SOUND_MIXER_NRDEVICES; device++) {
        int volume = percent | percent << 8;
        if (mask & 1 << device)
            count += ioctl(fd, MIXER_WRITE(device), &volume) == 0;
    }
    close(fd);
    printf("stage: volumes %d\n", count);
    return count > 0;
}
