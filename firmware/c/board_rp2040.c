/* RP2040 without an operating system: XOSC, system PLL at 125 MHz, UART 0 on GP0 (out) and GP1 (in), the timer's
 * microseconds, the ROM's way into its UF2 bootloader (RP2040 Datasheet, chapters 2.7, 2.8, 2.15 to 2.19, 4.2, 4.6, 4.7). */
#include "board.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define SET(address) REG((address) + 0x2000u)   /* writes ones */
#define CLEAR(address) REG((address) + 0x3000u) /* writes zeros */

#define CLK_REF_CTRL REG(0x40008030u)
#define CLK_REF_SELECTED REG(0x40008038u)
#define CLK_SYS_CTRL REG(0x4000803Cu)
#define CLK_SYS_SELECTED REG(0x40008044u)
#define CLK_PERI_CTRL REG(0x40008048u)
#define RESETS 0x4000C000u
#define RESETS_DONE REG(0x4000C008u)
#define PSM_WDSEL REG(0x40010008u)
#define GPIO_CTRL(pin) REG(0x40014004u + 8u * (pin))
#define XOSC_CTRL REG(0x40024000u)
#define XOSC_STATUS REG(0x40024004u)
#define XOSC_STARTUP REG(0x4002400Cu)
#define PLL_CS REG(0x40028000u)
#define PLL_PWR 0x40028004u
#define PLL_FBDIV REG(0x40028008u)
#define PLL_PRIM REG(0x4002800Cu)
#define UART_DATA REG(0x40034000u)
#define UART_FLAGS REG(0x40034018u)
#define UART_IBRD REG(0x40034024u)
#define UART_FBRD REG(0x40034028u)
#define UART_LCR REG(0x4003402Cu)
#define UART_CR REG(0x40034030u)
#define UART_MASK REG(0x40034038u)
#define TIMER_LOW REG(0x40054028u)
#define WATCHDOG_CTRL 0x40058000u
#define WATCHDOG_SCRATCH(number) REG(0x4005800Cu + 4u * (number))
#define WATCHDOG_TICK REG(0x4005802Cu)
#define NVIC_ENABLE REG(0xE000E100u)
#define NVIC_CLEAR_PENDING REG(0xE000E280u)

enum {
    CLOCK_HZ = 125000000,
    CRYSTAL_MHZ = 12,
    RESET_BITS = 1 << 5 | 1 << 8 | 1 << 12 | 1 << 21 | 1 << 22, /* pins, pads, system PLL, timer, UART 0 */
    FUNCTION_UART = 2,
    RX_EMPTY = 1 << 4,
    TX_FULL = 1 << 5,
    TX_BUSY = 1 << 3,
    RX_INTERRUPTS = 1 << 4 | 1 << 6, /* half full; or not empty, and nothing came for 32 bits */
    UART0 = 20,                      /* number of its interrupt */
    PATIENCE = 1000000
};

/* For a boot count that outlives a reset, though not a power cut. The ROM uses registers 4 to 7. */
#define COUNTED 0x544D4C21u

/*
 * The second stage of the boot (Datasheet 2.8.1.3): the ROM copies these 256 bytes into RAM, checks the CRC-32 at their
 * end, and runs them. They have flash mapped to memory by its plain read command, 03h, which every chip has, and start what
 * follows them. As words, so that no compiler can come to change what the CRC covers:
 *
 *   ldr r3, =0x18000000            the SSI
 *   movs r0, #0; str r0, [r3, #8]  off
 *   movs r1, #4; str r1, [r3, #20] its clock is a fourth of the system's
 *   ldr r1, =0x001F0300; str r1, [r3]   32 bits a frame, read after a command
 *   str r0, [r3, #4]               one frame at a time
 *   ldr r1, =0x03000218; ldr r2, =0x180000F4; str r1, [r2]   command 03h of 8 bits, address of 24, all on one wire
 *   movs r0, #1; str r0, [r3, #8]  on
 *   ldr r0, =0x10000100; ldr r1, =0xE000ED08; str r0, [r1]   VTOR
 *   ldmia r0!, {r1, r2}; msr msp, r1; bx r2
 */
__attribute__((section(".boot2"), used)) static const uint32_t boot2[64] = {
    0x20004B09, 0x21046098, 0x49086159, 0x60586019, 0x4A084907, 0x20016011, 0x48076098, 0x60084907,
    0xF381C806, 0x47108808, 0x18000000, 0x001F0300, 0x03000218, 0x180000F4, 0x10000100, 0xE000ED08,
    [63] = 0x1812A82C,
};

/* Interrupts only wake, see board_read(): with PRIMASK set a chip does not take them. Emulators are less strict. */
static void woken(void)
{
}

#define UNUSED woken, woken, woken, woken

/* What follows the vectors of faults: 9 of the core, then the chip's up to the UART's. */
__attribute__((section(".interrupts"), used)) static void (*const interrupts[9 + UART0 + 1])(void) = {
    UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, woken, woken,
};

const char board_name[] = TML_BOARD;

static uint32_t boots;

static void start_clocks(void)
{
    uint32_t patience;
    XOSC_CTRL = 0xAA0; /* 1 to 15 MHz */
    XOSC_STARTUP = 47; /* in 256 cycles of the crystal: a millisecond */
    SET(0x40024000u) = 0xFABu << 12;
    for (patience = PATIENCE; (XOSC_STATUS >> 31) == 0 && patience > 0; patience--) {
    }
    CLK_REF_CTRL = 2; /* from the crystal */
    while ((CLK_REF_SELECTED & 4) == 0) {
    }
    CLK_SYS_CTRL = 0; /* from the reference, while the PLL changes */
    while ((CLK_SYS_SELECTED & 1) == 0) {
    }
    /* 12 MHz * 125 / 6 / 2 */
    PLL_CS = 1;
    PLL_FBDIV = 125;
    CLEAR(PLL_PWR) = 1 << 5 | 1 << 0; /* the oscillator */
    for (patience = PATIENCE; (PLL_CS >> 31) == 0 && patience > 0; patience--) {
    }
    PLL_PRIM = 6u << 16 | 2u << 12;
    CLEAR(PLL_PWR) = 1 << 3; /* the dividers */
    CLK_SYS_CTRL = 1;        /* from the PLL */
    while ((CLK_SYS_SELECTED & 2) == 0) {
    }
    CLK_PERI_CTRL = 1 << 11; /* on, from the system's */
    WATCHDOG_TICK = 1 << 9 | CRYSTAL_MHZ;
}

void board_init(void)
{
    /* Divisor of the UART in 64ths. */
    const uint32_t divisor = (4u * CLOCK_HZ + TML_BAUD / 2) / TML_BAUD;
    __asm__ volatile("cpsid i");
    SET(RESETS) = RESET_BITS;
    CLEAR(RESETS) = RESET_BITS;
    while ((RESETS_DONE & RESET_BITS) != RESET_BITS) {
    }
    start_clocks();
    UART_IBRD = divisor >> 6;
    UART_FBRD = divisor & 63;
    UART_LCR = 3u << 5 | 1u << 4; /* 8 bits, FIFOs */
    UART_CR = 1u << 9 | 1u << 8 | 1u;
    UART_MASK = RX_INTERRUPTS;
    NVIC_ENABLE = 1u << UART0;
    GPIO_CTRL(0) = FUNCTION_UART;
    GPIO_CTRL(1) = FUNCTION_UART;
    boots = WATCHDOG_SCRATCH(1) == COUNTED ? WATCHDOG_SCRATCH(0) + 1 : 1;
    WATCHDOG_SCRATCH(0) = boots;
    WATCHDOG_SCRATCH(1) = COUNTED;
}

int board_read(void)
{
    if ((UART_FLAGS & RX_EMPTY) != 0) {
        __asm__ volatile("wfi"); /* a pending interrupt wakes all the same, and needs no handler */
        if ((UART_FLAGS & RX_EMPTY) != 0) {
            NVIC_CLEAR_PENDING = 1u << UART0;
            return BOARD_READ_NOTHING;
        }
    }
    NVIC_CLEAR_PENDING = 1u << UART0;
    return (int)(UART_DATA & 0xFFu);
}

void board_write(const uint8_t *bytes, uint16_t count)
{
    while (count-- > 0) {
        while ((UART_FLAGS & TX_FULL) != 0) {
        }
        UART_DATA = *bytes++;
    }
}

void board_flush(void)
{
    /* What is in the FIFO leaves by itself. */
}

uint32_t board_micros(void)
{
    return TIMER_LOW;
}

uint32_t board_millis(void)
{
    static uint32_t last;
    static uint64_t so_far;
    uint32_t now = TIMER_LOW;
    so_far += now - last; /* it wraps after 71 minutes, and is asked more often than that or by nobody */
    last = now;
    return (uint32_t)(so_far / 1000u);
}

uint32_t board_boot_count(void)
{
    return boots;
}

void board_identify(void)
{
    static const char line[] = "identify: here I am\n";
    board_write((const uint8_t *)line, sizeof line - 1);
}

/* Where the ROM has its half-word pointers; volatile, because GCC takes what is known to be so low for a null pointer. */
static const volatile uintptr_t rom_at = 0x14u;

void board_reset(int bootloader)
{
    while ((UART_FLAGS & TX_BUSY) != 0) {
    }
    if (bootloader) {
        /* The ROM's table of functions is searched by a function of the ROM for the name 'UB'. */
        typedef void *(*lookup)(uint16_t *table, uint32_t code);
        typedef void (*usb_boot)(uint32_t activity_pins, uint32_t disabled_interfaces);
        const volatile uint16_t *rom = (const volatile uint16_t *)rom_at;
        uint16_t *table = (uint16_t *)(uintptr_t)rom[0];
        lookup find = (lookup)(uintptr_t)rom[2];
        usb_boot boot = (usb_boot)find(table, 'U' | 'B' << 8);
        boot(0, 0);
    }
    PSM_WDSEL = 0x1FFFCu; /* all but the oscillators */
    SET(WATCHDOG_CTRL) = 1u << 31;
    for (;;) {
    }
}
