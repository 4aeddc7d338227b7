/* The native board: a process whose stdin and stdout are the serial line, and whose
 * surroundings (reset, bootloader, flash) are the process that started it. */
#define _POSIX_C_SOURCE 200809L
#ifdef __linux__
#define _DEFAULT_SOURCE
#endif

#include "board.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <signal.h>
#include <sys/prctl.h>
#endif

const char board_name[] = "native";

static uint8_t in[1024];
static size_t in_count;
static size_t in_taken;
static uint8_t out[1024];
static size_t out_count;
static struct timespec started;

void board_init(void)
{
#ifdef __linux__
    /* A model that never returns does not see its stdin closing: go with the parent. */
    const char *parent = getenv("TML_PARENT");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (parent != NULL && strtol(parent, NULL, 10) != (long)getppid()) {
        _exit(0); /* it has gone already */
    }
#endif
    (void)clock_gettime(CLOCK_MONOTONIC, &started);
}

int board_read(void)
{
    while (in_taken == in_count) {
        ssize_t got = read(STDIN_FILENO, in, sizeof in);
        if (got > 0) {
            in_count = (size_t)got;
            in_taken = 0;
        } else if (got == 0 || errno != EINTR) {
            return BOARD_READ_CLOSED;
        }
    }
    return in[in_taken++];
}

void board_flush(void)
{
    size_t done = 0;
    while (done < out_count) {
        ssize_t put = write(STDOUT_FILENO, out + done, out_count - done);
        if (put > 0) {
            done += (size_t)put;
        } else if (errno != EINTR) {
            _exit(0); /* nobody listens any more */
        }
    }
    out_count = 0;
}

void board_write(const uint8_t *bytes, uint16_t count)
{
    uint16_t i;
    for (i = 0; i < count; i++) {
        if (out_count == sizeof out) {
            board_flush();
        }
        out[out_count++] = bytes[i];
    }
}

/* Time since the start in units of 1/per_second, modulo 2^32 as on a small board. */
static uint32_t since_start(uint32_t per_second)
{
    struct timespec now;
    uint64_t ns;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (uint64_t)(now.tv_sec - started.tv_sec) * 1000000000u + (uint64_t)now.tv_nsec
         - (uint64_t)started.tv_nsec;
    return (uint32_t)(ns / (1000000000u / per_second));
}

uint32_t board_micros(void)
{
    return since_start(1000000u);
}

uint32_t board_millis(void)
{
    return since_start(1000u);
}

uint32_t board_boot_count(void)
{
    const char *count = getenv("TML_BOOT_COUNT");
    return count == NULL ? 0 : (uint32_t)strtoul(count, NULL, 10);
}

uint32_t board_stack_left(void)
{
    return 0; /* the host gives more when it is needed */
}

void board_identify(void)
{
    static const char line[] = "identify: here I am\n";
    board_write((const uint8_t *)line, sizeof line - 1);
}

void board_reset(int bootloader)
{
    (void)bootloader; /* whoever started the process decides what comes next */
    board_flush();
    _exit(0);
}
