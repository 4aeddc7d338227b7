/* An Arduino board as a process: its AVR on libsimavr, whose first UART is a pseudo terminal.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * This program links libsimavr (GPL-3) and is under that license, unlike the rest of the repository. Nothing else
 * links it or contains it: it is compiled where it is needed and talked to over a serial port, as a board is.
 *
 *     board TYPE CHIP NAME DIR BOOTLOADER.hex
 *
 * TYPE is the board's name for device discovery, such as uno, and CHIP simavr's for its chip, such as atmega328p.
 * DIR gets what device discovery reads (board.json and the link tty) and flash.bin, which is the chip's flash itself,
 * mapped: what the bootloader has programmed is there after any kill, as in a real chip after a power cut.
 * The file DIR/adc, if there is one, holds the voltages at A0, A1 and so on in millivolts; it is read again and again.
 * A pseudo terminal has no DTR, so opening the port resets the chip, as opening the port of a real board does.
 * Ends on SIGTERM, on SIGINT, and when standard input closes if TINYMLAAS_LIFELINE is set.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <avr_adc.h>
#include <avr_uart.h>
#include <sim_avr.h>
#include <sim_hex.h>
#include <sim_io.h>
#include <sim_irq.h>
#include <sim_time.h>

#define CLOCK_HZ 16000000ul
/* simavr keeps a few bytes beyond the end of the flash. */
#define FLASH_BEYOND 16u
#define SUPPLY_MV 5000u
/* How much of the chip's time is simulated between two looks at the line. */
#define SLICE_CYCLES (CLOCK_HZ / 500)
/* The file system's moment for the link and board.json is short; paths are too. */
#define PATH 4096

static volatile sig_atomic_t stop;

static struct {
    int master;
    char path[128]; /* of the host's end */
    int host;       /* whether a host had it open at the last look */
    int opens;      /* inotify: a host that closes and opens at once is no hang-up that anybody sees */
} line;

static struct {
    avr_t *avr;
    avr_irq_t *input;
    int ready;      /* the UART takes another byte */
    uint64_t lived; /* cycles since the start; simavr's own count may begin anew at a reset */
    uint8_t out[4096];
    size_t out_count;
} chip;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void die(const char *what)
{
    fprintf(stderr, "board: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* DIR/name */
static const char *in(const char *dir, const char *name)
{
    static char paths[4][PATH];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    if (snprintf(path, PATH, "%s/%s", dir, name) >= PATH) {
        errno = ENAMETOOLONG;
        die(dir);
    }
    return path;
}

/* Whether somebody has opened the host's end since the last call. */
static int line_was_opened(void)
{
    union {
        struct inotify_event event; /* for its alignment */
        char bytes[4096];
    } events;
    int opened = 0;
    while (read(line.opens, events.bytes, sizeof events.bytes) > 0) {
        opened = 1;
    }
    return opened;
}

/* Raw mode, no exclusive lock, nothing waiting, for the next host. Closing it leaves the line hung up. */
static int line_tidy(void)
{
    struct termios raw;
    int host = open(line.path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (host < 0) {
        return -1;
    }
    ioctl(host, TIOCNXCL);
    tcflush(host, TCIFLUSH);
    tcgetattr(host, &raw);
    cfmakeraw(&raw);
    tcsetattr(host, TCSANOW, &raw);
    close(host);
    (void)line_was_opened(); /* that was us */
    return 0;
}

static void line_open(const char *dir)
{
    const char *new = in(dir, "tty.new");
    line.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (line.master < 0 || grantpt(line.master) != 0 || unlockpt(line.master) != 0
        || ptsname_r(line.master, line.path, sizeof line.path) != 0
        || (line.opens = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) < 0
        || inotify_add_watch(line.opens, line.path, IN_OPEN) < 0 || line_tidy() != 0) {
        die("cannot open a pseudo terminal");
    }
    line.host = 0;
    unlink(new);
    if (symlink(line.path, new) != 0 || rename(new, in(dir, "tty")) != 0) {
        die("cannot link the terminal");
    }
}

static void serial_number(const char *dir, char *number, size_t size)
{
    uint8_t random[6];
    FILE *file = fopen(in(dir, "serial-number"), "re");
    if (file != NULL && fgets(number, (int)size, file) != NULL && number[0] != 0) {
        number[strcspn(number, "\n")] = 0;
        fclose(file);
        return;
    }
    if (getentropy(random, sizeof random) != 0) {
        die("no random numbers");
    }
    for (size_t i = 0; i < sizeof random; i++) {
        snprintf(number + 2 * i, size - 2 * i, "%02X", random[i]);
    }
    file = fopen(in(dir, "serial-number"), "we");
    if (file == NULL || fputs(number, file) < 0 || fclose(file) != 0) {
        die("cannot write the serial number");
    }
}

/* Tells device discovery who is here. Names come from the command line and contain nothing that JSON escapes. */
static void publish(const char *dir, const char *type, const char *name, const char *number)
{
    FILE *file = fopen(in(dir, "board.json.new"), "we");
    if (file == NULL) {
        die("cannot write board.json");
    }
    fprintf(file,
            "{\n  \"board\": \"%s\",\n  \"name\": \"%s\",\n  \"serial_number\": \"%s\",\n"
            "  \"product\": \"%s in simavr\",\n  \"manufacturer\": \"TinyMLaaS\",\n  \"port\": \"tty\",\n"
            "  \"terminal\": \"%s\",\n  \"process\": %d\n}\n",
            type, name, number, chip.avr->mmcu, line.path, (int)getpid());
    if (fclose(file) != 0 || rename(in(dir, "board.json.new"), in(dir, "board.json")) != 0) {
        die("cannot write board.json");
    }
}

static void on_output(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    (void)param;
    if (line.host && chip.out_count < sizeof chip.out) {
        chip.out[chip.out_count++] = (uint8_t)value; /* without a host nobody hears it, as on any line */
    }
}

static void on_ready(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    (void)value;
    (void)param;
    chip.ready = 1;
}

static void on_full(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    (void)value;
    (void)param;
    chip.ready = 0;
}

/* A sleeping chip waits for its timers; the main loop keeps the pace, so only the cycles are counted here. */
static void on_sleep(avr_t *avr, avr_cycle_count_t cycles)
{
    (void)avr;
    (void)cycles;
}

static void quiet(avr_t *avr, const int level, const char *format, va_list arguments)
{
    (void)avr;
    if (level <= LOG_ERROR) {
        vfprintf(stderr, format, arguments);
    }
}

static void chip_make(const char *dir, const char *name, const char *bootloader)
{
    uint32_t flags = 0;
    uint32_t size = 0;
    uint32_t start = 0;
    uint8_t *boot;
    uint8_t *flash;
    uint32_t flash_bytes;
    struct stat stat;
    int file;
    int fresh;

    avr_global_logger_set(quiet);
    chip.avr = avr_make_mcu_by_name(name);
    if (chip.avr == NULL) {
        fprintf(stderr, "board: this libsimavr has no %s\n", name);
        exit(1);
    }
    avr_init(chip.avr);
    flash_bytes = chip.avr->flashend + 1u;
    file = open(in(dir, "flash.bin"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    fresh = file >= 0 && fstat(file, &stat) == 0 && stat.st_size != (off_t)flash_bytes + FLASH_BEYOND;
    if (file < 0 || (fresh && ftruncate(file, (off_t)flash_bytes + FLASH_BEYOND) != 0)) {
        die("cannot make flash.bin");
    }
    flash = mmap(NULL, flash_bytes + FLASH_BEYOND, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (flash == MAP_FAILED) {
        die("cannot map flash.bin");
    }
    close(file);
    if (fresh) {
        memset(flash, 0xFF, flash_bytes);
    }
    boot = read_ihex_file(bootloader, &size, &start);
    if (boot == NULL || start >= flash_bytes || size > flash_bytes - start) {
        fprintf(stderr, "board: %s is no bootloader of an %s\n", bootloader, name);
        exit(1);
    }
    memcpy(flash + start, boot, size);
    free(boot);

    free(chip.avr->flash);
    chip.avr->flash = flash;
    chip.avr->codeend = chip.avr->flashend;
    chip.avr->frequency = CLOCK_HZ;
    chip.avr->vcc = chip.avr->avcc = chip.avr->aref = SUPPLY_MV;
    chip.avr->sleep = on_sleep;
    chip.avr->reset_pc = start; /* BOOTRST is programmed */
    /* simavr would otherwise print the UART, and sleep on the host whenever the chip polls it. */
    avr_ioctl(chip.avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
    flags &= (uint32_t)~(AVR_UART_FLAG_STDIO | AVR_UART_FLAG_POLL_SLEEP);
    avr_ioctl(chip.avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    chip.input = avr_io_getirq(chip.avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(chip.avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_output, NULL);
    avr_irq_register_notify(avr_io_getirq(chip.avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), on_ready, NULL);
    avr_irq_register_notify(avr_io_getirq(chip.avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), on_full, NULL);
}

/* Puts on the analogue pins what the file says; the supply has 5 V. */
static void chip_feed(const char *dir)
{
    unsigned millivolts;
    int pin;
    FILE *file = fopen(in(dir, "adc"), "re");
    for (pin = 0; file != NULL && pin < 8 && fscanf(file, "%u", &millivolts) == 1; pin++) {
        avr_raise_irq(avr_io_getirq(chip.avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_ADC0 + pin), millivolts);
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void chip_reset(void)
{
    avr_reset(chip.avr);
    chip.avr->pc = chip.avr->reset_pc;
    chip.ready = 1;
    chip.out_count = 0;
}

/* Simulates one slice. An empty flash runs over its end and into the bootloader again, as the real one does. */
static void chip_run(void)
{
    avr_cycle_count_t begin = chip.avr->cycle;
    int state = cpu_Running;
    while (chip.avr->cycle - begin < SLICE_CYCLES && !stop && state != cpu_Done && state != cpu_Crashed) {
        state = avr_run(chip.avr);
    }
    chip.lived += chip.avr->cycle - begin;
    if (state == cpu_Done || state == cpu_Crashed) {
        fprintf(stderr, "board: the program crashed the chip: reset\n");
        chip_reset();
    }
}

/* Looks whether a host has come or gone, and moves bytes. */
static void line_serve(const char *dir, const char *type, const char *name, const char *number)
{
    uint8_t byte;
    struct pollfd ask = { line.master, POLLIN, 0 };
    int here;
    int opened = line_was_opened();
    if (poll(&ask, 1, 0) < 0 && errno != EINTR) {
        die("cannot wait for the line");
    }
    here = (ask.revents & POLLHUP) == 0 || (ask.revents & POLLIN) != 0;
    if (here && (opened || !line.host)) {
        chip_reset();
    }
    if (here != line.host) {
        line.host = here;
        if (!here && line_tidy() != 0) {
            /* A killed host has left its lock and we are not root: plug in anew. */
            close(line.master);
            close(line.opens);
            line_open(dir);
            publish(dir, type, name, number);
        }
    }
    if (!here) {
        chip.out_count = 0;
    }
    while (here && chip.ready && read(line.master, &byte, 1) == 1) {
        avr_raise_irq(chip.input, byte);
    }
    if (chip.out_count > 0) {
        ssize_t put = write(line.master, chip.out, chip.out_count);
        if (put > 0) {
            chip.out_count -= (size_t)put;
            memmove(chip.out, chip.out + put, chip.out_count);
        }
    }
}

static int lifeline_is_cut(void)
{
    struct pollfd ask = { STDIN_FILENO, POLLIN, 0 };
    char byte;
    return getenv("TINYMLAAS_LIFELINE") != NULL && poll(&ask, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

int main(int count, char **arguments)
{
    char number[64] = "";
    struct sigaction action = { .sa_handler = on_signal };
    const char *type;
    const char *name;
    const char *dir;
    int lock;
    uint64_t began;
    uint64_t behind = 0;
    unsigned slices = 0;
    if (count != 6) {
        fprintf(stderr, "usage: board TYPE CHIP NAME DIR BOOTLOADER.hex\n");
        return 2;
    }
    type = arguments[1];
    name = arguments[3];
    dir = arguments[4];
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        die(dir);
    }
    lock = open(in(dir, "lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
        die("another process runs this board");
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    chip_make(dir, arguments[2], arguments[5]);
    serial_number(dir, number, sizeof number);
    line_open(dir);
    publish(dir, type, name, number);
    chip_reset();

    began = now_us();
    while (!stop && !lifeline_is_cut()) {
        uint64_t due;
        uint64_t now;
        if (slices++ % 25 == 0) { /* every 50 ms of the chip */
            chip_feed(dir);
        }
        chip_run();
        line_serve(dir, type, name, number);
        due = began + chip.lived * 1000000u / CLOCK_HZ;
        now = now_us();
        if (due > now) {
            usleep((useconds_t)(due - now));
        } else if (now - due > 200000u) {
            /* The host is too slow or stood still: the chip does not run faster to catch up. */
            behind += now - due;
            began += now - due;
        }
    }
    unlink(in(dir, "board.json"));
    unlink(in(dir, "tty"));
    fprintf(stderr, "board: unplugged; the host was %llu ms too slow\n", (unsigned long long)(behind / 1000u));
    return 0;
}
