/* Decision trees. A test: bits 0 to 11 the feature (of a leaf: how many scores), 12 to 14 the comparison, 7 for a
   leaf, 15 whether a missing value passes. Behind a branch lies where it goes on if the test holds; else it goes on
   `next` nodes further. aggregate 0: sum, 1: mean, 2: smallest, 3: largest. */
TML_STRICT static void tml_tree_score(int8_t *out, int32_t output, float score, int aggregate)
{
    float sum = tml_real_load(out, output, 0.0f, 0);
    if (aggregate < 2) {
        sum += score;
    } else if (aggregate == 2 ? score < sum : score > sum) {
        sum = score;
    }
    tml_real_store(out, output, 0.0f, 0, sum);
}

TML_STRICT static void tml_trees(const int8_t *in, float in_scale, int in_zero, int8_t *out, int outputs,
                                 const float *values, const uint16_t *tests, const uint16_t *nexts,
                                 const int32_t *roots, int trees, const uint16_t *score_outputs,
                                 const float *scores, const float *base, int aggregate)
{
    float begin = aggregate == 2 ? 3.40282347e38f : (aggregate == 3 ? -3.40282347e38f : 0.0f);
    int i;
    for (i = 0; i < outputs; i++) {
        tml_real_store(out, i, 0.0f, 0, begin);
    }
    for (i = 0; i < trees; i++) {
        int32_t at = TML_READ32(roots + i);
        uint16_t next;
        int count, k;
        for (;;) {
            uint16_t test = (uint16_t)TML_READ16(tests + at);
            int kind = (test >> 12) & 7;
            float x, limit;
            int holds;
            if (kind == 7) {
                count = test & 0xfff;
                break;
            }
            x = tml_real_load(in, test & 0xfff, in_scale, in_zero);
            limit = TML_READ_FLOAT(values + at);
            switch (kind) {
            case 0: holds = x <= limit; break;
            case 1: holds = x < limit; break;
            case 2: holds = x >= limit; break;
            case 3: holds = x > limit; break;
            case 4: holds = x == limit; break;
            default: holds = x != limit; break;
            }
            if ((test & 0x8000u) != 0 && x != x) {
                holds = 1;
            }
            at += holds ? 1 : (int32_t)(uint16_t)TML_READ16(nexts + at);
        }
        next = (uint16_t)TML_READ16(nexts + at);
        if (count == 1) {
            tml_tree_score(out, next, TML_READ_FLOAT(values + at), aggregate);
            continue;
        }
        for (k = 0; k < count; k++) {
            tml_tree_score(out, (uint16_t)TML_READ16(score_outputs + next + k), TML_READ_FLOAT(scores + next + k),
                           aggregate);
        }
    }
    for (i = 0; i < outputs; i++) {
        float sum = tml_real_load(out, i, 0.0f, 0);
        if (aggregate > 1 && sum == begin) {
            sum = 0.0f;
        }
        if (aggregate == 1) {
            sum /= (float)trees;
        }
        tml_real_store(out, i, 0.0f, 0, sum + TML_READ_FLOAT(base + i));
    }
}
