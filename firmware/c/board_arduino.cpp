/* Every board that has an Arduino core, as a sketch: Serial, micros(), millis() and the LED. */
#include <Arduino.h>

#ifdef TML_OV7675
#include <Arduino_OV767X.h>
#endif

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

#if defined(TML_ADC_PIN)
int board_sensor(uint16_t at, uint16_t *value)
{
    static uint32_t due;
    uint32_t now = micros();
    (void)at;
    if ((int32_t)(now - due) < 0) {
        return 0;
    }
    due += 1000000ul / TML_ADC_HZ;
    if ((int32_t)(now - due) >= 0) {
        due = now + 1000000ul / TML_ADC_HZ; /* the model has run in between: no catching up */
    }
    *value = (uint16_t)analogRead(A0 + TML_ADC_PIN);
    return 1;
}

static void sensor_init(void)
{
}
#elif defined(TML_OV7675)
/* 160 by 120, the smallest that the module gives; the middle of it, as wide as the model's picture is in proportion, is
 * taken and scaled by nearest neighbour. */
static uint8_t picture[160 * 120];
static bool has_camera;

static void sensor_init(void)
{
    has_camera = Camera.begin(QQVGA, GRAYSCALE, 5) != 0;
}

int board_sensor(uint16_t at, uint16_t *value)
{
    const uint32_t across = 120ul * TML_PICTURE_WIDTH / TML_PICTURE_HEIGHT;
    const uint32_t width = across > 160 ? 160 : across;
    const uint32_t height = width * TML_PICTURE_HEIGHT / TML_PICTURE_WIDTH;
    uint32_t row = at / TML_PICTURE_WIDTH;
    uint32_t column = at % TML_PICTURE_WIDTH;
    if (!has_camera) {
        return 0;
    }
    if (at == 0) {
        Camera.readFrame(picture);
    }
    row = (120 - height) / 2 + row * height / TML_PICTURE_HEIGHT;
    column = (160 - width) / 2 + column * width / TML_PICTURE_WIDTH;
    *value = picture[row * 160 + column];
    return 1;
}
#else
static void sensor_init(void)
{
}
#endif

void setup()
{
    board_init();
    sensor_init();
    tml_core_start();
}

void loop()
{
    (void)tml_core_step();
}
