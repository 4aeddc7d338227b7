/* AVR boards with USART0, Timer1 and a bootloader that DTR starts: Arduino Uno, Nano, Mega 2560.
 * Plain avr-libc. The board file gives F_CPU, TML_BOARD, TML_BAUD and the LED's bit in port B. */
#include "board.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
#include <avr/wdt.h>
#include <string.h>
#include <util/atomic.h>

#include "tml_frame.h"

#ifndef TML_LED_BIT
#define TML_LED_BIT 5
#endif

/* With the double speed bit, as Arduino's core sets it: 115200 is then 2.1 % off at 16 MHz, not 3.5 %. */
#define DIVISOR ((F_CPU / 4 / TML_BAUD - 1) / 2)

/* A frame of the longest payload with its overhead has 74 bytes. */
enum { RING = 128, TICKS_PER_US = F_CPU / 8 / 1000000 };

const char board_name[] = TML_BOARD;

static volatile uint8_t ring[RING];
static volatile uint8_t ring_head;
static uint8_t ring_tail;
static volatile uint32_t overflows; /* of Timer1 */

extern uint8_t __bss_end; /* the linker's: where free RAM begins */

enum { PAINT = 0xC5 };

/* Paints the free RAM before there is a stack worth speaking of, so that board_stack_left() can tell how
 * deep the stack has been. An .init section would be earlier, and a partial link loses it. */
static void paint(void)
{
    uint8_t *at = &__bss_end;
    const uint8_t *end = (const uint8_t *)SP - 8;
    while (at < end) {
        *at++ = PAINT;
    }
}

uint32_t board_stack_left(void)
{
    const uint8_t *at = &__bss_end;
    while (at < (const uint8_t *)SP && *at == PAINT) {
        at++;
    }
    return (uint32_t)(at - &__bss_end);
}

#ifdef USART_RX_vect
ISR(USART_RX_vect)
#else /* a chip with several */
ISR(USART0_RX_vect)
#endif
{
    uint8_t byte = UDR0;
    uint8_t next = (uint8_t)((ring_head + 1) % RING);
    if (next != ring_tail) { /* what does not fit is lost; the host sends it again */
        ring[ring_head] = byte;
        ring_head = next;
    }
}

ISR(TIMER1_OVF_vect)
{
    overflows++;
}

#ifdef TML_ADC_PIN
/* Timer1 counts the time between two values in parts that fit into its 16 bits, and starts a conversion each time. */
#define SAMPLE_TICKS (F_CPU / 8 / TML_ADC_HZ)
#define SAMPLE_PARTS (SAMPLE_TICKS / 65536 + 1)

static volatile uint16_t sample;
static volatile uint8_t sample_is_new;

ISR(TIMER1_COMPA_vect)
{
    static uint8_t part;
    OCR1A += (uint16_t)(SAMPLE_TICKS / SAMPLE_PARTS);
    if (++part >= SAMPLE_PARTS) {
        part = 0;
        ADCSRA |= 1 << ADSC;
    }
}

ISR(ADC_vect)
{
    sample = ADC;
    sample_is_new = 1;
}

static void sensor_init(void)
{
    ADMUX = (1 << REFS0) | TML_ADC_PIN; /* against the supply */
    /* F_CPU / 128: 125 kHz at 16 MHz, within what ten bits need */
    ADCSRA = (1 << ADEN) | (1 << ADIE) | (1 << ADPS2) | (1 << ADPS1) | (1 << ADPS0);
    TIMSK1 |= 1 << OCIE1A;
}

/* What comes while the model runs is not kept: the next input begins with the next value. */
int board_sensor(uint16_t at, uint16_t *value)
{
    int is_new;
    (void)at;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        is_new = sample_is_new;
        sample_is_new = 0;
        *value = sample;
    }
    return is_new;
}
#else
#define sensor_init()
#endif

void board_init(void)
{
    paint();
    wdt_disable(); /* a bootloader may have left it running */
    UBRR0 = DIVISOR;
    UCSR0A = 1 << U2X0;
    UCSR0C = (1 << UCSZ01) | (1 << UCSZ00); /* 8 bits, no parity, 1 stop bit */
    UCSR0B = (1 << RXEN0) | (1 << TXEN0) | (1 << RXCIE0);
    TCCR1A = 0;
    TCCR1B = 1 << CS11; /* F_CPU / 8 */
    TIMSK1 = 1 << TOIE1;
    DDRB |= (uint8_t)(1 << TML_LED_BIT);
    sensor_init();
    set_sleep_mode(SLEEP_MODE_IDLE);
    sei();
}

int board_read(void)
{
    uint8_t byte;
    cli();
    if (ring_head == ring_tail) {
        /* sei and sleep are one step: an interrupt in between would be slept through. */
        sleep_enable();
        sei();
        sleep_cpu();
        sleep_disable();
        return BOARD_READ_NOTHING;
    }
    sei();
    byte = ring[ring_tail];
    ring_tail = (uint8_t)((ring_tail + 1) % RING);
    return byte;
}

void board_write(const uint8_t *bytes, uint16_t count)
{
    while (count-- > 0) {
        while ((UCSR0A & (1 << UDRE0)) == 0) {
        }
        UCSR0A |= 1 << TXC0; /* cleared by writing one; set again once this byte has left */
        UDR0 = *bytes++;
    }
}

void board_flush(void)
{
    /* What is in the transmitter leaves by itself. */
}

/* Ticks of Timer1: its own 16 bits below the count of its overflows. */
static uint64_t ticks(void)
{
    uint32_t high;
    uint16_t low;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        low = TCNT1;
        high = overflows;
        if ((TIFR1 & (1 << TOV1)) != 0 && low < 0x8000) {
            high++; /* it has just overflowed and its interrupt waits */
        }
    }
    return ((uint64_t)high << 16) | low;
}

uint32_t board_micros(void)
{
    return (uint32_t)(ticks() / TICKS_PER_US);
}

uint32_t board_millis(void)
{
    return (uint32_t)(ticks() / (TICKS_PER_US * 1000ul));
}

uint32_t board_boot_count(void)
{
    return 0; /* counting would wear out the EEPROM */
}

void board_identify(void)
{
    uint32_t since = board_millis();
    PORTB |= (uint8_t)(1 << TML_LED_BIT);
    while (board_millis() - since < 300) {
    }
    PORTB &= (uint8_t)~(1 << TML_LED_BIT);
}

void board_reset(int bootloader)
{
    (void)bootloader; /* only DTR starts it: after a watchdog reset old bootloaders never come back */
    while ((UCSR0A & (1 << TXC0)) == 0) {
    }
    cli();
    UCSR0B = 0;
    TIMSK1 = 0;
#ifdef TML_ADC_PIN
    ADCSRA = 0;
#endif
    __asm__ volatile("jmp 0");
}
