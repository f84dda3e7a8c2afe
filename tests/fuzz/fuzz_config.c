// SPDX-License-Identifier: Apache-2.0
// Any bytes as a YAML file: an error or a configuration, never a crash; and what print-config writes reads back to the same.
#include <stdio.h>

#include "relay/config.h"
#include "relay/config_print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *fuzz_env(const char *name)
{
    return strcmp(name, "SET") == 0 ? "a: [b" : NULL;
}

static int load(const uint8_t *data, size_t size, struct config *config)
{
    const struct weir_slice yaml = {data, size};
    const struct config_input input = {.file = "fuzz.yaml", .yaml = &yaml, .env = fuzz_env};
    struct config_errors errors = {0};
    int result = config_load(&input, config, &errors);
    assert((result == WEIR_OK) == (errors.count == 0));
    config_errors_free(&errors);
    return result;
}

static char *print(const struct config *config, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    assert(out != NULL && config_print(config, out));
    fclose(out);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config first, second;
    if (load(data, size, &first) != WEIR_OK)
        return 0;
    size_t first_size, second_size;
    char *first_text = print(&first, &first_size);
    int result = load((const uint8_t *)first_text, first_size, &second);
    assert(result == WEIR_OK);
    char *second_text = print(&second, &second_size);
    assert(first_size == second_size && memcmp(first_text, second_text, first_size) == 0);
    free(first_text);
    free(second_text);
    config_free(&first);
    config_free(&second);
    return 0;
}
