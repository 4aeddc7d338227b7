/* Every board that has an Arduino core, as a sketch: Serial, micros(), millis() and the LED. */
#include <Arduino.h>

extern "C" {
#include "board.h"
#include "tml_core.h"
}

const char board_name[] = TML_BOARD;

void board_init(void)
{
    Serial.begin(TML_BAUD);
#ifdef LED_BUILTIN
    pinMode(LED_BUILTIN, OUTPUT);
#endif
}

int board_read(void)
{
    return Serial.available() > 0 ? Serial.read() : BOARD_READ_NOTHING;
}

void board_write(const uint8_t *bytes, uint16_t count)
{
    (void)Serial.write(bytes, count);
}

void board_flush(void)
{
    Serial.flush();
}

uint32_t board_micros(void)
{
    return micros();
}

uint32_t board_millis(void)
{
    return millis();
}

uint32_t board_boot_count(void)
{
    return 0; /* cores have no common place that outlives a reset */
}

uint32_t board_stack_left(void)
{
    return 0; /* with an operating system below there is more than one stack */
}

void board_identify(void)
{
    (void)Serial.write("identify: here I am\n");
#ifdef LED_BUILTIN
    for (int blink = 0; blink < 5; blink++) {
        digitalWrite(LED_BUILTIN, HIGH);
        delay(100);
        digitalWrite(LED_BUILTIN, LOW);
        delay(100);
    }
#endif
}

void board_reset(int bootloader)
{
    (void)bootloader; /* whoever uploads gets there by the core's own way, such as 1200 bit/s */
    Serial.flush();
#if defined(ESP32)
    ESP.restart();
#elif defined(__AVR__)
    noInterrupts();
    ((void (*)(void))0)(); /* the old bootloaders do not survive a reset by the watchdog */
#else
    NVIC_SystemReset();
#endif
}

void setup()
{
    board_init();
    tml_core_start();
}

void loop()
{
    (void)tml_core_step();
}
