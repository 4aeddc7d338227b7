/* Entry point of boards that have a plain main(). An Arduino sketch calls the same four. */
#include "board.h"
#include "tml_core.h"

int main(void)
{
    board_init();
    tml_core_start();
    while (tml_core_step()) {
    }
    return 0;
}
