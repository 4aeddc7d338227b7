/* Nordic's nRF51 and nRF52 chips without an operating system: UART 0, TIMER 0 (nRF51 Series Reference Manual, chapters 18
 * and 29; the nRF52's UART and timer have the same registers). The board's file gives both pins of the line: numbers of port
 * 0, and 32 more for port 1. */
#include "board.h"

#define REG(address) (*(volatile uint32_t *)(address))

#define CLOCK_START REG(0x40000000u)
#define CLOCK_STARTED REG(0x40000100u)
#define UART_START_RX REG(0x40002000u)
#define UART_START_TX REG(0x40002008u)
#define UART_RX_READY REG(0x40002108u)
#define UART_TX_READY REG(0x4000211Cu)
#define UART_INTERRUPTS REG(0x40002304u)
#define UART_ENABLE REG(0x40002500u)
#define UART_PIN_TX REG(0x4000250Cu)
#define UART_PIN_RX REG(0x40002514u)
#define UART_RX REG(0x40002518u)
#define UART_TX REG(0x4000251Cu)
#define UART_BAUD REG(0x40002524u)
#define TIMER_START REG(0x40008000u)
#define TIMER_CAPTURE REG(0x40008040u)
#define TIMER_BITS REG(0x40008508u)
#define TIMER_PRESCALER REG(0x40008510u)
#define TIMER_VALUE REG(0x40008540u)
#define PORT_SET(port) REG(0x50000508u + 0x300u * (port))
#define PORT_OUTPUT(port) REG(0x50000518u + 0x300u * (port))
#define NVIC_ENABLE REG(0xE000E100u)
#define NVIC_CLEAR_PENDING REG(0xE000E280u)

enum {
    ENABLED = 4,
    RX_INTERRUPT = 1 << 2,
    BITS_32 = 3,
    MICROSECONDS = 4, /* 16 MHz by two to the power of this */
    UART0 = 2         /* number of its interrupt */
};

/* The register's unit is 16 MHz / 2^32, and its lower 12 bits are not used. */
#define BAUD_VALUE ((uint32_t)((((uint64_t)TML_BAUD << 32) / 16000000u + 0x800u) & 0xFFFFF000u))

const char board_name[] = TML_BOARD;

static uint32_t last_us;
static uint64_t us_so_far;

void board_init(void)
{
    uint32_t patience = 1000000;
    __asm__ volatile("cpsid i"); /* a pending interrupt wakes all the same, and needs no handler */
    CLOCK_START = 1;             /* the crystal: the internal oscillator is too far off for the line */
    while (CLOCK_STARTED == 0 && --patience > 0) {
    }
    PORT_SET(TML_TX_PIN / 32) = 1u << (TML_TX_PIN % 32); /* the line is high while it rests */
    PORT_OUTPUT(TML_TX_PIN / 32) = 1u << (TML_TX_PIN % 32);
    UART_PIN_TX = TML_TX_PIN;
    UART_PIN_RX = TML_RX_PIN;
    UART_BAUD = BAUD_VALUE;
    UART_ENABLE = ENABLED;
    UART_INTERRUPTS = RX_INTERRUPT;
    UART_RX_READY = 0;
    UART_START_RX = 1;
    UART_START_TX = 1;
    NVIC_ENABLE = 1u << UART0;
    TIMER_BITS = BITS_32;
    TIMER_PRESCALER = MICROSECONDS;
    TIMER_START = 1;
}

int board_read(void)
{
    if (UART_RX_READY == 0) {
        __asm__ volatile("wfi");
        if (UART_RX_READY == 0) {
            NVIC_CLEAR_PENDING = 1u << UART0;
            return BOARD_READ_NOTHING;
        }
    }
    UART_RX_READY = 0; /* before the byte is taken: taking it announces the next one */
    NVIC_CLEAR_PENDING = 1u << UART0;
    return (int)(UART_RX & 0xFFu);
}

void board_write(const uint8_t *bytes, uint16_t count)
{
    while (count-- > 0) {
        UART_TX_READY = 0;
        UART_TX = *bytes++;
        while (UART_TX_READY == 0) {
        }
    }
}

void board_flush(void)
{
    /* Each byte has left before the next one is written. */
}

/* Microseconds since the start. The timer wraps after 71 minutes, so that it has to be read more often: the host asks
 * for INFO or an inference, or nobody looks at the time. */
static uint64_t micros(void)
{
    uint32_t now;
    TIMER_CAPTURE = 1;
    now = TIMER_VALUE;
    us_so_far += now - last_us;
    last_us = now;
    return us_so_far;
}

uint32_t board_micros(void)
{
    return (uint32_t)micros();
}

uint32_t board_millis(void)
{
    return (uint32_t)(micros() / 1000u);
}

uint32_t board_boot_count(void)
{
    return 0; /* counting would wear out the flash */
}

void board_identify(void)
{
    static const char line[] = "identify: here I am\n";
    board_write((const uint8_t *)line, sizeof line - 1);
}
