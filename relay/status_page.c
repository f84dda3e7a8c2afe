// SPDX-License-Identifier: Apache-2.0
#include "relay/status_page.h"

// The assembler takes the file in as it is: it stays a real HTML file, and the program still needs no file at run time.
__asm__(".pushsection .rodata\n"
        ".local status_page_begin, status_page_end\n"
        "status_page_begin:\n"
        ".incbin \"relay/status.html\"\n"
        "status_page_end:\n"
        ".popsection\n");
extern const uint8_t status_page_begin[] __attribute__((visibility("hidden")));
extern const uint8_t status_page_end[] __attribute__((visibility("hidden")));

struct weir_slice status_page(void)
{
    return (struct weir_slice){status_page_begin, (size_t)(status_page_end - status_page_begin)};
}
