/* Behind Arduino.h and Arduino_OV767X.h: the serial line is the process's pipes, the camera a pattern that moves. */
#include <Arduino.h>
#include <Arduino_OV767X.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <poll.h>
#include <unistd.h>

void setup();
void loop();

Line Serial;
OV767X Camera;

int Line::available()
{
    struct pollfd fd = {0, POLLIN, 0};
    return poll(&fd, 1, 0) > 0 ? 1 : 0;
}

int Line::read()
{
    uint8_t byte;
    if (::read(0, &byte, 1) != 1) {
        exit(0); /* the test has closed the line */
    }
    return byte;
}

size_t Line::write(const uint8_t *bytes, size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t got = ::write(1, bytes + done, count - done);
        if (got <= 0) {
            exit(0);
        }
        done += (size_t)got;
    }
    return done;
}

size_t Line::write(const char *text)
{
    return write((const uint8_t *)text, strlen(text));
}

unsigned long micros()
{
    auto now = std::chrono::steady_clock::now().time_since_epoch();
    return (unsigned long)std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

unsigned long millis()
{
    return micros() / 1000;
}

void delay(unsigned long ms)
{
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

void NVIC_SystemReset()
{
    exit(3);
}

int OV767X::begin(int resolution, int format, int fps)
{
    if (getenv("NO_CAMERA") || resolution != QQVGA || format != GRAYSCALE || (fps != 1 && fps != 5)) {
        return 0;
    }
    width = 160;
    height = 120;
    return 1;
}

void OV767X::readFrame(void *buffer)
{
    uint8_t *at = (uint8_t *)buffer;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            *at++ = (uint8_t)(3 * x + 5 * y + 7 * (int)frame);
        }
    }
    frame++;
}

int main()
{
    setup();
    for (;;) {
        loop();
    }
}
