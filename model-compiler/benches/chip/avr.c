/* Runs a model as often as the simulator has inputs. What to do next is said through GPIOR0, addresses through GPIOR1
   and GPIOR2; inputs and answers are moved by the simulator. */
#include <avr/io.h>
#include <stdint.h>
#include "model.h"

enum { INPUT = 1, OUTPUT, FREE, NEXT, BEGIN, END, FAILED };

extern char __heap_start;

static void say(uint8_t what, const void *address)
{
    GPIOR1 = (uint8_t)(uint16_t)address;
    GPIOR2 = (uint8_t)((uint16_t)address >> 8);
    GPIOR0 = what;
}

int main(void)
{
    tml_init();
    say(INPUT, tml_input());
    say(OUTPUT, tml_output());
    say(FREE, &__heap_start);
    for (;;) {
        int failed;
        GPIOR0 = NEXT;
        GPIOR0 = BEGIN;
        failed = tml_invoke();
        GPIOR0 = END;
        if (failed) {
            GPIOR0 = FAILED;
        }
    }
}
