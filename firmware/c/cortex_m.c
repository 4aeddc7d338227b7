/* What all Cortex-M boards without an operating system share: start, faults, reset, and how deep the stack has been. */
#include "board.h"

#include <stdlib.h>

#define SCB_AIRCR (*(volatile uint32_t *)0xE000ED0Cu)

/* The linker script's. */
extern uint32_t data_from[], data_begin[], data_end[], bss_begin[], bss_end[], stack_top[];

int main(void);

#define PAINT 0xC5C5C5C5u

void reset_handler(void);
void reset_handler(void)
{
    uint32_t *at;
    const uint32_t *from = data_from;
    uint32_t *stack;
    __asm__ volatile("mov %0, sp" : "=r"(stack));
    for (at = data_begin; at < data_end; at++) {
        *at = *from++;
    }
    for (at = bss_begin; at < bss_end; at++) {
        *at = 0;
    }
    /* The rest up to the stack is painted, so that board_stack_left() can tell how deep it has been. */
    for (at = bss_end; at < stack - 16; at++) {
        *at = PAINT;
    }
    (void)main();
    board_reset(0);
}

/* Any fault starts the firmware anew; the host sees that by an INFO that it did not ask for. */
__attribute__((noreturn)) static void fault_handler(void)
{
    board_reset(0);
    for (;;) {
    }
}

/* The C library's would want an operating system. */
void abort(void)
{
    fault_handler();
}

/* Stack pointer, reset, NMI and the faults. Interrupts only wake, see board_read(). */
__attribute__((section(".vectors"), used)) static void (*const vectors[7])(void) = {
    (void (*)(void))stack_top, reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
};

uint32_t board_stack_left(void)
{
    const uint32_t *at = bss_end;
    while (at < stack_top && *at == PAINT) {
        at++;
    }
    return (uint32_t)((const uint8_t *)at - (const uint8_t *)bss_end);
}

__attribute__((weak)) void board_reset(int bootloader)
{
    (void)bootloader; /* whoever runs the machine decides what comes next */
    SCB_AIRCR = 0x05FA0004u;
}
