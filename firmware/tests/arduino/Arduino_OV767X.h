/* The calls of the library Arduino_OV767X that the firmware makes, with the meaning that its source gives them: begin() takes
 * a resolution, a format and 1 or 5 pictures a second, and tells whether there is a camera; readFrame() fills
 * width * height bytes if the format is grey. What it sees is picture `frame` of the test. */
#ifndef ARDUINO_OV767X_H
#define ARDUINO_OV767X_H
#include <Arduino.h>

enum { YUV422 = 0, RGB444 = 1, RGB565 = 2, GRAYSCALE = 4 };
enum { VGA = 0, CIF = 1, QVGA = 2, QCIF = 3, QQVGA = 4 };

class OV767X {
public:
    int begin(int resolution, int format, int fps);
    void readFrame(void *buffer);

private:
    int width = 0;
    int height = 0;
    unsigned frame = 0;
};
extern OV767X Camera;
#endif
