/* Cortex-M on ARM's MPS2 boards, which QEMU emulates (mps2-an386: Cortex-M4): CMSDK UART 0, CMSDK timer 0. */
#include "board.h"

#ifndef TML_CLOCK_HZ
#define TML_CLOCK_HZ 25000000u
#endif

#define REG(address) (*(volatile uint32_t *)(address))

#define UART_DATA REG(0x40004000u)
#define UART_STATE REG(0x40004004u)
#define UART_CTRL REG(0x40004008u)
#define UART_INT REG(0x4000400Cu)
#define UART_DIVISOR REG(0x40004010u)
#define TIMER_CTRL REG(0x40000000u)
#define TIMER_VALUE REG(0x40000004u)
#define TIMER_RELOAD REG(0x40000008u)
#define NVIC_ENABLE REG(0xE000E100u)
#define NVIC_CLEAR_PENDING REG(0xE000E280u)

enum {
    TX_FULL = 1,
    RX_FULL = 2,
    TX_ENABLE = 1,
    RX_ENABLE = 2,
    RX_INTERRUPT_ENABLE = 8,
    RX_INTERRUPT = 2,
    UART0_RX = 0 /* number of its interrupt */
};

const char board_name[] = TML_BOARD;

static uint32_t last_value;
static uint64_t ticks_so_far;

void board_init(void)
{
    __asm__ volatile("cpsid i"); /* a pending interrupt wakes all the same, and needs no handler */
    UART_DIVISOR = TML_CLOCK_HZ / TML_BAUD;
    UART_CTRL = TX_ENABLE | RX_ENABLE | RX_INTERRUPT_ENABLE;
    NVIC_ENABLE = 1u << UART0_RX;
    TIMER_RELOAD = 0xFFFFFFFFu;
    TIMER_VALUE = 0xFFFFFFFFu;
    TIMER_CTRL = 1;
    last_value = 0xFFFFFFFFu;
}

int board_read(void)
{
    if ((UART_STATE & RX_FULL) == 0) {
        __asm__ volatile("wfi");
        if ((UART_STATE & RX_FULL) == 0) {
            NVIC_CLEAR_PENDING = 1u << UART0_RX;
            return BOARD_READ_NOTHING;
        }
    }
    UART_INT = RX_INTERRUPT;
    NVIC_CLEAR_PENDING = 1u << UART0_RX;
    return (int)(UART_DATA & 0xFFu);
}

void board_write(const uint8_t *bytes, uint16_t count)
{
    while (count-- > 0) {
        while ((UART_STATE & TX_FULL) != 0) {
        }
        UART_DATA = *bytes++;
    }
}

void board_flush(void)
{
    /* What is in the transmitter leaves by itself. */
}

/* Ticks since the start. The timer counts down and wraps after 171 s, so that it has to be read more often:
 * the host asks for INFO or an inference, or nobody looks at the time. */
static uint64_t ticks(void)
{
    uint32_t value = TIMER_VALUE;
    ticks_so_far += last_value - value;
    last_value = value;
    return ticks_so_far;
}

uint32_t board_micros(void)
{
    return (uint32_t)(ticks() / (TML_CLOCK_HZ / 1000000u));
}

uint32_t board_millis(void)
{
    return (uint32_t)(ticks() / (TML_CLOCK_HZ / 1000u));
}

uint32_t board_boot_count(void)
{
    return 0; /* it has no memory that outlives a reset */
}

void board_identify(void)
{
    static const char line[] = "identify: here I am\n";
    board_write((const uint8_t *)line, sizeof line - 1);
}
