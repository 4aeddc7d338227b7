/* As much of Arduino's API as the firmware uses, for a process of the host: no core for a chip with enough memory for a
 * camera's picture is in any Debian package. */
#ifndef ARDUINO_H
#define ARDUINO_H
#include <stddef.h>
#include <stdint.h>

#define LED_BUILTIN 13
#define OUTPUT 1
#define LOW 0
#define HIGH 1

struct Line {
    void begin(unsigned long) {}
    int available();
    int read();
    size_t write(const uint8_t *bytes, size_t count);
    size_t write(const char *text);
    void flush() {}
};
extern Line Serial;

unsigned long micros();
unsigned long millis();
void delay(unsigned long ms);
inline void pinMode(int, int) {}
inline void digitalWrite(int, int) {}
[[noreturn]] void NVIC_SystemReset();
#endif
