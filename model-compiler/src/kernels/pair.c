/* Weights of two channels A and B lie side by side, those of four inputs in one group. */
#if TML_DSP
/* As 16-bit halves 256 * A + B of the inputs 0, 2, 1, 3, the order in which SXTB16 unpacks bytes.
   A sum over halves less the sum over their low bytes is 256 times the sum over A. */
#define TML_P(a, b) (int8_t)(b), (int8_t)((a) - ((b) < 0 ? 1 : 0))
#define TML_W(a0, b0, a1, b1, a2, b2, a3, b3) TML_P(a0, b0), TML_P(a2, b2), TML_P(a1, b1), TML_P(a3, b3)
#else
#define TML_W(a0, b0, a1, b1, a2, b2, a3, b3) a0, b0, a1, b1, a2, b2, a3, b3
#endif

#if TML_DSP
/* Assembly that does TML_QUAD `n` times, at least once. */
#if TML_SMALL
#define TML_UNROLLED "1:\n" TML_QUAD "subs %[n], #1\n" "bne 1b\n"
#else
#define TML_UNROLLED \
    "subs %[n], #4\n" \
    "blt 2f\n" \
    "1:\n" TML_QUAD TML_QUAD TML_QUAD TML_QUAD \
    "subs %[n], #4\n" \
    "bge 1b\n" \
    "2: adds %[n], #4\n" \
    "beq 4f\n" \
    "3:\n" TML_QUAD \
    "subs %[n], #1\n" \
    "bne 3b\n" \
    "4:\n"
#endif

/* Two pixels by two channels, twice their sums, 16 products in 12 instructions. `x` holds for every four
   inputs two words of the first pixel and two of the second, as tml_widen writes them. */
static inline void tml_dot_2x2(const int32_t *x, const int8_t *w, int quads, int32_t a, int32_t b, int32_t *twice)
{
    int32_t t0 = a * 256 + b, t1 = t0, s0 = b, s1 = b;
#define TML_QUAD \
    "ldmia %[x]!, {r4, r5, r6, r8}\n" \
    "ldmia %[w]!, {r9, r10}\n" \
    "smlad %[t0], r9, r4, %[t0]\n" \
    "smlad %[t1], r9, r6, %[t1]\n" \
    "smlad %[t0], r10, r5, %[t0]\n" \
    "smlad %[t1], r10, r8, %[t1]\n" \
    "sxtb16 r9, r9\n" \
    "sxtb16 r10, r10\n" \
    "smlad %[s0], r9, r4, %[s0]\n" \
    "smlad %[s1], r9, r6, %[s1]\n" \
    "smlad %[s0], r10, r5, %[s0]\n" \
    "smlad %[s1], r10, r8, %[s1]\n"
    __asm__ volatile(
        TML_UNROLLED
        : [x] "+r"(x), [w] "+r"(w), [n] "+r"(quads), [t0] "+r"(t0), [t1] "+r"(t1), [s0] "+r"(s0), [s1] "+r"(s1)
        :
        : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
#undef TML_QUAD
    twice[0] = (t0 - s0) >> 7;
    twice[1] = s0 * 2;
    twice[2] = (t1 - s1) >> 7;
    twice[3] = s1 * 2;
}

/* Bytes of one pixel to the words that tml_dot_2x2 reads; those of the other stay as they are. */
static inline void tml_widen(const int8_t *from, int32_t *to, int quads)
{
    for (; quads > 0; quads--, from += 4, to += 4) {
        int32_t bytes, even, odd;
        memcpy(&bytes, from, 4);
        __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(bytes));
        __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(bytes));
        to[0] = even;
        to[1] = odd;
    }
}
#elif defined(__AVR_HAVE_MUL__)
/* One pixel by two channels, twice their sums, which fit 24 bits: 13 cycles a product. */
static __attribute__((noinline)) void tml_dot(const int8_t *x, const int8_t *w, int quads, int32_t a, int32_t b, int32_t *twice)
{
    int8_t input, weight;
#define TML_ADD(sum) \
    "lpm %[weight], Z+\n" \
    "muls %[weight], %[input]\n" \
    "add %A[" sum "], r0\n" \
    "adc %B[" sum "], r1\n" \
    "adc %C[" sum "], %[zero]\n" \
    "sbrc r1, 7\n" \
    "dec %C[" sum "]\n"
#define TML_TAP "ld %[input], X+\n" TML_ADD("a") TML_ADD("b")
    __asm__ volatile(
        "1:\n" TML_TAP TML_TAP TML_TAP TML_TAP
        "sbiw %[n], 1\n"
        "brne 1b\n"
        "clr r1\n"
        : "+x"(x), "+z"(w), [n] "+w"(quads), [a] "+r"(a), [b] "+r"(b), [input] "=&d"(input), [weight] "=&d"(weight)
        : [zero] "r"((uint8_t)0)
        : "r0", "memory");
#undef TML_TAP
#undef TML_ADD
    twice[0] = (int32_t)((uint32_t)a << 8) >> 7;
    twice[1] = (int32_t)((uint32_t)b << 8) >> 7;
}
#else
/* One pixel by two channels, twice their sums. */
static void tml_dot(const int8_t *x, const int8_t *w, int quads, int32_t a, int32_t b, int32_t *twice)
{
    for (; quads > 0; quads--, x += 4, w += 8) {
        a += x[0] * w[0] + x[1] * w[2] + x[2] * w[4] + x[3] * w[6];
        b += x[0] * w[1] + x[1] * w[3] + x[2] * w[5] + x[3] * w[7];
    }
    twice[0] = a * 2;
    twice[1] = b * 2;
}
#endif
