/* Products of 32-bit numbers where the chip has no wide multiplication: a * b / 2^32, rounded, or twice that if
   `doubled`; not both are INT32_MIN. */
#if defined(__AVR_HAVE_MUL__)
#define TML_HALVES 1
static __attribute__((noinline)) int32_t tml_halves(int32_t a, int32_t b, uint8_t doubled)
{
    uint32_t low, high;
    /* Bytes i and j go to column i + j, in the order of columns, so that carries end two columns on. */
#define TML_M(i, j, to, next, over) \
    "mul %" i "[a], %" j "[b]\n" \
    "add %" to ", r0\n" \
    "adc %" next ", r1\n" \
    "adc %" over ", %A[zeros]\n"
    __asm__(
        "mul %A[a], %A[b]\n"
        "movw %A[low], r0\n"
        "movw %C[low], %A[zeros]\n"
        "movw %A[high], %A[zeros]\n"
        "movw %C[high], %A[zeros]\n"
        TML_M("A", "B", "B[low]", "C[low]", "D[low]")
        TML_M("B", "A", "B[low]", "C[low]", "D[low]")
        TML_M("A", "C", "C[low]", "D[low]", "A[high]")
        TML_M("B", "B", "C[low]", "D[low]", "A[high]")
        TML_M("C", "A", "C[low]", "D[low]", "A[high]")
        TML_M("A", "D", "D[low]", "A[high]", "B[high]")
        TML_M("B", "C", "D[low]", "A[high]", "B[high]")
        TML_M("C", "B", "D[low]", "A[high]", "B[high]")
        TML_M("D", "A", "D[low]", "A[high]", "B[high]")
        TML_M("B", "D", "A[high]", "B[high]", "C[high]")
        TML_M("C", "C", "A[high]", "B[high]", "C[high]")
        TML_M("D", "B", "A[high]", "B[high]", "C[high]")
        TML_M("C", "D", "B[high]", "C[high]", "D[high]")
        TML_M("D", "C", "B[high]", "C[high]", "D[high]")
        "mul %D[a], %D[b]\n"
        "add %C[high], r0\n"
        "adc %D[high], r1\n"
        "clr r1\n"
        : [low] "=&r"(low), [high] "=&r"(high)
        : [a] "r"(a), [b] "r"(b), [zeros] "r"((uint16_t)0)
        : "r0");
#undef TML_M
    if (a < 0) {
        high -= (uint32_t)b;
    }
    if (b < 0) {
        high -= (uint32_t)a;
    }
    if (doubled) {
        high += high + (low & 0x80000000u ? 1u : 0u);
        low += low;
    }
    return (int32_t)(high + (low & 0x80000000u ? 1u : 0u));
}
#elif (defined(__ARM_ARCH) && __ARM_ARCH == 6) || defined(__AVR__)
#define TML_HALVES 1
static int32_t tml_halves(int32_t a, int32_t b, int doubled)
{
    uint16_t a_low = (uint16_t)a, b_low = (uint16_t)b;
    int16_t a_high = (int16_t)(a >> 16), b_high = (int16_t)(b >> 16);
    int32_t high = (int32_t)a_high * b_high;
    int32_t mixed = (int32_t)a_high * b_low, other = (int32_t)b_high * a_low;
    uint32_t low = (uint32_t)a_low * b_low >> 16;
    if (doubled) {
        low += (uint32_t)(mixed & 0x7fff) + (uint32_t)(other & 0x7fff) + 0x4000u;
        return high * 2 + (mixed >> 15) + (other >> 15) + (int32_t)(low >> 15);
    }
    low += (uint32_t)(uint16_t)mixed + (uint16_t)other + 0x8000u;
    return high + (mixed >> 16) + (other >> 16) + (int32_t)(low >> 16);
}
#else
#define TML_HALVES 0
#endif
