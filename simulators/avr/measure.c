/* Runs a firmware of one model on a simulated AVR and says what the model costs.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * This program links libsimavr (GPL-3) and is under that license, unlike the rest of the repository.
 *
 *     measure CHIP FIRMWARE.elf INPUTS INPUT_BYTES OUTPUT_BYTES ANSWERS
 *
 * The firmware is model-compiler/benches/chip/avr.c: it says through GPIOR0 what it does, and where its buffers are
 * through GPIOR1 and GPIOR2. INPUTS holds inputs one behind another; ANSWERS is written the same way. Printed are the
 * cycles of all inferences together and the deepest stack of one.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sim_avr.h>
#include <sim_elf.h>
#include <sim_io.h>

enum { INPUT = 1, OUTPUT, FREE, NEXT, BEGIN, END, FAILED };
enum { GPIOR0 = 0x3e, GPIOR1 = 0x4a, GPIOR2 = 0x4b };
#define UNTOUCHED 0xa5
/* A loop without end is cut off here. */
#define MOST_CYCLES 20000000000ull

static struct {
    FILE *inputs, *answers;
    size_t input_bytes, output_bytes;
    uint16_t input, output, free, stack;
    uint64_t begun, cycles, deepest, runs;
    int done, failed;
} run;

static uint16_t stack_pointer(avr_t *avr)
{
    return (uint16_t)(avr->data[R_SPL] | avr->data[R_SPH] << 8);
}

static void on_say(avr_t *avr, avr_io_addr_t addr, uint8_t value, void *param)
{
    uint16_t address = (uint16_t)(avr->data[GPIOR1] | avr->data[GPIOR2] << 8);
    uint32_t at;
    (void)param;
    avr->data[addr] = value;
    switch (value) {
    case INPUT:
        run.input = address;
        break;
    case OUTPUT:
        run.output = address;
        break;
    case FREE:
        run.free = address;
        break;
    case NEXT:
        run.done = fread(avr->data + run.input, 1, run.input_bytes, run.inputs) != run.input_bytes;
        run.stack = stack_pointer(avr);
        memset(avr->data + run.free, UNTOUCHED, (size_t)(run.stack - run.free));
        break;
    case BEGIN:
        run.begun = avr->cycle;
        break;
    case END:
        run.cycles += avr->cycle - run.begun;
        run.runs++;
        for (at = run.free; at < run.stack && avr->data[at] == UNTOUCHED; at++) {
        }
        if (run.stack + 1u - at > run.deepest) {
            run.deepest = run.stack + 1u - at;
        }
        if (fwrite(avr->data + run.output, 1, run.output_bytes, run.answers) != run.output_bytes) {
            run.failed = 1;
        }
        break;
    default:
        run.failed = 1;
    }
}

int main(int argc, char **argv)
{
    elf_firmware_t firmware;
    avr_t *avr;
    memset(&firmware, 0, sizeof firmware);
    if (argc != 7) {
        fprintf(stderr, "measure CHIP FIRMWARE.elf INPUTS INPUT_BYTES OUTPUT_BYTES ANSWERS\n");
        return 2;
    }
    if (elf_read_firmware(argv[2], &firmware) != 0) {
        fprintf(stderr, "measure: cannot read %s\n", argv[2]);
        return 1;
    }
    run.inputs = fopen(argv[3], "rb");
    run.input_bytes = strtoul(argv[4], NULL, 10);
    run.output_bytes = strtoul(argv[5], NULL, 10);
    run.answers = fopen(argv[6], "wb");
    avr = avr_make_mcu_by_name(argv[1]);
    if (!run.inputs || !run.answers || !avr) {
        fprintf(stderr, "measure: cannot open files or make the chip\n");
        return 1;
    }
    avr_init(avr);
    firmware.frequency = 16000000;
    avr_load_firmware(avr, &firmware);
    avr->log = LOG_ERROR;
    avr_register_io_write(avr, GPIOR0, on_say, NULL);
    while (!run.done && !run.failed && avr->cycle < MOST_CYCLES) {
        int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            fprintf(stderr, "measure: the firmware ended\n");
            return 1;
        }
    }
    fclose(run.answers);
    if (!run.done) {
        fprintf(stderr, "measure: the model failed\n");
        return 1;
    }
    printf("cycles %llu\nstack %llu\nruns %llu\n", (unsigned long long)run.cycles, (unsigned long long)run.deepest,
           (unsigned long long)run.runs);
    return 0;
}
