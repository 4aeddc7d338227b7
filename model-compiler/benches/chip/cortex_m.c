/* Runs a model over vectors that QEMU has put into RAM, compares every answer and
   says what it cost. Output and end go through semihosting. */
#include <stdint.h>
#include "model.h"

#define TIMER ((volatile uint32_t *)0x40000000)
#define VECTORS ((const int8_t *)0x21000000)
#define ANSWERS ((const int8_t *)0x21800000)
#define STACK_BYTES 65536u
#define UNTOUCHED 0xa5a5a5a5u
#ifndef VECTOR_COUNT
#define VECTOR_COUNT 32
#endif

extern uint32_t data_begin[], data_end[], data_load[], bss_begin[], bss_end[], stack_top[];
void reset(void);

static int semihosting(int call, const void *argument)
{
    register int r0 __asm__("r0") = call;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void say(const char *name, uint32_t value)
{
    char text[64];
    char digits[12];
    int at = 0, count = 0;
    while (*name) {
        text[at++] = *name++;
    }
    text[at++] = ' ';
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count) {
        text[at++] = digits[--count];
    }
    text[at++] = '\n';
    text[at] = 0;
    semihosting(4, text);
}

static void end(void)
{
    semihosting(0x18, (const void *)0x20026);
    for (;;) {
    }
}

static void fault(void)
{
    say("fault", 1);
    end();
}

/* Ticks of 40 ns, which with `-icount shift=0` are 40 instructions each. */
static __attribute__((noinline)) uint32_t invoke(int *failed)
{
    TIMER[0] = 0;
    TIMER[1] = 0xffffffffu;
    TIMER[2] = 0xffffffffu;
    TIMER[0] = 1;
    *failed |= tml_invoke();
    TIMER[0] = 0;
    return 0xffffffffu - TIMER[1];
}

/* Marks the stack below the caller's frame, or says how much of it was used since. */
static __attribute__((noinline)) uint32_t stack(int mark)
{
    volatile uint32_t *at = stack_top - STACK_BYTES / 4;
    uint32_t *here = (uint32_t *)__builtin_frame_address(0);
    if (mark) {
        for (; at < here - 6; at++) {
            *at = UNTOUCHED;
        }
    }
    while (*at == UNTOUCHED) {
        at++;
    }
    return (uint32_t)(here - (uint32_t *)at) * 4;
}

static void run(void)
{
    uint32_t ticks = 0, different = 0, deepest = 0;
    int vector, failed = 0;
    int32_t i;
    tml_init();
    for (vector = 0; vector < VECTOR_COUNT; vector++) {
        int8_t *in = tml_input();
        const int8_t *out;
        uint32_t used;
        for (i = 0; i < TML_INPUT_BYTES; i++) {
            in[i] = VECTORS[vector * TML_INPUT_BYTES + i];
        }
        stack(1);
        ticks += invoke(&failed);
        used = stack(0);
        deepest = used > deepest ? used : deepest;
        out = tml_output();
        for (i = 0; i < TML_OUTPUT_BYTES; i++) {
            different += out[i] != ANSWERS[vector * TML_OUTPUT_BYTES + i];
        }
    }
    say("failed", (uint32_t)failed);
    say("different", different);
    say("ticks", ticks);
    say("stack", deepest);
    end();
}

void reset(void)
{
    uint32_t *from = data_load, *to;
    for (to = data_begin; to < data_end;) {
        *to++ = *from++;
    }
    for (to = bss_begin; to < bss_end;) {
        *to++ = 0;
    }
    run();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (const void *)reset, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault,
};
